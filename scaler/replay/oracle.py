"""The clairvoyant policy that every other one is measured against; it knows the future and obeys the same physics."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from scaler.domain import FloatArray
from scaler.replay.demand import TICK, IntArray


def stabilized_need(needed: FloatArray, *, window: timedelta) -> IntArray:
    """Highest need of the window that ends with each tick: what stabilization keeps on the way down.

    Args:
        needed: Pods needed at each tick; NaN where the load is unknown, which keeps what stood before. Shape (n,).
        window: The scale-down stabilization window.
    """
    known = np.where(np.isnan(needed), -np.inf, needed)
    width = max(window // TICK, 1)
    padded = np.concatenate((np.full(width - 1, -np.inf), known))
    highest = np.lib.stride_tricks.sliding_window_view(padded, width).max(axis=1)
    last_known = np.maximum.accumulate(np.where(np.isfinite(highest), np.arange(highest.shape[0]), -1))
    return np.where(last_known >= 0, highest[last_known], 0.0).astype(np.int64)


def clairvoyant(
    needed: FloatArray,
    start_delays: IntArray,
    *,
    min_replicas: int,
    max_replicas: int,
    stabilization_window: timedelta,
) -> tuple[IntArray, IntArray]:
    """Smallest ready count that meets every need, with the same start-up delays, bounds and stabilization.

    Ready pods are exactly the stabilized need within the bounds. Each rise is ordered at the last tick from which its
    pods, with the delays drawn for that tick, are all ready in time; from then on they are paid for. A rise so early
    that it would have to be ordered before tick 0 counts as ordered at tick 0 and ready in time: the oracle has been
    running before.

    Args:
        needed: Pods needed, NaN is unknown. Shape (n,).
        start_delays: In ticks. Shape (n, draws).
        min_replicas: Lower bound.
        max_replicas: Upper bound; above it the oracle is short as well.
        stabilization_window: How long a need keeps its pods.

    Returns:
        Ready pods and ordered pods of each tick. Shape (n,) each.
    """
    ready = np.clip(stabilized_need(needed, window=stabilization_window), min_replicas, max_replicas)
    ordered = ready.copy()
    rises = np.flatnonzero(np.diff(ready) > 0) + 1
    for tick in rises.tolist():
        added = int(ready[tick] - ready[tick - 1])
        ordered[_last_order_tick(start_delays, tick, added) : tick] += added
    return ready, ordered


def _last_order_tick(start_delays: IntArray, ready_tick: int, pods: int) -> int:
    for tick in range(ready_tick - 1, -1, -1):
        if tick + int(start_delays[tick, :pods].max()) <= ready_tick:
            return tick
    return 0


def paid_for(ordered: IntArray, termination_grace: timedelta) -> IntArray:
    """Pods that cost at each tick: those ordered, and those taken away whose grace is not over. Shape (n,) each."""
    taken = np.maximum(-np.diff(ordered, prepend=ordered[:1]), 0)
    ticks = -(-termination_grace // TICK)
    so_far = np.concatenate((np.zeros(ticks, dtype=np.int64), np.cumsum(taken)))
    paid: IntArray = ordered + so_far[ticks:] - so_far[: len(ordered)]
    return paid
