from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.adapters.forecast_contract import CONTRACT
from scaler.adapters.seasonal import SeasonalForecaster
from scaler.domain import FloatArray, Forecast, ForecastFailure, ForecastRequest, ForecastUnavailable, TargetKey

H, LEVELS = CONTRACT.prediction_length, CONTRACT.quantile_levels
MEDIAN = LEVELS.index(0.5)
T = 120
UNKNOWN = np.full(T + H, np.nan)


def make_request(load: FloatArray, *, day: FloatArray = UNKNOWN, week: FloatArray = UNKNOWN) -> ForecastRequest:
    return ForecastRequest(
        key=TargetKey("default", "Deployment", "web"),
        origin=datetime(2026, 3, 2, tzinfo=UTC),
        step=timedelta(minutes=1),
        load=load,
        seasonal_load=np.stack([day, week]),
    )


def forecast(load: FloatArray, *, day: FloatArray = UNKNOWN, week: FloatArray = UNKNOWN) -> Forecast:
    request = make_request(load, day=day, week=week)
    return SeasonalForecaster().forecast([request])[request.key]


def ramp(first: float, last: float) -> FloatArray:
    return np.linspace(first, last, T + H)


def test_a_day_that_repeats_is_forecast_exactly() -> None:
    day = ramp(10, 40)
    result = forecast(day[:T], day=day)
    np.testing.assert_allclose(result.quantiles, np.repeat(day[T:, None], len(LEVELS), axis=1))
    np.testing.assert_allclose(result.window_max, result.quantiles)
    assert result.source == "seasonal"


def test_the_path_is_at_todays_level() -> None:
    day = ramp(10, 40)
    np.testing.assert_allclose(forecast(1.5 * day[:T], day=day).quantiles[:, MEDIAN], 1.5 * day[T:])


@pytest.mark.parametrize(("factor", "kept"), [pytest.param(10.0, 2.0, id="up"), pytest.param(0.01, 0.5, id="down")])
def test_the_level_moves_the_path_by_two_at_most_and_the_rest_is_residual(factor: float, kept: float) -> None:
    flat = np.full(T + H, 100.0)
    result = forecast(factor * flat[:T], day=flat)
    # The residual is the same at every step, so path + residual is today's load again.
    np.testing.assert_allclose(result.quantiles, factor * 100.0)
    rising = np.concatenate([flat[:T], np.full(H, 200.0)])
    assert forecast(factor * flat[:T], day=rising).quantiles[0, MEDIAN] == pytest.approx(
        max(0.0, kept * 200.0 + (factor - kept) * 100.0)
    )


def test_the_week_is_taken_where_it_fitted_better() -> None:
    load, day, week = ramp(10, 40), ramp(40, 10), ramp(10, 40)
    np.testing.assert_allclose(forecast(load[:T], day=day, week=week).quantiles[:, MEDIAN], week[T:])


def test_the_day_is_taken_where_both_fit() -> None:
    day, week = ramp(10, 40), ramp(10, 40)
    week[T:] = 99.0
    np.testing.assert_allclose(forecast(day[:T], day=day, week=week).quantiles[:, MEDIAN], day[T:])


def test_unknown_steps_come_from_the_other_lag_then_from_the_highest_known() -> None:
    day, week = np.full(T + H, 10.0), np.full(T + H, 10.0)
    day[T + 3], day[T + 5], day[T + 8] = np.nan, np.nan, 30.0
    week[T + 3], week[T + 5] = 20.0, np.nan
    result = forecast(np.full(T, 10.0), day=day, week=week)
    assert result.quantiles[[2, 3, 5, 8], MEDIAN].tolist() == [10.0, 20.0, 30.0, 30.0]


def test_quantiles_are_those_of_the_residuals() -> None:
    rng = np.random.default_rng(7)
    flat = np.full(T + H, 100.0)
    load = flat[:T] + rng.normal(0, 5, T)
    level = load[-H:].sum() / flat[-H:].sum()
    expected = 100.0 * level + np.quantile(load - level * 100.0, LEVELS, method="higher")
    np.testing.assert_allclose(forecast(load, day=flat).quantiles[0], expected)


def test_the_window_maximum_covers_the_worst_of_each_window_of_the_past() -> None:
    flat = np.full(T + H, 100.0)
    load = flat[:T].copy()
    load[60] += 50.0
    result = forecast(load, day=flat)
    # 1 of 120 steps was 50 above; of the 91 windows of 30 steps, 30 hold it, so it is the 75 % quantile there.
    assert result.quantiles[:, LEVELS.index(0.95)].max() == 100.0
    assert result.window_max[-1, LEVELS.index(0.75)] == 150.0
    assert result.window_max[-1, MEDIAN] == 100.0


@pytest.mark.parametrize(
    ("observed", "ahead", "answered"),
    [
        pytest.param(30, 15, True, id="just_enough"),
        pytest.param(29, 15, False, id="too_little_past"),
        pytest.param(30, 14, False, id="too_little_ahead"),
    ],
)
def test_too_little_known_is_no_answer(observed: int, ahead: int, answered: bool) -> None:
    load, day = np.full(T, np.nan), np.full(T + H, np.nan)
    load[:observed] = 10.0
    day[:T] = 10.0
    day[T : T + ahead] = 10.0
    sparse = make_request(load, day=day)
    if answered:
        assert SeasonalForecaster().forecast([sparse])[sparse.key].window_max.max() == 10.0
        return
    with pytest.raises(ForecastUnavailable) as failure:
        SeasonalForecaster().forecast([sparse])
    assert failure.value.cause is ForecastFailure.REJECTED


def test_nobody_to_forecast_is_no_failure() -> None:
    assert SeasonalForecaster().forecast([]) == {}


@given(seed=st.integers(0, 2**32 - 1), gaps=st.floats(0, 0.6), scale=st.sampled_from([0.0, 1e-6, 1.0, 1e6]))
def test_whatever_it_answers_keeps_the_order_of_a_forecast(seed: int, gaps: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    load, day, week = scale * rng.lognormal(sigma=2, size=(3, T + H))
    for values in (load, day, week):
        values[rng.random(T + H) < gaps] = np.nan
    try:
        result = forecast(load[:T], day=day, week=week)
    except ForecastUnavailable:
        return
    assert np.isfinite(result.window_max).all()
    assert (result.quantiles >= 0).all()
    assert (np.diff(result.quantiles, axis=1) >= 0).all()
    assert (np.diff(result.window_max, axis=1) >= 0).all()
    assert (np.diff(result.window_max, axis=0) >= 0).all()
    assert (result.window_max >= result.quantiles).all()
