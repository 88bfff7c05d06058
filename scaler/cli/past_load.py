"""Past load for commands that need days of it: CSV files, or from Prometheus into one in their output folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from scaler.adapters.forecast_contract import CONTRACT
from scaler.adapters.load_history import Columns
from scaler.adapters.prometheus import PrometheusClient, connection_of
from scaler.adapters.query_load import QueriedLoad, fetch_query, write_csv
from scaler.cli.session import now
from scaler.settings import load_settings

LOAD_FILE: Final = "load.csv.gz"
# A query over hours of all workloads may take a server a while, and here nothing waits for it but this command.
TIMEOUT_SECONDS: Final = 60.0
BUDGET_SECONDS: Final = 240.0
LATE_SAMPLES: Final = timedelta(minutes=3)
MAX_DAYS: Final = 400

CsvOption = Annotated[
    list[Path] | None,
    typer.Option("--csv", help="Your load, `series,timestamp,value`, plain or .gz; may be given several times."),
]
PrometheusOption = Annotated[
    str | None,
    typer.Option(help="Base URL of Prometheus, Thanos or Mimir; without it that of AI_HPA_PROMETHEUS_URL."),
]
QueryOption = Annotated[
    str | None, typer.Option(help="PromQL whose series are the loads of workloads, one for each.", metavar="PROMQL")
]
EndOption = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"], help="Newest time to fetch, UTC; without it the last full hour."
    ),
]


def files_given(csv: Sequence[Path] | None, prometheus: str | None, query: str | None) -> Sequence[Path]:
    """Give the files that were named.

    Raises:
        ValueError: Prometheus was named too.
    """
    if csv and (prometheus or query):
        raise ValueError("give either --csv, or --prometheus with --query")
    return csv or ()


def columns_of(days: float, step_seconds: int, end: datetime | None) -> Columns:
    """Say when to evaluate a query: each time the end of a step.

    Without an end it is the last full hour, so that a retry within the same hour asks for the same load and goes
    on where it was.

    Raises:
        ValueError: A number is out of range.
    """
    step = timedelta(seconds=step_seconds)
    if not CONTRACT.min_step <= step <= CONTRACT.max_step:
        accepted = f"{CONTRACT.min_step.total_seconds():g} to {CONTRACT.max_step.total_seconds():g}"
        raise ValueError(f"--step must be {accepted} seconds, got {step_seconds}")
    count = int(timedelta(days=days) / step) if 0 < days <= MAX_DAYS else 0
    if not count:
        raise ValueError(f"--days must be above 0 and at most {MAX_DAYS}, got {days:g}")
    newest = end.replace(tzinfo=UTC) if end is not None else _floored(now() - LATE_SAMPLES, timedelta(hours=1))
    return Columns(_floored(newest, step) - (count - 1) * step, step, count)


def _floored(time: datetime, unit: timedelta) -> datetime:
    return time - (time - datetime.fromtimestamp(0, UTC)) % unit


def fetched(url: str | None, query: str | None, columns: Columns, out: Path) -> Path:
    """Fetch the load into a CSV of the output folder.

    Raises:
        ValueError: What was typed, or the environment, cannot be used.
        MetricsUnavailable: The server gave no usable answer.
        OSError: The folder cannot be written.
    """
    live = load_settings().live
    url = url or live.prometheus_url
    if not (url and query):
        raise ValueError("give --csv FILE, or --prometheus URL with --query PROMQL")
    connection = replace(connection_of(live, url), timeout_seconds=TIMEOUT_SECONDS, budget_seconds=BUDGET_SECONDS)
    out.mkdir(parents=True, exist_ok=True)
    client, console = PrometheusClient(connection), Console(stderr=True)
    bars = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with closing(client), Progress(*bars, console=console) as progress:
        task = progress.add_task("fetching load")
        load = fetch_query(
            client, query, columns, progress=lambda done, of: progress.update(task, completed=done, total=of)
        )
    _say(load, console)
    write_csv(load, out / LOAD_FILE)
    return out / LOAD_FILE


def _say(load: QueriedLoad, console: Console) -> None:
    """Say what came, and what of it is left out."""
    since = load.columns.first - load.columns.step
    lines = [
        f"{len(load.loads)} series from {since:%Y-%m-%d %H:%M} to {load.columns.last:%Y-%m-%d %H:%M} UTC; "
        f"{load.missing_ratio:.1%} of the samples are missing"
    ]
    if load.not_finite:
        lines.append(f"{load.not_finite} samples are infinite, as from a division by zero, and count as missing")
    lines += [f"left out: {name} {why}" for name, why in load.dropped.items()]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True, highlight=False)
