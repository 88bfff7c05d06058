from datetime import timedelta

import numpy as np
import pytest

from scaler.controller import Controller
from scaler.domain import Decision, Mode, Target, TargetKey
from scaler.replay.demand import TICK
from scaler.replay.hpa_lanes import HpaLanes
from scaler.replay.ports import SimulatedTargets
from scaler.replay.simulated_time import SimulatedExecutor
from tests.replay.golden import Yesterday
from tests.unit.replay.simulated import MINUTE, T0, at, lane, lanes, run, under_hpa


def target(name: str) -> Target:
    key = TargetKey("replay", "HorizontalPodAutoscaler", name)
    return Target(key=key, min_replicas=1, max_replicas=50, capacity=10.0, mode=Mode.ON)


WEB, API, OTHER = target("web"), target("api"), target("other")


def simulated(*loads: list[float]) -> tuple[HpaLanes, SimulatedTargets]:
    """Three lanes; the first is nobody's, the others meet the last load given."""
    hpas = under_hpa(lanes(list(loads), [lane(0), lane(len(loads) - 1), lane(len(loads) - 1)]))
    return hpas, SimulatedTargets(hpas, {1: WEB, 2: API})


def test_the_controller_is_told_of_its_own_lanes_alone() -> None:
    _, ports = simulated([10.0] * 4)
    assert ports.targets(T0) == (WEB, API)
    assert list(ports.observe((WEB, API, OTHER), at(8))) == [WEB.key, API.key]
    assert list(ports.load_between((OTHER, API), start=T0, end=T0 + MINUTE, step=MINUTE, now=at(8))) == [API.key]


def test_each_lane_is_seen_with_its_load_its_pods_and_its_floor() -> None:
    hpas, ports = simulated([1.0] * 10, [35.0] * 3 + [70.0] * 7)
    run(hpas, range(8, 12))
    ports.apply(API, 9, at(11))
    assert hpas.pods.ordered[2] == 5  # the HPA acts on it at its next sync
    run(hpas, range(12, 13))
    seen = ports.observe((WEB, API), at(12))
    assert (seen[WEB.key].ready_replicas, seen[WEB.key].current_replicas, seen[WEB.key].floor) == (5, 5, 1)
    assert (seen[API.key].ready_replicas, seen[API.key].current_replicas, seen[API.key].floor) == (5, 9, 9)
    assert seen[WEB.key].load == seen[API.key].load == 35.0


def test_the_newest_sample_is_late_and_keeps_its_time() -> None:
    _, ports = simulated([10.0, 20.0, 30.0])
    seen = ports.observe((WEB,), at(8))[WEB.key]
    assert (seen.load, seen.sampled_at) == (10.0, T0 + MINUTE)
    assert ports.observe((WEB,), at(11))[WEB.key] == seen


def test_a_gap_is_a_missing_sample_and_the_last_value_keeps_its_time() -> None:
    _, ports = simulated([10.0, np.nan, np.nan, 5.0])
    seen = ports.observe((WEB,), at(15))[WEB.key]
    assert (seen.load, seen.sampled_at) == (None, T0 + MINUTE)


def test_before_anything_is_known_there_is_no_sample() -> None:
    _, ports = simulated([10.0])
    seen = ports.observe((WEB,), T0)[WEB.key]
    assert (seen.load, seen.sampled_at) == (None, None)


def test_history_is_that_of_the_lanes_load_and_ends_with_what_is_known() -> None:
    _, ports = simulated([1.0] * 4, [10.0, 20.0, 30.0, 40.0])
    loads = ports.load_between((WEB, API), start=T0, end=at(16), step=MINUTE, now=at(16))
    for key in (WEB.key, API.key):
        assert loads[key][:3].tolist() == [10.0, 20.0, 30.0]
        assert np.isnan(loads[key][3])  # over, and a minute too young


def test_another_workload_is_not_moved() -> None:
    _, ports = simulated([10.0] * 4)
    with pytest.raises(ValueError, match="replay/HorizontalPodAutoscaler/other: not simulated here"):
        ports.apply(OTHER, 3, T0 + timedelta(0))


def decisions_of(loads: list[list[float]], lanes_of_load: list[int]) -> list[list[Decision]]:
    """What one controller decides for each lane in an hour; the lanes have different luck with their pods."""
    rows = [lane(load, 60.0 + 30.0 * load, seed=load) for load in lanes_of_load]
    hpas = under_hpa(lanes(loads, rows))
    names = {number: target(f"w{row.load}") for number, row in enumerate(rows)}
    ports, recorder, executor = SimulatedTargets(hpas, names), Recorder(), SimulatedExecutor(at(5760), 3 * TICK)
    controller = Controller(
        targets=ports, metrics=ports, forecaster=Yesterday(), scale_target=ports, recorder=recorder, executor=executor
    )
    for tick in range(5760, 5760 + 240):
        executor.advance(at(tick))
        hpas.advance(tick)
        controller.tick(at(tick))
    return [[each for each in recorder.decisions if each.key == names[number].key] for number in range(len(rows))]


class Recorder:
    def __init__(self) -> None:
        self.decisions: list[Decision] = []

    def record(self, decision: Decision) -> None:
        self.decisions.append(decision)


def test_many_lanes_of_one_controller_decide_as_each_would_alone() -> None:
    minutes = np.arange(1500)
    daily = [(50.0 + 100.0 * ((minutes % 1440 >= 20 + 15 * n) & (minutes % 1440 < 40))).tolist() for n in range(2)]
    together = decisions_of(daily, [0, 1])
    assert together == [decisions_of(daily, [0])[0], decisions_of(daily, [1])[0]]
    floors = [[decision.floor for decision in of_lane] for of_lane in together]
    assert floors[0] != floors[1]
    assert all(max(of_lane) >= 15 for of_lane in floors)
