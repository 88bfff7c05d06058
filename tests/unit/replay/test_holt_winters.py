import numpy as np
import pytest
import statsmodels.tsa.api
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.replay.holt_winters import (
    Component,
    Smoothing,
    State,
    initial_state,
    initial_values,
    needed_values,
)

ADD, MUL = Component.ADDITIVE, Component.MULTIPLICATIVE


def reference(
    values: np.ndarray, parameters: tuple[float, float, float], period: int, trend: Component, seasonal: Component
) -> float:
    """What PHPA's script gets from statsmodels, before it is rounded up."""
    model = statsmodels.tsa.api.ExponentialSmoothing(
        values, trend=str(trend), seasonal=str(seasonal), seasonal_periods=period, initialization_method="estimated"
    )
    alpha, beta, gamma = parameters
    fitted = model.fit(smoothing_level=alpha, smoothing_trend=beta, smoothing_seasonal=gamma, optimized=False)
    return float(fitted.forecast(steps=1)[0])


def ours(values: np.ndarray, parameters: np.ndarray, period: int, trend: Component, seasonal: Component) -> np.ndarray:
    """The same of many series. Values: shape (n, k); parameters: shape (3, k)."""
    alpha, beta, gamma = parameters
    smoothing = Smoothing(alpha, beta, gamma, trend, seasonal)
    first = int(initial_values(np.array([len(values)]), period)[0])
    level, slope, effects = initial_state(values[:first], period, trend=trend, seasonal=seasonal)
    for at, value in enumerate(values):
        level, slope, effects[at % period] = smoothing.step(value, State(level, slope, effects[at % period]))
    return smoothing.forecast(State(level, slope, effects[len(values) % period]))


@pytest.mark.parametrize("trend", [ADD, MUL])
@pytest.mark.parametrize("seasonal", [ADD, MUL])
@pytest.mark.parametrize(
    ("period", "count"),
    [
        pytest.param(6, 24, id="the example of PHPA, whole seasons"),
        pytest.param(6, 29, id="and most of another"),
        pytest.param(7, 21, id="an odd period"),
        pytest.param(12, 24, id="just two seasons"),
        pytest.param(5, 40, id="more seasons than are averaged over"),
        pytest.param(4, 14, id="a period too short for its whole seasons"),
        pytest.param(2, 12, id="the shortest period"),
        pytest.param(10, 20, id="just ten averages"),
    ],
)
def test_it_gives_the_numbers_of_statsmodels(period: int, count: int, trend: Component, seasonal: Component) -> None:
    rng = np.random.default_rng(period * 100 + count)
    daily = 20.0 + 8.0 * np.sin(2 * np.pi * np.arange(count) / period)
    values = np.ceil(daily[:, None] + rng.uniform(0.0, 4.0, (count, 3)))
    parameters = np.array([[0.9, 0.2, 0.0], [0.9, 0.1, 0.5], [0.9, 0.3, 1.0]])
    expected = [reference(values[:, n], tuple(parameters[:, n].tolist()), period, trend, seasonal) for n in range(3)]
    assert ours(values, parameters, period, trend, seasonal).tolist() == pytest.approx(expected, rel=1e-7)


@settings(max_examples=30, deadline=None)
@given(
    data=st.data(), period=st.integers(2, 9), trend=st.sampled_from([ADD, MUL]), seasonal=st.sampled_from([ADD, MUL])
)
def test_whatever_the_counts_it_gives_the_numbers_of_statsmodels(
    data: st.DataObject, period: int, trend: Component, seasonal: Component
) -> None:
    least = 1 if MUL in (trend, seasonal) else 0
    count = data.draw(st.integers(needed_values(period), needed_values(period) + 3 * period))
    values = np.array(data.draw(st.lists(st.integers(least, 60), min_size=count, max_size=count)), dtype=np.float64)
    parameters = data.draw(st.tuples(*[st.floats(0.0, 0.5)] * 3))  # tamer than 0.9, which blows every difference up
    with np.errstate(all="ignore"):
        expected = reference(values, parameters, period, trend, seasonal)
        got = ours(values[:, None], np.array(parameters)[:, None], period, trend, seasonal)[0]
    if abs(expected) < 1e6:  # multiplicative trends may explode
        assert got == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        pytest.param(6, 16, id="ten averages: 10 + 2 x 3"),
        pytest.param(10, 20, id="both the same"),
        pytest.param(5760, 11520, id="two days of 15 s"),
    ],
)
def test_it_needs_two_seasons_and_ten_averages(period: int, expected: int) -> None:
    assert needed_values(period) == expected


def test_the_first_state_is_drawn_from_whole_seasons_and_five_at_most() -> None:
    counts = np.array([200, 299, 300, 499, 500, 600, 900])
    assert initial_values(counts, 100).tolist() == [200, 200, 300, 400, 500, 500, 500]


def test_a_season_that_repeats_goes_on() -> None:
    values = np.tile([12.0, 10.0, 8.0], 8)
    parameters = np.array([[0.1, 0.9], [0.3, 0.9], [0.2, 0.9]])
    forecast = ours(np.stack([values, values], axis=1), parameters, 3, ADD, ADD)
    assert forecast.tolist() == pytest.approx([12.0, 12.0])


def test_a_doubling_goes_on_where_the_trend_is_multiplicative() -> None:
    state = State(np.array([8.0]), np.array([2.0]), np.array([0.0]))
    smoothing = Smoothing(np.array([0.5]), np.array([0.5]), np.array([0.5]), MUL, ADD)
    assert smoothing.forecast(state).tolist() == [16.0]
    level, slope, effect = smoothing.step(np.array([16.0]), state)
    assert (level.tolist(), slope.tolist(), effect.tolist()) == ([16.0], [2.0], [0.0])


@settings(max_examples=20, deadline=None)
@given(
    data=st.data(), period=st.integers(2, 9), trend=st.sampled_from([ADD, MUL]), seasonal=st.sampled_from([ADD, MUL])
)
def test_a_series_alone_is_that_series_in_the_batch(
    data: st.DataObject, period: int, trend: Component, seasonal: Component
) -> None:
    count = needed_values(period) + 3
    rows = st.lists(st.integers(1, 60), min_size=count, max_size=count)
    values = np.array(data.draw(st.tuples(rows, rows, rows)), dtype=np.float64).T
    parameters = np.array(data.draw(st.tuples(*[st.tuples(*[st.floats(0.0, 1.0)] * 3)] * 3)))
    with np.errstate(all="ignore"):
        batch = ours(values, parameters, period, trend, seasonal)
        alone = [ours(values[:, [n]], parameters[:, [n]], period, trend, seasonal)[0] for n in range(3)]
    np.testing.assert_array_equal(batch, alone)
