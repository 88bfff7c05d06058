from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import timedelta

import numpy as np
import pytest
import statsmodels.api
import statsmodels.tsa.api
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.replay.demand import TICK
from scaler.replay.holt_winters import Component
from scaler.replay.phpa import (
    PHPA_SCALE_DOWN,
    PHPA_SCALE_UP,
    HoltWinters,
    LinearRegression,
    Model,
    PhpaConfig,
    PredictiveAutoscalers,
)

ADD, MUL = Component.ADDITIVE, Component.MULTIPLICATIVE
ROUNDING = 1e-9


def autoscalers(*models: Model, lanes: int = 1) -> PredictiveAutoscalers:
    return PredictiveAutoscalers(PhpaConfig(np.full(lanes, 7.0), np.full(lanes, 50), models))


def aims(phpas: PredictiveAutoscalers, counts: Sequence[int | None], began: int = 0) -> list[int]:
    """What one PHPA aims at, sync by sync; None is a sync whose metrics are unknown."""
    seen = []
    for tick, count in enumerate(counts, start=began):
        calculated = np.array([0 if count is None else count])
        seen.append(int(phpas.sync(tick, calculated, np.array([count is not None]))[0]))
    return seen


def linear(ahead: float = 10.0, size: int = 6, per_sync_period: int = 1) -> LinearRegression:
    return LinearRegression(np.array([ahead]), np.array([size]), per_sync_period)


def seasonal(
    period: int = 6,
    stored: int = 4,
    parameter: float = 0.9,
    trend: Component = ADD,
    seasonal: Component = ADD,
    per_sync_period: int = 1,
) -> HoltWinters:
    one = np.array([parameter])
    return HoltWinters(one, one, one, period, stored, trend, seasonal, per_sync_period)


class Reference:
    """One PHPA, slowly: the whole history in a list, every run a fit by statsmodels of what it holds."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.history: list[tuple[int, int]] = []
        self.passed = 1

    def sync(self, tick: int, count: int) -> int:
        before = list(self.history)
        self.history.append((tick, count))
        aim = count
        if self.passed >= self.model.per_sync_period:
            try:
                aim = max(aim, self.run(tick))
            except ValueError:  # statsmodels refuses: the model is skipped and nothing of it is saved
                self.history = before
                return aim
            self.passed = 1
        else:
            self.passed += 1
        self.prune()
        return aim

    def run(self, tick: int) -> int:
        counts = np.array([count for _, count in self.history], dtype=np.float64)
        if isinstance(self.model, LinearRegression):
            if len(counts) == 1:
                return int(counts[0])
            seconds = [float(self.model.look_ahead_seconds[0]) + 15.0 * (tick - at) for at, _ in self.history]
            fit = statsmodels.api.OLS(counts, statsmodels.api.add_constant(seconds)).fit()
            return math.ceil(float(fit.predict([[1, 0]])[0]) - ROUNDING)
        period = self.model.seasonal_periods
        if len(counts) < 2 * period or len(counts) < 10 + 2 * (period // 2):
            return 0
        fitted = statsmodels.tsa.api.ExponentialSmoothing(
            counts, trend=str(self.model.trend), seasonal=str(self.model.seasonal), seasonal_periods=period
        ).fit(
            smoothing_level=self.model.alpha[0],
            smoothing_trend=self.model.beta[0],
            smoothing_seasonal=self.model.gamma[0],
            optimized=False,
        )
        return math.ceil(float(fitted.forecast(steps=1)[0]) - ROUNDING)

    def prune(self) -> None:
        if isinstance(self.model, LinearRegression):
            self.history = self.history[-int(self.model.history_size[0]) :]
            return
        period = self.model.seasonal_periods
        surplus = len(self.history) // period - self.model.stored_seasons
        if surplus > 0:
            self.history = self.history[surplus * period :]


@pytest.mark.parametrize(
    ("model", "counts", "expected"),
    [
        pytest.param(linear(), [4], 4, id="a single count is given as it is"),
        pytest.param(linear(15.0), [4, 5], 6, id="two counts: the line through them"),
        pytest.param(linear(10.0), [1, 2, 3, 4], 5, id="4 + 10/15, rounded up"),
        pytest.param(linear(60.0), [1, 2, 3, 4], 8, id="four syncs ahead"),
        pytest.param(linear(15.0), [9, 9, 9, 1, 2, 3, 4, 5, 6, 7], 8, id="seven counts and not one more"),
        pytest.param(linear(15.0, size=1), [9, 1, 2], 3, id="a history of one, and the newest"),
        pytest.param(linear(1e15), [1, 2, 3, 4], 2**31 - 1, id="no more than a replica count can be"),
        pytest.param(linear(60.0), [8, 7, 6, 5], 5, id="a fall is no reason to go below the count"),
        pytest.param(linear(), [5] * 7, 5, id="a steady count is not rounded up"),
        pytest.param(linear(15.0), [2, None, None, 8], 10, id="syncs without metrics leave a gap in time: 2 a sync"),
    ],
)
def test_the_linear_model_reads_its_line_off_ahead(
    model: LinearRegression, counts: list[int | None], expected: int
) -> None:
    assert aims(autoscalers(model), counts)[-1] == expected


def test_a_model_runs_once_in_its_period_and_stores_every_count() -> None:
    # On the third sync the line 1, 2, 3 has 4 ahead; on the sixth, 6 has 7. In between there is only the count.
    assert aims(autoscalers(linear(15.0, per_sync_period=3)), [1, 2, 3, 4, 5, 6]) == [1, 2, 4, 4, 5, 7]


def test_a_sync_without_metrics_is_given_up_whole() -> None:
    phpas = autoscalers(linear(15.0, per_sync_period=2))
    # It counts for nothing: the second sync that has metrics is the one that runs.
    assert aims(phpas, [1, None, 3]) == [1, 0, 4]


def test_before_it_has_counts_enough_holt_winters_says_nothing() -> None:
    # Two seasons would be 12 counts; ten averages take 16. A rise that any fit goes on with is followed from there on.
    rise = [2 * at for at in range(20)]
    assert aims(autoscalers(seasonal(parameter=0.1)), rise)[:15] == rise[:15]
    assert aims(autoscalers(seasonal(parameter=0.1)), rise)[15] > rise[15]


def test_holt_winters_knows_the_peak_one_sync_ahead() -> None:
    season = [2, 2, 9, 2, 2, 2]
    aimed = aims(autoscalers(seasonal(parameter=0.1)), season * 6)
    assert [aimed[at] for at in (19, 25, 31)] == [9, 9, 9]  # each just before a nine
    assert [aimed[at] for at in (18, 24, 30)] == [2, 2, 2]


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(linear(), id="linear, the example"),
        pytest.param(linear(90.0, 20, 2), id="linear, far ahead, every other sync"),
        pytest.param(seasonal(), id="Holt-Winters, the example"),
        pytest.param(seasonal(parameter=0.2, trend=MUL, seasonal=MUL), id="multiplicative"),
        pytest.param(seasonal(parameter=0.3, stored=2, trend=ADD, seasonal=MUL), id="two seasons"),
        pytest.param(seasonal(7, 6, 0.3, trend=MUL), id="more seasons than the first state is drawn from"),
        pytest.param(seasonal(6, 1, 0.5), id="a season only, so that two are there once a season"),
        pytest.param(seasonal(6, 3, 0.4, per_sync_period=4), id="every fourth sync"),
    ],
)
def test_a_day_of_syncs_is_that_of_a_fit_by_statsmodels_in_each(model: Model) -> None:
    rng = np.random.default_rng(3)
    at = np.arange(120)
    counts = np.ceil(12 + 6 * np.sin(2 * np.pi * at / 6) + rng.uniform(0, 3, 120)).astype(np.int64).tolist()
    slow = Reference(model)
    gaps = {30, 31, 77}
    expected = [0 if tick in gaps else slow.sync(tick, count) for tick, count in enumerate(counts)]
    known = [None if tick in gaps else count for tick, count in enumerate(counts)]
    assert aims(autoscalers(model), known) == expected


@pytest.mark.parametrize("per_sync_period", [1, 3])
@pytest.mark.parametrize("zeros", [{40}, {3}, {40, 41, 50}], ids=["one", "before there is a forecast", "several"])
def test_a_zero_silences_a_multiplicative_model_as_it_does_in_phpa(zeros: set[int], per_sync_period: int) -> None:
    model = seasonal(parameter=0.2, stored=2, seasonal=MUL, per_sync_period=per_sync_period)
    slow = Reference(model)
    counts = [0 if tick in zeros else 5 + tick % 6 for tick in range(100)]
    assert aims(autoscalers(model), counts) == [slow.sync(tick, count) for tick, count in enumerate(counts)]


def test_a_zero_that_is_pruned_before_a_run_silences_nothing() -> None:
    # The first run is the thirty-second sync; of 18 to 23 counts held, those of the first season are gone by then.
    model = seasonal(parameter=0.2, stored=3, seasonal=MUL, per_sync_period=32)
    slow = Reference(model)
    counts = [0 if tick < 3 else 5 + tick % 6 for tick in range(100)]
    expected = [slow.sync(tick, count) for tick, count in enumerate(counts)]
    assert expected != counts
    assert aims(autoscalers(model), counts) == expected


def test_lanes_that_were_pruned_apart_are_smoothed_apart() -> None:
    # The second lane misses a season. After sync 23 both hold three seasons, the first lane from a season later on.
    one = np.array([0.3, 0.3])
    phpas = autoscalers(HoltWinters(one, one, one, 6, 3), lanes=2)
    slow = [Reference(seasonal(parameter=0.3, stored=3)) for _ in range(2)]
    for tick in range(60):
        known = np.array([True, tick not in range(6)])
        counts = np.array([4 + tick % 6 + tick // 6, 20 - tick % 6])
        expected = [slow[lane].sync(tick, int(counts[lane])) if known[lane] else int(counts[lane]) for lane in range(2)]
        assert phpas.sync(tick, counts, known).tolist() == expected


def test_the_highest_of_count_and_models_is_aimed_at() -> None:
    rising = [1, 2, 3, 4]
    far, near = linear(60.0), linear(15.0)
    assert aims(autoscalers(near, far), rising)[-1] == 8
    assert aims(autoscalers(far, near), rising)[-1] == 8
    assert aims(autoscalers(), rising) == rising


def test_a_history_that_is_remembered_is_one_that_was_lived_through() -> None:
    season = [2, 3, 9, 4, 2, 2]
    for model in (linear(), seasonal(parameter=0.3), seasonal(parameter=0.3, stored=2, seasonal=MUL)):
        lived, told = autoscalers(model), autoscalers(model)
        aims(lived, season * 7)
        for tick, count in enumerate(season * 7):
            told.remember(tick, np.array([count]), np.array([True]))
        assert aims(told, season * 2, began=42) == aims(lived, season * 2, began=42)


def test_the_behaviour_is_that_of_the_code() -> None:
    minute = timedelta(seconds=60)
    assert [(policy.kind, policy.value, policy.period) for policy in PHPA_SCALE_UP.policies] == [
        ("Percent", 100, minute),
        ("Pods", 4, minute),
    ]
    assert [(policy.kind, policy.value, policy.period) for policy in PHPA_SCALE_DOWN.policies] == [
        ("Percent", 100, minute)
    ]
    assert (PHPA_SCALE_UP.window_ticks, PHPA_SCALE_DOWN.window_ticks) == (0, 20)


def test_the_examples_are_those_of_the_docs() -> None:
    assert (LinearRegression.example(1).look_ahead_seconds[0], LinearRegression.example(1).history_size[0]) == (10, 6)
    example = HoltWinters.example(1)
    assert (example.alpha[0], example.beta[0], example.gamma[0], example.stored_seasons) == (0.9, 0.9, 0.9, 4)
    assert (example.seasonal_periods, example.trend, example.seasonal) == (5760, ADD, ADD)
    assert HoltWinters.example(1, sync_period=timedelta(minutes=5)).seasonal_periods == 288


@pytest.mark.parametrize(
    ("make", "match"),
    [
        pytest.param(lambda: linear(0.0), "look_ahead_seconds", id="nothing ahead"),
        pytest.param(lambda: linear(size=0), "history_size", id="no history"),
        pytest.param(lambda: linear(per_sync_period=0), "per_sync_period", id="never"),
        pytest.param(lambda: seasonal(1), "seasonal_periods", id="no season"),
        pytest.param(lambda: seasonal(stored=0), "stored_seasons", id="no season stored"),
        pytest.param(lambda: seasonal(parameter=1.1), "alpha must be from 0 to 1", id="a smoothing above 1"),
        pytest.param(lambda: seasonal(parameter=math.nan), "alpha must be from 0 to 1", id="a smoothing that is none"),
        pytest.param(
            lambda: PhpaConfig(np.ones(1), np.ones(1, dtype=np.int64), (), sync_period=timedelta(seconds=20)),
            "multiple of 15 s",
            id="a sync between two ticks",
        ),
        pytest.param(
            lambda: PhpaConfig(np.ones(1), np.ones(1, dtype=np.int64), (), sync_period=timedelta(0)),
            "multiple of 15 s",
            id="a sync without end",
        ),
    ],
)
def test_what_phpa_refuses_is_refused(make: Callable[[], object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make()


def test_the_longest_history_is_known() -> None:
    of = [
        PhpaConfig(np.ones(1), np.ones(1, dtype=np.int64), models).stored_syncs
        for models in ((), (linear(),), (linear(), seasonal()))
    ]
    assert of == [0, 7, 30]
    assert PhpaConfig(np.ones(1), np.ones(1, dtype=np.int64), (), sync_period=4 * TICK).sync_ticks == 4


counts_of_three = st.lists(st.tuples(*[st.integers(0, 40) | st.none()] * 3), min_size=30, max_size=60)


@settings(max_examples=40, deadline=None)
@given(counts=counts_of_three, kinds=st.tuples(st.sampled_from([ADD, MUL]), st.sampled_from([ADD, MUL])))
def test_a_lane_alone_is_the_lane_in_the_batch_and_never_aims_below_its_count(
    counts: list[tuple[int | None, int | None, int | None]], kinds: tuple[Component, Component]
) -> None:
    ahead, size = np.array([10.0, 60.0, 300.0]), np.array([6, 1, 9])
    alpha, beta, gamma = np.array([[0.9, 0.1, 0.5], [0.9, 0.3, 0.0], [0.9, 1.0, 0.4]])

    def of(some: list[int]) -> PredictiveAutoscalers:
        models = (
            LinearRegression(ahead[some], size[some]),
            HoltWinters(alpha[some], beta[some], gamma[some], 4, 2, *kinds, per_sync_period=2),
        )
        return autoscalers(*models, lanes=len(some))

    batch, alone = of([0, 1, 2]), [of([n]) for n in range(3)]
    for tick, row in enumerate(counts):
        known = np.array([count is not None for count in row])
        calculated = np.array([0 if count is None else count for count in row])
        aimed = batch.sync(tick, calculated, known)
        assert (aimed >= calculated).all()
        assert (aimed == calculated)[~known].all()
        assert aimed.tolist() == [int(one.sync(tick, calculated[[n]], known[[n]])[0]) for n, one in enumerate(alone)]
