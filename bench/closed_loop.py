"""The published comparison of docs/benchmark.md: every policy over real load, at equal pod-hours, by start-up time.

Run: python -m bench.closed_loop --csv FILES [--seeds 5] [--start-seconds 5 30 90 300] [--pods-at-p99 30] --out FOLDER
     python -m bench.closed_loop --from FOLDERS --json docs/closed-loop.json [--keep]
     python -m bench.closed_loop --json docs/closed-loop.json [--check]

Each size and start-up time has its JSON in FOLDER, as `ai-hpa backtest` writes it; a run that was cut off goes on where
it was. The second form puts them together, without the sweeps, and writes docs/benchmark.md and its picture, which
needs Chromium; with --keep, a part of the runs is renewed. The third writes or checks the page alone.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from bench.closed_loop_page import draw, renewed, summarise, to_markdown
from bench.picture import photograph
from scaler.backtest.case import PODS_AT_P99, BacktestSettings, case_of
from scaler.backtest.jobs import describe, run_all
from scaler.backtest.result import to_json
from scaler.controller import ControllerConfig
from scaler.replay.model_server import model_endpoint
from scaler.replay.start_up import StartUp
from scaler.replay.traces import read_csv
from scaler.telemetry import configure_logging

START_SECONDS: Final = (5, 30, 90, 300)
FORECAST_PERIOD: Final = BacktestSettings().forecast_period
PAGE: Final = Path("docs/benchmark.md")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the backtests, or put them together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, nargs="+", default=[])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--start-seconds", type=float, nargs="+", default=START_SECONDS)
    parser.add_argument("--pods-at-p99", type=int, nargs="+", default=[PODS_AT_P99])
    parser.add_argument("--forecast-period", type=float, default=FORECAST_PERIOD.total_seconds(), help="seconds")
    parser.add_argument("--endpoint", help="of a running model server; without it one is started")
    parser.add_argument("--out", type=Path, help="folder for the JSON of each backtest")
    parser.add_argument("--from", type=Path, nargs="+", dest="folders", default=[], help="folders of earlier --out")
    parser.add_argument("--json", type=Path, help="where the summary goes")
    parser.add_argument("--keep", action="store_true", help="keep those runs of --json that --from does not have")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--check", action="store_true", help="fail where the page is not what --json says")
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    if options.out is not None:
        _run(options)
    if options.folders:
        written = [path for folder in options.folders for path in sorted(folder.glob("*.json"))]
        summary = summarise([json.loads(path.read_text(encoding="utf-8")) for path in written])
        if options.keep:
            summary = renewed(json.loads(options.json.read_text(encoding="utf-8")), summary)
        options.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        photograph(draw(summary), options.page.with_suffix(".png"))
    if options.out is None:
        page = to_markdown(json.loads(options.json.read_text(encoding="utf-8")))
        if options.check:
            return int(page != options.page.read_text(encoding="utf-8"))
        options.page.write_text(page, encoding="utf-8")
    return 0


def _run(options: argparse.Namespace) -> None:
    traces = sorted((trace for path in options.csv for trace in read_csv(path)), key=lambda trace: trace.name)
    usual = BacktestSettings(
        seeds=tuple(range(options.seeds)),
        forecast_period=timedelta(seconds=options.forecast_period),
    )
    each = [
        replace(usual, pods_at_p99=pods, start_up=StartUp(median=timedelta(seconds=seconds)))
        for pods in options.pods_at_p99
        for seconds in options.start_seconds
    ]
    # All ways to serve a series together: what is forecast of its load is the same.
    workloads = [case_of(trace, settings) for settings in each for trace in traces]
    bars = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with ExitStack() as stack:
        endpoint = stack.enter_context(model_endpoint(options.endpoint))
        progress = stack.enter_context(Progress(*bars, console=Console(stderr=True)))
        task = progress.add_task("", total=1.0)

        def show(what: str, share: float) -> None:
            progress.update(task, completed=share, description=what)

        keep = options.out / "parts"
        found = run_all(workloads, usual, ControllerConfig(), endpoint, keep=keep, progress=show)
    for number, settings in enumerate(each):
        own = found[number * len(traces) :][: len(traces)]
        written = to_json(own, describe(settings, [path.name for path in options.csv]))
        seconds = settings.start_up.median.total_seconds()
        name = f"p{settings.pods_at_p99}-f{options.forecast_period:g}-s{seconds:g}.json"
        (options.out / name).write_text(json.dumps(written) + "\n", encoding="utf-8")


if __name__ == "__main__":
    configure_logging(sys.stderr, logging.ERROR)
    sys.exit(main())
