"""Pods under HPAs whose minimums are floors, all lanes in step; who sets the floors is not its business."""

from __future__ import annotations

from scaler.replay.hpa import HorizontalPodAutoscalers, HpaConfig
from scaler.replay.lanes import Lanes
from scaler.replay.metrics_api import MetricsApi
from scaler.replay.pods import Pods


class HpaLanes:
    """Every lane's pods and HPA, which sees the pods through the metrics API.

    Attributes:
        floor: The HPAs' `minReplicas`, to be set between two ticks. Shape (L,).
        pods: What the HPAs move.
    """

    def __init__(self, lanes: Lanes, config: HpaConfig, pods: Pods) -> None:
        """Begin with pods that have been there all along, and floors at the lanes' minimums."""
        self.lanes = lanes
        self.pods = pods
        self.floor = lanes.min_replicas.copy()
        self._hpas = HorizontalPodAutoscalers(config)
        self._api = MetricsApi(lanes, pods)

    def advance(self, tick: int) -> None:
        """Let pods become ready and each HPA sync once, with its floor as it stands."""
        self.pods.advance(tick)
        replicas = self._hpas.sync(
            tick, current_replicas=self.pods.ordered, min_replicas=self.floor, metrics=self._api.read(tick)
        )
        self.pods.scale(tick, replicas)
        self._api.close(tick)
