"""What the offset learns, and from what it must not learn."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.calibration import (
    CalibrationConfig,
    CalibrationState,
    censor,
    issue,
    load_scale,
    offsets_for,
    resolve,
)
from scaler.domain import FloatArray, Forecast

T0 = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
STEP = timedelta(seconds=60)
LEVELS = (0.5, 0.9)
CONFIG = CalibrationConfig()
NAN = float("nan")


def forecast(length: int = 3, *, origin: datetime = T0, source: str = "model", step: timedelta = STEP) -> Forecast:
    values = np.full((length, len(LEVELS)), 10.0)
    return Forecast(origin, step, LEVELS, values, values, source)


def issued(length: int = 3, *, bound: float = 10.0, scale: float = 2.0, level: float = 0.9) -> CalibrationState:
    return issue(None, forecast(length), np.full(length, bound), level=level, scale=scale)


def after(state: CalibrationState, realised: list[float], end_step: int = 3) -> FloatArray:
    """Offsets once `realised`, which ends at T0 + end_step, is known."""
    return resolve(state, np.array(realised), end=T0 + end_step * STEP, step=STEP, config=CONFIG).offsets


# At the level 0.9 one miss raises by 0.05 * (1 - 0.1), one hit lowers by 0.05 * 0.1.
MISS, HIT = 0.045, -0.005


class TestTrack:
    @pytest.mark.parametrize(
        ("realised", "moves"),
        [
            pytest.param([9, 9, 9], [HIT, HIT, HIT], id="covered"),
            pytest.param([11, 9, 9], [MISS, MISS, MISS], id="an early excess stays in every longer window"),
            pytest.param([9, 9, 11], [HIT, HIT, MISS], id="a late excess is only in the longest"),
            pytest.param([10, 10, 10], [HIT, HIT, HIT], id="exactly at the bound is covered"),
            pytest.param([9, NAN, 9], [HIT, 0, 0], id="a gap may hide anything"),
            pytest.param([9, NAN, 11], [HIT, 0, MISS], id="an excess is certain, gap or not"),
            pytest.param([NAN, NAN, NAN], [0, 0, 0], id="nothing seen"),
        ],
    )
    def test_each_window_counts_as_hit_miss_or_not_at_all(self, realised: list[float], moves: list[float]) -> None:
        started = replace(issued(), offsets=np.array([1.0, 1.0, 1.0]), scale=2.0)
        # The bounds lie 2 lower, so that bound + offset * scale = 10 at the start.
        state = replace(started, issued=(replace(started.issued[0], bounds=np.full(3, 8.0)),))
        assert after(state, realised) - 1.0 == pytest.approx(moves)

    @pytest.mark.parametrize(
        ("level", "miss", "hit"),
        [
            pytest.param(0.9, 0.05 * 0.9, -0.05 * 0.1, id="rate"),
            pytest.param(0.975, 0.1 * 0.975, -0.1 * 0.025, id="a quarter of the misses, twice the step"),
        ],
    )
    def test_a_level_that_misses_more_seldom_takes_longer_steps(self, level: float, miss: float, hit: float) -> None:
        assert after(issued(level=level), [99, 99, 99]) == pytest.approx([miss] * 3)
        assert after(issued(level=level), [1, 1, 1]) == pytest.approx([hit] * 3)

    def test_bounds_that_are_too_high_come_down(self) -> None:
        assert after(issued(), [1, 1, 1]) == pytest.approx([HIT] * 3)

    @pytest.mark.parametrize(
        ("start", "realised", "end"),
        [
            pytest.param(CONFIG.calibration_cap - 0.01, 1e6, CONFIG.calibration_cap, id="above"),
            pytest.param(0.001 - CONFIG.calibration_cap, 0.0, -CONFIG.calibration_cap, id="below"),
        ],
    )
    def test_the_offset_never_passes_the_cap(self, start: float, realised: float, end: float) -> None:
        state = replace(issued(bound=1e3), offsets=np.full(3, start))
        assert after(state, [realised] * 3) == pytest.approx([end] * 3)

    @pytest.mark.parametrize(
        ("censored_step", "realised", "moves"),
        [
            pytest.param(1, [9, 9, 9], [0, 0, 0], id="censored from the first step on"),
            pytest.param(2, [9, 9, 9], [HIT, 0, 0], id="the step before is certain"),
            pytest.param(3, [9, 9, 9], [HIT, HIT, 0], id="only the last is not"),
            pytest.param(4, [9, 9, 9], [HIT, HIT, HIT], id="after the window"),
            pytest.param(1, [11, 9, 9], [MISS, MISS, MISS], id="a lower bound can still exceed"),
            pytest.param(0, [9, 9, 9], [HIT, HIT, HIT], id="at the origin itself: context, not outcome"),
        ],
    )
    def test_a_censored_step_proves_a_miss_and_never_a_hit(
        self, censored_step: int, realised: list[float], moves: list[float]
    ) -> None:
        state = censor(issued(bound=8.0), T0 + censored_step * STEP)
        state = replace(state, offsets=np.full(3, 1.0))
        assert after(state, realised) - 1.0 == pytest.approx(moves)

    def test_the_first_censored_step_counts(self) -> None:
        state = censor(censor(issued(), T0 + 2 * STEP), T0 + 3 * STEP)
        assert state.issued[0].certain_steps == 1

    def test_a_sample_inside_a_step_censors_that_step(self) -> None:
        assert censor(issued(), T0 + 1.5 * STEP).issued[0].certain_steps == 1


class TestResolve:
    def test_each_window_teaches_once_and_as_soon_as_it_is_over(self) -> None:
        state = issued()
        unchanged = resolve(state, np.array([99.0, 99.0]), end=T0, step=STEP, config=CONFIG)
        assert unchanged.issued == state.issued
        assert not unchanged.offsets.any()
        first = resolve(unchanged, np.array([99.0, 99.0]), end=T0 + 2 * STEP, step=STEP, config=CONFIG)
        assert first.offsets == pytest.approx([MISS, MISS, 0])
        again = resolve(first, np.array([99.0, 99.0]), end=T0 + 2 * STEP, step=STEP, config=CONFIG)
        assert again.offsets == pytest.approx([MISS, MISS, 0])
        done = resolve(again, np.array([99.0, 99.0, 99.0]), end=T0 + 3 * STEP, step=STEP, config=CONFIG)
        assert done.issued == ()
        assert done.offsets == pytest.approx([MISS] * 3)

    @given(
        realised=st.lists(st.floats(0, 30) | st.just(NAN), min_size=6, max_size=6),
        cuts=st.lists(st.integers(0, 6), max_size=4),
        censored=st.none() | st.integers(1, 6),
    )
    def test_learning_early_comes_to_what_learning_at_the_end_comes_to(
        self, realised: list[float], cuts: list[int], censored: int | None
    ) -> None:
        state = issued(6)
        if censored is not None:
            state = censor(state, T0 + censored * STEP)
        at_once = resolve(state, np.array(realised), end=T0 + 6 * STEP, step=STEP, config=CONFIG)
        for cut in (*sorted(cuts), 6):
            state = resolve(state, np.array([1.0, *realised[:cut]]), end=T0 + cut * STEP, step=STEP, config=CONFIG)
        assert state.offsets == pytest.approx(at_once.offsets)
        assert state.issued == ()

    def test_only_its_own_steps_are_held_against_it(self) -> None:
        # From the origin at T0, which is no step of it, to step 4, which comes after it.
        assert after(issued(), [99, 1, 1, 1, 99], end_step=4) == pytest.approx([HIT] * 3)

    @pytest.mark.parametrize(
        ("history", "end", "step"),
        [
            pytest.param(2, T0 + 3 * STEP, STEP, id="the history does not reach back to it"),
            pytest.param(9, T0 + 3.5 * STEP, STEP, id="the history lies between its steps"),
            pytest.param(9, T0 + 3 * STEP, 2 * STEP, id="the step has changed"),
        ],
    )
    def test_a_forecast_that_cannot_be_compared_is_forgotten(
        self, history: int, end: datetime, step: timedelta
    ) -> None:
        state = resolve(issued(), np.full(history, 99.0), end=end, step=step, config=CONFIG)
        assert state.issued == ()
        assert not state.offsets.any()

    def test_several_forecasts_resolve_in_their_order(self) -> None:
        state = issued()
        later = forecast(origin=T0 + STEP)
        state = issue(state, later, np.full(3, 10.0), level=0.9, scale=2.0)
        state = resolve(state, np.array([99.0] * 4), end=T0 + 4 * STEP, step=STEP, config=CONFIG)
        assert state.offsets == pytest.approx([2 * MISS] * 3)

    def test_an_excess_that_today_covers_is_no_miss(self) -> None:
        # Both forecasts missed the same burst, the first one's lesson covers the second.
        state = issue(issued(), forecast(), np.full(3, 10.0), level=0.9, scale=2.0)
        assert after(state, [10.08, 10.08, 10.08]) == pytest.approx([MISS + HIT] * 3)


class TestOffsets:
    def test_offsets_come_in_the_newest_load_scale(self) -> None:
        state = replace(issued(scale=2.0), offsets=np.array([1.0, 2.0, 3.0]))
        assert offsets_for(state, forecast(), 0.9) == pytest.approx([2.0, 4.0, 6.0])
        state = issue(state, forecast(), np.full(3, 10.0), level=0.9, scale=5.0)
        assert offsets_for(state, forecast(), 0.9) == pytest.approx([5.0, 10.0, 15.0])

    @pytest.mark.parametrize(
        ("other", "level"),
        [
            pytest.param(forecast(source="seasonal"), 0.9, id="another source"),
            pytest.param(forecast(), 0.95, id="another level"),
            pytest.param(forecast(4), 0.9, id="another length"),
        ],
    )
    def test_what_was_learned_on_one_thing_is_not_used_on_another(self, other: Forecast, level: float) -> None:
        state = replace(issued(), offsets=np.full(3, 1.0))
        assert not offsets_for(state, other, level).any()
        bounds = np.full(other.prediction_length, 10.0)
        anew = issue(state, other, bounds, level=level, scale=2.0)
        assert not anew.offsets.any()
        assert (anew.source, anew.level, len(anew.issued)) == (other.source, level, 1)

    def test_nothing_is_added_before_the_first_forecast(self) -> None:
        assert offsets_for(None, forecast(), 0.9).tolist() == [0.0, 0.0, 0.0]

    def test_a_workload_without_load_teaches_nothing(self) -> None:
        state = issue(issued(scale=2.0), forecast(), np.full(3, 10.0), level=0.9, scale=0.0)
        assert (state.scale, len(state.issued)) == (2.0, 1)


@pytest.mark.parametrize(
    ("load", "scale"),
    [
        pytest.param([1, 2, 4], 1.5, id="mean absolute change"),
        pytest.param([1, 2, NAN, 4, 7], 2.0, id="only between neighbours"),
        pytest.param([100, 100, 100], 1.0, id="flat: a hundredth of the mean"),
        pytest.param([100, NAN, 200], 1.5, id="no neighbours: a hundredth of the mean"),
        pytest.param([0, 0, 0], 0.0, id="zero"),
        pytest.param([NAN, NAN], 0.0, id="nothing seen"),
    ],
)
def test_load_scale(load: list[float], scale: float) -> None:
    assert load_scale(np.array(load, dtype=float)) == pytest.approx(scale)


def test_the_stated_share_of_misses_is_kept_in_the_long_run() -> None:
    # A noise whose .9 quantile lies 1.28 above the bound; the error is at most 1.5 / (rate * samples) = 0.005.
    random = np.random.default_rng(7)
    load = np.maximum(random.normal(5.0, 1.0, 3_000), 0.0)
    state, misses = issued(1, bound=5.0, scale=1.0), 0
    config = replace(CONFIG, calibration_rate=0.1)
    for n in range(1, len(load)):
        state = resolve(state, load[n - 1 : n], end=T0 + n * STEP, step=STEP, config=config)
        misses += bool(load[n] > 5.0 + state.offsets[0])
        state = issue(state, forecast(1, origin=T0 + n * STEP), np.array([5.0]), level=0.9, scale=1.0)
    assert misses / len(load) == pytest.approx(0.1, abs=0.01)


def test_a_rate_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="calibration_rate must lie from 0"):
        CalibrationConfig(calibration_rate=-1)
