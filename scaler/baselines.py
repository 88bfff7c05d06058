"""What can be forecast without a model: the newest load, yesterday's, last week's, and a damped trend; numpy alone.

Each says the load that it expects, and no spread. How far the load may rise above that is learned per workload
(`scaler.calibration`), beginning with how far it rose within the context (`margins`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from scaler.alike import answer_once
from scaler.domain import FloatArray, ForecastRequest, Source
from scaler.history import PREDICTION_LENGTH, SEASONS

SOURCES: Final = (Source.SEASONAL_DAY, Source.SEASONAL_WEEK, Source.DAMPED_TREND, Source.PERSISTENCE)
"""Rows of what this module returns."""
MIN_KNOWN_RATIO: Final = 0.5  # of the steps ahead, for a season to say anything
MAX_LEVEL_RATIO: Final = 2.0  # today against the season; a wider change is no longer the same season at another level
# Smoothing of level and trend, and damping: the middle of what is usual for short steps (Gardner and McKenzie, 1985,
# https://doi.org/10.1287/mnsc.31.10.1237). They are the same for all workloads, so that nothing has to be fitted.
LEVEL_SMOOTHING: Final = 0.5
TREND_SMOOTHING: Final = 0.1
DAMPING: Final = 0.9

_TREND_GROWTH: Final = np.cumsum(DAMPING ** np.arange(1, PREDICTION_LENGTH + 1))  # (H,)
_KNOTS: Final = np.array([1, 2, 3, 5, 8, 13, 20, 30])  # numbers of steps that margins are measured at


@dataclass(frozen=True, slots=True, eq=False)
class Baselines:
    """What the sources without a model forecast for one workload.

    Attributes:
        window_max: Highest load within the first h steps, rows as `SOURCES`, non-decreasing in H; NaN where a source
            has too little to say anything. Unit of the load. Shape (4, H).
        trend: Level and trend after each step of the context, NaN before its first sample. Shape (T, 2).
    """

    window_max: FloatArray
    trend: FloatArray


def forecast(requests: Sequence[ForecastRequest]) -> list[Baselines]:
    """Forecast for all requests at once, and once for those that share a past; one for each, in order."""
    return answer_once(
        (id(request.load) for request in requests), lambda rows: _forecast([requests[row] for row in rows])
    )


def _forecast(requests: Sequence[ForecastRequest]) -> Iterator[Baselines]:
    if not requests:
        return
    length = max(len(request.load) for request in requests)
    load = np.full((len(requests), length), np.nan)
    past = np.full((len(requests), len(SEASONS), length), np.nan)
    ahead = np.full((len(requests), len(SEASONS), PREDICTION_LENGTH), np.nan)
    for row, request in enumerate(requests):
        steps = len(request.load)
        load[row, length - steps :] = request.load
        past[row, :, length - steps :] = request.seasonal_load[:, :steps]
        ahead[row] = request.seasonal_load[:, steps:]
    trend = _damped_trend(load)
    newest, slope = trend[:, -1].T[:, :, np.newaxis]  # (N, 1) each
    paths = np.stack(
        [
            *np.moveaxis(_seasonal(load, past, ahead), 1, 0),
            newest + slope * _TREND_GROWTH,
            np.repeat(load[:, -1:], PREDICTION_LENGTH, axis=1),
        ],
        axis=1,
    )
    highest = _running_max(paths)
    for row, request in enumerate(requests):
        yield Baselines(highest[row], trend[row, length - len(request.load) :])


def margins(request: ForecastRequest, forecast: Baselines, level: float) -> FloatArray:
    """Measure how far the load of the context rose above what each source would have said within it.

    Args:
        request: The context.
        forecast: What was forecast from it.
        level: Share of windows that stays within the margin.

    Returns:
        Unit of the load, rows as `SOURCES`. Shape (4, H). 0 where no window was seen whole.
    """
    load = request.load
    ahead = np.append(load, np.full(PREDICTION_LENGTH, np.nan))
    truth = np.maximum.accumulate(_windows(ahead), axis=1)  # (T, H); NaN from the first gap on
    day, week = (_seasonal_within(load, lag) for lag in request.seasonal_load)
    trend = forecast.trend[:, :1] + forecast.trend[:, 1:] * _TREND_GROWTH
    constant = np.broadcast_to(load[:, np.newaxis], truth.shape)
    at = _KNOTS - 1
    excess = np.stack([truth[:, at] - _running_max(path)[:, at] for path in (day, week, trend, constant)])
    excess[:, np.isnan(load)] = np.nan  # no forecast begins at a gap
    return np.stack([np.interp(np.arange(1, PREDICTION_LENGTH + 1), _KNOTS, row) for row in _upper(excess, level)])


def _seasonal(load: FloatArray, past: FloatArray, ahead: FloatArray) -> FloatArray:
    """Take the season ahead at today's level: times the ratio of load to season over the newest H steps.

    Args:
        load: Shape (N, T).
        past: Load one season before each of it. Shape (N, 2, T).
        ahead: Load one season before each step ahead. Shape (N, 2, H).

    Returns:
        Shape (N, 2, H), NaN for a season of which less than half of the steps ahead is known.
    """
    now, then = load[:, np.newaxis, -PREDICTION_LENGTH:], past[:, :, -PREDICTION_LENGTH:]
    paired = np.isfinite(now) & np.isfinite(then)
    ratio = level_ratio(np.where(paired, now, 0.0).sum(-1), np.where(paired, then, 0.0).sum(-1))
    known = np.isfinite(ahead).mean(-1) >= MIN_KNOWN_RATIO
    return np.where(known[:, :, np.newaxis], ratio[:, :, np.newaxis] * ahead, np.nan)


def _seasonal_within(load: FloatArray, lag: FloatArray) -> FloatArray:
    """Do as `_seasonal` at every step of one context. Load of shape (T,), lag (T + H,); gives (T, H)."""
    then = lag[: len(load)]
    paired = np.isfinite(load) & np.isfinite(then)
    sums = np.cumsum(np.where(paired, np.stack([load, then]), 0.0), axis=1)
    sums[:, PREDICTION_LENGTH:] -= sums[:, :-PREDICTION_LENGTH].copy()
    return level_ratio(*sums)[:, np.newaxis] * _windows(lag)


def level_ratio(level: FloatArray, season: FloatArray) -> FloatArray:
    """Give load over season, within `MAX_LEVEL_RATIO` both ways; 1 where the season had nothing. Any shape."""
    bounded = np.clip(level, season / MAX_LEVEL_RATIO, season * MAX_LEVEL_RATIO)
    return np.divide(bounded, season, out=np.ones_like(season), where=season > 0)


def _damped_trend(load: FloatArray) -> FloatArray:
    """Follow level and trend in error-correction form; over a gap they go on as forecast.

    Args:
        load: Shape (N, T).

    Returns:
        Level and trend after each step; NaN before the first sample. Shape (N, T, 2).
    """
    states = np.empty((*load.shape, 2))
    missing = np.isnan(load)
    has_gap: list[bool] = np.logical_or.reduce(missing, axis=0).tolist()
    unbegun = np.logical_and.accumulate(missing, axis=1)
    some_unbegun: list[bool] = [True, *np.logical_or.reduce(unbegun, axis=0).tolist()]  # before each step
    level, trend = np.full(len(load), np.nan), np.zeros(len(load))
    # As little as can be in each step: this is most of what forecasting without a model costs.
    for step, seen in enumerate(load.T):
        expected = level + DAMPING * trend
        if some_unbegun[step]:
            expected = np.where(np.isnan(level), seen, expected)
        error = seen - expected
        if has_gap[step]:
            error = np.where(np.isnan(error), 0.0, error)
        level = expected + LEVEL_SMOOTHING * error
        trend = DAMPING * trend + LEVEL_SMOOTHING * TREND_SMOOTHING * error
        states[:, step, 0], states[:, step, 1] = level, trend
    return states


def _windows(values: FloatArray) -> FloatArray:
    """Cut the H values that follow each step, but for the last H. Shape (len(values) - H, H)."""
    return np.lib.stride_tricks.sliding_window_view(values[1:], PREDICTION_LENGTH)


def _running_max(paths: FloatArray) -> FloatArray:
    """Highest value so far along the last axis, at least 0; a gap takes the one before, a first gap the one after."""
    highest = np.fmax.accumulate(
        np.fmax(paths, 0.0, where=np.isfinite(paths), out=np.full_like(paths, np.nan)), axis=-1
    )
    first = np.where(np.isnan(highest), np.inf, highest).min(-1, keepdims=True)
    return np.where(np.isnan(highest), np.where(np.isinf(first), np.nan, first), highest)


def _upper(excess: FloatArray, level: float) -> Iterator[FloatArray]:
    """Give the quantile of each column, NaN left out; where there is nothing, that of the window before.

    Args:
        excess: Shape (S, T, K).
        level: Of the quantile.
    """
    ordered = np.sort(excess, axis=1)  # NaN last
    count = np.isfinite(excess).sum(1)  # (S, K)
    rank = np.maximum(np.ceil(level * count).astype(int) - 1, 0)
    values = np.take_along_axis(ordered, rank[:, np.newaxis], axis=1)[:, 0]
    for row, known in zip(values, count > 0, strict=True):
        filled, last = row.copy(), 0.0
        for column in range(len(row)):
            last = filled[column] = row[column] if known[column] else last
        yield filled
