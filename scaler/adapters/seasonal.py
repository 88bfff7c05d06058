"""The seasonal table, which stands in while the model cannot answer: yesterday or last week at the same clock time.

It looks at nothing but the request, and it errs towards too much load, never too little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np

from scaler.adapters.forecast_contract import CONTRACT
from scaler.domain import FloatArray, Forecast, ForecastFailure, ForecastRequest, ForecastUnavailable, TargetKey

SOURCE: Final = "seasonal"
MIN_RESIDUALS: Final = 30  # below this an upper quantile is little more than the highest one seen
MIN_KNOWN_RATIO: Final = 0.5  # of the steps ahead
MAX_LEVEL_RATIO: Final = 2.0  # today against the lag; a wider change is no longer the same season at another level


class SeasonalForecaster:
    """The `Forecaster` port without a model, in numpy alone.

    The path is the day lag, or the week lag where that fitted the context better, at today's level: times the ratio of
    load to lag over the newest H steps, at most 2 and at least 1/2. Quantiles add those of the residuals over the
    context. The window maximum adds, to the path's running maximum, quantiles of the residuals' maximum over windows
    of the same length: max(path + residual) <= max(path) + max(residual), so it is an upper bound.
    """

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        """Answer all requests; a key without an entry has too little of its past known.

        Raises:
            ForecastUnavailable: None could be answered.
        """
        answers = {request.key: _forecast(request) for request in requests}
        forecasts = {key: forecast for key, forecast in answers.items() if forecast is not None}
        if requests and not forecasts:
            known = f"{MIN_RESIDUALS} steps of the past and {MIN_KNOWN_RATIO:.0%} of the steps ahead"
            raise ForecastUnavailable(ForecastFailure.REJECTED, f"no day or week lag is known for {known}")
        return forecasts

    def wake(self) -> timedelta:
        """Do nothing: it never sleeps."""
        return timedelta(0)


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """One lag at today's level.

    Attributes:
        path: Load expected at each step ahead, NaN where the lag is unknown. Shape (H,).
        residuals: Load minus lag over the context, NaN where either is unknown. Shape (T,).
        error: Mean absolute residual.
    """

    path: FloatArray
    residuals: FloatArray
    error: float


def _forecast(request: ForecastRequest) -> Forecast | None:
    fits = [fit for lag in request.seasonal_load if (fit := _fit(request.load, lag)) is not None]
    if not fits:
        return None
    fits.sort(key=lambda fit: fit.error)  # stable: the day lag, which comes first, wins a tie
    path = fits[0].path
    for fit in fits[1:]:
        path = np.where(np.isnan(path), fit.path, path)
    path = np.where(np.isnan(path), np.nanmax(path), path)
    quantiles, window_max = _spread(path, fits[0].residuals)
    return Forecast(
        origin=request.origin,
        step=request.step,
        quantile_levels=CONTRACT.quantile_levels,
        quantiles=quantiles,
        window_max=window_max,
        source=SOURCE,
    )


def _fit(load: FloatArray, lag: FloatArray) -> _Fit | None:
    """Fit one lag, shape (T + H,), to the load, shape (T,); None where too little of it is known."""
    past, ahead = lag[: len(load)], lag[len(load) :]
    paired = np.flatnonzero(~np.isnan(load - past))
    if len(paired) < MIN_RESIDUALS or np.isnan(ahead).mean() > 1 - MIN_KNOWN_RATIO:
        return None
    newest = paired[-CONTRACT.prediction_length :]
    level, lag_level = load[newest].sum(), past[newest].sum()
    ratio = np.clip(level / lag_level, 1 / MAX_LEVEL_RATIO, MAX_LEVEL_RATIO) if lag_level > 0 else 1.0
    residuals = load - ratio * past
    return _Fit(path=ratio * ahead, residuals=residuals, error=float(np.abs(residuals[paired]).mean()))


def _spread(path: FloatArray, residuals: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Quantiles and window maximum, each of shape (H, Q), around a path without gaps."""
    known = np.where(np.isnan(residuals), -np.inf, residuals)  # -inf never is a maximum
    windowed = known
    rows = []
    for steps in range(1, len(path) + 1):
        windowed = np.maximum(windowed[: len(known) - steps + 1], known[steps - 1 :])  # (T - steps + 1,)
        rows.append(np.quantile(windowed[np.isfinite(windowed)], CONTRACT.quantile_levels, method="higher"))
    spread = np.array(rows)  # (H, Q)
    quantiles = np.maximum(path[:, None] + spread[0], 0.0)
    window_max = np.maximum.accumulate(path)[:, None] + spread
    # Windows of different length do not hold the same residuals, so the order is not given by construction.
    window_max = np.maximum.accumulate(np.maximum(window_max, quantiles), axis=0)
    return quantiles, window_max
