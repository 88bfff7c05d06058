"""Keeps decisions and what was learned in the status of the PredictiveScalers; it never touches a workload.

Status is written where something changed that a user wants to see, and otherwise once per period, spread over it by
the workloads' names. Where these are too many for a tick, as a thousand are, they are written less often, and so is
what shadow mode would do; what changed on a workload does not wait for them.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple, TypeAlias, TypeVar

from scaler.controller import Memory
from scaler.domain import Action, Champion, Decision, Mode, TargetKey
from scaler.kube.api import Json, KubeError, ServerBusy, Unreachable
from scaler.kube.events import EventType
from scaler.kube.objects import ObjectRef
from scaler.kube.predictive_scaler import component_status, memory_from_json, rfc3339
from scaler.kube.resources import PREDICTIVE_SCALERS
from scaler.targets.actuator import Trouble
from scaler.targets.fields import EventPort, NotLeader, ObjectApi, ScalerView, ensure_scaler, leading
from scaler.targets.stages import Stages
from scaler.targets.status import (
    Account,
    Part,
    Visible,
    champion_message,
    change_message,
    outline,
    status_of,
    visible,
    visible_in,
)
from scaler.targets.workload import Discovered, Refusal, Workload

# A status that is refused is tried again after this long: what refuses it seldom changes faster.
RETRY_AFTER: Final = timedelta(minutes=1)

_Name: TypeAlias = tuple[str, str]
_K = TypeVar("_K")
_V = TypeVar("_V")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RecorderConfig:
    """How often status is written.

    Attributes:
        period: What did not change is written this often; the longest forecast period.
        writes_per_tick: At most this many, and a sixth as many of those that touch no workload: what did not change,
            and what shadow mode would do, which is most of what there is to write in a large cluster and costs the
            scaler more than deciding. What is left over comes first in the next tick.
    """

    period: timedelta = timedelta(seconds=300)
    writes_per_tick: int = 100


@dataclass(frozen=True, slots=True)
class Sources:
    """Whom the recorder asks about a workload; each answers at once, without a call.

    Attributes:
        workload: As discovery saw it last; None for one that left.
        trouble: What keeps its floor from standing.
        seed: Lead times of the pods that run now, for a workload of which nothing was learned yet.
        stages: Where the time of its pods' starts goes.
    """

    workload: Callable[[TargetKey], Workload | None]
    trouble: Callable[[TargetKey], Trouble | None] = lambda key: None
    seed: Callable[[TargetKey], tuple[timedelta, ...]] = lambda key: ()
    stages: Callable[[Workload], Stages | None] = lambda workload: None


class _Subject(NamedTuple):
    """One PredictiveScaler, the workload that it is for, and its components."""

    name: _Name
    workloads: tuple[Workload, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    reference: ObjectRef | None = None
    reference_uid: str = ""

    @property
    def only_shadows(self) -> bool:
        """Whether nothing is written to the workload."""
        return (
            bool(self.workloads)
            and not self.refusals
            and all(workload.target.mode is Mode.SHADOW for workload in self.workloads)
        )


class _Comparison(NamedTuple):
    """Whether there is something else to see than is shown; kept, because most is as it was a tick ago."""

    outlines: list[Visible]
    refusals: tuple[Refusal, ...]
    status: Json
    shown: Visible
    differs: bool

    def stands(self, outlines: list[Visible], refusals: tuple[Refusal, ...], status: Json, shown: Visible) -> bool:
        """Whether comparing these would come to the same."""
        same = status is self.status and shown is self.shown
        return same and outlines == self.outlines and refusals == self.refusals


class StatusRecorder:
    """Recorder and memory of the controller in a live cluster; used by one thread."""

    def __init__(
        self,
        api: ObjectApi,
        view: ScalerView,
        *,
        held: Callable[[], bool],
        events: EventPort,
        sources: Sources,
        config: RecorderConfig | None = None,
    ) -> None:
        """Take what it works with; `held` is asked immediately before every write."""
        self._api = api
        self._view = view
        self._held = held
        self._check = leading(held)
        self._events = events
        self._sources = sources
        self._config = config or RecorderConfig()
        self._decisions: dict[TargetKey, Decision] = {}
        self._memories: dict[TargetKey, Memory] = {}
        self._last_changes: dict[TargetKey, Json] = {}
        self._changes: list[Decision] = []
        self._crowned: list[tuple[Decision, str]] = []
        self._told: dict[tuple[_Name, TargetKey], tuple[str, str]] = {}
        self._shown: dict[_Name, Visible] = {}
        self._compared: dict[_Name, _Comparison] = {}
        self._periods: dict[_Name, int] = {}
        self._waiting: dict[_Name, datetime] = {}
        self._retry_at: dict[_Name, datetime] = {}

    def record(self, decision: Decision) -> None:
        """Keep one decision for the next flush."""
        before = self._decisions.get(decision.key)
        self._decisions[decision.key] = decision
        if before is not None and before.champion is not decision.champion:
            self._note_champion(before.champion, decision)
        if decision.action is Action.NONE:
            return
        self._last_changes[decision.key] = {
            "at": rfc3339(decision.at),
            "from": decision.previous_floor,
            "to": decision.floor,
            "reason": decision.reason.value,
        }
        if decision.mode is Mode.ON:
            self._changes.append(decision)

    def _note_champion(self, before: Champion | None, decision: Decision) -> None:
        champion = decision.champion
        if before is not None and champion is not None and champion.source is not before.source:
            self._crowned.append((decision, champion_message(before, champion)))

    def keep(self, key: TargetKey, memory: Memory) -> None:
        """Keep what was learned for the next flush."""
        self._memories[key] = memory

    def recall(self, key: TargetKey) -> Memory | None:
        """Give what was learned: by this process, else as status has it; lead times else from pods that run now."""
        memory = self._memories.get(key)
        workload = self._sources.workload(key)
        if memory is not None or workload is None:
            return memory
        scaler = self._view.predictive_scaler(key.namespace, workload.scaler_name)
        memory = memory_from_json(component_status(scaler, key, workload.reference).get("memory"))
        if memory is not None and memory.durations:
            return memory
        seed = self._sources.seed(key)
        return replace(memory or Memory(), durations=seed) if seed else memory

    def flush(self, discovered: Discovered, now: datetime) -> int:
        """Say and write what is due; one PredictiveScaler that cannot be written leaves the others alone.

        To be called once after each tick, and only with what a synced view discovered.

        Returns:
            Number of statuses written.
        """
        subjects = self._subjects(discovered)
        self._forget(discovered, subjects)
        changes, self._changes = self._changes, []
        crowned, self._crowned = self._crowned, []
        if not self._held():
            return 0
        for decision in changes:
            self._tell_change(decision, now)
        for decision, message in crowned:
            self._tell_champion(decision, message, now)
        for subject in subjects:
            if subject.refusals:
                self._tell_refusals(subject, now)
        written = 0
        for subject in self._due(subjects, now):
            extra = {"scaler": "/".join(subject.name)}
            try:
                written += self._write(subject, now)
            except (NotLeader, ServerBusy, Unreachable) as error:
                logger.warning("status_interrupted", extra={**extra, "error": str(error)})
                break
            except KubeError as error:
                self._waiting.pop(subject.name, None)
                self._retry_at[subject.name] = now + RETRY_AFTER
                logger.warning("status_not_written", extra={**extra, "error": str(error)})
        return written

    def _subjects(self, discovered: Discovered) -> list[_Subject]:
        """Group what was discovered by PredictiveScaler, and add those whose workload is not opted in any more."""
        workloads: dict[_Name, list[Workload]] = {}
        refusals: dict[_Name, list[Refusal]] = {}
        for workload in discovered.workloads.values():
            workloads.setdefault((workload.key.namespace, workload.scaler_name), []).append(workload)
        for refusal in discovered.refusals:
            refusals.setdefault((refusal.key.namespace, refusal.scaler_name), []).append(refusal)
        subjects = []
        for name in workloads | refusals:
            parts, refused = workloads.get(name, ()), refusals.get(name, ())
            first = (*parts, *refused)[0]
            subjects.append(_Subject(name, tuple(parts), tuple(refused), first.reference, first.reference_uid))
        standing = (scaler.meta.full_name for scaler in self._view.predictive_scalers())
        return subjects + [_Subject(name) for name in standing if name not in workloads and name not in refusals]

    def _account(self, subject: _Subject) -> Account:
        """Put together all that there is to say."""
        return Account(tuple(self._part(workload) for workload in subject.workloads), subject.refusals)

    def _part(self, workload: Workload) -> Part:
        key = workload.key
        return Part(
            workload=workload,
            decision=self._decisions.get(key),
            trouble=self._sources.trouble(key),
            memory=self._memories.get(key),
            last_change=self._last_changes.get(key),
        )

    def _due(self, subjects: Iterable[_Subject], now: datetime) -> list[_Subject]:
        """List what is written now: what waited longest first, of those what touches a workload before the rest."""
        order: list[tuple[datetime, bool, _Subject]] = []
        for subject in subjects:
            name = subject.name
            if self._retry_at.get(name, now) > now:
                continue
            period = self._period(name, now)
            is_up = bool(subject.workloads) and self._periods.setdefault(name, period) != period
            changed = self._is_changed(subject)
            if changed or is_up:
                touches_none = not changed or subject.only_shadows
                order.append((self._waiting.setdefault(name, now), touches_none, subject))
            else:
                self._waiting.pop(name, None)
        order.sort(key=lambda entry: entry[:2])
        room = self._config.writes_per_tick
        patient = [subject.name for _, touches_none, subject in order if touches_none]
        put_off = set(patient[-(-room // 6) :])
        return [subject for _, _, subject in order if subject.name not in put_off][:room]

    def _period(self, name: _Name, now: datetime) -> int:
        """Number the period that a workload is in; its name says when within a period its own begins."""
        seconds = self._config.period.total_seconds()
        offset = zlib.crc32("/".join(name).encode()) / 2**32 * seconds
        return int((now.timestamp() + offset) // seconds)

    def _is_changed(self, subject: _Subject) -> bool:
        """Whether status shows something else than what a user ought to see."""
        scaler = self._view.predictive_scaler(*subject.name)
        if scaler is None:
            return bool(subject.reference_uid)
        shown = self._shown.get(subject.name)
        if shown is None:
            shown = self._shown[subject.name] = visible_in(scaler.status)
        outlines = [outline(w, self._decisions.get(w.key), self._sources.trouble(w.key)) for w in subject.workloads]
        seen = (outlines, subject.refusals, scaler.status, shown)
        known = self._compared.get(subject.name)
        if known is None or not known.stands(*seen):
            differs = visible(self._account(subject), scaler.status) != shown
            known = self._compared[subject.name] = _Comparison(*seen, differs)
        return known.differs

    def _write(self, subject: _Subject, now: datetime) -> bool:
        """Write one status, without the parts that stand already; False where all of it does."""
        namespace, name = subject.name
        scaler = self._view.predictive_scaler(namespace, name)
        if scaler is None:
            if subject.reference is None:
                return False
            scaler = ensure_scaler(self._api, name, subject.reference, subject.reference_uid, check=self._check)
        account = self._account(subject)
        stages = {part.name: self._sources.stages(part.workload) for part in account.parts}
        status = status_of(account, scaler, stages=stages, now=now)
        patch = {entry: value for entry, value in status.items() if scaler.status.get(entry) != value}
        if patch:
            self._check()
            self._api.merge_patch(
                PREDICTIVE_SCALERS, namespace, name, {"status": patch}, subresource="status", metadata_only=True
            )
        self._shown[subject.name] = visible_in(status)
        self._periods[subject.name] = self._period(subject.name, now)
        self._waiting.pop(subject.name, None)
        return bool(patch)

    def _tell_change(self, decision: Decision, now: datetime) -> None:
        workload = self._sources.workload(decision.key)
        if workload is not None:
            reason = "ScaledUp" if decision.action is Action.SCALE_UP else "ScaledDown"
            self._emit(workload, EventType.NORMAL, reason, change_message(decision, workload.metric), now)

    def _tell_champion(self, decision: Decision, message: str, now: datetime) -> None:
        workload = self._sources.workload(decision.key)
        if workload is not None:
            self._emit(workload, EventType.NORMAL, "ChampionChanged", message, now)

    def _tell_refusals(self, subject: _Subject, now: datetime) -> None:
        """Tell each refusal once: to the log, and by an event unless an earlier process left it in status already."""
        for refusal in subject.refusals:
            address, said = (subject.name, refusal.key), (refusal.reason.value, refusal.message)
            known = self._told.get(address)
            self._told[address] = said
            if known == said:
                continue
            logger.warning(
                "workload_refused",
                extra={"target": str(refusal.key), "reason": refusal.reason.value, "said": refusal.message},
            )
            if known is not None or not self._stands_in_status(subject, refusal):
                self._emit(refusal, EventType.WARNING, refusal.reason.value, refusal.message, now)

    def _stands_in_status(self, subject: _Subject, refusal: Refusal) -> bool:
        scaler = self._view.predictive_scaler(*subject.name)
        conditions = scaler.status.get("conditions") if scaler is not None else None
        return any(
            isinstance(condition, dict)
            and condition.get("type") == "Active"
            and refusal.message in str(condition.get("message"))
            for condition in (conditions if isinstance(conditions, list) else ())
        )

    def _emit(self, about: Workload | Refusal, type_: EventType, reason: str, message: str, now: datetime) -> None:
        self._events.emit(about.reference, about.reference_uid, type=type_, reason=reason, message=message, now=now)

    def _forget(self, discovered: Discovered, subjects: Iterable[_Subject]) -> None:
        """Forget workloads that left, and PredictiveScalers that are gone."""
        refused = {((r.key.namespace, r.scaler_name), r.key) for r in discovered.refusals}
        keys = discovered.workloads.keys() | {key for _, key in refused}
        names = {subject.name for subject in subjects}
        self._decisions = _only(self._decisions, discovered.workloads.keys())
        self._memories = _only(self._memories, keys)
        self._last_changes = _only(self._last_changes, keys)
        self._told = _only(self._told, refused)
        self._shown = _only(self._shown, names)
        self._compared = _only(self._compared, names)
        self._periods = _only(self._periods, names)
        self._waiting = _only(self._waiting, names)
        self._retry_at = _only(self._retry_at, names)


def _only(entries: dict[_K, _V], keys: Set[_K]) -> dict[_K, _V]:
    """Drop all others; what stands is the same as ever, where all of it is wanted."""
    return entries if entries.keys() <= keys else {key: value for key, value in entries.items() if key in keys}
