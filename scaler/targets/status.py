"""What the status of a PredictiveScaler says, from decisions and discovery; it makes no call and remembers nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Final, TypeAlias

from scaler.controller import Memory
from scaler.domain import Champion, Decision, Mode, Reason
from scaler.kube.api import Json
from scaler.kube.objects import Component, PredictiveScalerObject
from scaler.kube.predictive_scaler import (
    Condition,
    champion_to_json,
    component_of,
    component_statuses,
    conditions_to_json,
    memory_from_json,
    memory_to_json,
    rounded,
)
from scaler.targets.actuator import Trouble
from scaler.targets.stages import Stages
from scaler.targets.workload import Refusal, Workload

# Reasons that tell a user something about the state of a workload; all others are the daily work of scaling.
_NOTABLE: Final = frozenset(
    {
        Reason.NO_METRICS,
        Reason.NO_FORECAST,
        Reason.PAUSED,
        Reason.SCALE_DOWN_PAUSED,
        Reason.CENSORED_METRICS,
        Reason.LEAD_TIME_TOO_LONG,
        Reason.LOAD_ABSENT,
        Reason.TARGET_UNAVAILABLE,
    }
)
# What stays true of a component while nothing is decided for it.
_LEARNED: Final = frozenset({"name", "leadTime", "lastChange", "memory"})
_COMPONENT_ORDER: Final = {component.value: rank for rank, component in enumerate(Component, start=1)}

Visible: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One component of a workload, and what there is to say of it.

    Attributes:
        decision: Newest; None where its load was never seen by this process.
        trouble: What keeps its floor from standing.
        memory: What was learned by this process; None where nothing was.
        last_change: As it stands in status, where this process changed the floor.
    """

    workload: Workload
    decision: Decision | None = None
    trouble: Trouble | None = None
    memory: Memory | None = None
    last_change: Json | None = None

    @property
    def name(self) -> str:
        """Name of the component; empty for a workload of one."""
        return component_of(self.workload.key, self.workload.reference)


@dataclass(frozen=True, slots=True)
class Account:
    """All that one PredictiveScaler speaks of; neither parts nor refusals where its workload is not opted in."""

    parts: tuple[Part, ...] = ()
    refusals: tuple[Refusal, ...] = ()

    @property
    def is_off(self) -> bool:
        """Whether nothing is decided and nothing is wrong."""
        return not self.parts and not self.refusals


def status_of(
    account: Account, scaler: PredictiveScalerObject, *, stages: Mapping[str, Stages | None], now: datetime
) -> Json:
    """Build the whole status; what cannot be said anew, such as the floor of a refused component, stays as it stands.

    Args:
        account: What there is to say.
        scaler: With the status that stands.
        stages: Of the starts of each component's pods, by its name.
        now: Time of a condition's transition.
    """
    before = component_statuses(scaler.status)
    components = _kept(account, before)
    for part in account.parts:
        components[part.name] = _component(part, before.get(part.name, {}), stages.get(part.name))
    generation = scaler.meta.generation
    status: Json = {
        "observedGeneration": generation,
        "conditions": conditions_to_json(
            scaler.status.get("conditions"), conditions_of(account), generation=generation, now=now
        ),
        "components": [components[name] for name in sorted(components, key=_rank)],
    }
    mode = _mode(account, scaler.status)
    return status if mode is None else {"mode": mode, **status}


def visible(account: Account, standing: Json) -> Visible:
    """Give what `visible_in` will read from the status that is to be written over `standing`."""
    before = component_statuses(standing)
    components = {name: _component_visible(kept) for name, kept in _kept(account, before).items()}
    for part in account.parts:
        target, decision, old = part.workload.target, part.decision, before.get(part.name, {})
        components[part.name] = (
            part.workload.lever.kind.value,
            old.get("floor") if decision is None else decision.floor,
            target.min_replicas,
            target.max_replicas,
            _notable(old.get("reason") if decision is None else decision.reason.value),
        )
    conditions = {c.type: (c.status, c.reason) for c in conditions_of(account)}
    return _sorted(_mode(account, standing), conditions, components)


def outline(workload: Workload, decision: Decision | None, trouble: Trouble | None) -> Visible:
    """Give all that `visible` looks at in a part: where this is as before, so is what there is to see."""
    if decision is None:
        return workload, trouble
    told = (decision.floor, decision.reason, decision.reasons, decision.forecast_source, decision.forecast_failure)
    return workload, trouble, *told


def visible_in(status: Json) -> Visible:
    """Give what a user wants to see at once where it changes: mode, conditions, levers, floors and bounds."""
    entries = status.get("conditions")
    conditions = {
        str(c.get("type")): (c.get("status"), c.get("reason"))
        for c in (entries if isinstance(entries, list) else ())
        if isinstance(c, dict)
    }
    components = {name: _component_visible(component) for name, component in component_statuses(status).items()}
    return _sorted(status.get("mode"), conditions, components)


def conditions_of(account: Account) -> tuple[Condition, ...]:
    """Say in four conditions whether all is well."""
    if not account.parts:
        reason = "Off" if account.is_off else "Refused"
        unknown = ("MetricsAvailable", "ForecastAvailable", "FloorHonoured")
        return (_active(account), *(Condition(name, "Unknown", reason) for name in unknown))
    decisions = [part.decision for part in account.parts]
    return (
        _active(account),
        _metrics_available(decisions),
        _forecast_available(decisions),
        _floor_honoured(account.parts),
    )


def change_message(decision: Decision, metric: str) -> str:
    """Say in one sentence why a floor changed."""
    why = [f"load {_short(decision.load)}"]
    if decision.forecast_peak is not None:
        why.append(f"forecast peak {_short(decision.forecast_peak)} ({decision.forecast_source})")
    elif decision.peak is not None:
        why.append(f"peak {_short(decision.peak)} without a forecast")
    if decision.lead_time is not None:
        why.append(f"lead time {decision.lead_time.total_seconds():.0f} s")
    why.append(f"one pod carries {_short(decision.capacity)}")
    change = f"floor from {decision.previous_floor} to {decision.floor}"
    return f"{change} ({decision.reason.value}): {', '.join(why)} [{metric}]"


def champion_message(before: Champion, champion: Champion) -> str:
    """Say in one sentence why another source serves."""
    costs = ", ".join(f"{source} {ratio:.2f}" for source, ratio in champion.cost_ratios.items())
    return f"forecasts of {champion.source} serve in place of {before.source}: cost over persistence's {costs}"


def _active(account: Account) -> Condition:
    if account.refusals:
        first = account.refusals[0]
        return Condition("Active", "False", first.reason.value, "; ".join(_said(account.refusals)))
    if not account.parts:
        return Condition("Active", "False", "Off", "the workload is not opted in, or its mode is off")
    targets = [part.workload.target for part in account.parts]
    if any(target.paused for target in targets):
        return Condition("Active", "True", "Paused", "the floor is held where it stands")
    if any(target.mode is Mode.ON for target in targets):
        return Condition("Active", "True", "On", "the floor is decided and written")
    return Condition(
        "Active", "True", "Shadow", "the floor is decided and recorded; nothing is written to the workload"
    )


def _said(refusals: Iterable[Refusal]) -> list[str]:
    """Name the component before each message, where there are several."""
    named = ((component_of(refusal.key, refusal.reference), refusal.message) for refusal in refusals)
    return [f"{name}: {message}" if name else message for name, message in named]


def _metrics_available(decisions: Sequence[Decision | None]) -> Condition:
    name = "MetricsAvailable"
    if any(decision is None for decision in decisions):
        message = "its load was not seen since the scaler started; nothing is decided before"
        return Condition(name, "False", "NeverSeen", message)
    if any(decision is not None and Reason.NO_METRICS in decision.reasons for decision in decisions):
        message = "no fresh sample of its load; the floor is held, or follows a valid forecast up"
        return Condition(name, "False", Reason.NO_METRICS.value, message)
    return Condition(name, "True", "Seen", "its load is seen")


def _forecast_available(decisions: Sequence[Decision | None]) -> Condition:
    name = "ForecastAvailable"
    made = [decision for decision in decisions if decision is not None]
    if not made:
        return Condition(name, "Unknown", "NeverSeen", "nothing was decided since the scaler started")
    failure = next((d.forecast_failure for d in made if d.forecast_failure is not None), None)
    failed = "" if failure is None else f"; the newest call of the forecaster gave nothing: {failure.value}"
    if any(Reason.NO_FORECAST in decision.reasons for decision in made):
        reason = Reason.NO_FORECAST.value if failure is None else _camel_case(failure.value)
        return Condition(name, "False", reason, f"no valid forecast; decided on the observed load alone{failed}")
    source = made[0].forecast_source or "forecast"
    return Condition(name, "True", _camel_case(source), f"decided on the forecast of {source}{failed}")


def _floor_honoured(parts: Sequence[Part]) -> Condition:
    name = "FloorHonoured"
    trouble = next((part.trouble for part in parts if part.trouble is not None), None)
    if trouble is not None:
        return Condition(name, "False", trouble.reason, trouble.message)
    if not any(part.workload.target.mode is Mode.ON for part in parts):
        return Condition(name, "Unknown", "Shadow", "no floor is written in mode shadow")
    decided = [part.decision for part in parts if part.decision is not None]
    if not decided:
        return Condition(name, "Unknown", "NeverSeen", "nothing was decided since the scaler started")
    if any(decision.reason is Reason.TARGET_UNAVAILABLE for decision in decided):
        return Condition(name, "False", "Retrying", "the newest floor could not be written; the next tick tries again")
    return Condition(name, "True", "AsDecided", "the floor stands as decided")


def _component(part: Part, before: Json, stages: Stages | None) -> Json:
    """Describe one component; without a decision yet, what an earlier process decided stands."""
    workload, decision, memory = part.workload, part.decision, part.memory
    component: Json = dict(before) if decision is None else _decided(decision)
    component |= {
        "name": part.name,
        "lever": workload.lever.kind.value,
        "metric": workload.metric,
        "capacity": rounded(workload.target.capacity),
        "capacitySource": workload.capacity_source,
        "minReplicas": workload.target.min_replicas,
        "maxReplicas": workload.target.max_replicas,
        "currentReplicas": workload.current_replicas,
        "readyReplicas": workload.ready_replicas,
        "notes": list(workload.notes),
        "lastChange": part.last_change or before.get("lastChange"),
        "memory": before.get("memory") if memory is None else memory_to_json(memory),
    }
    if decision is not None:
        learned = memory or memory_from_json(before.get("memory")) or Memory()
        component["leadTime"] = _lead_time(decision.lead_time, learned.durations, stages)
    # The API server refuses a null where it expects a number.
    return {entry: value for entry, value in component.items() if value is not None and value != []}


def _decided(decision: Decision) -> Json:
    return {
        "floor": decision.floor,
        "load": rounded(decision.load),
        "peak": rounded(decision.peak),
        "forecastPeak": rounded(decision.forecast_peak),
        "level": decision.level,
        "forecastSource": decision.forecast_source,
        "champion": champion_to_json(decision.champion) if decision.champion is not None else None,
        "reason": decision.reason.value,
        "reasons": [reason.value for reason in decision.reasons],
    }


def _lead_time(in_use: timedelta | None, durations: Sequence[timedelta], stages: Stages | None) -> Json:
    lead: Json = {"count": len(durations)}
    if durations:
        lead["p50Seconds"] = round(median(duration.total_seconds() for duration in durations), 1)
    if in_use is not None:
        lead["p90Seconds"] = _seconds(in_use)
    if stages is not None:
        lead["stages"] = {
            "scheduledSeconds": _seconds(stages.scheduled),
            "startedSeconds": _seconds(stages.started),
            "readySeconds": _seconds(stages.ready),
        }
    return lead


def _mode(account: Account, standing: Json) -> str | None:
    """Give the mode in force; a refused workload keeps what it had, for its settings cannot be read."""
    if account.is_off:
        return Mode.OFF.value
    modes = {part.workload.target.mode for part in account.parts}
    if modes:
        return (Mode.ON if Mode.ON in modes else Mode.SHADOW).value
    mode = standing.get("mode")
    return mode if isinstance(mode, str) else None


def _kept(account: Account, before: Mapping[str, Json]) -> dict[str, Json]:
    """Give what stays of an earlier account: what was learned of a workload that is off, all of what is refused."""
    if account.is_off:
        return {name: {k: v for k, v in entry.items() if k in _LEARNED} for name, entry in before.items()}
    refused = {component_of(refusal.key, refusal.reference) for refusal in account.refusals}
    # A refusal of the whole workload speaks of every component.
    return {name: entry for name, entry in before.items() if "" in refused or name in refused}


def _component_visible(component: Json) -> Visible:
    numbers = (component.get("floor"), component.get("minReplicas"), component.get("maxReplicas"))
    return (component.get("lever"), *numbers, _notable(component.get("reason")))


def _sorted(mode: object, conditions: Mapping[str, object], components: Mapping[str, object]) -> Visible:
    return (mode, tuple(sorted(conditions.items())), tuple(sorted(components.items())))


def _notable(reason: object) -> str:
    return str(reason) if reason in _NOTABLE else ""


def _rank(name: str) -> tuple[int, str]:
    return _COMPONENT_ORDER.get(name, 0), name


def _camel_case(words: str) -> str:
    joined = "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", words))
    return joined if joined[:1].isalpha() else f"By{joined}"


def _seconds(duration: timedelta) -> float:
    return round(duration.total_seconds(), 1)


def _short(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
