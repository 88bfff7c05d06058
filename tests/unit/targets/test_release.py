"""Giving back what stood before."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from scaler.domain import Mode, TargetKey
from scaler.kube.api import Invalid, Unreachable
from scaler.kube.objects import PredictiveScalerObject
from scaler.kube.predictive_scaler import RESTORE, restore_record
from scaler.kube.resources import HPAS, PREDICTIVE_SCALERS
from scaler.targets.release import RETRY_AFTER, Outcome, Releaser, release
from scaler.targets.workload import LeverKind
from tests.unit.targets.fake_api import failing
from tests.unit.targets.fake_workloads import (
    NAMESPACE,
    ActuatorWorld,
    hpa_field,
    put_deployment,
    put_hpa,
    put_revision,
    revision_field,
    scale_field,
)

TICK = timedelta(seconds=15)


class World(ActuatorWorld):
    """A cluster with an actuator that raises floors and a releaser that gives them back."""

    def restart(self) -> None:
        super().restart()
        self.releaser = Releaser(self.api, self.view, held=lambda: self.leads, events=self.events)

    def tick(self, after: timedelta = TICK) -> None:
        self.now += after
        self.api.calls.clear()
        discovered = self.cluster.discovered()
        self.actuator.verify(discovered, self.now)
        self.releaser.release_stale(discovered, self.now)

    def scaler(self, name: str = "web") -> PredictiveScalerObject:
        scaler = self.view.predictive_scaler(NAMESPACE, name)
        assert scaler is not None
        return scaler

    def restore(self) -> Any:
        return json.loads(self.scaler().meta.annotations.get(RESTORE, "{}"))

    def writes(self) -> list[str]:
        return [call for call in self.api.calls if not call.startswith("get")]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def web(world: World) -> TargetKey:
    """A Deployment whose HPA had a minimum of 2 and has a floor of 5."""
    put_hpa(world.api, 2)
    key = world.cluster.add(hpa_field())
    world.apply(key, 5)
    return key


def test_a_workload_in_mode_on_keeps_its_floor(world: World, web: TargetKey) -> None:
    world.tick()
    assert world.api.calls == []
    assert world.api.value(hpa_field()) == 5


def test_removing_the_annotations_gives_back(world: World, web: TargetKey) -> None:
    world.cluster.remove(web)
    world.tick()
    assert world.api.value(hpa_field()) == 2
    assert world.restore() == {}
    assert world.events.reasons == ["FloorReleased"]


def test_shadow_gives_back(world: World, web: TargetKey) -> None:
    world.cluster.switch(web, Mode.SHADOW)
    world.tick()
    assert world.api.value(hpa_field()) == 2


def test_a_refused_workload_holds_its_floor(world: World, web: TargetKey) -> None:
    world.cluster.refuse(web)
    world.tick()
    assert world.api.calls == []
    assert world.api.value(hpa_field()) == 5


def test_what_is_given_back_costs_nothing_from_then_on(world: World, web: TargetKey) -> None:
    world.cluster.remove(web)
    world.tick()
    world.tick()
    assert world.api.calls == []


def test_what_was_unset_is_removed_again(world: World) -> None:
    put_revision(world.api, "web-00001")
    web = world.cluster.add(revision_field("web-00001"), kind=LeverKind.REVISION)
    world.apply(web, 4)
    world.cluster.remove(web)
    world.tick()
    assert world.api.value(revision_field("web-00001")) is None


def test_replicas_go_back(world: World) -> None:
    put_deployment(world.api, 1)
    web = world.cluster.add(scale_field(), kind=LeverKind.SCALE)
    world.apply(web, 4)
    world.cluster.remove(web)
    world.tick()
    assert world.api.value(scale_field()) == 1
    assert "patch Deployment/web/scale" in world.api.calls


def test_a_value_that_somebody_else_set_stays(world: World, web: TargetKey) -> None:
    world.api.patch_as("alice", HPAS, NAMESPACE, "web", {"spec": {"minReplicas": 7}})
    world.cluster.remove(web)
    world.tick()
    assert world.api.value(hpa_field()) == 7
    assert world.restore() == {}
    assert "stays 7, as alice left it" in world.events.events[-1].message


def test_replicas_of_which_nothing_is_known_stay(world: World) -> None:
    put_deployment(world.api, 1)
    web = world.cluster.add(scale_field(), kind=LeverKind.SCALE)
    world.apply(web, 4)
    world.api.drop(PREDICTIVE_SCALERS, NAMESPACE, "web")
    world.restart()
    world.apply(web, 5)
    world.cluster.remove(web)
    world.tick()
    assert world.api.value(scale_field()) == 5


def test_replicas_stay_where_an_autoscaler_took_over(world: World) -> None:
    put_deployment(world.api, 1)
    web = world.cluster.add(scale_field(), kind=LeverKind.SCALE)
    world.apply(web, 4)
    put_hpa(world.api, 2)
    world.cluster.add(hpa_field())
    world.tick()
    assert world.api.value(scale_field()) == 4
    assert world.restore() == {}


def test_a_retired_revision_gets_its_value_back_and_the_new_one_keeps_the_floor(world: World) -> None:
    put_revision(world.api, "web-00001", 1)
    web = world.cluster.add(revision_field("web-00001"), kind=LeverKind.REVISION)
    world.apply(web, 4)
    put_revision(world.api, "web-00002", 1)
    world.cluster.add(revision_field("web-00002"), kind=LeverKind.REVISION, retired=(revision_field("web-00001"),))
    world.apply(web, 4)
    world.tick()
    assert world.api.value(revision_field("web-00001")) == "1"
    assert world.api.value(revision_field("web-00002")) == "4"
    assert world.restore() == {"Revision/web-00002": 1}


def test_a_retired_revision_of_a_refused_workload_gets_its_value_back_only_if_it_is_known_to_be_one(
    world: World, web: TargetKey
) -> None:
    world.cluster.refuse(web)
    world.cluster.add(hpa_field("other"), name="web/other", scaler_name="web")
    put_hpa(world.api, 1, "other")
    world.tick()
    assert world.api.value(hpa_field()) == 5


def test_an_object_that_is_gone_leaves_the_record(world: World, web: TargetKey) -> None:
    world.cluster.remove(web)
    world.api.drop(HPAS, NAMESPACE, "web")
    world.tick()
    assert world.restore() == {}
    assert world.events.reasons == []


def test_another_object_under_the_name_is_left_alone(world: World, web: TargetKey) -> None:
    world.cluster.remove(web)
    world.api.drop(HPAS, NAMESPACE, "web")
    put_hpa(world.api, 5)
    world.tick()
    assert world.api.value(hpa_field()) == 5
    assert world.restore() == {}


def test_nothing_is_given_back_without_leadership(world: World, web: TargetKey) -> None:
    world.cluster.remove(web)
    world.leads = False
    world.tick()
    assert world.writes() == []
    world.leads = True
    world.tick()
    assert world.api.value(hpa_field()) == 2


def test_one_that_fails_is_told_kept_and_tried_again_later(world: World, web: TargetKey) -> None:
    world.cluster.remove(web)
    world.api.before = failing("patch", HPAS.kind, Invalid("min > max"), times=1)
    world.tick()
    assert world.events.reasons == ["ReleaseFailed"]
    assert world.restore() == {"HorizontalPodAutoscaler/web": 2}
    world.tick()
    assert world.api.calls == []
    world.tick(RETRY_AFTER)
    assert world.api.value(hpa_field()) == 2


def test_one_that_fails_does_not_stop_the_others(world: World, web: TargetKey) -> None:
    put_hpa(world.api, 2, "api")
    other = world.cluster.add(hpa_field("api"), name="api")
    world.apply(other, 5)
    world.cluster.remove(web)
    world.cluster.remove(other)
    world.api.before = failing("patch", HPAS.kind, Invalid("min > max"), times=1)
    world.tick()
    assert sorted((world.api.value(hpa_field()), world.api.value(hpa_field("api")))) == [2, 5]


def test_a_record_that_cannot_be_written_is_tried_again_later(world: World, web: TargetKey) -> None:
    world.cluster.remove(web)
    world.api.before = failing("patch", PREDICTIVE_SCALERS.kind, Invalid("no"), times=1)
    world.tick()
    world.tick()
    assert world.api.calls == []
    world.tick(RETRY_AFTER)
    assert world.restore() == {}


def test_an_api_server_that_is_away_ends_it_for_this_tick(world: World, web: TargetKey) -> None:
    put_hpa(world.api, 2, "api")
    other = world.cluster.add(hpa_field("api"), name="api")
    world.apply(other, 5)
    world.cluster.remove(web)
    world.cluster.remove(other)
    world.api.before = failing("get", HPAS.kind, Unreachable("refused"), times=1)
    world.tick()
    assert len(world.api.calls) == 1
    world.tick()
    assert (world.api.value(hpa_field()), world.api.value(hpa_field("api"))) == (2, 2)


def test_a_release_cut_short_before_the_record_ends_the_next_time(world: World, web: TargetKey) -> None:
    world.cluster.remove(web)
    world.api.before = failing("patch", PREDICTIVE_SCALERS.kind, Unreachable("refused"), times=1)
    world.tick()
    assert (world.api.value(hpa_field()), world.restore()) == (2, {"HorizontalPodAutoscaler/web": 2})
    world.tick()
    assert (world.api.value(hpa_field()), world.restore()) == (2, {})
    assert not [call for call in world.api.calls if call == "patch HorizontalPodAutoscaler/web"]


def test_off_and_on_again_still_knows_the_users_own_value(world: World, web: TargetKey) -> None:
    for _ in range(3):
        world.cluster.switch(web, Mode.SHADOW)
        world.tick()
        assert world.api.value(hpa_field()) == 2
        world.cluster.switch(web, Mode.ON)
        world.apply(web, 5)
        assert world.restore() == {"HorizontalPodAutoscaler/web": 2}


def test_a_floor_that_equals_the_users_own_value_is_still_the_users_afterwards(world: World, web: TargetKey) -> None:
    world.apply(web, 2)
    world.cluster.switch(web, Mode.SHADOW)
    world.tick()
    world.cluster.switch(web, Mode.ON)
    world.apply(web, 5)
    assert world.restore() == {"HorizontalPodAutoscaler/web": 2}


def test_deleting_the_scaler_that_opted_its_target_in_gives_back(world: World, web: TargetKey) -> None:
    world.tick()
    world.api.drop(PREDICTIVE_SCALERS, NAMESPACE, "web")
    world.cluster.remove(web)
    world.tick()
    assert world.api.value(hpa_field()) == 2
    world.tick()
    assert world.api.calls == []


def test_a_standby_remembers_what_it_may_have_to_give_back(world: World, web: TargetKey) -> None:
    world.leads = False
    world.tick()
    world.api.drop(PREDICTIVE_SCALERS, NAMESPACE, "web")
    world.cluster.remove(web)
    world.tick()
    assert world.api.value(hpa_field()) == 5
    world.leads = True
    world.tick()
    assert world.api.value(hpa_field()) == 2


def test_a_scaler_deleted_under_a_workload_in_mode_on_changes_nothing(world: World, web: TargetKey) -> None:
    world.tick()
    world.api.drop(PREDICTIVE_SCALERS, NAMESPACE, "web")
    world.tick()
    assert world.api.value(hpa_field()) == 5


class TestByRecordAlone:
    """What the command line and the chart's job do: no watches, no discovery."""

    def test_everything_goes_back(self, world: World, web: TargetKey) -> None:
        released = release(world.api, world.scaler())
        assert [(r.field_id, r.outcome, r.stands) for r in released] == [
            ("HorizontalPodAutoscaler/web", Outcome.RESTORED, 2)
        ]
        assert world.api.value(hpa_field()) == 2
        assert restore_record(world.scaler().meta.annotations)["HorizontalPodAutoscaler/web"].released

    def test_twice_is_once(self, world: World, web: TargetKey) -> None:
        release(world.api, world.scaler())
        world.api.calls.clear()
        assert release(world.api, world.scaler()) == ()
        assert world.api.calls == []

    def test_a_scaler_that_is_gone_with_its_workload_is_no_error(self, world: World, web: TargetKey) -> None:
        scaler = world.scaler()
        world.api.drop(PREDICTIVE_SCALERS, NAMESPACE, "web")
        assert release(world.api, scaler)[0].outcome is Outcome.RESTORED

    def test_a_record_that_changed_meanwhile_loses_only_what_was_given_back(self, world: World, web: TargetKey) -> None:
        stale = world.scaler()
        put_revision(world.api, "web-00001", 1)
        world.cluster.add(hpa_field(), revision_field("web-00001"))
        world.apply(web, 6)
        release(world.api, stale)
        assert world.restore() == {"Revision/web-00001": 1}

    def test_a_scaler_without_a_record_costs_nothing(self, world: World) -> None:
        body = {"metadata": {"name": "web", "namespace": NAMESPACE}, "spec": {}}
        world.api.put(PREDICTIVE_SCALERS, body)
        assert release(world.api, world.scaler()) == ()
        assert world.api.calls == []
