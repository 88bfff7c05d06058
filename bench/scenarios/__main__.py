"""Scenarios with their own rows, through the closed-loop simulator, with the shipped controller and the real model.

Run: python -m bench.scenarios [--stress FOLDER] [--json docs/scenarios.json] [--page docs/scenarios.md]
     python -m bench.scenarios --no-run [--check]

The first form runs every scenario, writes JSON and page, and ends with 1 where something that must hold did not; the
recorded traces are run where --stress names their folder. The second form writes, or checks, the page alone.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from bench.scenarios.page import MAIN_START, must_hold, to_markdown
from bench.scenarios.run import run_all
from scaler.replay.model_server import model_endpoint
from scaler.telemetry import configure_logging

JSON: Final = Path("docs/scenarios.json")
PAGE: Final = Path("docs/scenarios.md")
SEEDS: Final = 3
START_SECONDS: Final = (30.0, MAIN_START, 300.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the scenarios, and write or check their page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stress", type=Path, help="folder of the recorded traces")
    parser.add_argument("--json", type=Path, default=JSON, help="where the rows go, and where the page has them from")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--start-seconds", type=float, nargs="+", default=START_SECONDS)
    parser.add_argument("--endpoint", help="of a running model server; without it one is started")
    parser.add_argument("--no-run", action="store_true", help="take the rows from --json")
    parser.add_argument(
        "--check", action="store_true", help="fail where the page is not what --json says; runs nothing"
    )
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    if MAIN_START not in options.start_seconds:
        parser.error(f"--start-seconds must hold {MAIN_START:g}, which most columns of the page are at")
    if not (options.no_run or options.check):
        _run(options)
    summary = json.loads(options.json.read_text(encoding="utf-8"))
    page = to_markdown(summary)
    if options.check:
        return int(page != options.page.read_text(encoding="utf-8"))
    options.page.write_text(page, encoding="utf-8")
    return 0 if options.no_run else int(any(rule.held < rule.of for rule in must_hold(summary)))


def _run(options: argparse.Namespace) -> None:
    bars = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with ExitStack() as stack:
        endpoint = stack.enter_context(model_endpoint(options.endpoint))
        progress = stack.enter_context(Progress(*bars, console=Console(stderr=True)))
        task = progress.add_task("scenarios", total=1.0)
        summary = run_all(
            range(options.seeds),
            options.start_seconds,
            endpoint,
            options.stress,
            lambda share: progress.update(task, completed=share),
        )
    options.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    configure_logging(sys.stderr, logging.ERROR)
    sys.exit(main())
