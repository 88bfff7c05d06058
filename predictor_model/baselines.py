"""What a forecast must beat: naive and classical forecasts, with quantiles of their own past residuals only."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from statsmodels.tools.sm_exceptions import ConvergenceWarning
from statsmodels.tsa.holtwinters import ExponentialSmoothing, SimpleExpSmoothing

from predictor_model.features import HORIZON
from predictor_model.metrics import LEVELS, Array

IntArray: TypeAlias = npt.NDArray[np.int64]

DAY_SECONDS = 86_400
MIN_RESIDUALS = 50
FIT_DAYS = 10
THETA_CONTEXT_DAYS = 3
THETA_RESIDUALS = 150
RIDGE_RECENT = 48
RIDGE_ROWS = 6_000


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
        past = np.arange(self.period, split - HORIZON, dtype=np.int64)
        return _with_residuals(self.values, self.points, origins, past=past)

    def trailing_quantiles(self, origins: IntArray, *, window: int) -> Array | None:
        """Quantiles from the residuals of the `window` samples before each origin. Shape (N, H, Q)."""
        spreads = [
            self._spread(max(self.period, origin - window - HORIZON), origin - HORIZON + 1) for origin in origins
        ]
        if any(spread is None for spread in spreads):
            return None
        return np.maximum(self.points(origins)[..., None] + np.stack([s for s in spreads if s is not None]), 0)

    def _spread(self, first: int, last: int) -> Array | None:
        return _spread(self.values, self.points, np.arange(first, last, dtype=np.int64))


def simple_smoothing_quantiles(values: Array, origins: IntArray, *, period: int, split: int) -> Array | None:
    """Simple exponential smoothing, its rate and residuals from the ten days before `split`.

    Returns:
        Shape (N, H, Q); None where there is too little before `split`.

    Source: Hyndman et al. (2008), method (N, N); the fit is statsmodels'.
    """
    first = max(0, split - FIT_DAYS * period)
    if split - first < 2 * HORIZON + MIN_RESIDUALS:
        return None
    filled = _forward_filled(values[first:])
    with _quiet():
        fitted = SimpleExpSmoothing(filled[: split - first], initialization_method="heuristic").fit()
        rate = float(fitted.params["smoothing_level"])
        level = SimpleExpSmoothing(filled, initialization_method="heuristic").fit(rate, optimized=False).level

    def points(at: IntArray) -> Array:
        return np.repeat(level[at - first][:, None], HORIZON, axis=1)

    return _with_residuals(values, points, origins, past=np.arange(first, split - HORIZON, dtype=np.int64))


def holt_winters_quantiles(values: Array, origins: IntArray, *, period: int, split: int) -> Array | None:
    """Damped additive Holt-Winters with a daily season, parameters and residuals from before `split`.

    Fitted once on the last ten days before `split`, then carried forward with fixed parameters, one state per sample.

    Returns:
        Shape (N, H, Q); None where there is less than two days before `split`.

    Source: Hyndman et al. (2008), method (A_d, A); the fit is statsmodels'.
    """
    first = max(0, split - FIT_DAYS * period)
    if split - first < 2 * period + 2 * HORIZON:
        return None
    filled = _forward_filled(values[first:])
    with _quiet():
        fitted = _damped(filled[: split - first], period).fit(optimized=True, use_brute=False)
        fixed = {
            name: float(fitted.params[name])
            for name in ("smoothing_level", "smoothing_trend", "smoothing_seasonal", "damping_trend")
        }
        # The first states too: the library's own guess of them looks at five seasons, and these may reach past `split`.
        begin = {f"initial_{name}": fitted.params[f"initial_{key}"] for name, key in _FIRST_STATES}
        states = _damped(filled, period, **begin).fit(**fixed, optimized=False)
    damping = np.cumsum(fixed["damping_trend"] ** np.arange(1, HORIZON + 1))

    def points(at: IntArray) -> Array:
        local = at - first
        season = states.season[local[:, None] + seasonal_offsets(period)]
        path: Array = states.level[local][:, None] + damping * states.trend[local][:, None] + season
        return path

    return _with_residuals(values, points, origins, past=np.arange(first + period, split - HORIZON, dtype=np.int64))


def auto_theta_quantiles(values: Array, origins: IntArray, *, period: int, split: int) -> Array | None:
    """The best of four Theta methods with a daily season, chosen and fitted once on the days before `split`.

    From each origin its parameters are carried over the newest three days. A season that three days do not show twice
    is left out.

    Returns:
        Shape (N, H, Q); None where there is too little before `split`.

    Source: Fiorucci et al. (2016); statsforecast's AutoTheta.
    """
    from statsforecast.models import AutoTheta  # noqa: PLC0415 - 4 s, which a run without this rival need not wait

    context = min(THETA_CONTEXT_DAYS * period, split // 2)
    if context < 2 * HORIZON:
        return None
    filled = _forward_filled(values)
    season = period if context >= 2 * period + HORIZON else 1
    with _quiet():
        model = AutoTheta(season_length=season).fit(filled[split - context : split])

        def points(at: IntArray) -> Array:
            paths = [model.forward(filled[t - context + 1 : t + 1], h=HORIZON)["mean"] for t in at]
            return np.stack(paths).astype(np.float64)

        past = np.unique(np.linspace(context, split - HORIZON - 1, THETA_RESIDUALS).astype(np.int64))
        return _with_residuals(values, points, origins, past=past)


def ridge_quantiles(values: Array, origins: IntArray, *, period: int, split: int) -> Array | None:
    """Ridge regression of all steps on the newest samples and on those a day and a week before each step.

    Fitted on the first 70 % of the time before `split`, residuals from the rest; both in differences to the newest.

    Returns:
        Shape (N, H, Q); None where there is too little before `split`.
    """
    filled = _forward_filled(values)
    lags = [days * period for days in (1, 7) if split > 2 * days * period]
    first = max([RIDGE_RECENT, *lags])
    border = first + int(0.7 * (split - first))
    if border - first < 10 * RIDGE_RECENT or split - HORIZON - border < 2 * MIN_RESIDUALS:
        return None

    def inputs(at: IntArray) -> Array:
        recent = filled[at[:, None] + np.arange(1 - RIDGE_RECENT, 0)]
        seasonal = [filled[at[:, None] + seasonal_offsets(lag)] for lag in lags]
        return np.concatenate([recent, *seasonal], axis=1) - filled[at][:, None]

    fit_at = np.arange(first, border - HORIZON, dtype=np.int64)
    fit_at = fit_at[:: max(1, len(fit_at) // RIDGE_ROWS)]
    ahead = fit_at[:, None] + np.arange(1, HORIZON + 1)
    seen = ~np.isnan(values[ahead]).any(1)
    if seen.sum() < 2 * RIDGE_RECENT:
        return None
    model = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-1, 5, 7)))
    model.fit(inputs(fit_at[seen]), values[ahead][seen] - filled[fit_at[seen]][:, None])

    def points(at: IntArray) -> Array:
        path: Array = model.predict(inputs(at)) + filled[at][:, None]
        return path

    return _with_residuals(values, points, origins, past=np.arange(border, split - HORIZON, dtype=np.int64))


def _with_residuals(
    values: Array, points: Callable[[IntArray], Array], origins: IntArray, *, past: IntArray
) -> Array | None:
    """Point forecasts with the quantiles of what they missed at `past`, clipped at zero. Shape (N, H, Q)."""
    spread = _spread(values, points, past)
    return None if spread is None else np.maximum(points(origins)[..., None] + spread, 0)


def _spread(values: Array, points: Callable[[IntArray], Array], past: IntArray) -> Array | None:
    """Quantiles of what point forecasts missed at those of `past` that have a sample. Shape (H, Q)."""
    past = past[~np.isnan(values[past])]
    return residual_quantiles(values, points(past), past) if len(past) else None


@contextmanager
def _quiet() -> Iterator[None]:
    """Fits on real load seldom converge to the last digit, and say so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


_FIRST_STATES = (("level", "level"), ("trend", "trend"), ("seasonal", "seasons"))


def _damped(values: Array, period: int, **begin: Any) -> ExponentialSmoothing:
    return ExponentialSmoothing(
        values,
        trend="add",
        damped_trend=True,
        seasonal="add",
        seasonal_periods=period,
        initialization_method="known" if begin else "heuristic",
        **begin,
    )


def _forward_filled(values: Array) -> Array:
    """Missing samples take the last known value; leading ones the first known."""
    known = np.flatnonzero(~np.isnan(values))
    position = np.maximum.accumulate(np.where(np.isnan(values), known[0], np.arange(len(values))))
    filled: Array = values[position]
    return filled


CLASSICAL: Mapping[str, Callable[..., Array | None]] = {
    "ses": simple_smoothing_quantiles,
    "holt-winters": holt_winters_quantiles,
    "auto-theta": auto_theta_quantiles,
    "ridge": ridge_quantiles,
}
"""By name; each takes values and origins, and `period` and `split` by name. None where a series is too short for it."""
