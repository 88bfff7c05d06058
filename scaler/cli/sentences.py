"""Why a floor is what it is, in plain words; pure, and as complete as the closed sets of reasons are.

Every `Reason` and every `RefusalReason` has its sentence here; a test fails where one is missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

from scaler.cli import words
from scaler.cli.record import ComponentRecord, ConditionRecord, Record
from scaler.domain import SOURCE_NAMES, Champion, ChampionReason, Mode, Reason, Source
from scaler.targets.workload import RefusalReason

# What settled the floor. {low} and {high} are the bounds, {floor} the floor, as counts of pods.
SETTLED: Final[Mapping[Reason, str]] = {
    Reason.DESIRED_WITHIN_RANGE: "Nothing held it back: {floor} is what this load asks for.",
    Reason.TOO_FEW_REPLICAS: "The load asks for less, and the lower bound of {low} settled it.",
    Reason.TOO_MANY_REPLICAS: (
        "The load asks for more, and the upper bound of {high} settled it; raise max-replicas if the cluster has room."
    ),
    Reason.SCALE_UP_LIMIT: (
        "The load asks for more than may be added at once, so the limit on the speed of a rise settled it; it goes on "
        "rising every few seconds."
    ),
    Reason.SCALE_DOWN_LIMIT: (
        "The load asks for less than may be left at once, so the limit on the speed of a fall settled it; it goes on "
        "falling every few seconds."
    ),
    Reason.SCALE_DOWN_STABILIZED: (
        "Less would do by now, but the highest need of the last minutes still counts; the floor falls once that is "
        "past."
    ),
    Reason.WITHIN_TOLERANCE: "A little less would do, too little to be worth a change.",
    Reason.NO_METRICS: (
        "No fresh measurement of the load arrived, so the floor is held: it may rise with the forecast, and never "
        "falls blindly."
    ),
    Reason.NO_FORECAST: (
        "No valid forecast stood behind it, so the load as it is measured settled it, without looking ahead."
    ),
    Reason.PAUSED: "It is paused, so the floor stays where it stood; `ai-hpa resume` goes on.",
    Reason.SCALE_DOWN_PAUSED: "Less would do, but the way down is paused; `ai-hpa resume` lets it fall.",
    Reason.BELOW_ACTIVATION: "So little load is seen and expected that it needs no pod at all.",
    Reason.CENSORED_METRICS: (
        "What was measured is only a lower bound of the load (pods at their limit, throttled, or many of them just "
        "started), so the floor does not fall on it."
    ),
    Reason.LEAD_TIME_TOO_LONG: (
        "New pods take longer to be ready than any forecast reaches, so some of the load to come is not covered; "
        "faster starts (smaller images, cached models) mend that."
    ),
    Reason.LOAD_ABSENT: (
        "Far less load arrives than yesterday and last week at this time, so pods are held for its return, for a while."
    ),
    Reason.CLUSTER_LIMIT: (
        "The floors of all workloads together have reached the cluster's limit (AI_HPA_MAX_TOTAL_REPLICAS), so it was "
        "raised only as far as that leaves room."
    ),
    Reason.TARGET_UNAVAILABLE: (
        "Another floor was decided and could not be written, so the earlier one still stands; it is tried again at the "
        "next tick."
    ),
}

# The same where it applied on the way and something later settled the floor; a clause after "Also:".
ON_THE_WAY: Final[Mapping[Reason, str]] = {
    Reason.DESIRED_WITHIN_RANGE: "the load's own demand lay within the bounds",
    Reason.TOO_FEW_REPLICAS: "the lower bound of {low} raised it",
    Reason.TOO_MANY_REPLICAS: "the upper bound of {high} cut it",
    Reason.SCALE_UP_LIMIT: "the limit on the speed of a rise cut it",
    Reason.SCALE_DOWN_LIMIT: "the limit on the speed of a fall raised it",
    Reason.SCALE_DOWN_STABILIZED: "the highest need of the last minutes held it up",
    Reason.WITHIN_TOLERANCE: "a difference too small for a change was left out",
    Reason.NO_METRICS: "no fresh measurement of the load had arrived",
    Reason.NO_FORECAST: "no valid forecast stood behind it",
    Reason.PAUSED: "it was paused",
    Reason.SCALE_DOWN_PAUSED: "the way down was paused",
    Reason.BELOW_ACTIVATION: "so little load was seen and expected that it asks for no pod",
    Reason.CENSORED_METRICS: "the measured load was only a lower bound",
    Reason.LEAD_TIME_TOO_LONG: "new pods take longer to be ready than any forecast reaches, which faster starts mend",
    Reason.LOAD_ABSENT: "pods are held for load that is absent and may come back at once",
    Reason.CLUSTER_LIMIT: "the cluster's limit on all floors together cut it",
    Reason.TARGET_UNAVAILABLE: "it could not be written, and is tried again",
}

# Why the champion serves; {source} is what it is called.
CROWNED: Final[Mapping[ChampionReason, str]] = {
    ChampionReason.CHEAPEST: "Forecasts by {source} serve: none have cost less here",
    ChampionReason.WITHIN_MARGIN: "Forecasts by {source} serve: another's have cost less, by too little for a change",
    ChampionReason.TOO_FEW_SCORES: "Forecasts by {source} serve until those of others have been scored for a day",
}

# What to do about a workload that is left alone; the condition's own message says what was found.
ADVICE: Final[Mapping[RefusalReason, str]] = {
    RefusalReason.INVALID_SETTING: "Correct the value on the workload or in the PredictiveScaler's spec.",
    RefusalReason.OTHER_OWNER: "Opt that other owner in instead of this, or remove it.",
    RefusalReason.NOT_FOUND: "Create the workload, or delete this PredictiveScaler.",
    RefusalReason.NOT_SUPPORTED: "Opt in something with replicas: a Deployment, StatefulSet, HPA, or any /scale.",
    RefusalReason.NO_CAPACITY: "Give every container a CPU request or limit, or say what one pod carries: --target.",
    RefusalReason.NO_MAXIMUM: "Give the workload's own autoscaler a maximum, or set one: ai-hpa enable ... --max N.",
    RefusalReason.INTERNAL: "This is a fault of the scaler: report it with the traceback that its log holds.",
    RefusalReason.FORBIDDEN: "Give the scaler that permission; `ai-hpa check` names what is missing.",
}
_OTHER_ADVICE: Final[Mapping[str, str]] = {
    "Active": "`ai-hpa check` looks for causes in the cluster.",
    "MetricsAvailable": "`ai-hpa check --prometheus-url URL` looks for causes; until then the floor does not fall.",
    "ForecastAvailable": "`ai-hpa check --forecaster-url URL` looks for causes; until then the load alone counts.",
    "FloorHonoured": "Find who writes that field (the message or the events name it), and leave it one owner.",
}


def paragraph(record: Record, component: ComponentRecord) -> str:
    """Say in one paragraph why the floor of one component is what it is."""
    return " ".join(
        (
            *_standing(record, component),
            *_load(component),
            *_arithmetic(component),
            settled(component.reason, component),
        )
    )


def settled(reason: str, component: ComponentRecord) -> str:
    """Say which rule settled the floor."""
    if not reason:
        return "The scaler has not said why yet."
    if reason not in set(Reason):
        return f"The scaler gives the reason {reason}, which this release of ai-hpa does not know."
    return _filled(SETTLED[Reason(reason)], component)


def also(component: ComponentRecord) -> str:
    """Say in one sentence what else applied on the way to the floor; empty where nothing did."""
    others = [r for r in dict.fromkeys(component.reasons) if r != component.reason]
    clauses = [_filled(ON_THE_WAY[Reason(r)], component) if r in set(Reason) else r for r in others]
    return f"Also: {'; '.join(clauses)}." if clauses else ""


def advice(condition: ConditionRecord) -> str:
    """Say what to do about a condition that is bad."""
    if condition.reason in set(RefusalReason):
        return ADVICE[RefusalReason(condition.reason)]
    return _OTHER_ADVICE.get(condition.type, "")


def nothing_decided(record: Record) -> str:
    """Say why there is no floor to speak of."""
    if record.mode is Mode.OFF:
        return "It is switched off: AI-HPA leaves it alone."
    if any(c.type == "Active" and c.bad for c in record.conditions):
        return "It is left alone; the conditions below say why."
    return (
        "The scaler has not decided about it yet; it looks every 15 seconds. If this stays, is the scaler running? "
        "`ai-hpa check` tells."
    )


def lead_time(component: ComponentRecord) -> Iterator[str]:
    """Say how long new pods take, and where that time goes."""
    lead = component.lead_time
    if lead.p90_seconds is None:
        yield "Not known yet."
        return
    counted = words.duration(lead.p90_seconds)
    if not lead.count:
        yield f"The scaler counts with {counted}, set by its user or assumed: no scale-up was seen yet."
    else:
        half = f", half of them within {words.duration(lead.p50_seconds)}" if lead.p50_seconds is not None else ""
        seen = words.count(lead.count, "scale-up")
        yield f"The scaler counts with {counted} (p90 of {seen} seen{half}) until added pods are Ready."
    order = {"scheduled": "were on a node", "started": "had started", "ready": "were Ready"}
    told = [
        f"{what} after {words.duration(lead.stages[stage])}" for stage, what in order.items() if stage in lead.stages
    ]
    if told:
        yield f"Half of the pods that run now {', '.join(told)}."


def _filled(sentence: str, component: ComponentRecord) -> str:
    return sentence.format(
        floor=words.whole(component.floor),
        low=words.whole(component.min_replicas),
        high=words.whole(component.max_replicas),
    )


def _standing(record: Record, component: ComponentRecord) -> Iterator[str]:
    whose = f"The {component.name}" if component.name else f"{record.target.kind} {record.target.name}"
    verb = "would have" if record.mode_in_force is Mode.SHADOW else "has"
    if component.floor is None:
        yield f"{whose} has no floor yet."
    else:
        yield f"{whose} {verb} a floor of {words.count(component.floor, 'pod')}."
    if record.mode_in_force is Mode.SHADOW:
        yield "Mode is shadow: it is only recorded, and nothing was written."
    if component.ready_replicas is not None and component.current_replicas is not None:
        yield f"{component.ready_replicas} of {words.count(component.current_replicas, 'pod')} are ready."


def _load(component: ComponentRecord) -> Iterator[str]:
    metric = component.metric
    if component.load is None:
        yield "There is no fresh measurement of its load."
    else:
        yield f"Its load is {words.amount(component.load, metric)} now."
    if component.forecast_peak is None:
        return
    ahead = component.lead_time.p90_seconds
    over = f"over the next {words.duration(ahead)}, which is how long new pods take" if ahead is not None else "soon"
    chance = f", with {words.percent(component.level)} certainty" if component.level is not None else ""
    by = f"Going by {_called(component.forecast_source)}, " if component.forecast_source else ""
    yield f"{by}at most {words.amount(component.forecast_peak, metric)} is to be expected {over}{chance}."


def champion(component: ComponentRecord) -> str:
    """Say whose forecasts serve, and why; empty before the first."""
    champion = component.champion
    if champion is None:
        return ""
    ratios = sorted(champion.cost_ratios.items(), key=lambda item: item[1])
    costs = ", ".join(f"{_called(source)} {ratio:.2f}" for source, ratio in ratios)
    return f"{CROWNED[champion.reason].format(source=_called(champion.source))}{_scored(champion)}" + (
        f" Cost in pods over that of the load as it is: {costs}." if costs else ""
    )


def _scored(champion: Champion) -> str:
    return f" ({words.duration(champion.scored_days * 86_400)} scored)." if champion.scored_days > 0 else "."


def _called(source: str) -> str:
    return SOURCE_NAMES[Source(source)] if source in set(Source) else source


def _arithmetic(component: ComponentRecord) -> Iterator[str]:
    if not component.capacity:
        return
    told = words.amount(component.capacity, component.metric)
    source = f" ({component.capacity_source})" if component.capacity_source else ""
    yield f"One pod carries {told}{source}."
    known = [value for value in (component.load, component.forecast_peak) if value is not None]
    if known:
        pods = words.count(math.ceil(max(known) / component.capacity - 1e-9), "pod")
        yield f"{'The higher of both' if len(known) == 2 else 'That'} asks for {pods}."
