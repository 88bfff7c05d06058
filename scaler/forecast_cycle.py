"""When forecasts are asked for, beside the tick: period, wake-up, deadline and back-off; it never blocks a tick."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, TypeAlias

from scaler.bounded import Bounded, check_bounds
from scaler.domain import Forecast, ForecastFailure, ForecastRequest, ForecastUnavailable, TargetKey

Ask: TypeAlias = Callable[[Sequence[ForecastRequest]], Mapping[TargetKey, Forecast]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ForecastCycleConfig:
    """How often, and for how long, the forecaster is asked."""

    forecast_period: Annotated[
        timedelta,
        Bounded(
            timedelta(seconds=15),
            timedelta(seconds=3600),
            "Time from one call to the next. A cached forecast reaches half an hour or more, and between calls the "
            "newest sample may still raise it; five minutes lose little and cost a fifth of a call per minute.",
        ),
    ] = timedelta(seconds=300)
    forecast_deadline: Annotated[
        timedelta,
        Bounded(
            timedelta(seconds=1),
            timedelta(seconds=600),
            "Time after which a call counts as failed. The model may have to start from zero first.",
        ),
    ] = timedelta(seconds=60)
    forecast_wake_ahead: Annotated[
        timedelta,
        Bounded(
            timedelta(0),
            timedelta(seconds=600),
            "The forecaster is woken this long before a call, so that a start from zero is over when it comes.",
        ),
    ] = timedelta(seconds=20)
    forecast_retry: Annotated[
        timedelta,
        Bounded(
            timedelta(seconds=1),
            timedelta(seconds=600),
            "Time from a failed call to the next; doubled with each failure in a row, up to forecast_period. Two "
            "ticks: a restarted model is found soon, a broken one is not hammered.",
        ),
    ] = timedelta(seconds=30)

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_bounds(self)
        for name in ("forecast_retry", "forecast_wake_ahead"):
            value = getattr(self, name)
            if value > self.forecast_period:
                raise ValueError(f"{name} must be at most forecast_period ({self.forecast_period}), got {value}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one call.

    Attributes:
        requests: All that was asked.
        forecasts: All that was answered; empty after a failure.
        failure: None after a good call.
    """

    requests: tuple[ForecastRequest, ...]
    forecasts: Mapping[TargetKey, Forecast]
    failure: ForecastFailure | None = None


@dataclass(slots=True)
class _Call:
    requests: tuple[ForecastRequest, ...]
    future: Future[Mapping[TargetKey, Forecast]]
    asked_at: datetime
    overdue: bool = False


class ForecastCycle:
    """Asks the forecaster once per period and keeps its one call under way.

    A call that outlasts the deadline is reported as failed, and its answer is still taken if it comes before the next
    call: a forecast counts by its origin, not by when it arrived. Then it is dropped; that a call ends at all is the
    forecaster's duty, or it keeps its worker.
    """

    def __init__(self, *, ask: Ask, wake: Callable[[], None], executor: Executor, config: ForecastCycleConfig) -> None:
        self._ask = ask
        self._wake = wake
        self._executor = executor
        self._config = config
        self._call: _Call | None = None
        self._due: datetime | None = None
        self._woken = False
        self._failures = 0

    def due(self, now: datetime) -> bool:
        """Say whether to ask now; wakes the forecaster when that is near."""
        if self._call is not None and not self._call.overdue:
            return False
        if self._due is None or now >= self._due:
            return True
        if not self._woken and now >= self._due - self._config.forecast_wake_ahead:
            self._woken = True
            self._executor.submit(self._wake)
        return False

    def ask(self, requests: Sequence[ForecastRequest], now: datetime) -> None:
        """Start one call for all requests; without any, come back soon."""
        if self._call is not None:
            self._call.future.cancel()
            self._call = None
        if not requests:
            self._schedule(now + self._config.forecast_retry)
            return
        self._call = _Call(tuple(requests), self._executor.submit(self._ask, tuple(requests)), asked_at=now)
        self._schedule(now + self._config.forecast_period)

    def poll(self, now: datetime) -> Answer | None:
        """Look once at the call under way.

        Returns:
            What came of it, once; None while there is nothing new.
        """
        call = self._call
        if call is None:
            return None
        if call.future.done():
            self._call = None
            return self._finished(call, now)
        if not call.overdue and now - call.asked_at >= self._config.forecast_deadline:
            call.overdue = True
            return self._failed(call, ForecastFailure.TIMEOUT, now)
        return None

    def _finished(self, call: _Call, now: datetime) -> Answer | None:
        error = call.future.exception()
        if error is None:
            self._failures = 0
            self._schedule(call.asked_at + self._config.forecast_period)
            return Answer(call.requests, call.future.result())
        if call.overdue:
            return None
        known = isinstance(error, ForecastUnavailable)
        # A forecaster's bug must not stop the decisions either; only here is its traceback still at hand.
        logger.warning("forecast_failed", extra={"error": str(error)}, exc_info=None if known else error)
        return self._failed(
            call, error.cause if isinstance(error, ForecastUnavailable) else ForecastFailure.INTERNAL, now
        )

    def _failed(self, call: _Call, failure: ForecastFailure, now: datetime) -> Answer:
        self._schedule(now + min(self._config.forecast_retry * 2**self._failures, self._config.forecast_period))
        # Past the period every further doubling is the same; the exponent must not grow for days.
        self._failures = min(self._failures + 1, 12)
        return Answer(call.requests, {}, failure)

    def _schedule(self, due: datetime) -> None:
        self._due = due
        self._woken = False
