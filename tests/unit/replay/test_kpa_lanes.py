from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.domain import Target, TargetKey
from scaler.replay.demand import TICK
from scaler.replay.kpa import SUB_TICK, KpaConfig
from scaler.replay.kpa_lanes import KpaLanes, sub_ticks
from scaler.replay.lanes import Lane, Lanes
from scaler.replay.ledger import Ledger
from scaler.replay.physics import Physics
from scaler.replay.ports import SimulatedTargets
from tests.unit.replay.simulated import MINUTE, T0, lane, lanes


def run(simulated: Lanes, window: range, config: KpaConfig | None = None, load_per_pod: float = 7.0) -> np.ndarray:
    """Ready and ordered pods at each sub-tick. Shape (sub-ticks, 2, L)."""
    pods = simulated.settled_pods(window.start * SUB_TICK // TICK, np.full(len(simulated), load_per_pod), SUB_TICK)
    kpas = KpaLanes(simulated, config if config is not None else KpaConfig(), pods, began=window.start)
    ledger = Ledger(simulated, step=SUB_TICK, held_pods=1)
    seen = []
    for sub_tick in window:
        kpas.advance(sub_tick, ledger.waiting)
        counts = pods.counts
        ledger.add(sub_tick, counts, pods.serving)
        seen.append([counts.ready.copy(), counts.ordered])
    return np.array(seen)


def test_a_steady_load_keeps_its_pods() -> None:
    ready = run(lanes([[70.0] * 10]), range(30, 270))[:, 0, 0]
    assert set(ready.tolist()) == {10}


def test_a_jump_is_seen_at_once_and_met_in_panic_after_the_start_up() -> None:
    simulated = lanes([[35.0] * 4 + [175.0] * 6], [lane(start_seconds=9.0)])
    ready, ordered = run(simulated, range(30, 270))[:, :, 0].T
    jump = 120 - 30  # minute 4
    assert set(ordered[: jump + 1].tolist()) == {5}
    # One bucket of three at 17.5 pods' load, of three at most twice the pods: 13.5 pods' worth and what waits.
    assert ordered[jump + 3] >= 25  # the whole panic window at 25 pods' worth of load
    assert ready[jump + 5] == 5
    assert ready[jump + 3 + 5] >= 25  # 9 s are five sub-ticks


def test_waiting_requests_ask_for_pods_of_their_own() -> None:
    # 35 fits into five pods at 70 %; 60 into six at their limit, and the five that start take a minute and a half
    patient = Physics(noise_ratio=0.0, pod_noise_ratio=0.0, queue_timeout=timedelta(minutes=5))
    hasty = Physics(noise_ratio=0.0, pod_noise_ratio=0.0, queue_timeout=timedelta(0))
    asked = [
        run(lanes([[35.0] * 4 + [60.0] * 6], physics=physics), range(30, 160))[-1, 1, 0] for physics in (patient, hasty)
    ]
    assert asked[1] == 9  # 60 / 7
    assert asked[0] > 9


@pytest.mark.parametrize("known", [pytest.param(4, id="on the way"), pytest.param(1, id="from the beginning")])
def test_a_gap_holds_what_was_known_last(known: int) -> None:
    ordered = run(lanes([[70.0] * known + [np.nan] * 6]), range(32, 30 * known + 180))[:, 1, 0]
    assert set(ordered.tolist()) == {10}


def test_a_raised_floor_is_taken_by_the_next_decision_and_in_its_lane_alone() -> None:
    simulated = lanes([[35.0] * 4], [lane(), lane()])
    kpas = KpaLanes(simulated, KpaConfig(), simulated.settled_pods(4, np.full(2, 7.0), SUB_TICK), began=30)
    ports = SimulatedTargets(kpas, {1: Target(TargetKey("replay", "Revision", "web"), 0, 50, 10.0)})
    (target,) = ports.targets(T0)
    ports.apply(target, 9, T0 + MINUTE)
    kpas.advance(30, np.zeros(2))
    assert kpas.pods.ordered.tolist() == [5, 9]
    assert ports.observe((target,), T0 + 2 * MINUTE)[target.key].floor == 9


def test_without_load_it_goes_to_zero_and_comes_back_with_the_first_of_it() -> None:
    simulated = lanes([[7.0] * 2 + [0.0] * 6 + [7.0] * 3], [lane(start_seconds=6.0, least=0)])
    ready = run(simulated, range(30, 330))[:, 0, 0]
    zero, back = 60 - 30, 240 - 30
    # the stable average has forgotten the load after 60 s, the grace of 30 s begins then
    assert set(ready[: zero + 45].tolist()) == {1}
    assert set(ready[zero + 48 : back].tolist()) == {0}
    assert ready[back + 5] >= 1  # seen a sub-tick later, then 6 s


def test_sub_ticks_cover_the_load_from_a_time_on() -> None:
    clock = lanes([[1.0, 2.0]]).metrics.clock
    assert sub_ticks(clock, T0) == range(60)
    assert sub_ticks(clock, T0 + timedelta(seconds=15)) == range(8, 60)
    assert sub_ticks(clock, T0 + MINUTE) == range(30, 60)


@settings(max_examples=10, deadline=None)  # four simulations each
@given(
    loads=st.lists(st.lists(st.floats(0, 300), min_size=3, max_size=3), min_size=2, max_size=2),
    starts=st.lists(st.sampled_from([4.0, 40.0]), min_size=3, max_size=3),
)
def test_a_lane_alone_is_the_lane_in_the_batch(loads: list[list[float]], starts: list[float]) -> None:
    rows: list[Lane] = [
        lane(load, start, least=0, seed=seed) for load, start, seed in zip((0, 1, 0), starts, (3, 3, 4), strict=True)
    ]
    window = range(30, 90)
    together = run(lanes(loads, rows, Physics()), window)
    for number, row in enumerate(rows):
        assert np.array_equal(together[:, :, number], run(lanes(loads, [row], Physics()), window)[:, :, 0])
