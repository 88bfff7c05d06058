"""What a policy cost and what it missed, from the pods it had and the pods the load needed; no opinion on either."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from scaler.domain import FloatArray
from scaler.replay.demand import IntArray
from scaler.replay.pods import PodCounts
from scaler.replay.service import Served

REVERSAL_WINDOW = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Scores:
    """One policy over one window, or the mean over several seeds; shares are fractions from 0 to 1.

    Attributes:
        under_time, over_time: Share of time with fewer, with more ready pods than needed.
        under_volume, over_volume: Mean of the missing, of the spare ready pods as a share of those needed.
        late_requests: Share of requests that waited or were dropped.
        dropped_requests: Share of requests that were dropped.
        pod_hours: Hours of all pods that cost: ready, starting and terminating ones.
        scale_actions: Changes of the ordered pods; a fraction only in a mean.
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
    scale_actions: float
    reversals: float
    scored_hours: float

    @property
    def short_time(self) -> timedelta:
        """Time with fewer ready pods than needed."""
        return timedelta(hours=self.under_time * self.scored_hours)


class Tally:
    """Sums up every lane's scores step by step, so that nothing of the past has to be kept.

    With d_t pods needed, s_t ready, r_t paid, over T scored steps:
        under_time = 1/T sum [s_t < d_t]        under_volume = 1/T sum max(d_t - s_t, 0) / d_t
        over_time  = 1/T sum [s_t > d_t]        over_volume  = 1/T sum max(s_t - d_t, 0) / d_t
        pod_hours  = sum r_t * step             late_requests = sum late_t / sum arrived_t
    A step that needs no pod has an under_volume of 0, and its spare pods count against 1. Steps of unknown load are
    left out of every share and of the pod-hours.

    Source: SPEC-RG-2016-01 (theta and tau as fractions).
    """

    def __init__(self, lanes: int, step: timedelta) -> None:
        """Begin with nothing.

        Args:
            lanes: L.
            step: Time between two calls of `add`.
        """
        self._step = step
        self._counts = np.zeros((4, lanes), dtype=np.int64)  # steps known, under, over; pods paid
        self._volumes = np.zeros((2, lanes))  # under, over
        self._requests = np.zeros((3, lanes))  # arrived, late, dropped
        self._actions = np.zeros((2, lanes), dtype=np.int64)  # all, reversals
        self._ordered: IntArray | None = None
        self._steps = 0
        self._up_at = np.full(lanes, -_never(step), dtype=np.int64)  # step of the last action, where it was upwards

    def add(self, needed: FloatArray, pods: PodCounts, arrived: FloatArray, served: Served) -> None:
        """Add one step.

        Args:
            needed: d_t, NaN is unknown. Shape (L,).
            pods: What there was.
            arrived: Load of the step, 0 where it is unknown. Shape (L,).
            served: What became of it.
        """
        known, under, over = ~np.isnan(needed), needed > pods.ready, needed < pods.ready
        counts, volumes, requests = self._counts, self._volumes, self._requests
        counts[0] += known
        counts[1] += under
        counts[2] += over
        counts[3] += np.where(known, pods.paid, 0)
        spare = (pods.ready - needed) / np.maximum(needed, 1.0)
        volumes[0] -= np.where(under, spare, 0.0)
        volumes[1] += np.where(over, spare, 0.0)
        requests[0] += arrived
        requests[1] += served.late
        requests[2] += served.dropped
        self._count_actions(pods.ordered)
        self._steps += 1

    def scores(self) -> tuple[Scores, ...]:
        """Give the scores of each lane.

        Raises:
            ValueError: No step of a lane has a known load.
        """
        if not self._counts[0].all():
            raise ValueError("load is unknown in the whole window; at least one observed value is needed")
        hours = self._step / timedelta(hours=1)
        return tuple(
            Scores(
                under_time=under / known,
                under_volume=under_volume / known,
                over_time=over / known,
                over_volume=over_volume / known,
                late_requests=late / arrived if arrived else 0.0,
                dropped_requests=dropped / arrived if arrived else 0.0,
                pod_hours=paid * hours,
                scale_actions=actions,
                reversals=reversals,
                scored_hours=known * hours,
            )
            for (known, under, over, paid), (under_volume, over_volume), (arrived, late, dropped), (
                actions,
                reversals,
            ) in zip(
                self._counts.T.tolist(),
                self._volumes.T.tolist(),
                self._requests.T.tolist(),
                self._actions.T.tolist(),
                strict=True,
            )
        )

    def _count_actions(self, ordered: IntArray) -> None:
        before, self._ordered = self._ordered, ordered
        if before is None:
            return
        up, down = ordered > before, ordered < before
        acted = up | down
        if not acted.any():
            return
        self._actions[0] += acted
        self._actions[1] += down & (self._steps - self._up_at <= REVERSAL_WINDOW // self._step)
        self._up_at = np.where(up, self._steps, np.where(down, -_never(self._step), self._up_at))


def _never(step: timedelta) -> int:
    """Steps that lie further back than any reversal."""
    return REVERSAL_WINDOW // step + 1
