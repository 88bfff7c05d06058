"""Runs scenarios: those of a group are one simulation, under all seeds and start-up times, in a process of its own."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np

from bench.scenarios.faults import ForecasterDown, HoledMetrics, SourceAway, Span
from bench.scenarios.setups import PATIENCE, SCENARIOS, Fault, Kind, Setup, groups, setups
from scaler.adapters.kserve_forecaster import KServeForecaster
from scaler.backtest import simulate
from scaler.backtest.case import BacktestSettings, Case
from scaler.backtest.forecaster import CountedForecaster
from scaler.backtest.jobs import CALL_DEADLINE, describe
from scaler.backtest.simulate import Ours, Setting
from scaler.backtest.stage import LanePlan, Stage, one_of_each_load
from scaler.controller import ControllerConfig, Forecaster
from scaler.domain import FloatArray
from scaler.replay.demand import TICK, IntArray
from scaler.replay.impatient import ImpatientForecaster
from scaler.replay.lanes import lanes_of
from scaler.replay.physics import Physics
from scaler.replay.run import fitted_to
from scaler.replay.scores import Scores
from scaler.replay.traces import EPOCH
from scaler.telemetry import configure_logging

HPA_TARGETS: Final = (0.7, 0.9)
KPA_TARGET: Final = 0.7
LARGEST: Final = "days"  # of the groups

S = TypeVar("S")

HPA, FLOORED = {0.7: "hpa-70", 0.9: "hpa-90"}, {0.7: "ai-hpa-70", 0.9: "ai-hpa-90"}
KPA, KPA_ONE, FLOORED_KPA, ORACLE = "kpa", "kpa-one", "ai-hpa-kpa", "oracle"

_OF_EACH: Final = frozenset(
    ("sources", "start_seconds", "hpa_target", "pods_at_p99", "capacity", "min_replicas", "max_replicas")
)
"""Settings that scenarios and policies have of their own."""


@dataclass(frozen=True, slots=True)
class AtZero:
    """What came of a workload that may be at zero.

    Attributes:
        starts: Times that its first pod became Ready.
        waits: Times that load met no pod.
        waited: Time until there was a pod, or no load any more, in all.
        longest: The longest of these.
        at_zero: Time without a pod.
    """

    starts: int
    waits: int
    waited: timedelta
    longest: timedelta
    at_zero: timedelta


@dataclass(frozen=True, slots=True)
class Row:
    """One policy in one scenario under one seed.

    Attributes:
        needed: Pod-hours that the load needs.
        zero: None where the last pod never goes.
    """

    scores: Scores
    needed: float
    zero: AtZero | None = None


def at_zero(load: FloatArray, ready: IntArray) -> AtZero:
    """Count what happens at zero.

    Args:
        load: At each tick, NaN is unknown and not counted. Shape (n,).
        ready: Ready pods. Shape (n,).
    """
    none = ready == 0
    waiting = none & (load > 0)
    begins = np.flatnonzero(np.diff(waiting.astype(np.int64), prepend=0) == 1)
    ends = np.flatnonzero(np.diff(waiting.astype(np.int64), append=0) == -1) + 1
    lengths = ends - begins
    return AtZero(
        starts=int(np.count_nonzero(none[:-1] & ~none[1:])),
        waits=len(lengths),
        waited=int(lengths.sum()) * TICK,
        longest=int(lengths.max(initial=0)) * TICK,
        at_zero=int(np.count_nonzero(none)) * TICK,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """One scenario under one seed and one start-up time."""

    setup: Setup
    seed: int
    start_seconds: float

    @property
    def case(self) -> Case:
        """The case of the scenario, with this start-up time."""
        case = self.setup.case
        return replace(case, start_up=replace(case.start_up, median=timedelta(seconds=self.start_seconds)))


@dataclass(frozen=True, slots=True, eq=False)
class DrawnStage(Stage):
    """A stage whose loads have a seed each; draws of one scenario and seed share its load.

    Attributes:
        seeds: Of each load.
    """

    seeds: tuple[int, ...]

    def plan(self, settings: Sequence[Sequence[S]]) -> LanePlan[S]:
        """Make a lane for every setting of every case."""
        # By name: a dataclass with slots is made anew, and super() would look for the one before.
        plan = Stage.plan(self, settings)
        rows = [lane._replace(seed=self.seeds[lane.load]) for lane in plan.lanes.lanes]
        return replace(plan, lanes=lanes_of(rows, self.metrics, self.settings.physics))


def stage_of_draws(draws: Sequence[Draw], settings: BacktestSettings) -> DrawnStage:
    """Put draws side by side, with the holes that their scenarios have in their metrics.

    Args:
        draws: Of one group, all of one shape.
        settings: With one seed, which nothing is drawn from.
    """
    physics = settings.physics
    place: dict[tuple[str, int], int] = {}
    load_of = tuple(place.setdefault((draw.setup.scenario.key, draw.seed), len(place)) for draw in draws)
    loads = one_of_each_load(draws, load_of)
    demands = [draw.case.demand(draw.seed, physics, start=EPOCH) for draw in loads]
    holes = [_on_stage(draw.setup, Fault.METRICS, Fault.SOURCE) for draw in loads]
    metrics = HoledMetrics(demands, physics.metric_delay, holes)
    seeds = tuple(draw.seed for draw in loads)
    return DrawnStage(tuple(draw.case for draw in draws), settings, metrics, load_of, seeds)


def play(draws: Sequence[Draw], settings: BacktestSettings, forecaster: Forecaster) -> list[dict[str, Row]]:
    """Run every policy over draws of one group, which share kind, step and lengths.

    Args:
        draws: All of one scenario where that breaks AI-HPA's ports.
        settings: As `stage_of_draws` takes them.
        forecaster: Whom AI-HPA asks.

    Returns:
        Rows of each draw by policy.
    """
    ours = _ours(draws[0].setup, settings, forecaster)
    if draws[0].setup.scenario.kind is Kind.ZERO:
        return list(_at_zero(draws, settings, ours))
    return list(_with_pods(stage_of_draws(draws, settings), ours))


def _on_stage(setup: Setup, *faults: Fault) -> Span | None:
    """When something is broken, on the clock of a stage; None where it is not among these."""
    if setup.broken is None or setup.scenario.fault not in faults:
        return None
    begin = EPOCH + (setup.case.checked - setup.case.start)
    return Span(begin + setup.broken.start, begin + setup.broken.end)


def _ours(setup: Setup, settings: BacktestSettings, forecaster: Forecaster) -> Ours:
    """Give AI-HPA as shipped, with what is broken in front of its ports."""
    delay = settings.physics.metric_delay
    ours = Ours(forecaster, fitted_to(ControllerConfig(), setup.case.step, delay))
    away = _on_stage(setup, Fault.SOURCE)
    if away is not None:
        return replace(ours, see=lambda source: SourceAway(source, away))
    if setup.broken is not None and setup.scenario.fault is Fault.FORECASTER:
        begin = setup.case.checked  # forecasters are asked by true time
        down = Span(begin + setup.broken.start, begin + setup.broken.end)
        # Asked ahead, it would answer before it is down.
        return replace(ours, forecaster=ForecasterDown(forecaster, down, delay + setup.case.step / 2), asked_ahead=0)
    return ours


def _with_pods(stage: Stage, ours: Ours) -> Iterator[dict[str, Row]]:
    level, window = stage.settings.level, stage.checking
    plan: dict[str, Setting] = {}
    for target in HPA_TARGETS:
        plan |= {HPA[target]: Setting(target), FLOORED[target]: Setting(target, level)}
    over = iter(simulate.over_hpa(stage, [list(plan.values())] * len(stage.cases), window, ours))
    kpas = iter(simulate.over_kpa(stage, [[Setting(KPA_TARGET)]] * len(stage.cases), window, None))
    best = iter(simulate.oracle(stage, window))
    for number in range(len(stage.cases)):
        needed = stage.needed_pod_hours(number, window)
        outcomes = {name: next(over) for name in plan} | {KPA: next(kpas), ORACLE: next(best)}
        yield {name: Row(outcome.scores, needed) for name, outcome in outcomes.items()}


def _at_zero(draws: Sequence[Draw], settings: BacktestSettings, ours: Ours) -> Iterator[dict[str, Row]]:
    """Run KPAs that may go to zero, those that keep a pod, and AI-HPA over the first; all under the same load."""
    kept = [replace(draw, setup=_with_a_pod(draw.setup)) for draw in draws]
    stage = stage_of_draws([*draws, *kept], settings)
    window, count = stage.checking, len(draws)
    alone, floored = Setting(KPA_TARGET), Setting(KPA_TARGET, settings.level)
    plan = [[alone, floored]] * count + [[alone, alone]] * count
    found = simulate.over_kpa(stage, plan, window, ours, request_time=draws[0].setup.request_time)
    best = simulate.oracle(stage, window)
    for number in range(count):
        load, needed = stage.load(number, window), stage.needed_pod_hours(number, window)
        outcomes = {
            KPA: found[2 * number],
            KPA_ONE: found[2 * (count + number)],
            FLOORED_KPA: found[2 * number + 1],
            ORACLE: best[number],
        }
        yield {name: Row(one.scores, needed, at_zero(load, one.ready)) for name, one in outcomes.items()}


def _with_a_pod(setup: Setup) -> Setup:
    return replace(setup, case=replace(setup.case, min_replicas=1))


@dataclass(frozen=True, slots=True)
class Job:
    """One simulation: a group under some seeds and all start-up times."""

    group: str
    seeds: tuple[int, ...]
    start_seconds: tuple[float, ...]
    endpoint: str
    stress: Path | None


Rows: TypeAlias = dict[tuple[str, float, int], dict[str, Row]]
"""By scenario, start-up time and seed; of each policy."""


def run_job(job: Job) -> Rows:
    """Run one simulation with the model server.

    Raises:
        ModelServerFailed: It hardly answered.
    """
    draws = [
        Draw(setup, seed, start)
        for seed in job.seeds
        for setup in setups(job.group, seed, job.stress)
        for start in job.start_seconds
    ]
    with KServeForecaster(job.endpoint, deadline=CALL_DEADLINE) as forecaster:
        counted = CountedForecaster(ImpatientForecaster(forecaster))
        found = play(draws, _settings(draws[0].setup.scenario.kind), counted)
    counted.check()
    return {
        (draw.setup.scenario.key, draw.start_seconds, draw.seed): rows for draw, rows in zip(draws, found, strict=True)
    }


def _settings(kind: Kind) -> BacktestSettings:
    """Give the physics of every benchmark; only those who wake a workload are more patient."""
    physics = Physics(queue_timeout=PATIENCE) if kind is Kind.ZERO else Physics()
    return BacktestSettings(physics=physics)


def run_all(
    seeds: Sequence[int],
    start_seconds: Sequence[float],
    endpoint: str,
    stress: Path | None,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Run every scenario under every seed and start-up time, and give what is published.

    Raises:
        ScalerError: A simulation failed.
    """
    jobs = [
        Job(group, own, tuple(start_seconds), endpoint, stress)
        for group in groups(stress)
        # The largest group in parts, for the other processes to have work until the end.
        for own in ([(seed,) for seed in seeds] if group == LARGEST else [tuple(seeds)])
    ]
    rows: Rows = {}
    # Spawned, because the parent has threads; each process has a forecaster of its own.
    context = multiprocessing.get_context("spawn")
    workers = min(os.cpu_count() or 1, len(jobs))
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_expect_faults) as pool:
        for done, future in enumerate(as_completed([pool.submit(run_job, job) for job in jobs]), 1):
            rows |= future.result()
            progress(done / len(jobs))
    return published(rows, seeds)


def _expect_faults() -> None:
    """Say nothing of what the controller warns of: here somebody breaks its ports on purpose."""
    configure_logging(sys.stderr, logging.ERROR)


def published(rows: Rows, seeds: Sequence[int]) -> dict[str, Any]:
    """Put rows of all seeds together, in the shape of docs/scenarios.json."""
    scenarios = []
    for scenario in SCENARIOS:
        starts = sorted({start for key, start, _ in rows if key == scenario.key})
        runs = []
        for start in starts:
            found = [rows[scenario.key, start, seed] for seed in seeds]
            policies = {name: summed([one[name] for one in found]) for name in found[0]}
            runs.append({"start_seconds": start, "policies": policies})
        if runs:
            scenarios.append({"key": scenario.key, "runs": runs})
    settings = describe(BacktestSettings(seeds=tuple(seeds)), [])
    common = {name: value for name, value in settings.items() if name not in _OF_EACH}
    return {"settings": common, "scenarios": scenarios}


def summed(rows: Sequence[Row]) -> dict[str, Any]:
    """Give means over seeds, and the time short of each seed by itself."""
    scores = [row.scores for row in rows]

    def mean(values: Sequence[float]) -> float:
        return round(float(np.mean(values)), 6)

    summary: dict[str, Any] = {
        "short_seconds": [one.short_time.total_seconds() for one in scores],
        "late_requests": mean([one.late_requests for one in scores]),
        "dropped_requests": mean([one.dropped_requests for one in scores]),
        "pod_hours": mean([one.pod_hours for one in scores]),
        "pod_hours_over_needed": mean([row.scores.pod_hours / row.needed for row in rows]),
        "scale_actions": mean([one.scale_actions for one in scores]),
        "reversals": mean([one.reversals for one in scores]),
        "scored_hours": mean([one.scored_hours for one in scores]),
    }
    zeros = [row.zero for row in rows if row.zero is not None]
    if zeros:
        waits = sum(zero.waits for zero in zeros)
        waited = sum((zero.waited for zero in zeros), timedelta(0)).total_seconds()
        summary["zero"] = {
            "starts": mean([zero.starts for zero in zeros]),
            "waits": [zero.waits for zero in zeros],
            "mean_wait_seconds": round(waited / waits, 1) if waits else None,
            "longest_wait_seconds": max(zero.longest for zero in zeros).total_seconds(),
            "hours_at_zero": mean([zero.at_zero / timedelta(hours=1) for zero in zeros]),
        }
    return summary
