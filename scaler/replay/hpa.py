"""The HorizontalPodAutoscaler as Kubernetes documents it, for a replay; it knows nothing of forecasts.

Source: kubernetes.io, "Horizontal Pod Autoscaling", algorithm details and default behavior (autoscaling/v2).
Simplified, because a replay has one homogeneous workload: a pod is unready until it was Ready for one whole metric
window, which stands for both the CPU initialization period and the initial readiness delay; metrics are missing for
all pods or for none.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class PodMetrics:
    """What the metrics API says about the pods of the workload.

    Attributes:
        usage_per_pod: Mean load of the measured pods.
        measured_pods: Pods with a metric that counts.
        unready_pods: Pods that are not Ready, or not for long enough to have a metric that counts.
    """

    usage_per_pod: float
    measured_pods: int
    unready_pods: int


@dataclass(frozen=True, slots=True)
class HpaConfig:
    """An HPA's spec; the defaults are those of Kubernetes.

    Attributes:
        target_per_replica: Load that each pod should carry.
        scale_up_pods, scale_up_ratio: The two default policies of scaling up, per 15 s; the larger counts.
    """

    target_per_replica: float
    max_replicas: int
    tolerance: float = 0.1
    scale_down_stabilization_window: timedelta = timedelta(seconds=300)
    scale_up_pods: int = 4
    scale_up_ratio: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a target that no division survives."""
        if not self.target_per_replica > 0:
            raise ValueError(f"target_per_replica must be above 0, got {self.target_per_replica}")


@dataclass(slots=True)
class HorizontalPodAutoscaler:
    """One HPA with what it remembers: its own recommendations within the stabilization window."""

    config: HpaConfig
    _recommendations: deque[tuple[datetime, int]] = field(default_factory=deque)

    def sync(self, now: datetime, *, current_replicas: int, min_replicas: int, metrics: PodMetrics | None) -> int:
        """Return the replicas that should be ordered now.

        Below `min_replicas` or above the maximum the bound is taken at once, before any metric is read. Without
        metrics nothing changes.
        """
        if current_replicas > self.config.max_replicas:
            return self.config.max_replicas
        if current_replicas < min_replicas:
            return min(min_replicas, self.config.max_replicas)
        if metrics is None:
            return current_replicas
        desired = recommend(metrics, current_replicas, self.config)
        stabilized = self._stabilize(now, current_replicas, desired)
        limited = min(stabilized, _scale_up_limit(current_replicas, self.config))
        return max(min(limited, self.config.max_replicas), min_replicas)

    def _stabilize(self, now: datetime, current_replicas: int, desired: int) -> int:
        """Go down no further than the highest recommendation within the window, and up at once."""
        if not self._recommendations:  # after a restart the replicas found stand for the unknown past
            self._recommendations.append((now, current_replicas))
        self._recommendations.append((now, desired))
        while self._recommendations[0][0] <= now - self.config.scale_down_stabilization_window:
            self._recommendations.popleft()
        highest = max(recommendation for _, recommendation in self._recommendations)
        return max(desired, min(current_replicas, highest))


def recommend(metrics: PodMetrics, current_replicas: int, config: HpaConfig) -> int:
    """Desired replicas before stabilization and limits.

    desired = ceil(pods * usage / target), unless usage / target is within the tolerance of 1. On the way up unready
    pods count as pods without load; on the way down they do not count. Where counting them takes the ratio into the
    tolerance, or turns its direction, nothing changes.
    """
    if not metrics.measured_pods:
        return current_replicas
    ratio = metrics.usage_per_pod / config.target_per_replica
    if ratio <= 1.0 or not metrics.unready_pods:
        if _within_tolerance(ratio, config):
            return current_replicas
        return _pods(ratio * metrics.measured_pods)
    pods = metrics.measured_pods + metrics.unready_pods
    diluted_ratio = ratio * metrics.measured_pods / pods
    if diluted_ratio < 1.0 or _within_tolerance(diluted_ratio, config):
        return current_replicas
    return max(_pods(diluted_ratio * pods), current_replicas)


def _within_tolerance(ratio: float, config: HpaConfig) -> bool:
    return abs(1.0 - ratio) <= config.tolerance + 1e-9  # 1.1 - 1 must not exceed 0.1


def _pods(replicas: float) -> int:
    return math.ceil(replicas - 1e-9)  # 7 * 0.1 / 0.1 must not become 8


def _scale_up_limit(current_replicas: int, config: HpaConfig) -> int:
    by_ratio = math.ceil(current_replicas * (1.0 + config.scale_up_ratio))
    return max(current_replicas + config.scale_up_pods, by_ratio)
