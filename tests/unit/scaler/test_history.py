"""Which times are asked for, and how requests are cut from what came back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import numpy as np
import pytest

from scaler.domain import TargetKey
from scaler.history import (
    CONTEXT_LENGTH,
    MIN_SAMPLES,
    PREDICTION_LENGTH,
    SEASONS,
    STEPS,
    Window,
    choose_step,
    context_window,
    forecast_request,
    seasonal_window,
)

KEY = TargetKey("shop", "Deployment", "web")
END = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
STEP = timedelta(seconds=60)


def test_the_numbers_are_those_of_the_contract() -> None:
    contract = json.loads((files("contracts") / "forecast_v2.json").read_text())
    assert contract["prediction_length"] == PREDICTION_LENGTH
    assert contract["history_length"]["min"] == MIN_SAMPLES
    assert contract["history_length"]["max"] >= CONTEXT_LENGTH
    assert contract["seasonal_lag_seconds"] == [season.total_seconds() for season in SEASONS]
    bounds = contract["step_seconds"]
    assert all(bounds["min"] <= step.total_seconds() <= bounds["max"] for step in STEPS)


@pytest.mark.parametrize(
    ("needed", "step", "reaches"),
    [
        pytest.param(1800, 60, True, id="half an hour"),
        pytest.param(1801, 120, True, id="a second more"),
        pytest.param(3600, 120, True, id="an hour"),
        pytest.param(3601, 300, True, id="a second more than that"),
        pytest.param(9000, 300, True, id="two hours and a half"),
        pytest.param(9001, 300, False, id="out of reach"),
    ],
)
def test_the_smallest_step_that_reaches_is_taken(needed: int, step: int, reaches: bool) -> None:
    assert choose_step(timedelta(seconds=needed)) == (timedelta(seconds=step), reaches)


@pytest.mark.parametrize(
    ("after", "step", "end"),
    [
        pytest.param(0, 60, 0, id="on a step"),
        pytest.param(59, 60, 0, id="just before the next"),
        pytest.param(60, 60, 60, id="on the next"),
        pytest.param(299, 300, 0, id="a wider step"),
    ],
)
def test_the_context_ends_on_the_last_full_step(after: int, step: int, end: int) -> None:
    window = context_window(END + timedelta(seconds=after), timedelta(seconds=step))
    assert window.end == END + timedelta(seconds=end)
    assert window.end - window.start == CONTEXT_LENGTH * timedelta(seconds=step)


def test_a_seasonal_window_holds_the_context_and_the_steps_ahead_one_season_before() -> None:
    window = seasonal_window(Window(END - CONTEXT_LENGTH * STEP, END), timedelta(days=1), STEP)
    assert window.start == END - CONTEXT_LENGTH * STEP - timedelta(days=1)
    assert window.end == END + PREDICTION_LENGTH * STEP - timedelta(days=1)


def test_the_origin_is_the_newest_sample() -> None:
    load = np.arange(20.0)
    load[[3, 18, 19]] = np.nan
    seasonal = np.arange(2 * (20 + PREDICTION_LENGTH), dtype=float).reshape(2, -1)
    request = forecast_request(KEY, load, seasonal, end=END, step=STEP)
    assert request is not None
    assert request.origin == END - 2 * STEP
    assert request.load.shape == (18,)
    assert np.isnan(request.load[3])
    assert request.load[-1] == 17.0
    # The row goes on from the origin, not from the end: its last value is H steps after sample 17.
    assert request.seasonal_load.shape == (2, 18 + PREDICTION_LENGTH)
    assert request.seasonal_load[0, -1] == 17 + PREDICTION_LENGTH


@pytest.mark.parametrize(
    ("samples", "asked"),
    [pytest.param(MIN_SAMPLES - 1, False, id="seven"), pytest.param(MIN_SAMPLES, True, id="eight")],
)
def test_too_few_samples_are_not_sent(samples: int, asked: bool) -> None:
    load = np.full(20, np.nan)
    load[:samples] = 1.0
    request = forecast_request(KEY, load, np.zeros((2, 20 + PREDICTION_LENGTH)), end=END, step=STEP)
    assert (request is not None) is asked
