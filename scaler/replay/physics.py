"""What a simulated cluster is like, the same for every policy and every lane; each part is switched off by a zero."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Physics:
    """How load, pods and metrics behave.

    Attributes:
        metric_delay: From the end of a step to its value being visible.
        noise_ratio: Log-normal noise of each tick around the trace.
        pod_noise_ratio: Standard deviation of what one pod's metric says around its share of the load; the mean over n
            pods has 1 / sqrt(n) of it. An autoscaler that reads pods sees it; the load served is the same.
        warm_up: From Ready to full speed. A pod's capacity grows in a straight line over this time.
        termination_grace: How long a pod that was taken away is still paid for; it serves nothing. 30 s is what
            Kubernetes gives where a pod says nothing.
        queue_timeout: How long a request waits for a pod at most.
    """

    metric_delay: timedelta = timedelta(seconds=60)
    noise_ratio: float = 0.02
    pod_noise_ratio: float = 0.05
    warm_up: timedelta = timedelta(seconds=30)
    termination_grace: timedelta = timedelta(seconds=30)
    queue_timeout: timedelta = timedelta(seconds=30)

    def __post_init__(self) -> None:
        """Refuse what runs backwards."""
        for name in ("metric_delay", "warm_up", "termination_grace", "queue_timeout"):
            value = getattr(self, name)
            if value < timedelta(0):
                raise ValueError(f"{name} must be at least 0 s, got {value.total_seconds():g} s")
        for name in ("noise_ratio", "pod_noise_ratio"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
