"""The HorizontalPodAutoscaler as Kubernetes documents it, for many workloads at once; it knows nothing of forecasts.

Source: kubernetes.io, "Horizontal Pod Autoscaling" (autoscaling/v2): algorithm details, configurable scaling behavior
and default behavior. Where a sentence there leaves a case open, the controller's own replica_calculator.go and
horizontal.go settle it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

import numpy as np

from scaler.domain import FloatArray
from scaler.replay.demand import TICK, BoolArray, IntArray

_ROUNDING = 1e-9  # 7 * 0.1 / 0.1 must not become 8, and 1.1 - 1 must not exceed 0.1
_NONE = -1  # below every recommendation, and above
_LARGEST = np.iinfo(np.int64).max


class PolicyKind(StrEnum):
    """What a scaling policy counts."""

    PODS = "Pods"
    PERCENT = "Percent"


class SelectPolicy(StrEnum):
    """Which of several policies holds: the largest change, the smallest, or no change at all."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """The change that one period may see.

    Attributes:
        value: Pods, or percent of the replicas at the period's start.
    """

    kind: PolicyKind
    value: int
    period: timedelta

    @property
    def period_ticks(self) -> int:
        """Syncs that a period spans."""
        return -(-self.period // TICK)


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """One direction of a `behavior`.

    Attributes:
        stabilization_window: How long past recommendations hold a change back.
        tolerance: Ratio of metric and target, from 1, that changes nothing in this direction.
    """

    policies: tuple[ScalingPolicy, ...]
    stabilization_window: timedelta
    select: SelectPolicy = SelectPolicy.MAX
    tolerance: float = 0.1

    def __post_init__(self) -> None:
        """Refuse rules that allow for nothing without saying so."""
        if not self.policies:
            raise ValueError("policies must not be empty; select Disabled to allow for no change")

    @property
    def window_ticks(self) -> int:
        """Syncs whose recommendations hold, the present one included; 0 without a window."""
        return -(-self.stabilization_window // TICK)

    @property
    def longest_period_ticks(self) -> int:
        """Syncs of the longest period of any policy."""
        return max(policy.period_ticks for policy in self.policies)


_PERIOD = timedelta(seconds=15)
DEFAULT_SCALE_UP = ScalingRules(
    policies=(ScalingPolicy(PolicyKind.PERCENT, 100, _PERIOD), ScalingPolicy(PolicyKind.PODS, 4, _PERIOD)),
    stabilization_window=timedelta(0),
)
DEFAULT_SCALE_DOWN = ScalingRules(
    policies=(ScalingPolicy(PolicyKind.PERCENT, 100, _PERIOD),),
    stabilization_window=timedelta(seconds=300),
)


@dataclass(frozen=True, slots=True, eq=False)
class HpaConfig:
    """The specs of many HPAs with the same `behavior`; its defaults are those of Kubernetes.

    Attributes:
        target_per_replica: Load that each pod should carry. Shape (L,).
        max_replicas: Shape (L,).
    """

    target_per_replica: FloatArray
    max_replicas: IntArray
    scale_up: ScalingRules = DEFAULT_SCALE_UP
    scale_down: ScalingRules = DEFAULT_SCALE_DOWN

    def __post_init__(self) -> None:
        """Refuse a target that no division survives."""
        if not (self.target_per_replica > 0).all():
            raise ValueError(f"target_per_replica must be above 0, got {self.target_per_replica.min():g}")


@dataclass(frozen=True, slots=True, eq=False)
class PodMetrics:
    """What the metrics API says about the pods of each workload. Each array has shape (L,).

    Every pod ordered is one of the three; a pod that is being deleted is none of them.

    Attributes:
        usage_per_pod: Mean load of the measured pods; NaN where there are no metrics at all.
        measured: Pods with a metric that counts.
        unready: Pods that are not Ready, or not for long enough to have a metric that counts.
        missing: Ready pods without a metric.
    """

    usage_per_pod: FloatArray
    measured: IntArray
    unready: IntArray
    missing: IntArray


def recommend(metrics: PodMetrics, current_replicas: IntArray, config: HpaConfig) -> tuple[IntArray, BoolArray]:
    """Desired replicas before stabilization and limits.

    desired = ceil(pods * usage / target), unless usage / target is within the tolerance of 1. On the way up unready
    and missing pods count as pods without load; on the way down missing ones count as at the target, and unready ones
    do not count. Where counting them takes the ratio into the tolerance or turns its direction, nothing changes.

    Returns:
        Desired replicas, and where they are known: a workload without any metric that counts has none, and its
        replicas are given as they are. Shape (L,) each.
    """
    known = (metrics.measured > 0) & ~np.isnan(metrics.usage_per_pod)
    ratio = np.where(known, metrics.usage_per_pod, 0.0) / config.target_per_replica
    up, down = ratio > 1.0, ratio < 1.0
    missing = np.where(down, metrics.missing, 0)
    pods = metrics.measured + np.where(up, metrics.unready + metrics.missing, missing)
    total = ratio * metrics.measured + missing  # in pods at the target
    counted_ratio = total / np.maximum(pods, 1)
    tolerated = (counted_ratio >= 1.0 - config.scale_down.tolerance - _ROUNDING) & (
        counted_ratio <= 1.0 + config.scale_up.tolerance + _ROUNDING
    )
    desired = np.ceil(total - _ROUNDING).astype(np.int64)
    turned = up & (desired < current_replicas)  # on the way down nothing that is counted can turn it
    return np.where(known & ~tolerated & ~turned, desired, current_replicas), known


@dataclass(slots=True, eq=False)
class HorizontalPodAutoscalers:
    """Many HPAs in step, with what they remember: recommendations of the windows, changes of the longest period."""

    config: HpaConfig
    _highest: IntArray = field(init=False)  # recommendations on the way down, rows by tick modulo the window
    _lowest: IntArray = field(init=False)  # and on the way up
    _added: IntArray = field(init=False)  # replicas added in each tick, rows modulo the period
    _removed: IntArray = field(init=False)
    _began: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        """Begin with nothing remembered."""
        lanes, (up, down) = self.config.max_replicas.shape[0], (self.config.scale_up, self.config.scale_down)
        period = max(up.longest_period_ticks, down.longest_period_ticks)
        self._highest = np.full((down.window_ticks, lanes), _NONE, dtype=np.int64)
        self._lowest = np.full((up.window_ticks, lanes), _LARGEST, dtype=np.int64)
        self._added = np.zeros((period, lanes), dtype=np.int64)
        self._removed = np.zeros((period, lanes), dtype=np.int64)

    def sync(self, tick: int, *, current_replicas: IntArray, min_replicas: IntArray, metrics: PodMetrics) -> IntArray:
        """Return the replicas that should be ordered now; called at every tick, one after the other.

        Below `min_replicas` or above the maximum the bound is taken at once, before any metric is read. Without
        metrics nothing changes. Each array has shape (L,).
        """
        desired, known = recommend(metrics, current_replicas, self.config)
        return self.follow(tick, desired, known, current_replicas=current_replicas, min_replicas=min_replicas)

    def follow(
        self, tick: int, desired: IntArray, known: BoolArray, *, current_replicas: IntArray, min_replicas: IntArray
    ) -> IntArray:
        """Take recommendations through stabilization, rate limits and bounds, as `sync` does with its own.

        Args:
            tick: Now; none is left out.
            desired: Recommended replicas. Shape (L,).
            known: Where there is a recommendation; elsewhere nothing changes. Shape (L,).
            current_replicas: Shape (L,).
            min_replicas: Shape (L,).
        """
        max_replicas = self.config.max_replicas
        lower = np.minimum(min_replicas, max_replicas)
        bounded = np.minimum(np.maximum(current_replicas, lower), max_replicas)
        read = known & (bounded == current_replicas)
        wanted = self._stabilize(tick, current_replicas, desired, read)
        if (read & (wanted != current_replicas)).any():  # of a few lanes, all are mostly at rest
            wanted = np.minimum(wanted, self._limit(tick, current_replicas, self.config.scale_up, 1))
            wanted = np.maximum(wanted, self._limit(tick, current_replicas, self.config.scale_down, -1))
        replicas = np.where(read, np.minimum(np.maximum(wanted, lower), max_replicas), bounded)
        row, change = tick % len(self._added), replicas - current_replicas
        self._added[row] = np.maximum(change, 0)
        self._removed[row] = np.maximum(-change, 0)
        return replicas

    def _stabilize(self, tick: int, current: IntArray, desired: IntArray, read: BoolArray) -> IntArray:
        """Go down no further than the highest recommendation of its window, up no further than the lowest.

        After a restart the replicas found stand for the unknown past.
        """
        lowest = highest = desired
        if len(self._highest):
            newest = np.where(read, desired, _NONE)
            self._highest[tick % len(self._highest)] = newest if self._began else np.maximum(newest, current)
            highest = self._highest.max(axis=0)
        if len(self._lowest):
            newest = np.where(read, desired, _LARGEST)
            self._lowest[tick % len(self._lowest)] = newest if self._began else np.minimum(newest, current)
            lowest = self._lowest.min(axis=0)
        self._began = True
        return np.minimum(np.maximum(current, lowest), highest)

    def _limit(self, tick: int, current: IntArray, rules: ScalingRules, sign: int) -> IntArray:
        """Give the furthest that the policies of one direction allow for now.

        Args:
            tick: Now.
            current: Shape (L,).
            rules: Of the direction.
            sign: 1 upwards, -1 downwards.
        """
        if rules.select is SelectPolicy.DISABLED:
            return current
        allowed = []
        for policy in rules.policies:
            start = self._at_start(tick, current, policy)
            # A share is rounded up, as documented: a small percentage must still allow for a pod.
            change = -(-start * policy.value // 100) if policy.kind is PolicyKind.PERCENT else policy.value
            allowed.append(sign * start + change)
        chosen = np.maximum.reduce(allowed) if rules.select is SelectPolicy.MAX else np.minimum.reduce(allowed)
        return sign * np.maximum(chosen, sign * current)

    def _at_start(self, tick: int, current: IntArray, policy: ScalingPolicy) -> IntArray:
        """Replicas when the policy's period began: a change as old as the period no longer counts."""
        if policy.period_ticks == 1:
            return current
        rows = (tick - np.arange(1, policy.period_ticks)) % len(self._added)
        start: IntArray = current - self._added[rows].sum(axis=0) + self._removed[rows].sum(axis=0)
        return start
