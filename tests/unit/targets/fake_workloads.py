"""Workloads on the objects of a `FakeApi`, as discovery would give them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from scaler.domain import Mode, Target, TargetKey
from scaler.kube.api import Json
from scaler.kube.objects import ObjectRef
from scaler.kube.resources import DEPLOYMENTS, HPAS, INFERENCE_SERVICES, REVISIONS, Resource
from scaler.targets.actuator import Actuator
from scaler.targets.workload import (
    Discovered,
    FloorField,
    Lever,
    LeverKind,
    PodGroup,
    Refusal,
    RefusalReason,
    Workload,
)
from tests.unit.targets.fake_api import T0, FakeApi, FakeEvents, FakeView

NAMESPACE: Final = "shop"
MIN_SCALE: Final = ("metadata", "annotations", "autoscaling.knative.dev/min-scale")


def field_on(resource: Resource, name: str, path: tuple[str, ...], **changes: Any) -> FloorField:
    """A field that is not looked at yet."""
    base = FloorField(resource, NAMESPACE, name, path, None, "", "")
    return replace(base, **changes)


def hpa_field(name: str = "web", **changes: Any) -> FloorField:
    return field_on(HPAS, name, ("spec", "minReplicas"), unset_means=1, **changes)


def scale_field(name: str = "web") -> FloorField:
    return field_on(DEPLOYMENTS, name, ("spec", "replicas"), subresource="scale", unset_means=1)


def revision_field(name: str, **changes: Any) -> FloorField:
    return field_on(REVISIONS, name, MIN_SCALE, text=True, **changes)


def service_field(component: str, name: str = "web") -> FloorField:
    return field_on(INFERENCE_SERVICES, name, ("spec", component, "minReplicas"), unset_means=1)


def put_hpa(api: FakeApi, minimum: int | None = 2, name: str = "web", manager: str = "kubectl") -> None:
    spec: Json = {"maxReplicas": 10} if minimum is None else {"minReplicas": minimum, "maxReplicas": 10}
    api.put(HPAS, {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}, manager=manager)


def put_deployment(api: FakeApi, replicas: int = 1, name: str = "web") -> None:
    api.put(DEPLOYMENTS, {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": {"replicas": replicas}})


def put_revision(api: FakeApi, name: str, minimum: int | None = None) -> None:
    annotations = {} if minimum is None else {MIN_SCALE[-1]: str(minimum)}
    body: Json = {"metadata": {"name": name, "namespace": NAMESPACE, "annotations": annotations}, "spec": {"x": 1}}
    api.put(REVISIONS, body, manager="controller")


def put_service(api: FakeApi, name: str = "web", **minimums: int) -> None:
    spec = {component: {"minReplicas": minimum} for component, minimum in minimums.items()}
    api.put(INFERENCE_SERVICES, {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})


class Cluster:
    """The workloads that are opted in, seen anew from the API on each look."""

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self.refusals: tuple[Refusal, ...] = ()
        self._workloads: dict[TargetKey, Workload] = {}

    def add(self, *fields: FloorField, kind: LeverKind = LeverKind.HPA, name: str = "web", **changes: Any) -> TargetKey:
        """Opt a workload in, in mode on."""
        key = TargetKey(NAMESPACE, "Deployment", name)
        scaler = changes.pop("scaler_name", name)
        lever = Lever(kind, fields, retired=changes.pop("retired", ()))
        target = Target(key, min_replicas=0, max_replicas=50, capacity=1.0, mode=Mode.ON)
        self._workloads[key] = Workload(
            target=replace(target, **changes),
            lever=lever,
            pods=PodGroup(NAMESPACE, {"app": name}, (), "Deployment", name),
            reference=ObjectRef("apps/v1", "Deployment", NAMESPACE, scaler),
            reference_uid=f"uid-of-{scaler}",
            scaler_name=scaler,
            metric="cpu",
            capacity_source="90 % of the CPU limit (500m)",
            current_replicas=2,
            ready_replicas=2,
        )
        return key

    def switch(self, key: TargetKey, mode: Mode) -> None:
        workload = self._workloads[key]
        self._workloads[key] = replace(workload, target=replace(workload.target, mode=mode))

    def remove(self, key: TargetKey) -> None:
        del self._workloads[key]

    def refuse(
        self, key: TargetKey, message: str = "ai-hpa.dev/mode: 'maybe' is not accepted", *, scaler_name: str = ""
    ) -> None:
        """Leave a workload alone from here on."""
        self._workloads.pop(key, None)
        name = scaler_name or key.name
        reference = ObjectRef("apps/v1", "Deployment", NAMESPACE, name)
        refusal = Refusal(key, reference, f"uid-of-{name}", name, RefusalReason.INVALID_SETTING, message)
        self.refusals = (*(r for r in self.refusals if r.key != key), refusal)

    def workload(self, key: TargetKey) -> Workload | None:
        workload = self._workloads.get(key)
        if workload is None:
            return None
        lever = workload.lever
        looked = replace(
            lever,
            fields=tuple(self.api.look(field) for field in lever.fields),
            retired=tuple(self.api.look(field) for field in lever.retired),
        )
        return replace(workload, lever=looked)

    def discovered(self) -> Discovered:
        seen = {key: self.workload(key) for key in sorted(self._workloads)}
        return Discovered({key: workload for key, workload in seen.items() if workload is not None}, self.refusals)


@dataclass
class ActuatorWorld:
    """A cluster and an actuator, which can be made anew as by a restart of the scaler."""

    api: FakeApi = field(default_factory=FakeApi)
    events: FakeEvents = field(default_factory=FakeEvents)
    leads: bool = True
    now: datetime = T0

    def __post_init__(self) -> None:
        self.cluster = Cluster(self.api)
        self.view = FakeView(self.api)
        self.restart()

    def restart(self) -> None:
        self.actuator = Actuator(
            self.api, self.view, workload=self.cluster.workload, held=lambda: self.leads, events=self.events
        )

    def apply(self, key: TargetKey, floor: int) -> None:
        workload = self.cluster.workload(key)
        assert workload is not None
        self.actuator.apply(workload.target, floor, self.now)
