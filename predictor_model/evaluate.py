"""Scores exported forecasters against naive, classical and boosted ones, as tables, JSON and a page."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from predictor_model.baselines import CLASSICAL
from predictor_model.boosting import GlobalBoosting
from predictor_model.cold_start import HistoryScore, cold_start_table, history_scores
from predictor_model.evaluation_report import Example, example_of, render
from predictor_model.graph import MODEL_FILE, SHIPPED_WEIGHTS, ModelUnusable, load_graph
from predictor_model.scoring import (
    COVERAGE_LEVELS,
    COVERAGE_STEPS,
    REPLICA_KEYS,
    SHIPPED,
    Rivals,
    SeriesScore,
    Summary,
    forecasts_of,
    make_case,
    score_case,
    summarise,
)
from predictor_model.traces import TraceError, read_traces, trace_files

REPLICA_TITLE = (
    "Cost in pods of the bound on the highest load within h steps, where a missing pod costs `level` and a spare one "
    "the rest, over that of the better naive forecast:"
)

COLD_START_TITLE = "Loss over that of persistence where only the newest samples exist:"


def markdown_table(summaries: Sequence[Summary]) -> str:
    """The comparison as a table for docs/evaluation.md."""
    datasets = list(dict.fromkeys(dataset for summary in summaries for dataset in summary.by_dataset))
    header = ["forecaster", "series", *datasets, "together", "95 % interval", "trailing 7 d", "MASE", "worst series"]
    rows = [
        [
            summary.forecaster,
            str(summary.series),
            *(f"{summary.by_dataset[d]:.3f}" if d in summary.by_dataset else "-" for d in datasets),
            f"**{summary.overall:.3f}**",
            f"{summary.interval[0]:.3f} to {summary.interval[1]:.3f}",
            f"{summary.trailing:.3f}",
            f"{summary.mase:.3f}",
            f"{summary.worst_ratio:.2f} ({summary.worst_series})",
        ]
        for summary in summaries
    ]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def coverage_table(summary: Summary) -> str:
    """Coverage of the window maximum by step and level: mean over series, worst series in brackets."""
    header = ["window of h steps", *(f"{level:.2f}" for level in COVERAGE_LEVELS)]
    rows = [
        [
            f"h = {step}",
            *(
                f"{summary.covered_mean[f'{step}/{level}']:.3f} ({summary.covered_worst[f'{step}/{level}']:.3f})"
                for level in COVERAGE_LEVELS
            ),
        ]
        for step in COVERAGE_STEPS
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows])


def replica_table(summaries: Sequence[Summary]) -> str:
    """Cost of bounds on the window maximum in pods, a row for each forecaster."""
    header = ["forecaster", *(f"h = {key.replace('/', ', level ')}" for key in REPLICA_KEYS)]
    rows = [[summary.forecaster, *(f"{summary.replica[key]:.3f}" for key in REPLICA_KEYS)] for summary in summaries]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows])


def experiment_table(summaries: Sequence[Summary]) -> str:
    """What each choice is worth, a row for each; the first row is what the others are changes of."""
    datasets = list(dict.fromkeys(dataset for summary in summaries for dataset in summary.by_dataset))
    header = ["choice", *datasets, "together", "against base", "MASE", "covered, h = 15, 0.95", "pods, h = 15, 0.95"]
    rows = [
        [
            summary.forecaster,
            *(f"{summary.by_dataset[d]:.3f}" if d in summary.by_dataset else "-" for d in datasets),
            f"**{summary.overall:.3f}**",
            f"{summary.overall / summaries[0].overall - 1:+.1%}",
            f"{summary.mase:.3f}",
            f"{summary.covered_mean['15/0.95']:.3f}",
            f"{summary.replica['15/0.95']:.3f}",
        ]
        for summary in summaries
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows])


def calibration_table(rows: Sequence[Mapping[str, float]]) -> str:
    """What `bench.calibration` measured, a row for each window and level."""
    header = [
        "h, level",
        "before",
        "lowest series",
        "after",
        "lowest to highest series",
        "busiest hours",
        "cost in pods",
    ]
    lines = [header, ["---"] * len(header)] + [
        [
            f"{row['step']:g}, {row['level']:.2f}",
            f"{row['covered_before']:.3f}",
            f"{row['lowest_before']:.3f}",
            f"**{row['covered']:.3f}**",
            f"{row['lowest']:.3f} to {row['highest']:.3f}",
            f"{row['covered_busy']:.3f}",
            f"{row['cost_ratio']:.3f} (worst {row['cost_ratio_worst']:.2f})",
        ]
        for row in rows
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def named_model(text: str) -> tuple[str, Path]:
    """`NAME=DIR` of the command line."""
    name, separator, folder = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=DIR")
    return name, Path(folder)


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line of `python -m predictor_model.evaluate`."""
    parser = argparse.ArgumentParser(prog="python -m predictor_model.evaluate", description=__doc__)
    parser.add_argument("--csv", type=Path, nargs="+", required=True, help="CSV files or directories of them")
    parser.add_argument(
        "--model",
        type=named_model,
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
        progress.print("[red]error:[/red] no series is long enough: the last 30 % must hold 60 steps, the rest 50")
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
