"""Which forecast of a series to show; it draws nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from predictor_model.metrics import Array, pinball_sum
from predictor_model.scoring import Case

PAST_SHOWN: Final = 120  # samples before the origin


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One forecast of one series, the one with the median loss.

    Attributes:
        at: Number of its origin among those of the case.
        past: Samples up to the origin, NaN is missing. Shape (P,).
        target: What came. Shape (H,).
        quantiles: What was said. Shape (H, Q).
    """

    dataset: str
    series: str
    step_seconds: int
    at: int
    past: Array
    target: Array
    quantiles: Array


def example_of(case: Case, quantiles: Array) -> Example:
    """Choose the forecast to show. Quantiles of shape (N, H, Q)."""
    losses = [
        pinball_sum(target[None], forecast[None]) if not np.isnan(target).all() else np.nan
        for target, forecast in zip(case.target, quantiles, strict=True)
    ]
    order = np.argsort(losses)  # NaN last
    at = int(order[int(np.isfinite(losses).sum()) // 2])
    origin = int(case.origins[at])
    return Example(
        dataset=case.trace.dataset,
        series=case.trace.name,
        step_seconds=case.trace.step_seconds,
        at=at,
        past=case.values[max(0, origin - PAST_SHOWN + 1) : origin + 1],
        target=case.target[at],
        quantiles=quantiles[at],
    )
