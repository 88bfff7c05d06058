"""What is forecast without a model."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler import baselines
from scaler.baselines import SOURCES
from scaler.domain import ForecastRequest, Source, TargetKey
from scaler.history import PREDICTION_LENGTH as H

T0 = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
WEB, API = TargetKey("shop", "Deployment", "web"), TargetKey("shop", "Deployment", "api")
NAN = float("nan")
DAY, WEEK, TREND, CONSTANT = (
    SOURCES.index(source)
    for source in (Source.SEASONAL_DAY, Source.SEASONAL_WEEK, Source.DAMPED_TREND, Source.PERSISTENCE)
)


def request(
    load: object, *, day: object = NAN, week: object = NAN, key: TargetKey = WEB, length: int = 60
) -> ForecastRequest:
    values = np.broadcast_to(np.asarray(load, dtype=float), length).copy()
    seasons = np.stack([np.broadcast_to(np.asarray(lag, dtype=float), length + H) for lag in (day, week)])
    return ForecastRequest(key, T0, timedelta(seconds=60), values, seasons)


def forecast(request: ForecastRequest) -> np.ndarray:
    (found,) = baselines.forecast([request])
    return found.window_max


def margins(request: ForecastRequest, level: float) -> np.ndarray:
    (found,) = baselines.forecast([request])
    return baselines.margins(request, found, level)


class TestPersistence:
    def test_the_newest_load_stays(self) -> None:
        assert forecast(request([*[3.0] * 59, 7.0]))[CONSTANT].tolist() == [7.0] * H


class TestSeasons:
    def test_what_came_a_season_ago_is_expected_again_as_the_highest_so_far(self) -> None:
        ahead = [*[10.0] * 60, 12.0, 9.0, *[20.0] * (H - 2)]
        expected = forecast(request(10.0, day=ahead))[DAY]
        assert expected.tolist() == [12.0, 12.0, *[20.0] * (H - 2)]

    @pytest.mark.parametrize(
        ("today", "ratio"),
        [
            pytest.param(15.0, 1.5, id="at today's level"),
            pytest.param(100.0, 2.0, id="at most double"),
            pytest.param(1.0, 0.5, id="at least half"),
        ],
    )
    def test_the_season_is_taken_at_todays_level(self, today: float, ratio: float) -> None:
        assert forecast(request(today, week=10.0))[WEEK] == pytest.approx([10.0 * ratio] * H)

    def test_a_season_without_load_says_none(self) -> None:
        assert forecast(request(5.0, day=0.0))[DAY].tolist() == [0.0] * H

    @pytest.mark.parametrize(
        ("known", "says"),
        [pytest.param(H // 2, True, id="half of the steps ahead"), pytest.param(H // 2 - 1, False, id="fewer")],
    )
    def test_a_season_speaks_where_half_of_what_is_ahead_is_known(self, known: int, says: bool) -> None:
        ahead = [*[10.0] * 60, *[NAN] * (H - known), *[10.0] * known]
        row = forecast(request(10.0, day=ahead))[DAY]
        assert row.tolist() == [10.0] * H if says else np.isnan(row).all()

    def test_a_gap_in_the_season_takes_what_was_before_it(self) -> None:
        ahead = [*[10.0] * 60, 11.0, NAN, NAN, *[10.5] * (H - 3)]
        assert forecast(request(10.0, day=ahead))[DAY].tolist() == [11.0] * H

    def test_steps_that_either_lacks_do_not_set_the_level(self) -> None:
        load = np.full(60, 10.0)
        load[40:50] = NAN
        day = np.full(60 + H, 10.0)
        day[40:50], day[50:55] = 1e6, NAN
        assert forecast(request(load, day=day))[DAY] == pytest.approx([10.0] * H)


class TestDampedTrend:
    def test_a_rise_goes_on_ever_slower(self) -> None:
        row = forecast(request(np.arange(60.0)))[TREND]
        growth = np.diff(row)
        assert row[0] > 58.5
        assert (growth > 0).all()
        assert growth[1:] / growth[:-1] == pytest.approx([0.9] * (H - 2), rel=1e-6)

    def test_a_fall_never_passes_below_zero_or_above_what_stands(self) -> None:
        row = forecast(request(np.linspace(60.0, 0.0, 60)))[TREND]
        assert (row >= 0).all()
        assert row[0] == row[-1]

    def test_over_a_gap_it_goes_on_as_forecast(self) -> None:
        whole, gap = np.full(60, 8.0), np.full(60, 8.0)
        gap[10:20] = NAN
        assert forecast(request(gap))[TREND] == pytest.approx(forecast(request(whole))[TREND])


def test_requests_of_different_length_do_not_touch_each_other() -> None:
    short = request(np.arange(8.0), length=8, key=API, day=3.0)
    long = request(np.arange(60.0), day=4.0)
    for one, together in zip((short, long), baselines.forecast([short, long]), strict=True):
        (alone,) = baselines.forecast([one])
        np.testing.assert_allclose(together.window_max, alone.window_max)
        np.testing.assert_allclose(together.trend, alone.trend)


def test_without_requests_there_is_nothing() -> None:
    assert baselines.forecast([]) == []


@given(
    st.lists(st.floats(0, 1e9) | st.just(NAN), min_size=8, max_size=70),
    st.floats(0.01, 0.999),
)
def test_whatever_came_bounds_never_fall_with_the_window_and_margins_are_numbers(
    load: list[float], level: float
) -> None:
    values = np.array([*load, 5.0])
    season = np.concatenate([values, np.resize(values, H)])
    one = request(values, day=season, week=season[::-1], length=len(values))
    rows = forecast(one)
    spoke = rows[np.isfinite(rows[:, 0])]
    assert np.isfinite(spoke).all()
    assert (spoke >= 0).all()
    assert (np.diff(spoke, axis=1) >= 0).all()
    assert margins(one, level).shape == (len(SOURCES), H)
    assert np.isfinite(margins(one, level)).all()


class TestMargins:
    def test_a_margin_covers_the_stated_share_of_the_contexts_windows(self) -> None:
        load = np.random.default_rng(3).uniform(0, 100, 288)
        margin = margins(request(load, length=288), 0.9)[CONSTANT]
        for steps in (1, 5, 13, 30):
            windows = np.lib.stride_tricks.sliding_window_view(load[1:], steps).max(axis=1)
            covered = (windows <= load[: len(windows)] + margin[steps - 1]).mean()
            assert covered == pytest.approx(0.9, abs=1 / len(windows))

    def test_a_load_that_repeats_itself_needs_no_margin_over_its_season(self) -> None:
        pattern = 50 + 40 * np.sin(np.arange(60 + H) / 5)
        assert margins(request(pattern[:60], day=pattern), 0.99)[DAY] == pytest.approx(np.zeros(H), abs=1e-9)

    def test_longer_windows_than_the_context_take_the_margin_of_the_longest_seen(self) -> None:
        margin = margins(request([1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0], length=8), 0.9)[CONSTANT]
        assert margin.tolist() == [1.0] * H

    def test_nothing_after_a_gap_counts_as_seen(self) -> None:
        load = np.array([*[1.0] * 30, NAN, *[1.0] * 29])
        assert margins(request(load), 0.9)[CONSTANT].tolist() == [0.0] * H

    def test_without_a_season_its_margin_is_nothing(self) -> None:
        assert margins(request(np.arange(60.0)), 0.9)[WEEK].tolist() == [0.0] * H
