"""Decisions and memory in the status of the PredictiveScalers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from scaler.calibration import SOURCES, CalibrationState
from scaler.controller import Memory
from scaler.domain import Action, Champion, ChampionReason, Decision, ForecastFailure, Mode, Reason, Source, TargetKey
from scaler.kube.api import Forbidden, Json, Unreachable
from scaler.kube.objects import Amounts, Meta, PodObject
from scaler.kube.predictive_scaler import memory_to_json
from scaler.kube.resources import PREDICTIVE_SCALERS
from scaler.targets.actuator import Trouble
from scaler.targets.record import RETRY_AFTER, RecorderConfig, Sources, StatusRecorder
from scaler.targets.stages import Stages, start_durations, start_stages
from scaler.targets.workload import LeverKind, RefusalReason
from tests.unit.targets.fake_api import T0, Call, FakeApi, FakeEvents, FakeView, failing
from tests.unit.targets.fake_workloads import (
    NAMESPACE,
    Cluster,
    hpa_field,
    put_hpa,
    put_service,
    service_field,
)

TICK = timedelta(seconds=15)
PERIOD = timedelta(seconds=300)
PATCH = "patch PredictiveScaler/web/status"


def pod(scheduled: float | None, started: float | None, ready: float | None, *, age: float = 0) -> PodObject:
    """A pod whose stages ended this many seconds after its creation."""
    created = T0 - timedelta(seconds=age)

    def at(seconds: float | None) -> datetime | None:
        return None if seconds is None else created + timedelta(seconds=seconds)

    meta = Meta(NAMESPACE, "pod", "uid", "1", 1, {}, {}, None, created, deleting=False)
    return PodObject(meta, at(ready), at(started), at(scheduled), finished=False, amounts=Amounts())


@dataclass
class World:
    """A cluster with workloads on which decisions are made."""

    api: FakeApi = field(default_factory=FakeApi)
    events: FakeEvents = field(default_factory=FakeEvents)
    leads: bool = True
    now: datetime = T0
    config: RecorderConfig = field(default_factory=lambda: RecorderConfig(PERIOD, 100))
    troubles: dict[TargetKey, Trouble] = field(default_factory=dict)
    seeds: dict[TargetKey, tuple[timedelta, ...]] = field(default_factory=dict)
    pods: tuple[PodObject, ...] = ()

    def __post_init__(self) -> None:
        self.cluster = Cluster(self.api)
        self.view = FakeView(self.api)
        self.restart()

    def restart(self) -> None:
        sources = Sources(
            workload=self.cluster.workload,
            trouble=self.troubles.get,
            seed=lambda key: self.seeds.get(key, ()),
            stages=lambda workload: start_stages(self.pods),
        )
        self.recorder = StatusRecorder(
            self.api,
            self.view,
            held=lambda: self.leads,
            events=self.events,
            sources=sources,
            config=self.config,
        )

    def add(self, name: str = "web", **changes: Any) -> TargetKey:
        put_hpa(self.api, 2, name)
        return self.cluster.add(hpa_field(name), name=name, **changes)

    def decide(self, key: TargetKey, floor: int = 2, previous: int = 2, **changes: Any) -> None:
        action = Action.NONE if floor == previous else Action.SCALE_UP if floor > previous else Action.SCALE_DOWN
        base = Decision(
            key=key,
            at=self.now,
            mode=Mode.ON,
            previous_floor=previous,
            floor=floor,
            action=action,
            reason=Reason.DESIRED_WITHIN_RANGE,
            reasons=(Reason.DESIRED_WITHIN_RANGE,),
            current_replicas=2,
            ready_replicas=2,
            load=1.23456,
            peak=4.56789,
            forecast_peak=4.56789,
            level=0.99,
            capacity=1.0,
            lead_time=timedelta(seconds=42),
            forecast_source=Source.MODEL,
            forecast_age=timedelta(seconds=60),
        )
        self.recorder.record(base._replace(**changes))

    def flush(self, after: timedelta = TICK) -> int:
        self.now += after
        self.api.calls.clear()
        return self.recorder.flush(self.cluster.discovered(), self.now)

    def status(self, name: str = "web") -> Json:
        scaler = self.view.predictive_scaler(NAMESPACE, name)
        assert scaler is not None
        return scaler.status

    def component(self, name: str = "web") -> Json:
        component: Json = self.status(name)["components"][0]
        return component

    def conditions(self, name: str = "web") -> dict[str, tuple[str, str]]:
        return {c["type"]: (c["status"], c["reason"]) for c in self.status(name)["conditions"]}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def web(world: World) -> TargetKey:
    return world.add()


def test_a_workload_that_opts_in_gets_its_scaler_and_status(world: World, web: TargetKey) -> None:
    world.pods = (pod(1, 3, 9),)
    world.decide(web, floor=5)
    assert world.flush() == 1
    status = world.status()
    assert status["mode"] == "on"
    assert world.component() == {
        "name": "",
        "lever": "hpa",
        "metric": "cpu",
        "capacity": 1.0,
        "capacitySource": "90 % of the CPU limit (500m)",
        "floor": 5,
        "minReplicas": 0,
        "maxReplicas": 50,
        "currentReplicas": 2,
        "readyReplicas": 2,
        "load": 1.235,
        "peak": 4.568,
        "forecastPeak": 4.568,
        "level": 0.99,
        "forecastSource": "model",
        "leadTime": {
            "count": 0,
            "p90Seconds": 42.0,
            "stages": {"scheduledSeconds": 1.0, "startedSeconds": 3.0, "readySeconds": 9.0},
        },
        "reason": "DesiredWithinRange",
        "reasons": ["DesiredWithinRange"],
        "lastChange": {"at": "2026-01-05T12:00:00Z", "from": 2, "to": 5, "reason": "DesiredWithinRange"},
    }
    assert world.conditions() == {
        "Active": ("True", "On"),
        "MetricsAvailable": ("True", "Seen"),
        "ForecastAvailable": ("True", "Model"),
        "FloorHonoured": ("True", "AsDecided"),
    }


def test_nothing_is_written_while_only_numbers_move(world: World, web: TargetKey) -> None:
    world.decide(web)
    world.flush()
    world.decide(web, load=9.0, reason=Reason.WITHIN_TOLERANCE)
    assert world.flush(timedelta(seconds=1)) == 0
    assert world.api.calls == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"floor": 3}, id="floor"),
        pytest.param({"reason": Reason.PAUSED, "reasons": (Reason.PAUSED,)}, id="a reason to know"),
        pytest.param({"reasons": (Reason.NO_METRICS,)}, id="metrics lost"),
        pytest.param({"reasons": (Reason.NO_FORECAST,), "forecast_source": None}, id="forecast lost"),
        pytest.param({"forecast_source": Source.PERSISTENCE}, id="another forecaster"),
    ],
)
def test_what_a_user_wants_to_see_is_written_at_once(world: World, web: TargetKey, change: dict[str, Any]) -> None:
    world.decide(web)
    world.flush()
    world.decide(web, **change)
    assert world.flush() == 1
    assert world.api.calls == [PATCH]


def test_a_change_shows_though_nothing_else_has_changed_for_a_while(world: World, web: TargetKey) -> None:
    world.decide(web)
    world.flush()
    world.view.freeze()
    assert [world.flush(), world.flush()] == [0, 0]
    world.decide(web, floor=3)
    assert world.flush() == 1
    world.cluster.refuse(web)
    assert world.flush() == 1
    assert world.flush() == 0
    world.cluster.refusals = tuple(replace(r, reason=RefusalReason.NO_MAXIMUM) for r in world.cluster.refusals)
    assert world.flush() == 1


def test_a_floor_that_comes_back_is_written_too(world: World, web: TargetKey) -> None:
    world.decide(web)
    world.flush()
    for floor in (3, 2, 3):
        world.decide(web, floor=floor)
        world.flush()
        assert world.component()["floor"] == floor


def test_new_bounds_are_written_at_once(world: World, web: TargetKey) -> None:
    world.decide(web)
    world.flush()
    world.cluster.add(hpa_field(), max_replicas=20)
    assert world.flush() == 1
    assert world.component()["maxReplicas"] == 20


def test_another_lever_is_written_at_once(world: World, web: TargetKey) -> None:
    world.decide(web)
    world.flush()
    world.cluster.add(hpa_field(), kind=LeverKind.SCALED_OBJECT)
    assert world.flush() == 1
    assert world.component()["lever"] == "scaled-object"


def test_numbers_are_written_once_a_period(world: World, web: TargetKey) -> None:
    world.decide(web)
    world.flush()
    written = 0
    for load in range(40):  # 10 minutes
        world.decide(web, load=float(load))
        written += world.flush()
    assert written == 2


def test_a_period_in_which_nothing_changed_costs_nothing(world: World, web: TargetKey) -> None:
    world.decide(web)
    world.flush()
    calls = 0
    for _ in range(40):
        world.flush()
        calls += len(world.api.calls)
    assert calls == 0


def test_many_workloads_are_spread_over_the_period(world: World) -> None:
    keys = [world.add(f"web{i}") for i in range(200)]
    for key in keys:
        world.decide(key)
    while world.flush():
        pass
    per_tick = []
    for tick in range(20):  # one period
        for key in keys:
            world.decide(key, load=float(tick))
        per_tick.append(world.flush())
    assert sum(per_tick) == 200
    assert max(per_tick) <= 30  # 10 each, if they were spread quite evenly


def test_only_so_many_are_written_in_a_tick_and_the_oldest_first(world: World) -> None:
    world.config = RecorderConfig(PERIOD, 2)
    world.restart()
    for key in [world.add(f"z{i}") for i in range(3)]:
        world.decide(key)
    assert world.flush() == 2
    for key in (world.add("a"), world.add("b")):
        world.decide(key)
    assert world.flush(timedelta(seconds=1)) == 2
    assert {scaler.meta.name for scaler in world.api.scalers()} == {"z0", "z1", "z2", "a"}


def test_what_changed_does_not_wait_for_many_that_did_not(world: World) -> None:
    keys = [world.add(f"web{i}") for i in range(200)]
    for key in keys:
        world.decide(key)
    while world.flush():
        pass
    world.config = RecorderConfig(PERIOD, 6)
    world.restart()
    for key in keys:
        world.decide(key)
    assert world.flush() == 0
    for key in keys:
        world.decide(key, load=7.0)
    assert world.flush(PERIOD) == 1  # and all others wait to be brought up to date
    for key in keys[:5]:
        world.decide(key, floor=5)
    assert world.flush() == 6
    assert [world.component(key.name)["floor"] for key in keys[:5]] == [5] * 5


def test_what_touches_no_workload_takes_a_sixth_together(world: World) -> None:
    keys = [world.add(f"web{i}") for i in range(60)]
    shadows = [world.add(f"shadow{i}") for i in range(8)]
    for key in shadows:
        world.cluster.switch(key, Mode.SHADOW)
    for key in (*keys, *shadows):
        world.decide(key)
    while world.flush():
        pass
    world.config = RecorderConfig(PERIOD, 12)
    world.restart()
    for key in (*keys, *shadows):
        world.decide(key)
    assert world.flush() == 0
    for key in shadows:
        world.decide(key, floor=7)
    for key in keys[:3]:
        world.decide(key, floor=5)
    assert world.flush(timedelta(seconds=1)) == 5
    assert [world.component(key.name)["floor"] for key in keys[:3]] == [5] * 3
    for key in keys[3:]:
        world.decide(key, load=7.0)
    assert world.flush(PERIOD) == 2  # shadows, which have waited longest: those that did not change come after them
    assert sum(world.component(key.name)["floor"] == 7 for key in shadows) == 4


def test_a_standby_writes_nothing(world: World, web: TargetKey) -> None:
    world.leads = False
    world.decide(web, floor=5)
    assert world.flush() == 0
    assert world.api.calls == []
    assert world.events.reasons == []


def test_leadership_lost_within_a_flush_ends_it(world: World, web: TargetKey) -> None:
    def before(call: Call) -> None:
        world.leads = False

    world.api.before = before
    world.decide(web)
    assert world.flush() == 0
    assert world.api.calls == ["get PredictiveScaler/web"]


def test_one_that_cannot_be_written_leaves_the_others_alone(world: World, web: TargetKey) -> None:
    other = world.add("api")
    world.decide(web)
    world.decide(other)
    world.api.before = failing("create", PREDICTIVE_SCALERS.kind, Forbidden("no"), times=1)
    assert world.flush() == 1
    assert world.flush() == 0
    assert world.flush(RETRY_AFTER) == 1


def test_an_api_server_that_is_away_ends_the_flush(world: World, web: TargetKey) -> None:
    other = world.add("api")
    world.decide(web)
    world.decide(other)
    world.api.before = failing("get", PREDICTIVE_SCALERS.kind, Unreachable("refused"), times=1)
    assert world.flush() == 0
    assert len(world.api.calls) == 1
    assert world.flush() == 2


def test_a_scaler_deleted_by_hand_is_made_anew(world: World, web: TargetKey) -> None:
    world.decide(web)
    world.flush()
    world.api.drop(PREDICTIVE_SCALERS, NAMESPACE, "web")
    assert world.flush() == 1
    assert world.component()["floor"] == 2


def test_after_a_restart_status_is_written_only_where_it_says_something_else(world: World, web: TargetKey) -> None:
    world.decide(web, floor=5)
    world.flush()
    world.restart()
    world.decide(web, floor=5, previous=5)
    assert world.flush() == 0


def test_the_last_change_outlives_a_restart(world: World, web: TargetKey) -> None:
    world.decide(web, floor=5)
    world.flush()
    world.restart()
    world.decide(web, floor=5, previous=5, forecast_source=Source.SEASONAL_DAY)
    world.flush()
    assert world.component()["lastChange"]["to"] == 5


def test_before_the_first_decision_what_stood_stays(world: World, web: TargetKey) -> None:
    world.decide(web, floor=5)
    world.flush()
    world.restart()
    assert world.flush() == 1
    assert world.component()["floor"] == 5
    assert world.conditions()["MetricsAvailable"] == ("False", "NeverSeen")


def test_the_components_of_a_service_share_a_scaler(world: World) -> None:
    put_service(world.api, predictor=1, transformer=1)
    keys = [
        world.cluster.add(service_field(name), name=f"web/{name}", scaler_name="web")
        for name in ("transformer", "predictor")
    ]
    for floor, key in enumerate(keys, start=3):
        world.decide(key, floor=floor)
    assert world.flush() == 1
    assert [(c["name"], c["floor"]) for c in world.status()["components"]] == [("predictor", 4), ("transformer", 3)]


class TestConditions:
    @pytest.mark.parametrize(
        ("decision", "name", "expected"),
        [
            pytest.param({"reasons": (Reason.NO_METRICS,)}, "MetricsAvailable", ("False", "NoMetrics"), id="blind"),
            pytest.param(
                {"reasons": (Reason.NO_FORECAST,)}, "ForecastAvailable", ("False", "NoForecast"), id="no forecast"
            ),
            pytest.param(
                {"reasons": (Reason.NO_FORECAST,), "forecast_failure": ForecastFailure.SERVER_ERROR},
                "ForecastAvailable",
                ("False", "ServerError"),
                id="why there is none",
            ),
            pytest.param(
                {"forecast_source": Source.SEASONAL_DAY}, "ForecastAvailable", ("True", "SeasonalDay"), id="stand-in"
            ),
            pytest.param(
                {"reason": Reason.TARGET_UNAVAILABLE}, "FloorHonoured", ("False", "Retrying"), id="not written"
            ),
        ],
    )
    def test_of_a_decision(
        self, world: World, web: TargetKey, decision: dict[str, Any], name: str, expected: tuple[str, str]
    ) -> None:
        world.decide(web, **decision)
        world.flush()
        assert world.conditions()[name] == expected

    def test_trouble_is_shown_while_it_lasts(self, world: World, web: TargetKey) -> None:
        world.troubles[web] = Trouble("Reverted", "argocd made it 2", T0)
        world.decide(web)
        world.flush()
        assert world.conditions()["FloorHonoured"] == ("False", "Reverted")
        del world.troubles[web]
        world.flush()
        assert world.conditions()["FloorHonoured"] == ("True", "AsDecided")

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            pytest.param({"mode": Mode.SHADOW}, ("True", "Shadow"), id="shadow"),
            pytest.param({"paused": True}, ("True", "Paused"), id="paused"),
        ],
    )
    def test_of_a_mode(self, world: World, changes: dict[str, Any], expected: tuple[str, str]) -> None:
        world.decide(world.add(**changes))
        world.flush()
        assert world.conditions()["Active"] == expected

    def test_no_floor_is_honoured_in_shadow(self, world: World) -> None:
        world.decide(world.add(mode=Mode.SHADOW))
        world.flush()
        assert world.conditions()["FloorHonoured"] == ("Unknown", "Shadow")
        assert world.status()["mode"] == "shadow"

    def test_a_workload_that_left_is_off_and_keeps_what_was_learned(self, world: World, web: TargetKey) -> None:
        world.decide(web, floor=5)
        world.recorder.keep(web, Memory(durations=(timedelta(seconds=30),)))
        world.flush()
        world.cluster.remove(web)
        assert world.flush() == 1
        assert world.status()["mode"] == "off"
        assert world.conditions()["Active"] == ("False", "Off")
        assert world.component()["memory"] == {"durationsSeconds": [30.0]}
        assert "floor" not in world.component(), "a floor that nobody holds is no floor"
        assert world.flush() == 0


class TestRefusals:
    def test_a_refused_workload_gets_a_scaler_that_says_why(self, world: World, web: TargetKey) -> None:
        world.cluster.refuse(web)
        world.flush()
        assert world.conditions()["Active"] == ("False", "InvalidSetting")
        active = next(c for c in world.status()["conditions"] if c["type"] == "Active")
        assert "'maybe' is not accepted" in active["message"]

    def test_it_is_told_once(self, world: World, web: TargetKey) -> None:
        world.cluster.refuse(web)
        for _ in range(3):
            world.flush()
        assert world.events.reasons == ["InvalidSetting"]

    def test_it_is_told_again_when_it_is_another(self, world: World, web: TargetKey) -> None:
        world.cluster.refuse(web)
        world.flush()
        world.cluster.refuse(web, "ai-hpa.dev/target: 'x' is not accepted")
        world.flush()
        assert world.events.reasons == ["InvalidSetting", "InvalidSetting"]

    def test_a_new_leader_does_not_tell_it_again(self, world: World, web: TargetKey) -> None:
        world.cluster.refuse(web)
        world.flush()
        world.restart()
        world.flush()
        assert world.events.reasons == ["InvalidSetting"]

    def test_its_floor_stays_in_status(self, world: World, web: TargetKey) -> None:
        world.decide(web, floor=5)
        world.flush()
        world.cluster.refuse(web)
        world.flush()
        assert world.component()["floor"] == 5
        assert world.status()["mode"] == "on"

    def test_one_component_is_refused_and_the_other_decided_on(self, world: World) -> None:
        put_service(world.api, predictor=1, transformer=1)
        predictor = world.cluster.add(service_field("predictor"), name="web/predictor", scaler_name="web")
        transformer = world.cluster.add(service_field("transformer"), name="web/transformer", scaler_name="web")
        for key in (predictor, transformer):
            world.decide(key, floor=3)
        world.flush()
        world.cluster.refuse(transformer, "no", scaler_name="web")
        world.decide(predictor, floor=4)
        world.flush()
        assert [(c["name"], c["floor"]) for c in world.status()["components"]] == [
            ("predictor", 4),
            ("transformer", 3),
        ]
        active = next(c for c in world.status()["conditions"] if c["type"] == "Active")
        assert active["message"] == "transformer: no"

    def test_a_service_refused_as_a_whole_keeps_what_its_components_had(self, world: World) -> None:
        put_service(world.api, predictor=1)
        predictor = world.cluster.add(service_field("predictor"), name="web/predictor", scaler_name="web")
        world.decide(predictor, floor=3)
        world.flush()
        world.cluster.remove(predictor)
        world.cluster.refuse(predictor._replace(name="web"))
        world.flush()
        assert [(c["name"], c["floor"]) for c in world.status()["components"]] == [("predictor", 3)]

    def test_what_does_not_exist_gets_no_scaler(self, world: World, web: TargetKey) -> None:
        world.cluster.refuse(web)
        world.cluster.refusals = tuple(replace(r, reference_uid="") for r in world.cluster.refusals)
        assert world.flush() == 0
        assert world.api.calls == []


class TestEvents:
    def test_a_change_says_why(self, world: World, web: TargetKey) -> None:
        world.decide(web, floor=5)
        world.flush()
        world.flush()
        (event,) = world.events.events
        assert (event.type, event.reason) == ("Normal", "ScaledUp")
        assert event.message == (
            "floor from 2 to 5 (DesiredWithinRange): load 1.235, forecast peak 4.568 (model), lead time 42 s, "
            "one pod carries 1 [cpu]"
        )

    def test_a_new_champion_is_told_once_with_what_each_source_has_cost(self, world: World, web: TargetKey) -> None:
        ratios = {"model": 1.25, "persistence": 1.0}
        model = Champion(Source.MODEL, ChampionReason.TOO_FEW_SCORES, None, ratios, 0.5)
        crowned = Champion(Source.PERSISTENCE, ChampionReason.CHEAPEST, T0, ratios, 1.0)
        for champion in (None, model, model._replace(scored_days=0.9), crowned, crowned):
            world.decide(web, champion=champion)
            world.flush()
        assert world.events.reasons == ["ChampionChanged"]
        assert world.events.events[0].message == (
            "forecasts of persistence serve in place of model: cost over persistence's model 1.25, persistence 1.00"
        )

    def test_a_decision_without_a_change_says_nothing(self, world: World, web: TargetKey) -> None:
        world.decide(web)
        world.flush()
        assert world.events.reasons == []

    def test_shadow_says_nothing(self, world: World, web: TargetKey) -> None:
        world.decide(web, floor=5, mode=Mode.SHADOW)
        world.flush()
        assert world.events.reasons == []

    def test_a_change_without_a_forecast(self, world: World, web: TargetKey) -> None:
        world.decide(web, floor=1, previous=3, forecast_peak=None, load=None, lead_time=None)
        world.flush()
        assert world.events.reasons == ["ScaledDown"]
        assert "load unknown, peak 4.568 without a forecast, one pod" in world.events.events[0].message


class TestMemory:
    MEMORY = Memory(
        durations=(timedelta(seconds=30), timedelta(seconds=50)),
        calibration=CalibrationState(0.99, np.full((len(SOURCES), 30), 0.5), 2.0),
    )

    def test_it_outlives_the_process(self, world: World, web: TargetKey) -> None:
        world.recorder.keep(web, self.MEMORY)
        world.decide(web)
        world.flush()
        world.restart()
        recalled = world.recorder.recall(web)
        assert recalled is not None
        assert memory_to_json(recalled) == memory_to_json(self.MEMORY)
        assert world.component()["leadTime"] == {"count": 2, "p50Seconds": 40.0, "p90Seconds": 42.0}

    def test_it_stays_where_nothing_new_was_learned_since_a_restart(self, world: World, web: TargetKey) -> None:
        world.recorder.keep(web, self.MEMORY)
        world.decide(web)
        world.flush()
        world.restart()
        world.decide(web, floor=9)
        world.flush()
        assert world.component()["memory"] == memory_to_json(self.MEMORY)
        assert world.component()["leadTime"]["count"] == 2

    def test_what_this_process_learned_comes_first(self, world: World, web: TargetKey) -> None:
        world.recorder.keep(web, self.MEMORY)
        assert world.recorder.recall(web) is self.MEMORY
        assert world.api.calls == []

    def test_lead_times_are_seeded_where_none_were_learned(self, world: World, web: TargetKey) -> None:
        world.seeds[web] = (timedelta(seconds=7),)
        seeded = world.recorder.recall(web)
        assert seeded is not None
        assert seeded.durations == world.seeds[web]
        world.recorder.keep(web, replace(self.MEMORY, durations=()))
        world.decide(web)
        world.flush()
        world.restart()
        recalled = world.recorder.recall(web)
        assert recalled is not None
        assert recalled.durations == world.seeds[web]
        assert recalled.calibration is not None

    def test_nothing_is_known_of_a_new_workload_without_pods(self, world: World, web: TargetKey) -> None:
        assert world.recorder.recall(web) is None

    def test_nothing_is_known_of_a_workload_that_left(self, world: World, web: TargetKey) -> None:
        world.cluster.remove(web)
        assert world.recorder.recall(web) is None

    def test_foreign_status_is_no_error(self, world: World, web: TargetKey) -> None:
        body = {"metadata": {"name": "web", "namespace": NAMESPACE}, "spec": {}}
        world.api.put(PREDICTIVE_SCALERS, body)
        for status in ({"components": "x"}, {"components": [3, {"memory": 7}]}, {"conditions": {"a": 1}}):
            world.api.patch_as("x", PREDICTIVE_SCALERS, NAMESPACE, "web", {"status": status}, subresource="status")
            world.restart()
            assert world.recorder.recall(web) is None
            world.decide(web)
            world.flush()


class TestStages:
    def test_medians_from_the_creation_of_each_pod(self) -> None:
        pods = (pod(1, 2, 10), pod(2, 4, 20), pod(3, 9, 60))
        assert start_stages(pods) == Stages(
            scheduled=timedelta(seconds=2), started=timedelta(seconds=4), ready=timedelta(seconds=20)
        )

    @pytest.mark.parametrize(
        "unusable",
        [
            pytest.param(pod(1, 2, None), id="not ready"),
            pytest.param(pod(1, None, None), id="not started"),
            pytest.param(pod(None, None, None), id="not scheduled"),
            pytest.param(pod(1, 50, 10), id="a container restarted while it was ready"),
            pytest.param(pod(1, 2, 1801), id="ready again after half an hour"),
            pytest.param(replace(pod(1, 2, 3), finished=True), id="finished"),
        ],
    )
    def test_a_pod_that_did_not_start_in_one_go_does_not_count(self, unusable: PodObject) -> None:
        assert start_stages((unusable,)) is None
        assert start_durations((unusable, pod(1, 2, 10))) == (timedelta(seconds=10),)

    def test_durations_are_those_of_the_newest_pods_oldest_first(self) -> None:
        pods = [pod(0, 0, seconds, age=1000 - seconds) for seconds in range(70)]
        durations = start_durations(reversed(pods))
        assert durations == tuple(timedelta(seconds=s) for s in range(6, 70))

    def test_a_start_within_the_same_second_took_one(self) -> None:
        assert start_durations((pod(0, 0, 0),)) == (timedelta(seconds=1),)
