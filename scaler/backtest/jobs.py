"""A backtest in parts that run beside each other, each kept once it is done; however it is cut, it ends the same."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import queue
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import scaler
from scaler.adapters.kserve_forecaster import KServeForecaster
from scaler.backtest.case import BacktestSettings, Case, Unfit
from scaler.backtest.forecaster import CountedForecaster
from scaler.backtest.result import SeriesResult, from_json, to_json
from scaler.backtest.run import STAGES, backtest
from scaler.backtest.simulate import Ours
from scaler.backtest.verdict import Answer, Verdict
from scaler.controller import ControllerConfig
from scaler.domain import ForecastUnavailable
from scaler.replay.impatient import ImpatientForecaster
from scaler.replay.model_server import ModelServerFailed
from scaler.replay.run import fitted_to

CALL_DEADLINE: Final = timedelta(
    seconds=30
)  # the server is on this machine, and may have two callers with many windows
MOST_AT_ONCE: Final = 10  # cases times seeds: beyond, more of them cost no less each, and what is cut off is lost whole
_POLL_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Shard:
    """Which of several machines this is.

    Attributes:
        number: From 1 to `of`.
    """

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        """Refuse a machine that does not exist."""
        if not 1 <= self.number <= self.of:
            raise ValueError(f"a shard is I/N with 1 <= I <= N, got {self.number}/{self.of}")

    def takes(self, place: int) -> bool:
        """Whether the series at this place is for this machine."""
        return place % self.of == self.number - 1


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Cases of one shape that are simulated together, and where what comes of them is kept."""

    places: tuple[int, ...]
    cases: tuple[Case, ...]
    settings: BacktestSettings
    config: ControllerConfig
    endpoint: str

    def digest(self) -> str:
        """Tell it from every other part: by its load, its settings, and the program that runs it."""
        parts = [_program(), repr(self.settings), repr(self.config)]
        for case in self.cases:
            parts += [
                case.name,
                repr(case.shape),
                repr((case.start, case.capacity, case.min_replicas, case.max_replicas, case.start_up)),
            ]
            parts.append(hashlib.sha256(case.values.tobytes()).hexdigest())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@cache
def _program() -> str:
    """Tell one version of the scaler from any other: what an older one left behind must not pass for this one's."""
    whole = hashlib.sha256()
    for path in sorted(Path(scaler.__file__).parent.rglob("*.py")):
        whole.update(path.read_bytes())
    return whole.hexdigest()


def run_all(  # noqa: PLR0913 - who is asked, what is run and how much of it is here
    workloads: Sequence[Case | Unfit],
    settings: BacktestSettings,
    config: ControllerConfig,
    endpoint: str,
    *,
    shard: Shard = Shard(),
    keep: Path,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> list[SeriesResult]:
    """Backtest every workload of this shard, with a process for each core.

    Args:
        workloads: All of them, in the order that all machines have.
        settings: Everything besides a workload.
        config: Of the controller, as shipped or as the user sets it.
        endpoint: Base URL of a model server.
        shard: Which workloads are ours.
        keep: Folder for the parts that are done; a run that was cut off goes on from there.
        progress: Told what is going on and the share that is done.

    Returns:
        A result for each workload of the shard, in order.

    Raises:
        ScalerError: A part failed.
    """
    results: dict[int, SeriesResult] = {}
    cases: dict[int, Case] = {}
    for place, workload in enumerate(workloads):
        if not shard.takes(place):
            continue
        if isinstance(workload, Case):
            cases[place] = workload
        else:
            results[place] = _without_policies(workload)
    workers = os.cpu_count() or 1
    tuned = replace(config, forecast_cycle=replace(config.forecast_cycle, forecast_period=settings.forecast_period))
    parts = parts_of(cases, settings, tuned, endpoint, workers)
    keep.mkdir(parents=True, exist_ok=True)
    for part, found in _done(parts, keep, workers, progress):
        results.update(zip(part.places, found, strict=True))
    return [results[place] for place in sorted(results)]


def describe(settings: BacktestSettings, traces: Iterable[str]) -> dict[str, Any]:
    """Give settings as JSON, with what they were applied to."""
    physics, start_up = settings.physics, settings.start_up
    return {
        "sources": list(traces),
        "start_seconds": start_up.median.total_seconds(),
        "start_spread_ratio": start_up.spread_ratio,
        "cache_miss_ratio": start_up.cache_miss_ratio,
        "cache_miss_factor": start_up.cache_miss_factor,
        "hpa_target": settings.hpa_target,
        "miss_budget_ratio": settings.miss_budget_ratio,
        "seeds": list(settings.seeds),
        "pods_at_p99": settings.pods_at_p99,
        "capacity": settings.capacity,
        "min_replicas": settings.min_replicas,
        "max_replicas": settings.max_replicas,
        "forecast_period_seconds": settings.forecast_period.total_seconds(),
        "forecast_latency_seconds": settings.forecast_latency.total_seconds(),
        **{name: _plain(value) for name, value in asdict(physics).items()},
    }


def _plain(value: object) -> object:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _without_policies(unfit: Unfit) -> SeriesResult:
    return SeriesResult(
        name=unfit.name,
        start="",
        days=0.0,
        decided_days=0.0,
        capacity=0.0,
        min_replicas=0,
        max_replicas=0,
        needed_pod_hours=0.0,
        policies={},
        verdict=Verdict(Answer.NOT_ENOUGH_HISTORY, unfit.why),
        worst_hours={},
    )


def parts_of(
    cases: Mapping[int, Case], settings: BacktestSettings, config: ControllerConfig, endpoint: str, workers: int
) -> list[Part]:
    """Put cases of one shape together, in parts small enough for every process to get one.

    Cases of one load are never parted, as what is learned of it and asked about it is shared. The largest parts come
    first, so that no process is left with one when the others have nothing more to do.
    """
    parts = []
    shapes: dict[tuple[timedelta, ...], dict[tuple[object, ...], list[int]]] = {}
    for place, case in cases.items():
        shapes.setdefault(case.shape, {}).setdefault(case.load_key, []).append(place)
    for alike in shapes.values():
        loads = list(alike.values())
        at_once = len(settings.seeds) * sum(map(len, loads))
        count = min(max(-(-at_once // MOST_AT_ONCE), workers), len(loads))
        for first in range(count):
            own = tuple(place for load in loads[first::count] for place in load)
            step = cases[own[0]].step
            fitted = fitted_to(config, step, settings.physics.metric_delay)
            parts.append(Part(own, tuple(cases[place] for place in own), settings, fitted, endpoint))
    return sorted(parts, key=_length, reverse=True)


def _length(part: Part) -> timedelta:
    """Time that is simulated, in all cases together."""
    return len(part.cases) * sum(part.cases[0].shape[1:], timedelta(0))


def _done(
    parts: Sequence[Part], keep: Path, workers: int, progress: Callable[[str, float], None]
) -> Iterator[tuple[Part, list[SeriesResult]]]:
    """Give each part with what came of it, those that were kept first."""
    total = sum(len(part.cases) for part in parts) * len(STAGES)
    done = 0.0
    waiting = []
    for part in parts:
        kept = _kept(keep / f"{part.digest()}.json")
        if kept is None:
            waiting.append(part)
            continue
        done += len(part.cases) * len(STAGES)
        yield part, kept
    if not waiting:
        return
    _check(waiting[0].endpoint)
    # Spawned, because the parent has threads; each process has a forecaster of its own.
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(min(workers, len(waiting)), mp_context=context) as pool:
        told: queue.Queue[tuple[str, int]] = manager.Queue()
        running: dict[Future[list[SeriesResult]], Part] = {pool.submit(_run, part, told): part for part in waiting}
        progress("the first part has begun", done / total)
        while running:
            over, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            while not told.empty():
                stage, count = told.get()
                done += count
                progress(f"{stage} of {count} series", done / total)
            for future in over:
                part = running.pop(future)
                found = future.result()
                _keep(keep / f"{part.digest()}.json", found)
                yield part, found


def _check(endpoint: str) -> None:
    """Find out at once whether there is a model, and not after the minutes until it is asked."""
    try:
        with KServeForecaster(endpoint, deadline=CALL_DEADLINE) as forecaster:
            forecaster.check_metadata()
    except ForecastUnavailable as error:
        raise ModelServerFailed(f"no forecaster at {endpoint}: {error}") from error


def _run(part: Part, told: queue.Queue[tuple[str, int]]) -> list[SeriesResult]:
    """Run one part, in a process of its own.

    Raises:
        ModelServerFailed: The model gave too little: what came out would be said of AI-HPA without it.
    """
    with KServeForecaster(part.endpoint, deadline=CALL_DEADLINE) as forecaster:
        counted = CountedForecaster(ImpatientForecaster(forecaster))
        found = backtest(
            part.cases,
            part.settings,
            Ours(counted, part.config),
            progress=lambda stage: told.put((stage, len(part.cases))),
        )
    try:
        counted.check()
    except ModelServerFailed as error:
        raise ModelServerFailed(f"{error}; what is done is kept, run the same command again") from error
    return found


def _keep(path: Path, found: Sequence[SeriesResult]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(to_json(found, {})), encoding="utf-8")
    part.replace(path)


def _kept(path: Path) -> list[SeriesResult] | None:
    """Read what an earlier run kept; None where there is nothing, or nothing whole."""
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))[0]
    except (OSError, ValueError):
        return None
