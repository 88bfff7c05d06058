"""When the forecaster is asked and woken, and what becomes of its answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from scaler.domain import Forecast, ForecastFailure, ForecastRequest, ForecastUnavailable, Source, TargetKey
from scaler.forecast_cycle import Answer, ForecastCycle, ForecastCycleConfig
from scaler.lead_time import LeadTimeConfig

T0 = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
CONFIG = ForecastCycleConfig()
KEY = TargetKey("shop", "Deployment", "web")
REQUEST = ForecastRequest(KEY, T0, timedelta(seconds=60), np.ones(8), np.ones((2, 38)))
FORECAST = Forecast(T0, timedelta(seconds=60), (0.5,), np.ones((30, 1)), np.ones((30, 1)), Source.MODEL)


class ManualExecutor(Executor):
    """Runs nothing until told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, lambda: fn(*args, **kwargs)))
        return future

    def run_all(self) -> None:
        for future, job in self.waiting:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(job())
                except Exception as error:  # noqa: BLE001  # an executor hands over whatever was raised
                    future.set_exception(error)
        self.waiting.clear()


class Model:
    """A forecaster that answers, or raises `error`."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.calls = 0
        self.start = timedelta(0)
        self.wakes = 0

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return {request.key: FORECAST for request in requests}

    def wake(self) -> timedelta:
        self.wakes += 1
        return self.start


class Bench:
    """One cycle with its model, driven by seconds after T0."""

    def __init__(self, config: ForecastCycleConfig = CONFIG) -> None:
        self.model, self.executor = Model(), ManualExecutor()
        self.cycle = ForecastCycle(
            ask=self.model.forecast,
            wake=self.model.wake,
            executor=self.executor,
            config=config,
            starts=LeadTimeConfig(),
            tick=timedelta(seconds=15),
        )

    def due(self, at: float, period: float = 300) -> bool:
        return self.cycle.due(T0 + timedelta(seconds=at), timedelta(seconds=period))

    def ask(self, at: float, *requests: ForecastRequest) -> None:
        self.cycle.ask(lambda: requests or (REQUEST,), T0 + timedelta(seconds=at))

    def poll(self, at: float) -> Answer | None:
        return self.cycle.poll(T0 + timedelta(seconds=at))


def unavailable(cause: ForecastFailure = ForecastFailure.SERVER_ERROR) -> ForecastUnavailable:
    return ForecastUnavailable(cause, "no")


def test_the_first_forecast_is_due_at_once_and_the_next_one_a_period_after_it_was_asked() -> None:
    bench = Bench()
    assert bench.due(0)
    bench.ask(0)
    assert not bench.due(0)
    bench.executor.run_all()
    answer = bench.poll(30)
    assert answer is not None
    assert (answer.failure, dict(answer.forecasts)) == (None, {KEY: FORECAST})
    assert bench.poll(30) is None
    assert (bench.due(299), bench.due(300)) == (False, True)


def test_a_period_that_becomes_shorter_counts_at_once() -> None:
    bench = Bench()
    bench.ask(0)
    bench.executor.run_all()
    bench.poll(15)
    assert [bench.due(90, period) for period in (300, 91, 90)] == [False, False, True]


def test_no_period_is_waited_for_after_a_failure() -> None:
    bench = Bench()
    bench.model.error = unavailable()
    bench.ask(0)
    bench.executor.run_all()
    bench.poll(0)
    assert [bench.due(at, period=15) for at in (15, 29, 30)] == [False, False, True]


@pytest.mark.parametrize(
    ("workloads", "seconds"),
    [
        pytest.param(1, 60, id="one"),
        pytest.param(200, 60, id="as many as a minute is enough for"),
        pytest.param(600, 180, id="more"),
        pytest.param(5_000, 300, id="more than the longest period is enough for"),
    ],
)
def test_the_more_workloads_the_rarer_a_forecast(workloads: int, seconds: float) -> None:
    assert CONFIG.period_of(workloads) == timedelta(seconds=seconds)


def test_a_period_beyond_the_longest_one_is_the_longest() -> None:
    config = replace(CONFIG, forecast_period=timedelta(seconds=600))
    assert config.period_of(1) == config.period_of(5_000) == config.longest_period == timedelta(seconds=600)


@pytest.mark.parametrize(
    ("at", "wakes"), [pytest.param(269, 0, id="too early"), pytest.param(270, 1, id="20 s in whole ticks")]
)
def test_the_forecaster_is_woken_ahead_of_its_call(at: float, wakes: int) -> None:
    bench = Bench()
    bench.ask(0)
    bench.executor.run_all()
    bench.poll(15)
    assert not bench.due(at)
    bench.executor.run_all()
    assert bench.model.wakes == wakes


def test_the_forecaster_is_woken_once_per_call() -> None:
    bench = Bench()
    for period in range(2):
        start = period * 300
        bench.ask(start)
        bench.executor.run_all()
        bench.poll(start + 15)
        for at in (281, 285, 290):
            bench.due(start + at)
        bench.executor.run_all()
        assert bench.model.wakes == period + 1


def test_the_wake_up_follows_the_starts_that_were_seen() -> None:
    bench = Bench()
    bench.model.start = timedelta(seconds=40)
    for start in (0, 300):
        bench.ask(start)
        bench.executor.run_all()
        bench.poll(start + 15)
        bench.due(start + 285)
        bench.executor.run_all()
        bench.due(start + 299)
    # 40 s is longer than the prior and counts at once; 45 s are three whole ticks.
    assert bench.cycle.starts.lead_time == timedelta(seconds=40)
    bench.ask(600)
    bench.executor.run_all()
    bench.poll(615)
    wakes = bench.model.wakes
    bench.due(854)
    assert not bench.executor.waiting
    bench.due(855)
    bench.executor.run_all()
    assert bench.model.wakes == wakes + 1


def test_a_forecaster_that_was_awake_says_nothing_of_its_start() -> None:
    bench = Bench()
    bench.model.start = timedelta(seconds=0.5)
    bench.ask(0)
    bench.executor.run_all()
    bench.poll(15)
    bench.due(285)
    bench.executor.run_all()
    bench.due(299)
    assert bench.cycle.starts.durations == ()


def test_a_wake_up_that_fails_leaves_the_cycle_alone(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.cycle._wake = lambda: (_ for _ in ()).throw(KeyError("bug"))
    bench.ask(0)
    bench.executor.run_all()
    bench.poll(15)
    bench.due(285)
    bench.executor.run_all()
    with caplog.at_level(logging.WARNING):
        assert bench.due(300)
    assert [record.message for record in caplog.records] == ["wake_failed"]


def test_the_past_is_loaded_beside_the_tick() -> None:
    bench = Bench()
    loaded: list[int] = []

    def load() -> tuple[ForecastRequest, ...]:
        loaded.append(1)
        return (REQUEST,)

    bench.cycle.ask(load, T0)
    assert not loaded
    bench.executor.run_all()
    assert loaded == [1]


def test_a_failed_call_is_repeated_with_growing_pauses_up_to_the_period() -> None:
    bench = Bench()
    bench.model.error = unavailable()
    at, pauses = 0, []
    for _ in range(6):
        bench.ask(at)
        bench.executor.run_all()
        answer = bench.poll(at)
        assert answer is not None
        assert (answer.failure, dict(answer.forecasts)) == (ForecastFailure.SERVER_ERROR, {})
        assert answer.requests == (REQUEST,)
        pause = next(p for p in range(1, 400) if bench.due(at + p))
        pauses.append(pause)
        at += pause
    assert pauses == [30, 60, 120, 240, 300, 300]


def test_a_good_call_ends_the_growing_pauses() -> None:
    bench = Bench()
    for at, error in ((0, unavailable()), (30, unavailable()), (90, None), (390, unavailable())):
        bench.model.error = error
        bench.ask(at)
        bench.executor.run_all()
        bench.poll(at)
    assert (bench.due(419), bench.due(420)) == (False, True)


class TestDeadline:
    def test_a_call_that_outlasts_it_has_failed(self) -> None:
        bench = Bench()
        bench.ask(0)
        assert bench.poll(59) is None
        assert not bench.due(59)
        answer = bench.poll(60)
        assert answer is not None
        assert answer.failure is ForecastFailure.TIMEOUT
        assert bench.poll(61) is None
        assert (bench.due(89), bench.due(90)) == (False, True)

    def test_a_late_answer_still_counts_and_ends_the_failure(self) -> None:
        bench = Bench()
        bench.ask(0)
        bench.poll(60)
        bench.executor.run_all()
        answer = bench.poll(75)
        assert answer is not None
        assert dict(answer.forecasts) == {KEY: FORECAST}
        assert (bench.due(90), bench.due(300)) == (False, True)

    def test_an_answer_later_than_the_next_call_is_dropped(self) -> None:
        bench = Bench()
        bench.ask(0)
        bench.poll(60)
        bench.ask(90)
        bench.executor.run_all()
        # The first call never started and was cancelled; only the second ran.
        assert bench.model.calls == 1
        assert bench.poll(105) is not None
        assert bench.poll(105) is None

    def test_a_late_failure_names_its_cause_and_puts_nothing_off(self) -> None:
        bench = Bench()
        bench.model.error = unavailable()
        bench.ask(0)
        bench.poll(60)
        bench.executor.run_all()
        answer = bench.poll(75)
        assert answer is not None
        assert answer.failure is ForecastFailure.SERVER_ERROR
        assert bench.poll(76) is None
        assert (bench.due(89), bench.due(90)) == (False, True)

    def test_a_call_that_was_slow_to_its_end_is_not_reported_twice(self) -> None:
        bench = Bench()
        bench.model.error = ForecastUnavailable(ForecastFailure.TIMEOUT, "no answer")
        bench.ask(0)
        bench.poll(60)
        bench.executor.run_all()
        assert bench.poll(75) is None


def test_a_bug_of_the_forecaster_is_a_failure_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    bench.model.error = KeyError("no such tensor")
    bench.ask(0)
    bench.executor.run_all()
    with caplog.at_level(logging.WARNING):
        answer = bench.poll(15)
    assert answer is not None
    assert answer.failure is ForecastFailure.INTERNAL
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is bench.model.error


def test_without_a_request_nothing_is_asked_and_it_is_tried_again_soon() -> None:
    bench = Bench()
    bench.cycle.ask(lambda: (), T0)
    bench.executor.run_all()
    assert bench.poll(0) is None
    assert bench.model.calls == 0
    assert not bench.due(29)
    bench.executor.run_all()
    assert bench.model.wakes == 0
    assert (bench.due(29), bench.due(30)) == (False, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"forecast_period": timedelta(seconds=14)}, "forecast_period must lie from", id="too short"),
        pytest.param(
            {"forecast_retry": timedelta(seconds=301)}, "forecast_retry must be at most the longer of", id="retry"
        ),
        pytest.param({"forecast_wake_ahead": timedelta(seconds=301)}, "forecast_wake_ahead must be at most", id="wake"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)
