"""Writes the model card and the measured parts of docs/evaluation.md, so that no number there is typed by hand."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from predictor_model.cold_start import HistoryScore
from predictor_model.datasets import SYNTHETIC_WEIGHT, training_set
from predictor_model.graph import RECORD_FILE, SHIPPED_WEIGHTS
from predictor_model.scoring import SHIPPED, Summary
from predictor_model.tables import (
    REPLICA_TITLE,
    calibration_table,
    champion_table,
    cold_start_table,
    coverage_table,
    experiment_table,
    markdown_table,
    replica_table,
)

CARD_FILE = "MODEL_CARD.md"
BLOCKS = {
    "measured": "docs/evaluation.json",
    "cold start": "docs/evaluation.json",
    "calibration": "docs/calibration.json",
    "champion": "docs/calibration.json",
    "experiment": "docs/experiment.json",
}
"""The generated parts of docs/evaluation.md, and what each is written from."""

INTENDED_USE = """\
Forecasts the load of a service (CPU, requests per second, any other non-negative rate) over the next 30 steps, for
steps of 15 s to 1 h, from 8 to 288 past samples; quantiles of each step and of the highest load up to each step.
Made to set replica floors ahead of load. It is not made for money, safety or health."""

LIMITS = """\
- The quantiles of the window maximum are too low on bursty series (coverage in docs/evaluation.md); the
  scaler corrects them online.
- It sees 288 samples and the same clock time a day and a week before: no holidays, no months, no planned events.
- It knows nothing of what moves the load: a launch or a failover is a surprise to it.
- It was trained mostly at steps of 1, 5 and 10 minutes; other steps are averages of those, or relabelled.
- A load that autoscaling or throttling has capped is learned as if it were demand."""


def model_card(record: Mapping[str, Any], summaries: Sequence[Summary]) -> str:
    """The card that ships beside the weights."""
    shipped = next(summary for summary in summaries if summary.forecaster == SHIPPED)
    model, train = record["model"], record["train"]
    sources = [
        f"| {source['dataset']} | {source['licence']} | {training_set(source['dataset']).source} "
        f"| {training_set(source['dataset']).weight:.2f} | `{source['sha256'][:16]}` |"
        for source in record["data"]
    ]
    scores = [f"| {dataset} | {ratio:.3f} |" for dataset, ratio in shipped.by_dataset.items()]
    return "\n".join(
        [
            f"# Model card: forecaster {record['model_version']}",
            "",
            f"Bi-LSTM, {record['parameters']:,} parameters, context {model['context_length']} samples in patches of "
            f"{model['patch_length']}, {model['hidden_size']} units per direction. `model.onnx`, SHA-256 "
            f"`{record['model_sha256']}`.",
            "",
            "## Intended use",
            "",
            INTENDED_USE,
            "",
            "## Data",
            "",
            "Trained only on sets whose licence permits it, and on synthetic load "
            f"(weight {SYNTHETIC_WEIGHT:.2f}, {train['synthetic_traces']} traces made by "
            f"`predictor_model/synthetic.py`, seed {train['seed']}). "
            f"The later {train['validation_share']:.0%} of each trace's time only validates.",
            "",
            "| set | licence | source | weight | SHA-256 of the file |",
            "| --- | --- | --- | --- | --- |",
            *sources,
            "",
            "## Training",
            "",
            f"AdamW, one cycle to {train['learning_rate']}, {train['batch_size']} windows a step; weights averaged. Of "
            f"{train['steps']} steps, step {record['best_step']} was the best on the later slice of time (loss "
            f"{record['validation_loss']}). Rebuilt by `make train`.",
            "",
            "## Measured",
            "",
            "WQL over that of the better of persistence and seasonal naive, on traces it never saw "
            "(docs/evaluation.md says how and shows the rivals):",
            "",
            "| data set | ratio |",
            "| --- | --- |",
            *scores,
            f"| together | {shipped.overall:.3f} (95 % {shipped.interval[0]:.3f} to {shipped.interval[1]:.3f}) |",
            "",
            f"Worst series: {shipped.worst_series}, {shipped.worst_ratio:.2f}.",
            "",
            "## Limits",
            "",
            LIMITS,
            "",
        ]
    )


def measured_text(summaries: Sequence[Summary]) -> str:
    """The comparison, coverage before calibration and cost."""
    shipped = next(summary for summary in summaries if summary.forecaster == SHIPPED)
    return "\n\n".join(
        [
            markdown_table(summaries),
            "How often the highest load within h steps stayed at or below its quantile, before calibration; "
            "mean over series, worst series in brackets:",
            coverage_table(shipped),
            REPLICA_TITLE,
            replica_table(summaries),
        ]
    )


def experiment_text(experiment: Mapping[str, Any]) -> str:
    """The table of choices."""
    summaries = [Summary(**fields) for fields in experiment["summaries"]]
    return f"{experiment['steps']:,} steps each:\n\n{experiment_table(summaries)}"


def with_block(page: str, name: str, text: str) -> str:
    """The page with what stands between the marks of a block replaced.

    Raises:
        ValueError: The page lacks a mark.
    """
    first, last = f"<!-- {name}: written by `make docs` from {BLOCKS[name]} -->", f"<!-- end of {name} -->"
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"the page needs the marks {first!r} and {last!r}")
    return f"{before}{first}\n\n{text}\n\n{last}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write both, or with --check say whether they are as their sources say."""
    parser = argparse.ArgumentParser(prog="python -m predictor_model.card", description=__doc__)
    parser.add_argument("--evaluation", type=Path, required=True, help="JSON that predictor_model.evaluate wrote")
    parser.add_argument("--calibration", type=Path, required=True, help="JSON that bench.calibration wrote")
    parser.add_argument("--experiment", type=Path, required=True, help="JSON that predictor_model.experiment wrote")
    parser.add_argument("--page", type=Path, required=True, help="docs/evaluation.md")
    parser.add_argument("--weights", type=Path, default=SHIPPED_WEIGHTS, help="folder of model, record and card")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where something is out of date")
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    evaluation, calibration, experiment = (
        json.loads(path.read_text("utf-8")) for path in (options.evaluation, options.calibration, options.experiment)
    )
    summaries = [Summary(**fields) for fields in evaluation["summaries"]]
    record = json.loads((options.weights / RECORD_FILE).read_text("utf-8"))
    page = options.page.read_text("utf-8")
    for name, text in {
        "measured": measured_text(summaries),
        "cold start": cold_start_table([HistoryScore(**fields) for fields in evaluation["histories"]]),
        "calibration": calibration_table(calibration["summary"]),
        "champion": champion_table(calibration["champion"]),
        "experiment": experiment_text(experiment),
    }.items():
        page = with_block(page, name, text)
    wanted = {options.weights / CARD_FILE: model_card(record, summaries), options.page: page}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        if options.check:
            sys.stderr.write(f"{path} is not what its sources say; run `make docs`\n")
        else:
            path.write_text(wanted[path], encoding="utf-8")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
