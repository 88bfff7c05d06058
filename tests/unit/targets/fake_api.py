"""An API server in memory: resource versions, merge patches, field managers and /scale, as the levers use them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from scaler.kube.api import FIELD_MANAGER, Conflict, Json, KubeError, NotFound
from scaler.kube.objects import ObjectRef, PredictiveScalerObject, predictive_scaler_object
from scaler.kube.resources import PREDICTIVE_SCALERS, Resource
from scaler.targets.workload import FloorField

T0: Final = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)

Address = tuple[str, str, str]
Leaf = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it came in."""

    verb: str
    kind: str
    name: str
    subresource: str = ""

    def __str__(self) -> str:
        target = f"{self.kind}/{self.name}"
        return f"{self.verb} {target}/{self.subresource}" if self.subresource else f"{self.verb} {target}"


class FakeApi:
    """Holds objects; `fail` makes matching calls raise, `mutate` stands for a webhook.

    Attributes:
        calls: All that came in, as `verb Kind/name[/subresource]`.
        before: Called with each call before it is answered; may change objects or raise.
        mutate: Called with the object about to be stored by a patch or a create.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.before: Callable[[Call], None] = lambda call: None
        self.mutate: Callable[[Json], None] = lambda item: None
        self._objects: dict[Address, Json] = {}
        self._version = 1000
        self._time = T0

    # What the code under test calls.

    def get(self, resource: Resource, namespace: str | None, name: str, subresource: str = "") -> Json:
        self._arrive(Call("get", resource.kind, name, subresource))
        item = self._find(resource, namespace, name)
        return scale_of(item) if subresource == "scale" else copy.deepcopy(item)

    def create(self, resource: Resource, namespace: str | None, body: Json) -> Json:
        name = body["metadata"]["name"]
        self._arrive(Call("create", resource.kind, name))
        if (resource.kind, namespace or "", name) in self._objects:
            raise Conflict(f"{resource.plural} {name!r} already exists", status=409, reason="AlreadyExists")
        return self.put(resource, body, manager=FIELD_MANAGER)

    def merge_patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Json,
        *,
        subresource: str = "",
        metadata_only: bool = False,
    ) -> Json:
        self._arrive(Call("patch", resource.kind, name, subresource))
        item = self.patch_as(FIELD_MANAGER, resource, namespace or "", name, body, subresource=subresource)
        return {"metadata": item["metadata"]} if metadata_only else item

    # What a test does to the cluster.

    def put(self, resource: Resource, body: Json, *, manager: str = "kubectl") -> Json:
        """Store a new object as somebody's."""
        item = copy.deepcopy(body)
        metadata = item.setdefault("metadata", {})
        self._version += 1
        metadata |= {"uid": metadata.get("uid") or f"uid-{self._version}", "generation": 1}
        self.mutate(item)
        metadata["managedFields"] = [self._entry(manager, set(leaves(item)))]
        metadata["resourceVersion"] = str(self._version)
        self._objects[resource.kind, metadata.get("namespace") or "", metadata["name"]] = item
        return copy.deepcopy(item)

    def patch_as(
        self, manager: str, resource: Resource, namespace: str, name: str, body: Json, *, subresource: str = ""
    ) -> Json:
        """Merge-patch as any manager."""
        item = self._find(resource, namespace, name)
        expected = (body.get("metadata") or {}).get("resourceVersion")
        if expected is not None and expected != item["metadata"]["resourceVersion"]:
            raise Conflict(f"{name}: the object has been modified", status=409, reason="Conflict")
        after = copy.deepcopy(item)
        merge(after, {k: v for k, v in body.items() if (k == "status") == (subresource == "status") or k == "metadata"})
        self.mutate(after)
        self._store(item, after, manager, subresource)
        return scale_of(item) if subresource == "scale" else copy.deepcopy(item)

    def drop(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete an object."""
        del self._objects[resource.kind, namespace, name]

    def value(self, field: FloorField) -> Any:
        """Read what stands in a field now."""
        item: Any = self._objects.get((field.resource.kind, field.namespace, field.name), {})
        for step in field.path:
            item = item.get(step) if isinstance(item, dict) else None
        return item

    def look(self, field: FloorField) -> FloorField:
        """See a field as discovery would: value, uid and resource version of now."""
        item = self._find(field.resource, field.namespace, field.name)
        value = self.value(field)
        metadata = item["metadata"]
        return FloorField(
            resource=field.resource,
            namespace=field.namespace,
            name=field.name,
            path=field.path,
            value=None if value is None else int(value),
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
            subresource=field.subresource,
            share=field.share,
            maximum=field.maximum,
            text=field.text,
            unset_means=field.unset_means,
        )

    def scalers(self) -> list[PredictiveScalerObject]:
        """All PredictiveScalers, as a watch would show them."""
        return [
            predictive_scaler_object(item)
            for (kind, _, _), item in self._objects.items()
            if kind == PREDICTIVE_SCALERS.kind
        ]

    def scaler(self, namespace: str, name: str) -> PredictiveScalerObject | None:
        """One of them."""
        item = self._objects.get((PREDICTIVE_SCALERS.kind, namespace, name))
        return None if item is None else predictive_scaler_object(item)

    def _arrive(self, call: Call) -> None:
        self.calls.append(str(call))
        self.before(call)

    def _find(self, resource: Resource, namespace: str | None, name: str) -> Json:
        item = self._objects.get((resource.kind, namespace or "", name))
        if item is None:
            raise NotFound(f"{resource.plural} {name!r} not found", status=404, reason="NotFound")
        return item

    def _store(self, item: Json, after: Json, manager: str, subresource: str) -> None:
        before_leaves, after_leaves = leaves(item), leaves(after)
        changed = {leaf for leaf, value in after_leaves.items() if before_leaves.get(leaf) != value}
        removed = set(before_leaves) - set(after_leaves)
        if not changed and not removed:
            return
        self._version += 1
        managed = after["metadata"]["managedFields"]
        for entry in managed:
            for leaf in changed | removed:
                disown(entry["fieldsV1"], leaf)
        owned = next((e for e in managed if (e["manager"], e.get("subresource", "")) == (manager, subresource)), None)
        if owned is None:
            owned = self._entry(manager, set(), subresource)
            managed.append(owned)
        for leaf in changed:
            own(owned["fieldsV1"], leaf)
        owned["time"] = self._now()
        after["metadata"]["resourceVersion"] = str(self._version)
        item.clear()
        item |= after

    def _entry(self, manager: str, owned: set[Leaf], subresource: str = "") -> Json:
        entry: Json = {"manager": manager, "operation": "Update", "time": self._now(), "fieldsV1": {}}
        if subresource:
            entry["subresource"] = subresource
        for leaf in owned:
            own(entry["fieldsV1"], leaf)
        return entry

    def _now(self) -> str:
        self._time += timedelta(seconds=1)
        return self._time.strftime("%Y-%m-%dT%H:%M:%SZ")


class FakeView:
    """The watches, always up to date unless `frozen`."""

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self._frozen: list[PredictiveScalerObject] | None = None

    def freeze(self) -> None:
        """Let the watch lag from here on."""
        self._frozen = self.api.scalers()

    def thaw(self) -> None:
        """Let the watch catch up."""
        self._frozen = None

    def predictive_scalers(self) -> list[PredictiveScalerObject]:
        return self.api.scalers() if self._frozen is None else self._frozen

    def predictive_scaler(self, namespace: str, name: str) -> PredictiveScalerObject | None:
        if self._frozen is not None:
            return next((s for s in self._frozen if s.meta.full_name == (namespace, name)), None)
        return self.api.scaler(namespace, name)


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it was emitted."""

    regarding: ObjectRef
    type: str
    reason: str
    message: str


class FakeEvents:
    """Keeps events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, regarding: ObjectRef, uid: str, *, type: str, reason: str, message: str, now: datetime) -> None:
        self.events.append(Event(regarding, type, reason, message))

    @property
    def reasons(self) -> list[str]:
        return [event.reason for event in self.events]


def failing(verb: str, kind: str, error: KubeError, *, times: int = 1_000_000) -> Callable[[Call], None]:
    """Make the next calls of one verb on one kind fail."""
    left = [times]

    def before(call: Call) -> None:
        if (call.verb, call.kind) == (verb, kind) and left[0]:
            left[0] -= 1
            raise error

    return before


def scale_of(item: Json) -> Json:
    """Give the Scale of an object."""
    metadata = item["metadata"]
    kept = {name: metadata[name] for name in ("name", "namespace", "uid", "resourceVersion")}
    return {"kind": "Scale", "metadata": kept, "spec": {"replicas": item["spec"].get("replicas", 0)}}


def merge(item: Json, patch: Json) -> None:
    """Apply a JSON merge patch (RFC 7386) in place."""
    for name, value in patch.items():
        if value is None:
            item.pop(name, None)
        elif isinstance(value, dict):
            inner = item.get(name)
            if not isinstance(inner, dict):
                inner = item[name] = {}
            merge(inner, value)
        else:
            item[name] = copy.deepcopy(value)


def leaves(item: Json) -> dict[Leaf, Any]:
    """Flatten what field managers own; a list is one leaf."""
    found: dict[Leaf, Any] = {}

    def walk(value: Any, path: Leaf) -> None:
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                walk(inner, (*path, name))
        elif path not in {("apiVersion",), ("kind",)}:
            found[path] = value

    for name, value in item.items():
        kept = {k: v for k, v in value.items() if k in {"annotations", "labels"}} if name == "metadata" else value
        if kept != {}:
            walk(kept, (name,))
    return found


def own(fields: Json, leaf: Leaf) -> None:
    for step in leaf:
        fields = fields.setdefault(f"f:{step}", {})


def disown(fields: Json, leaf: Leaf) -> None:
    first, *rest = leaf
    inner = fields.get(f"f:{first}")
    if inner is None:
        return
    if rest:
        disown(inner, tuple(rest))
    if not inner:
        del fields[f"f:{first}"]
