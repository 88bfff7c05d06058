"""Whether a fine-tuned model is better than those that could serve in its place; judged on the holdout alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from predictor_model.examples import Example, example_of
from predictor_model.graph import Graph
from predictor_model.holdout import BLOCKS, History
from predictor_model.metrics import MEDIAN, Array, geometric_mean, paired_interval, pinball_by_origin
from predictor_model.scoring import (
    REPLICA_KEYS,
    Rivals,
    SeriesScore,
    case_from,
    forecasts_of,
    score_case,
)

CANDIDATE: Final = "fine-tuned"
SHIPPED: Final = "shipped"
INCUMBENT: Final = "in place"
# Weights of one's own are one more thing to look after, and may do worse on services to come: less is not worth it.
WORTHWHILE: Final = 0.99


class Action(StrEnum):
    """What becomes of the file that is served."""

    PUT_IN_PLACE = "put in place"
    KEPT = "kept"
    WENT_BACK = "went back to the shipped weights"


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """One series on its holdout.

    Attributes:
        origins: How many forecasts of each model were judged.
        example: One of the fine-tuned model.
        shipped_median: What the shipped one said there. Shape (H,).
        scores: By forecaster; the naive ones among them.
        losses: Pinball loss of each model in each block of time. Shape (`BLOCKS`,).
    """

    name: str
    origins: int
    example: Example
    shipped_median: Array
    scores: Mapping[str, SeriesScore]
    losses: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One model against another, on the same series and times; ratios below 1 are in its favour.

    Attributes:
        loss: Geometric mean over series of the ratio of quantile losses.
        interval: 95 % of it.
        pods: Cost of the bounds on the window maximum in pods, over the other's; 1 where neither costs anything.
        better_series: On how many it has the smaller loss.
    """

    ours: str
    theirs: str
    loss: float
    interval: tuple[float, float]
    pods: float
    series: int
    better_series: int

    @property
    def better(self) -> bool:
        """Whether the gain in loss is clear, worth having, and not paid for in pods."""
        return self.interval[1] < 1 and self.loss <= WORTHWHILE and self.pods <= 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the holdout says.

    Attributes:
        better: Whether the fine-tuned model is clearly better than every other.
        comparisons: Of the fine-tuned model with each other one, then of the shipped one with that in place.
    """

    better: bool
    action: Action
    comparisons: tuple[Comparison, ...]


def judge_series(history: History, graphs: Mapping[str, Graph]) -> Judged | None:
    """Score the models on one series; None where its holdout or its past tells too little."""
    case = case_from(history.trace, history.holdout)
    forecasts = forecasts_of(case, Rivals(dict(graphs), classical=())) if case is not None else {}
    if case is None or not forecasts:
        return None
    blocks = history.blocks(case.origins)
    losses: dict[str, Array] = {}
    for name in graphs:
        by_origin = pinball_by_origin(case.target, forecasts[name][0])
        losses[name] = np.bincount(blocks, weights=by_origin, minlength=BLOCKS).astype(np.float64)
    scores = {score.forecaster: score for score in score_case(case, forecasts, with_trailing=False)}
    example = example_of(case, forecasts[CANDIDATE][0])
    return Judged(
        name=history.trace.name,
        origins=len(case.origins),
        example=example,
        shipped_median=forecasts[SHIPPED][0][example.at, :, MEDIAN],
        scores=scores,
        losses=losses,
    )


def judge(judged: Sequence[Judged], models: Sequence[str]) -> Verdict:
    """Compare the fine-tuned model with every other one.

    Where it is not better and what stands in place is clearly worse than the shipped weights, these take its place.
    """
    comparisons = [compare(judged, CANDIDATE, name) for name in models if name != CANDIDATE]
    better = all(comparison.better for comparison in comparisons)
    action = Action.PUT_IN_PLACE if better else Action.KEPT
    if INCUMBENT in models:
        comparisons.append(compare(judged, SHIPPED, INCUMBENT))
        if not better and comparisons[-1].better:
            action = Action.WENT_BACK
    return Verdict(better, action, tuple(comparisons))


def compare(judged: Sequence[Judged], ours: str, theirs: str) -> Comparison:
    """Compare two models on the same series."""
    loss, interval = paired_interval(*(np.stack([series.losses[name] for series in judged]) for name in (ours, theirs)))
    gains = [series.scores[ours].wql_ratio < series.scores[theirs].wql_ratio for series in judged]
    return Comparison(
        ours=ours,
        theirs=theirs,
        loss=loss,
        interval=interval,
        pods=pods_over(judged, ours, theirs),
        series=len(judged),
        better_series=sum(gains),
    )


def pods_over(judged: Sequence[Judged], ours: str, theirs: str) -> float:
    """Cost in pods of one forecaster over another's, summed over series; geometric mean over windows and levels."""
    ratios = []
    for key in REPLICA_KEYS:
        costs = [
            sum(series.scores[name].replica_cost.get(key, 0.0) for series in judged if name in series.scores)
            for name in (ours, theirs)
        ]
        if min(costs) > 0:
            ratios.append(costs[0] / costs[1])
    return geometric_mean(np.array(ratios)) if ratios else 1.0
