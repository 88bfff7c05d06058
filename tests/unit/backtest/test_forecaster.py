from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler import baselines
from scaler.adapters.kserve_forecaster import call_key
from scaler.backtest.forecaster import EVEN, Answers, CountedForecaster, KeptForecast, SharedBaselines, SharedForecaster
from scaler.baselines import Baselines
from scaler.domain import Forecast, ForecastFailure, ForecastRequest, ForecastUnavailable, Source, TargetKey
from scaler.replay.model_server import ModelServerFailed
from scaler.replay.traces import EPOCH
from tests.unit.backtest.small import T0
from tests.unit.replay.simulated import MINUTE

AHEAD = (timedelta(days=5), timedelta(0), timedelta(days=-3))
LOADS = 3


def key(number: int) -> TargetKey:
    return TargetKey("backtest", "Deployment", f"lane-{number}")


def load_of(asked: TargetKey) -> int:
    """Lane 7 meets load 1."""
    return int(asked.name.removeprefix("lane-")) % LOADS


def request(lane: int, *, minute: int = 0, step: timedelta = MINUTE) -> ForecastRequest:
    return ForecastRequest(
        key(lane), T0 + minute * MINUTE, step, np.full(8, float(load_of(key(lane)))), np.full((2, 38), np.nan)
    )


@dataclass(slots=True)
class Asked:
    """Answers with the load as it is, and keeps what it was asked; some loads it cannot answer."""

    batches: list[list[ForecastRequest]] = field(default_factory=list)
    mute: frozenset[float] = frozenset()
    woken: int = 0

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        self.batches.append(list(requests))
        return {asked.key: answer(asked) for asked in requests if asked.load[0] not in self.mute}

    def wake(self) -> timedelta:
        self.woken += 1
        return timedelta(seconds=4)


def answer(asked: ForecastRequest) -> Forecast:
    shape = np.full((30, 1), asked.load[0])
    return Forecast(asked.origin, asked.step, (0.5,), shape, shape, Source.MODEL)


def shared(behind: Asked, answers: Answers | None = None) -> SharedForecaster:
    return SharedForecaster(behind, load_of, AHEAD, {} if answers is None else answers)


def loads(behind: Asked) -> list[list[float]]:
    """Each batch by the loads in it."""
    return [[float(asked.load[0]) for asked in batch] for batch in behind.batches]


def test_lanes_of_one_load_ask_once_and_each_is_answered() -> None:
    behind = Asked()
    found = shared(behind).forecast([request(lane) for lane in (0, 1, 3, 4, 6)])
    assert loads(behind) == [[0.0, 1.0]]
    assert {asked: forecast.quantiles[0, 0] for asked, forecast in found.items()} == {
        key(0): 0.0,
        key(1): 1.0,
        key(3): 0.0,
        key(4): 1.0,
        key(6): 0.0,
    }


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(request(1), id="another load"),
        pytest.param(request(3, minute=5), id="another origin"),
        pytest.param(request(3, step=2 * MINUTE), id="another step"),
    ],
)
def test_what_differs_in_load_origin_or_step_is_asked_apart(other: ForecastRequest) -> None:
    behind = Asked()
    found = shared(behind).forecast([request(0), other])
    wanted = [asked for asked in behind.batches[0] if asked.key.kind != EVEN]
    assert [(asked.load[0], asked.origin - AHEAD[int(asked.load[0])], asked.step) for asked in wanted] == [
        (one.load[0], one.origin, one.step) for one in (request(0), other)
    ]
    assert (found[other.key].origin, found[other.key].step) == (other.origin, other.step)


@pytest.mark.parametrize("lanes", [pytest.param(n, id=f"{n} loads") for n in (1, 2, 3)])
def test_an_odd_batch_is_made_even_and_nobody_hears_of_it(lanes: int) -> None:
    behind = Asked()
    found = shared(behind).forecast([request(lane) for lane in range(lanes)])
    assert len(behind.batches[0]) == lanes + lanes % 2
    assert len({asked.key for asked in behind.batches[0]}) == len(behind.batches[0])
    assert list(found) == [key(lane) for lane in range(lanes)]
    if lanes % 2:
        last, more = behind.batches[0][-2:]
        assert (more.origin, more.step) == (last.origin, last.step)
        assert more.load is last.load


def test_each_call_that_goes_out_is_even() -> None:
    behind = Asked()
    # Two steps, and of the first one loads with a time of day and without: calls of two, one and one.
    without_clock, longer = replace(request(1), origin=EPOCH), request(2, step=5 * MINUTE)
    shared(behind).forecast([request(0), request(3, minute=1), without_clock, longer])
    (batch,) = behind.batches
    calls: dict[tuple[object, ...], list[float]] = {}
    for asked in batch:
        calls.setdefault(call_key(asked), []).append(float(asked.load[0]))
    assert list(calls.values()) == [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]
    assert len({asked.key for asked in batch}) == 6


def test_true_time_goes_out_and_simulated_time_comes_back() -> None:
    behind = Asked()
    found = shared(behind).forecast([request(lane, minute=7) for lane in (0, 1, 2, 5)])
    now = T0 + 7 * MINUTE
    assert [asked.origin for asked in behind.batches[0][:3]] == [now + ahead for ahead in AHEAD]
    assert {forecast.origin for forecast in found.values()} == {now}


def test_what_was_answered_is_not_asked_again_by_another_policy() -> None:
    behind, answers = Asked(), dict[bytes, KeptForecast]()
    first = shared(behind, answers).forecast([request(0), request(1)])
    again = shared(behind, answers).forecast([request(3), request(1), request(2)])
    assert loads(behind) == [[0.0, 1.0], [2.0, 2.0]]
    assert again[key(3)].quantiles.tolist() == first[key(0)].quantiles.tolist()
    assert [again[key(lane)].quantiles[0, 0] for lane in (3, 1, 2)] == [0.0, 1.0, 2.0]


def test_what_is_asked_ahead_is_one_call_and_is_not_asked_again_in_its_turn() -> None:
    behind = Asked()
    forecaster, times = shared(behind), range(4)
    forecaster.ask_ahead(request(lane, minute=minute) for minute in times for lane in (0, 1))
    told = [forecaster.forecast([request(lane, minute=minute) for lane in (0, 4)]) for minute in times]
    assert loads(behind) == [[0.0, 1.0] * 4]
    for minute, found in zip(times, told, strict=True):
        alone = shared(Asked()).forecast([request(lane, minute=minute) for lane in (0, 4)])
        assert {asked: (one.origin, one.quantiles.tolist()) for asked, one in found.items()} == {
            asked: (one.origin, one.quantiles.tolist()) for asked, one in alone.items()
        }


def test_what_could_not_be_asked_ahead_is_asked_in_its_turn() -> None:
    class Late(Asked):
        def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
            if len(requests) > 2:
                raise ForecastUnavailable(ForecastFailure.TIMEOUT, "too much")
            return super().forecast(requests)

    late = Late()
    forecaster = shared(late)
    forecaster.ask_ahead(request(0, minute=minute) for minute in range(4))
    assert late.batches == []
    assert list(forecaster.forecast([request(0)])) == [key(0)]
    assert loads(late) == [[0.0, 0.0]]


def test_what_is_forecast_ahead_without_a_model_is_what_is_forecast_in_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, forecast = list[int](), baselines.forecast

    def counted(requests: Sequence[ForecastRequest]) -> list[Baselines]:
        calls.extend([len(requests)] if requests else [])
        return forecast(requests)

    monkeypatch.setattr(baselines, "forecast", counted)
    without_model = SharedBaselines()
    first, second = ([rising(lane, minute) for lane in range(3)] for minute in (0, 1))
    without_model.ask_ahead([*first, *second[:2]])
    assert calls == [5]
    for requests in (first, second):
        for found, alone in zip(without_model(requests), forecast(requests), strict=True):
            np.testing.assert_array_equal(found.window_max, alone.window_max)
            np.testing.assert_array_equal(found.trend, alone.trend)
    assert calls == [5, 1]
    without_model.ask_ahead(second)
    without_model(first)
    assert calls == [5, 1, 3, 3]


def rising(lane: int, minute: int) -> ForecastRequest:
    """A load that is another one in each lane and minute."""
    return replace(request(lane, minute=minute), load=np.arange(8.0) * (1 + lane) + minute)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"load": np.full(8, 1.5)}, id="another load"),
        pytest.param({"seasonal_load": np.ones((2, 38))}, id="another season"),
        pytest.param({"origin": T0 + MINUTE}, id="another origin"),
        pytest.param({"step": 2 * MINUTE}, id="another step"),
    ],
)
def test_an_answer_is_for_all_that_was_asked(other: dict[str, Any]) -> None:
    behind, answers = Asked(), dict[bytes, KeptForecast]()
    shared(behind, answers).forecast([request(1)])
    shared(behind, answers).forecast([replace(request(1), **other)])
    assert len(behind.batches) == 2


def test_what_was_not_answered_is_asked_again() -> None:
    behind, answers = Asked(mute=frozenset({1.0})), dict[bytes, KeptForecast]()
    assert shared(behind, answers).forecast([request(1)]) == {}
    behind.mute = frozenset()
    assert list(shared(behind, answers).forecast([request(1)])) == [key(1)]


def test_a_load_that_is_not_answered_leaves_all_its_lanes_without_one() -> None:
    found = shared(Asked(mute=frozenset({1.0}))).forecast([request(lane) for lane in (0, 1, 4, 3)])
    assert list(found) == [key(0), key(3)]


def test_a_failure_behind_is_passed_on() -> None:
    class Away(Asked):
        def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
            raise ForecastUnavailable(ForecastFailure.TIMEOUT, "away")

    with pytest.raises(ForecastUnavailable, match="away"):
        shared(Away()).forecast([request(0)])


def test_it_is_always_found_awake_and_nobody_is_asked() -> None:
    behind = Asked()
    assert shared(behind).wake() == timedelta(0)
    assert behind.woken == 0


@given(lanes=st.lists(st.integers(0, 20), unique=True, max_size=12))
def test_what_a_lane_is_told_does_not_depend_on_the_others(lanes: list[int]) -> None:
    behind = Asked()
    together = shared(behind).forecast([request(lane) for lane in lanes])
    assert list(together) == [key(lane) for lane in lanes]
    assert [len(batch) % 2 for batch in behind.batches] == ([0] if lanes else [])
    for lane in lanes:
        alone = shared(Asked()).forecast([request(lane)])[key(lane)]
        assert alone.origin == together[key(lane)].origin
        assert np.array_equal(alone.quantiles, together[key(lane)].quantiles)


@dataclass(slots=True)
class Failing:
    """Fails as often as said, then answers."""

    times: int

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        self.times -= 1
        if self.times >= 0:
            raise ForecastUnavailable(ForecastFailure.TIMEOUT, "too slow")
        return {}

    def wake(self) -> timedelta:
        return timedelta(seconds=7)


@pytest.mark.parametrize(
    ("failures", "calls", "refused"),
    [
        pytest.param(0, 10, False, id="none failed"),
        pytest.param(1, 1000, False, id="a hiccup"),
        pytest.param(2, 1000, True, id="more than a hiccup"),
        pytest.param(0, 0, False, id="nobody asked"),
    ],
)
def test_failures_are_counted_and_too_many_are_refused(failures: int, calls: int, *, refused: bool) -> None:
    counted = CountedForecaster(Failing(failures))
    for call in range(calls):
        with pytest.raises(ForecastUnavailable) if call < failures else nullcontext():
            counted.forecast([request(0), request(1)])
    assert (counted.asked, counted.failed, len(counted.failures)) == (2 * calls, 2 * failures, failures)
    assert counted.wake() == timedelta(seconds=7)
    with pytest.raises(ModelServerFailed, match="4 of 2000 requests") if refused else nullcontext():
        counted.check()
