from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.kube.api import Json
from scaler.kube.objects import (
    Amounts,
    Component,
    MetricTarget,
    ObjectRef,
    amounts_of,
    deployment_mode,
    hpa_object,
    inference_service_object,
    meta_of,
    metadata_object,
    pod_object,
    predictive_scaler_object,
    quantity,
    revision_object,
    scalable_object,
    scaled_object,
    time_of,
    vpa_object,
)

META = {"namespace": "a", "name": "x", "uid": "u", "resourceVersion": "7", "generation": 3}
T0 = datetime(2026, 11, 24, 9, tzinfo=UTC)


def deployment_object(item: Json) -> object:
    return scalable_object("Deployment", item)


READERS: list[Callable[[Json], object]] = [
    deployment_object,
    hpa_object,
    inference_service_object,
    metadata_object,
    pod_object,
    predictive_scaler_object,
    revision_object,
    scaled_object,
    vpa_object,
]
FIELDS = [
    "metadata", "spec", "status", "annotations", "labels", "ownerReferences", "conditions", "containers", "resources",
    "limits", "requests", "cpu", "replicas", "scaleTargetRef", "metrics", "target", "type", "predictor", "components",
    "traffic", "percent", "model", "containerConcurrency", "selector", "matchLabels", "template", "resource",
    "averageUtilization", "advanced", "triggers", "updatePolicy", "containerStatuses", "state", "running", "startedAt",
    "initContainers", "autoscaling.knative.dev/min-scale", "name", "kind", "generation", "creationTimestamp",
]  # fmt: skip
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "x", "1", "True", "500m", "9e999"])
)
NONSENSE = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=30,
)


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@settings(max_examples=50)
@given(item=st.dictionaries(st.sampled_from(["metadata", "spec", "status"]), NONSENSE, max_size=3))
def test_reading_never_raises(read: Callable[[Json], object], item: Json) -> None:
    read(item)


def test_metadata_keeps_what_something_reads() -> None:
    meta = meta_of(
        {
            "metadata": {
                **META,
                "annotations": {"ai-hpa.dev/mode": "on", "serving.kserve.io/deploymentMode": "Standard", "other": "x"},
                "labels": {"app": "x", "app.kubernetes.io/name": "x", "helm.sh/chart": "x"},
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Node", "name": "n"},
                    {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "controller": True},
                ],
                "creationTimestamp": "2026-11-24T09:00:00Z",
                "deletionTimestamp": "2026-11-24T10:00:00Z",
            }
        }
    )
    assert meta.annotations == {"ai-hpa.dev/mode": "on", "serving.kserve.io/deploymentMode": "Standard"}
    assert meta.labels == {"app": "x"}
    assert meta.owner == ObjectRef("apps/v1", "ReplicaSet", "a", "r")
    assert (meta.full_name, meta.uid, meta.resource_version, meta.generation) == (("a", "x"), "u", "7", 3)
    assert (meta.created, meta.deleting, meta.opted_in) == (T0, True, True)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("350m", 0.35),
        ("1Gi", 2.0**30),
        ("1e3", 1000.0),
        (2, 2.0),
        ("0", 0.0),
        ("", None),
        (None, None),
        ("many", None),
        ("1Zi", None),
        ([], None),
    ],
)
def test_a_quantity_is_in_base_units(value: object, number: float | None) -> None:
    assert quantity(value) == (None if number is None else pytest.approx(number))


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-11-24T09:00:00Z", T0),
        ("2026-11-24T09:00:00.000000Z", T0),
        ("2026-11-24T10:00:00+01:00", T0),
        ("2026-11-24T09:00:00", T0),
        ("soon", None),
        (None, None),
        (5, None),
    ],
)
def test_a_time_is_aware(value: object, moment: datetime | None) -> None:
    assert time_of(value) == moment


def container(name: str = "c", *, cpu: tuple[str | None, str | None] = (None, None), **more: Any) -> Json:
    request, limit = cpu
    resources = {"requests": {"cpu": request} if request else {}, "limits": {"cpu": limit} if limit else {}}
    return {"name": name, "resources": resources, **more}


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        pytest.param(
            {"containers": [container(cpu=("100m", "1")), container(cpu=("50m", "2"))]}, (0.15, 3.0), id="sum"
        ),
        pytest.param({"containers": [container(cpu=("100m", "1")), container()]}, (None, None), id="one is silent"),
        pytest.param({"containers": [container(cpu=(None, "1"))]}, (1.0, 1.0), id="a request is its limit"),
        pytest.param({"containers": [container(cpu=("1", None))]}, (1.0, None), id="no limit"),
        pytest.param({}, (None, None), id="no containers"),
        pytest.param(
            {
                "containers": [container(cpu=("1", "1"))],
                "initContainers": [container(cpu=("1", "1"), restartPolicy="Always"), container(cpu=("9", "9"))],
            },
            (2.0, 2.0),
            id="sidecars count and other init containers do not",
        ),
    ],
)
def test_a_pods_amounts_are_those_of_all_its_containers(spec: Json, cpu: tuple[float | None, float | None]) -> None:
    amounts = amounts_of(spec)
    assert (amounts.cpu_request, amounts.cpu_limit) == pytest.approx(cpu)


def running(at: str) -> Json:
    return {"state": {"running": {"startedAt": at}}}


def pod(ready: str = "True", phase: str = "Running", statuses: list[Json] | None = None) -> Json:
    return {
        "metadata": META,
        "spec": {"containers": [container(), container("d")]},
        "status": {
            "phase": phase,
            "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-24T09:00:01Z"},
                {"type": "Ready", "status": ready, "lastTransitionTime": "2026-11-24T09:00:05Z"},
            ],
            "containerStatuses": [running("2026-11-24T09:00:02Z"), running("2026-11-24T09:00:03Z")]
            if statuses is None
            else statuses,
        },
    }


def test_a_pods_way_to_ready_is_read() -> None:
    read = pod_object(pod())
    seconds = [moment.second if moment else None for moment in (read.scheduled_at, read.started_at, read.ready_since)]
    assert seconds == [1, 3, 5]
    assert read.ready


@pytest.mark.parametrize(
    ("item", "ready", "started"),
    [
        pytest.param(pod("False"), False, True, id="not ready"),
        pytest.param(pod(phase="Succeeded"), False, True, id="finished"),
        pytest.param(pod("False", statuses=[running("2026-11-24T09:00:02Z"), {"state": {"waiting": {}}}]), False, False,
                     id="one waits"),
        pytest.param(pod("False", statuses=[]), False, False, id="none started"),
    ],
)  # fmt: skip
def test_a_pod_that_is_not_there_yet_or_any_more_does_not_serve(item: Json, ready: bool, started: bool) -> None:
    read = pod_object(item)
    assert read.ready is ready
    assert (read.started_at is not None) is started


def test_a_deployment_is_read() -> None:
    spec = {
        "replicas": 0,
        "selector": {"matchLabels": {"app": "x"}},
        "template": {"spec": {"containers": [container(cpu=("100m", "1"))]}},
    }
    status = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 1, "readyReplicas": 2}
    read = scalable_object("Deployment", {"metadata": META, "spec": spec, "status": status})
    assert (read.replicas, read.current_replicas, read.updated_replicas, read.ready_replicas) == (0, 2, 1, 2)
    assert read.rolling_out
    assert read.match_labels == {"app": "x"}
    assert read.amounts.cpu_limit == 1.0
    assert not read.ordered_ready


@pytest.mark.parametrize(
    ("kind", "policy", "ordered"),
    [
        ("Deployment", None, False),
        ("StatefulSet", None, True),
        ("StatefulSet", "OrderedReady", True),
        ("StatefulSet", "Parallel", False),
    ],
)
def test_a_stateful_set_starts_pods_in_order_unless_it_says_else(kind: str, policy: str | None, ordered: bool) -> None:
    read = scalable_object(kind, {"metadata": META, "spec": {"podManagementPolicy": policy}})
    assert read.ordered_ready is ordered
    assert read.replicas == 1  # the API's default


def test_an_hpa_is_read_with_the_metrics_that_name_a_target() -> None:
    metrics = [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
        {
            "type": "Pods",
            "pods": {"metric": {"name": "rps"}, "target": {"type": "AverageValue", "averageValue": "1500m"}},
        },
        {"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "30"}}},
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Odd"}}},
    ]
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db"},
        "maxReplicas": 9,
        "metrics": metrics,
    }
    read = hpa_object({"metadata": META, "spec": spec, "status": {"currentReplicas": 2, "desiredReplicas": 3}})
    assert read.scale_target == ObjectRef("apps/v1", "StatefulSet", "a", "db")
    assert (read.min_replicas, read.max_replicas, read.current_replicas, read.desired_replicas) == (None, 9, 2, 3)
    assert read.metrics == (
        MetricTarget("Resource", "cpu", "Utilization", 80.0),
        MetricTarget("Pods", "rps", "AverageValue", 1.5),
        MetricTarget("External", "q", "Value", 30.0),
    )


@pytest.mark.parametrize(
    ("annotations", "paused"),
    [
        ({}, False),
        ({"autoscaling.keda.sh/paused": "true"}, True),
        ({"autoscaling.keda.sh/paused": "false"}, False),
        ({"autoscaling.keda.sh/paused-replicas": "0"}, True),
    ],
)
def test_a_scaled_object_is_read_with_kedas_defaults(annotations: dict[str, str], paused: bool) -> None:
    spec = {"scaleTargetRef": {"name": "web"}, "minReplicaCount": 0, "triggers": [{"type": "cpu"}, {"type": "cron"}]}
    read = scaled_object({"metadata": {**META, "annotations": annotations}, "spec": spec})
    assert read.scale_target == ObjectRef("apps/v1", "Deployment", "a", "web")
    assert (read.min_replicas, read.max_replicas, read.hpa_name) == (0, None, "keda-hpa-x")
    assert read.trigger_types == ("cpu", "cron")
    assert read.paused is paused


def test_a_vpa_without_a_policy_acts() -> None:
    assert vpa_object({"metadata": META, "spec": {"targetRef": {"name": "web"}}}).update_mode == "Auto"
    assert vpa_object({"metadata": META, "spec": {"updatePolicy": {"updateMode": "Off"}}}).update_mode == "Off"


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("Serverless", "Knative"),
        ("Knative", "Knative"),
        ("RawDeployment", "Standard"),
        ("Standard", "Standard"),
        ("ModelMesh", None),
        (None, None),
        (["Knative"], None),
    ],
)
def test_older_names_of_a_mode_are_known(name: object, mode: str | None) -> None:
    assert deployment_mode(name) == mode


def test_an_inference_service_is_read_with_its_components() -> None:
    item = {
        "metadata": {**META, "annotations": {"serving.kserve.io/autoscalerClass": "hpa"}},
        "spec": {
            "predictor": {
                "minReplicas": 0,
                "maxReplicas": 5,
                "scaleMetric": "concurrency",
                "scaleTarget": 4,
                "containerConcurrency": 8,
                "model": {"resources": {"limits": {"cpu": "2"}}},
            },
            "transformer": {"containers": [container(cpu=("1", "1"))], "containerConcurrency": 0},
        },
        "status": {
            "deploymentMode": "Serverless",
            "conditions": [{"type": "Ready", "status": "True"}],
            "components": {
                "predictor": {
                    "latestReadyRevision": "x-1",
                    "latestCreatedRevision": "x-2",
                    "traffic": [{"revisionName": "x-1", "percent": 90}, {"revisionName": "x-2", "percent": 10},
                                {"revisionName": "x-0", "percent": 0}, {"revisionName": "x-9", "tag": "t"}],
                }
            },
        },
    }  # fmt: skip
    read = inference_service_object(item)
    assert (read.deployment_mode, read.autoscaler_class, read.ready) == ("Knative", "hpa", True)
    assert set(read.components) == {Component.PREDICTOR, Component.TRANSFORMER}
    predictor, transformer = read.components[Component.PREDICTOR], read.components[Component.TRANSFORMER]
    assert (predictor.min_replicas, predictor.max_replicas) == (0, 5)
    assert (predictor.scale_metric, predictor.scale_target, predictor.container_concurrency) == (
        "concurrency",
        4.0,
        8.0,
    )
    assert predictor.amounts == Amounts(cpu_request=2.0, cpu_limit=2.0)
    assert predictor.status.traffic == (("x-1", 90), ("x-2", 10))
    assert (predictor.status.latest_ready_revision, predictor.status.latest_created_revision) == ("x-1", "x-2")
    assert transformer.container_concurrency is None
    assert transformer.amounts.cpu_limit == 1.0


@pytest.mark.parametrize(
    ("annotations", "scale"),
    [
        ({}, (None, None)),
        ({"autoscaling.knative.dev/min-scale": "2", "autoscaling.knative.dev/max-scale": "5"}, (2, 5)),
        ({"autoscaling.knative.dev/minScale": "2", "autoscaling.knative.dev/maxScale": "5"}, (2, 5)),
        ({"autoscaling.knative.dev/min-scale": "0"}, (0, None)),
        ({"autoscaling.knative.dev/min-scale": "two"}, (None, None)),
    ],
)
def test_a_revisions_scale_is_read_from_both_spellings(
    annotations: dict[str, str], scale: tuple[int | None, int | None]
) -> None:
    read = revision_object({"metadata": {**META, "annotations": annotations}})
    assert (read.min_scale, read.max_scale) == scale


def test_a_revision_is_read() -> None:
    item = {
        "metadata": {**META, "labels": {"serving.knative.dev/routingState": "active"}},
        "spec": {"containerConcurrency": 10, "containers": [container(cpu=("1", "1"))]},
        "status": {"actualReplicas": 1, "desiredReplicas": 2, "conditions": [{"type": "Ready", "status": "True"}]},
    }
    read = revision_object(item)
    assert (read.reachable, read.ready, read.actual_replicas, read.desired_replicas) == (True, True, 1, 2)
    assert (read.container_concurrency, read.amounts.cpu_limit) == (10.0, 1.0)
    assert read.autoscaler_class == "kpa.autoscaling.knative.dev"


def test_a_predictive_scaler_is_read_as_it_stands() -> None:
    item = {
        "metadata": META,
        "spec": {"targetRef": {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "name": "m"}},
        "status": {"floor": 3},
    }
    read = predictive_scaler_object(item)
    assert read.target == ObjectRef("serving.kserve.io/v1beta1", "InferenceService", "a", "m")
    assert read.target.group == "serving.kserve.io"
    assert str(read.target) == "InferenceService a/m"
    assert (read.spec, read.status) == (item["spec"], item["status"])
