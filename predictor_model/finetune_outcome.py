"""What came of a fine-tuning: as a sentence, a table and data; it measures and decides nothing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.table import Table

from predictor_model.scoring import SeriesScore, Summary, summarise
from predictor_model.traces import Skipped
from predictor_model.verdict import CANDIDATE, INCUMBENT, Action, Comparison, Judged, Verdict

SHOWN_COVERAGE: Final = "15/0.95"
HEADER: Final = ("", "loss / better naive", "95 % interval", "pods / better naive", "covered at 0.95", "worst series")
MANIFEST: Final = "inferenceservices/forecaster-finetuned.yaml"


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One run of `python -m predictor_model.finetune`.

    Attributes:
        versions: Of each model that was judged, by its name.
        place: The folder that is served from.
        trouble: Why what stood there could not be loaded; empty where it could, or nothing stood there.
    """

    verdict: Verdict
    judged: tuple[Judged, ...]
    skipped: tuple[Skipped, ...]
    versions: Mapping[str, str]
    place: Path
    trouble: str

    def scores(self) -> list[SeriesScore]:
        """Every model and naive forecast on every series."""
        return [score for series in self.judged for score in series.scores.values()]

    def summaries(self) -> list[Summary]:
        """The models, the fine-tuned one first."""
        return [summary for summary in summarise(self.scores()) if summary.forecaster in self.versions]


def sentence(outcome: Outcome) -> str:
    """Say the verdict with its numbers."""
    verdict, place = outcome.verdict, outcome.place
    ours = [_compared(comparison) for comparison in verdict.comparisons if comparison.ours == CANDIDATE]
    told = f"on the newest load of {len(outcome.judged)} series the fine-tuned weights make {' and '.join(ours)}"
    if verdict.better:
        return f"Better: {told}. Version {outcome.versions[CANDIDATE]} now stands in {place}."
    if verdict.action is Action.WENT_BACK:
        cause = outcome.trouble or f"the shipped ones make {_compared(verdict.comparisons[-1])}"
        return f"Not better: {told}. The shipped weights now stand in {place}, because {cause}."
    kept = f"those in {place}" if INCUMBENT in outcome.versions else "the shipped ones"
    return f"Not better: {told}. Keep {kept}; nothing was changed."


def _compared(comparison: Comparison) -> str:
    low, high = comparison.interval
    return (
        f"{comparison.loss:.3f} of the loss of those {comparison.theirs} (95 %: {low:.3f} to {high:.3f}) "
        f"at {comparison.pods:.3f} of their cost in pods"
    )


def next_steps(outcome: Outcome) -> str:
    """Say what to do now."""
    place = outcome.place
    if outcome.verdict.action is Action.KEPT:
        return "There is nothing to do. Try again when there is more history, or other load."
    return (
        f"{MANIFEST} serves it where the claim `forecaster-weights` holds {place.parent};\n"
        "a forecaster that sleeps between calls loads it at its next start. "
        f"To try it here: python -m predictor_model --model_dir {place}"
    )


def to_table(outcome: Outcome) -> Table:
    """The models side by side."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, name in enumerate(HEADER):
        table.add_column(name, justify="right" if number else "left")
    for cells in rows(outcome.summaries()):
        table.add_row(*cells, style="bold" if cells[0] == CANDIDATE else None)
    return table


def rows(summaries: Sequence[Summary]) -> list[list[str]]:
    """Cells below `HEADER`, a row for each model."""
    return [
        [
            summary.forecaster,
            f"{summary.overall:.3f}",
            f"{summary.interval[0]:.3f} to {summary.interval[1]:.3f}",
            f"{summary.replica[SHOWN_COVERAGE]:.3f}",
            f"{summary.covered_mean[SHOWN_COVERAGE]:.3f}",
            f"{summary.worst_ratio:.2f}",
        ]
        for summary in summaries
    ]


def to_json(outcome: Outcome) -> dict[str, Any]:
    """Every number, for a program."""
    verdict = outcome.verdict
    data = {
        "verdict": "better" if verdict.better else "not-better",
        "action": verdict.action.value,
        "why": sentence(outcome),
        "model_version": outcome.versions[CANDIDATE],
        "versions": dict(outcome.versions),
        "comparisons": [dataclasses.asdict(comparison) for comparison in verdict.comparisons],
        "summaries": [dataclasses.asdict(summary) for summary in outcome.summaries()],
        "series": [dataclasses.asdict(score) for score in outcome.scores()],
        "skipped": [dataclasses.asdict(series) for series in outcome.skipped],
    }
    return {name: _without_nan(value) for name, value in data.items()}


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: what was not measured is null there."""
    if isinstance(value, dict):
        return {name: _without_nan(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(member) for member in value]
    return None if isinstance(value, float) and math.isnan(value) else value
