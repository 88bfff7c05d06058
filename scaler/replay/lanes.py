"""What the lanes of one simulation meet, whoever scales them; a lane is one workload under one setting and one luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import numpy as np

from scaler.domain import FloatArray
from scaler.replay.demand import TICK, IntArray
from scaler.replay.metrics import Metrics
from scaler.replay.physics import Physics
from scaler.replay.pods import Pods
from scaler.replay.start_up import StartDelays, StartUp, start_delays


class Lane(NamedTuple):
    """One workload.

    Attributes:
        load: Which load of the metrics it meets.
        capacity: Load of one pod beyond which its service level fails.
        start_up: How long its pods take.
        seed: Of its start-up delays and of the noise of its pods.
    """

    load: int
    capacity: float
    min_replicas: int
    max_replicas: int
    start_up: StartUp
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """All lanes as columns; made by `lanes_of`.

    Attributes:
        capacity: Shape (L,).
        min_replicas, max_replicas: Bounds. Shape (L,).
        lanes: The rows they were made of.
    """

    metrics: Metrics
    physics: Physics
    lanes: tuple[Lane, ...]
    capacity: FloatArray
    min_replicas: IntArray
    max_replicas: IntArray
    _load_of: IntArray
    _pod_noise: FloatArray  # (ticks, seeds)
    _seed_of: IntArray

    def __len__(self) -> int:
        """Count the lanes."""
        return len(self.lanes)

    def load(self, tick: int) -> FloatArray:
        """What arrives in a tick; NaN where it is unknown. Shape (L,)."""
        load: FloatArray = self.metrics.load[tick, self._load_of]
        return load

    def sampled(self, tick: int) -> FloatArray:
        """Give the newest sample that can be known at a tick; NaN where it is missing. Shape (L,)."""
        sampled: FloatArray = self.metrics.sampled[tick, self._load_of]
        return sampled

    def pod_noise(self, tick: int, pods: FloatArray) -> FloatArray:
        """What the mean metric of so many pods is multiplied by: 1 + ratio * z / sqrt(pods). Shape (L,)."""
        z = self._pod_noise[tick, self._seed_of]
        noise: FloatArray = 1.0 + self.physics.pod_noise_ratio * z / np.sqrt(np.maximum(pods, 1.0))
        return np.maximum(noise, 0.0)

    def delays(self, step: timedelta = TICK) -> StartDelays:
        """Draw the start-up delays of all lanes for a policy that acts every `step`."""
        return start_delays([(lane.start_up, lane.seed) for lane in self.lanes], len(self.metrics), step=step)

    def newest_load(self, tick: int) -> FloatArray:
        """Give the newest load that is known before a tick, in truth and not through the metrics. Shape (L,).

        Raises:
            ValueError: Nothing is known before.
        """
        before = self.metrics.load[:tick]
        known = ~np.isnan(before)
        if not known.any(axis=0).all():
            raise ValueError(f"no load is known before {self.metrics.clock.time_of(tick)}")
        newest = len(before) - 1 - known[::-1].argmax(axis=0)  # (D,)
        load: FloatArray = before[newest, np.arange(before.shape[1])][self._load_of]
        return load

    def settled_pods(self, tick: int, load_per_pod: FloatArray, step: timedelta = TICK) -> Pods:
        """Give the pods that a patient autoscaler has at a tick: those that carry the newest load, in bounds.

        Args:
            tick: When the simulation begins.
            load_per_pod: What each pod should carry. Shape (L,).
            step: How often the policy acts.

        Raises:
            ValueError: Nothing is known before.
        """
        settled = np.ceil(self.newest_load(tick) / load_per_pod).astype(np.int64)
        ready = np.clip(settled, self.min_replicas, self.max_replicas)
        return Pods(ready, self.delays(step), self.physics)


def lanes_of(lanes: Sequence[Lane], metrics: Metrics, physics: Physics) -> Lanes:
    """Turn lanes into columns."""
    seeds = sorted({lane.seed for lane in lanes})
    noise = [np.random.default_rng([seed, 2]).standard_normal(len(metrics)) for seed in seeds]
    return Lanes(
        metrics=metrics,
        physics=physics,
        lanes=tuple(lanes),
        capacity=np.array([lane.capacity for lane in lanes], dtype=np.float64),
        min_replicas=np.array([lane.min_replicas for lane in lanes], dtype=np.int64),
        max_replicas=np.array([lane.max_replicas for lane in lanes], dtype=np.int64),
        _load_of=np.array([lane.load for lane in lanes], dtype=np.int64),
        _pod_noise=np.stack(noise, axis=1),
        _seed_of=np.array([seeds.index(lane.seed) for lane in lanes], dtype=np.int64),
    )
