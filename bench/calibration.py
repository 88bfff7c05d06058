"""How often window maxima stay within their bounds, and what they cost, with what the scaler learns online.

Run: python -m bench.calibration --csv FILES [--model DIR] [--rate R ...] [--json OUT]

Every forecast that a scaler would have asked for, were it one every five minutes, is made by the exported graph from
what was known at its time; `scaler.forecasts` learns from each as the scaler does, with the next call after a window is
over, and chooses the source that serves. What a single source would have cost is known in hindsight alone.
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
from predictor_model.tables import calibration_table, champion_table
from predictor_model.traces import Trace, TraceError, read_traces, trace_files
from scaler import baselines, policy
from scaler.baselines import Baselines
from scaler.calibration import PERIOD_OF_RATE, SOURCES, CalibrationConfig
from scaler.domain import FloatArray, Forecast, ForecastRequest, Source, Target, TargetKey
from scaler.forecasts import Arrival, Forecasts, ForecastsConfig, bounds_of, expected, take
from scaler.history import SEASONS

PERIOD: Final = PERIOD_OF_RATE
MIN_SPAN: Final = timedelta(days=7)
UNSCORED: Final = timedelta(days=1)  # the champion's first day, when there is nothing to choose by
BUSY_SHARE: Final = 0.1
T0: Final = datetime(2000, 1, 1, tzinfo=UTC)  # for series without a clock; only differences count
MODEL: Final = SOURCES.index(Source.MODEL)


@dataclass(frozen=True, slots=True, eq=False)
class Issued:
    """Every forecast of one series.

    Attributes:
        origins: Numbers of the newest samples. Shape (N,).
        highest: The model's window maxima. Shape (N, H, Q).
        requests: What the scaler would have sent. Length N.
        without_model: Those of the other sources. Length N.
        truth: What came. NaN is unknown. Shape (N, H).
        busy: Origins within the tenth of hours that had the most load. Shape (N,).
        capacity: Load of one pod.
    """

    trace: Trace
    origins: np.ndarray[Any, np.dtype[np.int64]]
    highest: FloatArray
    requests: tuple[ForecastRequest, ...]
    without_model: Sequence[Baselines]
    truth: FloatArray
    busy: np.ndarray[Any, np.dtype[np.bool_]]
    capacity: float

    @property
    def name(self) -> str:
        """Data set and series."""
        return f"{self.trace.dataset}/{self.trace.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What was known when each forecast of a series was issued, at one level and number of steps.

    Attributes:
        bounds: Of the model, offset included. Shape (N,).
        peaks: Of every source, offset included and never below the newest load; NaN where it had none. Shape (N, S).
        champions: Row of who served. Shape (N,).
    """

    bounds: FloatArray
    peaks: FloatArray
    champions: np.ndarray[Any, np.dtype[np.int64]]


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


@dataclass(frozen=True, slots=True)
class ChampionScore:
    """Costs of one series in pods after the first day, at one level and number of steps.

    Attributes:
        cost: Of those who served.
        costs: Of each source alone, by name; where it had no forecast, the model's counts.
        served: Share of forecasts that each source served, by name.
    """

    series: str
    step: int
    level: float
    cost: float
    costs: dict[str, float]
    served: dict[str, float]

    @property
    def best(self) -> float:
        """Of the source that cost least, which only hindsight knows."""
        return min(self.costs.values())


def forecasts_of(trace: Trace, graph: Graph) -> Issued | None:
    """Forecast once per period from the first full context on; None for a series of under a week, or idle for 99 %."""
    values = trace.values.astype(np.float64)
    capacity = float(np.nanquantile(values, 0.99)) / PODS_AT_P99
    if len(values) * trace.step_seconds < MIN_SPAN.total_seconds() or not capacity > 0:
        return None
    every = max(1, round(PERIOD.total_seconds() / trace.step_seconds))
    origins = np.arange(graph.context_length, len(values) - HORIZON, every)
    origins = origins[~np.isnan(values[origins])]
    _, highest = model_forecast(graph, trace, origins)
    requests = tuple(request_of(trace, values, number, graph.context_length) for number in origins.tolist())
    hours, hour = np.unique(origins * trace.step_seconds // 3600, return_inverse=True)
    mean = np.bincount(hour, values[origins], len(hours)) / np.bincount(hour, minlength=len(hours))
    return Issued(
        trace=trace,
        origins=origins,
        highest=highest,
        requests=requests,
        without_model=baselines.forecast(requests),
        truth=window_max(values[origins[:, None] + np.arange(1, HORIZON + 1)]),
        busy=(mean >= np.quantile(mean, 1 - BUSY_SHARE))[hour],
        capacity=capacity,
    )


def request_of(trace: Trace, values: FloatArray, origin: int, context_length: int) -> ForecastRequest:
    """Cut what a scaler would know at one sample, under a key of its own."""
    step = timedelta(seconds=trace.step_seconds)
    places = np.arange(origin + 1 - context_length, origin + 1 + HORIZON)
    lagged = [places - season // step for season in SEASONS]
    seasons = [np.where(at >= 0, values[np.maximum(at, 0)], np.nan) for at in lagged]
    return ForecastRequest(
        key=TargetKey("bench", trace.name, str(origin)),
        origin=T0 + origin * step,
        step=step,
        load=values[origin + 1 - context_length : origin + 1],
        seasonal_load=np.stack(seasons),
    )


def learn(issued: Issued, level: float, steps: int, config: ForecastsConfig) -> Learned:
    """Go through all forecasts in order, learning from each once it came true."""
    column = LEVELS.tolist().index(level)
    most = int(np.nanmax(issued.trace.values) / issued.capacity) + 1
    key = TargetKey("bench", "Trace", issued.trace.name)
    target = Target(key, 0, 10 * most, issued.capacity, miss_budget_ratio=1.0 - level)
    known = Forecasts()
    count = len(issued.origins)
    bounds, peaks = np.empty(count), np.empty((count, len(SOURCES)))
    champions = np.empty(count, np.int64)
    for row, (request, without_model) in enumerate(zip(issued.requests, issued.without_model, strict=True)):
        plain = issued.highest[row, :, column, np.newaxis]  # (H, 1)
        forecast = Forecast(request.origin, request.step, (target.level,), plain, plain, Source.MODEL)
        arrival = Arrival(request, forecast, without_model, steps)
        (known,) = take([known], [arrival], targets=[target], config=config, now=request.origin)
        state, champion = known.calibration, known.champion
        if state is None or champion is None:
            raise AssertionError("nothing was learned from a forecast")
        offsets = state.offsets * state.scale
        with_offsets = policy.peaks_of(bounds_of([arrival], [target.level]), offsets[np.newaxis])
        bounds[row] = with_offsets[0, MODEL, steps - 1]
        (peaks[row],) = expected([arrival], with_offsets)
        serving = SOURCES.index(champion.source)
        champions[row] = serving if np.isfinite(peaks[row, serving]) else MODEL
    return Learned(bounds, peaks, champions)


def score_of(issued: Issued, level: float, steps: int, bounds: FloatArray) -> Score:
    """Score the model's bounds of shape (N,)."""
    truth = issued.truth[:, steps - 1]
    known = ~np.isnan(truth)
    within = truth <= bounds
    return Score(
        series=issued.name,
        step=steps,
        level=level,
        covered=float(within[known].mean()),
        covered_busy=float(within[known & issued.busy].mean()),
        cost=replica_pinball(truth, bounds, level=level, capacity=issued.capacity),
    )


def champion_score_of(issued: Issued, level: float, steps: int, learned: Learned) -> ChampionScore:
    """Score who served against everybody alone."""
    later = issued.origins * issued.trace.step_seconds >= UNSCORED.total_seconds()
    truth, champions = issued.truth[later, steps - 1], learned.champions[later]
    filled = np.where(np.isnan(learned.peaks), learned.peaks[:, [MODEL]], learned.peaks)[later]

    def cost(peaks: FloatArray) -> float:
        return replica_pinball(truth, peaks, level=level, capacity=issued.capacity)

    return ChampionScore(
        series=issued.name,
        step=steps,
        level=level,
        cost=cost(filled[np.arange(len(filled)), champions]),
        costs={source.value: cost(filled[:, row]) for row, source in enumerate(SOURCES)},
        served={source.value: float((champions == row).mean()) for row, source in enumerate(SOURCES)},
    )


def summary_of(before: Sequence[Score], after: Sequence[Score]) -> list[dict[str, float]]:
    """Calibration, a row for each step and level."""
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


def champion_summary_of(scores: Sequence[ChampionScore]) -> list[dict[str, Any]]:
    """The champion, a row for each step and level; means are geometric."""
    rows = []
    for step in REPLICA_STEPS:
        for level in COVERAGE_LEVELS:
            of_kind = [s for s in scores if (s.step, s.level) == (step, level) and s.best > 0 and s.cost > 0]
            worst = max(of_kind, key=lambda s: s.cost / s.best)
            rows.append(
                {
                    "step": step,
                    "level": level,
                    "series": len(of_kind),
                    "over_best": geometric_mean(np.array([s.cost / s.best for s in of_kind])),
                    "over_best_worst": worst.cost / worst.best,
                    "worst_series": worst.series,
                    "over_model": geometric_mean(np.array([s.cost / s.costs[Source.MODEL] for s in of_kind])),
                    "over_model_worst": max(s.cost / s.costs[Source.MODEL] for s in of_kind),
                    "best": {source.value: sum(s.costs[source] == s.best for s in of_kind) for source in SOURCES},
                    "served": {source.value: float(np.mean([s.served[source] for s in of_kind])) for source in SOURCES},
                }
            )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the tables for each rate."""
    parser = argparse.ArgumentParser(prog="python -m bench.calibration", description=__doc__.splitlines()[0])
    parser.add_argument("--csv", type=Path, nargs="+", required=True, help="CSV files or directories of them")
    parser.add_argument("--model", type=Path, default=SHIPPED_WEIGHTS, metavar="DIR", help="folder of the graph")
    parser.add_argument("--rate", type=float, nargs="+", help="other rates than the shipped one, tables for each")
    parser.add_argument("--json", type=Path, help="write summaries and series of the first rate here")
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
    champions: dict[float, list[ChampionScore]] = {rate: [] for rate in rates}
    for trace in track(traces, "forecasting and learning", console=console):
        issued = forecasts_of(trace, graph)
        if issued is None:
            continue
        for level in COVERAGE_LEVELS:
            for steps in REPLICA_STEPS:
                plain = issued.highest[:, steps - 1, LEVELS.tolist().index(level)]
                before.append(score_of(issued, level, steps, plain))
                for rate in rates:
                    config = ForecastsConfig(calibration=replace(shipped, calibration_rate=rate), period=PERIOD)
                    learned = learn(issued, level, steps, config)
                    after[rate].append(score_of(issued, level, steps, learned.bounds))
                    champions[rate].append(champion_score_of(issued, level, steps, learned))
    if not before:
        console.print("[red]error:[/red] no series is a week long")
        return 2
    output = Console()
    for rate in rates:
        tables = (
            calibration_table(summary_of(before, after[rate])),
            champion_table(champion_summary_of(champions[rate])),
        )
        output.print(f"Rate {rate:g}:", *tables, sep="\n\n", markup=False, soft_wrap=True)
    if options.json:
        first = rates[0]
        written = {
            "summary": summary_of(before, after[first]),
            "series": [asdict(score) for score in after[first]],
            "champion": champion_summary_of(champions[first]),
            "champion_series": [asdict(score) for score in champions[first]],
        }
        options.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
