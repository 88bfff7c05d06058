"""Which objects the cluster's users opted in, and which PredictiveScaler counts for each; it judges no setting."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeAlias

from scaler.domain import TargetKey
from scaler.kube.objects import (
    HpaObject,
    InferenceServiceObject,
    ObjectRef,
    PredictiveScalerObject,
    ScalableObject,
    ScaledObjectObject,
)
from scaler.kube.predictive_scaler import CREATED_BY, CREATED_BY_SCALER, RESTORE
from scaler.kube.resources import (
    DEPLOYMENTS,
    HPAS,
    INFERENCE_SERVICES,
    PREDICTIVE_SCALERS,
    SCALED_OBJECTS,
    STATEFUL_SETS,
)
from scaler.targets.annotations import overrides
from scaler.targets.view import ClusterView
from scaler.targets.workload import Refusal, RefusalReason

NAME_LENGTH: Final = 253  # of an object in the API

Subject: TypeAlias = ScalableObject | InferenceServiceObject | HpaObject | ScaledObjectObject
Identity: TypeAlias = tuple[str, str, str]  # namespace, kind (with its group where it is not watched), name

_WATCHED: Final = {r.kind: r for r in (DEPLOYMENTS, STATEFUL_SETS, INFERENCE_SERVICES, HPAS, SCALED_OBJECTS)}
_LATE: Final = datetime.max.replace(tzinfo=UTC)


class OptedIn(NamedTuple):
    """One object that is opted in; a tuple, because a large cluster makes a thousand of these in every tick.

    Attributes:
        subject: As it stands; None where only a PredictiveScaler names it and it has still to be looked up.
        scaler: The PredictiveScaler that counts for it.
    """

    identity: Identity
    subject: Subject | None
    scaler: PredictiveScalerObject | None

    @property
    def reference(self) -> ObjectRef:
        """Names it as the API does."""
        return _reference(self.identity, self.scaler)

    @property
    def key(self) -> TargetKey:
        """Names it as a whole."""
        reference = self.reference
        return TargetKey(reference.namespace, reference.kind, reference.name)

    @property
    def scaler_name(self) -> str:
        """Of its PredictiveScaler, which may not exist yet."""
        return scaler_name(self.reference) if self.scaler is None else self.scaler.meta.name

    @property
    def uid(self) -> str:
        """Of the object; empty where it is not known yet."""
        return "" if self.subject is None else self.subject.meta.uid

    @property
    def missing(self) -> bool:
        """Whether it is of a kind that is watched, and is not there."""
        return self.subject is None and self.identity[1] in _WATCHED

    def refusal(self, reason: RefusalReason, message: str, key: TargetKey | None = None) -> Refusal:
        """Refuse it, or one component of it."""
        return Refusal(key or self.key, self.reference, self.uid, self.scaler_name, reason, message)


def scaler_name(reference: ObjectRef) -> str:
    """Name the PredictiveScaler that the scaler makes for an object: `deployment-web`, cut to what the API takes."""
    name = f"{reference.kind.lower()}-{reference.name}"
    if len(name) <= NAME_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:10]
    return f"{name[: NAME_LENGTH - len(digest) - 1].rstrip('-.')}-{digest}"


def opt_ins(view: ClusterView) -> tuple[dict[Identity, OptedIn], tuple[Refusal, ...]]:
    """Match annotated objects with PredictiveScalers.

    Returns:
        Every object that is opted in, and a refusal for every PredictiveScaler that does not count.
    """
    subjects = {
        (item.meta.namespace, kind, item.meta.name): item
        for kind, items in _annotatable(view)
        for item in items
        if item.meta.opted_in and not item.meta.deleting
    }
    scalers, duplicates = _scalers(view)
    found = {identity: OptedIn(identity, subject, scalers.get(identity)) for identity, subject in subjects.items()}
    autoscalers: dict[Identity, Subject] | None = None
    for identity, scaler in scalers.items():
        if identity not in found and _stands_by_itself(scaler) and not scaler.meta.deleting:
            autoscalers = _autoscalers(view) if autoscalers is None else autoscalers
            found[identity] = OptedIn(identity, _unannotated(view, autoscalers, identity), scaler)
    return found, duplicates


def identity_of(reference: ObjectRef) -> Identity:
    """Name an object whatever the version of its kind; a group that is left out is taken for the usual one."""
    watched = _WATCHED.get(reference.kind)
    if watched is not None and reference.group in {watched.group, DEPLOYMENTS.group}:
        return reference.namespace, reference.kind, reference.name
    return reference.namespace, f"{reference.kind}.{reference.group}", reference.name


def _scalers(view: ClusterView) -> tuple[dict[Identity, PredictiveScalerObject], tuple[Refusal, ...]]:
    """Find the PredictiveScaler that counts for each target, and refuse the others."""
    by_target: dict[Identity, list[PredictiveScalerObject]] = {}
    for scaler in view.predictive_scalers():
        by_target.setdefault(identity_of(scaler.target), []).append(scaler)
    duplicates: list[Refusal] = []
    for named in by_target.values():
        if len(named) > 1:
            named.sort(key=_seniority)
            others = [other for other in named[1:] if not (other.meta.deleting or _is_empty(other))]
            duplicates += [_duplicate(named[0], other) for other in others]
    return {identity: named[0] for identity, named in by_target.items()}, tuple(duplicates)


def _annotatable(view: ClusterView) -> Iterator[tuple[str, Iterable[Subject]]]:
    for resource in (DEPLOYMENTS, STATEFUL_SETS):
        yield resource.kind, view.scalables(resource.kind)
    yield INFERENCE_SERVICES.kind, view.inference_services()
    yield HPAS.kind, view.hpas()
    yield SCALED_OBJECTS.kind, view.scaled_objects()


def _autoscalers(view: ClusterView) -> dict[Identity, Subject]:
    """List HPAs and ScaledObjects by name; the view finds them by what they scale."""
    kinds: tuple[tuple[str, Iterable[Subject]], ...] = (
        (HPAS.kind, view.hpas()),
        (SCALED_OBJECTS.kind, view.scaled_objects()),
    )
    return {(item.meta.namespace, kind, item.meta.name): item for kind, items in kinds for item in items}


def _unannotated(view: ClusterView, autoscalers: Mapping[Identity, Subject], identity: Identity) -> Subject | None:
    """Look up an object that only a PredictiveScaler names."""
    namespace, kind, name = identity
    found = autoscalers.get(identity)
    if kind == INFERENCE_SERVICES.kind:
        found = view.inference_service(namespace, name)
    elif kind in {DEPLOYMENTS.kind, STATEFUL_SETS.kind}:
        found = view.scalable(kind, namespace, name)
    return None if found is not None and found.meta.deleting else found


def _duplicate(counts: PredictiveScalerObject, other: PredictiveScalerObject) -> Refusal:
    meta = other.meta
    return Refusal(
        TargetKey(meta.namespace, PREDICTIVE_SCALERS.kind, meta.name),
        ObjectRef(PREDICTIVE_SCALERS.api_version, PREDICTIVE_SCALERS.kind, meta.namespace, meta.name),
        meta.uid,
        meta.name,
        RefusalReason.OTHER_OWNER,
        f"{counts.target} has the older PredictiveScaler {counts.meta.name}, which counts; move your settings into its "
        "spec, or delete it first",
    )


def _seniority(scaler: PredictiveScalerObject) -> tuple[bool, bool, datetime, str]:
    meta = scaler.meta
    return meta.deleting, _is_empty(scaler), meta.created or _LATE, meta.name


def _is_empty(scaler: PredictiveScalerObject) -> bool:
    """Whether the scaler made it, and neither a user's word nor a value to restore would be lost with it."""
    return not _stands_by_itself(scaler) and RESTORE not in scaler.meta.annotations


def _stands_by_itself(scaler: PredictiveScalerObject) -> bool:
    """Whether it opts its target in without any annotation there: made by hand, or told something by hand."""
    return scaler.meta.annotations.get(CREATED_BY) != CREATED_BY_SCALER or overrides(scaler.spec)


def _reference(identity: Identity, scaler: PredictiveScalerObject | None) -> ObjectRef:
    namespace, kind, name = identity
    watched = _WATCHED.get(kind)
    if watched is not None:
        return ObjectRef(watched.api_version, kind, namespace, name)
    if scaler is None:
        raise ValueError(f"{kind} {namespace}/{name} is named by nobody")
    return scaler.target
