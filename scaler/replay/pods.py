"""The pods of many workloads at once, one lane each: starting, ready, terminating; no policy and no pod of its own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scaler.domain import FloatArray
from scaler.replay.demand import IntArray
from scaler.replay.physics import Physics
from scaler.replay.start_up import StartDelays


class PodCounts(NamedTuple):
    """Pods of all lanes in one step. Each array has shape (L,).

    Attributes:
        ready: s_t.
        ordered: Ready and starting ones.
        paid: r_t, ordered and terminating ones.
    """

    ready: IntArray
    ordered: IntArray
    paid: IntArray


class Pods:
    """Counts of pods per lane, moved on one step at a time; lanes never meet.

    Ordering fewer takes starting pods first, those furthest from Ready before the others, then those that are Ready,
    the newest first: the order in which a ReplicaSet picks its victims (unscheduled and pending pods before running
    ones, unready before ready, ready for less long before longer). A pod that is taken serves nothing from that step
    on, and is paid for until its termination grace is over.

    Starting, warming and terminating pods are counts per step in rings of shape (steps, L), so that a step costs a
    few array operations, however many pods there are.

    Attributes:
        ready: Pods that serve. Shape (L,).
        starting: Pods ordered that do not serve yet. Shape (L,).
        terminating: Pods taken away that are still paid for. Shape (L,).
    """

    def __init__(self, ready: IntArray, delays: StartDelays, physics: Physics) -> None:
        """Begin with pods that have long been ready.

        Args:
            ready: Shape (L,).
            delays: Of the same lanes; its step is the time between two calls of `advance`.
            physics: Grace and warm-up; both are rounded up to whole steps.
        """
        lanes = ready.shape[0]
        self.ready = ready.astype(np.int64)
        self.starting = np.zeros(lanes, dtype=np.int64)
        self.terminating = np.zeros(lanes, dtype=np.int64)
        self._delays = delays
        # Rows by the step in which pods become ready, became ready, and were taken away; modulo the height.
        self._arriving = np.zeros((delays.longest + 1, lanes), dtype=np.int64)
        self._warming = np.zeros((-(-physics.warm_up // delays.step), lanes), dtype=np.int64)
        self._leaving = np.zeros((-(-physics.termination_grace // delays.step), lanes), dtype=np.int64)
        self._warming_pods = np.zeros(lanes, dtype=np.int64)
        self._lacking = np.zeros(lanes, dtype=np.int64)  # see `serving`
        self._rest_after = -1  # step after which nothing starts, warms up or terminates in any lane

    @property
    def ordered(self) -> IntArray:
        """Pods asked for: those that serve and those that start. Shape (L,)."""
        return self.ready + self.starting

    @property
    def counts(self) -> PodCounts:
        """All that is scored; `ready` changes with the next step."""
        ordered = self.ordered
        return PodCounts(self.ready, ordered, ordered + self.terminating)

    @property
    def serving(self) -> FloatArray:
        """Ready pods less what warming ones lack: their capacity in pods, mean over the step. Shape (L,).

        Over a warm-up of W steps a pod's speed grows from 0 to 1, so in the step that begins a steps after Ready it
        lacks 1 - (a + 1/2) / W, which is 2W - 1 - 2a parts of 1 / 2W. `_lacking` counts those parts, exactly.
        """
        if not len(self._warming):
            return self.ready.astype(np.float64)
        return self.ready - self._lacking / (2 * len(self._warming))

    def advance(self, step: int) -> None:
        """Make ready what has started by this step, and let go what has terminated."""
        if step > self._rest_after:
            return
        arrived = self._arriving[step % len(self._arriving)]
        self.ready += arrived
        self.starting -= arrived
        if len(self._warming):
            self._warm(step, arrived)
        arrived[:] = 0
        if len(self._leaving):
            gone = self._leaving[step % len(self._leaving)]
            self.terminating -= gone
            gone[:] = 0

    def scale(self, step: int, replicas: IntArray) -> None:
        """Order pods, or take some away, until each lane has as many as asked for.

        Args:
            step: Now.
            replicas: Shape (L,).
        """
        change = replicas - self.ordered
        if not change.any():
            return
        more, fewer = np.flatnonzero(change > 0), np.flatnonzero(change < 0)
        if more.size:
            self._order(step, more, change[more])
        if fewer.size:
            self._take(step, fewer, -change[fewer])

    def _warm(self, step: int, arrived: IntArray) -> None:
        """Let every warming pod gain a step: two parts, or the last one that it lacks."""
        steps = len(self._warming)
        oldest = self._warming[step % steps]
        self._lacking += (2 * steps - 1) * arrived + oldest - 2 * self._warming_pods
        self._warming_pods += arrived - oldest
        oldest[:] = arrived

    def _order(self, step: int, lanes: IntArray, count: IntArray) -> None:
        delays = self._delays.of(step, lanes)  # (k, draws)
        draws = delays.shape[1]
        used = min(draws, int(count.max()))
        # Pod j has the delay of column j modulo draws.
        pods = count[:, None] // draws + (np.arange(used) < count[:, None] % draws)  # (k, used)
        row = (step + delays[:, :used]) % len(self._arriving)
        place = row * self.ready.shape[0] + lanes[:, None]
        np.add.at(self._arriving.reshape(-1), place.reshape(-1), pods.reshape(-1))
        self.starting[lanes] += count
        self._rest_after = max(self._rest_after, step + int(delays.max()) + len(self._warming))

    def _take(self, step: int, lanes: IntArray, count: IntArray) -> None:
        unready = np.minimum(count, self.starting[lanes])
        starting = np.flatnonzero(unready)
        if starting.size:
            _take_in_turn(self._arriving, step, lanes[starting], unready[starting])
        self.starting[lanes] -= unready
        self._take_ready(step, lanes, count - unready)
        if len(self._leaving):
            self._leaving[step % len(self._leaving), lanes] += count
            self.terminating[lanes] += count
            self._rest_after = max(self._rest_after, step + len(self._leaving))

    def _take_ready(self, step: int, lanes: IntArray, count: IntArray) -> None:
        self.ready[lanes] -= count
        warming = np.flatnonzero(np.minimum(count, self._warming_pods[lanes]))
        if not warming.size:
            return
        lanes = lanes[warming]
        age, taken = _take_in_turn(self._warming, step, lanes, count[warming])
        self._warming_pods[lanes] -= taken.sum(axis=0)
        self._lacking[lanes] -= ((2 * len(self._warming) - 1 - 2 * age)[:, None] * taken).sum(axis=0)


def _take_in_turn(ring: IntArray, step: int, lanes: IntArray, count: IntArray) -> tuple[IntArray, IntArray]:
    """Take pods out of a ring, from the row of this step backwards all around, as far as `count` and the ring go.

    The row before this step's is that of the steps furthest ahead: what is about to come is taken last of all.

    Returns:
        How far back each row that holds anything lies, shape (rows,), and what was taken from it. Shape (rows, k).
    """
    held = ring.take(lanes, axis=1)  # (steps, k)
    rows = np.flatnonzero(held.any(axis=1))  # of long rings, most are empty for the few lanes that take
    back = (step - rows) % len(ring)
    turn = np.argsort(back)
    rows, held = rows[turn], held[rows[turn]]
    taken = np.clip(count - (np.cumsum(held, axis=0) - held), 0, held)
    ring[rows[:, None], lanes] = held - taken
    return back[turn], taken
