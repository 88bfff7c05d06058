"""What the values that pass between the parts refuse to hold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from scaler.domain import (
    Forecast,
    ForecastFailure,
    ForecastUnavailable,
    Observation,
    ScalerError,
    Source,
    Target,
    TargetKey,
)

T0 = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
KEY = TargetKey("shop", "Deployment", "web")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"min_replicas": -1}, "min_replicas=-1, max_replicas=9; accepted is 0 <=", id="negative minimum"),
        pytest.param({"min_replicas": 10}, "min_replicas=10, max_replicas=9; accepted is 0 <=", id="crossed bounds"),
        pytest.param({"capacity": 0.0}, "capacity must be above 0, got 0.0", id="no capacity"),
        pytest.param({"capacity": float("nan")}, "capacity must be above 0, got nan", id="capacity not a number"),
        pytest.param({"miss_budget_ratio": 0.0}, "miss_budget_ratio must lie between", id="no miss ever"),
        pytest.param({"miss_budget_ratio": 1.0}, "miss_budget_ratio must lie between", id="misses always"),
        pytest.param({"lead_time": timedelta(0)}, "lead_time must be above 0, got 0:00:00", id="no lead time"),
    ],
)
def test_a_target_that_no_decision_can_keep_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"shop/Deployment/web: {message}"):
        Target(KEY, **({"min_replicas": 1, "max_replicas": 9, "capacity": 1.0} | changes))


def test_the_level_leaves_the_miss_budget() -> None:
    assert Target(KEY, 0, 1, 1.0, miss_budget_ratio=0.05).level == 0.95


@pytest.mark.parametrize("load", [float("nan"), float("inf"), -0.1])
def test_a_load_that_is_no_measurement_is_refused(load: float) -> None:
    with pytest.raises(ValueError, match="load must be finite and at least 0, or None"):
        Observation(T0, load, ready_replicas=1, current_replicas=1)


@pytest.mark.parametrize("load", [None, 0.0, 5.0])
def test_a_load_may_be_missing_zero_or_measured(load: float | None) -> None:
    assert Observation(T0, load, ready_replicas=1, current_replicas=1).load == load


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"step": timedelta(0)}, "step must be above 0", id="no step"),
        pytest.param({"quantiles": np.ones((3, 3))}, r"quantiles must have shape \(H, 2\), got \(3, 3\)", id="levels"),
        pytest.param({"window_max": np.ones(6)}, r"window_max must have shape \(H, 2\), got \(6,\)", id="flat"),
        pytest.param({"window_max": np.ones((0, 2))}, r"window_max must have shape", id="no step at all"),
        pytest.param({"window_max": np.ones((4, 2))}, r"must agree in shape, got .*\(3, 2\).*\(4, 2\)", id="lengths"),
        pytest.param({"window_max": np.full((3, 2), np.nan)}, "window_max must be finite", id="not a number"),
        pytest.param({"quantiles": np.full((3, 2), np.inf)}, "quantiles must be finite", id="infinite"),
        pytest.param({"quantiles": np.full((3, 2), -1.0)}, "quantiles must be finite and at least 0", id="negative"),
    ],
)
def test_a_forecast_that_no_decision_may_stand_on_is_refused(changes: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {
        "step": timedelta(seconds=60),
        "quantiles": np.ones((3, 2)),
        "window_max": np.ones((3, 2)),
    }
    with pytest.raises(ValueError, match=message):
        Forecast(origin=T0, quantile_levels=(0.5, 0.9), source=Source.MODEL, **(values | changes))


def test_a_forecast_knows_its_length() -> None:
    assert (
        Forecast(T0, timedelta(seconds=60), (0.5,), np.ones((7, 1)), np.ones((7, 1)), Source.MODEL).prediction_length
        == 7
    )


def test_a_missing_forecast_carries_its_cause() -> None:
    error = ForecastUnavailable(ForecastFailure.NOT_FINITE, "NaN in window_max")
    assert isinstance(error, ScalerError)
    assert (error.cause, str(error)) == (ForecastFailure.NOT_FINITE, "NaN in window_max")
