"""`ai-hpa demo`: real load through the real model server, beside the HPA and an oracle; it touches no cluster."""

from __future__ import annotations

import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from scaler.adapters.kserve_forecaster import KServeForecaster
from scaler.cli.exits import EXIT_BAD_INPUT, EXIT_FAILED, fail
from scaler.controller import ControllerConfig
from scaler.domain import ScalerError
from scaler.replay.impatient import ImpatientForecaster
from scaler.replay.model_server import model_endpoint
from scaler.replay.plan import ReplayPlan, plan_replay
from scaler.replay.result import POLICY_NAMES, Policy, ReplayResult, ReplaySettings
from scaler.replay.run import replay
from scaler.replay.start_up import StartUp
from scaler.replay.summary import (
    fallback_warning,
    in_days,
    short_time,
    sources,
    time_label,
    to_json,
    verdict,
)
from scaler.replay.traces import Trace, TraceError, demo_trace, read_csv
from scaler.settings import PREFIX, load_settings
from scaler.telemetry import configure_logging, decision_row

CALL_DEADLINE: Final = timedelta(seconds=5)  # the server is on this machine and awake; a call takes milliseconds


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What the user asked for, before the trace is known."""

    capacity: float | None
    min_replicas: int
    max_replicas: int | None
    hpa_target: float
    start_seconds: float
    seed: int

    def settings(self, plan: ReplayPlan) -> ReplaySettings:
        """Fill in what follows from the trace.

        Raises:
            ValueError: Something does not fit together.
        """
        capacity = self.capacity if self.capacity is not None else plan.default_capacity()
        if not capacity > 0:
            raise ValueError(f"capacity must be above 0, got {capacity:g}")
        default_max = max(plan.default_max_replicas(capacity), self.min_replicas)
        return ReplaySettings(
            capacity=capacity,
            min_replicas=self.min_replicas,
            max_replicas=self.max_replicas if self.max_replicas is not None else default_max,
            hpa_target_ratio=self.hpa_target,
            start_up=StartUp(median=timedelta(seconds=self.start_seconds)),
            seed=self.seed,
        )


def demo_command(  # noqa: PLR0913 - one parameter per option is how typer reads them
    *,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Your own load: `series,timestamp,value`, plain or .gz.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="Which series, where the file holds several.")] = None,
    days: Annotated[float, typer.Option(help="Days to replay, at least 1; a day of history comes before.")] = 5.0,
    start_seconds: Annotated[float, typer.Option(help="Median time from ordering a pod to Ready.")] = 90.0,
    hpa_target: Annotated[float, typer.Option(help="The HPA's target utilization, as a share of capacity.")] = 0.7,
    capacity: Annotated[float | None, typer.Option(help="Load of one pod; default p99 of the history / 30.")] = None,
    min_replicas: Annotated[int, typer.Option(help="Lower bound.")] = 1,
    max_replicas: Annotated[
        int | None, typer.Option(help="Upper bound; default three times the history's peak.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the noise and the start-up delays.")] = 0,
    endpoint: Annotated[
        str | None, typer.Option(help="Base URL of a running model server; without it one is started.")
    ] = None,
    html: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("ai-hpa-demo.html"),
    json_path: Annotated[Path | None, typer.Option("--json", help="Where the scores go as JSON.")] = None,
    decisions: Annotated[
        Path | None, typer.Option(help="Where every decision goes, a line of JSON each, with all its reasons.")
    ] = None,
) -> None:
    """Replay real load under the HPA, under AI-HPA over the same HPA, and under an oracle."""
    configure_logging(sys.stderr, logging.ERROR)  # what went wrong with forecasts stands below the table
    console = Console()
    wishes = _Wishes(capacity, min_replicas, max_replicas, hpa_target, start_seconds, seed)
    try:
        config = load_settings().controller
        plan = plan_replay(_trace(csv, series), timedelta(days=days))
        settings = wishes.settings(plan)
        for note in (*plan.notes, *(f"{setting} from the environment." for setting in _environment())):
            console.print(note, style="dim")
        result = _replay(plan, settings, endpoint=endpoint, config=config, console=console)
        _write_report(result, html)
        if json_path is not None:
            json_path.write_text(json.dumps(to_json(result), indent=2) + "\n", encoding="utf-8")
        if decisions is not None:
            rows = (json.dumps(decision_row(decision)) + "\n" for decision in result.decisions)
            decisions.write_text("".join(rows), encoding="utf-8")
    except (TraceError, ValueError, OSError) as exc:
        fail(str(exc), EXIT_BAD_INPUT)
    except ScalerError as exc:
        fail(str(exc), EXIT_FAILED)
    _conclude(result, html, console)


def _trace(csv: Path | None, series: str | None) -> Trace:
    if csv is None:
        if series is not None:
            raise ValueError(f"--series {series} needs --csv; the default load has one series")
        return demo_trace()
    traces = read_csv(csv, series=series)
    if len(traces) > 1:
        names = ", ".join(trace.name for trace in traces)
        raise ValueError(f"{csv} holds {len(traces)} series; choose one with --series: {names}")
    return traces[0]


def _replay(
    plan: ReplayPlan,
    settings: ReplaySettings,
    *,
    endpoint: str | None,
    config: ControllerConfig,
    console: Console,
) -> ReplayResult:
    with ExitStack() as stack:
        with console.status("Starting the model server" if endpoint is None else f"Asking {endpoint}"):
            url = stack.enter_context(model_endpoint(endpoint))
            forecaster = stack.enter_context(KServeForecaster(url, deadline=CALL_DEADLINE))
            forecaster.check_metadata()
        console.print(f"Model server ready at {url}", style="dim")
        progress = stack.enter_context(_progress(plan, console))
        return replay(plan, settings, ImpatientForecaster(forecaster), config=config, progress=progress)


@contextmanager
def _progress(plan: ReplayPlan, console: Console) -> Iterator[Callable[[datetime], None]]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=(plan.trace.end - plan.window_start) / timedelta(seconds=1))

        def show(now: datetime) -> None:
            label = time_label(now, has_clock=plan.trace.has_clock)
            bar.update(task, completed=(now - plan.window_start) / timedelta(seconds=1), description=label)

        yield show
        show(plan.trace.end)


def _write_report(result: ReplayResult, html: Path) -> None:
    from scaler.replay.report import render  # noqa: PLC0415 - plotly is large, and only this needs it

    html.write_text(render(result, command=_command()), encoding="utf-8")


def _conclude(result: ReplayResult, html: Path, console: Console) -> None:
    table = Table(
        title=f"{result.series}, {in_days(result.duration)}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("policy", no_wrap=True)
    for header in (
        "short\nof pods",
        "share of\ntime",
        "late\nrequests",
        "pod-hours",
        "over\noracle",
        "scale\nactions",
    ):
        table.add_column(header, justify="right")
    for policy, run in result.runs.items():
        scores = run.scores
        table.add_row(
            POLICY_NAMES[policy],
            short_time(scores.short_time),
            f"{scores.under_time:.2%}",
            f"{scores.late_requests:.3%}",
            f"{scores.pod_hours:,.0f}",
            f"{result.pod_hours_over_oracle(policy):.2f}",
            f"{scores.scale_actions:,}",
            style="bold" if policy is Policy.AI_HPA else None,
        )
    console.print()
    console.print(table)
    console.print(verdict(result))
    console.print(f"Decisions stood {sources(result)}.", style="dim")
    warning = fallback_warning(result)
    if warning:
        console.print(f"WARNING: {warning}", style="bold red")
    console.print(f"Report: {html.resolve()}", soft_wrap=True)


def _command() -> str:
    return " ".join([*_environment(), shlex.join(["ai-hpa", *sys.argv[1:]])])


def _environment() -> list[str]:
    """The scaler's settings that this process was given, as a shell takes them."""
    return [f"{name}={shlex.quote(value)}" for name, value in sorted(os.environ.items()) if name.startswith(PREFIX)]
