from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from scaler.replay.demand import TICK, Demand, demand_from, pods_needed

T0 = datetime(2026, 1, 5, tzinfo=UTC)


def quiet(values: list[float], step_seconds: int = 60) -> Demand:
    return demand_from(np.array(values), start=T0, step=timedelta(seconds=step_seconds), noise_ratio=0.0, seed=1)


def test_a_value_holds_for_its_whole_step_and_is_not_interpolated() -> None:
    assert quiet([10.0, 30.0]).load.tolist() == [10.0] * 4 + [30.0] * 4


def test_a_missing_value_stays_missing() -> None:
    assert np.isnan(quiet([10.0, np.nan, 5.0]).load).tolist() == [False] * 4 + [True] * 4 + [False] * 4


def test_a_step_that_is_no_multiple_of_a_tick_keeps_its_place() -> None:
    # 20 s steps: ticks begin at 0, 15, 30, 45 s, which lie in steps 0, 0, 1, 2
    assert quiet([1.0, 2.0, 3.0], step_seconds=20).load.tolist() == [1.0, 1.0, 2.0, 3.0]


def test_a_step_below_one_tick_is_refused() -> None:
    with pytest.raises(ValueError, match="step must be at least 15 s, got 10 s"):
        quiet([1.0], step_seconds=10)


def test_noise_is_the_same_for_the_same_seed_and_leaves_the_mean() -> None:
    values, step = np.full(5000, 100.0), timedelta(seconds=60)
    first, again, other = (
        demand_from(values, start=T0, step=step, noise_ratio=0.05, seed=seed).load for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.mean() == pytest.approx(100.0, rel=0.005)
    assert np.log(first).std() == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize(
    ("seconds", "known"),
    [
        pytest.param(0, 0, id="nothing yet"),
        pytest.param(119, 0, id="step over, delay not"),
        pytest.param(120, 4, id="first step and delay over"),
        pytest.param(179, 4, id="second step not over"),
        pytest.param(180, 8, id="second"),
        pytest.param(10_000, 12, id="the end of the trace"),
    ],
)
def test_a_step_becomes_known_when_it_is_over_and_the_delay_too(seconds: int, known: int) -> None:
    demand = quiet([1.0, 2.0, 3.0])
    assert demand.known_until(T0 + timedelta(seconds=seconds), timedelta(seconds=60)) == known


def test_time_and_tick_are_inverse() -> None:
    demand = quiet([1.0, 2.0])
    assert demand.time_of(5) == T0 + 5 * TICK
    assert demand.tick_of(T0 + 5 * TICK + timedelta(seconds=14)) == 5


def test_pods_needed_rounds_up_and_keeps_gaps() -> None:
    needed = pods_needed(np.array([0.0, 0.1, 10.0, 10.1, np.nan]), 10.0)
    assert needed[:4].tolist() == [0.0, 1.0, 1.0, 2.0]
    assert np.isnan(needed[4])
