"""Lets lanes live through a stretch of time, whoever scales them, and says what it cost and what it missed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from scaler.replay.demand import TICK, IntArray
from scaler.replay.kpa import SUB_TICK
from scaler.replay.kpa_lanes import KpaLanes, sub_ticks
from scaler.replay.lanes import Lanes
from scaler.replay.ledger import Ledger
from scaler.replay.pods import Pods
from scaler.replay.scores import Scores

Each = Callable[[int], None]


class ScaledLanes(Protocol):
    """Lanes under an autoscaler that acts once per tick.

    Attributes:
        pods: What it moves.
    """

    lanes: Lanes
    pods: Pods

    def advance(self, tick: int) -> None:
        """Let pods become ready, and act once."""


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """What came of it.

    Attributes:
        scores: Of each lane.
        ready, ordered: Pods of the watched lanes at each tick. Shape (n, k).
    """

    scores: tuple[Scores, ...]
    ready: IntArray
    ordered: IntArray


def nothing(tick: int) -> None:
    """Do nothing beside a tick."""


def play(
    scaled: ScaledLanes, window: range, *, before: Each = nothing, after: Each = nothing, watched: Sequence[int] = ()
) -> Played:
    """Let every tick of a window pass.

    Args:
        scaled: The lanes.
        window: Ticks, none left out.
        before: Called with each tick before the autoscaler acts.
        after: Called once it has acted and its pods have served: what is set here waits for the next tick.
        watched: Lanes whose pods are kept.

    Raises:
        ValueError: No tick of a lane has a known load.
    """
    ledger, log = Ledger(scaled.lanes), _Log(len(window), watched)
    for row, tick in enumerate(window):
        before(tick)
        scaled.advance(tick)
        counts = scaled.pods.counts
        ledger.add(tick, counts, scaled.pods.serving)
        log.add(row, counts.ready, counts.ordered)
        after(tick)
    return Played(ledger.scores(), log.ready, log.ordered)


def play_kpa(
    kpas: KpaLanes,
    window: range,
    *,
    after: Each = nothing,
    after_each: Each = nothing,
    watched: Sequence[int] = (),
) -> Played:
    """Let every tick of a window pass at the pace of the KPA, as `play` does.

    Pods are kept as they stand in the first sub-tick of each tick, and `after` is called there; `after_each` is called
    with every sub-tick.
    """
    clock = kpas.lanes.metrics.clock
    # One pod's worth of requests is held by the activator, whatever is ready.
    ledger, log = Ledger(kpas.lanes, step=SUB_TICK, held_pods=1), _Log(len(window), watched)
    tick = window.start - 1
    for sub_tick in sub_ticks(clock, clock.time_of(window.start)):
        now = sub_tick * SUB_TICK // TICK
        if now >= window.stop:
            break
        kpas.advance(sub_tick, ledger.waiting)
        counts = kpas.pods.counts
        ledger.add(sub_tick, counts, kpas.pods.serving)
        if now > tick:
            tick = now
            log.add(tick - window.start, counts.ready, counts.ordered)
            after(tick)
        after_each(sub_tick)
    return Played(ledger.scores(), log.ready, log.ordered)


class _Log:
    """Pods of some lanes, by tick."""

    def __init__(self, ticks: int, watched: Sequence[int]) -> None:
        self._watched = np.array(watched, dtype=np.int64)
        self.ready, self.ordered = (np.zeros((ticks, len(watched)), dtype=np.int64) for _ in range(2))

    def add(self, row: int, ready: IntArray, ordered: IntArray) -> None:
        self.ready[row], self.ordered[row] = ready[self._watched], ordered[self._watched]
