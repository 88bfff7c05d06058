"""What the scaler keeps of the objects it watches: a small frozen value for each kind, read from the API's JSON.

Whatever is not needed is dropped as it arrives, so that memory goes with the number of objects and not with their size.
A field that is missing or of another type becomes None or empty; reading never raises for what a cluster may hold.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from kubernetes.utils.quantity import parse_quantity

from scaler.kube.api import Json, json_map, json_maps

ANNOTATION_PREFIX: Final = "ai-hpa.dev/"
# A cluster has few different ones, and each of its pods four: reading them anew took half of what a pod takes.
QUANTITIES_KEPT: Final = 4096
CONFIGURATION_LABEL: Final = "serving.knative.dev/configuration"  # on Revisions and their pods
SERVICE_LABEL: Final = "serving.kserve.io/inferenceservice"  # on all that KServe makes for a service
# Annotations and labels of which something is read; all others are dropped.
_KEPT_ANNOTATIONS: Final = (
    ANNOTATION_PREFIX,
    "autoscaling.knative.dev/",
    "autoscaling.keda.sh/",
    "serving.kserve.io/autoscalerClass",
    "serving.kserve.io/deploymentMode",
    "serving.kserve.io/metric",
    "serving.kserve.io/targetUtilizationPercentage",
)
_DROPPED_LABELS: Final = ("app.kubernetes.io/", "helm.sh/")


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """Names one object of one kind."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @property
    def group(self) -> str:
        """API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    def __str__(self) -> str:
        """Render as `Kind namespace/name`."""
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Meta:
    """What all objects share.

    Attributes:
        owner: The controlling owner reference; None where there is none.
        annotations: Those that something here reads.
        created: None where the API gave no time.
        full_name: Namespace and name.
        opted_in: Whether any `ai-hpa.dev/` annotation stands on it.
    """

    namespace: str
    name: str
    uid: str
    resource_version: str
    generation: int
    annotations: Mapping[str, str]
    labels: Mapping[str, str]
    owner: ObjectRef | None
    created: datetime | None
    deleting: bool
    full_name: tuple[str, str] = field(init=False, repr=False, compare=False)
    opted_in: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work out once what every tick asks for."""
        object.__setattr__(self, "full_name", (self.namespace, self.name))
        object.__setattr__(self, "opted_in", any(name.startswith(ANNOTATION_PREFIX) for name in self.annotations))


@dataclass(frozen=True, slots=True)
class Amounts:
    """Requests and limits of one pod, summed over its containers, in cores and bytes; None where one does not say."""

    cpu_request: float | None = None
    cpu_limit: float | None = None
    memory_request: float | None = None
    memory_limit: float | None = None


@dataclass(frozen=True, slots=True)
class PodObject:
    """One pod.

    Attributes:
        ready_since: When it last became Ready; None where it is not.
        started_at: When the newest of its running containers started; None before all of them run.
        scheduled_at: When it was bound to a node; None before.
        finished: Succeeded or Failed: it serves no more and counts nowhere.
    """

    meta: Meta
    ready_since: datetime | None
    started_at: datetime | None
    scheduled_at: datetime | None
    finished: bool
    amounts: Amounts

    @property
    def ready(self) -> bool:
        """Whether it serves."""
        return self.ready_since is not None and not self.finished


@dataclass(frozen=True, slots=True)
class ScalableObject:
    """A Deployment or a StatefulSet.

    Attributes:
        replicas: `spec.replicas`.
        observed_generation: What the status speaks of.
        current_replicas, updated_replicas, ready_replicas: Of the status.
        ordered_ready: Pods start one after another (StatefulSet, OrderedReady).
        amounts: Of the pod template.
        match_labels: Of the selector.
    """

    kind: str
    meta: Meta
    replicas: int
    observed_generation: int
    current_replicas: int
    updated_replicas: int
    ready_replicas: int
    ordered_ready: bool
    amounts: Amounts
    match_labels: Mapping[str, str]

    @property
    def rolling_out(self) -> bool:
        """Whether pods of an older template still stand, or the newest template is not acted on yet."""
        return self.updated_replicas < self.current_replicas or self.observed_generation < self.meta.generation


@dataclass(frozen=True, slots=True)
class MetricTarget:
    """One metric of an HPA.

    Attributes:
        source: `Resource`, `ContainerResource`, `Pods`, `Object` or `External`.
        name: `cpu`, `memory`, or the metric's name.
        kind: `Utilization`, `AverageValue` or `Value`.
        value: Percent of the request for `Utilization`, else base units.
    """

    source: str
    name: str
    kind: str
    value: float


@dataclass(frozen=True, slots=True)
class HpaObject:
    """A HorizontalPodAutoscaler."""

    meta: Meta
    scale_target: ObjectRef
    min_replicas: int | None
    max_replicas: int
    metrics: tuple[MetricTarget, ...]
    current_replicas: int
    desired_replicas: int


@dataclass(frozen=True, slots=True)
class ScaledObjectObject:
    """A KEDA ScaledObject.

    Attributes:
        hpa_name: The HPA that KEDA made for it.
        paused: KEDA's own pause annotations hold it.
        trigger_types: `cpu`, `memory`, `prometheus`, ...
    """

    meta: Meta
    scale_target: ObjectRef
    min_replicas: int | None
    max_replicas: int | None
    hpa_name: str
    paused: bool
    trigger_types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VpaObject:
    """A VerticalPodAutoscaler; `update_mode` is `Off`, `Initial`, `Recreate`, `InPlaceOrRecreate` or `Auto`."""

    meta: Meta
    scale_target: ObjectRef
    update_mode: str


class Component(StrEnum):
    """The parts of an InferenceService."""

    PREDICTOR = "predictor"
    TRANSFORMER = "transformer"
    EXPLAINER = "explainer"


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """What Knative made of one component; all empty in Standard mode.

    Attributes:
        traffic: Revision and share of the traffic in percent, those above 0.
    """

    latest_ready_revision: str
    latest_created_revision: str
    traffic: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class ComponentObject:
    """One component's spec.

    Attributes:
        max_replicas: 0 is unlimited, None unset.
        scale_metric, scale_target: `scaleMetric` and `scaleTarget`, None where unset.
        container_concurrency: The hard limit of requests in one pod; None where unset or 0.
        annotations: On the component's own pods.
    """

    min_replicas: int | None
    max_replicas: int | None
    scale_metric: str | None
    scale_target: float | None
    container_concurrency: float | None
    canary_traffic_percent: int | None
    amounts: Amounts
    annotations: Mapping[str, str]
    status: ComponentStatus


@dataclass(frozen=True, slots=True)
class InferenceServiceObject:
    """A KServe InferenceService.

    Attributes:
        deployment_mode: `Knative` or `Standard`, as its annotation or status says; None where neither does.
        autoscaler_class: `hpa`, `keda`, `external`, `none` or a Knative class; None where unset.
    """

    meta: Meta
    components: Mapping[Component, ComponentObject]
    deployment_mode: str | None
    autoscaler_class: str | None
    ready: bool


@dataclass(frozen=True, slots=True)
class RevisionObject:
    """A Knative Revision.

    Attributes:
        min_scale, max_scale: Its annotations; None where unset or no number.
        autoscaler_class: `kpa.autoscaling.knative.dev` unless it says another.
        reachable: A Route points at it; `min-scale` has no effect where none does.
        actual_replicas, desired_replicas: Of its status.
    """

    meta: Meta
    min_scale: int | None
    max_scale: int | None
    autoscaler_class: str
    container_concurrency: float | None
    reachable: bool
    ready: bool
    actual_replicas: int
    desired_replicas: int
    amounts: Amounts


@dataclass(frozen=True, slots=True)
class PredictiveScalerObject:
    """A PredictiveScaler: `spec` as the user wrote it, `status` as the scaler left it.

    Attributes:
        target: `spec.targetRef`, in the object's own namespace.
    """

    meta: Meta
    target: ObjectRef
    spec: Json
    status: Json


@dataclass(frozen=True, slots=True)
class MetadataObject:
    """An object of which only the metadata is watched."""

    meta: Meta


def meta_of(item: Json) -> Meta:
    """Read the metadata of any object."""
    metadata = json_map(item.get("metadata"))
    owner = next((o for o in json_maps(metadata.get("ownerReferences")) if o.get("controller")), None)
    namespace = str(metadata.get("namespace") or "")
    return Meta(
        namespace=namespace,
        name=str(metadata.get("name") or ""),
        uid=str(metadata.get("uid") or ""),
        resource_version=str(metadata.get("resourceVersion") or ""),
        generation=_int(metadata.get("generation")) or 0,
        annotations={
            name: str(value)
            for name, value in json_map(metadata.get("annotations")).items()
            if name.startswith(_KEPT_ANNOTATIONS)
        },
        labels={
            name: str(value)
            for name, value in json_map(metadata.get("labels")).items()
            if not name.startswith(_DROPPED_LABELS)
        },
        owner=_owner(owner, namespace) if owner is not None else None,
        created=time_of(metadata.get("creationTimestamp")),
        deleting=metadata.get("deletionTimestamp") is not None,
    )


def metadata_object(item: Json) -> MetadataObject:
    """Read an object of which only the metadata came."""
    return MetadataObject(meta_of(item))


def pod_object(item: Json) -> PodObject:
    """Read a pod."""
    status, spec = json_map(item.get("status")), json_map(item.get("spec"))
    conditions = {c.get("type"): c for c in json_maps(status.get("conditions"))}
    ready, scheduled = conditions.get("Ready", {}), conditions.get("PodScheduled", {})
    running = [json_map(json_map(c.get("state")).get("running")) for c in json_maps(status.get("containerStatuses"))]
    starts = [time_of(state.get("startedAt")) for state in running]
    known = [start for start in starts if start is not None]
    return PodObject(
        meta=meta_of(item),
        ready_since=time_of(ready.get("lastTransitionTime")) if ready.get("status") == "True" else None,
        started_at=max(known) if known and len(known) == len(json_maps(spec.get("containers"))) else None,
        scheduled_at=time_of(scheduled.get("lastTransitionTime")) if scheduled.get("status") == "True" else None,
        finished=status.get("phase") in {"Succeeded", "Failed"},
        amounts=amounts_of(spec),
    )


def scalable_object(kind: str, item: Json) -> ScalableObject:
    """Read a Deployment or a StatefulSet."""
    spec, status = json_map(item.get("spec")), json_map(item.get("status"))
    replicas = _int(spec.get("replicas"))
    policy = spec.get("podManagementPolicy") or "OrderedReady"
    return ScalableObject(
        kind=kind,
        meta=meta_of(item),
        replicas=1 if replicas is None else replicas,
        observed_generation=_int(status.get("observedGeneration")) or 0,
        current_replicas=_int(status.get("replicas")) or 0,
        updated_replicas=_int(status.get("updatedReplicas")) or 0,
        ready_replicas=_int(status.get("readyReplicas")) or 0,
        ordered_ready=kind == "StatefulSet" and policy == "OrderedReady",
        amounts=amounts_of(json_map(json_map(spec.get("template")).get("spec"))),
        match_labels={k: str(v) for k, v in json_map(json_map(spec.get("selector")).get("matchLabels")).items()},
    )


def hpa_object(item: Json) -> HpaObject:
    """Read a HorizontalPodAutoscaler of `autoscaling/v2`."""
    meta, spec, status = meta_of(item), json_map(item.get("spec")), json_map(item.get("status"))
    return HpaObject(
        meta=meta,
        scale_target=_target(json_map(spec.get("scaleTargetRef")), meta.namespace),
        min_replicas=_int(spec.get("minReplicas")),
        max_replicas=_int(spec.get("maxReplicas")) or 0,
        metrics=tuple(m for m in map(_metric_target, json_maps(spec.get("metrics"))) if m is not None),
        current_replicas=_int(status.get("currentReplicas")) or 0,
        desired_replicas=_int(status.get("desiredReplicas")) or 0,
    )


def scaled_object(item: Json) -> ScaledObjectObject:
    """Read a KEDA ScaledObject."""
    meta, spec, status = meta_of(item), json_map(item.get("spec")), json_map(item.get("status"))
    named = str(
        json_map(json_map(json_map(spec.get("advanced")).get("horizontalPodAutoscalerConfig"))).get("name") or ""
    )
    pauses = ("autoscaling.keda.sh/paused", "autoscaling.keda.sh/paused-replicas")
    return ScaledObjectObject(
        meta=meta,
        scale_target=_target(json_map(spec.get("scaleTargetRef")), meta.namespace),
        min_replicas=_int(spec.get("minReplicaCount")),
        max_replicas=_int(spec.get("maxReplicaCount")),
        hpa_name=str(status.get("hpaName") or named or f"keda-hpa-{meta.name}"),
        paused=any(meta.annotations.get(name, "false") != "false" for name in pauses),
        trigger_types=tuple(str(t.get("type") or "") for t in json_maps(spec.get("triggers"))),
    )


def vpa_object(item: Json) -> VpaObject:
    """Read a VerticalPodAutoscaler; without an update policy it acts, for that is its default."""
    meta, spec = meta_of(item), json_map(item.get("spec"))
    return VpaObject(
        meta=meta,
        scale_target=_target(json_map(spec.get("targetRef")), meta.namespace),
        update_mode=str(json_map(spec.get("updatePolicy")).get("updateMode") or "Auto"),
    )


def inference_service_object(item: Json) -> InferenceServiceObject:
    """Read an InferenceService."""
    meta, spec, status = meta_of(item), json_map(item.get("spec")), json_map(item.get("status"))
    statuses = json_map(status.get("components"))
    components = {
        component: _component(json_map(spec.get(component.value)), json_map(statuses.get(component.value)))
        for component in Component
        if isinstance(spec.get(component.value), dict)
    }
    mode = meta.annotations.get("serving.kserve.io/deploymentMode") or status.get("deploymentMode")
    conditions = {c.get("type"): c.get("status") for c in json_maps(status.get("conditions"))}
    return InferenceServiceObject(
        meta=meta,
        components=components,
        deployment_mode=deployment_mode(mode),
        autoscaler_class=meta.annotations.get("serving.kserve.io/autoscalerClass")
        or meta.annotations.get("autoscaling.knative.dev/class"),
        ready=conditions.get("Ready") == "True",
    )


def deployment_mode(name: Any) -> str | None:
    """Put KServe's older and newer names of a mode into one: `Knative` or `Standard`, None for neither."""
    return {"Serverless": "Knative", "Knative": "Knative", "RawDeployment": "Standard", "Standard": "Standard"}.get(
        str(name)
    )


def revision_object(item: Json) -> RevisionObject:
    """Read a Knative Revision."""
    meta, spec, status = meta_of(item), json_map(item.get("spec")), json_map(item.get("status"))
    conditions = {c.get("type"): c.get("status") for c in json_maps(status.get("conditions"))}
    prefix = "autoscaling.knative.dev/"
    return RevisionObject(
        meta=meta,
        min_scale=_int(meta.annotations.get(f"{prefix}min-scale") or meta.annotations.get(f"{prefix}minScale")),
        max_scale=_int(meta.annotations.get(f"{prefix}max-scale") or meta.annotations.get(f"{prefix}maxScale")),
        autoscaler_class=meta.annotations.get(f"{prefix}class") or "kpa.autoscaling.knative.dev",
        container_concurrency=_float(spec.get("containerConcurrency")) or None,
        reachable=meta.labels.get("serving.knative.dev/routingState") == "active",
        ready=conditions.get("Ready") == "True",
        actual_replicas=_int(status.get("actualReplicas")) or 0,
        desired_replicas=_int(status.get("desiredReplicas")) or 0,
        amounts=amounts_of(spec),
    )


def predictive_scaler_object(item: Json) -> PredictiveScalerObject:
    """Read a PredictiveScaler."""
    meta, spec = meta_of(item), json_map(item.get("spec"))
    return PredictiveScalerObject(
        meta=meta,
        target=_target(json_map(spec.get("targetRef")), meta.namespace),
        spec=spec,
        status=json_map(item.get("status")),
    )


def amounts_of(pod_spec: Json) -> Amounts:
    """Sum requests and limits over the containers of a pod spec, those of sidecars (restarting init containers) too.

    A total that leaves out a container would be too small to divide load by, so one silent container makes it None.
    A request that is missing where a limit stands equals the limit, as the API server defaults it.
    """
    sidecars = [c for c in json_maps(pod_spec.get("initContainers")) if c.get("restartPolicy") == "Always"]
    containers = [*json_maps(pod_spec.get("containers")), *sidecars]

    def total(section: str, name: str) -> float | None:
        values = [_quantity(container, section, name) for container in containers]
        known = [value for value in values if value is not None]
        return sum(known) if known and len(known) == len(values) else None

    return Amounts(
        cpu_request=total("requests", "cpu"),
        cpu_limit=total("limits", "cpu"),
        memory_request=total("requests", "memory"),
        memory_limit=total("limits", "memory"),
    )


def quantity(value: Any) -> float | None:
    """Read a Kubernetes quantity (`350m`, `1Gi`, 2) in base units; None where it is none."""
    try:
        return _parsed(value)
    except (ValueError, ArithmeticError, TypeError):
        return None


def time_of(value: Any) -> datetime | None:
    """Read an RFC 3339 time; None where it is none."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _component(spec: Json, status: Json) -> ComponentObject:
    hard = _float(spec.get("containerConcurrency"))
    return ComponentObject(
        min_replicas=_int(spec.get("minReplicas")),
        max_replicas=_int(spec.get("maxReplicas")),
        scale_metric=str(spec["scaleMetric"]) if spec.get("scaleMetric") else None,
        scale_target=_float(spec.get("scaleTarget")),
        container_concurrency=hard or None,
        canary_traffic_percent=_int(spec.get("canaryTrafficPercent")),
        amounts=_component_amounts(spec),
        annotations={
            k: str(v) for k, v in json_map(spec.get("annotations")).items() if k.startswith(_KEPT_ANNOTATIONS)
        },
        status=ComponentStatus(
            latest_ready_revision=str(status.get("latestReadyRevision") or ""),
            latest_created_revision=str(status.get("latestCreatedRevision") or ""),
            traffic=tuple(
                (str(t.get("revisionName") or ""), percent)
                for t in json_maps(status.get("traffic"))
                if (percent := _int(t.get("percent")) or 0) > 0
            ),
        ),
    )


def _component_amounts(spec: Json) -> Amounts:
    """Amounts of a component: of its `model` where that is its only container, else of its `containers`."""
    model = spec.get("model")
    if isinstance(model, dict) and not spec.get("containers"):
        return amounts_of({"containers": [model]})
    return amounts_of(spec)


def _metric_target(metric: Json) -> MetricTarget | None:
    source = str(metric.get("type") or "")
    body = json_map(metric.get(source[:1].lower() + source[1:]))
    target = json_map(body.get("target"))
    kind = str(target.get("type") or "")
    value = {
        "Utilization": _float(target.get("averageUtilization")),
        "AverageValue": quantity(target.get("averageValue")),
        "Value": quantity(target.get("value")),
    }.get(kind)
    if value is None:
        return None
    return MetricTarget(source, str(body.get("name") or json_map(body.get("metric")).get("name") or ""), kind, value)


def _target(reference: Json, namespace: str) -> ObjectRef:
    """Read a reference to what is scaled; KEDA's may leave out both kind and version."""
    return ObjectRef(
        api_version=str(reference.get("apiVersion") or "apps/v1"),
        kind=str(reference.get("kind") or "Deployment"),
        namespace=namespace,
        name=str(reference.get("name") or ""),
    )


def _owner(reference: Json, namespace: str) -> ObjectRef:
    return ObjectRef(
        str(reference.get("apiVersion") or ""),
        str(reference.get("kind") or ""),
        namespace,
        str(reference.get("name") or ""),
    )


@functools.lru_cache(maxsize=QUANTITIES_KEPT)
def _parsed(value: Any) -> float | None:
    number = parse_quantity(value)  # type: ignore[no-untyped-call]
    return float(number) if isinstance(number, Decimal) else None


def _quantity(container: Json, section: str, name: str) -> float | None:
    resources = json_map(container.get("resources"))
    value = quantity(json_map(resources.get(section)).get(name))
    if value is None and section == "requests":
        return quantity(json_map(resources.get("limits")).get(name))
    return value


def _int(value: Any) -> int | None:
    try:
        return None if value is None or isinstance(value, bool) else int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _float(value: Any) -> float | None:
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
