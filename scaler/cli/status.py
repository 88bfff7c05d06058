"""`ai-hpa status`: every workload under AI-HPA, those that need somebody first; it changes nothing."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scaler.cli import session, words
from scaler.cli.kinds import list_scalers, short_name
from scaler.cli.record import ACTIVE, ComponentRecord, Record, record_of
from scaler.cli.session import (
    BadInput,
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    Output,
    OutputOption,
    Session,
    errors_for_a_person,
)
from scaler.domain import Mode, ScalerError
from scaler.kube.objects import PredictiveScalerObject

REFRESH_SECONDS: Final = 2.0
WIDE_COLUMNS: Final = 120  # narrower terminals do without lever, lead and source
PIPED_COLUMNS: Final = 400  # whoever reads a pipe wants whole lines

_LEFT: Final = ("workload", "mode", "reason", "lever", "source", "namespace")


def status_command(
    *,
    namespace: NamespaceOption = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")] = False,
    output: OutputOption = Output.TABLE,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep the table on the screen and up to date.")] = False,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """List every workload under AI-HPA: its floor, its pods, its load, and the load to come.

    Examples: `ai-hpa status -A`, `ai-hpa status -n models --watch`, `ai-hpa status -A -o json`
    """
    with errors_for_a_person():
        if watch and output is Output.JSON:
            raise BadInput("--watch draws a table; take it without -o json, or call the command again and again")
        opened = session.open_session(namespace, context, kubeconfig)
        where = None if all_namespaces else opened.namespace
        scalers = list_scalers(opened.api, where)
        if output is Output.JSON:
            typer.echo(json.dumps([as_data(scaler) for scaler in scalers], indent=2))
        elif watch:
            _watch(opened, where, console(), threading.Event().wait)
        else:
            screen = console()
            screen.print(picture([record_of(s) for s in scalers], where, now=session.now(), width=screen.width))


def as_data(scaler: PredictiveScalerObject) -> dict[str, Any]:
    """Give one PredictiveScaler as JSON data, in the words of its status; what it has learned is left out."""
    record = record_of(scaler)
    components = scaler.status.get("components")
    return {
        "namespace": scaler.meta.namespace,
        "name": record.name,
        "target": {"apiVersion": scaler.target.api_version, "kind": scaler.target.kind, "name": scaler.target.name},
        "mode": record.mode.value if record.mode is not None else None,
        "paused": record.paused,
        "scaleDownPaused": record.scale_down_paused,
        "problem": record.troubled,
        "conditions": scaler.status.get("conditions") or [],
        "components": [
            {name: value for name, value in component.items() if name != "memory"}
            for component in (components if isinstance(components, list) else ())
            if isinstance(component, dict)
        ],
    }


def picture(records: Sequence[Record], namespace: str | None, *, now: datetime, width: int) -> RenderableType:
    """Draw all records, or say how a first one comes to be.

    Args:
        records: In any order.
        namespace: That was asked for; None for all.
        now: To give ages.
        width: Columns of the terminal.
    """
    if not records:
        return Text(_nothing_yet(namespace))
    ordered = sorted(records, key=lambda r: (not r.troubled, r.target.namespace, r.target.kind, r.target.name))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    columns = _columns(namespaced=namespace is None, wide=width >= WIDE_COLUMNS)
    for name in columns:
        table.add_column(name, justify="left" if name in _LEFT else "right", overflow="fold")
    for record in ordered:
        for cells in rows(record, now):
            style = "yellow" if record.troubled else ("dim" if record.mode is Mode.OFF else None)
            table.add_row(*(cells[name] for name in columns), style=style)
    return Group(table, *(Text(line) for line in _footnotes(ordered)))


def rows(record: Record, now: datetime) -> Iterator[dict[str, str]]:
    """Give one row for each component; one row also where nothing was decided yet."""
    told = {
        "namespace": record.target.namespace,
        "workload": ("! " if record.troubled else "  ") + short_name(record.target),
        "mode": _mode(record),
    }
    for component in record.components:
        name = f"{told['workload']} {component.name}".rstrip()
        yield {**told, "workload": name, **_cells(record, component, now)}
    if not record.components:
        active = next((c for c in record.conditions if c.type == ACTIVE), None)
        waiting = "" if record.mode is Mode.OFF else "not seen yet"
        empty = dict.fromkeys(("floor", "ready", "load", "peak", "lead", "changed"), words.UNKNOWN)
        reason = active.reason if active is not None and active.bad else waiting
        yield {**told, **empty, "lever": "", "source": "", "reason": reason}


def console() -> Console:
    """Give the console of stdout; a pipe gets lines as long as they are."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=PIPED_COLUMNS if piped else None, highlight=False)


def _cells(record: Record, component: ComponentRecord, now: datetime) -> dict[str, str]:
    floor = words.whole(component.floor)
    change = component.last_change
    lead = component.lead_time
    return {
        "floor": f"({floor})" if record.mode_in_force is Mode.SHADOW and component.floor is not None else floor,
        "ready": f"{words.whole(component.ready_replicas)}/{words.whole(component.current_replicas)}",
        "load": words.number(component.load, component.metric),
        "peak": words.number(component.forecast_peak, component.metric),
        "lead": words.duration(lead.p90_seconds) + ("" if lead.count or lead.p90_seconds is None else " ?"),
        "lever": component.lever,
        "source": component.forecast_source or words.UNKNOWN,
        "reason": component.reason or words.UNKNOWN,
        "changed": words.age(change.at if change is not None else None, now),
    }


def _columns(*, namespaced: bool, wide: bool) -> tuple[str, ...]:
    first = ("namespace",) if namespaced else ()
    if not wide:
        return (*first, "workload", "mode", "floor", "ready", "load", "peak", "reason", "changed")
    return (
        *first,
        *("workload", "mode", "lever", "floor", "ready", "load", "peak", "lead", "source", "reason", "changed"),
    )


def _mode(record: Record) -> str:
    told = [record.mode.value if record.mode is not None else words.UNKNOWN]
    if record.mode is not Mode.OFF and (record.paused or record.scale_down_paused):
        told.append("paused" if record.paused else "not down")
    if record.pending:
        told.append("pending")
    return ", ".join(told)


def _footnotes(records: Sequence[Record]) -> Iterator[str]:
    """Say what is wrong with each workload that needs somebody, and how to read on."""
    if any(r.mode_in_force is Mode.SHADOW and r.components for r in records):
        yield "(n): shadow mode would set this floor; the workload is left alone."
    if any(r.pending for r in records):
        yield "pending: the scaler has not acted on the newest change; it does within about 15 seconds if it runs."
    troubled = [r for r in records if r.troubled]
    for record in troubled:
        name = f"{record.target.namespace} {short_name(record.target)}"
        for condition in record.bad_conditions:
            yield f"! {name}: {condition.message or condition.reason}"
        if not record.bad_conditions:
            yield f"! {name}: {', '.join(sorted(record.trouble))}"
    if troubled:
        first = troubled[0]
        yield f"Read on with: ai-hpa explain {short_name(first.target)} -n {first.target.namespace}"


def _nothing_yet(namespace: str | None) -> str:
    where = "in any namespace" if namespace is None else f"in namespace {namespace}"
    n = namespace or "NAMESPACE"
    return (
        f"No workload is opted in {where}.\n\n"
        "Begin with one in shadow mode: AI-HPA decides and records, and changes nothing.\n"
        f"  ai-hpa shadow deploy/NAME -n {n}\n"
        "or, for anything but an InferenceService, by annotation:\n"
        f"  kubectl annotate deployment NAME -n {n} ai-hpa.dev/mode=shadow\n"
        + ("" if namespace is None else "\nOther namespaces: ai-hpa status -A")
    ).rstrip()


def _watch(opened: Session, where: str | None, screen: Console, wait: Callable[[float], object]) -> None:
    """Draw again and again until interrupted; a server that is away for a while leaves the last picture standing."""
    records: Sequence[Record] = ()
    trouble = ""
    with Live(console=screen, auto_refresh=False) as live:
        while True:
            try:
                records, trouble = [record_of(s) for s in list_scalers(opened.api, where)], ""
            except ScalerError as exc:
                trouble = session.explained(exc)
            moment = session.now()
            drawn = picture(records, where, now=moment, width=screen.width)
            live.update(Group(drawn, Text(trouble or f"{moment:%H:%M:%S} UTC, Ctrl-C ends", style="dim")), refresh=True)
            try:
                wait(REFRESH_SECONDS)
            except KeyboardInterrupt:
                return
