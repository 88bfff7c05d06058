"""What one tick sees: sums over pods that say when they are lower bounds, and never a zero that nobody measured."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.adapters.load_history import SeenHistory
from scaler.adapters.observer import Observer, PodName, PodSamples
from scaler.domain import FloatArray, MetricsUnavailable, Observation, Target, TargetKey, TargetUnavailable
from scaler.kube.objects import Amounts, Meta, ObjectRef, PodObject
from scaler.targets.workload import Lever, LeverKind, PodGroup, Workload

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
OLD = timedelta(hours=1)
TAKEN = NOW - timedelta(seconds=20)
CAPACITY = 0.9
LABELS = {"app": "api", "tier": "web"}


def pod(
    name: str,
    *,
    ready: timedelta | None = OLD,
    started: timedelta | None = OLD,
    labels: dict[str, str] = LABELS,
    cpu_limit: float | None = 1.0,
    finished: bool = False,
) -> PodObject:
    """A pod that started and became ready so long ago."""
    return PodObject(
        meta=Meta("shop", name, name, "1", 1, {}, labels, None, NOW - (started or timedelta(0)), deleting=False),
        ready_since=NOW - ready if ready is not None else None,
        started_at=NOW - started if started is not None else None,
        scheduled_at=None,
        finished=finished,
        amounts=Amounts(cpu_limit=cpu_limit),
    )


def workload(name: str = "api", *, replicas: int = 2, **changes: Any) -> Workload:
    base = Workload(
        target=Target(TargetKey("shop", "Deployment", name), min_replicas=0, max_replicas=9, capacity=CAPACITY),
        lever=Lever(LeverKind.SCALE, ()),
        pods=PodGroup("shop", LABELS, (), "Deployment", name),
        reference=ObjectRef("apps/v1", "Deployment", "shop", name),
        reference_uid="u",
        scaler_name=name,
        metric="cpu",
        capacity_source="",
        current_replicas=replicas,
        ready_replicas=replicas,
    )
    return replace(base, **changes)


KNATIVE = {"pods": PodGroup("shop", LABELS, (), "Revision", "model"), "metric": "concurrency"}


@dataclass
class FakePods:
    living: list[PodObject] = field(default_factory=list)
    gone: list[PodObject] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)

    def pods_with(self, namespace: str, labels: dict[str, str]) -> Collection[PodObject]:
        return [p for p in self.living if p.meta.namespace == namespace and labels.items() <= p.meta.labels.items()]

    def pods_owned(self, namespace: str, owner: str) -> Collection[PodObject]:
        return [p for p in self.living if p.meta.namespace == namespace and self.owners.get(p.meta.name) == owner]

    def pod(self, namespace: str, name: str) -> PodObject | None:
        return next((p for p in (*self.living, *self.gone) if p.meta.full_name == (namespace, name)), None)

    def owner_of_pod(self, namespace: str, name: str) -> str | None:
        return self.owners.get(name)


@dataclass
class FakeLoads:
    values: dict[str, float] = field(default_factory=dict)
    stale: set[str] = field(default_factory=set)
    windowed: bool = True
    throttles: dict[str, float] = field(default_factory=dict)
    holds: dict[PodName, float] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    asked: list[tuple[str, set[str]]] = field(default_factory=list)

    def newest(self, metric: str, namespaces: Collection[str], now: datetime) -> PodSamples:
        self.asked.append((metric, set(namespaces)))
        if metric in self.broken:
            raise MetricsUnavailable(f"no {metric}")
        taken = TAKEN.timestamp()
        return PodSamples(
            values={("shop", name): value for name, value in self.values.items()},
            times={("shop", name): taken - (300 if name in self.stale else 0) for name in self.values},
            newest=taken,
            fresh_since=taken - 60,
            windowed=self.windowed,
        )

    def throttled(self, namespaces: Collection[str], now: datetime) -> Mapping[PodName, float]:
        return {("shop", name): ratio for name, ratio in self.throttles.items()}

    def held(self, namespaces: Collection[str], now: datetime) -> Mapping[PodName, float]:
        if "held" in self.broken:
            raise MetricsUnavailable("no activator")
        return self.holds


@dataclass
class FakeHistory:
    asked: list[Sequence[Workload]] = field(default_factory=list)

    def load_between(
        self, workloads: Sequence[Workload], *, start: datetime, end: datetime, step: timedelta, now: datetime
    ) -> Mapping[TargetKey, FloatArray]:
        self.asked.append(workloads)
        return {each.key: np.zeros(round((end - start) / step)) for each in workloads}


@dataclass
class World:
    pods: FakePods = field(default_factory=FakePods)
    loads: FakeLoads = field(default_factory=FakeLoads)
    history: FakeHistory = field(default_factory=FakeHistory)
    seen: SeenHistory | None = None
    floor: Callable[[Workload], int | None] = lambda _: 3

    def observer(self, *workloads: Workload) -> Observer:
        return Observer(
            workload_of={each.key: each for each in workloads}.get,
            standing_floor=self.floor,
            pods=self.pods,
            loads=self.loads,
            history=self.history,
            seen=self.seen,
        )

    def see(self, *workloads: Workload, now: datetime = NOW) -> dict[str, Observation]:
        targets = [each.target for each in workloads]
        return {key.name: seen for key, seen in self.observer(*workloads).observe(targets, now).items()}

    def see_one(self, **changes: Any) -> Observation:
        return self.see(workload(**changes))["api"]


def world(values: dict[str, float], *pods: PodObject, **loads: Any) -> World:
    living = list(pods) or [pod(name) for name in values]
    return World(FakePods(living), FakeLoads(values, **loads))


def test_the_load_is_the_sum_over_the_pods() -> None:
    assert world({"a": 0.25, "b": 0.5}).see_one() == Observation(
        sampled_at=TAKEN, load=0.75, ready_replicas=2, current_replicas=2, floor=3, censored=False
    )


def test_a_ready_pod_without_a_sample_makes_a_lower_bound() -> None:
    observation = world({"a": 0.25}, pod("a"), pod("b")).see_one()

    assert (observation.load, observation.censored) == (0.25, True)


def test_a_pod_whose_sample_is_old_makes_a_lower_bound() -> None:
    observation = world({"a": 0.25, "b": 0.5}, stale={"b"}).see_one()

    assert (observation.load, observation.sampled_at, observation.censored) == (0.75, TAKEN, True)


@pytest.mark.parametrize("stale", [set[str](), {"a", "b"}], ids=["no sample", "only old samples"])
def test_without_any_fresh_sample_the_load_is_missing(stale: set[str]) -> None:
    values = dict.fromkeys(stale, 0.5)
    observation = world(values, pod("a"), pod("b"), stale=stale).see_one()

    assert (observation.load, observation.sampled_at, observation.censored) == (None, None, True)


def test_pods_at_zero_have_no_load_and_hide_nothing() -> None:
    observation = world({}).see_one(replicas=0)

    assert (observation.load, observation.current_replicas, observation.censored) == (None, 0, False)


def test_what_was_seen_of_the_pods_a_tick_ago_counts_only_while_they_are_the_same() -> None:
    scene = world({"a": 0.25, "b": 0.5}, pod("a"))
    api = workload()
    observer = scene.observer(api)

    def load(after: timedelta = timedelta(0)) -> float | None:
        return observer.observe([api.target], NOW + after)[api.key].load

    assert load() == 0.25
    scene.pods.living = [pod("a"), pod("b", ready=timedelta(seconds=100), started=timedelta(seconds=110))]
    assert load() == 0.5  # the newcomer counts like the others at most, and
    assert load(timedelta(seconds=30)) == 0.75  # in full once its start is no longer in its rate
    scene.pods.living = [pod("a"), pod("b", ready=None, started=timedelta(seconds=110))]
    assert load(timedelta(seconds=30)) == 0.25
    assert load(timedelta(minutes=4)) == 0.75  # still not Ready: overloaded
    scene.pods.living = [pod("a")]
    assert load(timedelta(minutes=4)) == 0.25


class TestPodsThatAreGone:
    def test_still_count_for_their_part_of_the_window(self) -> None:
        scene = world({"a": 0.25, "b": 0.5}, pod("a"))
        scene.pods.gone = [pod("b")]

        assert scene.see_one().load == 0.75

    def test_do_not_count_where_a_value_is_no_mean(self) -> None:
        scene = world({"a": 0.25, "b": 0.5}, pod("a"), windowed=False)
        scene.pods.gone = [pod("b")]

        assert scene.see_one().load == 0.25

    def test_count_after_the_last_pod_ended(self) -> None:
        scene = world({"b": 0.5}, pod("unrelated", labels={}))
        scene.pods.gone = [pod("b")]
        observation = scene.see_one(replicas=0)

        assert (observation.load, observation.sampled_at, observation.censored) == (0.5, TAKEN, False)

    def test_do_not_stand_in_for_ready_pods_that_nobody_measured(self) -> None:
        scene = world({"b": 0.5}, pod("a"))
        scene.pods.gone = [pod("b")]

        assert scene.see_one().load is None

    def test_belong_to_the_workload_of_their_owner(self) -> None:
        scene = world({"a": 0.25, "b": 0.5, "c": 4.0}, pod("a", labels={}))
        scene.pods.gone = [pod("b", labels={}), pod("c", labels={})]
        scene.pods.owners = {"a": "Deployment/api", "b": "Deployment/api", "c": "Deployment/api-v2"}
        group = PodGroup("shop", {}, ("Deployment/api",), "Deployment", "api")

        assert scene.see_one(pods=group).load == 0.75

    def test_belong_to_the_workload_whose_labels_they_all_carry(self) -> None:
        other = replace(
            workload("other", replicas=0), pods=PodGroup("shop", LABELS | {"app": "other"}, (), "Deployment", "other")
        )
        scene = world({"a": 0.25, "b": 0.5, "x": 1.0}, pod("a"), pod("x", labels={"tier": "web"}))
        scene.pods.gone = [pod("b", labels=LABELS | {"app": "other"})]

        seen = scene.see(workload(), other)

        assert (seen["api"].load, seen["other"].load) == (0.25, 0.5)


class TestYoungPods:
    def test_count_at_most_as_the_median_of_the_mature(self) -> None:
        values = {"a": 0.25, "b": 0.5, "c": 0.375, "d": 0.9}
        scene = world(values, pod("a"), pod("b"), pod("c"), pod("d", ready=timedelta(seconds=119)))

        assert scene.see_one().load == 1.125 + 0.375

    def test_count_as_they_are_below_it(self) -> None:
        scene = world({"a": 0.5, "b": 0.125}, pod("a"), pod("b", ready=timedelta(seconds=10)))

        assert scene.see_one().load == 0.625

    def test_are_mature_after_their_warm_up(self) -> None:
        scene = world({"a": 0.25, "b": 0.5}, pod("a"), pod("b", ready=timedelta(seconds=120)))

        assert scene.see_one().load == 0.75

    def test_alone_count_at_most_for_what_they_can_carry(self) -> None:
        observation = world({"a": 4.0}, pod("a", ready=timedelta(seconds=10))).see_one()

        assert (observation.load, observation.censored) == (CAPACITY, True)

    @pytest.mark.parametrize(("mature", "censored"), [(2, True), (3, False)], ids=["1 of 3", "1 of 4"])
    def test_make_a_lower_bound_where_they_are_many(self, mature: int, censored: bool) -> None:
        pods = [pod(f"m{number}") for number in range(mature)] + [pod("y", ready=timedelta(seconds=10))]
        scene = world({each.meta.name: 0.1 for each in pods}, *pods)

        assert scene.see_one().censored is censored

    def test_that_start_are_no_demand(self) -> None:
        scene = world({"a": 0.25, "b": 0.9}, pod("a"), pod("b", ready=None, started=timedelta(minutes=4)))
        observation = scene.see_one()

        assert (observation.load, observation.censored) == (0.25, False)

    def test_that_have_been_up_for_long_and_are_not_ready_are_overloaded(self) -> None:
        scene = world({"a": 0.25, "b": 0.9}, pod("a"), pod("b", ready=None, started=timedelta(minutes=6)))

        assert scene.see_one().load == 1.15

    def test_alone_and_starting_show_nothing(self) -> None:
        scene = world({"a": 0.9}, pod("a", ready=None, started=None))

        assert scene.see_one().load is None

    def test_count_fully_in_requests(self) -> None:
        scene = world({"a": 2.0, "b": 9.0}, pod("a"), pod("b", ready=timedelta(seconds=1)))
        observation = scene.see_one(**KNATIVE)

        assert (observation.load, observation.censored) == (11.0, False)


@pytest.mark.parametrize(
    ("scene", "changes", "censored"),
    [
        pytest.param(world({"a": 0.1}), {"rolling_out": True}, True, id="a rollout distorts CPU"),
        pytest.param(world({"a": 0.1}), {"rolling_out": True, **KNATIVE}, False, id="a rollout leaves requests alone"),
        pytest.param(world({"a": 0.95}), {}, True, id="at the CPU limit"),
        pytest.param(world({"a": 0.94}), {}, False, id="below the CPU limit"),
        pytest.param(world({"a": 0.99, "b": 0.9}), {}, False, id="one of two at its limit"),
        pytest.param(world({"a": 9.0}, pod("a", cpu_limit=None)), {}, False, id="no limit to be at"),
        pytest.param(world({"a": 9.0}), {"metric": "memory"}, False, id="memory has no such bound"),
        pytest.param(world({"a": 0.1}, throttles={"a": 0.06}), {}, True, id="throttled"),
        pytest.param(world({"a": 0.1}, throttles={"a": 0.06}), {"metric": "rps"}, True, id="throttled, by rps"),
        pytest.param(world({"a": 0.1}, throttles={"a": 0.06}), KNATIVE, False, id="throttled, and yet all in flight"),
        pytest.param(world({"a": 0.1, "b": 0.1}, throttles={"a": 0.09}), {}, False, id="one of two throttled a little"),
        pytest.param(world({"a": 0.1}, throttles={"z": 0.9}), {}, False, id="another one throttled"),
    ],
)
def test_a_sample_that_could_not_show_all_demand_is_censored(
    scene: World, changes: dict[str, Any], censored: bool
) -> None:
    assert scene.see_one(**changes).censored is censored


class TestRequestsThatWait:
    def test_are_the_load_of_a_service_at_zero(self) -> None:
        observation = world({}, holds={("shop", "model"): 4.0}).see_one(replicas=0, **KNATIVE)

        assert (observation.load, observation.sampled_at, observation.censored) == (4.0, NOW, False)

    def test_and_are_passed_on_count_once(self) -> None:
        scene = world({"a": 5.0}, holds={("shop", "model"): 4.0, ("shop", "other"): 99.0})

        assert scene.see_one(**KNATIVE).load == 5.0

    def test_hide_that_zero_is_no_demand_where_requests_per_second_are_asked_for(self) -> None:
        scene = world({}, holds={("shop", "model"): 4.0})

        assert scene.see_one(replicas=0, **(KNATIVE | {"metric": "rps"})).censored

    def test_and_cannot_be_counted_leave_zero_in_doubt(self) -> None:
        observation = world({}, broken={"held"}).see_one(replicas=0, **KNATIVE)

        assert (observation.load, observation.censored) == (None, True)

    def test_are_not_asked_for_without_need(self) -> None:
        assert not world({}, broken={"held"}).see_one(replicas=0).censored


def test_one_query_serves_all_workloads_of_a_metric() -> None:
    scene = world({"a": 0.5})

    scene.see(workload("api"), workload("web"), workload("db", metric="memory"))

    assert scene.loads.asked == [("cpu", {"shop"}), ("memory", {"shop"})]


def test_a_metric_that_fails_leaves_the_api_and_the_other_metrics(caplog: pytest.LogCaptureFixture) -> None:
    seen = world({"a": 0.5}, broken={"rps"}).see(workload("api"), workload("web", metric="rps"))

    assert seen["api"].load == 0.5
    assert (seen["web"].load, seen["web"].ready_replicas, seen["web"].floor) == (None, 2, 3)
    assert [record.getMessage() for record in caplog.records] == ["metric_unavailable"]


def test_a_floor_that_cannot_be_read_leaves_out_that_workload_only() -> None:
    def floor(each: Workload) -> int:
        if each.key.name == "web":
            raise TargetUnavailable("revision is gone")
        return 1

    scene = world({"a": 0.5})
    scene.floor = floor

    assert scene.see(workload("api"), workload("web")).keys() == {"api"}


def test_a_target_without_a_workload_is_left_out() -> None:
    scene = world({"a": 0.5})
    observer = Observer(
        workload_of=lambda _: None,
        standing_floor=scene.floor,
        pods=scene.pods,
        loads=scene.loads,
        history=scene.history,
    )

    assert observer.observe([workload().target], NOW) == {}
    assert observer.load_between([workload().target], start=TAKEN, end=NOW, step=NOW - TAKEN, now=NOW) == {}


def test_without_a_prometheus_what_was_seen_becomes_history() -> None:
    scene = world({"a": 0.5}, windowed=False)
    scene.seen = SeenHistory()
    window: dict[str, Any] = {"start": NOW - timedelta(minutes=2), "end": NOW, "step": timedelta(minutes=1), "now": NOW}
    at_zero = replace(workload("night", replicas=0), pods=PodGroup("shop", {"app": "night"}, (), "Deployment", "night"))

    for seconds in range(120, 0, -15):
        scene.see(workload("api"), at_zero, now=NOW - timedelta(seconds=seconds - 15))
    loads = scene.seen.load_between([workload("api"), at_zero], **window)

    assert loads[at_zero.key].tolist() == [0.0, 0.0]
    assert np.isnan(loads[workload().key][0])  # every tick saw the same sample, taken 20 s before now


@given(
    values=st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 8), max_size=6),
    ages=st.lists(st.one_of(st.none(), st.integers(0, 900)), min_size=6, max_size=6),
    metric=st.sampled_from(["cpu", "memory", "rps"]),
)
def test_a_load_is_a_sum_of_what_was_measured_or_missing(
    values: dict[str, float], ages: list[int | None], metric: str
) -> None:
    pods = [
        pod(name, ready=timedelta(seconds=age) if age is not None else None)
        for name, age in zip("abcdef", ages, strict=True)
    ]
    observation = world(values, *pods).see_one(metric=metric)

    assert observation.load is None or 0 <= observation.load <= sum(values.values()) + 1e-9
    if any(each.ready and each.meta.name not in values for each in pods):
        assert observation.censored
