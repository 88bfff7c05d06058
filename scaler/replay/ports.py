"""The ports through which AI-HPA sees and moves simulated workloads: each is a lane, all belong to one controller."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from scaler.domain import FloatArray, Observation, Target, TargetKey
from scaler.replay.demand import IntArray
from scaler.replay.lanes import Lanes
from scaler.replay.pods import Pods


class FlooredLanes(Protocol):
    """Lanes under some autoscaler that keeps at least a floor.

    Attributes:
        floor: Shape (L,).
    """

    lanes: Lanes
    pods: Pods
    floor: IntArray


class SimulatedTargets:
    """The TargetSource, the MetricsSource and the ScaleTarget of simulated workloads."""

    def __init__(self, simulated: FlooredLanes, targets: Mapping[int, Target]) -> None:
        """Put workloads under one controller.

        Args:
            simulated: All lanes.
            targets: What the controller knows of a lane; lanes that are not named are none of its business.
        """
        self._simulated = simulated
        self._listed = tuple(targets.values())
        self._lane_of = {target.key: lane for lane, target in targets.items()}

    def targets(self, now: datetime) -> Sequence[Target]:
        """List all workloads; they are the same all along."""
        return self._listed

    def observe(self, targets: Sequence[Target], now: datetime) -> Mapping[TargetKey, Observation]:
        """See the workloads; a gap in a trace is a missing sample, never a load of zero."""
        simulated, metrics = self._simulated, self._simulated.lanes.metrics
        tick = metrics.clock.tick_of(now)
        load = simulated.lanes.sampled(tick).tolist()
        # One time per load, not per lane: many lanes share a load.
        sampled_at = [metrics.clock.time_of(last) if last else None for last in metrics.last_value[tick].tolist()]
        ready, ordered, floor = (x.tolist() for x in (simulated.pods.ready, simulated.pods.ordered, simulated.floor))
        return {
            target.key: Observation(
                sampled_at=sampled_at[simulated.lanes.lanes[lane].load],
                load=None if math.isnan(load[lane]) else load[lane],
                ready_replicas=ready[lane],
                current_replicas=ordered[lane],
                floor=floor[lane],
            )
            for target, lane in self._known(targets)
        }

    def load_between(
        self, targets: Sequence[Target], *, start: datetime, end: datetime, step: timedelta, now: datetime
    ) -> Mapping[TargetKey, FloatArray]:
        """Look back; what is not known yet at `now` is NaN."""
        lanes = self._simulated.lanes
        # One array for each load, not for each lane: who has the same one need not be forecast for twice.
        columns = list(lanes.metrics.between(start=start, end=end, step=step, now=now).T)
        return {target.key: columns[lanes.lanes[lane].load] for target, lane in self._known(targets)}

    def apply(self, target: Target, floor: int, now: datetime) -> None:
        """Set the floor; the autoscaler acts on it when it looks next."""
        if target.key not in self._lane_of:
            raise ValueError(f"{target.key}: not simulated here")
        self._simulated.floor[self._lane_of[target.key]] = floor

    def _known(self, targets: Sequence[Target]) -> list[tuple[Target, int]]:
        return [(target, self._lane_of[target.key]) for target in targets if target.key in self._lane_of]
