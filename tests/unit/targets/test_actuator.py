"""Setting floors through the fields of a lever, and noticing who takes them back."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.domain import Mode, TargetKey, TargetUnavailable
from scaler.kube.api import Conflict, Forbidden, Invalid, KubeError, ServerBusy, Unreachable
from scaler.kube.predictive_scaler import RESTORE
from scaler.kube.resources import DEPLOYMENTS, HPAS, INFERENCE_SERVICES, PREDICTIVE_SCALERS, REVISIONS
from scaler.targets.actuator import NotTaken
from scaler.targets.fields import NotLeader, TargetGone
from scaler.targets.workload import LeverKind
from tests.unit.targets.fake_api import T0, Call, failing
from tests.unit.targets.fake_workloads import (
    MIN_SCALE,
    NAMESPACE,
    ActuatorWorld,
    hpa_field,
    put_deployment,
    put_hpa,
    put_revision,
    put_service,
    revision_field,
    scale_field,
    service_field,
)

TICK = timedelta(seconds=15)
PATCH_HPA = "patch HorizontalPodAutoscaler/web"


class World(ActuatorWorld):
    """A cluster and the actuator in it."""

    def tick(self, after: timedelta = TICK) -> None:
        self.now += after
        discovered = self.cluster.discovered()
        self.actuator.verify(discovered, self.now)
        self.actuator.reapply(discovered, self.now)

    def restore(self, name: str = "web") -> Any:
        scaler = self.view.predictive_scaler(NAMESPACE, name)
        return None if scaler is None else json.loads(scaler.meta.annotations.get(RESTORE, "{}"))

    def set_by(self, manager: str, minimum: int | None) -> None:
        """Let somebody else set the HPA's minimum."""
        self.api.patch_as(manager, HPAS, NAMESPACE, "web", {"spec": {"minReplicas": minimum}})


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def web(world: World) -> TargetKey:
    """A Deployment whose HPA has a minimum of 2."""
    put_hpa(world.api, 2)
    return world.cluster.add(hpa_field())


def test_a_floor_is_written_once_it_is_known_what_stood_before(world: World, web: TargetKey) -> None:
    order: list[Any] = []

    def before(call: Call) -> None:
        if str(call) == PATCH_HPA:
            order.append(world.restore())

    world.api.before = before
    world.apply(web, 5)
    assert world.api.value(hpa_field()) == 5
    assert order == [{"HorizontalPodAutoscaler/web": 2}]


def test_a_floor_that_stands_costs_no_call(world: World, web: TargetKey) -> None:
    world.apply(web, 2)
    assert world.api.calls == []


def test_the_next_floor_costs_one_call(world: World, web: TargetKey) -> None:
    world.apply(web, 5)
    world.api.calls.clear()
    world.apply(web, 7)
    assert world.api.calls == [PATCH_HPA]
    assert world.restore() == {"HorizontalPodAutoscaler/web": 2}


def test_replicas_go_through_the_scale_subresource(world: World) -> None:
    put_deployment(world.api, 1)
    web = world.cluster.add(scale_field(), kind=LeverKind.SCALE)
    world.apply(web, 4)
    assert world.api.value(scale_field()) == 4
    assert world.api.calls[-1] == "patch Deployment/web/scale"
    assert world.restore() == {"Deployment/web": 1}


def test_replicas_are_written_where_only_scale_may_be_read(world: World) -> None:
    put_deployment(world.api, 1)
    web = world.cluster.add(scale_field(), kind=LeverKind.SCALE)

    def before(call: Call) -> None:
        if str(call) == "get Deployment/web":
            raise Forbidden("no")

    world.api.before = before
    world.apply(web, 4)
    world.restart()
    world.apply(web, 6)
    assert world.api.value(scale_field()) == 6
    assert world.restore() == {"Deployment/web": 1}


def test_an_annotation_is_written_as_a_string(world: World) -> None:
    put_revision(world.api, "web-00001")
    web = world.cluster.add(revision_field("web-00001"), kind=LeverKind.REVISION)
    world.apply(web, 3)
    assert world.api.value(revision_field("web-00001")) == "3"
    assert world.restore() == {"Revision/web-00001": None}


def test_a_canary_carries_its_share(world: World) -> None:
    put_revision(world.api, "web-00001", 1)
    put_revision(world.api, "web-00002", 1)
    fields = (revision_field("web-00001", share=0.9), revision_field("web-00002", share=0.1))
    web = world.cluster.add(*fields, kind=LeverKind.REVISION)
    world.apply(web, 20)
    assert [world.api.value(f) for f in fields] == ["18", "2"]


def test_two_components_of_one_object_are_two_fields(world: World) -> None:
    put_service(world.api, predictor=1, transformer=2)
    predictor = world.cluster.add(service_field("predictor"), name="web/predictor", scaler_name="web")
    transformer = world.cluster.add(service_field("transformer"), name="web/transformer", scaler_name="web")
    world.apply(predictor, 4)
    world.apply(transformer, 5)
    assert world.api.value(service_field("predictor")) == 4
    assert world.api.value(service_field("transformer")) == 5
    assert world.restore() == {"InferenceService/web/predictor": 1, "InferenceService/web/transformer": 2}


def test_nothing_is_written_without_leadership(world: World, web: TargetKey) -> None:
    world.leads = False
    with pytest.raises(NotLeader):
        world.apply(web, 5)
    assert not [call for call in world.api.calls if not call.startswith("get")]


def test_leadership_lost_after_the_record_stops_the_write(world: World, web: TargetKey) -> None:
    def before(call: Call) -> None:
        if (call.verb, call.kind) == ("patch", PREDICTIVE_SCALERS.kind):
            world.leads = False

    world.api.before = before
    with pytest.raises(NotLeader):
        world.apply(web, 5)
    assert world.api.value(hpa_field()) == 2


def test_nothing_is_written_where_the_earlier_value_cannot_be_kept(world: World, web: TargetKey) -> None:
    world.api.before = failing("patch", PREDICTIVE_SCALERS.kind, Forbidden("may not patch", status=403))
    with pytest.raises(Forbidden):
        world.apply(web, 5)
    assert world.api.value(hpa_field()) == 2


def test_a_conflict_over_the_rest_of_the_object_is_tried_once_more(world: World, web: TargetKey) -> None:
    world.apply(web, 3)
    stale = world.cluster.workload(web)
    world.api.patch_as("kube-controller-manager", HPAS, NAMESPACE, "web", {"spec": {"maxReplicas": 20}})
    world.actuator._workload = lambda key: stale
    world.apply(web, 5)
    assert world.api.value(hpa_field()) == 5


def test_a_field_that_changed_meanwhile_is_not_overwritten(world: World, web: TargetKey) -> None:
    world.apply(web, 3)
    stale = world.cluster.workload(web)
    world.set_by("alice", 8)
    world.actuator._workload = lambda key: stale
    with pytest.raises(TargetUnavailable, match="changed from 3 to 8 while it was decided on"):
        world.apply(web, 5)
    assert world.api.value(hpa_field()) == 8


def test_a_field_that_changed_before_its_first_write_is_not_recorded_either(world: World, web: TargetKey) -> None:
    stale = world.cluster.workload(web)
    world.set_by("alice", 8)
    world.actuator._workload = lambda key: stale
    with pytest.raises(TargetUnavailable, match="changed from 2 to 8 while it was decided on"):
        world.apply(web, 5)
    assert (world.api.value(hpa_field()), world.restore()) == (8, None)


def test_a_conflict_over_the_value_that_we_want_is_no_conflict(world: World, web: TargetKey) -> None:
    world.apply(web, 3)
    stale = world.cluster.workload(web)
    world.set_by("alice", 5)
    world.actuator._workload = lambda key: stale
    world.api.calls.clear()
    world.apply(web, 5)
    assert world.api.calls == [PATCH_HPA, "get HorizontalPodAutoscaler/web"]


def test_a_conflict_that_stays_changes_nothing(world: World, web: TargetKey) -> None:
    world.api.before = failing("patch", HPAS.kind, Conflict("modified", status=409))
    with pytest.raises(Conflict):
        world.apply(web, 5)
    assert world.api.calls.count(PATCH_HPA) == 2
    assert world.actuator.problem(web) is None


def test_an_object_deleted_between_read_and_write_is_said_to_be_deleted(world: World, web: TargetKey) -> None:
    def before(call: Call) -> None:
        if str(call) == PATCH_HPA:
            world.api.drop(HPAS, NAMESPACE, "web")

    world.api.before = before
    with pytest.raises(TargetGone, match="HorizontalPodAutoscaler/web was deleted"):
        world.apply(web, 5)


def test_another_object_under_the_name_is_not_written(world: World, web: TargetKey) -> None:
    world.apply(web, 3)
    stale = world.cluster.workload(web)
    world.api.drop(HPAS, NAMESPACE, "web")
    put_hpa(world.api, 1)
    world.actuator._workload = lambda key: stale
    with pytest.raises(TargetGone, match="deleted and made anew"):
        world.apply(web, 5)
    assert world.api.value(hpa_field()) == 1


def test_a_workload_that_left_cannot_be_set(world: World, web: TargetKey) -> None:
    workload = world.cluster.workload(web)
    assert workload is not None
    world.cluster.remove(web)
    with pytest.raises(TargetGone):
        world.actuator.apply(workload.target, 5, T0)


def test_a_write_that_a_webhook_changes_is_trouble(world: World, web: TargetKey) -> None:
    def cap(item: Any) -> None:
        if item.get("spec", {}).get("minReplicas", 0) > 3:
            item["spec"]["minReplicas"] = 3

    world.api.mutate = cap
    with pytest.raises(NotTaken, match="holds 3 after 5 was written"):
        world.apply(web, 5)
    assert world.events.reasons == ["FloorNotSet"]
    assert "webhook" in (world.actuator.problem(web) or "")


@pytest.mark.parametrize(
    ("error", "lasting"),
    [
        pytest.param(Forbidden("no"), True, id="forbidden"),
        pytest.param(Invalid("min > max"), True, id="refused by a webhook"),
        pytest.param(ServerBusy("503"), False, id="busy"),
        pytest.param(Unreachable("reset"), False, id="unreachable"),
        pytest.param(Conflict("modified"), False, id="conflict"),
    ],
)
def test_only_trouble_that_lasts_is_told_and_only_once(
    world: World, web: TargetKey, error: KubeError, lasting: bool
) -> None:
    world.api.before = failing("patch", HPAS.kind, error)
    for _ in range(3):
        world.now += TICK
        with pytest.raises(type(error)):
            world.apply(web, 5)
    assert world.events.reasons == (["FloorNotSet"] if lasting else [])
    assert (world.actuator.problem(web) is not None) == lasting


def test_trouble_is_over_with_the_next_floor_that_stands(world: World, web: TargetKey) -> None:
    world.api.before = failing("patch", HPAS.kind, Forbidden("no"), times=1)
    with pytest.raises(Forbidden):
        world.apply(web, 5)
    world.apply(web, 5)
    assert world.actuator.problem(web) is None


def test_trouble_is_over_once_the_floor_is_no_longer_wanted(world: World, web: TargetKey) -> None:
    world.api.before = failing("patch", HPAS.kind, Forbidden("no"))
    with pytest.raises(Forbidden):
        world.apply(web, 5)
    world.tick()
    assert world.actuator.problem(web) is not None
    for _ in range(4):
        world.tick()
    assert world.actuator.problem(web) is None


def test_an_api_server_that_is_away_is_asked_once_a_tick(world: World, web: TargetKey) -> None:
    put_hpa(world.api, 2, "api")
    other = world.cluster.add(hpa_field("api"), name="api")
    world.api.before = failing("get", HPAS.kind, Unreachable("refused"))
    for key in (web, other):
        with pytest.raises(TargetUnavailable):
            world.apply(key, 5)
    assert len(world.api.calls) == 1
    world.api.before = lambda call: None
    world.now += TICK
    world.apply(other, 5)
    assert world.api.value(hpa_field("api")) == 5


def test_one_field_that_fails_does_not_stop_the_others(world: World) -> None:
    put_revision(world.api, "web-00001", 1)
    put_revision(world.api, "web-00002", 1)
    web = world.cluster.add(revision_field("web-00002"), revision_field("web-00001"), kind=LeverKind.REVISION)

    def before(call: Call) -> None:
        if str(call) == "patch Revision/web-00002":
            raise Invalid("max-scale is 1")

    world.api.before = before
    with pytest.raises(Invalid):
        world.apply(web, 4)
    assert world.api.value(revision_field("web-00001")) == "4"


class TestWhatStoodBefore:
    def test_our_own_floor_is_never_taken_for_the_users(self, world: World, web: TargetKey) -> None:
        world.apply(web, 5)
        world.api.drop(PREDICTIVE_SCALERS, NAMESPACE, "web")
        world.restart()
        world.apply(web, 6)
        assert world.restore() == {"HorizontalPodAutoscaler/web": None}

    def test_a_record_that_was_deleted_is_written_again(self, world: World, web: TargetKey) -> None:
        world.apply(web, 5)
        world.api.drop(PREDICTIVE_SCALERS, NAMESPACE, "web")
        world.apply(web, 6)
        assert world.restore() == {"HorizontalPodAutoscaler/web": 2}

    def test_another_scaler_that_takes_the_field_over_knows_it_too(self, world: World, web: TargetKey) -> None:
        world.apply(web, 5)
        world.cluster.remove(web)
        other = world.cluster.add(hpa_field(), name="hpa")
        world.now += TICK
        world.apply(other, 6)
        assert world.restore("hpa") == {"HorizontalPodAutoscaler/web": 2}

    def test_replicas_made_anew_have_an_earlier_value_of_their_own_where_no_owner_shows(self, world: World) -> None:
        def before(call: Call) -> None:
            if str(call) == "get Deployment/web":
                raise Forbidden("no")

        put_deployment(world.api, 1)
        web = world.cluster.add(scale_field(), kind=LeverKind.SCALE)
        world.api.before = before
        world.apply(web, 4)
        world.api.drop(DEPLOYMENTS, NAMESPACE, "web")
        put_deployment(world.api, 3)
        world.apply(web, 5)
        assert world.restore() == {"Deployment/web": 3}

    def test_a_restart_keeps_the_record(self, world: World, web: TargetKey) -> None:
        world.apply(web, 5)
        world.restart()
        world.apply(web, 6)
        assert world.restore() == {"HorizontalPodAutoscaler/web": 2}

    def test_a_value_set_by_somebody_else_since_is_what_goes_back(self, world: World, web: TargetKey) -> None:
        world.apply(web, 5)
        world.set_by("alice", 3)
        world.apply(web, 6)
        assert world.restore() == {"HorizontalPodAutoscaler/web": 3}

    def test_it_is_noticed_after_a_restart_too(self, world: World, web: TargetKey) -> None:
        world.apply(web, 5)
        world.restart()
        world.set_by("alice", 3)
        world.apply(web, 6)
        assert world.restore() == {"HorizontalPodAutoscaler/web": 3}

    def test_a_field_that_was_unset_is_recorded_as_unset(self, world: World) -> None:
        put_hpa(world.api, None)
        web = world.cluster.add(hpa_field())
        world.apply(web, 5)
        assert world.restore() == {"HorizontalPodAutoscaler/web": None}

    def test_an_object_made_anew_has_an_earlier_value_of_its_own(self, world: World, web: TargetKey) -> None:
        world.apply(web, 5)
        world.api.drop(HPAS, NAMESPACE, "web")
        put_hpa(world.api, 4)
        world.apply(web, 6)
        assert world.restore() == {"HorizontalPodAutoscaler/web": 4}

    def test_a_watch_that_lags_behind_does_not_lose_the_record(self, world: World, web: TargetKey) -> None:
        world.view.freeze()
        world.apply(web, 5)
        world.apply(web, 6)
        world.view.thaw()
        assert world.restore() == {"HorizontalPodAutoscaler/web": 2}

    def test_a_record_that_changes_between_read_and_write_is_read_again(self, world: World, web: TargetKey) -> None:
        def before(call: Call) -> None:
            if (call.verb, call.kind) == ("patch", PREDICTIVE_SCALERS.kind):
                world.api.before = lambda call: None
                world.api.patch_as("kubectl", PREDICTIVE_SCALERS, NAMESPACE, "web", {"spec": {"paused": True}})

        world.api.before = before
        world.apply(web, 5)
        assert world.restore() == {"HorizontalPodAutoscaler/web": 2}

    def test_a_scaler_made_by_somebody_meanwhile_is_used(self, world: World, web: TargetKey) -> None:
        def before(call: Call) -> None:
            if call.verb == "create":
                world.api.before = lambda call: None
                body = {"metadata": {"name": "web", "namespace": NAMESPACE}, "spec": {"paused": False}}
                world.api.put(PREDICTIVE_SCALERS, body)

        world.api.before = before
        world.apply(web, 5)
        assert world.restore() == {"HorizontalPodAutoscaler/web": 2}


class TestTakenBack:
    def revert(self, world: World, web: TargetKey, manager: str = "argocd") -> None:
        world.apply(web, 5)
        world.set_by(manager, 2)
        world.tick()

    def test_once_is_no_fight(self, world: World, web: TargetKey) -> None:
        self.revert(world, web)
        world.apply(web, 5)
        assert world.api.value(hpa_field()) == 5
        assert world.actuator.problem(web) is None

    def test_twice_within_ten_minutes_stops_the_writes_and_names_the_manager(
        self, world: World, web: TargetKey
    ) -> None:
        self.revert(world, web)
        self.revert(world, web)
        with pytest.raises(TargetUnavailable, match="argocd made it 2, twice within 10 minutes"):
            world.apply(web, 5)
        assert world.api.value(hpa_field()) == 2
        assert world.events.reasons == ["FloorReverted"]
        trouble = world.actuator.trouble(web)
        assert trouble is not None
        assert trouble.reason == "Reverted"

    def test_it_is_tried_again_after_ten_minutes(self, world: World, web: TargetKey) -> None:
        self.revert(world, web)
        self.revert(world, web)
        world.tick(timedelta(minutes=10) - TICK)
        assert world.actuator.problem(web) is not None
        world.tick()
        assert world.actuator.problem(web) is None
        world.apply(web, 5)
        assert world.api.value(hpa_field()) == 5

    def test_twice_in_more_than_ten_minutes_is_no_fight(self, world: World, web: TargetKey) -> None:
        self.revert(world, web)
        world.tick(timedelta(minutes=10))
        self.revert(world, web)
        assert world.actuator.problem(web) is None

    def test_one_revert_counts_once_however_long_it_stands(self, world: World, web: TargetKey) -> None:
        self.revert(world, web)
        for _ in range(3):
            world.tick()
        assert world.actuator.problem(web) is None

    def test_other_workloads_go_on(self, world: World, web: TargetKey) -> None:
        put_hpa(world.api, 2, "api")
        other = world.cluster.add(hpa_field("api"), name="api")
        self.revert(world, web)
        self.revert(world, web)
        world.apply(other, 5)
        assert world.api.value(hpa_field("api")) == 5

    def test_a_field_that_was_removed_names_who_was_there_last(self, world: World, web: TargetKey) -> None:
        for _ in range(2):
            world.apply(web, 5)
            world.set_by("argocd", None)
            world.api.patch_as("argocd", HPAS, NAMESPACE, "web", {"metadata": {"labels": {"x": str(world.now)}}})
            world.tick()
        assert "argocd made it None" in (world.actuator.problem(web) or "")

    def test_a_look_within_two_seconds_of_the_write_proves_nothing(self, world: World, web: TargetKey) -> None:
        world.apply(web, 5)
        world.set_by("argocd", 2)
        world.api.calls.clear()
        world.tick(timedelta(seconds=1))
        assert world.api.calls == []

    @pytest.mark.parametrize("error", [Forbidden("no"), Unreachable("reset")])
    def test_a_look_that_fails_is_taken_again(self, world: World, web: TargetKey, error: KubeError) -> None:
        self.revert(world, web)
        world.apply(web, 5)
        world.set_by("argocd", 2)
        world.api.before = failing("get", HPAS.kind, error, times=1)
        world.tick()
        assert world.actuator.problem(web) is None
        world.tick()
        assert world.actuator.problem(web) is not None

    def test_a_watch_that_lags_behind_is_no_revert(self, world: World, web: TargetKey) -> None:
        before = world.cluster.discovered()
        world.apply(web, 5)
        world.api.calls.clear()
        world.actuator.verify(before, world.now + TICK)
        assert world.api.calls == []

    def test_what_somebody_else_set_is_what_goes_back(self, world: World, web: TargetKey) -> None:
        world.apply(web, 5)
        world.set_by("alice", 4)
        world.tick()
        assert world.restore() == {"HorizontalPodAutoscaler/web": 4}


class TestInherit:
    @pytest.fixture
    def web(self, world: World) -> TargetKey:
        put_revision(world.api, "web-00001", 1)
        return world.cluster.add(revision_field("web-00001"), kind=LeverKind.REVISION)

    def roll_out(self, world: World, **target: Any) -> None:
        put_revision(world.api, "web-00002", 1)
        fields = (revision_field("web-00001"), revision_field("web-00002"))
        world.cluster.add(*fields, kind=LeverKind.REVISION, **target)

    def test_a_new_revision_gets_the_floor(self, world: World, web: TargetKey) -> None:
        world.apply(web, 4)
        self.roll_out(world)
        world.tick()
        assert world.api.value(revision_field("web-00002")) == "4"
        assert world.restore() == {"Revision/web-00001": 1, "Revision/web-00002": 1}
        assert world.events.reasons == ["FloorInherited"]

    def test_also_while_paused(self, world: World, web: TargetKey) -> None:
        world.apply(web, 4)
        self.roll_out(world, paused=True)
        world.tick()
        assert world.api.value(revision_field("web-00002")) == "4"

    def test_not_in_shadow(self, world: World, web: TargetKey) -> None:
        world.apply(web, 4)
        self.roll_out(world, mode=Mode.SHADOW)
        world.tick()
        assert world.api.value(revision_field("web-00002")) == "1"

    def test_not_without_leadership(self, world: World, web: TargetKey) -> None:
        world.apply(web, 4)
        self.roll_out(world)
        world.leads = False
        world.tick()
        assert world.api.value(revision_field("web-00002")) == "1"

    def test_a_revision_that_appeared_while_nobody_led_gets_it_too(self, world: World, web: TargetKey) -> None:
        world.apply(web, 4)
        self.say_in_status(world, floor=4)
        self.roll_out(world)
        world.restart()
        world.tick()
        assert world.api.value(revision_field("web-00002")) == "4"

    def test_a_floor_that_stands_nowhere_any_more_is_not_put_back(self, world: World, web: TargetKey) -> None:
        world.apply(web, 4)
        self.say_in_status(world, floor=9)
        world.restart()
        world.tick()
        assert world.api.value(revision_field("web-00001")) == "4"

    def test_a_minimum_that_its_user_raises_is_left_alone(self, world: World) -> None:
        put_hpa(world.api, 2)
        hpa = world.cluster.add(hpa_field(), name="api")
        world.apply(hpa, 2)
        world.set_by("alice", 6)
        world.tick()
        assert world.api.value(hpa_field()) == 6

    def test_a_canary_whose_traffic_grows_gets_its_new_share(self, world: World) -> None:
        for name in ("web-00001", "web-00002"):
            put_revision(world.api, name, 0)

        def add(stable: float, canary: float) -> TargetKey:
            fields = (revision_field("web-00001", share=stable), revision_field("web-00002", share=canary))
            return world.cluster.add(*fields, kind=LeverKind.REVISION)

        world.apply(add(0.9, 0.1), 10)
        add(0.5, 0.5)
        world.tick()
        assert world.api.value(revision_field("web-00002")) == "5"
        assert world.api.value(revision_field("web-00001")) == "5"

    def say_in_status(self, world: World, *, floor: int) -> None:
        status = {"mode": "on", "components": [{"name": "", "floor": floor}]}
        world.api.patch_as("ai-hpa", PREDICTIVE_SCALERS, NAMESPACE, "web", {"status": status}, subresource="status")


class TestStandingFloor:
    def test_is_what_was_written_before_any_watch_shows_it(self, world: World, web: TargetKey) -> None:
        before = world.cluster.workload(web)
        assert before is not None
        world.apply(web, 5)
        assert world.actuator.standing_floor(before) == 5

    def test_is_what_somebody_else_set_since(self, world: World, web: TargetKey) -> None:
        world.apply(web, 5)
        world.set_by("alice", 3)
        after = world.cluster.workload(web)
        assert after is not None
        assert world.actuator.standing_floor(after) == 3

    def test_of_shares_is_the_floor_that_was_written(self, world: World) -> None:
        for name in ("web-00001", "web-00002"):
            put_revision(world.api, name)
        fields = (revision_field("web-00001", share=0.5), revision_field("web-00002", share=0.5))
        web = world.cluster.add(*fields, kind=LeverKind.REVISION)
        world.apply(web, 5)
        after = world.cluster.workload(web)
        assert after is not None
        assert world.actuator.standing_floor(after) == 5  # 3 and 3 could as well be 6


Step = Callable[[World, TargetKey], None]


def _try_to_apply(floor: int) -> Step:
    def step(world: World, key: TargetKey) -> None:
        if world.cluster.workload(key) is not None:
            try:
                world.apply(key, floor)
            except TargetUnavailable:
                return

    return step


steps = st.lists(
    st.one_of(
        st.integers(1, 9).map(_try_to_apply),
        st.just(lambda world, key: world.restart()),
        st.just(lambda world, key: world.tick()),
    ),
    max_size=12,
)


@given(minimum=st.none() | st.integers(1, 9), story=steps)
def test_whatever_we_do_the_users_own_value_stays_on_record(minimum: int | None, story: list[Step]) -> None:
    world = World()
    put_hpa(world.api, minimum)
    web = world.cluster.add(hpa_field())
    for step in story:
        step(world, web)
    assert world.restore() in (None, {"HorizontalPodAutoscaler/web": minimum})


def test_the_names_of_the_kinds_are_those_of_the_api() -> None:
    assert (DEPLOYMENTS.kind, REVISIONS.kind, INFERENCE_SERVICES.kind) == (
        "Deployment",
        "Revision",
        "InferenceService",
    )
    assert MIN_SCALE[-1] == "autoscaling.knative.dev/min-scale"
