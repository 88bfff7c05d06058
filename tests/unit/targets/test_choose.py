"""Which lever moves which workload, and who is named where none is moved; the table of docs/levers.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scaler.domain import TargetKey
from scaler.kube.objects import Amounts, ObjectRef
from scaler.kube.resources import Resource
from scaler.targets.discovery import Discovery
from scaler.targets.view import ClusterFacts, ForeignScale
from scaler.targets.workload import FloorField, LeverKind, Refusal, RefusalReason, Workload
from tests.unit.targets.cluster import (
    NAMESPACE,
    TableView,
    external_metric,
    hpa,
    keda,
    meta,
    ours,
    revision,
    scalable,
    scaler,
    service,
    serving,
    vpa,
)
from tests.unit.targets.test_discovery import T0

ON = ours(mode="on", max_replicas="9")
MIN_SCALE = ("metadata", "annotations", "autoscaling.knative.dev/min-scale")
ROLLOUT = ObjectRef("argoproj.io/v1alpha1", "Rollout", NAMESPACE, "web")
PAGE = Path(__file__).parents[3] / "docs" / "levers.md"
STANDARD = {"serving.kserve.io/deploymentMode": "Standard"}


def discover(*items: dict[str, Any], view: TableView | None = None) -> tuple[list[Workload], list[Refusal]]:
    found = Discovery((view or TableView()).put(*items)).discover(T0)
    return list(found.workloads.values()), list(found.refusals)


def workload(*items: dict[str, Any], view: TableView | None = None) -> Workload:
    workloads, refusals = discover(*items, view=view)
    assert refusals == []
    (only,) = workloads
    return only


def refusal(*items: dict[str, Any], view: TableView | None = None) -> Refusal:
    workloads, refusals = discover(*items, view=view)
    assert workloads == []
    (only,) = refusals
    return only


def only_field(found: Workload) -> FloorField:
    (field,) = found.lever.fields
    return field


def standard(klass: str | None, **component: Any) -> dict[str, Any]:
    annotations = ON | STANDARD | ({"serving.kserve.io/autoscalerClass": klass} if klass else {})
    return service(annotations=annotations, mode="Standard", components={"predictor": {"maxReplicas": 5, **component}})


def its_deployment(**kwargs: Any) -> dict[str, Any]:
    return scalable("llm-predictor", owner=("InferenceService", "llm"), **kwargs)


def its_hpa() -> dict[str, Any]:
    return hpa("llm-predictor", target="Deployment/llm-predictor", owner=("InferenceService", "llm"))


@pytest.mark.parametrize("reason", list(RefusalReason))
def test_the_page_says_what_each_refusal_means(reason: RefusalReason) -> None:
    assert f"| `{reason}` |" in PAGE.read_text(encoding="utf-8")


class TestKnative:
    def test_the_floor_stands_on_the_ready_revision(self) -> None:
        found = workload(service(annotations=ON, status={"predictor": serving("llm-1")}), revision("llm-1"))
        field = only_field(found)
        assert found.lever.kind is LeverKind.REVISION
        assert found.key == TargetKey(NAMESPACE, "InferenceService", "llm/predictor")
        assert (field.id, field.path, field.text) == ("Revision/llm-1", MIN_SCALE, True)
        assert (field.value, field.maximum, field.unset_means) == (1, 5, 0)
        assert found.target.max_replicas == 5
        assert not found.target.only_scaler

    def test_a_newer_revision_gets_the_whole_floor_before_it_has_traffic(self) -> None:
        found = workload(
            service(annotations=ON, status={"predictor": serving("llm-1", "llm-2")}),
            revision("llm-1", replicas=3),
            revision("llm-2", replicas=2, active=False),
        )
        assert [(f.name, f.share) for f in found.lever.fields] == [("llm-1", 1.0), ("llm-2", 1.0)]
        assert found.rolling_out
        assert found.current_replicas == 5

    def test_a_ready_revision_gets_its_floor_while_traffic_is_still_on_the_one_before(self) -> None:
        found = workload(
            service(annotations=ON, status={"predictor": serving("llm-2", "llm-3", r1=100)}),
            revision("llm-1"),
            revision("llm-2", active=False),
            revision("llm-3", active=False),
        )
        assert [f.name for f in found.lever.fields] == ["llm-1", "llm-2", "llm-3"]

    def test_the_first_field_is_always_one_with_traffic(self) -> None:
        found = workload(
            service(annotations=ON, status={"predictor": serving("llm-2", "llm-3", r1=90, r2=10)}),
            revision("llm-1"),
            revision("llm-2"),
            revision("llm-3", active=False),
        )
        assert [(f.name, f.share) for f in found.lever.fields] == [("llm-1", 0.9), ("llm-2", 0.1), ("llm-3", 1.0)]

    def test_a_canary_gets_its_share_rounded_up(self) -> None:
        found = workload(
            service(annotations=ON, status={"predictor": serving("llm-2", r1=90, r2=10)}),
            revision("llm-1", maximum=20, minimum=0),
            revision("llm-2", maximum=20, minimum=0),
        )
        assert [(f.name, f.value_for(11)) for f in found.lever.fields] == [("llm-1", 10), ("llm-2", 2)]
        assert not found.rolling_out

    def test_a_canary_that_comes_gets_the_share_that_it_will_have(self) -> None:
        components = {"predictor": {"canaryTrafficPercent": 10}}
        found = workload(
            service(annotations=ON, components=components, status={"predictor": serving("llm-1", "llm-2")}),
            revision("llm-1"),
            revision("llm-2", active=False),
        )
        assert [(f.name, f.share) for f in found.lever.fields] == [("llm-1", 1.0), ("llm-2", 0.1)]

    def test_a_canary_of_no_traffic_gets_no_floor(self) -> None:
        components = {"predictor": {"canaryTrafficPercent": 0}}
        found = workload(
            service(annotations=ON, components=components, status={"predictor": serving("llm-2", r1=100)}),
            revision("llm-1"),
            revision("llm-2", active=False),
        )
        assert only_field(found).name == "llm-1"

    def test_traffic_of_one_revision_under_two_tags_is_added_up(self) -> None:
        found = workload(
            service(
                annotations=ON,
                status={
                    "predictor": serving("llm-1")
                    | {"traffic": [{"revisionName": "llm-1", "percent": percent} for percent in (60, 40)]}
                },
            ),
            revision("llm-1"),
        )
        assert only_field(found).share == 1.0

    def test_a_floor_is_clamped_to_the_revisions_own_maximum(self) -> None:
        found = workload(service(annotations=ON, status={"predictor": serving("llm-1")}), revision("llm-1", maximum=3))
        assert only_field(found).value_for(9) == 3

    def test_a_maximum_of_0_is_none(self) -> None:
        found = workload(service(annotations=ON, status={"predictor": serving("llm-1")}), revision("llm-1", maximum=0))
        assert only_field(found).maximum is None
        assert found.target.max_replicas == 9

    def test_a_retired_revision_that_still_has_an_earlier_value_is_given_it_back(self) -> None:
        found = workload(
            service(annotations=ON, status={"predictor": serving("llm-3")}),
            revision("llm-1", minimum=4, replicas=0, active=False),
            revision("llm-2", minimum=4, replicas=0, active=False),
            revision("llm-3"),
            scaler("x", "InferenceService/llm", by_scaler=True, restore='{"Revision/llm-1": 1, "Revision/llm-3": 0}'),
        )
        assert [f.id for f in found.lever.retired] == ["Revision/llm-1"]
        assert only_field(found).name == "llm-3"
        assert found.target.min_replicas == 0
        assert not found.rolling_out

    def test_pods_of_a_retired_revision_are_a_rollout(self) -> None:
        found = workload(
            service(annotations=ON, status={"predictor": serving("llm-2")}),
            revision("llm-1", replicas=2, active=False),
            revision("llm-2"),
        )
        assert found.rolling_out
        assert found.current_replicas == 1

    def test_replicas_are_those_of_the_revisions_deployment_where_it_is_seen(self) -> None:
        found = workload(
            service(annotations=ON, status={"predictor": serving("llm-1")}),
            revision("llm-1", replicas=1),
            scalable("llm-1-deployment", replicas=4, owner=("Revision", "llm-1")),
        )
        assert (found.current_replicas, found.ready_replicas) == (4, 4)

    def test_its_pods_are_those_of_all_its_revisions(self) -> None:
        pods = workload(service(annotations=ON, status={"predictor": serving("llm-1")}), revision("llm-1")).pods
        assert (pods.labels, pods.owners) == ({"serving.knative.dev/configuration": "llm"}, ())
        assert (pods.history_kind, pods.history_name) == ("Revision", "llm")

    def test_each_component_is_a_workload_of_its_own(self) -> None:
        components: dict[str, dict[str, Any]] = {"predictor": {}, "transformer": {}}
        workloads, refusals = discover(
            service(annotations=ON, components=components, status={"predictor": serving("llm-predictor-1")}),
            revision("llm-predictor-1"),
        )
        assert [w.key.name for w in workloads] == ["llm/predictor"]
        assert [r.key.name for r in refusals] == ["llm/transformer"]
        assert refusals[0].reason is RefusalReason.NOT_FOUND
        assert "has made no Revision yet" in refusals[0].message

    def test_before_1_21_the_floor_stands_on_the_pod_autoscaler(self) -> None:
        old = TableView(ClusterFacts((1, 20), "Knative"))
        pod_autoscaler: dict[str, Any] = {"kind": "PodAutoscaler", "metadata": meta("llm-1", {MIN_SCALE[-1]: "3"})}
        items = (service(annotations=ON, status={"predictor": serving("llm-1")}), revision("llm-1"), pod_autoscaler)
        found = workload(*items, view=old)
        field = only_field(found)
        assert found.lever.kind is LeverKind.POD_AUTOSCALER
        assert (field.id, field.path, field.value, field.maximum) == ("PodAutoscaler/llm-1", MIN_SCALE, 3, 5)
        assert field.resource_version == pod_autoscaler["metadata"]["resourceVersion"]

    def test_a_pod_autoscaler_that_is_not_seen_is_refused(self) -> None:
        old = TableView(ClusterFacts((1, 20), "Knative"))
        found = refusal(service(annotations=ON, status={"predictor": serving("llm-1")}), revision("llm-1"), view=old)
        assert "PodAutoscaler shop/llm-1 is not seen" in found.message

    def test_a_knative_that_does_not_say_its_version_is_taken_for_a_newer_one_and_said(self) -> None:
        silent = TableView(ClusterFacts(None, "Knative"))
        found = workload(
            service(annotations=ON, status={"predictor": serving("llm-1")}), revision("llm-1"), view=silent
        )
        assert found.lever.kind is LeverKind.REVISION
        assert any("does not say its version" in note for note in found.notes)


class TestStandard:
    @pytest.mark.parametrize("klass", [None, "hpa", "kpa.autoscaling.knative.dev"])
    def test_class_hpa_is_moved_through_the_service(self, klass: str | None) -> None:
        found = workload(standard(klass, minReplicas=2), its_deployment(replicas=4), its_hpa())
        field = only_field(found)
        assert found.lever.kind is LeverKind.INFERENCE_SERVICE
        assert (field.id, field.path) == ("InferenceService/llm/predictor", ("spec", "predictor", "minReplicas"))
        assert (field.value, field.maximum, field.unset_means) == (2, 5, 1)
        assert (found.current_replicas, found.ready_replicas) == (4, 4)
        assert (found.pods.history_kind, found.pods.history_name) == ("Deployment", "llm-predictor")
        assert not found.target.only_scaler

    def test_class_hpa_takes_no_floor_of_0(self) -> None:
        no_floor = standard("hpa", minReplicas=2)
        no_floor["metadata"]["annotations"] |= ours(min_replicas="0")
        assert workload(no_floor, its_deployment(), its_hpa()).target.min_replicas == 1

    def test_class_keda_is_moved_through_the_service(self) -> None:
        made = keda("llm-predictor", target="llm-predictor", owner=("InferenceService", "llm"), triggers=["memory"])
        hand = hpa("keda-hpa-llm-predictor", target="Deployment/llm-predictor", owner=("ScaledObject", "llm-predictor"))
        found = workload(standard("keda", minReplicas=0), its_deployment(), made, hand)
        assert found.lever.kind is LeverKind.INFERENCE_SERVICE
        assert (found.metric, found.target.min_replicas) == ("memory", 0)

    def test_class_keda_without_its_scaled_object_waits(self) -> None:
        assert "is KEDA installed?" in refusal(standard("keda"), its_deployment()).message

    def test_class_keda_on_hold_is_refused(self) -> None:
        made = keda(
            "llm-predictor",
            {"autoscaling.keda.sh/paused-replicas": "2"},
            target="llm-predictor",
            owner=("InferenceService", "llm"),
        )
        found = refusal(standard("keda"), its_deployment(), made)
        assert found.reason is RefusalReason.OTHER_OWNER
        assert "is paused" in found.message

    def test_class_none_has_us_for_its_only_scaler(self) -> None:
        found = workload(standard("none", minReplicas=2), its_deployment())
        assert found.lever.kind is LeverKind.INFERENCE_SERVICE
        assert found.target.only_scaler

    def test_class_external_is_moved_through_its_deployment(self) -> None:
        found = workload(standard("external"), its_deployment())
        field = only_field(found)
        assert found.lever.kind is LeverKind.SCALE
        assert (field.id, field.subresource) == ("Deployment/llm-predictor", "scale")
        assert found.key.name == "llm/predictor"
        assert found.target.only_scaler

    def test_class_external_with_an_hpa_of_the_users_is_moved_through_that(self) -> None:
        found = workload(standard("external"), its_deployment(), hpa(target="Deployment/llm-predictor"))
        assert only_field(found).id == "HorizontalPodAutoscaler/web"

    @pytest.mark.parametrize("klass", ["hpa", "keda"])
    def test_without_a_maximum_a_floor_would_take_the_headroom_and_is_refused(self, klass: str) -> None:
        found = refusal(standard(klass, maxReplicas=0), its_deployment(), its_hpa())
        assert found.reason is RefusalReason.NO_MAXIMUM
        assert "set spec.predictor.maxReplicas" in found.message

    def test_an_hpa_of_the_users_beside_kserve_is_refused(self) -> None:
        found = refusal(standard("hpa"), its_deployment(), its_hpa(), hpa(target="Deployment/llm-predictor"))
        assert found.reason is RefusalReason.OTHER_OWNER
        assert "HorizontalPodAutoscaler shop/web scales Deployment shop/llm-predictor" in found.message

    def test_an_unknown_class_is_refused(self) -> None:
        found = refusal(standard("magic"), its_deployment())
        assert "serving.kserve.io/autoscalerClass is 'magic'; accepted is hpa, keda, none, external" in found.message

    def test_a_service_without_its_deployment_waits(self) -> None:
        assert refusal(standard("hpa")).reason is RefusalReason.NOT_FOUND

    def test_a_deployment_of_somebody_elses_under_its_name_is_not_its_own(self) -> None:
        assert refusal(standard("hpa"), scalable("llm-predictor")).reason is RefusalReason.NOT_FOUND

    def test_a_deployment_named_as_older_versions_do_is_found(self) -> None:
        made = scalable("llm-predictor-default", owner=("InferenceService", "llm"))
        assert workload(standard("hpa"), made).pods.history_name == "llm-predictor-default"

    def test_the_clusters_default_mode_counts_where_a_service_names_none(self) -> None:
        view = TableView(ClusterFacts(None, "Standard"))
        silent = service(annotations=ON, mode=None, components={"predictor": {"maxReplicas": 5}})
        assert workload(silent, its_deployment(), view=view).lever.kind is LeverKind.INFERENCE_SERVICE

    def test_a_service_of_no_known_mode_waits(self) -> None:
        found = refusal(service(annotations=ON, mode=None), view=TableView(ClusterFacts()))
        assert found.reason is RefusalReason.NOT_FOUND


class TestPlainKubernetes:
    def test_an_hpa_is_moved_by_its_minimum(self) -> None:
        found = workload(scalable(replicas=4), hpa(annotations=ON, minimum=None, maximum=10))
        field = only_field(found)
        assert found.lever.kind is LeverKind.HPA
        assert (field.path, field.value, field.standing, field.maximum) == (("spec", "minReplicas"), None, 1, 10)
        assert (found.current_replicas, found.target.min_replicas) == (4, 1)
        assert found.pods.owners == ("Deployment/web",)

    def test_a_scaled_object_is_moved_by_its_minimum(self) -> None:
        found = workload(scalable(), keda(annotations=ON, minimum=None, maximum=None))
        field = only_field(found)
        assert found.lever.kind is LeverKind.SCALED_OBJECT
        assert (field.path, field.value, field.standing) == (("spec", "minReplicaCount"), None, 0)
        assert field.maximum == 100

    @pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
    def test_what_nobody_scales_is_moved_by_its_replicas(self, kind: str) -> None:
        found = workload(scalable(kind=kind, annotations=ON))
        field = only_field(found)
        assert found.lever.kind is LeverKind.SCALE
        assert (field.path, field.subresource, field.value) == (("spec", "replicas"), "scale", 3)
        assert found.target.only_scaler
        assert found.target.ordered_start is (kind == "StatefulSet")

    @pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
    def test_an_hpa_on_it_is_moved_in_its_place(self, kind: str) -> None:
        found = workload(scalable(kind=kind, annotations=ON), hpa(target=f"{kind}/web"))
        assert found.lever.kind is LeverKind.HPA
        assert found.key.kind == kind
        assert not found.target.only_scaler

    def test_a_scaled_object_on_it_is_moved_in_its_place_and_never_kedas_hpa(self) -> None:
        hand = hpa("any-name", owner=("ScaledObject", "web"))
        assert only_field(workload(scalable(annotations=ON), keda(), hand)).id == "ScaledObject/web"

    def test_kedas_hpa_is_known_by_its_name_where_it_names_no_owner(self) -> None:
        assert only_field(workload(scalable(annotations=ON), keda(), hpa("keda-hpa-web"))).id == "ScaledObject/web"

    def test_an_hpa_on_another_kind_of_the_same_name_is_nothing_to_it(self) -> None:
        assert workload(scalable(annotations=ON), hpa(target="StatefulSet/web")).lever.kind is LeverKind.SCALE

    @pytest.mark.parametrize(
        ("others", "names"),
        [
            pytest.param([hpa(), hpa("second")], "HorizontalPodAutoscaler shop/second and Hor", id="two-hpas"),
            pytest.param([hpa(), keda("queue")], "ScaledObject shop/queue", id="hpa-and-scaled-object"),
        ],
    )
    def test_two_autoscalers_on_one_target_are_refused_by_name(self, others: list[dict[str, Any]], names: str) -> None:
        found = refusal(scalable(annotations=ON), *others)
        assert found.reason is RefusalReason.OTHER_OWNER
        assert names in found.message

    def test_an_annotated_hpa_beside_another_is_refused(self) -> None:
        assert "both scale Deployment shop/web" in refusal(scalable(), hpa(annotations=ON), hpa("second")).message

    @pytest.mark.parametrize(
        ("owner", "instead"),
        [
            pytest.param(("InferenceService", "llm"), "annotate the InferenceService", id="kserve"),
            pytest.param(("ScaledObject", "web"), "annotate the ScaledObject", id="keda"),
        ],
    )
    def test_an_hpa_that_another_controller_rewrites_is_refused(self, owner: tuple[str, str], instead: str) -> None:
        found = refusal(scalable(), hpa(annotations=ON, owner=owner))
        assert found.reason is RefusalReason.OTHER_OWNER
        assert f"is made by {owner[0]} shop/{owner[1]}" in found.message
        assert instead in found.message

    def test_a_scaled_object_of_kserves_is_refused(self) -> None:
        assert "annotate the InferenceService" in refusal(keda(annotations=ON, owner=("InferenceService", "a"))).message

    @pytest.mark.parametrize("owner", [("InferenceService", "llm"), ("Revision", "llm-1")])
    def test_a_deployment_of_kserves_or_knatives_is_refused(self, owner: tuple[str, str]) -> None:
        found = refusal(scalable(annotations=ON, owner=owner))
        assert found.reason is RefusalReason.OTHER_OWNER
        assert "annotate the InferenceService instead" in found.message

    def test_an_hpa_on_a_deployment_that_kserve_scales_is_refused(self) -> None:
        plain = standard("hpa")
        plain["metadata"]["annotations"] = STANDARD
        found = refusal(plain, its_deployment(), hpa(annotations=ON, target="Deployment/llm-predictor"))
        assert "whose replicas InferenceService shop/llm writes as well" in found.message

    def test_a_deployment_of_an_operators_is_moved_and_said(self) -> None:
        found = workload(scalable(annotations=ON, owner=("Database", "main")))
        assert any("It is made by Database shop/main" in note for note in found.notes)

    def test_an_hpa_on_a_deployment_of_an_operators_is_moved(self) -> None:
        assert workload(scalable(owner=("Database", "main")), hpa(annotations=ON)).lever.kind is LeverKind.HPA

    def test_a_paused_scaled_object_is_refused(self) -> None:
        found = refusal(scalable(), keda(annotations=ON | {"autoscaling.keda.sh/paused": "true"}))
        assert found.reason is RefusalReason.OTHER_OWNER
        assert "is paused" in found.message

    @pytest.mark.parametrize("mode", ["Auto", "Recreate", "InPlaceOrRecreate"])
    @pytest.mark.parametrize("annotated", [scalable(annotations=ON), hpa(annotations=ON)], ids=["deployment", "hpa"])
    def test_a_vpa_that_acts_is_refused_by_name(self, mode: str, annotated: dict[str, Any]) -> None:
        found = refusal(scalable(), annotated, vpa(mode))
        assert found.reason is RefusalReason.OTHER_OWNER
        assert "VerticalPodAutoscaler shop/web" in found.message

    @pytest.mark.parametrize("mode", ["Off", "Initial"])
    def test_a_vpa_that_only_advises_is_fine(self, mode: str) -> None:
        assert workload(scalable(annotations=ON), vpa(mode)).key.name == "web"

    def test_a_vpa_on_a_services_deployment_is_refused(self) -> None:
        found = refusal(standard("hpa"), its_deployment(), its_hpa(), vpa("Auto", target="llm-predictor"))
        assert found.reason is RefusalReason.OTHER_OWNER

    def test_an_hpa_without_its_target_is_refused(self) -> None:
        assert "there is no Deployment shop/web" in refusal(hpa(annotations=ON)).message


class TestForeignKinds:
    SCALE = ForeignScale(
        Resource("argoproj.io", "v1alpha1", "rollouts", "Rollout"),
        "uid-rollout",
        "77",
        replicas=3,
        current_replicas=3,
        selector={"app": "web"},
        amounts=Amounts(cpu_limit=1.0),
    )
    BY_HAND = scaler("mine", "Rollout/web", version="argoproj.io/v1alpha1", maxReplicas=6)

    def test_anything_with_a_scale_is_moved_by_it(self) -> None:
        pods: list[dict[str, Any]] = [
            {
                "kind": "Pod",
                "metadata": {"namespace": NAMESPACE, "name": name, "labels": {"app": "web"}},
                "status": {"conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": T0.isoformat()}]},
            }
            for name, ready in (("a", "True"), ("b", "False"))
        ]
        found = workload(self.BY_HAND, *pods, view=TableView(foreign={ROLLOUT: self.SCALE}))
        field = only_field(found)
        assert (found.current_replicas, found.ready_replicas) == (3, 1)
        assert (field.resource, field.subresource, field.value) == (self.SCALE.resource, "scale", 3)
        assert (field.uid, field.resource_version, found.reference_uid) == ("uid-rollout", "77", "uid-rollout")
        assert (found.target.only_scaler, found.target.capacity) == (True, 0.9)
        assert (found.pods.labels, found.pods.history_name) == ({"app": "web"}, "web")

    def test_an_hpa_on_it_is_moved_in_its_place(self) -> None:
        view = TableView(foreign={ROLLOUT: self.SCALE})
        found = workload(self.BY_HAND, hpa("roll", target="Rollout/web"), view=view)
        assert (only_field(found).id, found.current_replicas) == ("HorizontalPodAutoscaler/roll", 3)

    def test_an_annotated_hpa_may_scale_it(self) -> None:
        view = TableView(foreign={ROLLOUT: self.SCALE})
        assert workload(hpa("roll", ON, target="Rollout/web"), view=view).metric == "cpu"

    def test_one_that_has_not_been_read_is_refused_until_it_is(self) -> None:
        view = TableView()
        discovery = Discovery(view.put(self.BY_HAND))
        (found,) = discovery.discover(T0).refusals
        assert found.reason is RefusalReason.NOT_FOUND
        assert "no /scale of Rollout shop/web" in found.message
        view.foreign[ROLLOUT] = self.SCALE
        assert len(discovery.discover(T0).workloads) == 1

    def test_pods_that_cannot_be_told_from_others_are_refused(self) -> None:
        silent = ForeignScale(self.SCALE.resource, "u", "1", 3, 3, {})
        found = refusal(self.BY_HAND, view=TableView(foreign={ROLLOUT: silent}))
        assert found.reason is RefusalReason.NOT_SUPPORTED

    @pytest.mark.parametrize(
        ("target", "version", "instead"),
        [
            pytest.param("Revision/a", "serving.knative.dev/v1", "the InferenceService", id="revision"),
            pytest.param("Service/a", "serving.knative.dev/v1", "the InferenceService", id="knative-service"),
            pytest.param("Pod/a", "v1", "the Deployment or StatefulSet", id="pod"),
        ],
    )
    def test_kinds_that_have_no_scale_are_refused_with_what_to_name(
        self, target: str, version: str, instead: str
    ) -> None:
        found = refusal(scaler("mine", target, version=version))
        assert found.reason is RefusalReason.NOT_SUPPORTED
        assert f"name {instead}" in found.message


def test_an_hpa_on_an_external_metric_is_moved_all_the_same() -> None:
    assert workload(scalable(), hpa(annotations=ON, metric=external_metric())).lever.kind is LeverKind.HPA
