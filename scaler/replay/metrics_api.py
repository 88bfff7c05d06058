"""What the metrics API knows of every lane's pods; it decides nothing."""

from __future__ import annotations

import numpy as np

from scaler.domain import FloatArray
from scaler.replay.demand import IntArray
from scaler.replay.hpa import PodMetrics
from scaler.replay.lanes import Lanes
from scaler.replay.pods import Pods

_MANY = np.iinfo(np.int64).max


class MetricsApi:
    """The metrics of pods, as far as the load metric's window and delay allow for.

    A pod that was Ready through the whole window counts. One that became Ready within it has a metric that does not
    count yet, and is unready to the HPA like one that still starts (its CPU initialization period is taken to last
    that long); one that became Ready later has no metric and is missing.
    """

    def __init__(self, lanes: Lanes, pods: Pods) -> None:
        """Begin with pods that have been there all along.

        Args:
            lanes: What is measured.
            pods: Of the same lanes.
        """
        self._lanes = lanes
        self._pods = pods
        ends = lanes.metrics.ends
        oldest = int((np.arange(len(ends)) - ends).max()) + lanes.metrics.window_ticks
        self._ready = np.tile(pods.ready, (oldest, 1))  # rows by tick modulo the height
        # Of the newest window: where it ends, the metric, and the pods ready since its begin and since its end.
        self._end = -1
        self._usage: FloatArray = np.full(len(lanes), np.nan)
        self._throughout: IntArray = pods.ready.copy()
        self._since: IntArray = pods.ready.copy()

    def read(self, tick: int) -> PodMetrics:
        """Tell what can be known of the pods that are there now.

        Args:
            tick: Now; none is left out.
        """
        end = int(self._lanes.metrics.ends[tick])
        if end != self._end:
            self._look_back(tick, end)
        else:
            newest = self._ready[(tick - 1) % len(self._ready)]
            np.minimum(self._throughout, newest, out=self._throughout)
            np.minimum(self._since, newest, out=self._since)
        ready = self._pods.ready  # the newest tick may have made more ready, and the one before taken some away
        measured, sampled = np.minimum(self._throughout, ready), np.minimum(self._since, ready)
        return PodMetrics(
            usage_per_pod=self._usage,
            measured=measured,
            unready=self._pods.starting + sampled - measured,
            missing=ready - sampled,
        )

    def close(self, tick: int) -> None:
        """Remember who is ready at the end of a tick."""
        self._ready[tick % len(self._ready)] = self._pods.ready

    def _look_back(self, tick: int, end: int) -> None:
        """Read a window that is new: load over the pods that carried it, and who was ready since."""
        begin = max(end - self._lanes.metrics.window_ticks, 0)
        ready = self._ready[np.arange(begin, tick) % len(self._ready)]  # (ticks, L)
        self._end = end
        self._throughout = ready.min(axis=0, initial=_MANY)
        self._since = ready[end - begin :].min(axis=0, initial=_MANY)
        if end == begin:
            self._usage = np.full(len(self._lanes), np.nan)
            return
        carriers = ready[: end - begin].sum(axis=0) / (end - begin)
        unknown = np.full(len(self._lanes), np.nan)
        usage = np.divide(self._lanes.sampled(tick), carriers, out=unknown, where=carriers > 0)
        self._usage = usage * self._lanes.pod_noise(end, carriers)
