"""Pods under Predictive Horizontal Pod Autoscalers, all lanes in step; the models are not its business."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from scaler.domain import FloatArray
from scaler.replay.demand import pods_needed
from scaler.replay.hpa import HorizontalPodAutoscalers, recommend
from scaler.replay.lanes import Lanes
from scaler.replay.metrics_api import MetricsApi
from scaler.replay.phpa import PhpaConfig, PredictiveAutoscalers
from scaler.replay.pods import Pods


class PhpaLanes:
    """Every lane's pods and PHPA, which sees the pods through the metrics API, as the HPA does.

    A sync whose metrics are unknown is given up whole: no model is asked, nothing is stored, nothing changes. (PHPA
    tries again after 10 s; here it does so in the next sync.) The first sync takes the pods it finds for the unknown
    past of its stabilization, as the HPA does. There is no floor: PHPA's minimum is the lane's.

    Attributes:
        pods: What the PHPAs move.
    """

    def __init__(self, lanes: Lanes, config: PhpaConfig, pods: Pods) -> None:
        """Begin with pods that have been there all along, and with empty histories."""
        self.lanes = lanes
        self.pods = pods
        self._config = config
        self._behaviour = HorizontalPodAutoscalers(config.hpa)
        self._models = PredictiveAutoscalers(config)
        self._api = MetricsApi(lanes, pods)

    def past_syncs(self, began: int) -> range:
        """Ticks of the syncs before a tick that fill the longest history, as far back as there is a load."""
        every = self._config.sync_ticks
        syncs = range(0, began, every)
        return syncs[max(len(syncs) - self._config.stored_syncs, 0) :]

    def remember(self, syncs: range, history: Iterable[FloatArray]) -> None:
        """Begin with histories instead of none; before the first `advance`.

        Given what `calculated_before` gives, models know their seasons from the start. That is generous: a PHPA has no
        way to learn from metrics, and would have to run for `seasonal_periods` x `stored_seasons` syncs first.

        Args:
            syncs: Ticks of past syncs, one after the other.
            history: Replica counts at each of them, NaN where there was none. Shape (L,) each.

        Raises:
            ValueError: There are not as many counts as syncs.
        """
        for tick, counts in zip(syncs, history, strict=True):
            known = ~np.isnan(counts)
            self._models.remember(tick, np.where(known, counts, 0.0).astype(np.int64), known)

    def advance(self, tick: int) -> None:
        """Let pods become ready, and each PHPA sync once where a sync is due.

        Args:
            tick: Now; none is left out.
        """
        self.pods.advance(tick)
        current = self.pods.ordered
        calculated, known = recommend(self._api.read(tick), current, self._config.hpa)
        if tick % self._config.sync_ticks:
            known = np.zeros_like(known)
        else:
            calculated = self._models.sync(tick, calculated, known)
        replicas = self._behaviour.follow(
            tick, calculated, known, current_replicas=current, min_replicas=self.lanes.min_replicas
        )
        self.pods.scale(tick, replicas)
        self._api.close(tick)


def calculated_before(lanes: Lanes, syncs: range, load_per_pod: FloatArray) -> Iterator[FloatArray]:
    """Give what a patient HPA would have calculated at past syncs: the load it saw, over what a pod should carry.

    No tolerance and no noise of pods: with either, its counts would depend on the pods it had.

    Args:
        lanes: Whose load it is.
        syncs: Ticks of the past; at each, only what the metrics showed by then counts.
        load_per_pod: Shape (L,).

    Yields:
        Replica counts, NaN where the load was unknown. Shape (L,).
    """
    for tick in syncs:
        yield pods_needed(lanes.sampled(tick), load_per_pod)
