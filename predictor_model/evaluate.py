"""Scores exported forecasters against naive forecasts and Holt-Winters; nothing after an origin enters a forecast."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from predictor_model.baselines import DAY_SECONDS, IntArray, Naive, holt_winters_quantiles
from predictor_model.features import HORIZON, WindowIndex
from predictor_model.graph import CHUNK_ROWS, MODEL_FILE, SHIPPED_WEIGHTS, Graph, ModelUnusable, load_graph
from predictor_model.metrics import (
    LEVELS,
    Array,
    bootstrap_interval,
    coverage,
    geometric_mean,
    median_absolute_error,
    pinball_sum,
    window_max,
)
from predictor_model.traces import Trace, TraceError, read_traces, trace_files

TEST_SHARE = 0.30
ORIGINS = 120
TRAILING_DAYS = 7
COVERAGE_STEPS = (1, 5, 15, 30)
COVERAGE_LEVELS = (0.9, 0.95, 0.99)
SHIPPED = "bi-lstm"
HOLT_WINTERS = "holt-winters"


@dataclass(frozen=True, slots=True)
class SeriesScore:
    """One forecaster on one series.

    Attributes:
        wql_ratio: Pinball loss over that of the better naive forecast, residuals from before the test part.
        trailing_ratio: The same with the naive forecasts' residuals from the trailing seven days; None where too few.
        mase: Median's absolute error over the in-sample error of the seasonal naive, of persistence where there is
            less than two days before the test part.
        covered: Share of window maxima at or below `window_max`, by `step/level`; None without that head.
    """

    dataset: str
    series: str
    forecaster: str
    wql_ratio: float
    trailing_ratio: float | None
    mase: float
    covered: dict[str, float] | None


@dataclass(frozen=True, slots=True)
class Summary:
    """One forecaster over all series; ratios are geometric means, MASE is the plain mean (it may be 0)."""

    forecaster: str
    series: int
    overall: float
    interval: tuple[float, float]
    by_dataset: dict[str, float]
    trailing: float
    mase: float
    worst_series: str
    worst_ratio: float
    covered_mean: dict[str, float]
    covered_worst: dict[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A series with its test origins and what is to be forecast from them."""

    trace: Trace
    split: int
    origins: IntArray
    target: Array

    @property
    def values(self) -> Array:
        """The whole series in double precision. Shape (T,)."""
        values: Array = self.trace.values.astype(np.float64)
        return values

    @property
    def day(self) -> int:
        """Steps per day."""
        return DAY_SECONDS // self.trace.step_seconds


def make_case(trace: Trace) -> Case | None:
    """Origins in the last 30 % of a series, those with an observed sample; None where that is under two horizons."""
    length = len(trace.values)
    split = int(length * (1 - TEST_SHARE))
    if length - split < 2 * HORIZON:
        return None
    origins = np.unique(np.linspace(split, length - HORIZON - 1, ORIGINS).astype(np.int64))
    origins = origins[~np.isnan(trace.values[origins])]
    target = trace.values.astype(np.float64)[origins[:, None] + np.arange(1, HORIZON + 1)]
    return Case(trace, split, origins, target) if len(origins) and not np.isnan(target).all() else None


def naive_reference(case: Case, *, trailing: bool) -> dict[str, Array]:
    """Quantiles of persistence and seasonal naive, those that have enough residuals. Shapes (N, H, Q)."""
    forecasts = {}
    for name, period in (("persistence", 0), ("seasonal-naive", case.day)):
        naive = Naive(case.values, period)
        window = TRAILING_DAYS * case.day
        quantiles = (
            naive.trailing_quantiles(case.origins, window=window)
            if trailing
            else naive.quantiles(case.origins, split=case.split)
        )
        if quantiles is not None:
            forecasts[name] = quantiles
    return forecasts


def model_forecast(graph: Graph, case: Case) -> tuple[Array, Array]:
    """Quantiles and window maxima of an exported graph at the origins of a case. Shapes (N, H, Q)."""
    index = WindowIndex([case.trace], graph.context_length)
    parts = []
    for start in range(0, len(case.origins), CHUNK_ROWS):
        origins = case.origins[start : start + CHUNK_ROWS]
        parts.append(graph.run(index.cut(np.zeros(len(origins), dtype=np.int64), origins)))
    quantiles, highest = (np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True))
    return quantiles, highest


def covered_shares(case: Case, highest: Array) -> dict[str, float]:
    """How often the window maximum stayed at or below its quantile, by step and level."""
    truth = window_max(case.target)
    return {
        f"{step}/{level}": coverage(truth[:, step - 1], highest[:, step - 1, int(LEVELS.tolist().index(level))])
        for step in COVERAGE_STEPS
        for level in COVERAGE_LEVELS
    }


def score_case(case: Case, graphs: dict[str, Graph], *, holt_winters: bool) -> list[SeriesScore]:
    """Every forecaster on one series; none where no naive forecast has enough residuals."""
    reference = naive_reference(case, trailing=False)
    if not reference:
        return []
    trailing = naive_reference(case, trailing=True)
    best = min(pinball_sum(case.target, quantiles) for quantiles in reference.values())
    best_trailing = min((pinball_sum(case.target, quantiles) for quantiles in trailing.values()), default=None)
    unit = _in_sample_error(case)
    if best <= 0 or unit <= 0:
        return []  # the naive forecast is exact: a constant series tells nothing
    forecasts: dict[str, tuple[Array, Array | None]] = {name: (value, None) for name, value in reference.items()}
    forecasts |= {name: model_forecast(graph, case) for name, graph in graphs.items()}
    if holt_winters:
        smoothed = holt_winters_quantiles(case.values, case.origins, period=case.day, split=case.split)
        if smoothed is not None:
            forecasts[HOLT_WINTERS] = (smoothed, None)
    return [
        SeriesScore(
            dataset=case.trace.dataset,
            series=case.trace.name,
            forecaster=name,
            wql_ratio=pinball_sum(case.target, quantiles) / best,
            trailing_ratio=pinball_sum(case.target, quantiles) / best_trailing if best_trailing else None,
            mase=median_absolute_error(case.target, quantiles) / unit,
            covered=covered_shares(case, highest) if highest is not None else None,
        )
        for name, (quantiles, highest) in forecasts.items()
    ]


def _in_sample_error(case: Case) -> float:
    lag = case.day if case.split >= 2 * case.day else 1
    past = case.values[: case.split]
    return float(np.nanmean(np.abs(past[lag:] - past[:-lag])))


def summarise(scores: Sequence[SeriesScore]) -> list[Summary]:
    """Geometric means over series, then over data sets, a row for each forecaster."""
    return [_summary(name, [s for s in scores if s.forecaster == name]) for name in _names(scores)]


def _names(scores: Sequence[SeriesScore]) -> list[str]:
    return list(dict.fromkeys(score.forecaster for score in scores))


def _summary(name: str, scores: list[SeriesScore]) -> Summary:
    datasets = list(dict.fromkeys(score.dataset for score in scores))
    groups = [np.array([s.wql_ratio for s in scores if s.dataset == dataset]) for dataset in datasets]
    by_dataset = {dataset: geometric_mean(group) for dataset, group in zip(datasets, groups, strict=True)}
    trailing = [
        geometric_mean(np.array(ratios))
        for dataset in datasets
        if (ratios := [s.trailing_ratio for s in scores if s.dataset == dataset and s.trailing_ratio is not None])
    ]
    worst = max(scores, key=lambda score: score.wql_ratio)
    covered = [score.covered for score in scores if score.covered is not None]
    keys = covered[0] if covered else ()
    return Summary(
        forecaster=name,
        series=len(scores),
        overall=geometric_mean(np.array(list(by_dataset.values()))),
        interval=bootstrap_interval(groups),
        by_dataset=by_dataset,
        trailing=geometric_mean(np.array(trailing)) if trailing else float("nan"),
        mase=float(np.mean([s.mase for s in scores])),
        worst_series=f"{worst.dataset}/{worst.series}",
        worst_ratio=worst.wql_ratio,
        covered_mean={key: float(np.nanmean([shares[key] for shares in covered])) for key in keys},
        covered_worst={key: float(np.nanmin([shares[key] for shares in covered])) for key in keys},
    )


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
    parser.add_argument("--no-holt-winters", action="store_true", help="leave out the slowest baseline")
    parser.add_argument("--json", type=Path, help="write every series' scores and the summaries here")
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
        traces = [trace for path in trace_files(options.csv) for trace in read_traces(path)]
    except (ModelUnusable, TraceError) as error:
        progress.print(f"[red]error:[/red] {error}")
        return 2
    cases = [case for trace in traces if (case := make_case(trace)) is not None]
    scores = [
        score
        for case in track(cases, "scoring series", console=progress)
        for score in score_case(case, graphs, holt_winters=not options.no_holt_winters)
    ]
    if not scores:
        progress.print("[red]error:[/red] no series is long enough: the last 30 % must hold 60 steps, the rest 50")
        return 2
    summaries = summarise(scores)
    text = "\n\n".join(
        [markdown_table(summaries)]
        + [
            f"Coverage of the window maximum, {s.forecaster}:\n\n{coverage_table(s)}"
            for s in summaries
            if s.covered_mean
        ]
    )
    output.print(text, markup=False, soft_wrap=True)
    if options.markdown:
        options.markdown.write_text(text + "\n", encoding="utf-8")
    if options.json:
        result = {
            "summaries": [dataclasses.asdict(summary) for summary in summaries],
            "series": [dataclasses.asdict(score) for score in scores],
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
