from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from scaler.replay.plan import plan_replay
from scaler.replay.traces import Trace, TraceError

DAY = timedelta(days=1)
T0 = datetime(2026, 1, 5, tzinfo=UTC)


def trace(days: float, *, step_seconds: float = 300, value: float = 30.0, has_clock: bool = True) -> Trace:
    step = timedelta(seconds=step_seconds)
    values = np.full(int(days * DAY / step), value)
    return Trace(name="web", start=T0, step=step, values=values, has_clock=has_clock)


def test_the_newest_days_are_replayed_and_the_rest_is_history() -> None:
    plan = plan_replay(trace(8), 5 * DAY)
    assert plan.window_start == T0 + 3 * DAY
    assert plan.history.shape == (3 * 288,)
    assert plan.notes == ()


def test_a_short_trace_shortens_the_window_and_says_so() -> None:
    plan = plan_replay(trace(3), 5 * DAY)
    assert plan.window_start == T0 + DAY
    assert plan.notes == ("The trace allows for 2 days after a day of history, instead of 5 days.",)


def test_too_short_a_trace_is_refused_with_what_is_needed() -> None:
    needed = "web: 1.9 days of load; at least 2 days are needed: 1 days of history and 1 days to replay"
    with pytest.raises(TraceError, match=needed):
        plan_replay(trace(1.9), 5 * DAY)


def test_too_short_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the window must be at least 1 days, got 0\.5 days"):
        plan_replay(trace(8), DAY / 2)


@pytest.mark.parametrize(
    ("step_seconds", "replayed"),
    [
        pytest.param(10, 60, id="finer than a minute"),
        pytest.param(25, 50, id="no divisor of a minute"),
        pytest.param(60, 60, id="a minute"),
        pytest.param(300, 300, id="coarser"),
    ],
)
def test_a_finer_trace_is_averaged_and_a_coarser_one_is_not_touched(step_seconds: float, replayed: float) -> None:
    plan = plan_replay(trace(3, step_seconds=step_seconds), DAY)
    assert plan.trace.step == timedelta(seconds=replayed)
    assert bool(plan.notes) == (step_seconds != replayed)


def test_a_step_that_hides_lead_times_is_refused() -> None:
    with pytest.raises(TraceError, match="step must be at most 600 s, got 1:00:00"):
        plan_replay(trace(9, step_seconds=3600), DAY)


def test_missing_values_are_counted_and_a_window_of_nothing_else_is_refused() -> None:
    gappy = trace(3)
    gappy.values[-10:] = np.nan
    assert "10 of 288 values are missing" in plan_replay(gappy, DAY).notes[0]
    gappy.values[-288:] = np.nan
    with pytest.raises(TraceError, match="no value is known in the last 1 days"):
        plan_replay(gappy, DAY)


def test_a_trace_without_a_clock_says_so() -> None:
    assert "no time of day" in plan_replay(trace(3, has_clock=False), DAY).notes[0]


def test_capacity_and_maximum_come_from_the_history_alone() -> None:
    plan = plan_replay(trace(3), DAY)
    plan.trace.values[-288:] = 1e6
    assert plan.default_capacity() == pytest.approx(1.0)  # p99 of 30, over 30 pods
    assert plan.default_max_replicas(1.0) == 90


def test_a_history_without_load_asks_for_the_capacity() -> None:
    with pytest.raises(TraceError, match="give the capacity"):
        plan_replay(trace(3, value=0.0), DAY).default_capacity()
