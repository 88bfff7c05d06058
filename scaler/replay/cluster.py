"""Simulated pods of one workload; policy-free, deterministic from a seed, and the same luck for every policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from scaler.domain import FloatArray
from scaler.replay.demand import TICK

_DRAWS_PER_TICK = 32  # pods of one scale-up beyond this many share delays with the first ones


@dataclass(frozen=True, slots=True)
class StartUp:
    """How long a pod takes from being ordered to Ready: log-normal, longer where its image is not on the node.

    Attributes:
        median: Of pods whose image is cached.
        spread_ratio: Standard deviation of the logarithm.
        cache_miss_ratio: Share of pods that pull their image first.
        cache_miss_factor: What a pull multiplies the delay by.
    """

    median: timedelta = timedelta(seconds=90)
    spread_ratio: float = 0.2
    cache_miss_ratio: float = 0.05
    cache_miss_factor: float = 2.0

    def draw(self, ticks: int, seed: int) -> npt.NDArray[np.int64]:
        """Draw delays in ticks for pods ordered at each tick; row i belongs to (seed, tick i), whoever orders.

        Returns:
            At least one tick each. Shape (ticks, draws); pod j of a scale-up takes column j modulo the width.
        """
        rng = np.random.default_rng([seed, 1])
        shape = (ticks, _DRAWS_PER_TICK)
        ratio = np.exp(rng.normal(0.0, self.spread_ratio, shape))
        ratio *= np.where(rng.random(shape) < self.cache_miss_ratio, self.cache_miss_factor, 1.0)
        return np.maximum(np.ceil(ratio * (self.median / TICK)), 1).astype(np.int64)


@dataclass(slots=True)
class SimulatedCluster:
    """Pods that are Ready, and pods that still start.

    Ordering fewer takes starting pods first, the youngest before the older, as a ReplicaSet does; a pod that is taken
    serves nothing from that tick on (its termination grace is not load and not counted as pod time).

    Attributes:
        start_delays: From `StartUp.draw`. Shape (ticks, draws).
        ready_replicas: Pods that serve.
    """

    start_delays: npt.NDArray[np.int64]
    ready_replicas: int
    _starting: list[int] = field(default_factory=list)  # tick at which each becomes ready, in the order of ordering

    @property
    def current_replicas(self) -> int:
        """Pods ordered: those that serve and those that start."""
        return self.ready_replicas + len(self._starting)

    def advance(self, tick: int) -> None:
        """Make ready what has started by this tick."""
        if self._starting:
            still_starting = [ready_at for ready_at in self._starting if ready_at > tick]
            self.ready_replicas += len(self._starting) - len(still_starting)
            self._starting = still_starting

    def scale(self, tick: int, replicas: int) -> None:
        """Order pods, or take some away, until there are `replicas`."""
        missing = replicas - self.current_replicas
        if missing > 0:
            delays = self.start_delays[tick]
            self._starting += [tick + int(delays[pod % delays.shape[0]]) for pod in range(missing)]
        elif missing < 0:
            spared = max(len(self._starting) + missing, 0)
            self.ready_replicas += min(len(self._starting) + missing, 0)
            del self._starting[spared:]


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """What became of the requests of each tick, in load times ticks. Each array has shape (n,).

    Attributes:
        arrived: Load of the tick; 0 where it is unknown, so unknown load is never late either.
        late: The part of `arrived` that had to wait, or was dropped.
        dropped: What left the queue unserved in this tick.
        served: What was served in this tick, waiting requests first.
        queued: What waits at the end of the tick.
    """

    arrived: FloatArray
    late: FloatArray
    dropped: FloatArray
    served: FloatArray
    queued: FloatArray


def serve(load: FloatArray, ready: npt.NDArray[np.int64], *, capacity: float, queue_timeout: timedelta) -> Service:
    """Serve the load first come, first served, through one bounded queue.

    A pod serves `capacity`; what exceeds the ready pods waits. The queue holds what the ready pods can serve within
    `queue_timeout`; the rest would time out and is dropped at once. A fluid model: no latency below one tick.

    Args:
        load: Load of each tick, NaN is unknown. Shape (n,).
        ready: Ready pods of each tick. Shape (n,).
        capacity: Load that one pod serves.
        queue_timeout: How long a request waits at most.
    """
    arrived = np.nan_to_num(load)
    room_ticks = queue_timeout / TICK
    late, dropped, served, queued = (np.zeros_like(arrived) for _ in range(4))
    waiting = 0.0
    for tick, (arriving, can_serve) in enumerate(zip(arrived.tolist(), (ready * capacity).tolist(), strict=True)):
        if not waiting and arriving <= can_serve:
            served[tick] = arriving
            continue
        at_once = min(max(can_serve - waiting, 0.0), arriving)
        late[tick] = arriving - at_once
        served[tick] = min(waiting + arriving, can_serve)
        left = waiting + arriving - served[tick]
        waiting = min(left, can_serve * room_ticks)
        dropped[tick] = left - waiting
        queued[tick] = waiting
    return Service(arrived=arrived, late=late, dropped=dropped, served=served, queued=queued)
