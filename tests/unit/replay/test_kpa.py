from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.replay.demand import IntArray
from scaler.replay.kpa import SUB_TICK, Average, KpaConfig, PodAutoscalers

TEN_FOLD = KpaConfig(max_scale_up_rate=10.0, max_scale_down_rate=10.0)  # the rates of Knative's own unit tests
MINUTE = timedelta(seconds=60)


def one(values: float) -> np.ndarray:
    return np.array([values])


def desire(kpa: PodAutoscalers, seconds: float, ready: int, stable: float, panic: float) -> int:
    """What is desired some seconds after the beginning; the averages are ratios to the target."""
    sub_tick = int(timedelta(seconds=seconds) / SUB_TICK)
    return int(kpa.desire(sub_tick, ready=np.array([ready]), stable_pods=one(stable), panic_pods=one(panic))[0])


@pytest.mark.parametrize(
    ("config", "ready", "averages", "desired"),
    [
        pytest.param(TEN_FOLD, 1, (5.0, 5.0), 5, id="50 in flight, a target of 10"),
        pytest.param(TEN_FOLD, 5, (5.0, 5.0), 5, id="already there"),
        pytest.param(TEN_FOLD, 1, (21 / 181, 26 / 181), 1, id="a little load keeps one pod"),
        pytest.param(TEN_FOLD, 1, (0.0, 0.0), 0, id="no load needs none"),
        pytest.param(TEN_FOLD, 8, (10.0, 10.0), 10, id="stable increase"),
        pytest.param(TEN_FOLD, 8, (5.0, 5.0), 5, id="stable decrease"),
        pytest.param(TEN_FOLD, 1, (5.0, 10.0), 10, id="twice as much in the panic window counts at once"),
        pytest.param(TEN_FOLD, 1, (100.0, 100.1), 10, id="at most ten times as many"),
        pytest.param(TEN_FOLD, 10, (100.0, 100.1), 100, id="and ten times again"),
        pytest.param(TEN_FOLD, 0, (100.0, 88.8), 10, id="no ready pod counts as one"),
        pytest.param(TEN_FOLD, 100, (0.1, 0.1), 10, id="at least a tenth"),
        pytest.param(TEN_FOLD, 10, (0.1, 0.1), 1, id="and a tenth again"),
        pytest.param(
            replace(TEN_FOLD, max_scale_up_rate=1.1), 2, (3.0, 3.1), 3, id="a small rate lets one more pod in"
        ),
        pytest.param(replace(TEN_FOLD, max_scale_down_rate=1.1), 100, (0.1, 0.1), 90, id="a small rate down: 90.9"),
        pytest.param(KpaConfig(), 9, (1.0, 1.0), 4, id="default: at least half, rounded down"),
        pytest.param(KpaConfig(), 1, (5000.0, 5000.0), 1000, id="default: at most a thousand times"),
        pytest.param(replace(TEN_FOLD, activation_scale=2), 1, (0.1, 0.0), 2, id="activation scale, with demand"),
        pytest.param(replace(TEN_FOLD, activation_scale=2), 1, (0.0, 0.0), 0, id="activation scale, without"),
    ],
)
def test_pods_follow_knatives_own_cases(
    config: KpaConfig, ready: int, averages: tuple[float, float], desired: int
) -> None:
    kpa = PodAutoscalers(config, np.array([1]))  # begins calm, whatever is ready now
    assert desire(kpa, 2, ready, *averages) == desired


def test_a_panic_begins_at_twice_the_ready_pods_and_not_below() -> None:
    below, at = (PodAutoscalers(TEN_FOLD, np.array([1])) for _ in range(2))
    assert desire(below, 2, 10, 11.0, 19.0) == 11
    assert below.panic_since.tolist() == [-1]
    assert desire(at, 2, 10, 11.0, 20.0) == 20
    assert at.panic_since.tolist() == [1]


def test_in_a_panic_the_larger_average_counts() -> None:
    kpa = PodAutoscalers(TEN_FOLD, np.array([5]))
    assert desire(kpa, 4, 5, 20.0, 6.0) == 20
    assert desire(kpa, 6, 20, 20.0, 30.0) == 30


def test_a_panic_never_scales_down_and_ends_after_a_stable_window() -> None:
    kpa = PodAutoscalers(TEN_FOLD, np.array([1]))
    assert desire(kpa, 0, 1, 10.0, 10.0) == 10
    assert desire(kpa, 2, 10, 10.0, 100.0) == 100
    assert desire(kpa, 32, 10, 0.1, 0.1) == 100
    assert desire(kpa, 62, 10, 0.1, 0.1) == 100  # a whole window, and not more than that
    assert desire(kpa, 64, 10, 0.1, 0.1) == 1
    assert desire(kpa, 66, 1, 0.1, 5.0) == 5  # the next panic begins anew


def test_a_panic_that_goes_on_is_prolonged_and_a_slow_increase_ends_it() -> None:
    growing, slow = (PodAutoscalers(TEN_FOLD, np.array([1])) for _ in range(2))
    for kpa in (growing, slow):
        assert desire(kpa, 0, 10, 11.0, 25.0) == 25
    assert desire(growing, 30, 40, 30.0, 80.0) == 80
    assert growing.panic_since.tolist() == [15]
    assert desire(slow, 30, 40, 30.0, 41.0) == 41
    assert slow.panic_since.tolist() == [0]
    assert desire(slow, 62, 55, 50.0, 56.0) == 50


def test_more_than_one_pod_found_begins_in_panic() -> None:
    kpas = PodAutoscalers(KpaConfig(), np.array([0, 1, 2]), began=7)
    assert kpas.panic_since.tolist() == [-1, -1, 7]
    pods = kpas.desire(8, ready=np.array([0, 1, 2]), stable_pods=np.zeros(3), panic_pods=np.zeros(3))
    assert pods.tolist() == [0, 0, 2]


def test_an_average_covers_its_window_and_less_while_it_is_not_full() -> None:
    average = Average(1, KpaConfig().panic_sub_ticks)
    assert [float(average.add(one(value))[0]) for value in (6.0, 0.0, 3.0, 6.0)] == [6.0, 3.0, 3.0, 3.0]


def test_an_average_forgets_a_flood_without_a_trace() -> None:
    average = Average(1, 3)
    for value in (1e8 / 3, 0.1, 1e8 / 7, 0.3, 0.3, 0.3):
        newest = average.add(one(value))
    assert newest.tolist() == [0.3]  # the rounding errors of a running sum must not ask for a pod


def test_windows_are_sixty_and_six_seconds() -> None:
    assert (KpaConfig().stable_sub_ticks, KpaConfig().panic_sub_ticks) == (30, 3)


class Story:
    """One workload whose KPA gets what it asks for at once."""

    def __init__(self, ready: int, config: KpaConfig | None = None, bounds: tuple[int, int] = (0, 100)) -> None:
        self.kpa = PodAutoscalers(config if config is not None else KpaConfig(), np.array([ready]))
        self.replicas, self.bounds, self.sub_tick = ready, bounds, 0

    def run(self, desired: int, seconds: int) -> list[int]:
        seen = []
        for _ in range(seconds // 2):
            self.sub_tick += 1
            lower, upper = (np.array([bound]) for bound in self.bounds)
            replicas = self.kpa.bound(
                self.sub_tick,
                np.array([desired]),
                ready=np.array([self.replicas]),
                ordered=np.array([self.replicas]),
                bounds=(lower, upper),
            )
            self.replicas = int(replicas[0])
            seen.append(self.replicas)
        return seen


def test_without_demand_one_pod_stays_for_a_stable_window_and_goes_after_the_grace() -> None:
    seen = Story(3).run(0, 100)
    # active since 0 s: one pod until 60 s; inactive then, and gone once 30 s are over
    assert seen[:29] == [1] * 29
    assert seen[29:44] == [1] * 15
    assert seen[44:] == [0] * 6


def test_the_last_pod_goes_with_the_stable_window_where_the_activator_was_in_the_path_all_along() -> None:
    seen = Story(1, KpaConfig(activator_in_path=True)).run(0, 100)
    # active since 0 s: inactive at 60 s, and the grace was over long before
    assert seen == [1] * 30 + [0] * 20


def test_demand_within_the_grace_keeps_the_pod_and_starts_the_window_anew() -> None:
    story = Story(1)
    story.run(0, 80)
    assert story.run(2, 2) == [2]
    assert story.run(0, 58) == [1] * 29


def test_from_zero_it_scales_to_what_is_asked_for() -> None:
    story = Story(0)
    assert story.run(0, 10) == [0] * 5
    assert story.run(4, 4) == [4, 4]


@pytest.mark.parametrize(
    ("config", "bounds", "desired", "replicas"),
    [
        pytest.param(KpaConfig(), (2, 10), 0, 2, id="min scale"),
        pytest.param(KpaConfig(), (0, 10), 40, 10, id="max scale"),
        pytest.param(KpaConfig(), (20, 10), 5, 10, id="a floor above max scale stays at max scale"),
        pytest.param(KpaConfig(enable_scale_to_zero=False), (0, 10), 0, 1, id="scale to zero switched off"),
        pytest.param(KpaConfig(initial_scale=5), (0, 10), 1, 5, id="initial scale, not reached yet"),
        pytest.param(KpaConfig(initial_scale=3), (0, 10), 1, 1, id="initial scale, reached"),
    ],
)
def test_bounds(config: KpaConfig, bounds: tuple[int, int], desired: int, replicas: int) -> None:
    assert Story(3, config, bounds).run(desired, 2) == [replicas]


LANES = 3
stories = st.lists(
    st.tuples(
        st.lists(st.sampled_from([0.0, 0.3, 2.0, 17.5, 90.0]), min_size=LANES, max_size=LANES),
        st.lists(st.integers(0, 12), min_size=LANES, max_size=LANES),
    ),
    min_size=1,
    max_size=120,
)
CONFIG = KpaConfig(stable_window=timedelta(seconds=20), scale_to_zero_grace=timedelta(seconds=6))
MOST = np.array([5, 40, 200])


class Batch:
    def __init__(self, lanes: slice = slice(None)) -> None:
        self.ready: IntArray = np.array([0, 1, 9])[lanes]
        self.most = MOST[lanes]
        self.kpas = PodAutoscalers(CONFIG, self.ready)
        self.stable = Average(len(self.ready), CONFIG.stable_sub_ticks)
        self.panic = Average(len(self.ready), CONFIG.panic_sub_ticks)

    def step(self, sub_tick: int, asked: np.ndarray, floor: IntArray) -> IntArray:
        desired = self.kpas.desire(
            sub_tick, ready=self.ready, stable_pods=self.stable.add(asked), panic_pods=self.panic.add(asked)
        )
        self.ready = self.kpas.bound(sub_tick, desired, ready=self.ready, ordered=self.ready, bounds=(floor, self.most))
        return self.ready


@given(story=stories)
def test_replicas_are_always_within_the_bounds_and_never_fall_in_a_panic(
    story: list[tuple[list[float], list[int]]],
) -> None:
    batch = Batch()
    before, panicking, floor_before = batch.ready, np.zeros(LANES, dtype=bool), np.zeros(LANES)
    for sub_tick, (asked, floor) in enumerate(story):
        after = batch.step(sub_tick, np.array(asked), np.array(floor))
        assert (after >= np.minimum(floor, MOST)).all()
        assert (after <= MOST).all()
        still = panicking & (batch.kpas.panic_since >= 0) & (np.array(floor) >= floor_before)
        assert (after[still] >= np.minimum(before, MOST)[still]).all()
        before, panicking, floor_before = after, batch.kpas.panic_since >= 0, np.array(floor)


@given(story=stories)
def test_a_lane_alone_is_the_lane_in_the_batch(story: list[tuple[list[float], list[int]]]) -> None:
    batch, alone = Batch(), [Batch(slice(lane, lane + 1)) for lane in range(LANES)]
    for sub_tick, (asked, floor) in enumerate(story):
        together = batch.step(sub_tick, np.array(asked), np.array(floor))
        for lane, single in enumerate(alone):
            own = slice(lane, lane + 1)
            assert together[own] == single.step(sub_tick, np.array(asked)[own], np.array(floor)[own])
