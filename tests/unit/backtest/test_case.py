from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from scaler.backtest.case import BacktestSettings, Case, Unfit, case_of, ticks_of
from scaler.replay.demand import demand_from
from scaler.replay.physics import Physics
from scaler.replay.traces import Trace

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
T0 = datetime(2026, 1, 5, tzinfo=UTC)
PER_DAY = 288  # values of five minutes


def trace(days: float, *, step_seconds: float = 300, value: float = 30.0, has_clock: bool = True) -> Trace:
    step = timedelta(seconds=step_seconds)
    return Trace(name="web", start=T0, step=step, values=np.full(round(days * DAY / step), value), has_clock=has_clock)


def cut(recorded: Trace, settings: BacktestSettings | None = None) -> Case:
    found = case_of(recorded, settings if settings is not None else BacktestSettings())
    assert isinstance(found, Case)
    return found


@pytest.mark.parametrize(
    ("length", "decided_at", "checked_at", "can_decide"),
    [
        pytest.param(2, 1, 1, False, id="a day to score"),
        pytest.param(3, 1.5, 1.5, False, id="half a day would decide"),
        pytest.param(4, 1, 2, True, id="a day to decide on"),
        pytest.param(5, 1, 2.5, True, id="half of a short one"),
        pytest.param(11, 1, 5.5, True, id="a day only known"),
        pytest.param(14, 1, 7, True, id="two weeks"),
        pytest.param(15, 1, 8, True, id="both parts whole"),
        pytest.param(40, 26, 33, True, id="the newest of a long one"),
    ],
)
def test_the_newest_part_is_scored_and_the_one_before_decides(
    length: float, decided_at: float, checked_at: float, can_decide: bool
) -> None:
    found = cut(trace(length))
    assert (found.decided, found.checked, found.end) == (
        T0 + decided_at * DAY,
        T0 + checked_at * DAY,
        T0 + length * DAY,
    )
    assert found.can_decide is can_decide


@pytest.mark.parametrize(
    ("length", "padding"),
    [pytest.param(3, 6.5, id="short"), pytest.param(16, 6, id="longer"), pytest.param(40, 0, id="long")],
)
def test_eight_days_come_before_the_first_decision_known_or_not(length: float, padding: float) -> None:
    recorded = trace(length)
    recorded.values[:] = np.arange(len(recorded.values)) + 1.0
    found = cut(recorded)
    assert found.decided - found.start == 8 * DAY
    padded = round(padding * PER_DAY)
    assert np.isnan(found.values[:padded]).all()
    assert found.values[padded:].tolist() == recorded.values[-len(found.values[padded:]) :].tolist()


def test_capacity_and_maximum_know_nothing_of_the_scored_part() -> None:
    recorded = trace(6)
    recorded.values[3 * PER_DAY - 1] = 60.0  # the last that is known earlier
    before = cut(recorded)
    recorded.values[3 * PER_DAY :] = 1e6
    after = cut(recorded)
    assert before.capacity == after.capacity == 1.0  # a p99 of 30, over 30 pods
    assert before.max_replicas == after.max_replicas == 180


def test_what_the_user_gives_stands() -> None:
    found = cut(trace(6), BacktestSettings(capacity=7.0, min_replicas=2, max_replicas=9))
    assert (found.capacity, found.min_replicas, found.max_replicas) == (7.0, 2, 9)


@pytest.mark.parametrize(
    ("change", "maximum"),
    [
        pytest.param({"capacity": 7.0}, 15, id="three times the peak, in whole pods"),
        pytest.param({"capacity": 1e3}, 3, id="at least three"),
        pytest.param({"capacity": 1e3, "min_replicas": 5}, 5, id="at least the minimum"),
        pytest.param({"pods_at_p99": 5}, 15, id="fewer pods at the p99"),
    ],
)
def test_the_maximum_follows_the_earlier_peak(change: dict[str, Any], maximum: int) -> None:
    assert cut(trace(6), BacktestSettings(**change)).max_replicas == maximum


def gap(recorded: Trace, first_day: float, last_day: float, value: float = np.nan) -> Trace:
    recorded.values[round(first_day * PER_DAY) : round(last_day * PER_DAY)] = value
    return recorded


@pytest.mark.parametrize(
    ("recorded", "settings", "why"),
    [
        pytest.param(
            trace(40, step_seconds=3600), {}, "the step is 3600 s; at most 600 s tell of lead times", id="coarse"
        ),
        pytest.param(trace(1.9), {}, "1.9 days of load; at least 2 days are needed", id="short"),
        pytest.param(gap(trace(6), 3, 6), {}, "no load above 0 is known in the last 3 days", id="nothing scored"),
        pytest.param(gap(trace(6), 3, 6, 0.0), {}, "no load above 0 is known in the last 3 days", id="idle at the end"),
        pytest.param(
            gap(trace(6), 0, 3), {"capacity": 1.0}, "no value is known in the 8 days before the last 3 days", id="new"
        ),
        pytest.param(
            gap(trace(40), 20, 33), {}, "no value is known in the 8 days before the last 7 days", id="long away"
        ),
        pytest.param(
            gap(trace(6), 0, 3, 0.0), {}, "no load above 0 before the part that is scored; give the capacity", id="idle"
        ),
    ],
)
def test_where_nothing_can_be_simulated_it_says_why(recorded: Trace, settings: dict[str, Any], why: str) -> None:
    assert case_of(recorded, BacktestSettings(**settings)) == Unfit("web", why)


def test_a_load_of_zero_before_is_no_reason_where_the_capacity_is_given() -> None:
    assert cut(gap(trace(6), 0, 3, 0.0), BacktestSettings(capacity=1.0)).max_replicas == 3


@pytest.mark.parametrize(
    ("recorded", "decides"),
    [
        pytest.param(gap(trace(12), 1, 6), False, id="nothing known in it"),
        pytest.param(gap(trace(12), 1, 6, 0.0), False, id="idle in it"),
        pytest.param(gap(trace(12), 1, 5.9), True, id="something in it"),
        pytest.param(gap(trace(12), 0, 1), False, id="nothing before it"),
        pytest.param(gap(trace(12), 0, 0.9), True, id="something before it"),
        pytest.param(gap(trace(40), 15, 26), False, id="a gap longer than what is looked back on"),
    ],
)
def test_a_part_in_which_nobody_needs_a_pod_decides_nothing(recorded: Trace, decides: bool) -> None:
    found = cut(recorded)
    assert found.can_decide is decides
    assert np.isfinite(found.values[: (found.decided - found.start) // found.step]).any()


@pytest.mark.parametrize(
    ("step_seconds", "simulated"),
    [
        pytest.param(10, 60, id="finer than a minute"),
        pytest.param(25, 50, id="no divisor of a minute"),
        pytest.param(45, 45, id="nothing to average"),
        pytest.param(60, 60, id="a minute"),
        pytest.param(600, 600, id="coarser"),
    ],
)
def test_a_finer_trace_is_averaged_and_says_so(step_seconds: float, simulated: float) -> None:
    found = cut(trace(3, step_seconds=step_seconds))
    assert found.step == timedelta(seconds=simulated)
    averaged = [f"Averaged from {step_seconds:g} s to {simulated:g} s."]
    assert list(found.notes) == (averaged if simulated != step_seconds else [])


def test_gaps_in_the_scored_part_and_a_missing_clock_are_noted() -> None:
    recorded = gap(trace(6, has_clock=False), 2.9, 3.5)
    lost = "144 of 864 scored values are missing: no metrics then, and left out of every score."
    day = "The trace has no time of day; days count from its start, and the model gets no calendar."
    assert cut(recorded).notes == (lost, day)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        pytest.param(trace(40), trace(60), True, id="both long"),
        pytest.param(trace(14), trace(14 + 35 / 1440), True, id="half an hour longer"),
        pytest.param(trace(40), gap(trace(40), 18, 18.5), True, id="all that is learned from is known"),
        pytest.param(trace(40), trace(16), False, id="less to learn from"),
        pytest.param(trace(40), gap(trace(40), 18, 23), False, id="a gap in what is learned from"),
        pytest.param(trace(40), trace(14), False, id="a shorter part"),
        pytest.param(trace(40), trace(40, step_seconds=60), False, id="another step"),
    ],
)
def test_cases_are_alike_by_step_parts_and_what_is_learned_from(one: Trace, other: Trace, alike: bool) -> None:
    assert (cut(one).shape == cut(other).shape) is alike


def test_the_earliest_minutes_beyond_whole_hours_are_left_out() -> None:
    found, longer = cut(trace(3)), cut(trace(3 + 35 / 1440))
    assert longer.start == found.start + timedelta(minutes=35)
    assert longer.values.shape == found.values.shape


def test_the_demand_of_a_case_is_its_values_on_any_clock() -> None:
    found = cut(trace(3))
    own, other = (found.demand(3, Physics(), start=start) for start in (None, T0 - 9 * DAY))
    assert (own.start, other.start) == (found.start, T0 - 9 * DAY)
    assert np.array_equal(own.load, other.load, equal_nan=True)
    assert not np.array_equal(own.load, found.demand(4, Physics()).load, equal_nan=True)
    assert np.nanmean(own.load) == pytest.approx(30.0, rel=0.01)


@pytest.mark.parametrize(
    ("start", "end", "ticks"),
    [
        pytest.param(0, 60, range(4), id="whole"),
        pytest.param(15, 45, range(1, 3), id="on ticks"),
        pytest.param(16, 59, range(2, 3), id="cut ticks are left out"),
    ],
)
def test_ticks_lie_whole_between_two_times(start: int, end: int, ticks: range) -> None:
    demand = demand_from(np.ones(10), start=T0, step=MINUTE, noise_ratio=0.0, seed=0)
    assert ticks_of(demand, T0 + timedelta(seconds=start), T0 + timedelta(seconds=end)) == ticks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"capacity": 0.0}, "capacity must be above 0, got 0", id="capacity"),
        pytest.param({"min_replicas": 0}, "min_replicas must be at least 1, got 0", id="no replicas"),
        pytest.param(
            {"min_replicas": 3, "max_replicas": 2}, r"at least min_replicas \(3\), got 2", id="bounds crossed"
        ),
        pytest.param({"hpa_target": 0.0}, "above 0 and at most at 1, got 0", id="no target"),
        pytest.param({"hpa_target": 1.1}, r"above 0 and at most at 1, got 1\.1", id="target above 1"),
        pytest.param({"seeds": ()}, "at least one seed is needed", id="no seed"),
    ],
)
def test_settings_name_what_is_wrong(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BacktestSettings(**change)
