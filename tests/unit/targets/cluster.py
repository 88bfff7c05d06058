"""A cluster as a table of the API's own JSON, read by the real readers; and short ways to write its objects."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scaler.kube import objects
from scaler.kube.objects import (
    HpaObject,
    InferenceServiceObject,
    MetadataObject,
    ObjectRef,
    PodObject,
    PredictiveScalerObject,
    RevisionObject,
    ScalableObject,
    ScaledObjectObject,
    VpaObject,
)
from scaler.targets.view import ClusterFacts, ForeignScale

Json = dict[str, Any]
NAMESPACE = "shop"
CPU = {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"cpu": "500m", "memory": "2Gi"}}
_versions = itertools.count(1)


@dataclass
class TableView:
    """Answers from tables; every list is a new one, as a live view's may be."""

    facts: ClusterFacts = field(default_factory=lambda: ClusterFacts((1, 21), "Knative"))
    foreign: dict[ObjectRef, ForeignScale] = field(default_factory=dict)
    tables: dict[str, dict[tuple[str, str], Any]] = field(default_factory=dict)
    questions: int = 0

    def put(self, *items: Json) -> TableView:
        for item in items:
            read = _READERS[item["kind"]](item)
            self.tables.setdefault(item["kind"], {})[read.meta.full_name] = read
        return self

    def drop(self, kind: str, name: str) -> None:
        del self.tables[kind][NAMESPACE, name]

    def _all(self, kind: str) -> list[Any]:
        self.questions += 1
        return list(self.tables.get(kind, {}).values())

    def _one(self, kind: str, namespace: str, name: str) -> Any:
        self.questions += 1
        return self.tables.get(kind, {}).get((namespace, name))

    def _on(self, kind: str, target: ObjectRef) -> list[Any]:
        def same(other: ObjectRef) -> bool:
            names = (other.group, other.kind, other.namespace, other.name)
            return names == (target.group, target.kind, target.namespace, target.name)

        return [item for item in self._all(kind) if same(item.scale_target)]

    def scalables(self, kind: str) -> Collection[ScalableObject]:
        return self._all(kind)

    def scalable(self, kind: str, namespace: str, name: str) -> ScalableObject | None:
        return self._one(kind, namespace, name)  # type: ignore[no-any-return]

    def hpas(self) -> Collection[HpaObject]:
        return self._all("HorizontalPodAutoscaler")

    def hpas_on(self, target: ObjectRef) -> Collection[HpaObject]:
        return self._on("HorizontalPodAutoscaler", target)

    def scaled_objects(self) -> Collection[ScaledObjectObject]:
        return self._all("ScaledObject")

    def scaled_objects_on(self, target: ObjectRef) -> Collection[ScaledObjectObject]:
        return self._on("ScaledObject", target)

    def vpas_on(self, target: ObjectRef) -> Collection[VpaObject]:
        return self._on("VerticalPodAutoscaler", target)

    def inference_services(self) -> Collection[InferenceServiceObject]:
        return self._all("InferenceService")

    def inference_service(self, namespace: str, name: str) -> InferenceServiceObject | None:
        return self._one("InferenceService", namespace, name)  # type: ignore[no-any-return]

    def revision(self, namespace: str, name: str) -> RevisionObject | None:
        return self._one("Revision", namespace, name)  # type: ignore[no-any-return]

    def revisions_of(self, namespace: str, configuration: str) -> Collection[RevisionObject]:
        label = "serving.knative.dev/configuration"
        items = [r for r in self._all("Revision") if r.meta.namespace == namespace]
        return [r for r in items if r.meta.labels.get(label) == configuration]

    def pod_autoscaler(self, namespace: str, name: str) -> MetadataObject | None:
        return self._one("PodAutoscaler", namespace, name)  # type: ignore[no-any-return]

    def predictive_scalers(self) -> Collection[PredictiveScalerObject]:
        return self._all("PredictiveScaler")

    def predictive_scaler(self, namespace: str, name: str) -> PredictiveScalerObject | None:
        return self._one("PredictiveScaler", namespace, name)  # type: ignore[no-any-return]

    def pods_with(self, namespace: str, labels: dict[str, str]) -> Collection[PodObject]:
        items = [p for p in self._all("Pod") if p.meta.namespace == namespace]
        return [p for p in items if labels.items() <= p.meta.labels.items()]

    def pods_owned(self, namespace: str, owner: str) -> Collection[PodObject]:
        # As the ReplicaSet between them is named: <deployment>-<hash>.
        return [
            p
            for p in self._all("Pod")
            if p.meta.namespace == namespace and p.meta.owner.name.startswith(owner.partition("/")[2])
        ]

    def foreign_scale(self, target: ObjectRef) -> ForeignScale | None:
        self.questions += 1
        return self.foreign.get(target)


_READERS: Mapping[str, Any] = {
    "Deployment": lambda item: objects.scalable_object("Deployment", item),
    "StatefulSet": lambda item: objects.scalable_object("StatefulSet", item),
    "HorizontalPodAutoscaler": objects.hpa_object,
    "ScaledObject": objects.scaled_object,
    "VerticalPodAutoscaler": objects.vpa_object,
    "InferenceService": objects.inference_service_object,
    "Revision": objects.revision_object,
    "PodAutoscaler": objects.metadata_object,
    "PredictiveScaler": objects.predictive_scaler_object,
    "Pod": objects.pod_object,
}


def ours(**settings: str) -> dict[str, str]:
    """`ours(min_replicas="2")` is `{"ai-hpa.dev/min-replicas": "2"}`."""
    return {f"ai-hpa.dev/{name.replace('_', '-')}": value for name, value in settings.items()}


def meta(
    name: str,
    annotations: Mapping[str, str] | None = None,
    *,
    labels: Mapping[str, str] | None = None,
    owner: tuple[str, str] | None = None,
    created: str = "2026-01-05T00:00:00Z",
) -> Json:
    version = next(_versions)
    references = [{"apiVersion": "x/v1", "kind": owner[0], "name": owner[1], "controller": True}] if owner else []
    return {
        "namespace": NAMESPACE,
        "name": name,
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "generation": 1,
        "annotations": dict(annotations or {}),
        "labels": dict(labels or {}),
        "ownerReferences": references,
        "creationTimestamp": created,
    }


def scalable(
    name: str = "web",
    annotations: Mapping[str, str] | None = None,
    *,
    kind: str = "Deployment",
    replicas: int = 3,
    resources: Json | None = None,
    owner: tuple[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Json:
    container = {"name": "c", "resources": CPU if resources is None else resources}
    return {
        "kind": kind,
        "metadata": meta(name, annotations, owner=owner, labels=labels),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"spec": {"containers": [container]}},
        },
        "status": {
            "observedGeneration": 1,
            "replicas": replicas,
            "updatedReplicas": replicas,
            "readyReplicas": replicas,
        },
    }


def hpa(
    name: str = "web",
    annotations: Mapping[str, str] | None = None,
    *,
    target: str = "Deployment/web",
    minimum: int | None = 2,
    maximum: int = 10,
    metric: Json | None = None,
    owner: tuple[str, str] | None = None,
) -> Json:
    kind, _, target_name = target.partition("/")
    version = {"Rollout": "argoproj.io/v1alpha1"}.get(kind, "apps/v1")
    cpu = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
    }
    return {
        "kind": "HorizontalPodAutoscaler",
        "metadata": meta(name, annotations, owner=owner),
        "spec": {
            "scaleTargetRef": {"apiVersion": version, "kind": kind, "name": target_name},
            "minReplicas": minimum,
            "maxReplicas": maximum,
            "metrics": [metric or cpu],
        },
        "status": {},
    }


def external_metric(name: str = "queue") -> Json:
    target = {"type": "AverageValue", "averageValue": "30"}
    return {"type": "External", "external": {"metric": {"name": name}, "target": target}}


def keda(
    name: str = "web",
    annotations: Mapping[str, str] | None = None,
    *,
    target: str = "web",
    minimum: int | None = 1,
    maximum: int | None = 8,
    triggers: Iterable[str] = ("cpu",),
    owner: tuple[str, str] | None = None,
) -> Json:
    return {
        "kind": "ScaledObject",
        "metadata": meta(name, annotations, owner=owner),
        "spec": {
            "scaleTargetRef": {"name": target},
            "minReplicaCount": minimum,
            "maxReplicaCount": maximum,
            "triggers": [{"type": trigger} for trigger in triggers],
        },
        "status": {"hpaName": f"keda-hpa-{name}"},
    }


def vpa(mode: str, *, target: str = "web") -> Json:
    return {
        "kind": "VerticalPodAutoscaler",
        "metadata": meta("web"),
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "updatePolicy": {"updateMode": mode},
        },
    }


def scaler(
    name: str,
    target: str,
    *,
    version: str | None = None,
    by_scaler: bool = False,
    restore: str | None = None,
    created: str = "2026-01-05T00:00:00Z",
    **spec: Any,
) -> Json:
    kind, _, target_name = target.partition("/")
    annotations = {}
    if by_scaler:
        annotations["ai-hpa.dev/created-by"] = "scaler"
    if restore is not None:
        annotations["ai-hpa.dev/restore"] = restore
    reference = {"kind": kind, "name": target_name} | ({"apiVersion": version} if version else {})
    return {
        "kind": "PredictiveScaler",
        "metadata": meta(name, annotations, created=created),
        "spec": {"targetRef": reference, **spec},
    }


def service(
    name: str = "llm",
    annotations: Mapping[str, str] | None = None,
    *,
    mode: str | None = "Knative",
    components: Mapping[str, Json] | None = None,
    status: Mapping[str, Json] | None = None,
) -> Json:
    return {
        "kind": "InferenceService",
        "metadata": meta(name, annotations),
        "spec": dict(components or {"predictor": {"minReplicas": 1, "maxReplicas": 5}}),
        "status": {"components": dict(status or {}), **({"deploymentMode": mode} if mode else {})},
    }


def serving(ready: str, created: str | None = None, **traffic: int) -> Json:
    """Status of one component; `traffic` by the revision's number: `r1=90, r2=10`."""
    stem = ready.rsplit("-", 1)[0]
    shares = [{"revisionName": f"{stem}-{number[1:]}", "percent": percent} for number, percent in traffic.items()]
    return {
        "latestReadyRevision": ready,
        "latestCreatedRevision": created or ready,
        "traffic": shares or [{"revisionName": ready, "percent": 100}],
    }


def revision(
    name: str,
    *,
    minimum: int | None = 1,
    maximum: int | None = 5,
    annotations: Mapping[str, str] | None = None,
    concurrency: int = 0,
    replicas: int = 1,
    active: bool = True,
) -> Json:
    prefix = "autoscaling.knative.dev/"
    scales = {f"{prefix}min-scale": minimum, f"{prefix}max-scale": maximum}
    configuration = name.rsplit("-", 1)[0]
    labels = {
        "serving.knative.dev/configuration": configuration,
        "serving.knative.dev/routingState": "active" if active else "reserve",
    }
    return {
        "kind": "Revision",
        "metadata": meta(
            name,
            {**{key: str(value) for key, value in scales.items() if value is not None}, **(annotations or {})},
            labels=labels,
            owner=("Configuration", configuration),
        ),
        "spec": {"containerConcurrency": concurrency, "containers": [{"name": "c", "resources": CPU}]},
        "status": {"actualReplicas": replicas, "desiredReplicas": replicas},
    }
