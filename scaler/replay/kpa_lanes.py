"""Pods under KPAs, all lanes in step at the KPA's own pace; it sees the load as it comes, through no pipeline."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np

from scaler.domain import FloatArray
from scaler.replay.demand import TICK, Demand
from scaler.replay.kpa import SUB_TICK, Average, KpaConfig, PodAutoscalers
from scaler.replay.lanes import Lanes
from scaler.replay.pods import Pods


class KpaLanes:
    """Every lane's pods and KPA.

    The KPA asks the pods and the activator themselves, every second, so the metric delay is not for it. Concurrency
    is given in pods at their target: a pod that carries its whole capacity has as many requests in flight as its
    target says, and whatever that target is, it cancels out. By Little's law requests that wait are so many more in
    flight: load x seconds waiting over load x seconds that a pod has in flight, capacity x the time of one request.

    Attributes:
        floor: The revisions' `min-scale`, to be set between two sub-ticks. Shape (L,).
        pods: What the KPAs move.
    """

    def __init__(
        self, lanes: Lanes, config: KpaConfig, pods: Pods, *, began: int, request_time: timedelta = timedelta(seconds=1)
    ) -> None:
        """Begin with pods that have long been ready, and floors at the lanes' minimums.

        Args:
            lanes: What is scaled.
            config: Of all lanes.
            pods: That move in sub-ticks.
            began: The first sub-tick.
            request_time: How long a pod takes over one request.
        """
        self.lanes = lanes
        self.pods = pods
        self.floor = lanes.min_replicas.copy()
        self._kpas = PodAutoscalers(config, pods.ready, began)
        self._stable = Average(len(lanes), config.stable_sub_ticks)
        self._panic = Average(len(lanes), config.panic_sub_ticks)
        self._per_pod = lanes.capacity * config.target_utilization
        self._request_seconds = request_time.total_seconds()
        self._load = lanes.newest_load(began * SUB_TICK // TICK)

    def advance(self, sub_tick: int, waiting: FloatArray) -> None:
        """Let pods become ready and each KPA decide once, from what was in flight until now.

        Args:
            sub_tick: Now; none is left out.
            waiting: What waits for a pod now, in load times seconds. Shape (L,).
        """
        self.pods.advance(sub_tick)
        ready = self.pods.ready
        tick = max(sub_tick - 1, 0) * SUB_TICK // TICK
        load = self.lanes.load(tick)
        self._load = np.where(np.isnan(load), self._load, load)  # missing is not zero: what was known last holds
        in_flight = self._load + waiting / self._request_seconds
        asked = in_flight / self._per_pod * self.lanes.pod_noise(tick, ready.astype(np.float64))
        desired = self._kpas.desire(
            sub_tick, ready=ready, stable_pods=self._stable.add(asked), panic_pods=self._panic.add(asked)
        )
        replicas = self._kpas.bound(
            sub_tick,
            desired,
            ready=ready,
            ordered=self.pods.ordered,
            bounds=(self.floor, self.lanes.max_replicas),
        )
        self.pods.scale(sub_tick, replicas)


def sub_ticks(clock: Demand, start: datetime) -> range:
    """Those that begin from a time on, until the load ends."""
    first, last = (start - clock.start, len(clock) * TICK)
    return range(-(-first // SUB_TICK), -(-last // SUB_TICK))
