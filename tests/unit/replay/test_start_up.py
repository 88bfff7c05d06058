from datetime import timedelta

import numpy as np
import pytest

from scaler.replay.start_up import StartUp, start_delays


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


def test_a_policy_that_acts_more_often_has_the_same_luck_less_rounded() -> None:
    start = StartUp(median=timedelta(seconds=40))
    fine = start.draw(500, 1, step=timedelta(seconds=2)) * 2
    coarse = start.draw(500, 1) * 15
    assert ((coarse - fine >= -1) & (coarse - fine < 15)).all()


def test_lanes_with_the_same_luck_share_a_table_and_others_do_not() -> None:
    fast, slow = StartUp(median=timedelta(seconds=5)), StartUp(median=timedelta(seconds=300))
    delays = start_delays([(fast, 0), (slow, 0), (fast, 1), (fast, 0)], 20)
    assert delays.tables.shape[:2] == (3, 20)
    of_each = delays.of(7, np.arange(4))
    assert np.array_equal(of_each[0], fast.draw(20, 0)[7])
    assert np.array_equal(of_each[1], slow.draw(20, 0)[7])
    assert np.array_equal(of_each[2], fast.draw(20, 1)[7])
    assert np.array_equal(of_each[3], of_each[0])
    assert delays.longest == slow.draw(20, 0).max()


def test_an_order_between_two_ticks_draws_from_the_tick_before_it() -> None:
    start = StartUp()
    delays = start_delays([(start, 0)], 4, step=timedelta(seconds=2))
    rows = [delays.of(step, np.array([0]))[0].tolist() for step in (0, 7, 8, 15)]  # at 0, 14, 16 and 30 s
    drawn = start.draw(4, 0, step=timedelta(seconds=2)).tolist()
    assert rows == [drawn[0], drawn[0], drawn[1], drawn[2]]
