"""When forecasts are asked for, beside the tick: period, wake-up, deadline and back-off; it never blocks a tick."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Annotated, Final, TypeAlias

from scaler import lead_time
from scaler.bounded import Bounded, check_bounds
from scaler.domain import Forecast, ForecastFailure, ForecastRequest, ForecastUnavailable, TargetKey
from scaler.lead_time import LeadTimeConfig, LeadTimeState

Load: TypeAlias = Callable[[], Sequence[ForecastRequest]]
Ask: TypeAlias = Callable[[Sequence[ForecastRequest]], Mapping[TargetKey, Forecast]]
Wake: TypeAlias = Callable[[], timedelta]

# A touch that is answered this fast found the forecaster awake and says nothing of how long a start takes.
AWAKE = timedelta(seconds=0.5)

# 1,000 workloads every five minutes: more often, they would cost the scaler more CPU than all that it does in between.
PER_WORKLOAD: Final = timedelta(seconds=0.3)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ForecastCycleConfig:
    """How often, and for how long, the forecaster is asked."""

    forecast_period: Annotated[
        timedelta,
        Bounded(
            timedelta(seconds=15),
            timedelta(seconds=3600),
            "Time from one call to the next; 0.3 s for each workload where that is longer, which is where there are "
            "more than 200. On loads with a value a minute, an HPA with floors is short of pods for less time with a "
            "forecast a minute than with one every five (docs/benchmark.md).",
        ),
    ] = timedelta(seconds=60)
    forecast_period_max: Annotated[
        timedelta,
        Bounded(
            timedelta(seconds=15),
            timedelta(seconds=3600),
            "Longest time from one call to the next, however many workloads there are, and the time while none of them "
            "is forecast to need more than its fewest replicas: the model may sleep in between. Nothing where "
            "forecast_period is longer.",
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
            "The forecaster is woken this long before a call, so that a start from zero is over when it comes. Stands "
            "in until starts have been seen; then their 90 % quantile counts.",
        ),
    ] = timedelta(seconds=20)
    forecast_retry: Annotated[
        timedelta,
        Bounded(
            timedelta(seconds=1),
            timedelta(seconds=600),
            "Time from a failed call to the next; doubled with each failure in a row, up to the longest period. Two "
            "ticks: a restarted model is found soon, a broken one is not hammered.",
        ),
    ] = timedelta(seconds=30)

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_bounds(self)
        for name in ("forecast_retry", "forecast_wake_ahead"):
            value, longest = getattr(self, name), self.longest_period
            if value > longest:
                raise ValueError(
                    f"{name} must be at most the longer of forecast_period and forecast_period_max ({longest}), "
                    f"got {value}"
                )

    @property
    def longest_period(self) -> timedelta:
        """Longest time from one call to the next while the forecaster answers."""
        return max(self.forecast_period, self.forecast_period_max)

    def period_of(self, workloads: int) -> timedelta:
        """Time from one call to the next while a forecast may change something.

        Args:
            workloads: That are forecast for with each call.
        """
        return min(max(self.forecast_period, workloads * PER_WORKLOAD), self.longest_period)


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
    """One call under way.

    Attributes:
        requests: Filled in by the executor's thread once the past is loaded.
    """

    asked_at: datetime
    requests: tuple[ForecastRequest, ...] = ()
    future: Future[Mapping[TargetKey, Forecast]] = field(init=False)
    overdue: bool = False


class ForecastCycle:
    """Asks the forecaster once per period and keeps its one call under way.

    The past is loaded beside the tick too: with a metrics store behind it, that takes as long as the call itself.

    A call that outlasts the deadline is reported as failed, and its answer is still taken if it comes before the next
    call: a forecast counts by its origin, not by when it arrived. Then it is dropped; that a call ends at all is the
    forecaster's duty, or it keeps its worker.
    """

    def __init__(
        self,
        *,
        ask: Ask,
        wake: Wake,
        executor: Executor,
        config: ForecastCycleConfig,
        starts: LeadTimeConfig,
        tick: timedelta,
    ) -> None:
        """Start with nothing asked.

        Args:
            ask: Answers all requests; raises ForecastUnavailable.
            wake: Touches the forecaster; tells how long it took to answer.
            executor: Runs what takes time; one worker is enough.
            config: When to ask.
            starts: How the forecaster's own lead time is learned.
            tick: Time between two looks: nothing can be done in between.
        """
        self._ask = ask
        self._wake = wake
        self._executor = executor
        self._config = config
        self._starts_config = replace(starts, lead_time_prior=max(config.forecast_wake_ahead, timedelta(seconds=1)))
        self._starts = lead_time.start(self._starts_config)
        self._tick = tick
        self._call: _Call | None = None
        self._asked_at: datetime | None = None
        self._retry_at: datetime | None = None
        self._waking: Future[timedelta] | None = None
        self._woken = False
        self._failures = 0

    @property
    def starts(self) -> LeadTimeState:
        """How long the forecaster takes from a first touch to an answer, learned from the starts seen."""
        return self._starts

    def due(self, now: datetime, period: timedelta) -> bool:
        """Say whether to ask now; wakes the forecaster when that is near.

        Args:
            now: Time of the tick.
            period: Time from one call to the next, as of now.
        """
        self._learn_start()
        if self._call is not None and not self._call.overdue:
            return False
        if self._asked_at is None:
            return True
        due = self._retry_at if self._retry_at is not None else self._asked_at + period
        if now >= due:
            return True
        if self._config.forecast_wake_ahead and not self._woken and now >= due - self._wake_ahead():
            self._woken = True
            self._waking = self._executor.submit(self._wake)
        return False

    def ask(self, load: Load, now: datetime) -> None:
        """Start one call: load the past, then ask for all of it together. Without any past, come back soon.

        Args:
            load: Runs beside the tick; must touch nothing that a tick changes.
            now: Time of the tick.
        """
        if self._call is not None:
            self._call.future.cancel()
        call = _Call(asked_at=now)
        call.future = self._executor.submit(self._work, call, load)
        self._call = call
        self._asked_at = now
        self._schedule(None)

    def _work(self, call: _Call, load: Load) -> Mapping[TargetKey, Forecast]:
        call.requests = tuple(load())
        return self._ask(call.requests) if call.requests else {}

    def _wake_ahead(self) -> timedelta:
        """Whole ticks that a start takes: a wake-up between two ticks is not possible."""
        return -(-self._starts.lead_time // self._tick) * self._tick

    def _learn_start(self) -> None:
        if self._waking is None or not self._waking.done():
            return
        waking, self._waking = self._waking, None
        error = waking.exception()
        if error is not None:
            # A forecaster's bug must not stop the decisions; only here is its traceback still at hand.
            logger.warning("wake_failed", extra={"error": str(error)}, exc_info=error)
        elif (took := waking.result()) > AWAKE:
            self._starts = lead_time.learn(self._starts, (took,), self._starts_config)

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
        if error is None and not call.requests:
            self._schedule(call.asked_at + self._config.forecast_retry)
            self._woken = True  # nobody may have enough of a past next time either: let the forecaster sleep
            return None
        if error is None:
            self._failures = 0
            self._schedule(None)
            return Answer(call.requests, call.future.result())
        known = isinstance(error, ForecastUnavailable)
        # A forecaster's bug must not stop the decisions either; only here is its traceback still at hand.
        logger.warning("forecast_failed", extra={"error": str(error)}, exc_info=None if known else error)
        cause = error.cause if isinstance(error, ForecastUnavailable) else ForecastFailure.INTERNAL
        if call.overdue:
            # Counted as failed already. A server that refuses is asked again until the deadline, so that only now it
            # shows that the call was not merely slow.
            return Answer(call.requests, {}, cause) if cause is not ForecastFailure.TIMEOUT else None
        return self._failed(call, cause, now)

    def _failed(self, call: _Call, failure: ForecastFailure, now: datetime) -> Answer:
        self._schedule(now + min(self._config.forecast_retry * 2**self._failures, self._config.longest_period))
        # Past the period every further doubling is the same; the exponent must not grow for days.
        self._failures = min(self._failures + 1, 12)
        return Answer(call.requests, {}, failure)

    def _schedule(self, retry_at: datetime | None) -> None:
        """Come back at a time; None is a period after the newest call."""
        self._retry_at = retry_at
        self._woken = False
