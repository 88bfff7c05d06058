"""Time short of pods at equal pod-hours: what a policy's knob reaches at a given price."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

GRID: Final = (1.15, 1.25, 1.40)
"""Pod-hours, as ratios to the sum of the pods needed."""


class Spot(NamedTuple):
    """One setting of a knob.

    Attributes:
        pod_hours_ratio: Pod-hours over those needed.
        under_time: Share of time short of pods.
    """

    pod_hours_ratio: float
    under_time: float


def front(spots: Iterable[Spot]) -> list[Spot]:
    """Keep the settings that no other one beats on both counts, cheapest first."""
    kept: list[Spot] = []
    for spot in sorted(spots):
        if not kept or spot.under_time < kept[-1].under_time:
            kept.append(spot)
    return kept


def under_time_at(spots: Iterable[Spot], pod_hours_ratio: float, *, least: float) -> float | None:
    """Read what a knob reaches at a price; None where even its cheapest setting costs more.

    Between two settings that are not beaten on both counts, the logarithm is interpolated. A price above the dearest
    setting buys what that one reaches.

    Args:
        spots: The sweep, in any order.
        pod_hours_ratio: The price.
        least: One tick, as a share of time: less cannot be told from nothing.
    """
    unbeaten = front(Spot(price, max(under_time, least)) for price, under_time in spots)
    dearer = bisect_right([spot.pod_hours_ratio for spot in unbeaten], pod_hours_ratio)
    if not dearer:
        return None
    below = unbeaten[dearer - 1]
    if dearer == len(unbeaten):
        return below.under_time
    above = unbeaten[dearer]
    share = (pod_hours_ratio - below.pod_hours_ratio) / (above.pod_hours_ratio - below.pod_hours_ratio)
    # Powers and not logarithms, so that a price that was tried gives exactly what it reached.
    return float(below.under_time ** (1 - share) * above.under_time**share)


def ratio(ours: float | None, theirs: float | None) -> float:
    """Give ours over theirs; 1 where one of the two cannot be had at that price."""
    return 1.0 if ours is None or theirs is None else ours / theirs


def best_of(rivals: Mapping[str, float | None]) -> tuple[str, float] | None:
    """Name the rival with the least time short at a price, and what it reaches; None where no rival can be had."""
    reached = {name: value for name, value in rivals.items() if value is not None}
    return min(reached.items(), key=lambda item: item[1]) if reached else None


def geometric_mean(ratios: Sequence[float]) -> float:
    """Average ratios so that twice as good and half as good cancel out; NaN of none."""
    return float(np.exp(np.mean(np.log(ratios)))) if len(ratios) else math.nan
