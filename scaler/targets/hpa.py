"""The lever of a HorizontalPodAutoscaler that a user made: its `spec.minReplicas`; the HPA stays in charge above it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from scaler.domain import TargetKey
from scaler.kube.objects import HpaObject, MetricTarget, ObjectRef
from scaler.kube.resources import HPAS
from scaler.targets.found import Body, Found, Signal
from scaler.targets.workload import FloorField, Lever, LeverKind

LOWEST: Final = 1  # the API server refuses 0 unless an alpha feature is on

_RESOURCE_METRICS: Final = ("cpu", "memory")
_OWN_PODS: Final = frozenset({"Resource", "ContainerResource"})


def reference_to(hpa: HpaObject) -> ObjectRef:
    """Name it."""
    return ObjectRef(HPAS.api_version, HPAS.kind, hpa.meta.namespace, hpa.meta.name)


def hpa_found(key: TargetKey, hpa: HpaObject, body: Body) -> Found:
    """Give the lever of an HPA over the pods that it scales."""
    maximum = hpa.max_replicas or None
    field = FloorField(
        resource=HPAS,
        namespace=hpa.meta.namespace,
        name=hpa.meta.name,
        path=("spec", "minReplicas"),
        value=hpa.min_replicas,
        uid=hpa.meta.uid,
        resource_version=hpa.meta.resource_version,
        maximum=maximum,
        unset_means=1,  # the API server's default
    )
    return Found(
        key=key,
        lever=Lever(LeverKind.HPA, (field,)),
        body=body,
        signal=hpa_signal(hpa.metrics),
        bounded_by=str(reference_to(hpa)),
        own_maximum=maximum,
        lowest=LOWEST,
    )


def hpa_signal(metrics: Iterable[MetricTarget]) -> Signal:
    """Say what an HPA acts on: cpu before memory, and either before what is not the pods' own."""
    metrics = tuple(metrics)
    own = {metric.name for metric in metrics if metric.source in _OWN_PODS}
    resource = next((name for name in _RESOURCE_METRICS if name in own), None)
    if resource is not None:
        return Signal(acts_on=resource)
    # The API server makes it 80 % of the CPU request where no metric is named.
    return Signal(acts_on=f"{metrics[0].source} metric {metrics[0].name}" if metrics else "cpu")
