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
