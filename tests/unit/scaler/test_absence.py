"""Load that stays away is waited for, for a while."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scaler.absence import AbsenceConfig, returning
from scaler.domain import FloatArray, ForecastRequest, TargetKey
from scaler.history import PREDICTION_LENGTH as H

KEY = TargetKey("shop", "Deployment", "web")
T0 = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
STEP = timedelta(minutes=1)
CONFIG = AbsenceConfig()
NAN = float("nan")
LENGTH = 288


def past(load: FloatArray, day: float | FloatArray, week: float | FloatArray = NAN) -> ForecastRequest:
    seasons = np.stack([np.broadcast_to(season, len(load) + H) for season in (day, week)]).astype(float)
    return ForecastRequest(KEY, T0, STEP, load, seasons)


def dropped(steps: int, *, before: float = 100.0, to: float = 0.0) -> FloatArray:
    return np.array([before] * (LENGTH - steps) + [to] * steps)


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param(past(dropped(10), 100.0, 100.0), 100.0, id="gone for ten minutes"),
        pytest.param(past(dropped(180), 100.0, 100.0), 100.0, id="gone for as long as is waited"),
        pytest.param(past(dropped(181), 100.0, 100.0), None, id="gone for longer"),
        pytest.param(past(dropped(10, to=24.0), 100.0, 100.0), 100.0, id="less than a quarter"),
        pytest.param(past(dropped(10, to=25.0), 100.0, 100.0), None, id="a quarter is no absence"),
        pytest.param(past(dropped(10, before=50.0, to=12.0), 100.0), 50.0, id="a quarter of a day with half the load"),
        pytest.param(
            past(dropped(10, before=50.0, to=20.0), 100.0), None, id="far less than the season, not than before"
        ),
        pytest.param(past(dropped(10), 100.0, 20.0), 40.0, id="the lower season, at the level before"),
        pytest.param(past(dropped(10), 0.0, 100.0), None, id="yesterday had none either"),
        pytest.param(past(dropped(10), 100.0), 100.0, id="of one season alone"),
        pytest.param(past(dropped(10), NAN), None, id="no season is known"),
        pytest.param(past(dropped(10, before=70.0), 100.0, 100.0), 70.0, id="at the level that it had"),
        pytest.param(past(np.zeros(LENGTH), 100.0, 100.0), None, id="it was never here"),
        pytest.param(past(dropped(0), 100.0, 100.0), None, id="it is here"),
    ],
)
def test_absent_load_is_expected_back(request_: ForecastRequest, expected: float | None) -> None:
    highest = returning(request_, CONFIG)
    if expected is None:
        assert highest is None
    else:
        assert highest is not None
        assert highest == pytest.approx(np.full(H, expected))


def test_what_would_come_back_follows_the_season_and_never_falls() -> None:
    season = np.full(LENGTH + H, 100.0)
    season[LENGTH : LENGTH + 3] = [100.0, 150.0, 120.0]
    season[LENGTH + 10] = NAN
    highest = returning(past(dropped(10), season), CONFIG)
    assert highest is not None
    assert highest[:3] == pytest.approx([100.0, 150.0, 150.0])
    assert highest[-1] == pytest.approx(150.0)


def test_a_gap_before_the_newest_sample_does_not_end_an_absence() -> None:
    load = dropped(10)
    load[-5:-2] = NAN
    assert returning(past(load, 100.0), CONFIG) is not None


def test_no_pods_are_held_where_that_is_switched_off() -> None:
    assert returning(past(dropped(10), 100.0), AbsenceConfig(absence_ratio=0.0)) is None


values = st.floats(0.0, 1e6, allow_nan=False)


@given(
    load=arrays(float, st.integers(8, LENGTH), elements=values | st.just(NAN)).filter(
        lambda a: bool(np.isfinite(a[-1]))
    ),
    data=st.data(),
)
def test_what_is_held_is_finite_and_only_ever_for_load_below_its_seasons(load: FloatArray, data: st.DataObject) -> None:
    seasons = data.draw(arrays(float, (2, len(load) + H), elements=values | st.just(NAN)))
    highest = returning(ForecastRequest(KEY, T0, STEP, load, seasons), CONFIG)
    if highest is None:
        return
    assert np.isfinite(highest).all()
    assert (np.diff(highest) >= 0).all()
    assert load[-1] < CONFIG.absence_ratio * np.fmin(*seasons[:, len(load) - 1])
