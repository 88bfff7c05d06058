"""Sets replica floors through the levers, and notices when somebody takes them back; it never decides a floor."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from scaler.domain import Mode, Target, TargetKey, TargetUnavailable
from scaler.kube.api import Conflict, Forbidden, KubeError, ServerBusy, Unreachable
from scaler.kube.events import EventType
from scaler.kube.objects import PredictiveScalerObject
from scaler.kube.predictive_scaler import RESTORE_FIELDS, RestoreEntry, component_status, restore_record
from scaler.targets.fields import (
    EventPort,
    FieldState,
    NotLeader,
    ObjectApi,
    ScalerView,
    TargetGone,
    ensure_scaler,
    entry_of,
    is_newer,
    leading,
    read_field,
    update_record,
    write_field,
)
from scaler.targets.workload import Discovered, FloorField, Workload

# A watch shows our own write within this long; an older state is no sign of somebody else's hand.
SETTLE: Final = timedelta(seconds=2)
REVERTS_TO_STOP: Final = 2
REVERT_WINDOW: Final = timedelta(minutes=10)
# A floor that could not be set is tried again each tick; untried for longer, it is no longer wanted.
STALE_TROUBLE: Final = timedelta(minutes=1)

_FieldId: TypeAlias = tuple[TargetKey, str]
_Entries: TypeAlias = dict[tuple[str, str, str], RestoreEntry]  # by namespace, field, and uid of the object

logger = logging.getLogger(__name__)


class NotTaken(TargetUnavailable):
    """The API server took a write and holds another value: a webhook changed it."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a floor does not stand as decided.

    Attributes:
        reason: One word in CamelCase, for a condition.
        message: A sentence that says what to do.
    """

    reason: str
    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class _Write:
    """The newest write to one field."""

    value: int
    uid: str
    resource_version: str
    at: datetime


class Actuator:
    """The scale target of the controller in a live cluster; used by one thread."""

    def __init__(
        self,
        api: ObjectApi,
        view: ScalerView,
        *,
        workload: Callable[[TargetKey], Workload | None],
        held: Callable[[], bool],
        events: EventPort,
    ) -> None:
        """Take what it works with.

        Args:
            api: Where floors are written.
            view: Where the restore records are seen.
            workload: Finds a workload as discovery saw it last; None for one that left.
            held: Whether this replica leads at this moment; asked immediately before every write.
            events: Told of trouble and of floors that a new object inherits.
        """
        self._api = api
        self._view = view
        self._workload = workload
        self._held = held
        self._check = leading(held)
        self._events = events
        self._written: dict[_FieldId, _Write] = {}
        self._earlier: dict[_FieldId, RestoreEntry] = {}
        self._standing: tuple[datetime | None, _Entries] = (None, {})  # as read in the tick of that time
        self._reverts: dict[_FieldId, tuple[datetime, ...]] = {}
        self._floors: dict[TargetKey, int] = {}
        self._carriers: dict[TargetKey, frozenset[tuple[str, str]]] = {}
        self._blocked: dict[TargetKey, datetime] = {}
        self._troubles: dict[TargetKey, Trouble] = {}
        self._outage: datetime | None = None

    def apply(self, target: Target, floor: int, now: datetime) -> None:
        """Set the floor of one workload in every field of its lever.

        Raises:
            TargetUnavailable: It was not set, or not everywhere; the next tick tries again.
        """
        workload = self._workload(target.key)
        if workload is None:
            raise TargetGone(f"{target.key} is not in the cluster any more")
        self._set(workload, workload.lever.fields, floor, now)

    def verify(self, discovered: Discovered, now: datetime) -> None:
        """Look for floors that somebody else took back, and forget the workloads that left; once each tick."""
        for workload in _in_mode_on(discovered):
            self._end_block(workload.key, now)
            for field in workload.lever.fields:
                self._look_at(workload, field, now)
            trouble = self._troubles.get(workload.key)
            if trouble is not None and workload.key not in self._blocked and now - trouble.at > STALE_TROUBLE:
                del self._troubles[workload.key]
        self._forget(discovered)

    def reapply(self, discovered: Discovered, now: datetime) -> None:
        """Give objects that are new in a lever the floor of their workload: a new revision inherits it."""
        for workload in _in_mode_on(discovered):
            floor = self.last_floor(workload)
            if floor is None or workload.key in self._blocked:
                continue
            lagging = self._lagging(workload, floor)
            if not lagging:
                continue
            try:
                self._set(workload, lagging, floor, now)
            except TargetUnavailable as error:
                logger.warning("floor_not_inherited", extra={"target": str(workload.key), "error": str(error)})
                continue
            names = ", ".join(field.id for field in lagging)
            message = f"the floor of {floor} now stands in {names} as well"
            self._emit(workload, EventType.NORMAL, "FloorInherited", message, now)

    def last_floor(self, workload: Workload) -> int | None:
        """Give the floor last written for a workload, by this process or, as its status says, by an earlier one."""
        floor = self._floors.get(workload.key)
        if floor is not None:
            return floor
        scaler = self._view.predictive_scaler(workload.key.namespace, workload.scaler_name)
        if scaler is None or scaler.status.get("mode") != Mode.ON.value:
            return None
        said = component_status(scaler, workload.key, workload.reference).get("floor")
        return said if isinstance(said, int) and not isinstance(said, bool) else None

    def standing_floor(self, workload: Workload) -> int:
        """Give the floor of a workload that stands now, our own newest writes included that no watch shows yet."""
        fields = tuple(self._fresh(workload.key, field) for field in workload.lever.fields)
        lever = workload.lever if fields == workload.lever.fields else replace(workload.lever, fields=fields)
        return lever.standing_floor(self.last_floor(workload))

    def trouble(self, key: TargetKey) -> Trouble | None:
        """Give what keeps the floor of a workload from standing; None where nothing does."""
        return self._troubles.get(key)

    def problem(self, key: TargetKey) -> str | None:
        """Give the same in one sentence."""
        trouble = self._troubles.get(key)
        return None if trouble is None else trouble.message

    def _set(self, workload: Workload, fields: Sequence[FloorField], floor: int, now: datetime) -> None:
        """Write a floor into some fields; one that fails does not stop the others."""
        self._refuse_early(workload.key, now)
        failure: TargetUnavailable | None = None
        for field in fields:
            try:
                self._put(workload, self._fresh(workload.key, field), floor, now)
            except NotLeader:
                raise
            except (ServerBusy, Unreachable):
                self._outage = now
                raise
            except TargetUnavailable as error:
                self._report(workload, field, error, now)
                failure = failure or error
        if failure is not None:
            raise failure
        self._floors[workload.key] = floor
        self._carriers[workload.key] = frozenset((f.id, f.uid) for f in workload.lever.fields)
        self._troubles.pop(workload.key, None)

    def _refuse_early(self, key: TargetKey, now: datetime) -> None:
        self._end_block(key, now)
        if key in self._blocked:
            raise TargetUnavailable(self._troubles[key].message)
        if self._outage == now:
            # Each call may wait for seconds; a thousand workloads must not wait one after another.
            raise TargetUnavailable("the API server did not answer earlier in this tick; the next one tries again")

    def _put(self, workload: Workload, field: FloorField, floor: int, now: datetime) -> None:
        value = field.value_for(floor)
        if field.standing == value:
            return
        state = write_field(self._api, self._recorded(workload, field, now), value, check=self._check)
        if state.value != value:
            stands = f"{field.id} holds {state.value} after {value} was written"
            raise NotTaken(f"{stands}; a webhook changed it: let it pass writes of field manager ai-hpa")
        self._written[workload.key, field.id] = _Write(value, state.uid, state.resource_version, now)

    def _recorded(self, workload: Workload, field: FloorField, now: datetime) -> FloorField:
        """Make sure that the value which stood before is kept, and is not a floor of ours.

        Returns:
            The field as it stands now.
        """
        namespace, last = workload.key.namespace, self._written.get((workload.key, field.id))
        scaler = self._view.predictive_scaler(namespace, workload.scaler_name)
        entry = restore_record(scaler.meta.annotations).get(field.id) if scaler is not None else None
        kept = entry is not None and not entry.released and entry.uid == field.uid
        if kept and last is not None and (last.uid, last.value) == (field.uid, field.value):
            return field
        state = read_field(self._api, field)
        if state.value != field.value:
            seen = f"from {field.value} to {state.value}"
            raise TargetUnavailable(f"{field.id} changed {seen} while it was decided on; the next tick decides anew")
        self._keep_earlier(workload, field, state, now)
        return replace(field, resource_version=state.resource_version)

    def _keep_earlier(self, workload: Workload, field: FloorField, state: FieldState, now: datetime) -> None:
        """Write down what stands in a field now, unless it is ours; then what was written down before."""
        elsewhere = self._kept_elsewhere(workload, field, now)

        def change(record: dict[str, RestoreEntry]) -> None:
            known = _same(record.get(field.id), field) or elsewhere
            ours = state.is_ours or (state.managers is None and known is not None)
            earlier = state.value if not ours else known.earlier if known is not None else None
            record.pop(field.id, None)
            record[field.id] = self._earlier[workload.key, field.id] = entry_of(field, earlier)

        scaler = ensure_scaler(
            self._api, workload.scaler_name, workload.reference, workload.reference_uid, check=self._check
        )
        update_record(self._api, scaler, change, check=self._check)

    def _kept_elsewhere(self, workload: Workload, field: FloorField, now: datetime) -> RestoreEntry | None:
        """Find what stood before where the PredictiveScaler was deleted, or where another one wrote the field."""
        known = _same(self._earlier.get((workload.key, field.id)), field)
        if known is not None:
            return known
        at, standing = self._standing
        if at != now:
            # Read once in a tick: the first floors of a thousand workloads would read a thousand records each.
            at, standing = self._standing = now, _standing_entries(self._view.predictive_scalers())
        return standing.get((field.namespace, field.id, field.uid))

    def _fresh(self, key: TargetKey, field: FloorField) -> FloorField:
        """Put our own newest write in place of what a watch that lags behind still shows."""
        write = self._written.get((key, field.id))
        if write is None or write.uid != field.uid or not is_newer(write.resource_version, field.resource_version):
            return field
        return replace(field, value=write.value, resource_version=write.resource_version)

    def _lagging(self, workload: Workload, floor: int) -> list[FloorField]:
        """List the fields that ought to carry the floor and do not, where that is not somebody else's will."""
        fields = [self._fresh(workload.key, field) for field in workload.lever.fields]
        missing = [field for field in fields if field.standing != field.value_for(floor)]
        carriers = self._carriers.get(workload.key)
        if carriers is None:
            # After a restart only a floor that still stands somewhere is known to be meant.
            return missing if len(missing) < len(fields) else []
        return [f for f in missing if (f.id, f.uid) not in carriers or self._is_as_written(workload.key, f)]

    def _is_as_written(self, key: TargetKey, field: FloorField) -> bool:
        """Whether a field holds what we wrote last, so that only its share of the traffic can have changed."""
        write = self._written.get((key, field.id))
        return write is not None and (write.uid, write.value) == (field.uid, field.value)

    def _look_at(self, workload: Workload, field: FloorField, now: datetime) -> None:
        """Find out whether a field that we wrote was taken back, and by whom."""
        address = (workload.key, field.id)
        write = self._written.get(address)
        if write is None or field.value == write.value or now - write.at < SETTLE or self._outage == now:
            return
        if write.uid != field.uid or not is_newer(field.resource_version, write.resource_version):
            return
        try:
            state = read_field(self._api, field)
            if state.value == write.value:
                return
            del self._written[address]
            if self._held():
                self._keep_earlier(workload, field, state, now)
        except TargetGone:
            return
        except KubeError as error:
            self._outage = now if isinstance(error, ServerBusy | Unreachable) else self._outage
            logger.warning("floor_not_verified", extra={"target": str(workload.key), "error": str(error)})
            return
        self._count_revert(workload, field, write, state, now)

    def _count_revert(
        self, workload: Workload, field: FloorField, write: _Write, state: FieldState, now: datetime
    ) -> None:
        who = ", ".join(state.managers or ()) or state.last_manager or "somebody"
        change = f"{field.id} was set to {write.value}, and {who} made it {state.value}"
        logger.warning("floor_reverted", extra={"target": str(workload.key), "change": change})
        address = (workload.key, field.id)
        recent = tuple(at for at in self._reverts.get(address, ()) if now - at < REVERT_WINDOW)
        self._reverts[address] = (*recent, now)
        if len(self._reverts[address]) < REVERTS_TO_STOP:
            return
        self._reverts.pop(address)
        self._blocked[workload.key] = now + REVERT_WINDOW
        minutes = REVERT_WINDOW // timedelta(minutes=1)
        message = (
            f"{change}, twice within {minutes} minutes; nothing is written here for {minutes} minutes. "
            f'Keep {who} from setting this field, or set ai-hpa.dev/mode to "off"'
        )
        self._raise_trouble(workload, "Reverted", message, now)

    def _report(self, workload: Workload, field: FloorField, error: TargetUnavailable, now: datetime) -> None:
        """Keep trouble that will last; what the next tick may well mend is left to the decision's reason."""
        if isinstance(error, Forbidden):
            message = f"{field.id}: {error}; `ai-hpa check` names the permission that is missing"
        elif isinstance(error, NotTaken):
            message = str(error)
        elif isinstance(error, KubeError) and not isinstance(error, Conflict):
            message = f"{field.id}: {error}"
        else:
            return
        self._raise_trouble(workload, type(error).__name__, message, now)

    def _raise_trouble(self, workload: Workload, reason: str, message: str, now: datetime) -> None:
        known = self._troubles.get(workload.key)
        self._troubles[workload.key] = Trouble(reason, message, now)
        if known is None or known.reason != reason:
            event = "FloorReverted" if reason == "Reverted" else "FloorNotSet"
            self._emit(workload, EventType.WARNING, event, message, now)

    def _end_block(self, key: TargetKey, now: datetime) -> None:
        until = self._blocked.get(key)
        if until is not None and now >= until:
            del self._blocked[key]

    def _emit(self, workload: Workload, type_: EventType, reason: str, message: str, now: datetime) -> None:
        self._events.emit(
            workload.reference, workload.reference_uid, type=type_, reason=reason, message=message, now=now
        )

    def _forget(self, discovered: Discovered) -> None:
        """Forget whatever is no longer in mode on; a refused workload holds its floor, and so does the memory of it."""
        keep = {workload.key for workload in _in_mode_on(discovered)} | {r.key for r in discovered.refusals}
        self._written = {address: write for address, write in self._written.items() if address[0] in keep}
        self._earlier = {address: entry for address, entry in self._earlier.items() if address[0] in keep}
        self._reverts = {address: times for address, times in self._reverts.items() if address[0] in keep}
        self._floors = {key: floor for key, floor in self._floors.items() if key in keep}
        self._carriers = {key: fields for key, fields in self._carriers.items() if key in keep}
        self._blocked = {key: until for key, until in self._blocked.items() if key in keep}
        self._troubles = {key: trouble for key, trouble in self._troubles.items() if key in keep}


def _standing_entries(scalers: Iterable[PredictiveScalerObject]) -> _Entries:
    """List what all restore records hold; of two that hold one field, the first counts."""
    entries: _Entries = {}
    for scaler in scalers:
        if RESTORE_FIELDS in scaler.meta.annotations:
            for entry in restore_record(scaler.meta.annotations).values():
                entries.setdefault((scaler.meta.namespace, entry.field_id, entry.uid), entry)
    return entries


def _same(entry: RestoreEntry | None, field: FloorField) -> RestoreEntry | None:
    """Give a restore entry where it is of this very object, not of one that bore its name before."""
    return entry if entry is not None and entry.uid == field.uid else None


def _in_mode_on(discovered: Discovered) -> list[Workload]:
    return [workload for workload in discovered.workloads.values() if workload.target.mode is Mode.ON]
