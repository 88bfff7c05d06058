"""One PredictiveScaler as a person is told of it: what its spec asks for and what its status says; it changes nothing.

A part of the status that is missing is None and shown as unknown; nothing here takes it for zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from scaler.domain import Champion, Mode, Reason
from scaler.kube.api import Json, json_map, json_maps
from scaler.kube.objects import ObjectRef, PredictiveScalerObject, time_of
from scaler.kube.predictive_scaler import champion_from_json, memory_from_json
from scaler.policy import Trajectory

ACTIVE: Final = "Active"
# Reasons that somebody should look at; all others are the decision at work.
TROUBLE: Final = frozenset(
    {Reason.NO_METRICS, Reason.NO_FORECAST, Reason.LEAD_TIME_TOO_LONG, Reason.CLUSTER_LIMIT, Reason.TARGET_UNAVAILABLE}
)


@dataclass(frozen=True, slots=True)
class ConditionRecord:
    """One condition of the status."""

    type: str
    status: str
    reason: str
    message: str
    since: datetime | None

    @property
    def bad(self) -> bool:
        """Whether it says that something is wrong; every condition here is good when True."""
        return self.status == "False"


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """The newest change of a floor."""

    at: datetime | None
    before: int | None
    after: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class LeadTimeRecord:
    """What was learned of the time from our write to Ready pods, in seconds.

    Attributes:
        count: Scale-ups that it was learned from.
        stages: Median seconds until pods were scheduled, their containers started, and they were Ready; by those words.
    """

    p50_seconds: float | None
    p90_seconds: float | None
    count: int
    stages: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ComponentRecord:
    """What was decided for one component, or for the whole workload under the name ''."""

    name: str
    lever: str
    metric: str
    capacity: float | None
    capacity_source: str
    floor: int | None
    min_replicas: int | None
    max_replicas: int | None
    current_replicas: int | None
    ready_replicas: int | None
    load: float | None
    peak: float | None
    forecast_peak: float | None
    level: float | None
    forecast_source: str
    champion: Champion | None
    lead_time: LeadTimeRecord
    reason: str
    reasons: tuple[str, ...]
    last_change: ChangeRecord | None
    notes: tuple[str, ...]
    trajectory: Trajectory | None


@dataclass(frozen=True, slots=True)
class Record:
    """One PredictiveScaler.

    Attributes:
        mode: As the spec says, else as the scaler found it in the annotations; None where neither says.
        mode_in_force: That the decisions in the status were made in; None before the first.
        seen: The scaler has written a status.
        current: The status speaks of the spec as it is now.
    """

    name: str
    target: ObjectRef
    mode: Mode | None
    mode_in_force: Mode | None
    paused: bool
    scale_down_paused: bool
    seen: bool
    current: bool
    conditions: tuple[ConditionRecord, ...]
    components: tuple[ComponentRecord, ...]

    @property
    def pending(self) -> bool:
        """Whether the spec was changed and the scaler has not acted on it yet."""
        return self.seen and not self.current

    @property
    def trouble(self) -> frozenset[Reason]:
        """Reasons among those of its decisions that somebody should look at; for a workload that is off none."""
        if self.mode is Mode.OFF:
            return frozenset()
        return frozenset(r for r in TROUBLE for c in self.components if r == c.reason or r in c.reasons)

    @property
    def bad_conditions(self) -> tuple[ConditionRecord, ...]:
        """Conditions that say that something is wrong; for a workload that is off none does."""
        return () if self.mode is Mode.OFF else tuple(c for c in self.conditions if c.bad)

    @property
    def troubled(self) -> bool:
        """Whether somebody should look at it."""
        return bool(self.bad_conditions or self.trouble)


def record_of(scaler: PredictiveScalerObject) -> Record:
    """Read one PredictiveScaler."""
    spec, status = scaler.spec, scaler.status
    return Record(
        name=scaler.meta.name,
        target=scaler.target,
        mode=_mode(spec.get("mode")) or _mode(status.get("mode")),
        mode_in_force=_mode(status.get("mode")),
        paused=spec.get("paused") is True,
        scale_down_paused=spec.get("scaleDownPaused") is True,
        seen=bool(status.get("components") or status.get("conditions")),
        current=_int(status.get("observedGeneration")) == scaler.meta.generation,
        conditions=tuple(_condition(c) for c in json_maps(status.get("conditions"))),
        components=tuple(_component(c) for c in json_maps(status.get("components"))),
    )


def _component(item: Json) -> ComponentRecord:
    memory = memory_from_json(item.get("memory"))
    reasons = item.get("reasons")
    notes = item.get("notes")
    return ComponentRecord(
        name=_text(item.get("name")),
        lever=_text(item.get("lever")),
        metric=_text(item.get("metric")),
        capacity=_float(item.get("capacity")),
        capacity_source=_text(item.get("capacitySource")),
        floor=_int(item.get("floor")),
        min_replicas=_int(item.get("minReplicas")),
        max_replicas=_int(item.get("maxReplicas")),
        current_replicas=_int(item.get("currentReplicas")),
        ready_replicas=_int(item.get("readyReplicas")),
        load=_float(item.get("load")),
        peak=_float(item.get("peak")),
        forecast_peak=_float(item.get("forecastPeak")),
        level=_float(item.get("level")),
        forecast_source=_text(item.get("forecastSource")),
        champion=champion_from_json(item.get("champion")),
        lead_time=_lead_time(item.get("leadTime")),
        reason=_text(item.get("reason")),
        reasons=tuple(_text(r) for r in reasons) if isinstance(reasons, list) else (),
        last_change=_change(item.get("lastChange")),
        notes=tuple(_text(n) for n in notes) if isinstance(notes, list) else (),
        trajectory=memory.trajectory if memory is not None else None,
    )


def _lead_time(value: Any) -> LeadTimeRecord:
    item = json_map(value)
    stages = {name: _float(seconds) for name, seconds in json_map(item.get("stages")).items()}
    return LeadTimeRecord(
        p50_seconds=_float(item.get("p50Seconds")),
        p90_seconds=_float(item.get("p90Seconds")),
        count=_int(item.get("count")) or 0,
        stages={n.removesuffix("Seconds"): seconds for n, seconds in stages.items() if seconds is not None},
    )


def _change(value: Any) -> ChangeRecord | None:
    item = json_map(value)
    if not item:
        return None
    return ChangeRecord(
        time_of(item.get("at")), _int(item.get("from")), _int(item.get("to")), _text(item.get("reason"))
    )


def _condition(item: Json) -> ConditionRecord:
    return ConditionRecord(
        type=_text(item.get("type")),
        status=_text(item.get("status")),
        reason=_text(item.get("reason")),
        message=_text(item.get("message")),
        since=time_of(item.get("lastTransitionTime")),
    )


def _mode(value: Any) -> Mode | None:
    return Mode(value) if value in set(Mode) else None


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _int(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
