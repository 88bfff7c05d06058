"""How often window maxima stay within their bounds, before and after what the scaler learns online, on recorded load.

Run: python -m bench.calibration --csv FILES [--model DIR] [--rate R ...] [--json OUT]

Every forecast that a scaler would have asked for is made by the exported graph from what was known at its time, and
`scaler.calibration` learns from each as the scaler does: with the next call after a window is over.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.progress import track

from predictor_model.features import HORIZON
from predictor_model.graph import MODEL_FILE, SHIPPED_WEIGHTS, Graph, ModelUnusable, load_graph
from predictor_model.metrics import LEVELS, geometric_mean, replica_pinball, window_max
from predictor_model.scoring import COVERAGE_LEVELS, PODS_AT_P99, REPLICA_STEPS, model_forecast
from predictor_model.tables import calibration_table
from predictor_model.traces import Trace, TraceError, read_traces, trace_files
from scaler.calibration import CalibrationConfig, CalibrationState, issue, load_scale, offsets_for, resolve
from scaler.domain import FloatArray, Forecast
from scaler.forecast_cycle import ForecastCycleConfig
from scaler.policy import prepare

PERIOD: Final = ForecastCycleConfig().forecast_period
MIN_SPAN: Final = timedelta(days=7)
BUSY_SHARE: Final = 0.1
T0: Final = datetime(2000, 1, 1, tzinfo=UTC)  # for series without a clock; only differences count


@dataclass(frozen=True, slots=True, eq=False)
class Issued:
    """Every forecast of one series.

    Attributes:
        origins: Numbers of the newest samples. Shape (N,).
        highest: Window maxima. Shape (N, H, Q).
        truth: What came. NaN is unknown. Shape (N, H).
        busy: Origins within the tenth of hours that had the most load. Shape (N,).
        capacity: Load of one pod.
    """

    trace: Trace
    origins: np.ndarray[Any, np.dtype[np.int64]]
    highest: FloatArray
    truth: FloatArray
    busy: np.ndarray[Any, np.dtype[np.bool_]]
    capacity: float

    @property
    def step(self) -> timedelta:
        """Spacing of the samples."""
        return timedelta(seconds=self.trace.step_seconds)

    def time_of(self, sample: int) -> datetime:
        """When a sample was taken."""
        return T0 + sample * self.step


@dataclass(frozen=True, slots=True)
class Score:
    """Bounds of one series at one level and number of steps.

    Attributes:
        covered: Share of windows whose maximum was at or below the bound.
        covered_busy: The same in the busiest tenth of hours.
        cost: Mean pinball loss of the bound in pods.
    """

    series: str
    step: int
    level: float
    covered: float
    covered_busy: float
    cost: float


def forecasts_of(trace: Trace, graph: Graph) -> Issued | None:
    """Forecast once per period from the first full context on; None for a series of under a week, or of nothing."""
    values = trace.values.astype(np.float64)
    if len(values) * trace.step_seconds < MIN_SPAN.total_seconds() or not np.nanmax(values, initial=0.0) > 0:
        return None
    every = max(1, round(PERIOD.total_seconds() / trace.step_seconds))
    origins = np.arange(graph.context_length, len(values) - HORIZON, every)
    origins = origins[~np.isnan(values[origins])]
    _, highest = model_forecast(graph, trace, origins)
    hours, hour = np.unique(origins * trace.step_seconds // 3600, return_inverse=True)
    mean = np.bincount(hour, values[origins], len(hours)) / np.bincount(hour, minlength=len(hours))
    return Issued(
        trace=trace,
        origins=origins,
        highest=highest,
        truth=window_max(values[origins[:, None] + np.arange(1, HORIZON + 1)]),
        busy=(mean >= np.quantile(mean, 1 - BUSY_SHARE))[hour],
        capacity=float(np.nanquantile(values, 0.99)) / PODS_AT_P99,
    )


def calibrated(issued: Issued, level: float, config: CalibrationConfig, context_length: int) -> FloatArray:
    """Bounds at `level` with the offsets that stood when each was issued. Shape (N, H)."""
    values = issued.trace.values.astype(np.float64)
    column = LEVELS.tolist().index(level)
    state: CalibrationState | None = None
    bounds = np.empty(issued.truth.shape)
    for row, origin in enumerate(issued.origins.tolist()):
        load = values[origin + 1 - context_length : origin + 1]
        now = issued.time_of(origin)
        if state is not None:
            state = resolve(state, load, end=now, step=issued.step, config=config)
        plain = issued.highest[row, :, column]
        one_level = plain[:, np.newaxis]  # (H, 1)
        forecast = Forecast(now, issued.step, (level,), one_level, one_level, "model")
        state = issue(state, forecast, plain, level=level, scale=load_scale(load))
        bounds[row] = prepare(forecast, level, offsets_for(state, forecast, level)).peaks
    return bounds


def scores_of(issued: Issued, level: float, bounds: FloatArray) -> list[Score]:
    """Score bounds of shape (N, H) at the steps that a scaler usually needs."""
    scores = []
    for step in REPLICA_STEPS:
        truth, bound = issued.truth[:, step - 1], bounds[:, step - 1]
        known = ~np.isnan(truth)
        within = truth <= bound
        scores.append(
            Score(
                series=f"{issued.trace.dataset}/{issued.trace.name}",
                step=step,
                level=level,
                covered=float(within[known].mean()),
                covered_busy=float(within[known & issued.busy].mean()),
                cost=replica_pinball(truth, bound, level=level, capacity=issued.capacity),
            )
        )
    return scores


def summary_of(before: Sequence[Score], after: Sequence[Score]) -> list[dict[str, float]]:
    """One row for each step and level."""
    rows = []
    for step in REPLICA_STEPS:
        for level in COVERAGE_LEVELS:
            plain, learned = (
                [score for score in scores if (score.step, score.level) == (step, level)] for scores in (before, after)
            )
            costs = [(p.cost, c.cost) for p, c in zip(plain, learned, strict=True) if p.cost > 0 and c.cost > 0]
            rows.append(
                {
                    "step": step,
                    "level": level,
                    "series": len(learned),
                    "covered_before": float(np.mean([s.covered for s in plain])),
                    "lowest_before": min(s.covered for s in plain),
                    "covered": float(np.mean([s.covered for s in learned])),
                    "lowest": min(s.covered for s in learned),
                    "highest": max(s.covered for s in learned),
                    "covered_busy": float(np.mean([s.covered_busy for s in learned])),
                    "cost_ratio": geometric_mean(np.array([after / before for before, after in costs])),
                    "cost_ratio_worst": max(after / before for before, after in costs),
                }
            )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print one table for each rate."""
    parser = argparse.ArgumentParser(prog="python -m bench.calibration", description=__doc__.splitlines()[0])
    parser.add_argument("--csv", type=Path, nargs="+", required=True, help="CSV files or directories of them")
    parser.add_argument("--model", type=Path, default=SHIPPED_WEIGHTS, metavar="DIR", help="folder of the graph")
    parser.add_argument("--rate", type=float, nargs="+", help="other rates than the shipped one, a table for each")
    parser.add_argument("--json", type=Path, help="write summary and series of the first rate here")
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    console = Console(stderr=True)
    try:
        graph = load_graph(options.model / MODEL_FILE)
        traces = [trace for path in trace_files(options.csv) for trace in read_traces(path)]
    except (ModelUnusable, TraceError) as error:
        console.print(f"[red]error:[/red] {error}")
        return 2
    shipped = CalibrationConfig()
    rates = options.rate or [shipped.calibration_rate]
    before: list[Score] = []
    after: dict[float, list[Score]] = {rate: [] for rate in rates}
    for trace in track(traces, "forecasting and learning", console=console):
        issued = forecasts_of(trace, graph)
        if issued is None:
            continue
        for level in COVERAGE_LEVELS:
            before += scores_of(issued, level, issued.highest[:, :, LEVELS.tolist().index(level)])
            for rate in rates:
                config = replace(shipped, calibration_rate=rate)
                after[rate] += scores_of(issued, level, calibrated(issued, level, config, graph.context_length))
    if not before:
        console.print("[red]error:[/red] no series is a week long")
        return 2
    summaries = {rate: summary_of(before, scores) for rate, scores in after.items()}
    for rate, rows in summaries.items():
        Console().print(f"Rate {rate:g}:\n\n{calibration_table(rows)}\n", markup=False, soft_wrap=True)
    if options.json:
        first = rates[0]
        written = {"summary": summaries[first], "series": [asdict(score) for score in after[first]]}
        options.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
