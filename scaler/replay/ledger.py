"""What one policy's pods did for the load, step by step: it serves the requests and keeps the score; no policy."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from scaler.domain import FloatArray
from scaler.replay.demand import TICK, pods_needed
from scaler.replay.lanes import Lanes
from scaler.replay.pods import PodCounts
from scaler.replay.scores import Scores, Tally
from scaler.replay.service import Queue


class Ledger:
    """Requests and scores of all lanes under one policy."""

    def __init__(self, lanes: Lanes, *, step: timedelta = TICK, held_pods: int = 0) -> None:
        """Begin with empty queues and nothing scored.

        Args:
            lanes: What is served.
            step: Time between two calls of `add`; the load of a tick is the same for all that begin in it.
            held_pods: Pods' worth of requests that is held even where fewer pods are ready.
        """
        self._lanes = lanes
        self._step = step
        self._tick = -1
        self._arriving: FloatArray = np.zeros(len(lanes))
        self._needed: FloatArray = np.zeros(len(lanes))
        held = lanes.capacity * held_pods
        self._queue = Queue(len(lanes), room_steps=lanes.physics.queue_timeout / step, held=held)
        self._tally = Tally(len(lanes), step)

    @property
    def waiting(self) -> FloatArray:
        """What waits now, in load times seconds. Shape (L,)."""
        return self._queue.waiting * self._step.total_seconds()

    def add(self, step: int, pods: PodCounts, serving: FloatArray) -> None:
        """Serve and score one step.

        Args:
            step: Which; its tick is the one that it begins in.
            pods: What there is.
            serving: Pods' worth of capacity. Shape (L,).
        """
        tick = step * self._step // TICK
        if tick != self._tick:
            load = self._lanes.load(tick)
            self._tick, self._needed = tick, pods_needed(load, self._lanes.capacity)
            self._arriving = np.where(np.isnan(load), 0.0, load)  # unknown load is never late either
        served = self._queue.serve(self._arriving, serving * self._lanes.capacity)
        self._tally.add(self._needed, pods, self._arriving, served)

    def scores(self) -> tuple[Scores, ...]:
        """Give the scores of each lane.

        Raises:
            ValueError: No step of a lane has a known load.
        """
        return self._tally.scores()
