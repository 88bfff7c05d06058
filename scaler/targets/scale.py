"""The lever of what no autoscaler stands on: `spec.replicas` through /scale; and the pods of whatever has a /scale."""

from __future__ import annotations

from typing import Final

from scaler.domain import TargetKey
from scaler.kube.objects import Amounts, ObjectRef, ScalableObject
from scaler.kube.resources import DEPLOYMENTS, INFERENCE_SERVICES, STATEFUL_SETS, Resource
from scaler.targets.found import Body, Found, Refused, Signal
from scaler.targets.view import ClusterView, ForeignScale
from scaler.targets.workload import FloorField, Lever, LeverKind, PodGroup, RefusalReason

SCALABLE_RESOURCES: Final = {resource.kind: resource for resource in (DEPLOYMENTS, STATEFUL_SETS)}

_REPLICAS: Final = ("spec", "replicas")
_NOTHING_KNOWN: Final = Amounts()


def is_watched(reference: ObjectRef) -> bool:
    """Whether it is a Deployment or a StatefulSet, which are watched whole."""
    return reference.group == DEPLOYMENTS.group and reference.kind in SCALABLE_RESOURCES


def watched(view: ClusterView, reference: ObjectRef) -> ScalableObject | None:
    """Look a Deployment or a StatefulSet up; None for all other kinds, and where it is not there."""
    return view.scalable(reference.kind, reference.namespace, reference.name) if is_watched(reference) else None


def body_of(view: ClusterView, reference: ObjectRef) -> Body:
    """Read the pods of anything with a /scale.

    Raises:
        Refused: There is no such object, or its pods cannot be told from others.
    """
    if is_watched(reference):
        return _scalable_body(view, _scalable(view, reference))
    return _foreign_body(view, reference, _foreign(view, reference))


def scale_found(view: ClusterView, key: TargetKey, reference: ObjectRef) -> Found:
    """Give the lever of an object that nobody else scales.

    Raises:
        Refused: There is no such object, or its pods cannot be told from others.
    """
    notes: tuple[str, ...] = ()
    if is_watched(reference):
        scalable = _scalable(view, reference)
        meta = scalable.meta
        field = _field(SCALABLE_RESOURCES[scalable.kind], reference, meta.uid, meta.resource_version, scalable.replicas)
        if meta.owner is not None and meta.owner.kind != INFERENCE_SERVICES.kind:
            notes = (f"It is made by {meta.owner}, which may write its replicas back.",)
    else:
        foreign = _foreign(view, reference)
        field = _field(foreign.resource, reference, foreign.uid, foreign.resource_version, foreign.replicas)
    body = body_of(view, reference)
    lever = Lever(LeverKind.SCALE, (field,))
    return Found(key, lever, body, Signal(), bounded_by=body.name, only_scaler=True, notes=notes)


def _field(resource: Resource, reference: ObjectRef, uid: str, version: str, replicas: int) -> FloorField:
    return FloorField(
        resource=resource,
        namespace=reference.namespace,
        name=reference.name,
        path=_REPLICAS,
        value=replicas,
        uid=uid,
        resource_version=version,
        subresource="scale",
        unset_means=1,  # the API server's default
    )


def _scalable(view: ClusterView, reference: ObjectRef) -> ScalableObject:
    scalable = view.scalable(reference.kind, reference.namespace, reference.name)
    if scalable is None or scalable.meta.deleting:
        raise Refused(RefusalReason.NOT_FOUND, f"there is no {reference}")
    return scalable


def _foreign(view: ClusterView, reference: ObjectRef) -> ForeignScale:
    foreign = view.foreign_scale(reference)
    if foreign is None:
        raise Refused(
            RefusalReason.NOT_FOUND,
            f"no /scale of {reference} ({reference.api_version}) has been read; it is asked for every few seconds, and "
            "appears here where the object exists, its kind has a /scale and the scaler's role may read it",
        )
    return foreign


def _scalable_body(view: ClusterView, scalable: ScalableObject) -> Body:
    meta = scalable.meta
    owner = f"{scalable.kind}/{meta.name}"
    amounts = scalable.amounts
    if amounts == _NOTHING_KNOWN:
        # A LimitRange may have given the pods what the template does not say.
        pods = view.pods_owned(meta.namespace, owner)
        amounts = next((pod.amounts for pod in pods if pod.amounts != _NOTHING_KNOWN), amounts)
    return Body(
        name=f"{scalable.kind} {meta.namespace}/{meta.name}",
        pods=PodGroup(meta.namespace, scalable.match_labels, (owner,), scalable.kind, meta.name),
        amounts=amounts,
        current_replicas=scalable.replicas,
        ready_replicas=scalable.ready_replicas,
        rolling_out=scalable.rolling_out,
        ordered_start=scalable.ordered_ready,
    )


def _foreign_body(view: ClusterView, reference: ObjectRef, foreign: ForeignScale) -> Body:
    if not foreign.selector:
        raise Refused(
            RefusalReason.NOT_SUPPORTED,
            f"the /scale of {reference} names no labels that tell its pods from others (status.selector); "
            "accepted is a selector of equalities",
        )
    return Body(
        name=str(reference),
        pods=PodGroup(reference.namespace, foreign.selector, (), "Deployment", reference.name),
        amounts=foreign.amounts,
        current_replicas=foreign.replicas,
        ready_replicas=sum(pod.ready for pod in view.pods_with(reference.namespace, foreign.selector)),
    )
