"""What a forecast must beat: naive forecasts and Holt-Winters, with quantiles of their own past residuals only."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from statsmodels.tools.sm_exceptions import ConvergenceWarning
from statsmodels.tsa.holtwinters import ExponentialSmoothing

from predictor_model.features import HORIZON
from predictor_model.metrics import LEVELS, Array

IntArray: TypeAlias = npt.NDArray[np.int64]

DAY_SECONDS = 86_400
MIN_RESIDUALS = 50
HOLT_WINTERS_FIT_DAYS = 10


def persistence_points(values: Array, origins: IntArray) -> Array:
    """The newest sample, for every step. Shape (N, H)."""
    return np.repeat(values[origins][:, None], HORIZON, axis=1)


def seasonal_offsets(period: int) -> IntArray:
    """Where each step's last known counterpart lies, relative to the origin. Shape (H,), all 0 or below.

    A period shorter than the horizon repeats its last whole cycle: nothing after the origin may be used.
    """
    ahead = np.arange(1, HORIZON + 1)
    offsets: IntArray = ahead - period * -(-ahead // period)
    return offsets


def seasonal_points(values: Array, origins: IntArray, period: int) -> Array:
    """The sample one period before each step, the newest one where that is missing. Shape (N, H)."""
    lagged = origins[:, None] + seasonal_offsets(period)
    points = np.where(lagged >= 0, values[np.maximum(lagged, 0)], np.nan)
    return np.where(np.isnan(points), values[origins][:, None], points)


def residual_quantiles(values: Array, points: Array, origins: IntArray) -> Array | None:
    """Quantiles of what the points missed, per step; None where fewer than 50 residuals are known.

    Args:
        values: The series. Shape (T,).
        points: Point forecasts from `origins`. Shape (N, H).
        origins: Positions of the newest samples, all in the past of what is to be forecast. Shape (N,).

    Returns:
        Shape (H, Q).
    """
    residuals = values[origins[:, None] + np.arange(1, HORIZON + 1)] - points
    if (~np.isnan(residuals)).sum(0).min(initial=len(residuals)) < MIN_RESIDUALS or len(residuals) < MIN_RESIDUALS:
        return None
    # Sorted once with the missing ones last, then read off per step: numpy's nanquantile takes a hundred times as long.
    ordered = np.sort(residuals, axis=0)
    position = LEVELS[:, None] * ((~np.isnan(residuals)).sum(0) - 1)  # (Q, H)
    below, weight = np.floor(position).astype(np.int64), position % 1
    above = np.ceil(position).astype(np.int64)
    steps = np.arange(HORIZON)
    quantiles: Array = ((1 - weight) * ordered[below, steps] + weight * ordered[above, steps]).T
    return quantiles


@dataclass(frozen=True, slots=True, eq=False)
class Naive:
    """A point forecast by copying, of a period in steps; 0 is persistence."""

    values: Array
    period: int

    def points(self, origins: IntArray) -> Array:
        """Point forecasts. Shape (N, H)."""
        if self.period == 0:
            return persistence_points(self.values, origins)
        return seasonal_points(self.values, origins, self.period)

    def quantiles(self, origins: IntArray, *, split: int) -> Array | None:
        """Quantiles from residuals before `split`, clipped at zero. Shape (N, H, Q)."""
        spread = self._spread(self.period, split - HORIZON)
        return None if spread is None else np.maximum(self.points(origins)[..., None] + spread, 0)

    def trailing_quantiles(self, origins: IntArray, *, window: int) -> Array | None:
        """Quantiles from the residuals of the `window` samples before each origin. Shape (N, H, Q)."""
        spreads = [
            self._spread(max(self.period, origin - window - HORIZON), origin - HORIZON + 1) for origin in origins
        ]
        if any(spread is None for spread in spreads):
            return None
        return np.maximum(self.points(origins)[..., None] + np.stack([s for s in spreads if s is not None]), 0)

    def _spread(self, first: int, last: int) -> Array | None:
        past = np.arange(first, last, dtype=np.int64)
        past = past[~np.isnan(self.values[past])] if len(past) else past
        return residual_quantiles(self.values, self.points(past), past) if len(past) else None


def holt_winters_quantiles(values: Array, origins: IntArray, *, period: int, split: int) -> Array | None:
    """Damped additive Holt-Winters with a daily season, parameters and residuals from before `split`.

    Fitted once on the last ten days before `split`, then carried forward with fixed parameters, one state per sample.

    Returns:
        Shape (N, H, Q); None where there is less than two days before `split`.

    Source: Hyndman et al. (2008), method (A_d, A); the fit is statsmodels'.
    """
    first = max(0, split - HOLT_WINTERS_FIT_DAYS * period)
    if split - first < 2 * period + 2 * HORIZON:
        return None
    filled = _forward_filled(values[first:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        fitted = _damped(filled[: split - first], period).fit(optimized=True, use_brute=False)
        fixed = {
            name: float(fitted.params[name])
            for name in ("smoothing_level", "smoothing_trend", "smoothing_seasonal", "damping_trend")
        }
        states = _damped(filled, period).fit(**fixed, optimized=False)
    damping = np.cumsum(fixed["damping_trend"] ** np.arange(1, HORIZON + 1))

    def points(at: IntArray) -> Array:
        local = at - first
        season = states.season[local[:, None] + seasonal_offsets(period)]
        path: Array = states.level[local][:, None] + damping * states.trend[local][:, None] + season
        return path

    past = np.arange(first + period, split - HORIZON, dtype=np.int64)
    past = past[~np.isnan(values[past])]
    spread = residual_quantiles(values, points(past), past)
    return None if spread is None else np.maximum(points(origins)[..., None] + spread, 0)


def _damped(values: Array, period: int) -> ExponentialSmoothing:
    return ExponentialSmoothing(
        values,
        trend="add",
        damped_trend=True,
        seasonal="add",
        seasonal_periods=period,
        initialization_method="heuristic",
    )


def _forward_filled(values: Array) -> Array:
    """Missing samples take the last known value; leading ones the first known."""
    known = np.flatnonzero(~np.isnan(values))
    position = np.maximum.accumulate(np.where(np.isnan(values), known[0], np.arange(len(values))))
    filled: Array = values[position]
    return filled
