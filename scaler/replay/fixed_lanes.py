"""Pods whose number nobody changes."""

from __future__ import annotations

import numpy as np

from scaler.replay.demand import IntArray
from scaler.replay.lanes import Lanes
from scaler.replay.pods import Pods


class FixedLanes:
    """Every lane's pods, as many all along.

    Attributes:
        pods: Ready since long before.
    """

    def __init__(self, lanes: Lanes, replicas: IntArray) -> None:
        """Begin with the pods there.

        Args:
            lanes: What they serve.
            replicas: How many, the knob; taken within the lanes' bounds. Shape (L,).
        """
        self.lanes = lanes
        self.pods = Pods(np.clip(replicas, lanes.min_replicas, lanes.max_replicas), lanes.delays(), lanes.physics)

    def advance(self, tick: int) -> None:
        """Let a tick pass."""
        self.pods.advance(tick)
