"""How forecasters are scored: the same origins for all, and nothing after an origin enters a forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from predictor_model.baselines import CLASSICAL, DAY_SECONDS, IntArray, Naive
from predictor_model.features import HORIZON, WindowBatch, WindowIndex
from predictor_model.graph import CHUNK_ROWS, Graph
from predictor_model.metrics import (
    LEVELS,
    Array,
    bootstrap_interval,
    coverage,
    geometric_mean,
    median_absolute_error,
    pinball_sum,
    replica_pinball,
    window_max,
)
from predictor_model.traces import Trace

TEST_SHARE = 0.30
ORIGINS = 120
TRAILING_DAYS = 7
COVERAGE_STEPS = (1, 5, 15, 30)
COVERAGE_LEVELS = (0.9, 0.95, 0.99)
REPLICA_STEPS = (5, 15)
REPLICA_KEYS = tuple(f"{step}/{level}" for step in REPLICA_STEPS for level in COVERAGE_LEVELS)
PODS_AT_P99 = 30
SHIPPED = "bi-lstm"
BOOSTING = "lightgbm"
NAIVE = ("persistence", "seasonal-naive")
TOO_SHORT = "no series is long enough: the last 30 % must hold 60 steps, the rest 50"


@dataclass(frozen=True, slots=True)
class SeriesScore:
    """One forecaster on one series.

    Attributes:
        wql_ratio: Pinball loss over that of the better naive forecast, residuals from before the test part.
        trailing_ratio: The same with the naive forecasts' residuals from the trailing seven days; None where too few.
        mase: Median's absolute error over the in-sample error of the seasonal naive, of persistence where there is
            less than two days before the test part.
        covered: Share of window maxima at or below `window_max`, by `step/level`; None without that head.
        replica_cost: Pinball loss of its bounds on window maxima in pods, by `step/level`. Who has no head for window
            maxima takes the highest step.
        replica_reference: The same of the better naive forecast.
    """

    dataset: str
    series: str
    forecaster: str
    wql_ratio: float
    trailing_ratio: float | None
    mase: float
    covered: dict[str, float] | None
    replica_cost: dict[str, float]
    replica_reference: dict[str, float]


@dataclass(frozen=True, slots=True)
class Summary:
    """One forecaster over all series; ratios are geometric means, MASE is the plain mean (it may be 0).

    Attributes:
        replica: Cost of bounds in pods over that of the better naive forecast, by `step/level`: summed over the series
            of a data set, then the geometric mean over data sets.
    """

    forecaster: str
    series: int
    overall: float
    interval: tuple[float, float]
    by_dataset: dict[str, float]
    trailing: float
    mase: float
    worst_series: str
    worst_ratio: float
    covered_mean: dict[str, float]
    covered_worst: dict[str, float]
    replica: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A series with its test origins and what is to be forecast from them."""

    trace: Trace
    split: int
    origins: IntArray
    target: Array

    @property
    def values(self) -> Array:
        """The whole series in double precision. Shape (T,)."""
        values: Array = self.trace.values.astype(np.float64)
        return values

    @property
    def day(self) -> int:
        """Steps per day."""
        return DAY_SECONDS // self.trace.step_seconds


class Windowed(Protocol):
    """A forecaster that sees what the network sees."""

    context_length: int

    def quantiles(self, batch: WindowBatch) -> Array:
        """Quantiles of each step. Shape (B, H, Q)."""


@dataclass(frozen=True, slots=True)
class Rivals:
    """Who is scored, beside the two naive forecasts.

    Attributes:
        graphs: Exported networks by name.
        classical: Names of `CLASSICAL`.
    """

    graphs: dict[str, Graph]
    boosting: Windowed | None = None
    classical: tuple[str, ...] = tuple(CLASSICAL)


def make_case(trace: Trace) -> Case | None:
    """Origins in the last 30 % of a series, those with an observed sample; None where that is under two horizons."""
    return case_from(trace, int(len(trace.values) * (1 - TEST_SHARE)))


def case_from(trace: Trace, split: int) -> Case | None:
    """Origins from number `split` of a series on; None where less than two horizons follow it."""
    length = len(trace.values)
    if length - split < 2 * HORIZON:
        return None
    origins = np.unique(np.linspace(split, length - HORIZON - 1, ORIGINS).astype(np.int64))
    origins = origins[~np.isnan(trace.values[origins])]
    target = trace.values.astype(np.float64)[origins[:, None] + np.arange(1, HORIZON + 1)]
    return Case(trace, split, origins, target) if len(origins) and not np.isnan(target).all() else None


def naive_reference(case: Case, *, trailing: bool) -> dict[str, Array]:
    """Quantiles of persistence and seasonal naive, those that have enough residuals. Shapes (N, H, Q)."""
    forecasts = {}
    for name, period in zip(NAIVE, (0, case.day), strict=True):
        naive = Naive(case.values, period)
        window = TRAILING_DAYS * case.day
        quantiles = (
            naive.trailing_quantiles(case.origins, window=window)
            if trailing
            else naive.quantiles(case.origins, split=case.split)
        )
        if quantiles is not None:
            forecasts[name] = quantiles
    return forecasts


def windows_of(trace: Trace, origins: IntArray, context_length: int) -> WindowBatch:
    """What is known at the origins of a series. Origins of shape (N,)."""
    return WindowIndex([trace], context_length).cut(np.zeros_like(origins), origins)


def model_forecast(graph: Graph, trace: Trace, origins: IntArray) -> tuple[Array, Array]:
    """Quantiles and window maxima of an exported graph at the origins of a series. Shapes (N, H, Q)."""
    parts = [
        graph.run(windows_of(trace, origins[start : start + CHUNK_ROWS], graph.context_length))
        for start in range(0, len(origins), CHUNK_ROWS)
    ]
    quantiles, highest = (np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True))
    return quantiles, highest


def covered_shares(case: Case, highest: Array) -> dict[str, float]:
    """How often the window maximum stayed at or below its quantile, by step and level."""
    truth = window_max(case.target)
    return {
        f"{step}/{level}": coverage(truth[:, step - 1], highest[:, step - 1, int(LEVELS.tolist().index(level))])
        for step in COVERAGE_STEPS
        for level in COVERAGE_LEVELS
    }


def replica_costs(case: Case, quantiles: Array, highest: Array | None) -> dict[str, float]:
    """Mean pinball loss of the window maximum in pods, by step and level; without windows that nobody saw whole.

    One pod carries a thirtieth of the 99 % quantile of the load before the test part.
    """
    capacity = float(np.nanquantile(case.values[: case.split], 0.99)) / PODS_AT_P99
    bounds = highest if highest is not None else np.maximum.accumulate(quantiles, axis=1)
    truth = window_max(case.target)
    return {
        f"{step}/{level}": replica_pinball(
            truth[:, step - 1], bounds[:, step - 1, LEVELS.tolist().index(level)], level=level, capacity=capacity
        )
        for step in REPLICA_STEPS
        for level in COVERAGE_LEVELS
        if capacity > 0 and not np.isnan(truth[:, step - 1]).all()
    }


Forecasts: TypeAlias = dict[str, tuple[Array, Array | None]]
"""Quantiles and, where there is such a head, window maxima of each forecaster; shapes (N, H, Q)."""


def forecasts_of(case: Case, rivals: Rivals) -> Forecasts:
    """What everybody forecasts at the origins of a case.

    Empty where no naive forecast has enough residuals, and where one is exact: a constant series tells nothing.
    """
    reference = naive_reference(case, trailing=False)
    if not reference or _least_loss(case, reference) <= 0 or _in_sample_error(case) <= 0:
        return {}
    forecasts: Forecasts = {name: (value, None) for name, value in reference.items()}
    forecasts |= {name: model_forecast(graph, case.trace, case.origins) for name, graph in rivals.graphs.items()}
    if rivals.boosting is not None:
        windows = windows_of(case.trace, case.origins, rivals.boosting.context_length)
        forecasts[BOOSTING] = (rivals.boosting.quantiles(windows), None)
    for name in rivals.classical:
        quantiles = CLASSICAL[name](case.values, case.origins, period=case.day, split=case.split)
        if quantiles is not None:
            forecasts[name] = (quantiles, None)
    return forecasts


def score_case(case: Case, forecasts: Forecasts, *, with_trailing: bool = True) -> list[SeriesScore]:
    """Every forecaster on one series; the naive forecasts' trailing residuals take most of the time."""
    if not forecasts:
        return []
    reference = {name: forecasts[name][0] for name in NAIVE if name in forecasts}
    trailing = naive_reference(case, trailing=True) if with_trailing else {}
    best = _least_loss(case, reference)
    best_trailing = _least_loss(case, trailing) if trailing else None
    typical_error = _in_sample_error(case)
    costs = {name: replica_costs(case, *forecast) for name, forecast in forecasts.items()}
    least = {key: min(costs[name][key] for name in reference) for key in next(iter(costs.values()))}
    return [
        SeriesScore(
            dataset=case.trace.dataset,
            series=case.trace.name,
            forecaster=name,
            wql_ratio=pinball_sum(case.target, quantiles) / best,
            trailing_ratio=pinball_sum(case.target, quantiles) / best_trailing if best_trailing else None,
            mase=median_absolute_error(case.target, quantiles) / typical_error,
            covered=covered_shares(case, highest) if highest is not None else None,
            replica_cost=costs[name],
            replica_reference=least,
        )
        for name, (quantiles, highest) in forecasts.items()
    ]


def _least_loss(case: Case, forecasts: dict[str, Array]) -> float:
    return min(pinball_sum(case.target, quantiles) for quantiles in forecasts.values())


def _in_sample_error(case: Case) -> float:
    lag = case.day if case.split >= 2 * case.day else 1
    past = case.values[: case.split]
    return float(np.nanmean(np.abs(past[lag:] - past[:-lag])))


def summarise(scores: Sequence[SeriesScore]) -> list[Summary]:
    """Geometric means over series, then over data sets, a row for each forecaster."""
    return [_summary(name, [s for s in scores if s.forecaster == name]) for name in _names(scores)]


def _names(scores: Sequence[SeriesScore]) -> list[str]:
    return list(dict.fromkeys(score.forecaster for score in scores))


def _summary(name: str, scores: list[SeriesScore]) -> Summary:
    datasets = list(dict.fromkeys(score.dataset for score in scores))
    groups = [np.array([s.wql_ratio for s in scores if s.dataset == dataset]) for dataset in datasets]
    by_dataset = {dataset: geometric_mean(group) for dataset, group in zip(datasets, groups, strict=True)}
    trailing = [
        geometric_mean(np.array(ratios))
        for dataset in datasets
        if (ratios := [s.trailing_ratio for s in scores if s.dataset == dataset and s.trailing_ratio is not None])
    ]
    worst = max(scores, key=lambda score: score.wql_ratio)
    covered = [score.covered for score in scores if score.covered is not None]
    keys = covered[0] if covered else ()
    return Summary(
        forecaster=name,
        series=len(scores),
        overall=geometric_mean(np.array(list(by_dataset.values()))),
        interval=bootstrap_interval(groups),
        by_dataset=by_dataset,
        trailing=geometric_mean(np.array(trailing)) if trailing else float("nan"),
        mase=float(np.mean([s.mase for s in scores])),
        worst_series=f"{worst.dataset}/{worst.series}",
        worst_ratio=worst.wql_ratio,
        covered_mean={key: float(np.nanmean([shares[key] for shares in covered])) for key in keys},
        covered_worst={key: float(np.nanmin([shares[key] for shares in covered])) for key in keys},
        replica={
            key: geometric_mean(np.array([_cost_ratio(scores, dataset, key) for dataset in datasets]))
            for key in REPLICA_KEYS
        },
    )


def _cost_ratio(scores: Sequence[SeriesScore], dataset: str, key: str) -> float:
    """Pods of one data set over those of the better naive forecast on each series; 1 where these cost nothing."""
    members = [s for s in scores if s.dataset == dataset and key in s.replica_cost]
    reference = sum(s.replica_reference[key] for s in members)
    return sum(s.replica_cost[key] for s in members) / reference if reference > 0 else 1.0
