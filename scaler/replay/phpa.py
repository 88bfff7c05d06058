"""The Predictive Horizontal Pod Autoscaler (PHPA) 0.13.2 for many workloads at once: models over replica counts.

It forecasts no load. In each sync the HPA's formula gives a replica count; each model keeps a history of those counts,
before bounds and stabilization, and forecasts the next one; the highest of the count and all forecasts (decision type
`maximum`, the default) goes through the HPA's behaviour.

Source: github.com/jthomperoo/predictive-horizontal-pod-autoscaler, v0.13.2: internal/controllers/controller.go (syncs,
histories, defaults), internal/prediction/linear and internal/prediction/holtwinters (which history a model is given),
algorithms/ (the models, by statsmodels 0.14), internal/scalebehavior; docs/user-guide/models.md and examples/.

Where code and docs differ, or the code works against itself, the rival gets the better of the two:
- From 0.11 on the code stores histories newest first, adds the newest count at the end and hands them to Holt-Winters
  like that: it sees time run backwards. Here time runs forwards, as documented.
- Forecasts are rounded up, and a forecast of 5.000000000000001 by statsmodels becomes 6. Here it is 5.
- Histories live in one ConfigMap of at most 1 MiB, at 46 bytes a count; five days of 15 s do not fit. Here they do.
- A forecast takes a Python process of seconds. Here it takes none.

Left out: decision types other than `maximum`, damped trends, other initializations of Holt-Winters than the default,
`startInterval` and `resetDuration`, tuning fetched at run time. A forecast that is not finite counts as none, where
the code would also drop the newest count.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeAlias

import numpy as np

from scaler.domain import FloatArray
from scaler.replay.demand import TICK, BoolArray, IntArray
from scaler.replay.holt_winters import (
    Component,
    Smoothing,
    State,
    initial_state,
    initial_values,
    needed_values,
)
from scaler.replay.hpa import DEFAULT_SCALE_DOWN, HpaConfig, PolicyKind, ScalingPolicy, ScalingRules

_ROUNDING = 1e-9  # of a pod, as in the HPA
_NONE = -1  # below every replica count
_LARGEST = np.iinfo(np.int32).max  # Kubernetes' own type of a replica count
_CHUNK = 1 << 21  # values of a history that are looked at together: 16 MiB
_PERIOD = timedelta(seconds=60)

# controller.go, `defaultUpscale` and `defaultDownscale`: Kubernetes' own but for a period of 60 s instead of 15 s.
PHPA_SCALE_UP = ScalingRules(
    policies=(ScalingPolicy(PolicyKind.PERCENT, 100, _PERIOD), ScalingPolicy(PolicyKind.PODS, 4, _PERIOD)),
    stabilization_window=timedelta(0),
)
PHPA_SCALE_DOWN = ScalingRules(
    policies=(ScalingPolicy(PolicyKind.PERCENT, 100, _PERIOD),),
    stabilization_window=DEFAULT_SCALE_DOWN.stabilization_window,
)


@dataclass(frozen=True, slots=True, eq=False)
class LinearRegression:
    """The model of type `Linear`: least squares through the newest counts, read off some time ahead.

    Attributes:
        look_ahead_seconds: From now to the time that is forecast. Shape (L,).
        history_size: Counts stored; the newest is added before the model runs, so it runs over one more. Shape (L,).
        per_sync_period: Syncs from one run to the next; the history grows in each of them.
    """

    look_ahead_seconds: FloatArray
    history_size: IntArray
    per_sync_period: int = 1

    def __post_init__(self) -> None:
        """Refuse what the CRD refuses.

        Raises:
            ValueError: A field is out of range.
        """
        if not ((self.look_ahead_seconds > 0).all() and (self.history_size >= 1).all() and self.per_sync_period >= 1):
            raise ValueError("look_ahead_seconds must be above 0, history_size and per_sync_period at least 1")

    @classmethod
    def example(cls, lanes: int) -> LinearRegression:
        """Give the settings of PHPA's docs and its `simple-linear` example: 10 s ahead from 6 counts; no defaults."""
        return cls(np.full(lanes, 10.0), np.full(lanes, 6, dtype=np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class HoltWinters:
    """The model of type `HoltWinters`: triple exponential smoothing of the counts, one sync ahead.

    It says nothing until it has two seasons of counts. From then on histories hold `stored_seasons` seasons, and the
    one that is not whole yet: the oldest season goes when a newer one is whole.

    Attributes:
        alpha, beta, gamma: Of level, trend and season, from 0 to 1. Shape (L,).
        seasonal_periods: Counts of one season.
        stored_seasons: Seasons kept.
        trend, seasonal: How they join the level. With either multiplicative, a run over a count of 0 fails; as a run
            that fails stores nothing, one that is stored before there are seasons enough is there for good.
        per_sync_period: Syncs from one run to the next; the history grows in each of them.
    """

    alpha: FloatArray
    beta: FloatArray
    gamma: FloatArray
    seasonal_periods: int
    stored_seasons: int = 4
    trend: Component = Component.ADDITIVE
    seasonal: Component = Component.ADDITIVE
    per_sync_period: int = 1

    def __post_init__(self) -> None:
        """Refuse what PHPA or statsmodels refuses.

        Raises:
            ValueError: A field is out of range.
        """
        if self.seasonal_periods < 2 or self.stored_seasons < 1 or self.per_sync_period < 1:
            raise ValueError("seasonal_periods must be at least 2, stored_seasons and per_sync_period at least 1")
        for name, values in (("alpha", self.alpha), ("beta", self.beta), ("gamma", self.gamma)):
            if not ((values >= 0) & (values <= 1)).all():
                raise ValueError(f"{name} must be from 0 to 1")

    @classmethod
    def example(
        cls, lanes: int, *, sync_period: timedelta = TICK, season: timedelta = timedelta(days=1)
    ) -> HoltWinters:
        """Give the settings of PHPA's docs and its `simple-holt-winters` example, with a season of a day.

        alpha, beta and gamma are 0.9, four seasons are stored, trend and season are additive. None is a default.
        """
        smoothing = np.full(lanes, 0.9)
        return cls(smoothing, smoothing, smoothing, seasonal_periods=season // sync_period)


Model: TypeAlias = LinearRegression | HoltWinters


@dataclass(frozen=True, slots=True, eq=False)
class PhpaConfig:
    """The specs of many PHPAs with the same models; defaults are those of the code.

    Attributes:
        target_per_replica: Load that each pod should carry. Shape (L,).
        max_replicas: Shape (L,).
        models: None is an HPA with PHPA's behaviour.
        sync_period: A multiple of the tick; nothing is measured or forecast in between.
    """

    target_per_replica: FloatArray
    max_replicas: IntArray
    models: tuple[Model, ...]
    scale_up: ScalingRules = PHPA_SCALE_UP
    scale_down: ScalingRules = PHPA_SCALE_DOWN
    sync_period: timedelta = TICK

    def __post_init__(self) -> None:
        """Refuse a period that no tick begins with.

        Raises:
            ValueError: The sync period is no multiple of the tick.
        """
        if self.sync_period < TICK or self.sync_period % TICK:
            raise ValueError(f"sync_period must be a multiple of {TICK.total_seconds():g} s, got {self.sync_period}")

    @property
    def sync_ticks(self) -> int:
        """Ticks from one sync to the next."""
        return self.sync_period // TICK

    @property
    def stored_syncs(self) -> int:
        """Counts that the longest history holds before it is pruned; 0 without models."""
        return max((_stored(model) for model in self.models), default=0)

    @property
    def hpa(self) -> HpaConfig:
        """The behaviour, as that of an HPA."""
        return HpaConfig(self.target_per_replica, self.max_replicas, scale_up=self.scale_up, scale_down=self.scale_down)


class PredictiveAutoscalers:
    """The models of many PHPAs in step, from the HPA's counts to the count that is aimed at."""

    def __init__(self, config: PhpaConfig) -> None:
        """Begin with empty histories."""
        lanes = config.max_replicas.shape[0]
        self._models = tuple(_RunningModel(model, lanes) for model in config.models)

    def remember(self, tick: int, calculated: IntArray, known: BoolArray) -> None:
        """Store the counts of a past sync; nothing is forecast.

        Args:
            tick: When it was; later than any before.
            calculated: What the HPA's formula gave. Shape (L,).
            known: Where it gave anything. Shape (L,).
        """
        for model in self._models:
            model.remember(tick, calculated, known)

    def sync(self, tick: int, calculated: IntArray, known: BoolArray) -> IntArray:
        """Store the counts and give the highest of them and the forecasts that are due. Shape (L,).

        Args:
            tick: Now.
            calculated: What the HPA's formula gives. Shape (L,).
            known: Where it gives anything. Elsewhere the sync is given up before any model is asked, and `calculated`
                returns as it is. Shape (L,).
        """
        aim = calculated
        for model in self._models:
            aim = np.maximum(aim, model.sync(tick, calculated, known))
        return aim


class _History(Protocol):
    """What a model keeps. All arrays have shape (L,)."""

    def add(self, tick: int, counts: IntArray, known: BoolArray, runs: BoolArray) -> BoolArray:
        """Store the counts that are known, and say where that lasted: not where the run that is due fails."""

    def forecast(self, tick: int, runs: BoolArray) -> FloatArray:
        """Forecast where a run is due; NaN where there is none."""

    def prune(self) -> None:
        """Forget what is older than the model stores."""


class _RunningModel:
    """A model with its history and its own pace."""

    def __init__(self, model: Model, lanes: int) -> None:
        self._per_sync_period = model.per_sync_period
        self._history: _History = (
            _LinearHistory(model) if isinstance(model, LinearRegression) else _SeasonalHistory(model)
        )
        self._never = np.zeros(lanes, dtype=np.bool_)
        self._passed = np.ones(lanes, dtype=np.int64)  # syncs since the last run, that one included

    def remember(self, tick: int, counts: IntArray, known: BoolArray) -> None:
        self._history.add(tick, counts, known, self._never)
        self._history.prune()

    def sync(self, tick: int, counts: IntArray, known: BoolArray) -> IntArray:
        due = self._passed >= self._per_sync_period
        lasted = self._history.add(tick, counts, known, due)
        forecast = self._history.forecast(tick, due & lasted)
        self._history.prune()
        self._passed = np.where(lasted, np.where(due, 1, self._passed + 1), self._passed)
        finite = np.isfinite(forecast)
        pods = np.ceil(np.where(finite, forecast, 0.0) - _ROUNDING)
        return np.where(finite, np.clip(pods, _NONE, _LARGEST), _NONE).astype(np.int64)


class _LinearHistory:
    """The newest counts of each lane and when they were, newest first."""

    def __init__(self, model: LinearRegression) -> None:
        lanes, rows = model.history_size.shape[0], int(model.history_size.max()) + 1
        self._ahead = model.look_ahead_seconds / TICK.total_seconds()
        self._size = model.history_size
        self._counts = np.zeros((rows, lanes))
        self._ticks = np.zeros((rows, lanes), dtype=np.int64)
        self._held = np.zeros(lanes, dtype=np.int64)

    def add(self, tick: int, counts: IntArray, known: BoolArray, runs: BoolArray) -> BoolArray:
        lanes = slice(None) if known.all() else np.flatnonzero(known)
        for rows, newest in ((self._counts, counts), (self._ticks, np.full(len(counts), tick))):
            rows[1:, lanes] = rows[:-1, lanes]
            rows[0, lanes] = newest[lanes]
        self._held[lanes] = np.minimum(self._held[lanes] + 1, self._size[lanes] + 1)
        return known

    def forecast(self, tick: int, runs: BoolArray) -> FloatArray:
        """Read the line through the counts off at the time ahead; a single count is given as it is.

        With a the age of a count in ticks, y the count and h the ticks ahead: mean y - slope (mean a + h),
        slope = (n sum a y - sum a sum y) / (n sum a^2 - (sum a)^2). Sums of whole numbers are exact in any order.
        """
        held = np.arange(len(self._counts))[:, None] < self._held
        age = np.where(held, tick - self._ticks, 0)
        count = np.where(held, self._counts, 0.0)
        n, ages, counts = self._held, age.sum(axis=0), count.sum(axis=0)
        spread = n * (age * age).sum(axis=0) - ages * ages
        slope = (n * (age * count).sum(axis=0) - ages * counts) / np.maximum(spread, 1)
        held_or_one = np.maximum(n, 1)
        line = counts / held_or_one - slope * (ages / held_or_one + self._ahead)
        return np.where(runs, line, np.nan)

    def prune(self) -> None:
        """Nothing is left to do: what is too old is not read, and falls off the end."""


class _SeasonalHistory:
    """Seasons of counts of each lane, and the state of the smoothing at the newest of them.

    PHPA smooths the whole history anew in each run. The smoothing begins at the oldest count and with a state drawn
    from the oldest seasons, so that it is enough to go on from the newest state, until another whole season is there
    to draw from or the oldest is pruned; then all is smoothed anew. Memory: (stored_seasons + 1) x seasonal_periods
    x 4 bytes a lane, and 8 bytes a place of the season.
    """

    def __init__(self, model: HoltWinters) -> None:
        lanes, self._period = model.alpha.shape[0], model.seasonal_periods
        self._stored = model.stored_seasons
        self._smoothing = Smoothing(model.alpha, model.beta, model.gamma, model.trend, model.seasonal)
        self._positive = Component.MULTIPLICATIVE in (model.trend, model.seasonal)
        self._counts = np.zeros((_stored(model), lanes), dtype=np.int32)  # a ring
        self._first = np.zeros(lanes, dtype=np.int64)  # row of the oldest count
        self._held = np.zeros(lanes, dtype=np.int64)
        self._zeros = np.zeros(lanes, dtype=np.int64)  # of the counts held; only where all must be positive
        self._drawn_from = np.full(lanes, _NONE, dtype=np.int64)  # counts behind the first state; _NONE: smooth anew
        self._level, self._slope = np.zeros(lanes), np.zeros(lanes)
        self._effects = np.zeros((self._period, lanes))  # rows by place from the oldest count, modulo the season

    def add(self, tick: int, counts: IntArray, known: BoolArray, runs: BoolArray) -> BoolArray:
        if self._positive:
            held = self._held + 1
            zeros = self._zeros + (counts <= 0)
            # statsmodels refuses the series, the model is skipped, and the newest count is not stored.
            known = known & ~(runs & (held >= needed_values(self._period)) & (zeros > 0))
            self._zeros = np.where(known, zeros, self._zeros)
        lanes = np.flatnonzero(known)
        newest = (self._first[lanes] + self._held[lanes]) % len(self._counts)
        self._counts[newest, lanes] = counts[lanes]
        self._held[lanes] += 1
        self._drawn_from[lanes[self._drawn_from[lanes] != initial_values(self._held[lanes], self._period)]] = _NONE
        smoothed = lanes[self._drawn_from[lanes] != _NONE]
        if smoothed.size:
            self._smooth(smoothed, counts[smoothed].astype(np.float64))
        return known

    def forecast(self, tick: int, runs: BoolArray) -> FloatArray:
        ready = runs & (self._held >= needed_values(self._period))
        anew = np.flatnonzero(ready & (self._drawn_from == _NONE))
        if anew.size:
            self._smooth_anew(anew)
        state = State(self._level, self._slope, self._effects[self._held % self._period, np.arange(len(self._held))])
        with np.errstate(invalid="ignore", over="ignore"):
            return np.where(ready, self._smoothing.forecast(state), np.nan)

    def prune(self) -> None:
        full = np.flatnonzero(self._held == len(self._counts))
        if not full.size:
            return
        if self._positive:
            oldest = (self._first[full] + np.arange(self._period)[:, None]) % len(self._counts)  # (period, k)
            self._zeros[full] -= (self._counts[oldest, full] <= 0).sum(axis=0)
        self._first[full] = (self._first[full] + self._period) % len(self._counts)
        self._held[full] -= self._period
        self._drawn_from[full] = _NONE

    def _smooth(self, lanes: IntArray, counts: FloatArray) -> None:
        """Go on from the newest state; the counts are stored already."""
        place = (self._held[lanes] - 1) % self._period
        state = State(self._level[lanes], self._slope[lanes], self._effects[place, lanes])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            after = self._smoothing.of(lanes).step(counts, state)
        self._level[lanes], self._slope[lanes], self._effects[place, lanes] = after

    def _smooth_anew(self, lanes: IntArray) -> None:
        """Smooth whole histories, those of the same rows together: mostly all, as gaps alone set lanes apart."""
        rows = np.stack((self._first[lanes], self._held[lanes]))
        for first, held in np.unique(rows, axis=1).T.tolist():
            self._smooth_all(lanes[(rows[0] == first) & (rows[1] == held)], first, held)

    def _smooth_all(self, lanes: IntArray, first: int, held: int) -> None:
        drawn_from = int(initial_values(np.array([held]), self._period)[0])
        oldest = (first + np.arange(drawn_from)) % len(self._counts)
        smoothing = self._smoothing.of(lanes)
        some = max(_CHUNK // drawn_from, 1)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for chunk in (lanes[begin : begin + some] for begin in range(0, len(lanes), some)):
                counts = self._counts[oldest[:, None], chunk].astype(np.float64)
                self._level[chunk], self._slope[chunk], self._effects[:, chunk] = initial_state(
                    counts, self._period, trend=smoothing.trend, seasonal=smoothing.seasonal
                )
            level, slope = self._level[lanes], self._slope[lanes]
            for at in range(held):
                effects = self._effects[at % self._period]
                counts = self._counts[(first + at) % len(self._counts)][lanes].astype(np.float64)
                level, slope, effects[lanes] = smoothing.step(counts, State(level, slope, effects[lanes]))
        self._level[lanes], self._slope[lanes] = level, slope
        self._drawn_from[lanes] = drawn_from


def _stored(model: Model) -> int:
    """Counts that a history holds at most, the newest included."""
    if isinstance(model, LinearRegression):
        return int(model.history_size.max()) + 1
    return (model.stored_seasons + 1) * model.seasonal_periods
