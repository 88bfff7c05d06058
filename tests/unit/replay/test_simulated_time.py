from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from scaler.controller import Forecaster
from scaler.domain import Forecast, ForecastFailure, ForecastRequest, ForecastUnavailable, TargetKey
from scaler.replay.impatient import ImpatientForecaster
from scaler.replay.simulated_time import SimulatedExecutor

T0 = datetime(2026, 1, 5, tzinfo=UTC)
LATENCY = timedelta(seconds=20)


def test_an_answer_is_revealed_when_its_latency_is_over() -> None:
    executor = SimulatedExecutor(T0, LATENCY)
    future = executor.submit(max, 3, 4)
    executor.advance(T0 + LATENCY - timedelta(seconds=1))
    assert not future.done()
    executor.advance(T0 + LATENCY)
    assert future.result(timeout=0) == 4


def test_an_error_is_revealed_the_same_way() -> None:
    executor = SimulatedExecutor(T0, LATENCY)
    future = executor.submit(int, "x")
    assert not future.done()
    executor.advance(T0 + LATENCY)
    assert isinstance(future.exception(timeout=0), ValueError)


def test_a_cancelled_call_stays_cancelled() -> None:
    executor = SimulatedExecutor(T0, LATENCY)
    future, other = executor.submit(max, 3, 4), executor.submit(max, 5, 6)
    future.cancel()
    executor.advance(T0 + LATENCY)
    assert future.cancelled()
    assert other.result(timeout=0) == 6


class Flaky:
    """Fails as often as it is told, and counts what it is asked."""

    def __init__(self, *outcomes: bool) -> None:
        self.outcomes = list(outcomes)
        self.woken = 0

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        if not self.outcomes.pop(0):
            raise ForecastUnavailable(ForecastFailure.UNREACHABLE, "refused")
        return {}

    def wake(self) -> timedelta:
        self.woken += 1
        return timedelta(0)


def outcomes(forecaster: Forecaster, calls: int) -> list[bool]:
    seen = []
    for _ in range(calls):
        try:
            forecaster.forecast(())
        except ForecastUnavailable:
            seen.append(False)
        else:
            seen.append(True)
    return seen


def test_three_failures_in_a_row_are_enough() -> None:
    flaky = Flaky(False, False, True, False, False, False)
    impatient = ImpatientForecaster(flaky)
    assert outcomes(impatient, 9) == [False, False, True] + [False] * 6
    assert flaky.outcomes == []
    with pytest.raises(ForecastUnavailable, match="given up after 3 failures in a row: refused") as caught:
        impatient.forecast(())
    assert caught.value.cause is ForecastFailure.UNREACHABLE


def test_one_that_is_given_up_is_not_woken_either() -> None:
    flaky = Flaky(False, False, False)
    impatient = ImpatientForecaster(flaky)
    impatient.wake()
    outcomes(impatient, 3)
    impatient.wake()
    assert flaky.woken == 1
