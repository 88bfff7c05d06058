from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.replay.hpa import HorizontalPodAutoscaler, HpaConfig, PodMetrics, recommend

T0 = datetime(2026, 1, 5, tzinfo=UTC)
SYNC = timedelta(seconds=15)
CONFIG = HpaConfig(target_per_replica=100.0, max_replicas=50)


def pods(usage: float, measured: int, unready: int = 0) -> PodMetrics:
    return PodMetrics(usage_per_pod=usage, measured_pods=measured, unready_pods=unready)


@pytest.mark.parametrize(
    ("metrics", "current", "desired"),
    [
        pytest.param(pods(200.0, 3), 3, 6, id="200m against 100m doubles, as documented"),
        pytest.param(pods(50.0, 4), 4, 2, id="50m against 100m halves, as documented"),
        pytest.param(pods(110.0, 10), 10, 10, id="a ratio of 1.1 is within the tolerance"),
        pytest.param(pods(110.1, 10), 10, 12, id="above 1.1 it is not"),
        pytest.param(pods(90.0, 10), 10, 10, id="a ratio of 0.9 is within the tolerance"),
        pytest.param(pods(89.9, 10), 10, 9, id="below 0.9 it is not"),
        pytest.param(pods(250.0, 1), 1, 3, id="rounds up"),
        pytest.param(pods(0.0, 4), 4, 0, id="no load asks for nothing"),
        pytest.param(pods(200.0, 4, unready=2), 6, 8, id="unready pods count as idle on the way up"),
        pytest.param(pods(150.0, 4, unready=2), 6, 6, id="counting them ends in the tolerance: unchanged"),
        pytest.param(pods(120.0, 4, unready=4), 8, 8, id="counting them turns the direction: unchanged"),
        pytest.param(pods(50.0, 4, unready=2), 6, 2, id="unready pods do not count on the way down"),
        pytest.param(pods(0.0, 0, unready=3), 3, 3, id="no measured pod: unchanged"),
    ],
)
def test_recommendation_follows_the_documented_algorithm(metrics: PodMetrics, current: int, desired: int) -> None:
    assert recommend(metrics, current, CONFIG) == desired


def sync(hpa: HorizontalPodAutoscaler, at: int, current: int, total: float | None, floor: int = 1) -> int:
    metrics = None if total is None else pods(total / current, current)
    return hpa.sync(T0 + at * SYNC, current_replicas=current, min_replicas=floor, metrics=metrics)


@pytest.mark.parametrize(
    ("current", "replicas"),
    [
        pytest.param(1, 5, id="one pod: four more"),
        pytest.param(4, 8, id="four pods: both policies agree"),
        pytest.param(10, 20, id="ten pods: double"),
    ],
)
def test_scaling_up_takes_the_larger_policy_per_sync(current: int, replicas: int) -> None:
    assert sync(HorizontalPodAutoscaler(CONFIG), 0, current, total=4000.0) == replicas


def test_scaling_down_waits_for_the_highest_recommendation_of_five_minutes() -> None:
    hpa = HorizontalPodAutoscaler(CONFIG)
    assert sync(hpa, 0, 10, total=1000.0) == 10
    held = [sync(hpa, at, 10, total=200.0) for at in range(1, 20)]
    assert held == [10] * 19
    assert sync(hpa, 20, 10, total=200.0) == 2  # 300 s after the last 10, all at once


def test_stabilization_follows_the_highest_recommendation_down_in_parts() -> None:
    hpa = HorizontalPodAutoscaler(CONFIG)
    sync(hpa, 0, 10, total=1000.0)
    for at in range(1, 20):
        sync(hpa, at, 10, total=600.0 if at == 5 else 200.0)
    assert sync(hpa, 20, 10, total=200.0) == 6


def test_a_restart_never_scales_down_at_once() -> None:
    assert sync(HorizontalPodAutoscaler(CONFIG), 0, 10, total=100.0) == 10


def test_without_metrics_nothing_changes() -> None:
    assert sync(HorizontalPodAutoscaler(CONFIG), 0, 7, total=None) == 7


@pytest.mark.parametrize("total", [pytest.param(None, id="blind"), pytest.param(100.0, id="little load")])
def test_a_raised_minimum_is_taken_at_once_without_a_scale_up_limit(total: float | None) -> None:
    assert sync(HorizontalPodAutoscaler(CONFIG), 0, 2, total=total, floor=30) == 30


@given(
    current=st.integers(1, 80),
    floor=st.integers(0, 80),
    total=st.none() | st.floats(0, 1e6),
)
def test_the_result_is_within_the_bounds(current: int, floor: int, total: float | None) -> None:
    replicas = sync(HorizontalPodAutoscaler(CONFIG), 0, current, total=total, floor=floor)
    assert min(floor, CONFIG.max_replicas) <= replicas <= CONFIG.max_replicas


def test_a_target_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="target_per_replica must be above 0, got 0"):
        HpaConfig(target_per_replica=0, max_replicas=3)
