"""Reading and writing one floor field, and the record of what stood there before; it decides nothing and keeps nothing.

Who owns a field is read from `managedFields`: the API server notes there who changed it last. That tells our own floor
from a value that somebody else set, also after a restart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from scaler.domain import TargetUnavailable
from scaler.kube.api import FIELD_MANAGER, Conflict, Forbidden, Json, NotFound
from scaler.kube.events import EventType
from scaler.kube.objects import ObjectRef, PredictiveScalerObject, predictive_scaler_object
from scaler.kube.predictive_scaler import RestoreEntry, new_scaler, restore_annotations, restore_record
from scaler.kube.resources import PREDICTIVE_SCALERS, Resource
from scaler.targets.workload import FloorField

ChangeRecord = Callable[[dict[str, RestoreEntry]], None]


class ObjectApi(Protocol):
    """The calls that the levers make; `scaler.kube.api.KubeApi` answers them."""

    def get(self, resource: Resource, namespace: str | None, name: str, subresource: str = "") -> Json:
        """Read one object."""

    def create(self, resource: Resource, namespace: str | None, body: Json) -> Json:
        """Create one object."""

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
        """Change fields of one object."""


class ScalerView(Protocol):
    """The PredictiveScalers as a watch shows them; part of `scaler.targets.view.ClusterView`."""

    def predictive_scalers(self) -> Collection[PredictiveScalerObject]:
        """All of them."""

    def predictive_scaler(self, namespace: str, name: str) -> PredictiveScalerObject | None:
        """One of them."""


class EventPort(Protocol):
    """Who tells the users of a workload what happened to it."""

    def emit(
        self, regarding: ObjectRef, uid: str, *, type: EventType, reason: str, message: str, now: datetime
    ) -> None:
        """Say it; never raises, and several in a row may become one."""


class TargetGone(TargetUnavailable):
    """The object was deleted, or another one stands under its name."""


class NotLeader(TargetUnavailable):
    """This replica does not lead now, or cannot be sure that it does; nothing was written."""


def leading(held: Callable[[], bool]) -> Callable[[], None]:
    """Make the check that goes immediately before each write: it raises NotLeader where this replica does not lead."""

    def check() -> None:
        if not held():
            raise NotLeader("this replica does not lead, or cannot be sure that it does; nothing was written")

    return check


@dataclass(frozen=True, slots=True)
class FieldState:
    """A field as it was read just now.

    Attributes:
        managers: Who owns it; None where that may not be read. Nobody owns a field that is unset.
        last_manager: Who changed the object's spec or metadata last, other than this scaler; empty where unknown.
    """

    value: int | None
    uid: str
    resource_version: str
    managers: tuple[str, ...] | None
    last_manager: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether what stands there was written by the scaler."""
        return self.managers is not None and FIELD_MANAGER in self.managers


def read_field(api: ObjectApi, field: FloorField) -> FieldState:
    """Read a field with its owners.

    Raises:
        TargetGone: The object was deleted and perhaps made anew.
        KubeError: It could not be read.
    """
    try:
        item = api.get(field.resource, field.namespace, field.name)
    except Forbidden:
        if not field.subresource:
            raise
        # Of kinds that only an aggregated role names, no more than /scale may be open; it shows no owners.
        item = _get(api, field, field.subresource)
    except NotFound as exc:
        raise TargetGone(f"{field.id} was deleted") from exc
    state = _state(item, field.path)
    if state.uid != field.uid:
        raise TargetGone(f"{field.id} was deleted and made anew")
    return state


def write_field(api: ObjectApi, field: FloorField, value: int | None, *, check: Callable[[], None]) -> FieldState:
    """Put a value into a field, or remove it, unless the field changed since `field` was seen.

    Where only the rest of the object changed, it is read afresh and tried once more.

    Args:
        api: The API server.
        field: As it was seen; its resource version is the precondition.
        value: None removes what stands there.
        check: Called immediately before each write; raises where nothing may be written.

    Returns:
        What stands there after the write, as the API server answered.

    Raises:
        TargetGone: The object was deleted and perhaps made anew.
        NotLeader: From `check`.
        TargetUnavailable: Somebody else changed the field meanwhile, or the API server did not do it.
    """
    try:
        return _patch(api, field, value, check)
    except Conflict:
        pass
    state = read_field(api, field)
    if state.value == value:
        return state
    if state.value != field.value:
        seen = f"{_words(field.value)} to {_words(state.value)}"
        raise TargetUnavailable(f"{field.id} changed from {seen} while it was decided on; the next tick decides anew")
    return _patch(api, replace(field, resource_version=state.resource_version), value, check)


def field_of(entry: RestoreEntry, namespace: str) -> FloorField:
    """Find the field of a restore entry; what stands there now is not known yet."""
    return FloorField(
        resource=entry.resource,
        namespace=namespace,
        name=entry.name,
        path=entry.path,
        value=None,
        uid=entry.uid,
        resource_version="",
        subresource=entry.subresource,
        text=entry.text,
    )


def entry_of(field: FloorField, earlier: int | None) -> RestoreEntry:
    """Make the restore entry of a field."""
    return RestoreEntry(
        field_id=field.id,
        earlier=earlier,
        resource=field.resource,
        name=field.name,
        path=field.path,
        uid=field.uid,
        subresource=field.subresource,
        text=field.text,
    )


def ensure_scaler(
    api: ObjectApi, name: str, reference: ObjectRef, uid: str, *, check: Callable[[], None]
) -> PredictiveScalerObject:
    """Read a PredictiveScaler afresh, or create it.

    Raises:
        NotLeader: From `check`.
        KubeError: It could be neither read nor created.
    """
    try:
        return predictive_scaler_object(api.get(PREDICTIVE_SCALERS, reference.namespace, name))
    except NotFound:
        pass
    check()
    try:
        item = api.create(PREDICTIVE_SCALERS, reference.namespace, new_scaler(name, reference, uid))
    except Conflict:  # made by somebody between the two calls
        item = api.get(PREDICTIVE_SCALERS, reference.namespace, name)
    return predictive_scaler_object(item)


def update_record(
    api: ObjectApi, scaler: PredictiveScalerObject, change: ChangeRecord, *, check: Callable[[], None]
) -> None:
    """Change the restore record of a PredictiveScaler; read afresh and tried once more where it changed meanwhile.

    Args:
        api: The API server.
        scaler: As it was read.
        change: Changes the record in place; may be called twice.
        check: Called immediately before each write.

    Raises:
        NotLeader: From `check`.
        KubeError: It could not be written.
    """
    try:
        _patch_record(api, scaler, change, check)
    except Conflict:
        item = api.get(PREDICTIVE_SCALERS, scaler.meta.namespace, scaler.meta.name)
        _patch_record(api, predictive_scaler_object(item), change, check)


def is_newer(version: str, than: str) -> bool:
    """Whether one resource version of an object comes after another; versions that are no numbers only differ."""
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than


def _patch_record(
    api: ObjectApi, scaler: PredictiveScalerObject, change: ChangeRecord, check: Callable[[], None]
) -> None:
    record = restore_record(scaler.meta.annotations)
    before = dict(record)
    change(record)
    if list(record.items()) == list(before.items()):
        return
    metadata = {
        "resourceVersion": scaler.meta.resource_version,
        "annotations": restore_annotations(record.values()),
    }
    check()
    namespace, name = scaler.meta.full_name
    api.merge_patch(PREDICTIVE_SCALERS, namespace, name, {"metadata": metadata}, metadata_only=True)


def _patch(api: ObjectApi, field: FloorField, value: int | None, check: Callable[[], None]) -> FieldState:
    written = str(value) if field.text and value is not None else value
    body: Json = {}
    inner = body
    for step in field.path[:-1]:
        inner = inner.setdefault(step, {})
    inner[field.path[-1]] = written
    body.setdefault("metadata", {})["resourceVersion"] = field.resource_version
    check()
    try:
        item = api.merge_patch(field.resource, field.namespace, field.name, body, subresource=field.subresource)
    except NotFound as exc:
        raise TargetGone(f"{field.id} was deleted") from exc
    return _state(item, field.path)


def _get(api: ObjectApi, field: FloorField, subresource: str) -> Json:
    try:
        return api.get(field.resource, field.namespace, field.name, subresource)
    except NotFound as exc:
        raise TargetGone(f"{field.id} was deleted") from exc


def _state(item: Json, path: tuple[str, ...]) -> FieldState:
    metadata = item.get("metadata") or {}
    managed = metadata.get("managedFields")
    owners: tuple[str, ...] | None = None
    last = ""
    if managed is not None:
        owners = tuple(str(entry.get("manager") or "") for entry in managed if _owns(entry.get("fieldsV1"), path))
        others = [e for e in managed if e.get("manager") != FIELD_MANAGER and e.get("subresource") != "status"]
        # Writes through /scale carry no time; they sort first.
        last = str(max(others, key=lambda e: str(e.get("time") or "")).get("manager") or "") if others else ""
    return FieldState(
        value=_number_at(item, path),
        uid=str(metadata.get("uid") or ""),
        resource_version=str(metadata.get("resourceVersion") or ""),
        managers=owners,
        last_manager=last,
    )


def _owns(fields: object, path: tuple[str, ...]) -> bool:
    """Whether a set of managed fields holds a path, or a whole that it is part of."""
    if not fields:
        return False
    for step in path:
        if not isinstance(fields, dict):
            return False
        if not fields:
            return True
        fields = fields.get(f"f:{step}")
    return isinstance(fields, dict)


def _number_at(item: Json, path: tuple[str, ...]) -> int | None:
    value: object = item
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return int(number) if math.isfinite(number) else None


def _words(value: int | None) -> str:
    return "unset" if value is None else str(value)
