"""Loads as a metrics pipeline shows them, averaged and late; everybody who may not know the future looks through it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from scaler.domain import FloatArray
from scaler.replay.demand import TICK, Demand, IntArray

METRIC_WINDOW = timedelta(seconds=60)  # what one metric sample averages over


class Metrics:
    """Loads of one clock, a column each: what can be known of them at any tick.

    It is the load offered to the service (a request rate), not what saturated pods managed to serve.

    Attributes:
        demands: The loads, D of them, with the same start, step and length.
        metric_delay: From the end of a step to its value being visible.
        window_ticks: What one sample averages over.
        load: What arrives, NaN is unknown. Shape (n, D).
        ends: At each tick, the tick at which the newest averaged window ends. Shape (n,).
        sampled: At each tick, the mean over that window; NaN where most of it is missing. Shape (n, D).
        last_value: At each tick, the tick at which the newest known value ends; 0 where there is none. Shape (n, D).
    """

    def __init__(
        self, demands: Sequence[Demand], metric_delay: timedelta, *, metric_window: timedelta = METRIC_WINDOW
    ) -> None:
        """Prepare running sums, so that any mean costs the same, and the newest sample of every tick.

        Args:
            demands: The loads.
            metric_delay: From the end of a step to its value being visible.
            metric_window: What one sample averages over, rounded up to whole ticks.

        Raises:
            ValueError: The loads do not share one clock.
        """
        first = demands[0]
        if any((other.start, other.step, len(other)) != (first.start, first.step, len(first)) for other in demands):
            raise ValueError("loads in one simulation must share start, step and length")
        self.demands = tuple(demands)
        self.metric_delay = metric_delay
        self.window_ticks = -(-metric_window // TICK)
        self.load: FloatArray = np.stack([demand.load for demand in demands], axis=1)
        ticks, columns = self.load.shape
        nothing = np.zeros((1, columns))
        known = ~np.isnan(self.load)
        self._sums = np.concatenate((nothing, np.nancumsum(self.load, axis=0)))
        self._counts: IntArray = np.concatenate((nothing.astype(np.int64), np.cumsum(known, axis=0)))
        self.ends: IntArray = np.array([first.known_until(first.time_of(tick), metric_delay) for tick in range(ticks)])
        self.sampled = self._mean_before(self.ends, self.window_ticks)
        # Row e of this: one past the last known value among the first e ticks, 0 where there is none.
        newest = np.maximum.accumulate(np.where(known, np.arange(1, ticks + 1)[:, None], 0), axis=0)
        self.last_value: IntArray = np.concatenate((nothing.astype(np.int64), newest))[self.ends]

    def __len__(self) -> int:
        """Count the ticks."""
        return int(self.load.shape[0])

    @property
    def clock(self) -> Demand:
        """One of the loads, for the time that all share."""
        return self.demands[0]

    def between(self, *, start: datetime, end: datetime, step: timedelta, now: datetime) -> FloatArray:
        """Load at start + step, ..., end, as `MetricsSource.load_between` asks for it. Shape (steps, D)."""
        first, width = self.clock.tick_of(start), step // TICK
        ticks = first + width * np.arange(1, (end - start) // step + 1)
        known_until = self.clock.known_until(now, self.metric_delay)
        return np.where((ticks <= known_until)[:, None], self._mean_before(ticks, width), np.nan)

    def _mean_before(self, ticks: IntArray, width: int) -> FloatArray:
        """Mean of the `width` ticks before each of `ticks`; NaN where less than half of them has a value."""
        newer, older = np.clip(ticks, 0, len(self)), np.clip(ticks - width, 0, len(self))
        count = self._counts[newer] - self._counts[older]
        total = self._sums[newer] - self._sums[older]
        mean: FloatArray = np.divide(total, count, out=np.full(count.shape, np.nan), where=2 * count >= width)
        return mean
