"""The lever of an InferenceService in Standard mode: `spec.<component>.minReplicas`, which KServe passes on.

It never names the HPA or ScaledObject that KServe makes: those are rewritten whenever KServe looks at the service.
"""

from __future__ import annotations

from typing import Final

from scaler.domain import TargetKey
from scaler.kube.objects import (
    Component,
    InferenceServiceObject,
    ObjectRef,
    ScalableObject,
    ScaledObjectObject,
)
from scaler.kube.resources import DEPLOYMENTS, INFERENCE_SERVICES, SCALED_OBJECTS
from scaler.targets import hpa, scale, scaled_object
from scaler.targets.found import Body, Found, Refused, Signal
from scaler.targets.view import ClusterView
from scaler.targets.workload import FloorField, Lever, LeverKind, RefusalReason

DEFAULT_CLASS: Final = "hpa"
EXTERNAL: Final = "external"
_CLASSES: Final = ("hpa", "keda", "none", EXTERNAL)


def reference_to(service: InferenceServiceObject) -> ObjectRef:
    """Name it."""
    return ObjectRef(INFERENCE_SERVICES.api_version, INFERENCE_SERVICES.kind, service.meta.namespace, service.meta.name)


def autoscaler_class(service: InferenceServiceObject) -> str:
    """Give the class that KServe takes in Standard mode: that of a Knative autoscaler counts for nothing there.

    Raises:
        Refused: Nothing is known of this class.
    """
    named = service.autoscaler_class
    if named is None or named.endswith("autoscaling.knative.dev"):
        return DEFAULT_CLASS
    if named not in _CLASSES:
        raise Refused(
            RefusalReason.NOT_SUPPORTED,
            f"serving.kserve.io/autoscalerClass is {named!r}; accepted is {', '.join(_CLASSES)}",
        )
    return named


def deployment_of(view: ClusterView, service: InferenceServiceObject, component: Component) -> ScalableObject:
    """Find the Deployment that KServe made for one component.

    Raises:
        Refused: There is none yet.
    """
    name = f"{service.meta.name}-{component}"
    for candidate in (name, f"{name}-default"):  # the second as older versions of KServe name it
        deployment = view.scalable(DEPLOYMENTS.kind, service.meta.namespace, candidate)
        if deployment is not None and _made_for(deployment.meta.owner, service):
            return deployment
    raise Refused(
        RefusalReason.NOT_FOUND,
        f"KServe has made no Deployment {service.meta.namespace}/{name} yet; it is looked for in every tick",
    )


def standard_found(view: ClusterView, key: TargetKey, service: InferenceServiceObject, component: Component) -> Found:
    """Give the lever of one component of class `hpa`, `keda` or `none`.

    Raises:
        Refused: Somebody else scales its Deployment, or a raised floor would take its headroom away.
    """
    deployment = deployment_of(view, service, component)
    target = ObjectRef(DEPLOYMENTS.api_version, DEPLOYMENTS.kind, service.meta.namespace, deployment.meta.name)
    _refuse_strangers(view, target)
    kserve_class = autoscaler_class(service)
    spec = service.components[component]
    maximum = spec.max_replicas or None
    if kserve_class in {"hpa", "keda"} and maximum is None:
        raise Refused(
            RefusalReason.NO_MAXIMUM,
            f"spec.{component}.maxReplicas is not set, and KServe would lower the maximum to whatever the floor is; "
            f"set spec.{component}.maxReplicas",
        )
    body = scale.body_of(view, target)
    field = FloorField(
        resource=INFERENCE_SERVICES,
        namespace=service.meta.namespace,
        name=service.meta.name,
        path=("spec", component.value, "minReplicas"),
        value=spec.min_replicas,
        uid=service.meta.uid,
        resource_version=service.meta.resource_version,
        maximum=maximum,
        unset_means=1,  # KServe's default
    )
    return Found(
        key=key,
        lever=Lever(LeverKind.INFERENCE_SERVICE, (field,)),
        body=body,
        signal=_signal(view, kserve_class, target, body),
        bounded_by=f"spec.{component}.maxReplicas of {reference_to(service)}",
        own_maximum=maximum,
        lowest=hpa.LOWEST if kserve_class == "hpa" else 0,
        only_scaler=kserve_class == "none",
    )


def _made_for(owner: ObjectRef | None, service: InferenceServiceObject) -> bool:
    return owner is not None and (owner.kind, owner.name) == (INFERENCE_SERVICES.kind, service.meta.name)


def _refuse_strangers(view: ClusterView, target: ObjectRef) -> None:
    """Refuse where an autoscaler that KServe did not make acts on KServe's Deployment."""
    strangers = [str(hpa.reference_to(h)) for h in view.hpas_on(target) if not _by_kserve_or_keda(h.meta.owner)]
    strangers += [
        str(scaled_object.reference_to(s)) for s in view.scaled_objects_on(target) if not _by_kserve(s.meta.owner)
    ]
    if strangers:
        raise Refused(
            RefusalReason.OTHER_OWNER,
            f"{' and '.join(strangers)} scales {target}, and so does KServe; "
            "remove it, or set serving.kserve.io/autoscalerClass: external",
        )


def _by_kserve(owner: ObjectRef | None) -> bool:
    return owner is not None and owner.kind == INFERENCE_SERVICES.kind


def _by_kserve_or_keda(owner: ObjectRef | None) -> bool:
    return owner is not None and owner.kind in {INFERENCE_SERVICES.kind, SCALED_OBJECTS.kind}


def _signal(view: ClusterView, kserve_class: str, target: ObjectRef, body: Body) -> Signal:
    if kserve_class == "none":
        return Signal()
    if kserve_class == "keda":
        return scaled_object.trigger_signal(_keda(view, target, body).trigger_types)
    return hpa.hpa_signal(metric for h in view.hpas_on(target) for metric in h.metrics)


def _keda(view: ClusterView, target: ObjectRef, body: Body) -> ScaledObjectObject:
    found = next(iter(view.scaled_objects_on(target)), None)
    if found is None:
        raise Refused(
            RefusalReason.NOT_FOUND, f"KServe has made no ScaledObject for {body.name} yet; is KEDA installed?"
        )
    scaled_object.refuse_paused(found)
    return found
