"""What a policy cost and what it missed, from the pods it had and the pods the load needed; no opinion on either."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from scaler.domain import FloatArray
from scaler.replay.cluster import Service
from scaler.replay.demand import TICK

REVERSAL_WINDOW = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Scores:
    """One policy over one window; shares are fractions from 0 to 1.

    Attributes:
        under_time, over_time: Share of time with fewer, with more ready pods than needed.
        under_volume, over_volume: Mean of the missing, of the spare ready pods as a share of those needed.
        late_requests: Share of requests that waited or were dropped.
        dropped_requests: Share of requests that were dropped.
        pod_hours: Hours of all ordered pods, starting ones included.
        scale_actions: Changes of the ordered pods.
        reversals: Scale-ups whose next action is a scale-down within ten minutes.
        scored_hours: Time that the scores stand on; what the trace does not know is left out.
    """

    under_time: float
    under_volume: float
    over_time: float
    over_volume: float
    late_requests: float
    dropped_requests: float
    pod_hours: float
    scale_actions: int
    reversals: int
    scored_hours: float

    @property
    def short_time(self) -> timedelta:
        """Time with fewer ready pods than needed."""
        return timedelta(hours=self.under_time * self.scored_hours)


def score(needed: FloatArray, ready: npt.NDArray[np.int64], ordered: npt.NDArray[np.int64], service: Service) -> Scores:
    """Score one policy; ticks of unknown load are left out of every share and of the pod-hours.

    With d_t pods needed, s_t ready, r_t ordered, over T scored ticks:
        under_time = 1/T sum [s_t < d_t]        under_volume = 1/T sum max(d_t - s_t, 0) / d_t
        over_time  = 1/T sum [s_t > d_t]        over_volume  = 1/T sum max(s_t - d_t, 0) / d_t
        pod_hours  = sum r_t * tick             late_requests = sum late_t / sum arrived_t
    A tick that needs no pod has an under_volume of 0, and its spare pods count against 1.

    Args:
        needed: d_t, NaN is unknown. Shape (T,).
        ready: s_t. Shape (T,).
        ordered: r_t. Shape (T,).
        service: What became of the requests.

    Raises:
        ValueError: No tick has a known load.

    Source: SPEC-RG-2016-01 (theta and tau as fractions).
    """
    known = ~np.isnan(needed)
    if not known.any():
        raise ValueError("load is unknown in the whole window; at least one observed value is needed")
    d, s, per_needed = needed[known], ready[known], np.maximum(needed[known], 1.0)
    arrived = float(service.arrived.sum())
    tick_hours = TICK / timedelta(hours=1)
    actions = np.diff(ordered)
    return Scores(
        under_time=float(np.mean(s < d)),
        under_volume=float(np.mean(np.maximum(d - s, 0.0) / per_needed)),
        over_time=float(np.mean(s > d)),
        over_volume=float(np.mean(np.maximum(s - d, 0.0) / per_needed)),
        late_requests=float(service.late.sum()) / arrived if arrived else 0.0,
        dropped_requests=float(service.dropped.sum()) / arrived if arrived else 0.0,
        pod_hours=float(ordered[known].sum()) * tick_hours,
        scale_actions=int(np.count_nonzero(actions)),
        reversals=_reversals(actions),
        scored_hours=float(known.sum()) * tick_hours,
    )


def _reversals(actions: npt.NDArray[np.int64]) -> int:
    at = np.flatnonzero(actions)
    up_then_down = (actions[at[:-1]] > 0) & (actions[at[1:]] < 0)
    return int(np.count_nonzero(up_then_down & (np.diff(at) <= REVERSAL_WINDOW // TICK)))
