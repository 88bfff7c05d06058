"""Faults for the simulation, put in at its ports: metrics with a hole, a source that raises, a forecaster that is down.

Each lasts from one time to another and leaves everything else as it is. Nothing here changes the load that pods meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from scaler.controller import Forecaster, MetricsSource
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
from scaler.replay.demand import Demand
from scaler.replay.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, from its begin to before its end."""

    start: datetime
    end: datetime

    def holds(self, at: datetime) -> bool:
        """Whether a time lies in it."""
        return self.start <= at < self.end


class HoledMetrics(Metrics):
    """Metrics of loads of which nothing was recorded for some time, though they arrived all the same.

    Whoever looks at metrics, HPA or AI-HPA, sees what was recorded; pods, and the KPA that asks the pods themselves,
    meet `load`, which has no hole. The hole stays in the past for good: the store was away, not only its API.
    """

    def __init__(self, demands: Sequence[Demand], metric_delay: timedelta, holes: Sequence[Span | None]) -> None:
        """Take the loads as they arrive.

        Args:
            demands: As `Metrics` takes them.
            metric_delay: Likewise.
            holes: Of each load, on its clock; None for a load that is recorded all along.
        """
        recorded = [_without(demand, hole) for demand, hole in zip(demands, holes, strict=True)]
        super().__init__(recorded, metric_delay)
        self.load = np.stack([demand.load for demand in demands], axis=1)


def _without(demand: Demand, hole: Span | None) -> Demand:
    if hole is None:
        return demand
    load = demand.load.copy()
    load[demand.tick_of(hole.start) : demand.tick_of(hole.end)] = np.nan
    return replace(demand, load=load)


@dataclass(frozen=True, slots=True)
class SourceAway:
    """The `MetricsSource` port over another one; it raises for some time, by the clock of whoever asks."""

    source: MetricsSource
    away: Span

    def observe(self, targets: Sequence[Target], now: datetime) -> Mapping[TargetKey, Observation]:
        """See every target.

        Raises:
            MetricsUnavailable: The source is away.
        """
        self._check(now)
        return self.source.observe(targets, now)

    def load_between(
        self, targets: Sequence[Target], *, start: datetime, end: datetime, step: timedelta, now: datetime
    ) -> Mapping[TargetKey, FloatArray]:
        """Look back.

        Raises:
            MetricsUnavailable: The source is away.
        """
        self._check(now)
        return self.source.load_between(targets, start=start, end=end, step=step, now=now)

    def _check(self, now: datetime) -> None:
        if self.away.holds(now):
            raise MetricsUnavailable(f"away from {self.away.start} to {self.away.end}")


@dataclass(frozen=True, slots=True)
class ForecasterDown:
    """The `Forecaster` port over another one; nobody answers for some time.

    The port has no clock. The newest sample asked about tells the time: it is as old as the metrics are late.

    Attributes:
        lag: Age of the newest sample when it is asked about.
    """

    forecaster: Forecaster
    down: Span
    lag: timedelta

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        """Answer all requests together.

        Raises:
            ForecastUnavailable: It is down, or the forecaster behind gave nothing.
        """
        if requests and self.down.holds(max(request.origin for request in requests) + self.lag):
            raise ForecastUnavailable(ForecastFailure.UNREACHABLE, f"down from {self.down.start} to {self.down.end}")
        return self.forecaster.forecast(requests)

    def wake(self) -> timedelta:
        """Wake the forecaster behind; whether it is down shows when it is asked."""
        return self.forecaster.wake()
