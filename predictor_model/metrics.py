"""Scores of quantile forecasts; pure numpy, missing targets are left out and never counted as zero."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from predictor_model.contract import CONTRACT

Array: TypeAlias = npt.NDArray[np.float64]

LEVELS: Array = np.array(CONTRACT.quantile_levels)
MEDIAN = CONTRACT.quantile_levels.index(0.5)


def pinball(error: Array, levels: Array | float) -> Array:
    """Pinball loss of `error` = observed - forecast at each level (Koenker and Bassett, 1978). Shape of `error`."""
    loss: Array = np.maximum(levels * error, (levels - 1) * error)
    return loss


def pinball_sum(target: Array, quantiles: Array) -> float:
    """Pinball loss summed over origins, steps and levels; lower is better, 0 is exact.

    L_q = q * max(y - y_hat, 0) + (1 - q) * max(y_hat - y, 0). The numerator of WQL: divided by that of another
    forecast of the same targets, the normalisation cancels.

    Args:
        target: Observed load. Shape (N, H). NaN is left out.
        quantiles: Forecast, unit of `target`. Shape (N, H, Q).

    Raises:
        ValueError: Every target is NaN.

    Source: Koenker and Bassett (1978); WQL as in Salinas et al. (2020).
    """
    if np.isnan(target).all():
        raise ValueError("every target is missing; nothing can be scored")
    error = target[..., None].astype(np.float64) - quantiles
    return float(np.nansum(pinball(error, LEVELS)))


def pinball_by_origin(target: Array, quantiles: Array) -> Array:
    """The same summed over steps and levels alone; 0 where no target was observed. Shape (N,)."""
    error = target[..., None].astype(np.float64) - quantiles
    losses: Array = np.nansum(pinball(error, LEVELS), axis=(1, 2))
    return losses


def median_absolute_error(target: Array, quantiles: Array) -> float:
    """Mean absolute error of the median forecast over observed targets. Shapes as `pinball_sum`."""
    return float(np.nanmean(np.abs(target - quantiles[..., MEDIAN])))


def window_max(target: Array) -> Array:
    """Highest load within the first h steps; NaN from the first missing step on. Shape (N, H) in and out."""
    highest: Array = np.maximum.accumulate(target, axis=1)  # NaN propagates, as it must
    return highest


def coverage(target: Array, bound: Array) -> float:
    """Share of observed targets at or below a bound, both of shape (N,); NaN where nothing was observed."""
    known = ~np.isnan(target)
    return float(np.mean(target[known] <= bound[known])) if known.any() else float("nan")


def replica_pinball(peak: Array, bound: Array, *, level: float, capacity: float) -> float:
    """Mean pinball loss in pods: what a bound on the load to come costs once it is cut into replicas.

    Args:
        peak: Highest load of each window. Shape (N,). NaN is left out.
        bound: Its forecast at `level`. Shape (N,).
        level: Between 0 and 1: a missing pod costs `level`, a spare one `1 - level`.
        capacity: Load of one pod.

    Returns:
        Pods; NaN where nothing was observed.
    """
    known = ~np.isnan(peak)
    error = np.ceil(peak[known] / capacity) - np.ceil(bound[known] / capacity)
    return float(np.mean(pinball(error, level))) if known.any() else float("nan")


def geometric_mean(ratios: Array) -> float:
    """Geometric mean of positive ratios. Shape (N,)."""
    return float(np.exp(np.mean(np.log(ratios))))


def bootstrap_interval(groups: list[Array], *, draws: int = 2_000, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the geometric mean over groups of geometric means over members, members drawn anew.

    Args:
        groups: Ratios of the series of each data set; each of shape (number of series,).
        draws: Bootstrap samples.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    logs = [np.log(group) for group in groups]
    means = [np.mean([rng.choice(group, size=len(group)).mean() for group in logs]) for _ in range(draws)]
    low, high = np.exp(np.quantile(means, [0.025, 0.975]))
    return float(low), float(high)


def paired_interval(
    ours: Array, theirs: Array, *, draws: int = 2_000, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """Geometric mean over series of the ratio of two losses, with its 95 % bootstrap interval.

    Series and blocks of time are drawn anew, each by itself (the pigeonhole bootstrap of Owen, 2007): what happens at
    one time happens to many series at once, so that neither a hundred series in one afternoon nor one series over many
    of them passes for more than it is. Both losses are taken from the same draw.

    Args:
        ours: Loss of each series in each block of time. Shape (S, B).
        theirs: The same of whom we are compared with.
        draws: Bootstrap samples.
        seed: Of the draws.

    Returns:
        The ratio, below 1 where ours is the smaller loss, and its interval; NaN where theirs is 0 throughout.
    """
    rng = np.random.default_rng(seed)
    n_series, n_blocks = ours.shape
    blocks = np.vstack([np.ones(n_blocks), rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), draws)])
    series = np.vstack([np.ones(n_series), rng.multinomial(n_series, np.full(n_series, 1 / n_series), draws)])
    totals, others = ours @ blocks.T, theirs @ blocks.T  # (S, 1 + draws)
    known = (totals > 0) & (others > 0)
    logs = np.log(np.where(known, totals, 1) / np.where(known, others, 1))
    weights = series.T * known
    with np.errstate(invalid="ignore"):
        means = (weights * logs).sum(0) / weights.sum(0)
    low, high = np.exp(np.nanquantile(means[1:], [0.025, 0.975])) if np.isfinite(means[1:]).any() else (np.nan,) * 2
    return float(np.exp(means[0])), (float(low), float(high))
