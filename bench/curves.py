"""How far apart two curves of replicas are; it knows nothing of clusters or simulators."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from scaler.domain import FloatArray

LONGEST_LAG: Final = 90  # seconds either way: beyond, another step of the load is matched and not the same one later


@dataclass(frozen=True, slots=True)
class Distance:
    """Of a simulated curve from a real one.

    Attributes:
        mean_ratio: Mean absolute difference, over the mean of the real curve.
        largest: Largest absolute difference, in replicas.
        lag_seconds: By how much the simulated curve is late: the shift at which the mean absolute difference is least.
        mean_ratio_shifted: `mean_ratio` at that shift.
        pod_hours_ratio: Pod time of the simulated curve over that of the real one.
    """

    mean_ratio: float
    largest: float
    lag_seconds: float
    mean_ratio_shifted: float
    pod_hours_ratio: float


def distance(simulated: FloatArray, real: FloatArray) -> Distance:
    """Compare two curves of one second per value.

    A shifted pair is compared where both have a value. Of several equally good shifts the smallest holds.

    Args:
        simulated: Replicas. Shape (n,), n above twice the longest lag.
        real: Replicas, not all 0. Shape (n,).

    Raises:
        ValueError: The curves differ in length, are too short, or the real one is 0 throughout.
    """
    if simulated.shape != real.shape or real.shape[0] <= 2 * LONGEST_LAG:
        raise ValueError(f"curves must have one length above {2 * LONGEST_LAG}, got {simulated.shape}, {real.shape}")
    if not real.any():
        raise ValueError("the real curve is 0 throughout")
    lag = min(range(-LONGEST_LAG, LONGEST_LAG + 1), key=lambda shift: (_apart(simulated, real, shift), abs(shift)))
    return Distance(
        mean_ratio=_apart(simulated, real, 0) / float(real.mean()),
        largest=float(np.abs(simulated - real).max()),
        lag_seconds=float(lag),
        mean_ratio_shifted=_apart(simulated, real, lag) / float(real.mean()),
        pod_hours_ratio=float(simulated.sum() / real.sum()),
    )


def mean_distance(distances: list[Distance]) -> Distance:
    """Average every number; the largest difference stays the largest."""
    means = {one.name: float(np.mean([getattr(found, one.name) for found in distances])) for one in fields(Distance)}
    return Distance(**(means | {"largest": max(found.largest for found in distances)}))


def _apart(simulated: FloatArray, real: FloatArray, lag: int) -> float:
    """Mean absolute difference where the simulated curve is taken from `lag` seconds later."""
    length = real.shape[0]
    later, earlier = slice(max(lag, 0), length + min(lag, 0)), slice(max(-lag, 0), length - max(lag, 0))
    return float(np.abs(simulated[later] - real[earlier]).mean())
