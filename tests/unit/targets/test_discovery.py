"""What a cluster opts in: who counts, within which bounds, what is made anew, and what one bad workload does."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.domain import Mode, TargetKey
from scaler.kube.objects import ObjectRef, ScalableObject
from scaler.targets.discovery import Discovery, DiscoveryConfig, scaler_name
from scaler.targets.view import ClusterFacts
from scaler.targets.workload import Discovered, LeverKind, Refusal, RefusalReason, Workload
from tests.unit.targets.cluster import (
    NAMESPACE,
    TableView,
    hpa,
    keda,
    ours,
    revision,
    scalable,
    scaler,
    service,
    serving,
)

T0 = datetime(2026, 1, 5, tzinfo=UTC)
WEB = TargetKey(NAMESPACE, "Deployment", "web")


def discovered(*items: dict[str, Any], peak: int | None = 4) -> Discovered:
    return Discovery(TableView().put(*items), peak_replicas=lambda _: peak).discover(T0)


def the_workload(*items: dict[str, Any]) -> Workload:
    result = discovered(*items)
    assert result.refusals == ()
    (workload,) = result.workloads.values()
    return workload


def the_refusal(*items: dict[str, Any]) -> Refusal:
    result = discovered(*items)
    assert result.workloads == {}
    (refusal,) = result.refusals
    return refusal


class TestOptIn:
    def test_a_workload_without_our_annotations_is_none_of_ours(self) -> None:
        assert discovered(scalable(annotations={"other/key": "x"})) == Discovered()

    def test_any_annotation_opts_in_to_shadow(self) -> None:
        assert the_workload(scalable(annotations=ours(max_replicas="9"))).target.mode is Mode.SHADOW

    def test_off_is_neither_a_workload_nor_a_refusal(self) -> None:
        assert discovered(scalable(annotations=ours(mode="off", min_replicas="nonsense"))) == Discovered()

    def test_a_predictive_scaler_by_hand_opts_in_without_any_annotation(self) -> None:
        workload = the_workload(scalable(), scaler("mine", "Deployment/web"))
        assert (workload.key, workload.target.mode, workload.scaler_name) == (WEB, Mode.SHADOW, "mine")

    def test_one_that_the_scaler_made_opts_nothing_in_by_itself(self) -> None:
        assert discovered(scalable(), scaler("deployment-web", "Deployment/web", by_scaler=True)) == Discovered()

    def test_one_that_the_scaler_made_opts_in_once_its_spec_says_something(self) -> None:
        told = scaler("deployment-web", "Deployment/web", by_scaler=True, mode="on")
        assert the_workload(scalable(), told).target.mode is Mode.ON

    def test_its_fields_override_the_annotations(self) -> None:
        annotated = scalable(annotations=ours(mode="shadow", min_replicas="2", max_replicas="9"))
        target = the_workload(annotated, scaler("mine", "Deployment/web", mode="on", maxReplicas=7)).target
        assert (target.mode, target.min_replicas, target.max_replicas) == (Mode.ON, 2, 7)

    def test_all_settings_reach_the_target(self) -> None:
        target = the_workload(
            scalable(
                annotations=ours(
                    mode="on",
                    min_replicas="2",
                    max_replicas="9",
                    target="100m",
                    lead_time="5m",
                    cost_ratio="19:1",
                    pause="true",
                    pause_scale_down="true",
                )
            )
        ).target
        assert (target.min_replicas, target.max_replicas, target.capacity) == (2, 9, 0.1)
        assert target.lead_time == timedelta(minutes=5)
        assert target.miss_budget_ratio == pytest.approx(0.05)
        assert target.paused
        assert target.scale_down_paused

    def test_settings_as_annotations_of_a_predictive_scaler_are_pointed_out(self) -> None:
        misplaced = scaler("mine", "Deployment/web")
        misplaced["metadata"]["annotations"] |= ours(mode="on")
        refusal = the_refusal(scalable(), misplaced)
        assert "ai-hpa.dev/mode has no effect on a PredictiveScaler; write spec.mode" in refusal.message

    def test_of_two_predictive_scalers_the_older_counts_and_the_other_is_refused(self) -> None:
        result = discovered(
            scalable(),
            scaler("late", "Deployment/web", created="2026-01-06T00:00:00Z"),
            scaler("early", "Deployment/web", created="2026-01-05T00:00:00Z"),
        )
        assert result.workloads[WEB].scaler_name == "early"
        (refusal,) = result.refusals
        assert (refusal.key.name, refusal.scaler_name, refusal.reason) == ("late", "late", RefusalReason.OTHER_OWNER)
        assert "older PredictiveScaler early" in refusal.message

    @pytest.mark.parametrize(
        ("restore", "counts"),
        [
            pytest.param(None, "mine", id="nothing-would-be-lost"),
            pytest.param('{"Deployment/web": 3}', "deployment-web", id="a-value-to-restore-would-be-lost"),
        ],
    )
    def test_one_by_hand_counts_before_an_older_one_of_the_scalers(self, restore: str | None, counts: str) -> None:
        made = scaler("deployment-web", "Deployment/web", by_scaler=True, restore=restore)
        by_hand = scaler("mine", "Deployment/web", created="2026-02-01T00:00:00Z")
        result = discovered(scalable(annotations=ours(mode="on")), made, by_hand)
        assert result.workloads[WEB].scaler_name == counts
        assert len(result.refusals) == (counts == "deployment-web")

    @pytest.mark.parametrize(
        ("target", "version"),
        [
            pytest.param("Deployment/web", None, id="deployment-without-a-version"),
            pytest.param("HorizontalPodAutoscaler/web", "autoscaling/v1", id="hpa-of-an-older-version"),
            pytest.param("ScaledObject/web", "keda.sh/v1alpha1", id="scaled-object"),
            pytest.param("InferenceService/web", None, id="service-without-a-version"),
            pytest.param("StatefulSet/web", "apps/v1", id="stateful-set"),
        ],
    )
    def test_a_target_that_is_not_there_is_refused(self, target: str, version: str | None) -> None:
        refusal = the_refusal(scaler("mine", target, version=version))
        assert refusal.reason is RefusalReason.NOT_FOUND
        assert refusal.scaler_name == "mine"

    def test_a_predictive_scaler_on_its_way_out_opts_nothing_in(self) -> None:
        leaving = scaler("mine", "Deployment/web")
        leaving["metadata"]["deletionTimestamp"] = "2026-01-05T00:00:00Z"
        assert discovered(scalable(), leaving) == Discovered()

    def test_a_workload_on_its_way_out_is_none(self) -> None:
        leaving = scalable(annotations=ours(mode="on"))
        leaving["metadata"]["deletionTimestamp"] = "2026-01-05T00:00:00Z"
        assert discovered(leaving) == Discovered()


class TestNames:
    def test_a_predictive_scaler_is_named_after_kind_and_name(self) -> None:
        assert scaler_name(ObjectRef("apps/v1", "Deployment", NAMESPACE, "web")) == "deployment-web"

    @given(st.text("a.-", min_size=1, max_size=253))
    def test_a_name_is_never_too_long_and_never_the_same_for_two(self, name: str) -> None:
        first = scaler_name(ObjectRef("apps/v1", "Deployment", NAMESPACE, name))
        assert len(first) <= 253
        assert first != scaler_name(ObjectRef("apps/v1", "Deployment", NAMESPACE, name + "a"))

    def test_a_long_name_ends_in_a_hash_after_a_whole_label(self) -> None:
        name = scaler_name(ObjectRef("apps/v1", "Deployment", NAMESPACE, "a" * 230 + "." * 20))
        assert len(name) <= 253
        assert ".-" not in name


class TestConflicts:
    def test_an_hpa_wins_over_its_deployment_and_the_refusal_says_so(self) -> None:
        result = discovered(scalable(annotations=ours(mode="on")), hpa(annotations=ours(mode="shadow")))
        assert [key.kind for key in result.workloads] == ["HorizontalPodAutoscaler"]
        (refusal,) = result.refusals
        assert (refusal.key, refusal.reason) == (WEB, RefusalReason.OTHER_OWNER)
        assert "HorizontalPodAutoscaler shop/web is opted in as well" in refusal.message

    def test_a_scaled_object_wins_over_its_deployment(self) -> None:
        result = discovered(scalable(annotations=ours(mode="on")), keda(annotations=ours(mode="on")))
        assert [key.kind for key in result.workloads] == ["ScaledObject"]

    def test_the_other_gets_the_floor_once_the_first_lets_go(self) -> None:
        view = TableView().put(scalable(annotations=ours(mode="on")), hpa(annotations=ours(mode="on")))
        discovery = Discovery(view)
        discovery.discover(T0)
        view.put(hpa())
        assert list(discovery.discover(T0).workloads) == [WEB]
        assert discovery.discover(T0).refusals == ()

    def test_no_floor_is_ever_given_to_two(self) -> None:
        kinds = [scalable(annotations=ours(mode="on")), hpa(annotations=ours(mode="on"))]
        by_hand = scaler("mine", "HorizontalPodAutoscaler/web", version="autoscaling/v2")
        result = discovered(*kinds, by_hand)
        fields = [(f.resource, f.namespace, f.name, f.path) for w in result.workloads.values() for f in w.lever.fields]
        assert len(fields) == len(set(fields)) == 1

    def test_the_components_of_a_service_do_not_stand_in_each_others_way(self) -> None:
        components = {"predictor": {"maxReplicas": 3}, "transformer": {"maxReplicas": 3}}
        result = discovered(
            service(annotations=ours(mode="on"), mode="Standard", components=components),
            scalable("llm-predictor", owner=("InferenceService", "llm")),
            scalable("llm-transformer", owner=("InferenceService", "llm")),
        )
        assert [key.name for key in result.workloads] == ["llm/predictor", "llm/transformer"]
        assert {w.scaler_name for w in result.workloads.values()} == {"inferenceservice-llm"}
        assert len({w.lever.fields[0].id for w in result.workloads.values()}) == 2


class TestBounds:
    def test_our_own_floor_is_never_taken_for_the_users_minimum(self) -> None:
        raised = hpa(annotations=ours(mode="on"), minimum=7)
        record = json.dumps({"HorizontalPodAutoscaler/web": 2})
        kept = scaler("horizontalpodautoscaler-web", "HorizontalPodAutoscaler/web", by_scaler=True, restore=record)
        assert the_workload(scalable(), raised, kept).target.min_replicas == 2

    def test_where_nothing_stood_before_our_floor_the_objects_default_counts(self) -> None:
        raised = hpa(annotations=ours(mode="on"), minimum=7)
        record = json.dumps({"HorizontalPodAutoscaler/web": None})
        kept = scaler("horizontalpodautoscaler-web", "HorizontalPodAutoscaler/web", by_scaler=True, restore=record)
        assert the_workload(scalable(), raised, kept).target.min_replicas == 1

    def test_an_unreadable_record_is_refused_rather_than_guessed(self) -> None:
        refusal = the_refusal(scalable(annotations=ours(mode="on")), scaler("mine", "Deployment/web", restore="{"))
        assert "ai-hpa.dev/restore" in refusal.message

    def test_the_hpas_own_maximum_counts_above_a_larger_one(self) -> None:
        workload = the_workload(scalable(), hpa(annotations=ours(max_replicas="50"), maximum=10))
        assert workload.target.max_replicas == 10
        assert "ai-hpa.dev/max-replicas is 50, but HorizontalPodAutoscaler shop/web allows 10" in workload.notes[0]

    def test_an_hpa_takes_no_floor_of_0(self) -> None:
        workload = the_workload(scalable(), hpa(annotations=ours(min_replicas="0")))
        assert workload.target.min_replicas == 1
        assert "takes no less than 1" in workload.notes[0]

    def test_an_hpa_that_stood_at_0_may_go_back_there(self) -> None:
        assert the_workload(scalable(), hpa(annotations=ours(mode="on"), minimum=0)).target.min_replicas == 0

    def test_what_stood_before_is_never_too_low_for_an_autoscaler(self) -> None:
        workload = the_workload(scalable(), hpa(annotations=ours(min_replicas="0"), minimum=0))
        assert (workload.target.min_replicas, workload.notes) == (0, ())

    def test_a_canarys_own_minimum_is_not_the_services(self) -> None:
        workload = the_workload(
            service(annotations=ours(mode="on"), status={"predictor": serving("llm-2", r1=90, r2=10)}),
            revision("llm-1", minimum=1),
            revision("llm-2", minimum=4),
        )
        assert workload.target.min_replicas == 1

    @pytest.mark.parametrize(
        ("annotations", "words"),
        [
            pytest.param({"min_replicas": "11"}, "ai-hpa.dev/min-replicas: 11 is above 10", id="minimum"),
            pytest.param({"max_replicas": "1"}, "ai-hpa.dev/max-replicas: 1 is below 2", id="maximum"),
        ],
    )
    def test_bounds_that_no_floor_can_keep_are_refused(self, annotations: dict[str, str], words: str) -> None:
        refusal = the_refusal(scalable(), hpa(annotations=ours(**annotations)))
        assert refusal.reason is RefusalReason.INVALID_SETTING
        assert words in refusal.message

    def test_without_a_maximum_three_times_the_peak_is_assumed_and_said(self) -> None:
        workload = the_workload(scalable(annotations=ours(mode="on")))
        assert workload.target.max_replicas == 12
        assert any("No maximum is set; 12 is assumed" in note for note in workload.notes)

    def test_the_replicas_that_stand_count_where_they_are_more_than_the_peak(self) -> None:
        result = discovered(scalable(annotations=ours(mode="on"), replicas=6), peak=None)
        assert result.workloads[WEB].target.max_replicas == 18

    def test_an_assumed_maximum_does_not_climb_with_the_floor_that_it_allows(self) -> None:
        annotations = ours(min_replicas="1")
        view = TableView().put(scalable(annotations=annotations, replicas=2))
        peak = [2]
        discovery = Discovery(view, peak_replicas=lambda _: peak[0])
        for replicas in (2, 6, 18):
            peak[0] = replicas
            view.put(scalable(annotations=annotations, replicas=replicas))
            assert discovery.discover(T0).workloads[WEB].target.max_replicas == 6
        assert discovery.discover(T0 + timedelta(days=1)).workloads[WEB].target.max_replicas == 54

    def test_an_assumed_maximum_is_made_anew_as_soon_as_there_is_a_history(self) -> None:
        view = TableView().put(scalable(annotations=ours(mode="on"), replicas=2))
        peak: list[int | None] = [None]
        discovery = Discovery(view, peak_replicas=lambda _: peak[0])
        assert discovery.discover(T0).workloads[WEB].target.max_replicas == 6
        peak[0] = 8
        assert discovery.discover(T0).workloads[WEB].target.max_replicas == 24

    def test_an_assumed_maximum_goes_with_its_workload(self) -> None:
        view = TableView().put(scalable(annotations=ours(mode="on"), replicas=2))
        discovery = Discovery(view)
        discovery.discover(T0)
        view.drop("Deployment", "web")
        discovery.discover(T0)
        view.put(scalable(annotations=ours(mode="on"), replicas=5))
        assert discovery.discover(T0).workloads[WEB].target.max_replicas == 15

    def test_a_cluster_that_assumes_no_maximum_refuses(self) -> None:
        view = TableView().put(scalable(annotations=ours(mode="on")))
        config = DiscoveryConfig(assumed_maximum_ratio=None)
        (refusal,) = Discovery(view, config=config).discover(T0).refusals
        assert refusal.reason is RefusalReason.NO_MAXIMUM
        assert "set ai-hpa.dev/max-replicas" in refusal.message

    def test_a_deployment_that_somebody_set_to_0_is_held(self) -> None:
        workload = the_workload(scalable(annotations=ours(mode="on", min_replicas="2"), replicas=0))
        assert workload.target.paused
        assert any("set to 0 by hand" in note for note in workload.notes)

    def test_a_deployment_that_may_go_to_0_is_not_held_there(self) -> None:
        workload = the_workload(scalable(annotations=ours(mode="on", min_replicas="0"), replicas=0))
        assert not workload.target.paused

    def test_a_share_of_a_floor_leaves_a_canary_its_own_minimum(self) -> None:
        workload = the_workload(
            service(annotations=ours(mode="on"), status={"predictor": serving("llm-2", r1=90, r2=10)}),
            revision("llm-1", minimum=2, maximum=20),
            revision("llm-2", minimum=2, maximum=20),
        )
        first, canary = workload.lever.fields
        assert (first.name, first.value_for(10), canary.value_for(10)) == ("llm-1", 9, 2)


class TestNotes:
    @pytest.mark.parametrize(
        ("kept", "warned"),
        [
            pytest.param(frozenset(), True, id="copied"),
            pytest.param(frozenset({"ai-hpa.dev/mode"}), False, id="kept-from-pods"),
        ],
    )
    def test_annotations_that_kserve_copies_into_pods_are_pointed_out(self, kept: frozenset[str], warned: bool) -> None:
        view = TableView(ClusterFacts((1, 21), "Knative", kept_from_pods=kept)).put(
            service(annotations=ours(mode="on"), status={"predictor": serving("llm-1")}), revision("llm-1")
        )
        (workload,) = Discovery(view).discover(T0).workloads.values()
        assert any("serviceAnnotationDisallowedList" in note for note in workload.notes) is warned

    def test_a_predictive_scaler_needs_no_such_word(self) -> None:
        workload = the_workload(
            service(status={"predictor": serving("llm-1")}),
            revision("llm-1"),
            scaler("llm", "InferenceService/llm", version="serving.kserve.io/v1beta1"),
        )
        assert not any("serviceAnnotationDisallowedList" in note for note in workload.notes)

    def test_copies_of_a_services_annotations_are_passed_over_in_silence(self) -> None:
        result = discovered(
            service(annotations=ours(mode="on"), mode="Standard", components={"predictor": {"maxReplicas": 3}}),
            scalable("llm-predictor", ours(mode="on"), owner=("InferenceService", "llm")),
            hpa("llm-predictor", ours(mode="on"), target="Deployment/llm-predictor", owner=("InferenceService", "llm")),
        )
        assert [key.name for key in result.workloads] == ["llm/predictor"]
        assert result.refusals == ()

    def test_the_copies_that_keda_makes_on_its_hpa_are_passed_over_too(self) -> None:
        result = discovered(
            scalable("web"),
            keda(annotations=ours(mode="on")),
            hpa("keda-hpa-web", ours(mode="on"), owner=("ScaledObject", "web")),
        )
        assert [key.kind for key in result.workloads] == ["ScaledObject"]
        assert result.refusals == ()


class TestOneBadWorkload:
    def test_nonsense_on_one_leaves_the_others_alone(self) -> None:
        result = discovered(
            scalable("good", ours(mode="on")), scalable("bad", ours(mode="onn", target="lots", min_replica="1"))
        )
        assert [key.name for key in result.workloads] == ["good"]
        (refusal,) = result.refusals
        assert (refusal.key.name, refusal.reason) == ("bad", RefusalReason.INVALID_SETTING)
        for word in ("ai-hpa.dev/mode", "'onn'", "ai-hpa.dev/target", "'lots'", "ai-hpa.dev/min-replica:"):
            assert word in refusal.message

    def test_what_is_wrong_with_bounds_and_capacity_is_said_in_one(self) -> None:
        refusal = the_refusal(scalable(annotations=ours(min_replicas="50", max_replicas="60"), resources={}), hpa())
        assert "ai-hpa.dev/min-replicas: 50 is above 10" in refusal.message
        assert "nothing says what one pod carries" in refusal.message

    def test_a_bug_refuses_that_one_alone_and_is_logged_once(self, caplog: pytest.LogCaptureFixture) -> None:
        class Broken(TableView):
            def scalable(self, kind: str, namespace: str, name: str) -> ScalableObject | None:
                if name == "bad":
                    raise KeyError(name)
                return super().scalable(kind, namespace, name)

        discovery = Discovery(Broken().put(scalable("good", ours(mode="on")), scalable("bad", ours(mode="on"))))
        with caplog.at_level(logging.ERROR):
            results = [discovery.discover(T0) for _ in range(3)]
        assert [key.name for key in results[0].workloads] == ["good"]
        assert results[0].refusals[0].reason is RefusalReason.INTERNAL
        assert results[2] is results[0]
        (record,) = caplog.records
        assert record.exc_info is not None


class TestSpeed:
    def test_what_has_not_changed_is_the_very_same_value(self) -> None:
        view = TableView().put(scalable(annotations=ours(mode="on")), scalable("other", ours(mode="on")))
        discovery = Discovery(view)
        before = discovery.discover(T0)
        assert discovery.discover(T0 + timedelta(seconds=15)) is before

    def test_a_change_makes_that_one_workload_anew(self) -> None:
        view = TableView().put(scalable(annotations=ours(mode="on")), scalable("other", ours(mode="on")))
        discovery = Discovery(view)
        before = discovery.discover(T0).workloads
        view.put(scalable(annotations=ours(mode="on"), replicas=5))
        after = discovery.discover(T0).workloads
        other = TargetKey(NAMESPACE, "Deployment", "other")
        assert after[other] is before[other]
        assert (before[WEB].current_replicas, after[WEB].current_replicas) == (3, 5)

    def test_what_we_write_into_a_status_makes_nothing_anew(self) -> None:
        view = TableView().put(scalable(annotations=ours(mode="on")), scaler("mine", "Deployment/web"))
        discovery = Discovery(view)
        before = discovery.discover(T0)
        view.put({**scaler("mine", "Deployment/web"), "status": {"mode": "on"}})
        assert discovery.discover(T0) is before

    def test_what_is_written_into_a_scaler_beside_its_status_makes_it_anew(self) -> None:
        view = TableView().put(scalable(annotations=ours(mode="on")), scaler("mine", "Deployment/web"))
        discovery = Discovery(view)
        assert discovery.discover(T0).workloads[WEB].target.max_replicas != 7
        view.put(scaler("mine", "Deployment/web", maxReplicas=7))
        assert discovery.discover(T0).workloads[WEB].target.max_replicas == 7
        view.put(scaler("mine", "Deployment/web", maxReplicas=7, restore="[]"))
        (refusal,) = discovery.discover(T0).refusals
        assert "ai-hpa.dev/restore" in refusal.message

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(hpa(), id="an-hpa-appears"),
            pytest.param(keda(), id="a-scaled-object-appears"),
            pytest.param(scaler("mine", "Deployment/web", mode="on"), id="a-predictive-scaler-appears"),
        ],
    )
    def test_whatever_a_workload_is_made_from_makes_it_anew(self, change: dict[str, Any]) -> None:
        view = TableView().put(scalable(annotations=ours(max_replicas="5")))
        discovery = Discovery(view)
        before = discovery.discover(T0)
        view.put(change)
        after = discovery.discover(T0)
        assert after.workloads[WEB] != before.workloads[WEB]

    def test_facts_of_the_cluster_make_it_anew(self) -> None:
        view = TableView().put(
            service(annotations=ours(mode="on"), status={"predictor": serving("llm-1")}), revision("llm-1")
        )
        discovery = Discovery(view)
        (before,) = discovery.discover(T0).workloads.values()
        view.facts = ClusterFacts((1, 21), "Knative", request_metrics=True)
        (after,) = discovery.discover(T0).workloads.values()
        assert (before.metric, after.metric) == ("cpu", "concurrency")

    def test_a_workload_that_is_gone_is_forgotten(self) -> None:
        view = TableView().put(scalable(annotations=ours(mode="on")))
        discovery = Discovery(view)
        discovery.discover(T0)
        view.drop("Deployment", "web")
        assert discovery.discover(T0) == Discovered()

    def test_the_questions_of_an_unchanged_workload_are_few(self) -> None:
        view = TableView().put(*(scalable(f"web-{i}", ours(mode="on")) for i in range(50)))
        discovery = Discovery(view)
        discovery.discover(T0)
        view.questions = 0
        discovery.discover(T0)
        assert view.questions < 50 * 10


def test_workloads_come_in_the_order_of_their_keys() -> None:
    result = discovered(*(scalable(name, ours(mode="on")) for name in ("c", "a", "b")))
    assert [key.name for key in result.workloads] == ["a", "b", "c"]


def test_a_reference_to_foreign_kinds_keeps_its_group() -> None:
    refusal = the_refusal(scaler("mine", "Rollout/web", version="argoproj.io/v1alpha1"))
    assert refusal.reference == ObjectRef("argoproj.io/v1alpha1", "Rollout", NAMESPACE, "web")


def test_a_deployments_lever_is_its_own_scale() -> None:
    assert the_workload(scalable(annotations=ours(mode="on"))).lever.kind is LeverKind.SCALE
