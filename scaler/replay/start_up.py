"""How long pods take to be Ready: drawn from the seed and the time of the order, the same luck for every policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from scaler.replay.demand import TICK, IntArray

_DRAWS_PER_TICK = 32  # pods of one scale-up beyond this many share delays with the first ones


@dataclass(frozen=True, slots=True)
class StartUp:
    """How long a pod takes from being ordered to Ready: log-normal, longer where its image is not on the node.

    Attributes:
        median: Of pods whose image is cached.
        spread_ratio: Standard deviation of the logarithm.
        cache_miss_ratio: Share of pods that pull their image first.
        cache_miss_factor: What a pull multiplies the delay by.
    """

    median: timedelta = timedelta(seconds=90)
    spread_ratio: float = 0.2
    cache_miss_ratio: float = 0.05
    cache_miss_factor: float = 2.0

    def draw(self, ticks: int, seed: int, *, step: timedelta = TICK) -> IntArray:
        """Draw delays in steps for pods ordered at each tick; row i belongs to (seed, tick i), whoever orders.

        A policy that acts between two ticks has the luck of the tick it acts in: its step changes how a delay is
        rounded, and nothing else.

        Returns:
            At least one step each. Shape (ticks, draws); pod j of a scale-up takes column j modulo the width.
        """
        rng = np.random.default_rng([seed, 1])
        shape = (ticks, _DRAWS_PER_TICK)
        ratio = np.exp(rng.normal(0.0, self.spread_ratio, shape))
        ratio *= np.where(rng.random(shape) < self.cache_miss_ratio, self.cache_miss_factor, 1.0)
        return np.maximum(np.ceil(ratio * (self.median / step)), 1).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class StartDelays:
    """The delays of all lanes; lanes with the same seed and start-up share a table.

    Attributes:
        tables: In steps; int32, because there is a row for every tick. Shape (tables, ticks, draws).
        of_lane: Which table each lane draws from. Shape (L,).
        step: Time between two orders.
    """

    tables: npt.NDArray[np.int32]
    of_lane: IntArray
    step: timedelta = TICK

    @property
    def longest(self) -> int:
        """The longest delay of any lane, in steps."""
        return int(self.tables.max())

    def of(self, step: int, lanes: IntArray) -> npt.NDArray[np.int32]:
        """Delays of the pods that these lanes order now. Shape (len(lanes), draws)."""
        delays: npt.NDArray[np.int32] = self.tables[self.of_lane[lanes], step * self.step // TICK]
        return delays


def start_delays(lanes: Sequence[tuple[StartUp, int]], ticks: int, *, step: timedelta = TICK) -> StartDelays:
    """Draw the delays of lanes.

    Args:
        lanes: Start-up and seed of each.
        ticks: How many ticks there are, history included.
        step: Time between two orders.
    """
    kinds = list(dict.fromkeys(lanes))
    tables = np.stack([start_up.draw(ticks, seed, step=step).astype(np.int32) for start_up, seed in kinds])
    place = {kind: number for number, kind in enumerate(kinds)}
    return StartDelays(tables, np.array([place[lane] for lane in lanes], dtype=np.int64), step)
