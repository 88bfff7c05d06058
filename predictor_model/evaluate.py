"""Scores exported forecasters against naive, classical and boosted ones, as tables, JSON and a page."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track

from predictor_model.baselines import CLASSICAL
from predictor_model.boosting import GlobalBoosting
from predictor_model.cold_start import HistoryScore, history_scores
from predictor_model.evaluation_report import render
from predictor_model.examples import Example, example_of
from predictor_model.graph import MODEL_FILE, SHIPPED_WEIGHTS, ModelUnusable, load_graph
from predictor_model.scoring import (
    SHIPPED,
    TOO_SHORT,
    Rivals,
    SeriesScore,
    forecasts_of,
    make_case,
    score_case,
    summarise,
)
from predictor_model.tables import (
    COLD_START_TITLE,
    REPLICA_TITLE,
    cold_start_table,
    coverage_table,
    markdown_table,
    replica_table,
)
from predictor_model.traces import TraceError, read_traces, trace_files


def named_path(text: str, *, form: str) -> tuple[str, Path]:
    """A name and a path of the command line, which `form` shows to who writes something else."""
    name, separator, path = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not {form}")
    return name, Path(path)


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line of `python -m predictor_model.evaluate`."""
    parser = argparse.ArgumentParser(prog="python -m predictor_model.evaluate", description=__doc__)
    parser.add_argument("--csv", type=Path, nargs="+", required=True, help="CSV files or directories of them")
    parser.add_argument(
        "--model",
        type=partial(named_path, form="NAME=DIR"),
        action="append",
        default=[],
        metavar="NAME=DIR",
        help=f"another exported model beside the shipped one; repeatable; {SHIPPED}=DIR replaces it",
    )
    parser.add_argument(
        "--classical",
        nargs="*",
        choices=list(CLASSICAL),
        default=list(CLASSICAL),
        help="only these of the rivals fitted to each series; holt-winters and auto-theta take minutes",
    )
    parser.add_argument(
        "--boosting", type=Path, metavar="DIR", help="also the boosted trees that predictor_model.boosting left there"
    )
    parser.add_argument("--json", type=Path, help="write every series' scores and the summaries here")
    parser.add_argument("--html", type=Path, help="write a page with pictures here; it loads nothing from anywhere")
    parser.add_argument("--markdown", type=Path, help="write the tables here")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Score, and print the table."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    progress, output = Console(stderr=True), Console()
    try:
        graphs = {
            name: load_graph(folder / MODEL_FILE)
            for name, folder in dict([(SHIPPED, SHIPPED_WEIGHTS), *options.model]).items()
        }
        boosting = GlobalBoosting.load(options.boosting) if options.boosting is not None else None
        traces = [trace for path in trace_files(options.csv) for trace in read_traces(path)]
    except (ModelUnusable, TraceError) as error:
        progress.print(f"[red]error:[/red] {error}")
        return 2
    cases = [case for trace in traces if (case := make_case(trace)) is not None]
    rivals = Rivals(graphs, boosting, tuple(options.classical))
    scores: list[SeriesScore] = []
    examples: list[Example] = []
    histories: list[HistoryScore] = []
    for case in track(cases, "scoring series", console=progress):
        forecasts = forecasts_of(case, rivals)
        scored = score_case(case, forecasts)
        if scored:
            scores += scored
            examples.append(example_of(case, forecasts[SHIPPED][0]))
            histories += history_scores(case, graphs[SHIPPED])
    if not scores:
        progress.print(f"[red]error:[/red] {TOO_SHORT}")
        return 2
    summaries = summarise(scores)
    text = "\n\n".join(
        [markdown_table(summaries), REPLICA_TITLE, replica_table(summaries)]
        + [
            f"Coverage of the window maximum, {s.forecaster}:\n\n{coverage_table(s)}"
            for s in summaries
            if s.covered_mean
        ]
        + [f"{COLD_START_TITLE}\n\n{cold_start_table(histories)}"]
    )
    output.print(text, markup=False, soft_wrap=True)
    if options.markdown:
        options.markdown.write_text(text + "\n", encoding="utf-8")
    if options.html:
        options.html.write_text(render(summaries, scores, examples, histories), encoding="utf-8")
        progress.print(f"Report: {options.html.resolve()}", soft_wrap=True)
    if options.json:
        result = {
            "summaries": [dataclasses.asdict(summary) for summary in summaries],
            "series": [dataclasses.asdict(score) for score in scores],
            "histories": [dataclasses.asdict(score) for score in histories],
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
