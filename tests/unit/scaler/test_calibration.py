"""What the offset learns, and from what it must not learn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.calibration import (
    SOURCES,
    CalibrationConfig,
    CalibrationState,
    Issued,
    Waiting,
    begin,
    censor,
    introduce,
    issue,
    load_scales,
    resolve,
)
from scaler.domain import FloatArray, Source

T0 = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
STEP = timedelta(seconds=60)
CONFIG = CalibrationConfig()
NAN = float("nan")
MODEL, PERSISTENCE = SOURCES.index(Source.MODEL), SOURCES.index(Source.PERSISTENCE)


def rows(model: npt.ArrayLike, others: npt.ArrayLike = NAN, *, length: int = 3) -> FloatArray:
    """One value or row for the model, one for all others. Shape (S, H)."""
    values = np.empty((len(SOURCES), length))
    values[:] = np.asarray(others)
    values[MODEL] = np.asarray(model)
    return values


def forecast_of(
    length: int = 3,
    *,
    bound: npt.ArrayLike = 10.0,
    others: npt.ArrayLike = NAN,
    scale: float = 2.0,
    origin: datetime = T0,
) -> Issued:
    """For one workload."""
    bounds = rows(bound, others, length=length)[np.newaxis]
    return Issued(origin, STEP, bounds, np.array([scale]))


def issued_to(state: CalibrationState, issued: Issued) -> CalibrationState:
    """What one workload then waits for."""
    (after,) = issue([state], issued)
    return after


def issued(length: int = 3, *, bound: npt.ArrayLike = 10.0, scale: float = 2.0, level: float = 0.9) -> CalibrationState:
    state = CalibrationState(level, rows(0.0, length=length), scale)
    return issued_to(state, forecast_of(length, bound=bound, scale=scale))


def resolved(
    state: CalibrationState,
    load: npt.ArrayLike,
    *,
    end: datetime,
    step: timedelta = STEP,
    config: CalibrationConfig = CONFIG,
) -> CalibrationState:
    """What one workload learns."""
    loads = np.array([load], dtype=np.float64)
    (learned,) = resolve([state], loads, end=end, step=step, config=config)
    return learned


def introduced(
    state: CalibrationState, bounds: FloatArray, margins: Callable[[], FloatArray], config: CalibrationConfig
) -> CalibrationState:
    """One workload, with what its new sources begin with."""
    (known,) = introduce([state], bounds[np.newaxis], lambda _: margins(), config)
    return known


def after(state: CalibrationState, realised: list[float], end_step: int = 3) -> FloatArray:
    """The model's offsets once `realised`, which ends at T0 + end_step, is known."""
    learned = resolved(state, realised, end=T0 + end_step * STEP)
    offsets: FloatArray = learned.offsets[MODEL]
    return offsets


# At the level 0.9 one miss raises by 0.05 * (1 - 0.1), one hit lowers by 0.05 * 0.1.
MISS, HIT = 0.045, -0.005
NEXT = math.sqrt(1 / 5)  # what a forecast a minute after another one counts


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
        # The bounds lie 2 lower, so that bound + offset * scale = 10 at the start.
        state = issued(bound=8.0)._replace(offsets=rows(1.0))
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
        state = issued(bound=1e3)._replace(offsets=rows(start))
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
        state = state._replace(offsets=rows(1.0))
        assert after(state, realised) - 1.0 == pytest.approx(moves)

    def test_the_first_censored_step_counts(self) -> None:
        state = censor(censor(issued(), T0 + 2 * STEP), T0 + 3 * STEP)
        assert after(state, [9, 9, 9]) == pytest.approx([HIT, 0, 0])

    def test_a_sample_inside_a_step_censors_that_step(self) -> None:
        assert after(censor(issued(), T0 + 1.5 * STEP), [9, 9, 9]) == pytest.approx([HIT, 0, 0])

    def test_what_one_sample_says_of_all_that_wait_is_said_once(self) -> None:
        state = censor(issued(), T0 + 2 * STEP)
        assert censor(state, T0 + 3 * STEP) is state
        later = issued_to(state, forecast_of(origin=T0 + 2 * STEP))
        assert censor(later, T0 + 3 * STEP).censored == (T0 + 2 * STEP, T0 + 3 * STEP)

    def test_a_sample_is_remembered_while_a_forecast_from_before_it_waits(self) -> None:
        state = censor(issued(), T0 + STEP)
        waiting = resolved(state, [9, 9], end=T0 + 2 * STEP)
        assert waiting.censored == (T0 + STEP,)
        done = resolved(waiting, [9, 9, 9], end=T0 + 3 * STEP)
        assert done.censored == ()


class TestResolve:
    def test_each_window_teaches_once_and_as_soon_as_it_is_over(self) -> None:
        state = issued()
        unchanged = resolved(state, [99.0, 99.0], end=T0)
        assert unchanged.waiting == state.waiting
        assert not unchanged.offsets[MODEL].any()
        first = resolved(unchanged, [99.0, 99.0], end=T0 + 2 * STEP)
        assert first.offsets[MODEL] == pytest.approx([MISS, MISS, 0])
        again = resolved(first, [99.0, 99.0], end=T0 + 2 * STEP)
        assert again.offsets[MODEL] == pytest.approx([MISS, MISS, 0])
        done = resolved(again, [99.0, 99.0, 99.0], end=T0 + 3 * STEP)
        assert done.waiting == Waiting()
        assert done.offsets[MODEL] == pytest.approx([MISS] * 3)

    @given(
        realised=st.lists(st.floats(0, 30) | st.just(NAN), min_size=6, max_size=6),
        cuts=st.lists(st.integers(0, 6), max_size=4),
        censored=st.none() | st.integers(1, 6),
    )
    def test_learning_early_comes_to_what_learning_at_the_end_comes_to(
        self, realised: list[float], cuts: list[int], censored: int | None
    ) -> None:
        begun = CalibrationState(0.9, rows(0.0, 0.0, length=6), 2.0)
        state = issued_to(begun, forecast_of(6, others=5.0))
        if censored is not None:
            state = censor(state, T0 + censored * STEP)
        at_once = resolved(state, realised, end=T0 + 6 * STEP)
        for cut in (*sorted(cuts), 6):
            past = [1.0, *realised[:cut]]
            state = resolved(state, past, end=T0 + cut * STEP)
        assert state.offsets == pytest.approx(at_once.offsets)
        assert state.waiting == Waiting()

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
        state = resolved(issued(), [99.0] * history, end=end, step=step)
        assert state.waiting == Waiting()
        assert not state.offsets[MODEL].any()

    def test_several_forecasts_resolve_in_their_order(self) -> None:
        state = issued_to(issued(), forecast_of(origin=T0 + STEP))
        assert after(state, [99.0] * 4, end_step=4) == pytest.approx([(1 + NEXT) * MISS] * 3)

    def test_an_excess_that_today_covers_is_no_miss(self) -> None:
        # Both forecasts missed the same burst at step 2, the first one's lesson covers the second.
        state = issued_to(issued(), forecast_of(origin=T0 + STEP, bound=10.0))
        moves = [HIT + NEXT * MISS, MISS + NEXT * HIT, MISS + NEXT * HIT]
        assert after(state, [9, 10.08, 9, 9], end_step=4) == pytest.approx(moves)

    @pytest.mark.parametrize(
        ("minutes", "weight"),
        [
            pytest.param(-1, 0.0, id="before it"),
            pytest.param(1, math.sqrt(1 / 5), id="a minute later"),
            pytest.param(5, 1.0, id="five"),
            pytest.param(60, 1.0, id="an hour"),
        ],
    )
    def test_a_forecast_soon_after_another_teaches_less(self, minutes: int, weight: float) -> None:
        later = issued_to(issued(), forecast_of(origin=T0 + timedelta(minutes=minutes))).waiting
        assert later.weights[-1] == pytest.approx(weight)

    def test_a_late_answer_teaches_as_much_as_the_one_whose_place_it_takes(self) -> None:
        second = forecast_of(origin=T0 + STEP)
        state = issued_to(issued_to(issued(), second), second)
        assert state.waiting.weights == pytest.approx([1.0, NEXT])

    @given(st.data())
    def test_many_workloads_learn_together_what_each_learns_alone(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, 5))
        levels = st.sampled_from([0.9, 0.99])
        together = [CalibrationState(data.draw(levels), rows(0.0, 0.0, length=6), 2.0) for _ in range(count)]
        alone = list(together)
        for origin in sorted(data.draw(st.sets(st.integers(0, 4), max_size=3))):
            # Mostly all of them, as a call forecasts for all; one that was away waits for others than the rest.
            there = [n for n in range(count) if data.draw(st.integers(0, 4))] or [0]
            own = [
                forecast_of(6, bound=data.draw(st.floats(1, 20)), others=5.0, scale=data.draw(st.floats(1, 3)),
                            origin=T0 + origin * STEP)
                for _ in there
            ]  # fmt: skip
            bounds, scales = (np.concatenate([getattr(one, name) for one in own]) for name in ("bounds", "scales"))
            batch = Issued(own[0].origin, STEP, bounds, scales)
            for n, one, state in zip(there, own, issue([together[n] for n in there], batch), strict=True):
                together[n], alone[n] = state, issued_to(alone[n], one)
        censored, at = data.draw(st.integers(0, count - 1)), T0 + data.draw(st.integers(1, 6)) * STEP
        together[censored], alone[censored] = censor(together[censored], at), censor(alone[censored], at)
        loads = st.lists(st.floats(0, 30) | st.just(NAN), min_size=8, max_size=8)
        past = [data.draw(loads) for _ in range(count)]
        end = T0 + data.draw(st.integers(2, 8)) * STEP
        learned = resolve(together, np.array(past), end=end, step=STEP, config=CONFIG)
        for known, state, own_past in zip(learned, alone, past, strict=True):
            other = resolved(state, own_past, end=end)
            assert known.offsets.tolist() == other.offsets.tolist()
            assert [w.origin for w in known.waiting.issued] == [w.origin for w in other.waiting.issued]

    def test_an_older_past_teaches_nothing_again(self) -> None:
        first = resolved(issued(), [99.0, 99.0], end=T0 + 2 * STEP)
        older = resolved(first, [99.0], end=T0 + STEP)
        again = resolved(older, [99.0, 99.0], end=T0 + 2 * STEP)
        assert again.offsets[MODEL] == pytest.approx([MISS, MISS, 0])

    def test_a_source_without_a_forecast_learns_nothing(self) -> None:
        state = CalibrationState(0.9, rows(0.0, 3.0), 2.0)
        state = issued_to(state, forecast_of())
        learned = resolved(state, [1.0, 1.0, 1.0], end=T0 + 3 * STEP)
        assert learned.offsets[MODEL] == pytest.approx([HIT] * 3)
        assert learned.offsets[PERSISTENCE].tolist() == [3.0, 3.0, 3.0]

    def test_each_source_learns_from_its_own_bounds(self) -> None:
        state = issued_to(CalibrationState(0.9, rows(0.0, 0.0), 2.0), forecast_of(bound=10.0, others=5.0))
        learned = resolved(state, [7.0, 7.0, 7.0], end=T0 + 3 * STEP)
        assert learned.offsets[MODEL] == pytest.approx([HIT] * 3)
        assert learned.offsets[PERSISTENCE] == pytest.approx([MISS] * 3)


class TestIssue:
    def test_a_late_answer_takes_the_place_of_the_earlier_ones_of_its_origin(self) -> None:
        begun = CalibrationState(0.9, rows(0.0, 0.0), 2.0)
        state = censor(issued_to(begun, forecast_of(bound=NAN, others=5.0)), T0 + 3 * STEP)
        state = resolved(state, [1.0, 1.0], end=T0 + STEP)
        state = issued_to(state, forecast_of(bound=10.0, others=5.0))
        (only,) = state.waiting.issued
        assert (len(state.waiting.rows), len(state.waiting.weights)) == (1, 1)
        assert only.bounds[0, MODEL].tolist() == [10.0] * 3
        assert after(state, [9.0, 9.0, 9.0]) == pytest.approx([0, HIT, 0])
        later = resolved(state, [99.0, 99.0], end=T0 + 2 * STEP)
        assert later.offsets[MODEL] == pytest.approx([0, MISS, 0])

    def test_a_workload_without_load_teaches_nothing(self) -> None:
        assert len(issued_to(issued(), forecast_of(scale=0.0)).waiting.issued) == 1


class TestBegin:
    def test_what_was_learned_is_taken_up_in_the_newest_load_scale(self) -> None:
        state = begin(issued()._replace(offsets=rows(1.5)), level=0.9, length=3, scale=5.0)
        assert (state.offsets[MODEL].tolist(), state.scale, len(state.waiting.issued)) == ([1.5] * 3, 5.0, 1)

    def test_a_workload_without_load_keeps_its_scale(self) -> None:
        assert begin(issued(scale=2.0), level=0.9, length=3, scale=0.0).scale == 2.0

    @pytest.mark.parametrize(
        ("level", "length"),
        [pytest.param(0.95, 3, id="another level"), pytest.param(0.9, 4, id="another length")],
    )
    def test_what_was_learned_on_one_thing_is_not_used_on_another(self, level: float, length: int) -> None:
        state = begin(issued()._replace(offsets=rows(1.0)), level=level, length=length, scale=2.0)
        assert np.isnan(state.offsets).all()
        assert (state.level, state.offsets.shape, state.waiting) == (level, (len(SOURCES), length), Waiting())


class TestIntroduce:
    def test_a_new_source_begins_with_the_margins_of_the_context(self) -> None:
        state = begin(None, level=0.9, length=3, scale=2.0)
        state = introduced(state, rows(10.0, 5.0), lambda: rows(0.0, [1.0, 2.0, 4.0]), CONFIG)
        assert state.offsets[MODEL].tolist() == [0.0, 0.0, 0.0]
        assert state.offsets[PERSISTENCE].tolist() == [0.5, 1.0, 2.0]

    def test_what_a_source_has_learned_stands(self) -> None:
        def unneeded() -> FloatArray:
            raise AssertionError("nobody is new")

        state = issued()._replace(offsets=rows(1.0))
        assert introduced(state, rows(10.0), unneeded, CONFIG) is state

    def test_a_source_without_a_forecast_is_not_heard_of(self) -> None:
        state = introduced(begin(None, level=0.9, length=3, scale=2.0), rows(10.0), lambda: rows(0.0, 1.0), CONFIG)
        assert np.isnan(state.offsets[PERSISTENCE]).all()

    def test_no_margin_passes_the_cap(self) -> None:
        state = begin(None, level=0.9, length=3, scale=2.0)
        state = introduced(state, rows(10.0, 5.0), lambda: rows(0.0, 1e6), CONFIG)
        assert state.offsets[PERSISTENCE].tolist() == [CONFIG.calibration_cap] * 3

    def test_without_load_there_is_no_unit_to_begin_in(self) -> None:
        state = introduced(begin(None, level=0.9, length=3, scale=0.0), rows(0.0, 0.0), lambda: rows(0.0, 0.0), CONFIG)
        assert not state.offsets.any()


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
def test_load_scales(load: list[float], scale: float) -> None:
    assert load_scales(np.array([load, [NAN] * len(load)], dtype=float)) == pytest.approx([scale, 0.0])


def test_the_stated_share_of_misses_is_kept_in_the_long_run() -> None:
    # A noise whose .9 quantile lies 1.28 above the bound; the error is at most 1.5 / (rate * samples) = 0.005.
    random = np.random.default_rng(7)
    load = np.maximum(random.normal(5.0, 1.0, 3_000), 0.0)
    state = issued_to(CalibrationState(0.9, rows(0.0, length=1), 1.0), forecast_of(1, bound=5.0, scale=1.0))
    misses = 0
    config = replace(CONFIG, calibration_rate=0.1)
    for n in range(1, len(load)):
        state = resolved(state, load[n - 1 : n], end=T0 + n * STEP, config=config)
        misses += bool(load[n] > 5.0 + state.offsets[MODEL, 0])
        state = issued_to(state, forecast_of(1, bound=5.0, scale=1.0, origin=T0 + n * STEP))
    assert misses / len(load) == pytest.approx(0.1, abs=0.01)


def test_a_rate_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="calibration_rate must lie from 0"):
        CalibrationConfig(calibration_rate=-1)
