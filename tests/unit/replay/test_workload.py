from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.domain import Target, TargetKey
from scaler.replay.cluster import SimulatedCluster
from scaler.replay.demand import TICK, demand_from
from scaler.replay.hpa import HorizontalPodAutoscaler, HpaConfig
from scaler.replay.workload import SimulatedTarget, SimulatedWorkload, TraceMetrics

T0 = datetime(2026, 1, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KEY = TargetKey("replay", "HorizontalPodAutoscaler", "workload")
TARGET = Target(key=KEY, min_replicas=1, max_replicas=50, capacity=10.0)


def metrics_of(values: list[float], *, noise_ratio: float = 0.0, delay: timedelta = MINUTE) -> TraceMetrics:
    demand = demand_from(np.array(values), start=T0, step=MINUTE, noise_ratio=noise_ratio, seed=1)
    return TraceMetrics(demand, delay)


def simulated(values: list[float], ready: int = 5, delay_ticks: int = 6) -> SimulatedTarget:
    metrics = metrics_of(values)
    delays = np.full((len(metrics.demand), 2), delay_ticks)
    hpa = HorizontalPodAutoscaler(HpaConfig(target_per_replica=7.0, max_replicas=50))
    return SimulatedTarget(KEY, SimulatedWorkload(metrics, SimulatedCluster(delays, ready), hpa, floor=1))


def loads(target: SimulatedTarget, minutes: tuple[int, int], now: datetime) -> list[float]:
    start, end = (T0 + minute * MINUTE for minute in minutes)
    return list(target.load_between([TARGET], start=start, end=end, step=MINUTE, now=now)[KEY])


def test_history_is_the_mean_of_each_step_and_ends_with_what_is_known() -> None:
    target = simulated([10.0, 20.0, 30.0, 40.0])
    seen = loads(target, (0, 4), now=T0 + 4 * MINUTE)
    assert seen[:3] == [10.0, 20.0, 30.0]  # the fourth is over, and a minute too young
    assert np.isnan(seen[3])


def test_history_before_the_trace_is_unknown() -> None:
    seen = loads(simulated([10.0, 20.0, 30.0]), (-2, 1), now=T0 + 3 * MINUTE)
    assert np.isnan(seen[:2]).all()
    assert seen[2] == 10.0


def test_a_wider_step_averages_and_tolerates_half_a_gap() -> None:
    target = simulated([10.0, 20.0, np.nan, 40.0, np.nan, np.nan, 0.0, 0.0])
    seen = target.load_between([TARGET], start=T0, end=T0 + 6 * MINUTE, step=2 * MINUTE, now=T0 + 8 * MINUTE)[KEY]
    assert seen[:2].tolist() == [15.0, 40.0]
    assert np.isnan(seen[2])


def test_the_newest_sample_is_late_by_the_metric_delay() -> None:
    target = simulated([10.0, 20.0, 30.0])
    seen = target.observe([TARGET], T0 + 2 * MINUTE)[KEY]
    assert (seen.load, seen.sampled_at) == (10.0, T0 + MINUTE)
    assert target.observe([TARGET], T0 + 2 * MINUTE + 3 * TICK)[KEY] == seen


def test_a_gap_is_a_missing_sample_and_the_last_value_keeps_its_time() -> None:
    target = simulated([10.0, np.nan, np.nan, 5.0])
    seen = target.observe([TARGET], T0 + 4 * MINUTE - TICK)[KEY]
    assert (seen.load, seen.sampled_at) == (None, T0 + MINUTE)


def test_before_anything_is_known_there_is_no_sample() -> None:
    seen = simulated([10.0])
    observed = seen.observe([TARGET], T0)[KEY]
    assert (observed.load, observed.sampled_at) == (None, None)


@given(
    past=st.lists(st.floats(0, 100) | st.just(np.nan), min_size=3, max_size=12),
    futures=st.tuples(*[st.lists(st.floats(0, 100), min_size=6, max_size=6)] * 2),
)
def test_changing_the_future_changes_nothing_that_is_seen_earlier(
    past: list[float], futures: tuple[list[float], list[float]]
) -> None:
    now = T0 + len(past) * MINUTE + MINUTE - TICK  # the first future step is over, but for its last tick and the delay
    seen = []
    for future in futures:
        target = simulated(past + future)
        seen.append((target.observe([TARGET], now), loads(target, (0, len(past) + 6), now)))
    assert seen[0][0] == seen[1][0]
    np.testing.assert_array_equal(seen[0][1], seen[1][1])


def run(target: SimulatedTarget, ticks: range) -> list[int]:
    for tick in ticks:
        target.workload.advance(tick, target.workload.metrics.demand.time_of(tick))
    return [int(pods) for pods in target.workload.ordered[ticks.start : ticks.stop]]


def test_the_hpa_sees_the_delayed_load_and_orders_pods_for_its_target() -> None:
    target = simulated([35.0] * 3 + [70.0] * 7)
    ordered = run(target, range(8, 24))
    # 70 of load / 7 per pod = 10 pods; the jump at minute 3 is visible at minute 5, tick 20
    assert ordered == [5] * 12 + [10] * 4


def test_pods_that_still_start_are_not_ordered_again() -> None:
    target = simulated([35.0] * 3 + [70.0] * 7)
    assert set(run(target, range(8, 40))[12:]) == {10}
    assert target.workload.ready[25] == 5
    assert target.workload.ready[26] == 10  # ordered at tick 20, six ticks to start


def test_without_metrics_the_hpa_holds() -> None:
    target = simulated([35.0] * 3 + [np.nan] * 7)
    assert set(run(target, range(8, 40))) == {5}


def test_a_raised_floor_takes_effect_at_the_next_sync() -> None:
    target = simulated([35.0] * 10)
    run(target, range(8, 10))
    target.apply(TARGET, 9, T0)
    assert target.workload.cluster.current_replicas == 5
    assert run(target, range(10, 12)) == [9, 9]
    assert target.observe([TARGET], T0 + 12 * TICK)[KEY].floor == 9


def test_another_workload_is_neither_seen_nor_moved() -> None:
    target, other = (
        simulated([35.0] * 4),
        Target(key=TargetKey("replay", "Deployment", "other"), min_replicas=1, max_replicas=5, capacity=1.0),
    )
    assert target.observe([other], T0) == {}
    assert target.load_between([other], start=T0, end=T0 + MINUTE, step=MINUTE, now=T0) == {}
    with pytest.raises(ValueError, match="replay/Deployment/other: only"):
        target.apply(other, 3, T0)
