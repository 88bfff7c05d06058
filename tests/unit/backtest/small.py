"""Small cases for tests: hours instead of days, a value a minute, ten of load to a pod, no noise unless asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from scaler.backtest.case import BacktestSettings, Case
from scaler.backtest.simulate import Ours
from scaler.controller import ControllerConfig
from scaler.domain import FloatArray, Forecast, ForecastRequest, TargetKey
from scaler.replay.start_up import StartUp
from tests.replay.golden import Yesterday
from tests.unit.replay.simulated import BARE, MINUTE

T0 = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
QUIET = BacktestSettings(physics=BARE)
NOISY = BacktestSettings()
PUNCTUAL = StartUp(median=timedelta(seconds=60), spread_ratio=0.0, cache_miss_ratio=0.0)
BY_LUCK = StartUp(median=timedelta(seconds=60))

# The shape that is published (docs/backtest.md).
SCORES = {
    "under_time",
    "under_volume",
    "over_time",
    "over_volume",
    "late_requests",
    "pod_hours",
    "pod_hours_over_oracle",
    "scale_actions",
    "reversals",
    "knob",
    "sweep",
}


def case(
    values: Sequence[float] | FloatArray,
    *,
    decided: timedelta = HOUR,
    checked: timedelta = 2 * HOUR,
    name: str = "web",
    has_clock: bool = True,
    bounds: tuple[int, int] = (1, 50),
    start: datetime = T0,
    start_up: StartUp = PUNCTUAL,
) -> Case:
    """A case whose parts begin so long after its start."""
    return Case(
        name=name,
        has_clock=has_clock,
        step=MINUTE,
        values=np.array(values, dtype=np.float64),
        start=start,
        decided=start + decided,
        checked=start + checked,
        capacity=10.0,
        min_replicas=bounds[0],
        max_replicas=bounds[1],
        start_up=start_up,
        notes=(),
    )


def steady(hours: float, load: float) -> FloatArray:
    """The same load all along."""
    return np.full(round(hours * 60), load)


def hourly_jump(hours: int, *, low: float = 35.0, high: float = 120.0, minute: int = 20) -> FloatArray:
    """In each hour, a jump for a quarter of it."""
    minutes = np.arange(hours * 60) % 60
    return np.where((minutes >= minute) & (minutes < minute + 15), high, low)


@dataclass(slots=True)
class HourBefore:
    """Forecasts the hour before with a band around it, and remembers what it was asked."""

    asked: list[list[ForecastRequest]] = field(default_factory=list)

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        self.asked.append(list(requests))
        return Yesterday().forecast([_seasonal(request) for request in requests])

    def wake(self) -> timedelta:
        return timedelta(0)


def _seasonal(request: ForecastRequest) -> ForecastRequest:
    """Put the hour before where `Yesterday` looks for the day before."""
    hour, ahead = HOUR // request.step, request.seasonal_load.shape[1] - len(request.load)
    past = np.nan_to_num(np.concatenate((np.zeros(hour), request.load)))
    seasonal = np.zeros_like(request.seasonal_load)
    seasonal[0, len(request.load) :] = np.resize(past[-hour:], ahead)
    return ForecastRequest(request.key, request.origin, request.step, request.load, seasonal)


def ours(forecaster: HourBefore | None = None) -> Ours:
    """The shipped controller, told of the metrics of these cases."""
    return Ours(forecaster if forecaster is not None else HourBefore(), ControllerConfig(metric_delay=MINUTE))
