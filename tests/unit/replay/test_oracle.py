from datetime import timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scaler.replay.oracle import clairvoyant, paid_for, stabilized_need
from scaler.replay.start_up import StartUp

WINDOW = timedelta(seconds=45)  # three ticks


def test_a_need_keeps_its_pods_for_the_stabilization_window() -> None:
    needed = np.array([1.0, 5.0, 1.0, 1.0, 1.0, 2.0])
    assert stabilized_need(needed, window=WINDOW).tolist() == [1, 5, 5, 5, 1, 2]


def test_an_unknown_need_keeps_what_stood_before() -> None:
    needed = np.array([np.nan, 4.0, np.nan, np.nan, np.nan, np.nan, 1.0])
    assert stabilized_need(needed, window=WINDOW).tolist() == [0, 4, 4, 4, 4, 4, 1]


def test_a_rise_is_ordered_at_the_last_moment_that_is_early_enough() -> None:
    needed = np.array([1.0] * 6 + [3.0] * 2)
    ready, ordered = clairvoyant(
        needed, np.full((8, 2), 2), min_replicas=1, max_replicas=9, stabilization_window=WINDOW
    )
    assert ready.tolist() == [1, 1, 1, 1, 1, 1, 3, 3]
    assert ordered.tolist() == [1, 1, 1, 1, 3, 3, 3, 3]


def test_the_slowest_pod_of_a_rise_decides_when_to_order() -> None:
    delays = np.tile([1, 4], (8, 1))
    needed = np.array([1.0] * 6 + [3.0] * 2)
    _, ordered = clairvoyant(needed, delays, min_replicas=1, max_replicas=9, stabilization_window=WINDOW)
    assert ordered.tolist() == [1, 1, 3, 3, 3, 3, 3, 3]


def test_pods_that_the_oracle_gives_up_are_paid_for_like_everybodys() -> None:
    ordered = np.array([4, 4, 2, 1, 1, 1, 3])
    assert paid_for(ordered, timedelta(seconds=31)).tolist() == [4, 4, 4, 4, 4, 2, 3]  # 31 s are three ticks
    assert paid_for(ordered, timedelta(0)).tolist() == ordered.tolist()


@given(
    needed=st.lists(st.integers(0, 30), min_size=5, max_size=120),
    bounds=st.tuples(st.integers(0, 5), st.integers(5, 40)),
    seed=st.integers(0, 5),
)
def test_the_oracle_is_short_only_where_its_maximum_is(needed: list[int], bounds: tuple[int, int], seed: int) -> None:
    need, (low, high) = np.array(needed, dtype=np.float64), bounds
    delays = StartUp(median=timedelta(seconds=60)).draw(need.size, seed)
    ready, ordered = clairvoyant(need, delays, min_replicas=low, max_replicas=high, stabilization_window=WINDOW)
    assert (ready >= np.minimum(need, high)).all()
    assert (ordered >= ready).all()
    assert ((ready >= low) & (ready <= high)).all()
