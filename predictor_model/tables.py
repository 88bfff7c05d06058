"""What was measured, as the Markdown tables of docs/evaluation.md; it measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from predictor_model.cold_start import HISTORIES, HistoryScore, ratios_of
from predictor_model.metrics import geometric_mean
from predictor_model.scoring import COVERAGE_LEVELS, COVERAGE_STEPS, REPLICA_KEYS, Summary

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
    return table(header, rows)


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
    return table(header, rows)


def replica_table(summaries: Sequence[Summary]) -> str:
    """Cost of bounds on the window maximum in pods, a row for each forecaster."""
    header = ["forecaster", *(f"h = {key.replace('/', ', level ')}" for key in REPLICA_KEYS)]
    rows = [[summary.forecaster, *(f"{summary.replica[key]:.3f}" for key in REPLICA_KEYS)] for summary in summaries]
    return table(header, rows)


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
    return table(header, rows)


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
    cells = [
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
    return table(header, cells)


def champion_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """What `bench.calibration` measured of the source that serves, a row for each window and level."""
    header = [
        "h, level",
        "over the best in hindsight",
        "worst series",
        "over the model alone",
        "worst series",
        "served by",
    ]
    cells = [
        [
            f"{row['step']:g}, {row['level']:.2f}",
            f"**{row['over_best']:.3f}**",
            f"{row['over_best_worst']:.3f} ({row['worst_series']})",
            f"{row['over_model']:.3f}",
            f"{row['over_model_worst']:.3f}",
            ", ".join(f"{source} {share:.0%}" for source, share in row["served"].items() if share >= 0.005),
        ]
        for row in rows
    ]
    return table(header, cells)


def cold_start_table(scores: Sequence[HistoryScore]) -> str:
    """Loss over that of persistence by length of history, a column for each data set."""
    datasets = list(dict.fromkeys(score.dataset for score in scores))
    rows = []
    for history in HISTORIES:
        ratios = ratios_of(scores, history)
        worst = max((score for score in scores if score.history == history), key=lambda score: score.ratio)
        rows.append(
            [
                history,
                *(f"{ratios[name]:.3f}" for name in datasets),
                f"**{geometric_mean(np.array(list(ratios.values()))):.3f}**",
                f"{worst.ratio:.2f} ({worst.dataset}/{worst.series})",
            ]
        )
    return table(["history", *datasets, "together", "worst series"], rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
