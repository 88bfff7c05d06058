"""`ai-hpa explain`: why one workload's floor is what it is, for a person; it changes nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from scaler.cli import sentences, session, words
from scaler.cli.kinds import WORKLOAD_HELP, find
from scaler.cli.record import ComponentRecord, ConditionRecord, Record, record_of
from scaler.cli.session import (
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    Output,
    OutputOption,
    errors_for_a_person,
)
from scaler.cli.status import as_data, console
from scaler.domain import Mode
from scaler.kube.api import Json, KubeApi, KubeError
from scaler.kube.events import EventType
from scaler.kube.objects import PredictiveScalerObject, time_of
from scaler.kube.resources import EVENTS, PREDICTIVE_SCALERS
from scaler.policy import Trajectory

EVENTS_SHOWN: Final = 8
PEAKS_SHOWN: Final = 6
BAR_COLUMNS: Final = 30


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One Kubernetes event about the workload or its PredictiveScaler."""

    at: datetime | None
    reason: str
    note: str
    warning: bool


def explain_command(
    workload: Annotated[str, typer.Argument(help=WORKLOAD_HELP, metavar="KIND/NAME")],
    *,
    namespace: NamespaceOption = None,
    output: OutputOption = Output.TABLE,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Say in plain words why a workload's floor is what it is, and what is wrong if something is.

    Examples: `ai-hpa explain deploy/web`, `ai-hpa explain isvc/llm -n models`, `ai-hpa explain psc/llm -o json`
    """
    with errors_for_a_person():
        opened = session.open_session(namespace, context, kubeconfig)
        scaler = find(opened.api, opened.namespace, workload)
        try:
            events, missing = recent_events(opened.api, scaler), ""
        except KubeError as exc:
            events, missing = (), f"Events could not be read: {session.explained(exc)}"
        if output is Output.JSON:
            typer.echo(json.dumps({**as_data(scaler), "events": [_event_data(e) for e in events]}, indent=2))
            return
        screen = console()
        for line in lines(record_of(scaler), events, now=session.now()):
            _print(line, screen)
        if missing:
            screen.print(missing, style="dim", markup=False)


def recent_events(api: KubeApi, scaler: PredictiveScalerObject) -> tuple[EventRecord, ...]:
    """Read the newest events about a workload and its PredictiveScaler, newest first.

    Raises:
        KubeError: They could not be read.
    """
    about = {(scaler.target.kind, scaler.target.name), (PREDICTIVE_SCALERS.kind, scaler.meta.name)}
    items = [
        item
        for item in api.list(EVENTS, scaler.meta.namespace).items
        if ((item.get("regarding") or {}).get("kind"), (item.get("regarding") or {}).get("name")) in about
    ]
    events = sorted((_event(item) for item in items), key=lambda e: (e.at is not None, e.at), reverse=True)
    return tuple(events[:EVENTS_SHOWN])


def lines(record: Record, events: Sequence[EventRecord], *, now: datetime) -> Iterator[str]:
    """Write the whole explanation; a line that starts with `# ` is a heading, one with `! ` needs somebody."""
    yield f"# {record.target}"
    yield _mode(record)
    if record.pending:
        yield "! The spec was changed and the scaler has not acted on it yet."
    for component in record.components:
        yield from _component(record, component, now)
    if not record.components:
        yield sentences.nothing_decided(record)
    if record.conditions:
        yield "# Conditions"
        for condition in record.conditions:
            yield from _condition(condition, now)
    if events:
        yield "# Recent events"
        for event in events:
            mark = "! " if event.warning else "  "
            yield f"{mark}{words.age(event.at, now):>7} ago  {event.reason}: {event.note}"


def peaks(trajectory: Trajectory, component: ComponentRecord, now: datetime) -> Iterator[str]:
    """Draw the highest load to come within some minutes, as bars, with the pods that it asks for."""
    forecast, steps = trajectory.forecast, len(trajectory.peaks)
    shown = sorted({max(1, round(steps * i / PEAKS_SHOWN)) for i in range(1, PEAKS_SHOWN + 1)})
    top = max((*trajectory.peaks, component.load or 0.0)) or 1.0
    rows: list[tuple[str, float]] = [] if component.load is None else [("seen now", component.load)]
    for step in shown:
        left = forecast.origin + step * forecast.step - now
        if left > timedelta(0):
            rows.append((f"within {words.duration(left.total_seconds())}", trajectory.peaks[step - 1]))
    for label, value in rows:
        bar = "█" * max(1 if value > 0 else 0, round(BAR_COLUMNS * value / top))
        pods = words.count(_pods(value, component.capacity), "pod") if component.capacity else ""
        yield f"  {label:<16} {words.amount(value, component.metric):>20} {pods:>9}  {bar}".rstrip()


def _component(record: Record, component: ComponentRecord, now: datetime) -> Iterator[str]:
    if component.name:
        yield f"# {component.name.capitalize()}"
    yield sentences.paragraph(record, component)
    if also := sentences.also(component):
        yield also
    yield ""
    low, high = words.whole(component.min_replicas), words.whole(component.max_replicas)
    lever, metric = component.lever or "unknown", component.metric or "unknown"
    yield f"Bounds: {low} to {high} pods. Lever: {lever}. Metric: {metric}."
    yield f"Lead time: {' '.join(sentences.lead_time(component))}"
    change = component.last_change
    if change is not None:
        moved = f"from {words.whole(change.before)} to {words.whole(change.after)}"
        why = f" ({change.reason})" if change.reason else ""
        yield f"Last change: {words.age(change.at, now)} ago, {moved} pods{why}."
    for note in component.notes:
        yield f"Note: {note}"
    if component.trajectory is not None:
        yield from _forecast(component.trajectory, component, now)
    if served := sentences.champion(component):
        yield served


def _forecast(trajectory: Trajectory, component: ComponentRecord, now: datetime) -> Iterator[str]:
    forecast = trajectory.forecast
    made = f"made {words.age(forecast.origin, now)} ago by {forecast.source}"
    version = f" {forecast.model_version}" if forecast.model_version else ""
    yield f"Forecast {made}{version}: the load stays, with {words.percent(trajectory.level)} certainty, below"
    yield from peaks(trajectory, component, now)
    offset = _offset(trajectory, component, now)
    if offset:
        told = words.amount(offset, component.metric)
        yield f"Of that, {told} is the margin learned from forecasts of this workload that were too low."


def _offset(trajectory: Trajectory, component: ComponentRecord, now: datetime) -> float:
    """Give the learned offset at the step that the lead time ends in; the last one where it ends later."""
    lead = timedelta(seconds=component.lead_time.p90_seconds or 0.0)
    step = math.ceil((now - trajectory.forecast.origin + lead) / trajectory.forecast.step)
    return trajectory.offsets[min(max(step, 1), len(trajectory.offsets)) - 1]


def _mode(record: Record) -> str:
    paused = record.mode is not Mode.OFF and (record.paused or record.scale_down_paused)
    hold = (" Paused." if record.paused else " The way down is paused.") if paused else ""
    mode = record.mode.value if record.mode is not None else "unknown"
    return f"Mode {mode}.{hold} Recorded in PredictiveScaler {record.name}."


def _condition(condition: ConditionRecord, now: datetime) -> Iterator[str]:
    said = {"True": "yes", "False": "no"}.get(condition.status, "unknown")
    since = f" for {words.age(condition.since, now)}" if condition.since is not None else ""
    told = f": {condition.message}" if condition.message else f" ({condition.reason})" if condition.reason else ""
    yield f"{'! ' if condition.bad else '  '}{condition.type}: {said}{since}{told}"
    if condition.bad and (what := sentences.advice(condition)):
        yield f"    {what}"


def _pods(load: float, capacity: float) -> int:
    return math.ceil(load / capacity - 1e-9)


def _event(item: Json) -> EventRecord:
    series = item.get("series") or {}
    moments = (series.get("lastObservedTime"), item.get("eventTime"), item.get("deprecatedLastTimestamp"))
    return EventRecord(
        at=next((moment for moment in map(time_of, moments) if moment is not None), None),
        reason=str(item.get("reason") or ""),
        note=" ".join(str(item.get("note") or "").split()),
        warning=item.get("type") == EventType.WARNING,
    )


def _event_data(event: EventRecord) -> dict[str, Any]:
    at = event.at.isoformat() if event.at is not None else None
    return {"at": at, "reason": event.reason, "note": event.note, "warning": event.warning}


def _print(line: str, screen: Console) -> None:
    if line.startswith("# "):
        screen.print()
        screen.print(line.removeprefix("# "), style="bold", markup=False)
    else:
        screen.print(line, style="yellow" if line.startswith("! ") else None, markup=False)
