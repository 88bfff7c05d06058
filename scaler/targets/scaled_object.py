"""The lever of a KEDA ScaledObject that a user made: its `spec.minReplicaCount`; never the HPA that KEDA makes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from scaler.domain import TargetKey
from scaler.kube.objects import ObjectRef, ScaledObjectObject
from scaler.kube.resources import SCALED_OBJECTS
from scaler.targets.found import Body, Found, Refused, Signal
from scaler.targets.workload import FloorField, Lever, LeverKind, RefusalReason

DEFAULT_MAXIMUM: Final = 100  # KEDA's, where maxReplicaCount is not set


def reference_to(scaled_object: ScaledObjectObject) -> ObjectRef:
    """Name it."""
    meta = scaled_object.meta
    return ObjectRef(SCALED_OBJECTS.api_version, SCALED_OBJECTS.kind, meta.namespace, meta.name)


def scaled_object_found(key: TargetKey, scaled_object: ScaledObjectObject, body: Body) -> Found:
    """Give the lever of a ScaledObject over the pods that it scales.

    Raises:
        Refused: KEDA is told to hold it still.
    """
    refuse_paused(scaled_object)
    maximum = DEFAULT_MAXIMUM if scaled_object.max_replicas is None else scaled_object.max_replicas
    meta = scaled_object.meta
    field = FloorField(
        resource=SCALED_OBJECTS,
        namespace=meta.namespace,
        name=meta.name,
        path=("spec", "minReplicaCount"),
        value=scaled_object.min_replicas,
        uid=meta.uid,
        resource_version=meta.resource_version,
        maximum=maximum,
    )
    return Found(
        key=key,
        lever=Lever(LeverKind.SCALED_OBJECT, (field,)),
        body=body,
        signal=trigger_signal(scaled_object.trigger_types),
        bounded_by=str(reference_to(scaled_object)),
        own_maximum=maximum,
    )


def refuse_paused(scaled_object: ScaledObjectObject) -> None:
    """Leave alone what KEDA's own annotations hold.

    Raises:
        Refused: KEDA is told to hold it still.
    """
    if scaled_object.paused:
        raise Refused(
            RefusalReason.OTHER_OWNER,
            f"{reference_to(scaled_object)} is paused, and KEDA holds its replicas; "
            "remove autoscaling.keda.sh/paused and paused-replicas",
        )


def trigger_signal(trigger_types: Iterable[str]) -> Signal:
    """Say what KEDA acts on: cpu before memory, and either before what is not the pods' own."""
    triggers = tuple(trigger_types)
    resource = next((name for name in ("cpu", "memory") if name in triggers), None)
    return Signal(acts_on=resource or (f"KEDA trigger {triggers[0]}" if triggers else None))
