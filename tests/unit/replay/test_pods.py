from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.replay.demand import IntArray
from scaler.replay.physics import Physics
from scaler.replay.pods import Pods
from scaler.replay.start_up import StartDelays, StartUp, start_delays

TICKS = 120
BARE = Physics(warm_up=timedelta(0), termination_grace=timedelta(0))


def lane(delays: list[int], ready: int, physics: Physics = BARE) -> Pods:
    """One lane whose pods take these delays in turn, at every tick the same."""
    tables = np.tile(np.array(delays, dtype=np.int32), (1, TICKS, 1))
    return Pods(np.array([ready]), StartDelays(tables, np.zeros(1, dtype=np.int64)), physics)


def run(pods: Pods, orders: dict[int, int], ticks: range) -> list[tuple[int, int, int]]:
    """Ready, starting and terminating pods at each tick, after its order."""
    seen = []
    for tick in ticks:
        pods.advance(tick)
        if tick in orders:
            pods.scale(tick, np.array([orders[tick]]))
        seen.append((int(pods.ready[0]), int(pods.starting[0]), int(pods.terminating[0])))
    return seen


def test_an_ordered_pod_is_ready_after_its_own_delay() -> None:
    seen = run(lane([2, 5], ready=1), {10: 3}, range(10, 16))
    assert [ready for ready, _, _ in seen] == [1, 1, 2, 2, 2, 3]


def test_pods_beyond_the_draws_share_the_delays_of_the_first() -> None:
    # five pods, delays 1, 3, 1, 3, 1
    seen = run(lane([1, 3], ready=0), {0: 5}, range(4))
    assert [ready for ready, _, _ in seen] == [0, 3, 3, 5]


def test_scaling_down_takes_the_youngest_starting_pods_first_and_then_ready_ones() -> None:
    seen = run(lane([3], ready=4), {0: 6, 1: 8, 2: 7, 3: 2}, range(5))  # at tick 2, one of tick 1 goes
    assert seen == [(4, 2, 0), (4, 4, 0), (4, 3, 0), (2, 0, 0), (2, 0, 0)]


def test_scaling_down_leaves_ready_pods_alone_while_starting_ones_suffice() -> None:
    assert run(lane([3], ready=4), {0: 9, 1: 6}, range(2))[-1] == (4, 2, 0)


def test_the_pod_that_pulls_its_image_goes_before_one_that_is_nearly_ready() -> None:
    seen = run(lane([2, 9], ready=1), {0: 3, 1: 2}, range(12))
    assert [ready for ready, _, _ in seen] == [1, 1] + [2] * 10


def test_a_pod_taken_away_serves_nothing_and_is_paid_for_until_its_grace_is_over() -> None:
    pods = lane([3], ready=4, physics=Physics(warm_up=timedelta(0), termination_grace=timedelta(seconds=31)))
    seen = run(pods, {1: 2, 2: 1}, range(6))  # 31 s are three ticks
    assert seen == [(4, 0, 0), (2, 0, 2), (1, 0, 3), (1, 0, 3), (1, 0, 1), (1, 0, 0)]
    assert pods.counts.paid.tolist() == [1]


def test_a_pod_gains_speed_in_a_straight_line() -> None:
    pods = lane([1], ready=2, physics=Physics(warm_up=timedelta(seconds=60), termination_grace=timedelta(0)))
    serving = []
    for tick in range(6):
        pods.advance(tick)
        if tick == 0:
            pods.scale(tick, np.array([3]))
        serving.append(float(pods.serving[0]))
    # 4 ticks of warm-up; the mean of each quarter of the line from 0 to 1 is 1/8, 3/8, 5/8, 7/8
    assert serving == [2.0, 2.125, 2.375, 2.625, 2.875, 3.0]


def test_of_ready_pods_the_newest_go_first_with_what_they_lacked() -> None:
    pods = lane([1], ready=2, physics=Physics(warm_up=timedelta(seconds=60), termination_grace=timedelta(0)))
    run(pods, {0: 3, 1: 5}, range(3))  # one warm for a tick, two just ready
    assert pods.serving[0] == pytest.approx(2 + 3 / 8 + 2 / 8)
    pods.scale(2, np.array([4]))
    assert pods.serving[0] == pytest.approx(2 + 3 / 8 + 1 / 8)
    pods.scale(2, np.array([2]))
    assert pods.serving[0] == 2.0


orders = st.lists(st.lists(st.integers(0, 60), min_size=3, max_size=3), min_size=1, max_size=TICKS)


def three_lanes(only: int | None = None) -> Pods:
    kinds = [
        (StartUp(median=timedelta(seconds=60)), 0),
        (StartUp(median=timedelta(seconds=5)), 1),
        (StartUp(median=timedelta(seconds=300), cache_miss_ratio=0.5), 0),
    ]
    chosen = kinds if only is None else [kinds[only]]
    return Pods(np.full(len(chosen), 5), start_delays(chosen, TICKS), Physics())


def everything(pods: Pods, tick: int, replicas: IntArray) -> list[list[float]]:
    pods.advance(tick)
    pods.scale(tick, replicas)
    return [x.tolist() for x in (pods.ready, pods.starting, pods.terminating, pods.serving)]


@given(orders=orders)
def test_pods_are_never_negative_and_always_as_many_as_ordered(orders: list[list[int]]) -> None:
    pods = three_lanes()
    for tick, replicas in enumerate(np.array(orders)):
        everything(pods, tick, replicas)
        assert np.array_equal(pods.ordered, replicas)
        assert (pods.ready >= 0).all()
        assert (pods.starting >= 0).all()
        assert (pods.terminating >= 0).all()
        assert ((pods.serving >= 0) & (pods.serving <= pods.ready)).all()


@given(orders=orders)
def test_a_lane_alone_is_the_lane_in_the_batch(orders: list[list[int]]) -> None:
    batch, alone = three_lanes(), [three_lanes(only) for only in range(3)]
    for tick, replicas in enumerate(np.array(orders)):
        together = everything(batch, tick, replicas)
        for number, one in enumerate(alone):
            assert [[row[number]] for row in together] == everything(one, tick, replicas[number : number + 1])


@given(orders=orders)
def test_at_rest_all_pods_end_up_ready_warm_and_none_is_left_over(orders: list[list[int]]) -> None:
    pods = three_lanes()
    for tick, replicas in enumerate(np.array(orders)):
        everything(pods, tick, replicas)
    for tick in range(len(orders), len(orders) + 100):
        pods.advance(tick)
    assert np.array_equal(pods.ready, np.array(orders[-1]))
    assert np.array_equal(pods.serving, pods.ready)
    assert not pods.starting.any()
    assert not pods.terminating.any()
