import numpy as np
import pytest

from predictor_model.baselines import Naive, holt_winters_quantiles, residual_quantiles, seasonal_offsets
from predictor_model.features import HORIZON
from predictor_model.metrics import LEVELS, MEDIAN


def daily(days: int, period: int = 48) -> np.ndarray:
    return 10 + 5 * np.sin(2 * np.pi * np.arange(days * period) / period)


@pytest.mark.parametrize("period", [1, 24, 30, 48, 288])
def test_a_seasonal_point_never_lies_after_the_origin(period: int) -> None:
    assert seasonal_offsets(period).max() <= 0


def test_seasonal_naive_is_exact_on_a_clean_day() -> None:
    values = daily(10)
    origins = np.array([300, 400])
    truth = values[origins[:, None] + np.arange(1, HORIZON + 1)]
    np.testing.assert_allclose(Naive(values, 48).points(origins), truth)


def test_seasonal_naive_falls_back_to_the_newest_sample_where_yesterday_is_missing() -> None:
    values = daily(10)
    values[300 - 48 + 1] = np.nan
    points = Naive(values, 48).points(np.array([300]))
    assert points[0, 0] == values[300]
    assert points[0, 1] == values[302 - 48]


def test_quantiles_come_from_residuals_before_the_split_only() -> None:
    rng = np.random.default_rng(0)
    values = 100 + rng.normal(size=1000)
    changed = values.copy()
    changed[700:] += rng.normal(scale=50, size=300)
    origins = np.array([699])
    np.testing.assert_array_equal(
        Naive(values, 0).quantiles(origins, split=700), Naive(changed, 0).quantiles(origins, split=700)
    )


def test_trailing_quantiles_use_nothing_after_the_origin() -> None:
    rng = np.random.default_rng(0)
    values = 100 + rng.normal(size=1000)
    changed = values.copy()
    changed[801:] *= 3
    origins = np.array([800])
    np.testing.assert_array_equal(
        Naive(values, 0).trailing_quantiles(origins, window=200),
        Naive(changed, 0).trailing_quantiles(origins, window=200),
    )


def test_quantiles_are_clipped_at_zero() -> None:
    values = np.abs(np.random.default_rng(0).normal(size=500))
    quantiles = Naive(values, 0).quantiles(np.array([400]), split=400)
    assert quantiles is not None
    assert quantiles.min() == 0


def test_fewer_than_fifty_residuals_are_too_few() -> None:
    values, origins = np.arange(200.0), np.arange(49)
    assert residual_quantiles(values, values[origins][:, None].repeat(HORIZON, 1), origins) is None
    assert Naive(values, 0).quantiles(np.array([60]), split=60) is None


def test_residual_quantiles_are_numpys_where_some_are_missing() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=400)
    values[rng.random(400) < 0.2] = np.nan
    origins = np.arange(300)
    residuals = values[origins[:, None] + np.arange(1, HORIZON + 1)]
    expected = np.nanquantile(residuals, LEVELS, axis=0).T
    quantiles = residual_quantiles(values, np.zeros((300, HORIZON)), origins)
    assert quantiles is not None
    np.testing.assert_allclose(quantiles, expected)


def test_holt_winters_follows_a_day_with_a_trend() -> None:
    period = 48
    values = daily(14, period) + 0.01 * np.arange(14 * period) + np.random.default_rng(0).normal(scale=0.1, size=672)
    origins = np.array([500, 560, 620])
    quantiles = holt_winters_quantiles(values, origins, period=period, split=480)
    assert quantiles is not None
    assert quantiles.shape == (3, HORIZON, len(LEVELS))
    truth = values[origins[:, None] + np.arange(1, HORIZON + 1)]
    error = np.abs(quantiles[..., MEDIAN] - truth).mean()
    assert error < 0.5  # persistence is wrong by 3 to 4 here


def test_holt_winters_needs_two_days() -> None:
    assert holt_winters_quantiles(daily(3), np.array([100]), period=48, split=100) is None
