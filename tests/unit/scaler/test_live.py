"""What a live scaler does around the controller, through fakes of its parts that write down who was called when."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from scaler.controller import ControllerConfig, Memory
from scaler.domain import (
    Decision,
    FloatArray,
    Forecast,
    ForecastRequest,
    Mode,
    Observation,
    Reason,
    Source,
    Target,
    TargetKey,
    TargetUnavailable,
)
from scaler.exposition import Exposition
from scaler.kube.api import Json
from scaler.kube.objects import InferenceServiceObject, ObjectRef, inference_service_object
from scaler.kube.resources import DEPLOYMENTS, HPAS, PODS, Resource
from scaler.live import LiveParts, LiveScaler
from scaler.policy import PolicyConfig, Trajectory
from scaler.targets.workload import (
    Discovered,
    FloorField,
    Lever,
    LeverKind,
    PodGroup,
    Refusal,
    RefusalReason,
    Workload,
)
from scaler.telemetry import JsonFormatter

T0 = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
TICK = timedelta(seconds=15)
WEB = TargetKey("shop", "Deployment", "web")
API = TargetKey("shop", "Deployment", "api")


def workload(key: TargetKey, resource: Resource = DEPLOYMENTS, **changes: Any) -> Workload:
    target = Target(key, min_replicas=1, max_replicas=50, capacity=10.0, mode=Mode.ON, only_scaler=True)
    lever = FloorField(resource, key.namespace, key.name, ("spec", "replicas"), 2, "uid", "1")
    return Workload(
        target=replace(target, **changes),
        lever=Lever(LeverKind.SCALE, (lever,)),
        pods=PodGroup(key.namespace, {"app": key.name}, (), "Deployment", key.name),
        reference=ObjectRef("apps/v1", key.kind, key.namespace, key.name),
        reference_uid="uid",
        scaler_name=f"deployment-{key.name}",
        metric="cpu",
        capacity_source="said",
        current_replicas=2,
        ready_replicas=2,
    )


REFUSAL = Refusal(
    TargetKey("shop", "Deployment", "odd"),
    ObjectRef("apps/v1", "Deployment", "shop", "odd"),
    "uid",
    "deployment-odd",
    RefusalReason.INVALID_SETTING,
    "ai-hpa.dev/target: 'a lot' is not accepted",
)


class NeverExecutor(Executor):
    """Takes every job, and does none."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return Future()


@dataclass
class World:
    """All parts in one; `calls` says who was called, in order."""

    found: Discovered
    calls: list[str] = field(default_factory=list)
    is_synced: bool = True
    blind_to: frozenset[str] = frozenset()
    loads: dict[TargetKey, float] = field(default_factory=dict)
    asked: list[TargetKey] = field(default_factory=list)
    floors: dict[TargetKey, int] = field(default_factory=dict)
    memories: dict[TargetKey, Memory] = field(default_factory=dict)
    recalled: list[TargetKey] = field(default_factory=list)
    recorded: list[Decision] = field(default_factory=list)
    problems: dict[TargetKey, str] = field(default_factory=dict)
    exposition: Exposition = field(default_factory=Exposition)

    def synced(self) -> bool:
        return self.is_synced

    def blind(self) -> frozenset[str]:
        return self.blind_to

    def discover(self, now: datetime) -> Discovered:
        self.calls.append("discover")
        return self.found

    def observe(self, targets: Sequence[Target], now: datetime) -> Mapping[TargetKey, Observation]:
        self.calls.append("observe")
        self.asked = [target.key for target in targets]
        return {key: Observation(now, self.loads.get(key, 15.0), 2, 2, self.floors.get(key, 2)) for key in self.asked}

    def load_between(
        self, targets: Sequence[Target], *, start: datetime, end: datetime, step: timedelta, now: datetime
    ) -> Mapping[TargetKey, FloatArray]:
        return {}

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        return {}

    def wake(self) -> timedelta:
        return timedelta(0)

    def verify(self, discovered: Discovered, now: datetime) -> None:
        self.calls.append("verify")

    def reapply(self, discovered: Discovered, now: datetime) -> None:
        self.calls.append("reapply")

    def apply(self, target: Target, floor: int, now: datetime) -> None:
        self.calls.append("apply")
        self.floors[target.key] = floor

    def problem(self, key: TargetKey) -> str | None:
        return self.problems.get(key)

    def release_stale(self, discovered: Discovered, now: datetime) -> None:
        self.calls.append("release")

    def record(self, decision: Decision) -> None:
        self.calls.append("record")
        self.recorded.append(decision)

    def recall(self, key: TargetKey) -> Memory | None:
        self.recalled.append(key)
        return self.memories.get(key)

    def keep(self, key: TargetKey, memory: Memory) -> None:
        self.memories[key] = memory

    def flush(self, discovered: Discovered, now: datetime) -> int:
        self.calls.append("flush")
        return 0

    def sample(self, workloads: Collection[Workload], now: datetime) -> None:
        self.calls.append("sample")


def world_of(*workloads: Workload) -> World:
    return World(Discovered({w.key: w for w in workloads}, (REFUSAL,)))


def scaler_on(world: World) -> LiveScaler:
    parts = LiveParts(
        watches=world,
        finder=world,
        metrics=world,
        forecaster=world,
        lever=world,
        release=world,
        status=world,
        exposition=world.exposition,
        executor=NeverExecutor(),
        sample=world.sample,
    )
    return LiveScaler(parts, ControllerConfig(policy=PolicyConfig(tick=TICK)))


def gauge(world: World, name: str) -> float | None:
    return world.exposition.registry.get_sample_value(name)


def test_a_tick_looks_before_it_decides_and_tells_last() -> None:
    world = world_of(workload(WEB))
    world.loads[WEB] = 45.0
    decisions = scaler_on(world).tick(T0)
    assert world.calls == ["discover", "verify", "reapply", "release", "observe", "apply", "record", "flush"]
    assert [decision.floor for decision in decisions] == [5]
    assert world.floors == {WEB: 5}


def test_a_cluster_that_was_never_seen_whole_moves_nothing() -> None:
    world = world_of(workload(WEB))
    world.is_synced = False
    scaler = scaler_on(world)
    with pytest.raises(TargetUnavailable, match="not listed yet"):
        scaler.tick(T0)
    scaler.stand_by(T0)
    assert world.calls == []


@pytest.mark.parametrize(
    "resource", [pytest.param(HPAS, id="the object that carries the floor"), pytest.param(PODS, id="the pods")]
)
def test_what_is_not_watched_is_not_seen_and_holds(resource: Resource, caplog: pytest.LogCaptureFixture) -> None:
    world = world_of(workload(WEB, HPAS))
    world.loads[WEB] = 15.0
    scaler = scaler_on(world)
    scaler.tick(T0)
    world.blind_to, world.loads[WEB] = frozenset({resource.full_name}), 1.0
    (decision,) = scaler.tick(T0 + timedelta(hours=1))
    assert decision.floor == decision.previous_floor == 2
    assert Reason.NO_METRICS in decision.reasons
    assert "cluster_watch_blind" in [record.getMessage() for record in caplog.records]


def test_only_those_that_need_what_is_not_watched_are_unseen() -> None:
    world = world_of(workload(API), workload(WEB, HPAS))
    world.blind_to = frozenset({HPAS.full_name})
    scaler = scaler_on(world)
    decisions = scaler.tick(T0)
    assert world.asked == [API]
    assert [decision.key for decision in decisions] == [API]
    assert scaler.not_watched(WEB) == {HPAS.full_name}
    assert scaler.not_watched(API) == frozenset()


def test_a_standby_writes_nothing_and_keeps_its_eyes_open() -> None:
    world = world_of(workload(WEB))
    world.loads[WEB] = 45.0
    scaler = scaler_on(world)
    scaler.stand_by(T0)
    assert world.calls == ["discover", "release", "sample"]
    assert scaler.workload(WEB) is not None
    assert world.floors == {}
    assert gauge(world, "ai_hpa_leader") == 0.0


def test_a_new_leader_begins_with_what_the_last_one_learned() -> None:
    levels = (0.5, 0.99)
    peaks = np.full((30, 2), 75.0)
    forecast = Forecast(T0 - timedelta(minutes=1), timedelta(minutes=1), levels, peaks, peaks, Source.MODEL)
    world = world_of(workload(WEB))
    world.memories[WEB] = Memory(trajectory=Trajectory(forecast, 0.99, (75.0,) * 30, (0.0,) * 30))
    (decision,) = scaler_on(world).tick(T0)
    assert (decision.forecast_source, decision.forecast_peak) == ("model", 75.0)


def test_what_was_learned_is_asked_for_again_after_each_time_of_standing_by() -> None:
    world = world_of(workload(WEB))
    scaler = scaler_on(world)
    scaler.tick(T0)
    scaler.tick(T0 + TICK)
    assert world.recalled == [WEB], "one that goes on leading remembers by itself"
    scaler.stand_by(T0 + 2 * TICK)
    scaler.tick(T0 + 3 * TICK)
    assert world.recalled == [WEB, WEB], "another may have led meanwhile"


def test_metrics_tell_of_leadership_refusals_and_trouble() -> None:
    world = world_of(workload(WEB), workload(API))
    world.problems[API] = "may not be written"
    scaler_on(world).tick(T0)
    names = ("ai_hpa_leader", "ai_hpa_refused_workloads", "ai_hpa_floor_trouble_workloads")
    assert [gauge(world, name) for name in names] == [1.0, 1.0, 1.0]


def logged(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Lines of decisions, as they would be written; none of them is there the next time."""
    records = [record for record in caplog.records if record.getMessage() == "decision"]
    caplog.clear()
    return [json.loads(line) for record in records for line in JsonFormatter().format(record).splitlines()]


def test_a_decision_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    world = world_of(workload(WEB))
    with caplog.at_level(logging.INFO, logger="scaler.live"):
        scaler_on(world).tick(T0)
    (row,) = logged(caplog)
    assert (row["key"], row["floor"], row["mode"]) == ("shop/Deployment/web", 2, "on")


def test_a_decision_like_the_last_one_is_logged_once_a_period(caplog: pytest.LogCaptureFixture) -> None:
    world = world_of(workload(WEB))
    scaler = scaler_on(world)
    caplog.set_level(logging.INFO, logger="scaler.live")
    for tick in range(40):  # ten minutes
        world.loads[WEB] = 15.0 + tick / 10
        scaler.tick(T0 + tick * TICK)
    said = [(row["at"][11:16], row["forecast_failure"]) for row in logged(caplog)]
    assert said == [("12:00", None), ("12:01", "timeout"), ("12:06", "timeout")]


def test_a_decision_that_says_something_new_is_logged_at_once(caplog: pytest.LogCaptureFixture) -> None:
    world = world_of(workload(WEB), workload(API))
    scaler = scaler_on(world)
    caplog.set_level(logging.INFO, logger="scaler.live")
    scaler.tick(T0)
    logged(caplog)
    world.loads[WEB] = 45.0
    scaler.tick(T0 + TICK)
    assert [(row["key"], row["floor"]) for row in logged(caplog)] == [(str(WEB), 5)]
    scaler.tick(T0 + 2 * TICK)
    assert logged(caplog) == []
    world.floors[WEB] = 2  # somebody took it back: the same floor is written once more
    scaler.tick(T0 + 3 * TICK)
    assert [(row["previous_floor"], row["floor"]) for row in logged(caplog)] == [(2, 5)]
    world.blind_to = frozenset({PODS.full_name})
    scaler.tick(T0 + timedelta(hours=1))
    assert ["NoMetrics" in row["reasons"] for row in logged(caplog)] == [True, True]


def test_every_decision_is_logged_at_level_debug(caplog: pytest.LogCaptureFixture) -> None:
    scaler = scaler_on(world_of(workload(WEB)))
    caplog.set_level(logging.DEBUG, logger="scaler.live")
    for tick in range(3):
        scaler.tick(T0 + tick * TICK)
    assert len(logged(caplog)) == 3


def test_a_new_leader_logs_where_everything_stands(caplog: pytest.LogCaptureFixture) -> None:
    scaler = scaler_on(world_of(workload(WEB)))
    caplog.set_level(logging.INFO, logger="scaler.live")
    scaler.tick(T0)
    scaler.stand_by(T0 + TICK)
    scaler.tick(T0 + 2 * TICK)
    assert len(logged(caplog)) == 2


def test_a_workload_that_leaves_is_forgotten_by_all() -> None:
    world = world_of(workload(WEB))
    scaler = scaler_on(world)
    scaler.tick(T0)
    world.found = Discovered()
    assert scaler.tick(T0 + TICK) == ()
    assert scaler.workload(WEB) is None
    assert gauge(world, "ai_hpa_refused_workloads") == 0.0


def test_it_knows_the_inference_services_that_it_looks_after() -> None:
    def service(name: str) -> InferenceServiceObject:
        spec: Json = {"predictor": {}, "transformer": {}}
        return inference_service_object({"metadata": {"namespace": "shop", "name": name}, "spec": spec})

    world = world_of(workload(WEB), workload(TargetKey("shop", "InferenceService", "llm/transformer")))
    scaler = scaler_on(world)
    assert not scaler.looks_after(service("llm")), "nothing was found yet"
    scaler.tick(T0)
    assert scaler.looks_after(service("llm"))
    assert not scaler.looks_after(service("web"))
