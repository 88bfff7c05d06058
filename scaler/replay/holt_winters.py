"""Triple exponential smoothing with given parameters, many series at once; it optimizes nothing and stores nothing.

It gives the numbers of statsmodels' `ExponentialSmoothing(y, trend, seasonal, seasonal_periods).fit(alpha, beta,
gamma, optimized=False)`, whose states begin with the heuristic of Hyndman et al.: Forecasting with Exponential
Smoothing (2008), section 2.6. Every sum over time runs in order, so that a series alone is that series in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from scaler.domain import FloatArray
from scaler.replay.demand import IntArray

_LEVEL_POINTS = 10  # smoothed values through which the first level and slope are drawn
_MOST_SEASONS = 5  # that the first seasonal effects are averaged over


class Component(StrEnum):
    """How a part joins the others."""

    ADDITIVE = "additive"
    MULTIPLICATIVE = "multiplicative"


class State(NamedTuple):
    """Level, slope and the seasonal effect of one season ago, of each series. Shape (k,) each."""

    level: FloatArray
    slope: FloatArray
    effect: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Smoothing:
    """The recursion and its parameters.

    Attributes:
        alpha, beta, gamma: Of level, slope and season, each from 0 to 1. Shape (k,).
    """

    alpha: FloatArray
    beta: FloatArray
    gamma: FloatArray
    trend: Component
    seasonal: Component

    def of(self, series: IntArray) -> Smoothing:
        """Give the parameters of some series."""
        return Smoothing(self.alpha[series], self.beta[series], self.gamma[series], self.trend, self.seasonal)

    def step(self, value: FloatArray, state: State) -> State:
        """Take in one value; the effect returned is that of its own season.

        With trend and season additive, and y the value, l, b, s the state:
            l' = alpha (y - s) + (1 - alpha) (l + b)
            b' = beta (l' - l) + (1 - beta) b
            s' = gamma (y - l - b) + (1 - gamma) s
        Multiplicative, the differences become quotients, and the sum l + b becomes l b.

        Args:
            value: Shape (k,).
            state: Before it.
        """
        level, slope, effect = state
        expected = self._joined(level, slope)
        if self.seasonal is Component.ADDITIVE:
            without, newest = value - effect, value - expected
        else:
            without, newest = value / effect, value / expected
        after = self.alpha * without + (1.0 - self.alpha) * expected
        rise = after - level if self.trend is Component.ADDITIVE else after / level
        return State(
            after, self.beta * rise + (1.0 - self.beta) * slope, self.gamma * newest + (1.0 - self.gamma) * effect
        )

    def forecast(self, state: State) -> FloatArray:
        """Give the value that is expected next. Shape (k,)."""
        expected = self._joined(state.level, state.slope)
        return expected + state.effect if self.seasonal is Component.ADDITIVE else expected * state.effect

    def _joined(self, level: FloatArray, slope: FloatArray) -> FloatArray:
        return level + slope if self.trend is Component.ADDITIVE else level * slope


def needed_values(period: int) -> int:
    """Count the values without which there is no first state: two seasons, and ten that a season can be centred on."""
    return max(2 * period, _averaged(period))


def initial_values(count: IntArray, period: int) -> IntArray:
    """Count the oldest values that the first state is drawn from: whole seasons, five at most, if that is enough.

    Args:
        count: Values there are. Shape (k,).
        period: Values of one season.
    """
    enough = -(-_averaged(period) // period)
    seasons = np.maximum(np.minimum(count // period, _MOST_SEASONS), enough)
    values: IntArray = np.minimum(seasons * period, count)
    return values


def initial_state(
    values: FloatArray, period: int, *, trend: Component, seasonal: Component
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Draw level, slope and seasonal effects from the oldest values.

    A centred moving average over one season (of an even length: over season and one, its ends at half weight) is taken
    off; what is left is averaged per place in the season and normalized. Level and slope are those of the line through
    the first ten averages, at the place before the first.

    Args:
        values: As many as `initial_values` says. Shape (n, k).
        period: Values of one season, at least 2.
        trend: Multiplicative, the slope is the ratio of the line's second value to its first.
        seasonal: How effects are told from the average.

    Returns:
        Level and slope, shape (k,) each, and effects, shape (period, k).

    Source: Hyndman et al. (2008), section 2.6.
    """
    count, half = len(values), period // 2
    sums = np.concatenate((np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)))  # (n + 1, k)
    windows = sums[period:] - sums[:-period]  # (n + 1 - period, k)
    smooth = windows / period if period % 2 else (windows[:-1] + windows[1:]) / (2 * period)  # (n - 2 half, k)
    centred = values[half : count - half]
    left = centred - smooth if seasonal is Component.ADDITIVE else centred / smooth
    effects = _mean_by_place(left, period, half)
    mean = np.cumsum(effects, axis=0)[-1] / period  # in order, unlike `mean`, which depends on the batch
    effects = effects - mean if seasonal is Component.ADDITIVE else effects / mean
    # The least squares through ten points at 1, ..., 10: their mean is 5.5, their spread 82.5.
    at = np.arange(1, _LEVEL_POINTS + 1)[:, None]
    first = smooth[:_LEVEL_POINTS]
    slope = np.cumsum((at - 5.5) * first, axis=0)[-1] / 82.5
    level = np.cumsum(first, axis=0)[-1] / _LEVEL_POINTS - 5.5 * slope
    return level, slope if trend is Component.ADDITIVE else 1.0 + slope / level, effects


def _averaged(period: int) -> int:
    """Count the values of which ten have half a season on both sides."""
    return _LEVEL_POINTS + 2 * (period // 2)


def _mean_by_place(left: FloatArray, period: int, offset: int) -> FloatArray:
    """Mean of the values at each place of the season; the first value is at place `offset`. Shape (period, k)."""
    total, count = np.zeros((period, left.shape[1])), np.zeros((period, 1))
    for begin in range(-offset, len(left), period):
        first, last = max(begin, 0), min(begin + period, len(left))
        total[first - begin : last - begin] += left[first:last]
        count[first - begin : last - begin] += 1
    mean: FloatArray = total / count
    return mean
