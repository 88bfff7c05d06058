from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.replay.demand import IntArray
from scaler.replay.hpa import (
    DEFAULT_SCALE_DOWN,
    DEFAULT_SCALE_UP,
    HorizontalPodAutoscalers,
    HpaConfig,
    PodMetrics,
    PolicyKind,
    ScalingPolicy,
    ScalingRules,
    SelectPolicy,
    recommend,
)

MINUTE = timedelta(minutes=1)
PODS, PERCENT = PolicyKind.PODS, PolicyKind.PERCENT


def config(
    *, up: ScalingRules = DEFAULT_SCALE_UP, down: ScalingRules = DEFAULT_SCALE_DOWN, most: int = 50, lanes: int = 1
) -> HpaConfig:
    return HpaConfig(np.full(lanes, 100.0), np.full(lanes, most), scale_up=up, scale_down=down)


def pods(usage: float, measured: int, unready: int = 0, missing: int = 0) -> PodMetrics:
    counts = (np.array([count]) for count in (measured, unready, missing))
    return PodMetrics(np.array([usage]), *counts)


@pytest.mark.parametrize(
    ("metrics", "desired"),
    [
        pytest.param(pods(200.0, 3), 6, id="200m against 100m doubles, as documented"),
        pytest.param(pods(50.0, 4), 2, id="50m against 100m halves, as documented"),
        pytest.param(pods(110.0, 10), 10, id="a ratio of 1.1 is within the tolerance"),
        pytest.param(pods(110.1, 10), 12, id="above 1.1 it is not"),
        pytest.param(pods(90.0, 10), 10, id="a ratio of 0.9 is within the tolerance"),
        pytest.param(pods(89.9, 10), 9, id="below 0.9 it is not"),
        pytest.param(pods(250.0, 1), 3, id="rounds up"),
        pytest.param(pods(0.0, 4), 0, id="no load asks for nothing"),
        pytest.param(pods(200.0, 4, unready=2), 8, id="unready pods count as idle on the way up"),
        pytest.param(pods(150.0, 4, unready=2), 6, id="counting them ends in the tolerance: unchanged"),
        pytest.param(pods(120.0, 4, unready=4), 8, id="counting them turns the direction: unchanged"),
        pytest.param(pods(50.0, 4, unready=2), 2, id="unready pods do not count on the way down"),
        # 200 over two pods, a third idle: 133 per pod
        pytest.param(pods(200.0, 2, unready=1), 4, id="one of three unready: a smaller step up"),
        # 50 twice and 100 twice: 75 per pod
        pytest.param(pods(50.0, 2, missing=2), 3, id="missing pods count as at the target on the way down"),
        # 24.75 twice and 100 twice: 62 per pod, 2.5 pods
        pytest.param(pods(24.75, 2, missing=2), 3, id="also far below the target"),
        pytest.param(pods(60.0, 1, missing=1), 2, id="one missing of two: 80 per pod still needs both"),
        pytest.param(pods(190.0, 1, missing=1), 2, id="missing pods count as idle on the way up: 95 per pod"),
        pytest.param(pods(150.0, 10, missing=4), 14, id="counting missing pods ends in the tolerance: unchanged"),
        pytest.param(pods(400.0, 1, unready=1, missing=1), 4, id="unready and missing on the way up: 133 per pod"),
        pytest.param(pods(20.0, 2, unready=1, missing=1), 2, id="unready and missing on the way down: 140 over three"),
        pytest.param(pods(98.0, 2, missing=2), 4, id="missing pods do not widen the tolerance"),
    ],
)
def test_recommendation_follows_the_documented_algorithm(metrics: PodMetrics, desired: int) -> None:
    current = metrics.measured + metrics.unready + metrics.missing
    replicas, known = recommend(metrics, current, config())
    assert (replicas.tolist(), known.tolist()) == ([desired], [True])


@pytest.mark.parametrize(
    "metrics",
    [
        pytest.param(pods(float("nan"), 3), id="no metrics at all"),
        pytest.param(pods(100.0, 0, unready=3), id="only unready pods"),
        pytest.param(pods(100.0, 0, missing=3), id="only missing pods"),
    ],
)
def test_without_a_metric_that_counts_nothing_is_recommended(metrics: PodMetrics) -> None:
    replicas, known = recommend(metrics, np.array([3]), config())
    assert (replicas.tolist(), known.tolist()) == ([3], [False])


def test_each_direction_has_its_own_tolerance() -> None:
    # documented: a tolerance of 5 % on the way up reacts to 103 against 100 not, to 106 it does
    tight = config(up=replace(DEFAULT_SCALE_UP, tolerance=0.05), down=replace(DEFAULT_SCALE_DOWN, tolerance=0.3))
    desired = [recommend(pods(usage, 10), np.array([10]), tight)[0][0] for usage in (103.0, 106.0, 71.0, 69.0)]
    assert desired == [10, 11, 10, 7]


class Story:
    """One workload whose HPA gets what it asks for at once."""

    def __init__(self, replicas: int, spec: HpaConfig | None = None, floor: int = 1) -> None:
        self.hpas = HorizontalPodAutoscalers(spec if spec is not None else config())
        self.replicas, self.floor, self.tick = replicas, floor, 0

    def sync(self, total: float | None) -> int:
        usage = np.nan if total is None else total / self.replicas
        replicas = self.hpas.sync(
            self.tick,
            current_replicas=np.array([self.replicas]),
            min_replicas=np.array([self.floor]),
            metrics=pods(usage, self.replicas),
        )
        self.tick += 1
        self.replicas = int(replicas[0])
        return self.replicas

    def at_minutes(self, total: float, minutes: int) -> list[int]:
        """The replicas at the end of each minute."""
        return [[self.sync(total) for _ in range(4)][-1] for _ in range(minutes)]


@pytest.mark.parametrize(
    ("current", "replicas"),
    [
        pytest.param(1, [5, 10, 20, 40, 50], id="one pod: four more, then doubled"),
        pytest.param(4, [8, 16, 32], id="four pods: both policies agree"),
        pytest.param(10, [20, 40], id="ten pods: double"),
    ],
)
def test_scaling_up_takes_the_larger_default_policy_per_sync(current: int, replicas: list[int]) -> None:
    story = Story(current)
    assert [story.sync(1e6) for _ in replicas] == replicas


def rules(*policies: ScalingPolicy, select: SelectPolicy = SelectPolicy.MAX, window: int = 0) -> ScalingRules:
    return ScalingRules(policies, stabilization_window=timedelta(seconds=window), select=select)


def policy(kind: PolicyKind, value: int, seconds: int = 60) -> ScalingPolicy:
    return ScalingPolicy(kind, value, timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("down", "current", "replicas"),
    [
        # documented: 80 pods, 10 % is 8; 72 pods, 7.2 is rounded up to 8; below 40 the four pods are more
        pytest.param(
            rules(policy(PODS, 4), policy(PERCENT, 10)),
            80,
            [72, 64, 57, 51, 45, 40, 36, 32, 28],
            id="documented: the larger of 4 pods and 10 % a minute",
        ),
        pytest.param(rules(policy(PERCENT, 10)), 80, [72, 64, 57], id="documented: at most 10 % a minute"),
        pytest.param(
            rules(policy(PERCENT, 10), policy(PODS, 5), select=SelectPolicy.MIN),
            80,
            [75, 70, 65, 60, 55, 50, 45, 40, 36, 32],
            id="documented: the smaller of 10 % and 5 pods a minute",
        ),
        pytest.param(
            rules(policy(PODS, 4), select=SelectPolicy.DISABLED), 80, [80, 80], id="documented: no scaling down"
        ),
        pytest.param(rules(policy(PERCENT, 100, 15)), 80, [10], id="the default, without its window: at once"),
    ],
)
def test_scaling_down_keeps_to_its_policies(down: ScalingRules, current: int, replicas: list[int]) -> None:
    assert Story(current, config(down=down, most=100), floor=10).at_minutes(1.0, len(replicas)) == replicas


@pytest.mark.parametrize(
    ("up", "replicas"),
    [
        # KEP-853, story 1 and 3
        pytest.param(rules(policy(PERCENT, 900)), [10, 100, 1000, 10_000], id="as fast as possible: 900 % a minute"),
        pytest.param(rules(policy(PODS, 1)), [2, 3, 4], id="very gradually: one pod a minute"),
        pytest.param(rules(policy(PERCENT, 10)), [2, 3, 4], id="10 % of a few pods is rounded up to one"),
        pytest.param(rules(policy(PODS, 4), select=SelectPolicy.DISABLED), [1, 1], id="no scaling up"),
        pytest.param(
            rules(policy(PODS, 4), policy(PERCENT, 100), select=SelectPolicy.MIN), [2, 4, 8, 12], id="the smaller"
        ),
    ],
)
def test_scaling_up_keeps_to_its_policies(up: ScalingRules, replicas: list[int]) -> None:
    assert Story(1, config(up=up, most=10_000)).at_minutes(1e9, len(replicas)) == replicas


def test_a_period_looks_back_over_changes_of_both_directions() -> None:
    # two pods left within the minute, so the four that may come are counted from ten
    story = Story(10, config(up=rules(policy(PODS, 4)), down=rules(policy(PODS, 2))))
    assert [story.sync(total) for total in (700.0, 5000.0, 5000.0)] == [8, 14, 14]


def test_policies_must_say_something() -> None:
    with pytest.raises(ValueError, match="select Disabled"):
        rules()


def test_scaling_down_waits_for_the_highest_recommendation_of_five_minutes() -> None:
    story = Story(10)
    assert story.sync(1000.0) == 10
    assert [story.sync(200.0) for _ in range(19)] == [10] * 19
    assert story.sync(200.0) == 2  # 300 s after the last 10, all at once


def test_stabilization_follows_the_highest_recommendation_down_in_parts() -> None:
    story = Story(10)
    story.sync(1000.0)
    for tick in range(1, 20):
        story.sync(600.0 if tick == 5 else 200.0)
    assert story.sync(200.0) == 6


def test_scaling_up_waits_for_the_lowest_recommendation_of_its_window() -> None:
    slow = config(up=replace(DEFAULT_SCALE_UP, stabilization_window=MINUTE))
    story = Story(10, slow)
    # the ten pods found stand for the time before; from the fourth sync on, 15 is the least of a whole minute
    assert [story.sync(total) for total in (2000.0, 1500.0, 1800.0, 1900.0, 1900.0)] == [10, 10, 10, 10, 15]


def test_without_windows_a_restart_changes_nothing() -> None:
    assert Story(10, config(down=rules(policy(PERCENT, 100, 15)))).sync(100.0) == 1


def test_a_restart_never_scales_down_at_once() -> None:
    assert Story(10).sync(100.0) == 10


def test_without_metrics_nothing_changes_and_nothing_is_remembered() -> None:
    story = Story(10)
    assert [story.sync(200.0) for _ in range(18)] == [10] * 18
    assert story.sync(None) == 10
    assert [story.sync(200.0) for _ in range(2)] == [
        10,
        2,
    ]  # the ten of the start are 300 s old, the blind sync asks for none


@pytest.mark.parametrize(
    ("current", "total"),
    [
        pytest.param(2, None, id="blind"),
        pytest.param(2, 100.0, id="little load"),
        pytest.param(20, 1e6, id="a load that asks for more comes later"),
    ],
)
def test_a_raised_minimum_is_taken_at_once_before_any_metric_or_limit(current: int, total: float | None) -> None:
    assert Story(current, floor=30).sync(total) == 30


def test_beyond_the_maximum_the_maximum_is_taken_at_once() -> None:
    assert Story(80).sync(8000.0) == 50


def test_a_target_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="target_per_replica must be above 0, got 0"):
        HpaConfig(np.array([1.0, 0.0]), np.array([3, 3]))


BEHAVIORS = {
    "default": (DEFAULT_SCALE_UP, DEFAULT_SCALE_DOWN),
    "slow both ways": (
        rules(policy(PODS, 2), policy(PERCENT, 30), window=90),
        rules(policy(PODS, 3), policy(PERCENT, 20, 150), select=SelectPolicy.MIN, window=120),
    ),
}
LANES = 3
syncs = st.lists(
    st.tuples(
        st.lists(st.floats(0, 1e4) | st.just(float("nan")), min_size=LANES, max_size=LANES),
        st.lists(st.integers(0, 30), min_size=LANES, max_size=LANES),
        st.lists(st.integers(0, 10), min_size=LANES, max_size=LANES),
    ),
    min_size=1,
    max_size=60,
)
behaviors = st.sampled_from(sorted(BEHAVIORS))
MOST = np.array([20, 40, 60])


def hpas(behavior: str, lanes: slice = slice(None)) -> HorizontalPodAutoscalers:
    up, down = BEHAVIORS[behavior]
    return HorizontalPodAutoscalers(
        HpaConfig(np.array([100.0, 70.0, 130.0])[lanes], MOST[lanes], scale_up=up, scale_down=down)
    )


def split(current: IntArray, unready: IntArray, total: np.ndarray) -> PodMetrics:
    """A workload's load over its measured pods; some are unready, and as many missing."""
    waiting = np.minimum(unready, current)
    missing = np.minimum(unready, current - waiting)
    measured = current - waiting - missing
    return PodMetrics(total / np.maximum(measured, 1), measured, waiting, missing)


@given(story=syncs, behavior=behaviors)
def test_replicas_are_always_within_the_bounds(
    story: list[tuple[list[float], list[int], list[int]]], behavior: str
) -> None:
    autoscalers, current = hpas(behavior), np.array([5, 90, 1])
    for tick, (total, floor, unready) in enumerate(story):
        metrics = split(current, np.array(unready), np.array(total))
        current = autoscalers.sync(tick, current_replicas=current, min_replicas=np.array(floor), metrics=metrics)
        assert (current >= np.minimum(floor, MOST)).all()
        assert (current <= MOST).all()


@given(story=syncs, behavior=behaviors)
def test_a_lane_alone_is_the_lane_in_the_batch(
    story: list[tuple[list[float], list[int], list[int]]], behavior: str
) -> None:
    batch, alone = hpas(behavior), [hpas(behavior, slice(lane, lane + 1)) for lane in range(LANES)]
    current = np.array([5, 90, 1])
    for tick, (total, floor, unready) in enumerate(story):
        metrics = split(current, np.array(unready), np.array(total))
        together = batch.sync(tick, current_replicas=current, min_replicas=np.array(floor), metrics=metrics)
        for lane, one in enumerate(alone):
            own = slice(lane, lane + 1)
            mine = split(current[own], np.array(unready)[own], np.array(total)[own])
            assert together[own] == one.sync(
                tick, current_replicas=current[own], min_replicas=np.array(floor)[own], metrics=mine
            )
        current = together


@given(story=syncs)
def test_never_below_the_highest_recommendation_of_the_window_but_for_a_lower_maximum(
    story: list[tuple[list[float], list[int], list[int]]],
) -> None:
    autoscalers, current = hpas("default"), np.array([5, 20, 1])
    asked: list[IntArray] = [current]
    for tick, (total, floor, unready) in enumerate(story):
        metrics = split(current, np.array(unready), np.array(total))
        desired, known = recommend(metrics, current, autoscalers.config)
        read = known & (current >= np.minimum(floor, MOST))
        asked.append(np.where(read, desired, 0))
        after = autoscalers.sync(tick, current_replicas=current, min_replicas=np.array(floor), metrics=metrics)
        first = tick - 19 if tick > 19 else -1  # the pods found at tick 0 count as asked for then
        highest = np.max(asked[first + 1 :], axis=0)
        assert (after >= np.minimum(current, highest)).all()
        current = after
