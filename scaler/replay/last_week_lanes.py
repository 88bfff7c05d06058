"""Pods under HPAs whose minimums are last week's load, a little early: what a platform team scripts without a model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from scaler.domain import FloatArray
from scaler.replay.demand import TICK, IntArray, pods_needed
from scaler.replay.hpa import HpaConfig
from scaler.replay.hpa_lanes import HpaLanes
from scaler.replay.lanes import Lanes
from scaler.replay.metrics import Metrics
from scaler.replay.pods import Pods


@dataclass(frozen=True, slots=True, eq=False)
class LastWeekConfig:
    """What is asked of the past.

    Attributes:
        multiplier: Of last week's load; the knob. Shape (L,).
        period: How far back.
        lead: How much earlier than then; the window that is looked at is as long.
    """

    multiplier: FloatArray
    period: timedelta = timedelta(days=7)
    lead: timedelta = timedelta(minutes=30)

    def __post_init__(self) -> None:
        """Refuse what cannot be known in time.

        Raises:
            ValueError: The multiplier is below 0, or the lead is not from 0 to the period.
        """
        if not (self.multiplier >= 0).all():
            raise ValueError(f"multiplier must be at least 0, got {self.multiplier.min():g}")
        if not timedelta(0) <= self.lead < self.period:
            raise ValueError(f"lead must be from 0 to less than the period, got {self.lead} of {self.period}")


class LastWeekLanes:
    """Every lane's pods, HPA and floor: pods for the highest load seen from a week ago to half an hour later.

    floor_t = ceil(multiplier x highest sample from t - 7 d to t - 7 d + 30 min / capacity of a pod), within bounds;
    the HPA goes above it as ever. A sample counts at the time at which its window ends. Where no sample of that half
    hour is known, the floor is the minimum: nothing is read into a gap.

    Source: grafana/mimir pull request 7775, a KEDA trigger on `max_over_time(... [30m] offset 6d23h30m)`, the highest
    of it and the reactive triggers. KEDA would put the trigger through the HPA's tolerance; a floor has none.

    Attributes:
        floor: The HPAs' `minReplicas`, as of the newest tick. Shape (L,).
        pods: What the HPAs move.
    """

    def __init__(self, lanes: Lanes, config: HpaConfig, pods: Pods, last_week: LastWeekConfig) -> None:
        """Begin with pods that have been there all along.

        Args:
            lanes: What is scaled; the load before is theirs.
            config: Of the HPAs.
            pods: Of the same lanes.
            last_week: Of the floors.

        Raises:
            ValueError: A sample of the window would not be visible yet when it is asked for.
        """
        metrics = lanes.metrics
        newest_age = last_week.period - last_week.lead
        if newest_age < metrics.metric_delay + metrics.clock.step:
            raise ValueError(f"nothing that is {newest_age} old can be known with this load and its metric delay")
        self.lanes = lanes
        self.pods = pods
        self._hpas = HpaLanes(lanes, config, pods)
        self._multiplier = last_week.multiplier
        self._back = newest_age // TICK
        self._highest = _highest_seen(metrics, last_week.lead // TICK + 1)
        self._load_of = np.array([lane.load for lane in lanes.lanes], dtype=np.int64)

    @property
    def floor(self) -> IntArray:
        """The HPAs' minimums."""
        return self._hpas.floor

    def advance(self, tick: int) -> None:
        """Set the floors, let pods become ready and each HPA sync once."""
        lanes, end = self.lanes, tick - self._back
        highest = self._highest[end, self._load_of] if end >= 0 else np.full(len(lanes), np.nan)
        pods = pods_needed(self._multiplier * highest, lanes.capacity)
        floor = np.minimum(np.fmax(pods, lanes.min_replicas), lanes.max_replicas)  # the minimum where nothing is known
        self._hpas.floor[:] = floor.astype(np.int64)
        self._hpas.advance(tick)


def _highest_seen(metrics: Metrics, width: int) -> FloatArray:
    """Highest sample whose window ends at a tick or up to `width` - 1 ticks before; NaN without one. Shape (n, D)."""
    seen = np.full(metrics.load.shape, np.nan)
    fresh = np.flatnonzero(np.diff(metrics.ends, prepend=-1))
    seen[metrics.ends[fresh]] = metrics.sampled[fresh]
    reach = 1
    while reach < width:  # what covers `reach` ticks covers twice as many with itself that much earlier
        shift = min(reach, width - reach)
        seen[shift:] = np.fmax(seen[shift:], seen[:-shift])
        reach += shift
    return seen
