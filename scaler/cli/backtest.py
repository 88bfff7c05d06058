"""`ai-hpa backtest`: every policy over the user's own past load, and whether prediction pays for each workload."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from scaler.adapters.prometheus import QueryRefused
from scaler.adapters.query_load import UnusableQuery
from scaler.backtest.case import PODS_AT_P99, BacktestSettings, case_of
from scaler.backtest.jobs import Shard, describe, run_all
from scaler.backtest.policies import Policy
from scaler.backtest.result import SeriesResult, from_json, to_json
from scaler.backtest.verdict import Answer
from scaler.cli.exits import EXIT_BAD_INPUT, EXIT_FAILED, fail
from scaler.cli.past_load import (
    CsvOption,
    EndOption,
    PrometheusOption,
    QueryOption,
    columns_of,
    fetched,
    files_given,
)
from scaler.domain import DEFAULT_MISS_BUDGET_RATIO, ScalerError
from scaler.replay.model_server import model_endpoint
from scaler.replay.start_up import StartUp
from scaler.replay.summary import short_time
from scaler.replay.traces import Trace, TraceError, read_csv
from scaler.settings import SettingsError, load_settings
from scaler.telemetry import configure_logging

WORK: Final = Path("ai-hpa-backtest")
REPORT: Final = Path("ai-hpa-backtest.html")

_HEADERS: Final = (
    "HPA\ntarget",
    "short a day\nHPA",
    "short a day\nAI-HPA, same",
    "pod-hours\nsame",
    "short a day\nrecommended",
    "pod-hours\nrecommended",
)

backtest_app = typer.Typer(invoke_without_command=True, add_completion=False)

Json = Annotated[Path | None, typer.Option("--json", help="Where scores, sweeps and verdicts go as JSON.")]
Html = Annotated[Path, typer.Option("--html", help="Where the report goes.")]
Price = Annotated[float | None, typer.Option(help="What one pod costs in an hour, for the money line.")]


@backtest_app.callback()
def backtest_command(  # noqa: PLR0913 - one parameter per option is how typer reads them
    context: typer.Context,
    *,
    csv: CsvOption = None,
    series: Annotated[list[str] | None, typer.Option(help="Which series; all without it. May be repeated.")] = None,
    prometheus: PrometheusOption = None,
    query: QueryOption = None,
    days: Annotated[float, typer.Option(help="Days to fetch from Prometheus.")] = 21.0,
    step: Annotated[int, typer.Option(help="Seconds between the samples to fetch.")] = 60,
    end: EndOption = None,
    start_seconds: Annotated[float, typer.Option(help="Median time from ordering a pod to Ready.")] = 90.0,
    hpa_target: Annotated[float, typer.Option(help="Your HPA's target utilization, as a share of capacity.")] = 0.7,
    capacity: Annotated[
        float | None, typer.Option(help="Load of one pod beyond which it fails; else from --pods-at-p99.")
    ] = None,
    pods_at_p99: Annotated[int, typer.Option(help="Pods that the p99 of the earlier load needs.")] = PODS_AT_P99,
    min_replicas: Annotated[int, typer.Option(help="Lower bound.")] = 1,
    max_replicas: Annotated[int | None, typer.Option(help="Upper bound; default three times the earlier peak.")] = None,
    miss_budget: Annotated[
        float, typer.Option(help="Share of time that may be short of pods under AI-HPA.")
    ] = DEFAULT_MISS_BUDGET_RATIO,
    seeds: Annotated[int, typer.Option(help="How many draws of noise and start-up delays to average over.")] = 1,
    forecast_period: Annotated[
        float | None, typer.Option(help="Seconds between two forecasts; default as the scaler is set.")
    ] = None,
    price: Price = None,
    shard: Annotated[
        str, typer.Option(help="I/N: the I-th of N machines, each with its share of the series; see `merge`.")
    ] = "1/1",
    work: Annotated[
        Path, typer.Option(help="Folder for what is fetched and done; a run that is cut off resumes.")
    ] = WORK,
    endpoint: Annotated[
        str | None, typer.Option(help="Base URL of a running model server; without it one is started.")
    ] = None,
    json_path: Json = None,
    html: Html = REPORT,
) -> None:
    """Run HPA, KPA, PHPA, last week's load, a fixed count, AI-HPA and an oracle over your past load.

    For each series: whether prediction pays (decided on the earlier part of the history and checked on the later one),
    which HPA target goes with it, and what every policy costs and misses.

    Examples: `ai-hpa backtest --csv load.csv`, `ai-hpa backtest --prometheus http://localhost:9090 --query 'sum by
    (namespace, deployment) (rate(http_requests_total[2m]))' --capacity 20`
    """
    if context.invoked_subcommand is not None:
        return
    configure_logging(sys.stderr, logging.ERROR)
    console = Console()
    try:
        config = load_settings().controller
        settings = BacktestSettings(
            start_up=StartUp(median=timedelta(seconds=start_seconds)),
            hpa_target=hpa_target,
            miss_budget_ratio=miss_budget,
            seeds=tuple(range(seeds)),
            pods_at_p99=pods_at_p99,
            capacity=capacity,
            min_replicas=min_replicas,
            max_replicas=max_replicas,
            forecast_period=(
                timedelta(seconds=forecast_period)
                if forecast_period is not None
                else config.forecast_cycle.forecast_period
            ),
        )
        files = files_given(csv, prometheus, query) or [fetched(prometheus, query, columns_of(days, step, end), work)]
        traces = _chosen([trace for file in files for trace in read_csv(file)], series)
        own = _shard(shard)
        with ExitStack() as stack:
            with console.status("Starting the model server" if endpoint is None else f"Asking {endpoint}"):
                url = stack.enter_context(model_endpoint(endpoint))
            progress = stack.enter_context(_progress(console))
            workloads = [case_of(trace, settings) for trace in traces]
            found = run_all(workloads, settings, config, url, shard=own, keep=work / "parts", progress=progress)
        told = describe(settings, [file.name for file in files])
        _conclude(found, told, price=price, json_path=json_path, html=html, console=console)
    except (TraceError, SettingsError, ValueError, UnusableQuery, QueryRefused) as exc:
        fail(" ".join(str(exc).split()), EXIT_BAD_INPUT)
    except OSError as exc:
        fail(str(exc), EXIT_BAD_INPUT)
    except ScalerError as exc:
        fail(" ".join(str(exc).split()), EXIT_FAILED)


@backtest_app.command("merge")
def merge_command(
    parts: Annotated[list[Path], typer.Argument(help="JSON of each shard.", metavar="OUT...")],
    *,
    json_path: Json = None,
    html: Html = REPORT,
    price: Price = None,
) -> None:
    """Put what several shards found together: the same as if one machine had done it all."""
    try:
        found, settings = _merged(parts)
        _conclude(found, settings, price=price, json_path=json_path, html=html, console=Console())
    except (ValueError, OSError) as exc:
        fail(" ".join(str(exc).split()), EXIT_BAD_INPUT)


def _merged(parts: Sequence[Path]) -> tuple[list[SeriesResult], dict[str, Any]]:
    """Read shards of one run.

    Raises:
        ValueError: They are not that.
    """
    read = [(path, *_read(path)) for path in parts]
    settings = read[0][2]
    for path, _, other in read[1:]:
        different = sorted(name for name in {*other, *settings} if other.get(name) != settings.get(name))
        if different:
            raise ValueError(f"{path} and {parts[0]} differ in {', '.join(different)}; shards of one run do not")
    found = [series for _, some, _ in read for series in some]
    names = [series.name for series in found]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise ValueError(f"{', '.join(double[:3])} is in more than one of these files")
    return found, settings


def _read(path: Path) -> tuple[list[SeriesResult], dict[str, Any]]:
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as exc:
        raise ValueError(f"{path}: {exc}") from exc


def _chosen(traces: Sequence[Trace], names: Sequence[str] | None) -> list[Trace]:
    """Take the series that were asked for, in the order of their names, which does not depend on the files.

    Raises:
        ValueError: One is not there, or there twice.
    """
    known = [trace.name for trace in traces]
    double = sorted({name for name in known if known.count(name) > 1})
    if double:
        raise ValueError(f"series {double[0]!r} is in more than one file; each needs a name of its own")
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise ValueError(f"no series {unknown[0]!r}; accepted are {', '.join(sorted(known)[:20])}")
    return sorted((t for t in traces if not names or t.name in names), key=lambda trace: trace.name)


def _shard(text: str) -> Shard:
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal()):
        raise ValueError(f"--shard must be I/N, such as 1/4, got {text!r}")
    return Shard(int(number), int(of))


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str, float], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("simulating", total=1.0)
        yield lambda what, share: bar.update(task, completed=share, description=what)
        bar.update(task, completed=1.0, description="done")


def _conclude(
    found: Sequence[SeriesResult],
    settings: dict[str, Any],
    *,
    price: float | None,
    json_path: Path | None,
    html: Path,
    console: Console,
) -> None:
    from scaler.backtest.report import render  # noqa: PLC0415 - plotly is large, and only this needs it

    found = sorted(found, key=lambda series: series.name)
    if json_path is not None:
        json_path.write_text(json.dumps(to_json(found, settings), indent=1) + "\n", encoding="utf-8")
    command = shlex.join(["ai-hpa", *sys.argv[1:]])
    html.write_text(render(found, settings, command=command, price=price), encoding="utf-8")
    console.print(_table(found))
    for series in found:
        console.print(f"{series.name}: {series.verdict.answer}. {series.verdict.why}", markup=False, soft_wrap=True)
    console.print(f"Report: {html.resolve()}", soft_wrap=True, markup=False)


def _table(found: Sequence[SeriesResult]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("series")
    table.add_column("verdict")
    for header in _HEADERS:
        table.add_column(header, justify="right")
    for series in found:
        if not series.policies:
            table.add_row(series.name, series.verdict.answer.value, *["-"] * 6)
            continue
        hpa, same, tuned = (series.policies[p].main.scores for p in (Policy.HPA, Policy.AI_HPA, Policy.AI_HPA_TUNED))
        target = series.verdict.hpa_target
        table.add_row(
            series.name,
            series.verdict.answer.value,
            f"{target:.0%}" if target is not None else "-",
            *(short_time(timedelta(days=hpa.under_time)), short_time(timedelta(days=same.under_time))),
            f"{same.pod_hours / hpa.pod_hours - 1:+.1%}",
            short_time(timedelta(days=tuned.under_time)),
            f"{tuned.pod_hours / hpa.pod_hours - 1:+.1%}",
            style="bold" if series.verdict.answer is Answer.ENABLE else None,
        )
    return table
