"""Faults at the ports: what they break, for how long, and that everything else stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from bench.scenarios.faults import ForecasterDown, HoledMetrics, SourceAway, Span
from scaler.backtest import simulate
from scaler.backtest.simulate import Setting
from scaler.backtest.stage import Stage, stage_of
from scaler.domain import (
    FloatArray,
    Forecast,
    ForecastFailure,
    ForecastRequest,
    ForecastUnavailable,
    MetricsUnavailable,
    Observation,
    Target,
    TargetKey,
)
from scaler.replay.demand import TICK, Demand
from scaler.replay.metrics import Metrics
from scaler.replay.traces import EPOCH
from tests.unit.backtest.small import BY_LUCK, HOUR, NOISY, PUNCTUAL, QUIET, HourBefore, case, hourly_jump, ours, steady
from tests.unit.replay.simulated import MINUTE

T0 = datetime(2026, 1, 5, tzinfo=UTC)


def span(start: float, end: float, begin: datetime = T0) -> Span:
    """From so many minutes after a time."""
    return Span(begin + start * MINUTE, begin + end * MINUTE)


def demand(minutes: int, value: float = 10.0) -> Demand:
    return Demand(T0, MINUTE, np.repeat(value + np.arange(minutes), 4))


def test_a_span_begins_with_its_start_and_is_over_at_its_end() -> None:
    hour = span(0, 60)
    assert [hour.holds(T0 + at * MINUTE) for at in (-1, 0, 59, 60)] == [False, True, True, False]


def test_nothing_is_recorded_in_a_hole_while_the_load_arrives_all_the_same() -> None:
    whole = Metrics([demand(60), demand(60)], MINUTE)
    holed = HoledMetrics([demand(60), demand(60)], MINUTE, [span(20, 30), None])
    assert np.array_equal(holed.load, whole.load)
    assert np.array_equal(holed.sampled[:, 1], whole.sampled[:, 1], equal_nan=True)
    # Recorded until minute 20, known a minute later; recorded again from minute 30, the first whole minute known at 32.
    blind = np.isnan(holed.sampled[:, 0]) & ~np.isnan(whole.sampled[:, 0])
    assert np.flatnonzero(blind).tolist() == list(range(22 * 4, 32 * 4))
    assert holed.last_value[31 * 4 - 1, 0] == 20 * 4
    past = holed.between(start=T0, end=T0 + 50 * MINUTE, step=MINUTE, now=T0 + 55 * MINUTE)
    assert np.flatnonzero(np.isnan(past[:, 0])).tolist() == list(range(20, 30))  # for good
    assert not np.isnan(past[:, 1]).any()


@dataclass(slots=True)
class Source:
    asked: list[datetime] = field(default_factory=list)

    def observe(self, targets: Sequence[Target], now: datetime) -> Mapping[TargetKey, Observation]:
        self.asked.append(now)
        return {}

    def load_between(
        self, targets: Sequence[Target], *, start: datetime, end: datetime, step: timedelta, now: datetime
    ) -> Mapping[TargetKey, FloatArray]:
        self.asked.append(now)
        return {}


def test_a_source_raises_while_it_is_away_and_answers_before_and_after() -> None:
    behind = Source()
    source = SourceAway(behind, span(10, 20))
    for at in (10, 19):
        with pytest.raises(MetricsUnavailable):
            source.observe([], T0 + at * MINUTE)
        with pytest.raises(MetricsUnavailable):
            source.load_between([], start=T0, end=T0 + MINUTE, step=MINUTE, now=T0 + at * MINUTE)
    for at in (9, 20):
        source.observe([], T0 + at * MINUTE)
        source.load_between([], start=T0, end=T0 + MINUTE, step=MINUTE, now=T0 + at * MINUTE)
    assert behind.asked == [T0 + at * MINUTE for at in (9, 9, 20, 20)]


def request(at: datetime) -> ForecastRequest:
    return ForecastRequest(TargetKey("a", "b", "c"), at, MINUTE, np.ones(8), np.ones((2, 38)))


class Behind:
    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        return {}

    def wake(self) -> timedelta:
        return timedelta(seconds=7)


def test_a_forecaster_is_down_by_the_time_that_the_newest_sample_tells() -> None:
    down = ForecasterDown(Behind(), span(10, 20), lag=2 * MINUTE)
    for newest in (8, 17):
        with pytest.raises(ForecastUnavailable) as raised:
            down.forecast([request(T0), request(T0 + newest * MINUTE)])
        assert raised.value.cause is ForecastFailure.UNREACHABLE
    for newest in (7, 18):
        assert down.forecast([request(T0 + newest * MINUTE)]) == {}
    assert down.forecast([]) == {}
    assert down.wake() == timedelta(seconds=7)


def jumpy(*, holed: Span | None = None, lucky: bool = False) -> Stage:
    """Six hours, each with a jump at its twentieth minute; the last one is scored."""
    start_up, settings = (BY_LUCK, NOISY) if lucky else (PUNCTUAL, QUIET)
    stage = stage_of([case(hourly_jump(6), decided=4 * HOUR, checked=5 * HOUR, start_up=start_up)], settings)
    if holed is None:
        return stage
    return replace(stage, metrics=HoledMetrics(stage.metrics.demands, stage.settings.physics.metric_delay, [holed]))


LAST = EPOCH + 5 * HOUR  # when the scored hour begins, on the clock of the stage
HOLE = Span(LAST + 15 * MINUTE, LAST + 35 * MINUTE)


def test_an_hpa_holds_what_it_has_while_nothing_is_recorded() -> None:
    blind, seeing = jumpy(holed=HOLE), jumpy()
    (held,) = simulate.over_hpa(blind, [[Setting(0.7)]], blind.checking, None)
    (moved,) = simulate.over_hpa(seeing, [[Setting(0.7)]], seeing.checking, None)
    until = 35 * MINUTE // TICK
    assert set(held.ready[:until].tolist()) == {5}
    assert moved.ready[:until].max() > 15
    assert held.scores.under_time > moved.scores.under_time


def test_a_kpa_asks_the_pods_and_misses_no_metrics() -> None:
    blind, seeing = jumpy(holed=HOLE), jumpy()
    (one,) = simulate.over_kpa(blind, [[Setting(0.7)]], blind.checking, None)
    (other,) = simulate.over_kpa(seeing, [[Setting(0.7)]], seeing.checking, None)
    assert one.scores == other.scores


@pytest.mark.parametrize("lucky", [pytest.param(False, id="quiet"), pytest.param(True, id="noise and luck")])
@pytest.mark.parametrize("fault", ["metrics", "source", "forecaster"])
@pytest.mark.parametrize("target", [0.7, 0.9])
def test_with_a_fault_ai_hpa_is_never_short_for_longer_than_the_hpa_alone(
    fault: str, target: float, *, lucky: bool
) -> None:
    stage = jumpy(holed=HOLE if fault != "forecaster" else None, lucky=lucky)
    told = ours()
    if fault == "source":
        told = replace(told, see=lambda source: SourceAway(source, HOLE))
    if fault == "forecaster":
        down = Span(stage.cases[0].checked + 15 * MINUTE, stage.cases[0].checked + 35 * MINUTE)
        told = replace(told, forecaster=ForecasterDown(HourBefore(), down, lag=1.5 * MINUTE))
    alone, floored = simulate.over_hpa(stage, [[Setting(target), Setting(target, 0.95)]], stage.checking, told)
    assert alone.scores.under_time > 0
    assert floored.scores.under_time < alone.scores.under_time


@pytest.mark.parametrize("fault", ["metrics", "source"])
def test_ai_hpa_never_lowers_a_floor_on_metrics_that_are_away(fault: str) -> None:
    # The load falls to nothing within the hole; nobody can see it.
    load = np.concatenate((steady(5.25, 70.0), steady(0.75, 1.0)))
    stage = stage_of([case(load, decided=4 * HOUR, checked=5 * HOUR)], QUIET)
    hole = Span(LAST + 10 * MINUTE, LAST + 40 * MINUTE)
    stage = replace(stage, metrics=HoledMetrics(stage.metrics.demands, stage.settings.physics.metric_delay, [hole]))
    told = ours()
    if fault == "source":
        told = replace(told, see=lambda source: SourceAway(source, hole))
    alone, floored = simulate.over_hpa(stage, [[Setting(0.7), Setting(0.7, 0.95)]], stage.checking, told)
    until = 40 * MINUTE // TICK
    assert (floored.ready[:until] >= alone.ready[:until]).all()
    assert floored.ready[:until].min() == 10
