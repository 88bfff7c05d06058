from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scaler.replay.cluster import SimulatedCluster, StartUp, serve

TICKS = 200


def delays(value: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    return np.full((TICKS, 4), value)


def test_an_ordered_pod_is_ready_after_its_own_delay() -> None:
    cluster = SimulatedCluster(start_delays=np.tile([2, 5], (TICKS, 1)), ready_replicas=1)
    cluster.scale(10, 3)
    assert (cluster.ready_replicas, cluster.current_replicas) == (1, 3)
    seen = []
    for tick in range(10, 16):
        cluster.advance(tick)
        seen.append(cluster.ready_replicas)
    assert seen == [1, 1, 2, 2, 2, 3]


def test_scaling_down_takes_the_youngest_starting_pods_first_and_then_ready_ones() -> None:
    cluster = SimulatedCluster(start_delays=delays(3), ready_replicas=4)
    cluster.scale(0, 6)
    cluster.scale(1, 8)
    cluster.scale(2, 7)  # one of tick 1 goes
    cluster.advance(3)
    assert (cluster.ready_replicas, cluster.current_replicas) == (6, 7)
    cluster.scale(3, 2)
    assert (cluster.ready_replicas, cluster.current_replicas) == (2, 2)
    cluster.advance(4)
    assert cluster.current_replicas == 2


def test_scaling_down_leaves_ready_pods_alone_while_starting_ones_suffice() -> None:
    cluster = SimulatedCluster(start_delays=delays(3), ready_replicas=4)
    cluster.scale(0, 9)
    cluster.scale(1, 6)
    assert (cluster.ready_replicas, cluster.current_replicas) == (4, 6)


@given(orders=st.lists(st.integers(0, 60), min_size=1, max_size=TICKS), seed=st.integers(0, 9))
def test_pods_are_never_negative_and_always_as_many_as_ordered(orders: list[int], seed: int) -> None:
    start = StartUp(median=timedelta(seconds=60)).draw(TICKS, seed)
    cluster = SimulatedCluster(start_delays=start, ready_replicas=5)
    for tick, replicas in enumerate(orders):
        cluster.advance(tick)
        cluster.scale(tick, replicas)
        assert cluster.current_replicas == replicas
        assert 0 <= cluster.ready_replicas <= replicas


def test_delays_depend_on_seed_and_tick_alone() -> None:
    start = StartUp(median=timedelta(seconds=90))
    assert np.array_equal(start.draw(50, 3), start.draw(50, 3))
    assert not np.array_equal(start.draw(50, 3), start.draw(50, 4))


def test_delays_scatter_around_the_median_with_slow_image_pulls() -> None:
    seconds = StartUp(median=timedelta(seconds=90)).draw(4000, 0) * 15.0
    assert np.median(seconds) == pytest.approx(97, abs=8)  # rounded up to ticks
    assert seconds.min() >= 15.0
    assert 0.03 < (seconds > 150.0).mean() < 0.08  # the 5 % that pull their image take about 180 s


def test_a_cold_image_doubles_the_delay() -> None:
    exact = StartUp(median=timedelta(seconds=60), spread_ratio=0.0, cache_miss_ratio=0.0)
    cold = StartUp(median=timedelta(seconds=60), spread_ratio=0.0, cache_miss_ratio=1.0)
    assert set(exact.draw(9, 0).ravel()) == {4}
    assert set(cold.draw(9, 0).ravel()) == {8}


def test_what_exceeds_the_pods_waits_and_what_exceeds_the_queue_is_dropped() -> None:
    # 1 pod serves 10 per tick; the queue holds what it serves in 30 s = 2 ticks, so 20
    service = serve(
        np.array([10.0, 15.0, 40.0, 0.0, 0.0, 5.0]),
        np.ones(6, dtype=np.int64),
        capacity=10.0,
        queue_timeout=timedelta(seconds=30),
    )
    assert service.served.tolist() == [10, 10, 10, 10, 10, 5]
    assert service.queued.tolist() == [0, 5, 20, 10, 0, 0]
    assert service.dropped.tolist() == [0, 0, 15, 0, 0, 0]
    # tick 2: 5 wait already, so only 5 of the 40 are served at once
    assert service.late.tolist() == [0, 5, 35, 0, 0, 0]


def test_without_pods_everything_is_dropped() -> None:
    service = serve(np.array([3.0]), np.zeros(1, dtype=np.int64), capacity=10.0, queue_timeout=timedelta(seconds=30))
    assert (service.late[0], service.dropped[0], service.queued[0]) == (3.0, 3.0, 0.0)


@given(
    load=arrays(np.float64, 60, elements=st.floats(0, 1e4) | st.just(np.nan)),
    ready=arrays(np.int64, 60, elements=st.integers(0, 40)),
    timeout=st.sampled_from([0, 15, 30, 300]),
)
def test_no_request_is_lost_or_invented(load: np.ndarray, ready: np.ndarray, timeout: int) -> None:
    service = serve(load, ready, capacity=10.0, queue_timeout=timedelta(seconds=timeout))
    balance = np.cumsum(service.arrived) - np.cumsum(service.served + service.dropped) - service.queued
    assert np.abs(balance).max() <= 1e-6
    assert (service.served <= ready * 10.0 + 1e-9).all()
    assert (service.queued <= ready * 10.0 * timeout / 15 + 1e-9).all()
    assert ((service.late >= 0) & (service.late <= service.arrived)).all()
    assert service.dropped.sum() <= service.late.sum() + 1e-6
