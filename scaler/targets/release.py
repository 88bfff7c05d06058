"""Gives back what stood before the scaler's floors; it never touches a field that somebody else set since."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from scaler.domain import Mode, TargetUnavailable
from scaler.kube.api import NotFound, ServerBusy, Unreachable
from scaler.kube.events import EventType
from scaler.kube.objects import ObjectRef, PredictiveScalerObject
from scaler.kube.predictive_scaler import RESTORE, RestoreEntry, restore_record
from scaler.kube.resources import PREDICTIVE_SCALERS
from scaler.targets.fields import (
    EventPort,
    FieldState,
    NotLeader,
    ObjectApi,
    ScalerView,
    TargetGone,
    field_of,
    leading,
    read_field,
    update_record,
    write_field,
)
from scaler.targets.workload import Discovered, LeverKind, Workload

# A restore that fails is tried again after this long: what refuses it seldom changes faster.
RETRY_AFTER: Final = timedelta(minutes=1)

logger = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What became of one field."""

    RESTORED = "restored"
    LEFT = "left"
    GONE = "gone"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Released:
    """One field that was to be given back.

    Attributes:
        stands: What stands there now; None where nothing does, or where that is not known.
        message: A sentence for the user.
    """

    field_id: str
    outcome: Outcome
    stands: int | None
    message: str


def release(
    api: ObjectApi,
    scaler: PredictiveScalerObject,
    *,
    only: Collection[str] | None = None,
    keep_replicas: bool = False,
    check: Callable[[], None] = lambda: None,
) -> tuple[Released, ...]:
    """Give back what stood before, from the restore record alone.

    A scaler that runs sets its floor again unless its workload is switched off first.

    Args:
        api: The API server.
        scaler: As it was read; its record loses the fields that were given back.
        only: Ids of the fields to give back; None for all.
        keep_replicas: An autoscaler moves the replicas by now, so that only floors are given back and no replicas.
        check: Called immediately before each write; raises where nothing may be written.

    Returns:
        What became of each field, in the order of the record. One that failed stays in the record.

    Raises:
        NotLeader: From `check`.
        ServerBusy, Unreachable: The API server does not answer.
        KubeError: The record could not be written. After any error the next release goes on where this one ended: a
            field that was given back already is recognised.
    """
    namespace = scaler.meta.namespace
    released = tuple(
        _give_back(api, entry, namespace, keep_replicas=keep_replicas, check=check)
        for entry in restore_record(scaler.meta.annotations).values()
        if not entry.released and (only is None or entry.field_id in only)
    )
    with suppress(NotFound):  # gone with its workload
        update_record(api, scaler, lambda record: _settle(record, released), check=check)
    return released


class Releaser:
    """Gives back, in a live cluster, what a workload no longer needs; used by one thread."""

    def __init__(self, api: ObjectApi, view: ScalerView, *, held: Callable[[], bool], events: EventPort) -> None:
        """Take what it works with; `held` is asked immediately before every write."""
        self._api = api
        self._view = view
        self._check = leading(held)
        self._events = events
        self._retry_at: dict[tuple[str, str], datetime] = {}
        self._records: dict[tuple[str, str], PredictiveScalerObject] = {}

    def release_stale(self, discovered: Discovered, now: datetime) -> None:
        """Give back the floors of all that is no longer in mode on, and of retired revisions.

        A PredictiveScaler that was deleted is given back from memory, so a standby too should call this each tick.
        A refused workload keeps its floor: it is invalid now, and was not switched off. To be called only with what a
        synced view discovered: a workload that is merely not seen yet looks like one that was removed.
        """
        workloads, refused = _by_scaler(discovered)
        self._retry_at = {name: at for name, at in self._retry_at.items() if at > now}
        for scaler in self._with_records():
            name = scaler.meta.full_name
            if name in self._retry_at:
                continue
            mine = workloads.get(name, ())
            stale = _stale(scaler, mine, is_refused=name in refused)
            if not stale:
                continue
            try:
                self._release(scaler, stale, mine, now)
            except (NotLeader, ServerBusy, Unreachable) as error:
                logger.warning("release_interrupted", extra={"scaler": "/".join(name), "error": str(error)})
                return
            except TargetUnavailable as error:
                self._retry_at[name] = now + RETRY_AFTER
                logger.warning("release_failed", extra={"scaler": "/".join(name), "error": str(error)})

    def _with_records(self) -> list[PredictiveScalerObject]:
        """List all with a restore record; one that was deleted stays until its fields are given back."""
        standing = {scaler.meta.full_name: scaler for scaler in self._view.predictive_scalers()}
        self._records = {name: scaler for name, scaler in self._records.items() if name not in standing}
        self._records |= {n: scaler for n, scaler in standing.items() if RESTORE in scaler.meta.annotations}
        return list(self._records.values())

    def _release(
        self, scaler: PredictiveScalerObject, stale: Collection[str], workloads: Sequence[Workload], now: datetime
    ) -> None:
        moved_on = any(w.target.mode is Mode.ON and w.lever.kind is not LeverKind.SCALE for w in workloads)
        released = release(self._api, scaler, only=stale, keep_replicas=moved_on, check=self._check)
        if any(entry.outcome is Outcome.FAILED for entry in released):
            self._retry_at[scaler.meta.full_name] = now + RETRY_AFTER
        else:
            self._records.pop(scaler.meta.full_name, None)
        regarding, uid = _regarding(scaler, workloads)
        for entry in released:
            outcome = entry.outcome
            logger.info(
                "field_released", extra={"field": entry.field_id, "outcome": outcome.value, "said": entry.message}
            )
            if outcome is Outcome.FAILED:
                kind, reason = EventType.WARNING, "ReleaseFailed"
            else:
                kind, reason = EventType.NORMAL, "FloorReleased"
            if outcome is not Outcome.GONE:
                self._events.emit(regarding, uid, type=kind, reason=reason, message=entry.message, now=now)


def _by_scaler(
    discovered: Discovered,
) -> tuple[Mapping[tuple[str, str], Sequence[Workload]], Collection[tuple[str, str]]]:
    """Group what was discovered by its PredictiveScaler's namespace and name."""
    workloads: dict[tuple[str, str], list[Workload]] = {}
    for workload in discovered.workloads.values():
        workloads.setdefault((workload.key.namespace, workload.scaler_name), []).append(workload)
    return workloads, {(refusal.key.namespace, refusal.scaler_name) for refusal in discovered.refusals}


def _stale(scaler: PredictiveScalerObject, workloads: Sequence[Workload], *, is_refused: bool) -> set[str]:
    """List the fields of the record whose floor nobody needs any more."""
    if RESTORE not in scaler.meta.annotations:
        return set()
    record = restore_record(scaler.meta.annotations)
    on = [workload for workload in workloads if workload.target.mode is Mode.ON]
    needed = {field.id for workload in on for field in workload.lever.fields}
    retired = {field.id for workload in workloads for field in workload.lever.retired}
    standing = {field_id for field_id, entry in record.items() if not entry.released}
    # Which of the other fields the refused component needs, nobody can say now.
    return (standing & retired if is_refused else standing) - needed


def _give_back(
    api: ObjectApi, entry: RestoreEntry, namespace: str, *, keep_replicas: bool, check: Callable[[], None]
) -> Released:
    field = field_of(entry, namespace)
    try:
        state = read_field(api, field)
        reason = _reason_to_leave(entry, state, keep_replicas=keep_replicas)
        if reason:
            return Released(entry.field_id, Outcome.LEFT, state.value, f"{entry.field_id} {reason}")
        if state.value != entry.earlier:
            seen = replace(field, value=state.value, resource_version=state.resource_version)
            state = write_field(api, seen, entry.earlier, check=check)
    except TargetGone as error:
        return Released(entry.field_id, Outcome.GONE, None, str(error))
    except (NotLeader, ServerBusy, Unreachable):
        raise
    except TargetUnavailable as error:
        message = f"{entry.field_id} could not be given back: {error}"
        return Released(entry.field_id, Outcome.FAILED, None, message)
    back = "was removed again" if entry.earlier is None else f"is {state.value} again"
    return Released(entry.field_id, Outcome.RESTORED, state.value, f"{entry.field_id} {back}, as before AI-HPA")


def _reason_to_leave(entry: RestoreEntry, state: FieldState, *, keep_replicas: bool) -> str:
    """Say why what stands in a field has to stay; empty where it is ours to give back."""
    if state.value == entry.earlier:
        return ""
    if state.managers is not None and not state.is_ours:
        who = ", ".join(state.managers) or state.last_manager or "somebody"
        return f"stays {'unset' if state.value is None else state.value}, as {who} left it"
    if entry.subresource and keep_replicas:
        return f"stays {state.value}: an autoscaler moves it now"
    if entry.subresource and entry.earlier is None:
        return f"stays {state.value}: what stood before is not known"
    return ""


def _settle(record: dict[str, RestoreEntry], released: Iterable[Released]) -> None:
    """Mark in a record what was given back, in place."""
    for done in released:
        if done.outcome is Outcome.FAILED:
            continue
        entry = record.pop(done.field_id, None)
        if entry is not None and done.stands is not None:
            # The API server still takes the scaler for the owner: without this, the next floor would take the
            # user's own value for an old floor of ours.
            record[done.field_id] = replace(entry, earlier=done.stands, released=True)


def _regarding(scaler: PredictiveScalerObject, workloads: Sequence[Workload]) -> tuple[ObjectRef, str]:
    """Choose what an event is about: the workload where it is known, else its PredictiveScaler."""
    if workloads:
        return workloads[0].reference, workloads[0].reference_uid
    kind = PREDICTIVE_SCALERS
    return ObjectRef(kind.api_version, kind.kind, *scaler.meta.full_name), scaler.meta.uid
