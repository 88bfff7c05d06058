"""What becomes of requests: one bounded queue in front of each lane's pods; a fluid model, no latency below a step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scaler.domain import FloatArray


class Served(NamedTuple):
    """What became of the requests of one step, in load times steps. Each array has shape (L,).

    Attributes:
        late: The part of what arrived that had to wait, or was dropped.
        dropped: What left the queue unserved in this step.
        served: What was served in this step, waiting requests first.
    """

    late: FloatArray
    dropped: FloatArray
    served: FloatArray


class Queue:
    """Serves first come, first served.

    What exceeds the pods waits. The queue holds what they can serve within the time-out; the rest would time out and
    is dropped at once.

    Attributes:
        waiting: What waits at the end of the step, in load times steps. Shape (L,).
    """

    def __init__(self, lanes: int, *, room_steps: float, held: FloatArray | float = 0.0) -> None:
        """Begin with nothing waiting.

        Args:
            lanes: L.
            room_steps: The time-out, in steps.
            held: Capacity for which requests are held even where fewer pods are there to serve them. Shape (L,).
        """
        self.waiting = np.zeros(lanes)
        self._room_steps = room_steps
        self._held = held

    def serve(self, arriving: FloatArray, can_serve: FloatArray) -> Served:
        """Serve one step.

        Args:
            arriving: Load of the step. Shape (L,).
            can_serve: Load that the pods carry. Shape (L,).
        """
        late = arriving - np.minimum(np.maximum(can_serve - self.waiting, 0.0), arriving)
        there = self.waiting + arriving
        served = np.minimum(there, can_serve)
        left = there - served
        self.waiting = np.minimum(left, np.maximum(can_serve, self._held) * self._room_steps)
        return Served(late=late, dropped=left - self.waiting, served=served)
