"""Simulated time for what is asked beside the tick; nothing here waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ParamSpec, TypeVar

from scaler.controller import Forecaster
from scaler.domain import Forecast, ForecastRequest, TargetKey
from scaler.replay.result import IssuedForecast

P = ParamSpec("P")
R = TypeVar("R")


class SimulatedExecutor(Executor):
    """Runs a call at once and reveals what came of it when its latency is over in simulated time."""

    def __init__(self, now: datetime, latency: timedelta) -> None:
        self.now = now
        self._latency = latency
        self._hidden: deque[tuple[datetime, Callable[[], None]]] = deque()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Call `fn` now; its future is done once `advance` has passed the latency, or never if cancelled before."""
        future: Future[R] = Future()
        try:
            result = fn(*args, **kwargs)
        except Exception as exc:  # noqa: BLE001 - an executor hands every error to the future
            error = exc
            self._hide(future, lambda: future.set_exception(error))
        else:
            self._hide(future, lambda: future.set_result(result))
        return future

    def advance(self, now: datetime) -> None:
        """Move on to `now` and reveal what is due."""
        self.now = now
        while self._hidden and self._hidden[0][0] <= now:
            self._hidden.popleft()[1]()

    def _hide(self, future: Future[R], reveal: Callable[[], None]) -> None:
        def reveal_unless_cancelled() -> None:
            if future.set_running_or_notify_cancel():
                reveal()

        self._hidden.append((self.now + self._latency, reveal_unless_cancelled))


@dataclass(frozen=True, slots=True)
class RecordingForecaster:
    """Passes everything through to a forecaster and keeps every forecast it gave."""

    forecaster: Forecaster
    executor: SimulatedExecutor
    issued: list[IssuedForecast] = field(default_factory=list)

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        """Ask the forecaster behind."""
        forecasts = self.forecaster.forecast(requests)
        self.issued.extend(IssuedForecast(self.executor.now, forecast) for forecast in forecasts.values())
        return forecasts

    def wake(self) -> timedelta:
        """Wake the forecaster behind."""
        return self.forecaster.wake()
