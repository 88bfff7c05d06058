"""What the forecast is worth while there is little history: each origin again, with the newest samples alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from predictor_model.contract import CONTRACT
from predictor_model.features import HORIZON, WindowBatch
from predictor_model.graph import Graph
from predictor_model.metrics import geometric_mean, pinball_sum
from predictor_model.scoring import NAIVE, Case, naive_reference, windows_of

HISTORIES: Final = {"8 samples": 0, "1 hour": 3_600, "6 hours": 21_600, "1 day": 86_400, "1 week": 604_800}
"""Seconds of history by name; never fewer samples than the contract asks for."""


@dataclass(frozen=True, slots=True)
class HistoryScore:
    """The network on one series, with so much history.

    Attributes:
        ratio: Pinball loss over that of persistence, which knows its residuals over all of the earlier part.
    """

    dataset: str
    series: str
    history: str
    ratio: float


def with_history(batch: WindowBatch, samples: int) -> WindowBatch:
    """The same windows as if nothing before the newest `samples` had been recorded, lags included."""
    length = batch.load.shape[1]
    recent = np.arange(length) >= length - samples
    lag_steps = np.array(CONTRACT.seasonal_lag_seconds)[None, :] // batch.step_seconds[:, None]  # (B, 2)
    back = lag_steps[:, :, None] - np.arange(1, HORIZON + 1)  # samples before the newest; (B, 2, H)
    return replace(
        batch,
        observed=batch.observed & recent,
        seasonal_lags_observed=batch.seasonal_lags_observed & (back < samples),
    )


def history_scores(case: Case, graph: Graph) -> list[HistoryScore]:
    """Score one series at every length of history; empty where persistence has too few residuals, or is exact."""
    persistence = naive_reference(case, trailing=False).get(NAIVE[0])
    loss = pinball_sum(case.target, persistence) if persistence is not None else 0.0
    if loss <= 0:
        return []
    windows = windows_of(case.trace, case.origins, graph.context_length)
    scores = []
    for history, seconds in HISTORIES.items():
        samples = max(CONTRACT.min_history_length, seconds // case.trace.step_seconds)
        quantiles, _ = graph.run(with_history(windows, samples))
        ratio = pinball_sum(case.target, quantiles.astype(np.float64)) / loss
        scores.append(HistoryScore(case.trace.dataset, case.trace.name, history, ratio))
    return scores


def ratios_of(scores: Sequence[HistoryScore], history: str) -> dict[str, float]:
    """Geometric mean over the series of each data set."""
    of_it = [score for score in scores if score.history == history]
    datasets = dict.fromkeys(score.dataset for score in of_it)
    return {name: geometric_mean(np.array([s.ratio for s in of_it if s.dataset == name])) for name in datasets}
