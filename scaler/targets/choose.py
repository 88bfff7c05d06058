"""Chooses the lever of an opted-in object from what the cluster says, or refuses and names who stands in the way.

docs/levers.md is its table. It writes nothing, and never picks a number that another controller owns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

from scaler.domain import TargetKey
from scaler.kube.objects import (
    SERVICE_LABEL,
    Component,
    HpaObject,
    InferenceServiceObject,
    Meta,
    ObjectRef,
    ScaledObjectObject,
)
from scaler.kube.resources import INFERENCE_SERVICES, REVISIONS, SCALED_OBJECTS
from scaler.targets import hpa, inference_service, scale, scaled_object
from scaler.targets.found import Found, Refused
from scaler.targets.revision import revision_found
from scaler.targets.view import ClusterView
from scaler.targets.workload import RefusalReason

Restore: TypeAlias = Mapping[str, int | None]
Autoscaler: TypeAlias = HpaObject | ScaledObjectObject

# Kinds without a /scale that somebody may well name, and what to name instead.
_NAME_INSTEAD: Final = {
    ("serving.knative.dev", "Revision"): "the InferenceService that it belongs to",
    ("serving.knative.dev", "Service"): "the InferenceService that it belongs to",
    ("serving.knative.dev", "Configuration"): "the InferenceService that it belongs to",
    ("serving.kserve.io", "LLMInferenceService"): "its Deployments' HorizontalPodAutoscaler or ScaledObject",
    ("serving.kserve.io", "InferenceGraph"): "the InferenceServices behind it",
    ("", "Pod"): "the Deployment or StatefulSet that owns it",
}
_VPA_HARMLESS: Final = frozenset({"Off", "Initial"})


def choose_service(
    view: ClusterView, service: InferenceServiceObject, restore: Restore
) -> dict[TargetKey, Found | Refused]:
    """Choose a lever for each component of an InferenceService."""
    chosen: dict[TargetKey, Found | Refused] = {}
    for component in service.components:
        key = TargetKey(service.meta.namespace, INFERENCE_SERVICES.kind, f"{service.meta.name}/{component}")
        try:
            chosen[key] = _component(view, key, service, component, restore)
        except Refused as refused:
            chosen[key] = refused
    return chosen


def choose_hpa(view: ClusterView, key: TargetKey, chosen: HpaObject) -> Found:
    """Give the lever of an HPA that was opted in itself.

    Raises:
        Refused: KServe, KEDA or Knative rewrites it, or it is not alone on its target.
    """
    _refuse_owned_autoscaler(chosen.meta, hpa.reference_to(chosen))
    return _autoscaler_found(view, key, chosen.scale_target)


def choose_scaled_object(view: ClusterView, key: TargetKey, chosen: ScaledObjectObject) -> Found:
    """Give the lever of a ScaledObject that was opted in itself.

    Raises:
        Refused: KServe rewrites it, or it is not alone on its target, or KEDA is told to hold it still.
    """
    _refuse_owned_autoscaler(chosen.meta, scaled_object.reference_to(chosen))
    return _autoscaler_found(view, key, chosen.scale_target)


def choose_scalable(view: ClusterView, key: TargetKey, reference: ObjectRef) -> Found:
    """Give the lever of anything with a /scale: the floor of the autoscaler on it, else its replicas.

    Raises:
        Refused: KServe or Knative owns it, another controller acts on it, or it is not there.
    """
    instead = _NAME_INSTEAD.get((reference.group, reference.kind))
    if instead is not None:
        raise Refused(RefusalReason.NOT_SUPPORTED, f"{reference} has no /scale; name {instead}")
    _refuse_owned_scalable(view, reference)
    return _autoscaler_found(view, key, reference)


def owner_service(view: ClusterView, meta: Meta) -> InferenceServiceObject | None:
    """Find the InferenceService that made an object, also by way of a Knative Revision or a ScaledObject."""
    name = meta.labels.get(SERVICE_LABEL)
    if meta.owner is not None and meta.owner.kind == INFERENCE_SERVICES.kind:
        name = meta.owner.name
    return view.inference_service(meta.namespace, name) if meta.owner is not None and name else None


def _component(
    view: ClusterView, key: TargetKey, service: InferenceServiceObject, component: Component, restore: Restore
) -> Found:
    mode = service.deployment_mode or view.facts.default_deployment_mode
    if mode == "Knative":
        return revision_found(view, key, service.components[component], restore)
    if mode != "Standard":
        raise Refused(
            RefusalReason.NOT_FOUND,
            "KServe has not said its deployment mode (status.deploymentMode); accepted is Knative or Standard",
        )
    deployment = inference_service.deployment_of(view, service, component)
    target = ObjectRef("apps/v1", deployment.kind, deployment.meta.namespace, deployment.meta.name)
    if inference_service.autoscaler_class(service) == inference_service.EXTERNAL:
        return _autoscaler_found(view, key, target)
    _refuse_vpa(view, target)
    return inference_service.standard_found(view, key, service, component)


def _autoscaler_found(view: ClusterView, key: TargetKey, target: ObjectRef) -> Found:
    """Give the floor of the one autoscaler on `target`; its /scale where there is none."""
    _refuse_vpa(view, target)
    autoscalers = _autoscalers_on(view, target)
    if len(autoscalers) > 1:
        names = " and ".join(str(_reference_to(autoscaler)) for autoscaler in autoscalers)
        raise Refused(RefusalReason.OTHER_OWNER, f"{names} both scale {target}; keep one of them")
    if not autoscalers:
        return scale.scale_found(view, key, target)
    only = autoscalers[0]
    _refuse_owned_target(view, target, only)
    body = scale.body_of(view, target)
    if isinstance(only, HpaObject):
        return hpa.hpa_found(key, only, body)
    return scaled_object.scaled_object_found(key, only, body)


def _autoscalers_on(view: ClusterView, target: ObjectRef) -> list[Autoscaler]:
    """List who scales `target`: the HPA that KEDA made for a ScaledObject is that ScaledObject's hand."""
    scaled_objects = view.scaled_objects_on(target)
    names = {s.meta.name for s in scaled_objects}
    hands = {s.hpa_name for s in scaled_objects}
    own = [
        h
        for h in view.hpas_on(target)
        if h.meta.name not in hands and not (_owned_by(h.meta, SCALED_OBJECTS.kind) and _owner_name(h.meta) in names)
    ]
    return sorted([*own, *scaled_objects], key=lambda autoscaler: autoscaler.meta.name)


def _refuse_vpa(view: ClusterView, target: ObjectRef) -> None:
    for vpa in view.vpas_on(target):
        if vpa.update_mode not in _VPA_HARMLESS:
            raise Refused(
                RefusalReason.OTHER_OWNER,
                f"VerticalPodAutoscaler {vpa.meta.namespace}/{vpa.meta.name} resizes the pods of {target} (updateMode "
                f"{vpa.update_mode}), so that no capacity of one pod holds; accepted is updateMode Off or Initial",
            )


def _refuse_owned_autoscaler(meta: Meta, reference: ObjectRef) -> None:
    """Refuse an autoscaler that a controller made, which would write its own number back."""
    owner = meta.owner
    instead = {
        INFERENCE_SERVICES.kind: "the InferenceService",
        SCALED_OBJECTS.kind: "the ScaledObject",
        "PodAutoscaler": "the InferenceService",
    }.get(owner.kind if owner is not None else "")
    if owner is not None and instead is not None:
        raise Refused(
            RefusalReason.OTHER_OWNER, f"{reference} is made by {owner}, which rewrites it; annotate {instead} instead"
        )


def _refuse_owned_scalable(view: ClusterView, reference: ObjectRef) -> None:
    """Refuse a Deployment that KServe or Knative made."""
    scalable = scale.watched(view, reference)
    owner = scalable.meta.owner if scalable is not None else None
    if owner is not None and owner.kind in {INFERENCE_SERVICES.kind, REVISIONS.kind}:
        raise Refused(
            RefusalReason.OTHER_OWNER, f"{reference} is made by {owner}; annotate the InferenceService instead"
        )


def _refuse_owned_target(view: ClusterView, target: ObjectRef, autoscaler: Autoscaler) -> None:
    """Refuse an autoscaler on a Deployment whose replicas KServe or Knative writes as well."""
    scalable = scale.watched(view, target)
    if scalable is None or scalable.meta.owner is None:
        return
    owner = scalable.meta.owner
    service = owner_service(view, scalable.meta)
    if owner.kind == INFERENCE_SERVICES.kind and service is not None:
        # A class that is not known is none that leaves the replicas alone.
        if service.autoscaler_class == inference_service.EXTERNAL:
            return
    elif owner.kind not in {INFERENCE_SERVICES.kind, REVISIONS.kind}:
        return
    raise Refused(
        RefusalReason.OTHER_OWNER,
        f"{_reference_to(autoscaler)} scales {target}, whose replicas {owner} writes as well; annotate the "
        "InferenceService, or set its serving.kserve.io/autoscalerClass: external",
    )


def _reference_to(autoscaler: Autoscaler) -> ObjectRef:
    if isinstance(autoscaler, HpaObject):
        return hpa.reference_to(autoscaler)
    return scaled_object.reference_to(autoscaler)


def _owned_by(meta: Meta, kind: str) -> bool:
    return meta.owner is not None and meta.owner.kind == kind


def _owner_name(meta: Meta) -> str:
    return meta.owner.name if meta.owner is not None else ""
