"""The load that a replay puts on its pods: a trace at tick resolution, with noise; it never looks ahead for anyone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from scaler.domain import FloatArray

IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

TICK = timedelta(seconds=15)  # the HPA's sync period, and the scaler's own


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """Load of the whole service over every tick of a trace, history included.

    Attributes:
        start: When tick 0 begins; tick i covers [start + i * TICK, start + (i + 1) * TICK).
        step: Spacing of the trace behind it; a step's ticks become known together, once the step is over.
        load: Mean load over each tick, unit of the trace; NaN where the trace has no value. Shape (n,).
    """

    start: datetime
    step: timedelta
    load: FloatArray

    def __len__(self) -> int:
        """Count the ticks."""
        return int(self.load.shape[0])

    def time_of(self, tick: int) -> datetime:
        """When a tick begins."""
        return self.start + tick * TICK

    def tick_of(self, at: datetime) -> int:
        """Which tick begins at or just before `at`."""
        return (at - self.start) // TICK

    def known_until(self, now: datetime, metric_delay: timedelta) -> int:
        """Count the ticks whose load can be known at `now`: those of steps that ended `metric_delay` ago or earlier."""
        complete_steps = (now - metric_delay - self.start) // self.step
        return min(max(complete_steps, 0) * self.step // TICK, len(self))


def demand_from(values: FloatArray, *, start: datetime, step: timedelta, noise_ratio: float, seed: int) -> Demand:
    """Hold every value for its whole step and multiply each tick by log-normal noise of mean 1.

    Values are never interpolated: the next one is the future. The noise of a tick depends on the seed and on how many
    ticks lie before it, never on the values.

    Args:
        values: One value per step, NaN is missing. Shape (m,).
        start: Begin of the first value's step.
        step: Spacing of the values, at least one tick.
        noise_ratio: Standard deviation of the noise's logarithm.
        seed: Seed of the noise.

    Raises:
        ValueError: The step is shorter than one tick.
    """
    if step < TICK:
        raise ValueError(f"step must be at least {TICK.total_seconds():g} s, got {step.total_seconds():g} s")
    ticks = values.shape[0] * step // TICK
    step_of_tick = (np.arange(ticks) * (TICK / step) + 1e-9).astype(np.int64)
    noise = np.random.default_rng([seed, 0]).normal(-(noise_ratio**2) / 2, noise_ratio, ticks)
    return Demand(start=start, step=step, load=values[step_of_tick].astype(np.float64) * np.exp(noise))


def pods_needed(load: FloatArray, capacity: FloatArray | float) -> FloatArray:
    """Pods that the load needs: d_t = ceil(load_t / c); NaN where the load is unknown. Shape of `load`."""
    needed: FloatArray = np.ceil(load / capacity - 1e-9)
    return needed
