"""One simulated workload under one HPA, and the two ports through which AI-HPA sees and moves it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from scaler.domain import FloatArray, Observation, Target, TargetKey
from scaler.replay.cluster import SimulatedCluster
from scaler.replay.demand import TICK, Demand
from scaler.replay.hpa import HorizontalPodAutoscaler, PodMetrics

METRIC_WINDOW = timedelta(seconds=60)  # what one metric sample averages over
_WINDOW_TICKS = METRIC_WINDOW // TICK


@dataclass(frozen=True, slots=True)
class Sample:
    """The newest of what a metrics pipeline knows.

    Attributes:
        end: Tick at which the averaged window ends.
        load: Mean over `METRIC_WINDOW`; None where most of it is missing.
        last_value: Tick at which the newest known value ends; 0 where there is none.
    """

    end: int
    load: float | None
    last_value: int


@dataclass(frozen=True, slots=True, eq=False)
class TraceMetrics:
    """The load of a trace as a metrics pipeline shows it: averaged, and late.

    It is the load offered to the service (a request rate), not what saturated pods managed to serve.
    """

    demand: Demand
    metric_delay: timedelta
    _sums: FloatArray = field(init=False, repr=False)
    _counts: npt.NDArray[np.int64] = field(init=False, repr=False)
    _samples: tuple[Sample, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Prepare running sums, so that any mean costs the same, and the newest sample of every tick."""
        load = self.demand.load
        object.__setattr__(self, "_sums", np.concatenate(([0.0], np.nancumsum(load))))
        object.__setattr__(self, "_counts", np.concatenate(([0], np.cumsum(~np.isnan(load)))))
        object.__setattr__(self, "_samples", self._sample_every_tick())

    def newest(self, now: datetime) -> Sample:
        """Look at the newest sample that can be known at the tick of `now`."""
        return self._samples[self.demand.tick_of(now)]

    def mean_before(self, ticks: npt.NDArray[np.int64], width: int) -> FloatArray:
        """Mean load of the `width` ticks before each of `ticks`; NaN where less than half of them has a value."""
        last = len(self.demand)
        newer, older = np.clip(ticks, 0, last), np.clip(ticks - width, 0, last)
        count = self._counts[newer] - self._counts[older]
        total = self._sums[newer] - self._sums[older]
        mean: FloatArray = np.divide(total, count, out=np.full(ticks.shape, np.nan), where=2 * count >= width)
        return mean

    def between(self, *, start: datetime, end: datetime, step: timedelta, now: datetime) -> FloatArray:
        """Load at start + step, ..., end, as `MetricsSource.load_between` asks for it."""
        first, width = self.demand.tick_of(start), step // TICK
        ticks = first + width * np.arange(1, (end - start) // step + 1)
        known_until = self.demand.known_until(now, self.metric_delay)
        return np.where(ticks <= known_until, self.mean_before(ticks, width), np.nan)

    def _sample_every_tick(self) -> tuple[Sample, ...]:
        ticks = len(self.demand)
        ends = np.array(
            [self.demand.known_until(self.demand.time_of(tick), self.metric_delay) for tick in range(ticks)]
        )
        load = self.mean_before(ends, _WINDOW_TICKS)
        # Index e of this: one past the last known value among the first e ticks, 0 where there is none.
        last_value = np.concatenate(
            ([0], np.maximum.accumulate(np.where(np.isnan(self.demand.load), 0, np.arange(1, ticks + 1))))
        )
        rows = zip(ends.tolist(), load.tolist(), last_value[ends].tolist(), strict=True)
        return tuple(Sample(end, None if math.isnan(value) else value, last) for end, value, last in rows)


@dataclass(slots=True)
class SimulatedWorkload:
    """Pods under an HPA whose minimum is a floor; it records what it had at every tick.

    Attributes:
        floor: The HPA's `minReplicas`.
        ready, ordered: Pods of each tick; ticks before the replay hold what it begins with. Shape (n,).
    """

    metrics: TraceMetrics
    cluster: SimulatedCluster
    hpa: HorizontalPodAutoscaler
    floor: int
    ready: npt.NDArray[np.int64] = field(init=False)
    ordered: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        """Assume that the pods found have been there all along."""
        self.ready = np.full(len(self.metrics.demand), self.cluster.ready_replicas)
        self.ordered = np.full(len(self.metrics.demand), self.cluster.current_replicas)

    def advance(self, tick: int, now: datetime) -> None:
        """Let pods become ready and the HPA sync once, with the floor as it stands."""
        self.cluster.advance(tick)
        replicas = self.hpa.sync(
            now,
            current_replicas=self.cluster.current_replicas,
            min_replicas=self.floor,
            metrics=self._pod_metrics(tick, now),
        )
        self.cluster.scale(tick, replicas)
        self.ready[tick] = self.cluster.ready_replicas
        self.ordered[tick] = self.cluster.current_replicas

    def _pod_metrics(self, tick: int, now: datetime) -> PodMetrics | None:
        sample = self.metrics.newest(now)
        since = max(sample.end - _WINDOW_TICKS, 0)
        carriers = self.ready[since : sample.end]
        if sample.load is None or not carriers.any():
            return None
        # A pod counts once it has been ready since the window began; the newest tick may have made more ready.
        measured = min(int(self.ready[since:tick].min()), self.cluster.ready_replicas)
        return PodMetrics(
            usage_per_pod=sample.load * carriers.size / float(carriers.sum()),
            measured_pods=measured,
            unready_pods=self.cluster.current_replicas - measured,
        )


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedTarget:
    """The MetricsSource and the ScaleTarget of one simulated workload."""

    key: TargetKey
    workload: SimulatedWorkload

    def observe(self, targets: Sequence[Target], now: datetime) -> Mapping[TargetKey, Observation]:
        """See the workload; a gap in the trace is a missing sample, never a load of zero."""
        cluster = self.workload.cluster
        sample = self.workload.metrics.newest(now)
        seen = Observation(
            sampled_at=self.workload.metrics.demand.time_of(sample.last_value) if sample.last_value else None,
            load=sample.load,
            ready_replicas=cluster.ready_replicas,
            current_replicas=cluster.current_replicas,
            floor=self.workload.floor,
        )
        return {target.key: seen for target in targets if target.key == self.key}

    def load_between(
        self, targets: Sequence[Target], *, start: datetime, end: datetime, step: timedelta, now: datetime
    ) -> Mapping[TargetKey, FloatArray]:
        """Look back; what is not known yet at `now` is NaN."""
        load = self.workload.metrics.between(start=start, end=end, step=step, now=now)
        return {target.key: load for target in targets if target.key == self.key}

    def apply(self, target: Target, floor: int, now: datetime) -> None:
        """Set the HPA's minimum; it acts on it at its next sync."""
        if target.key != self.key:
            raise ValueError(f"{target.key}: only {self.key} is simulated here")
        self.workload.floor = floor
