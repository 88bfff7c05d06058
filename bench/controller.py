"""CPU time of one decision, per workload and tick, against the arithmetic an HPA cannot do without.

Run: python -m bench.controller [WORKLOADS]

CPU time and the best of several rounds: what else runs on the machine does not count.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np

from scaler.controller import Controller
from scaler.domain import Decision, FloatArray, Forecast, ForecastRequest, Mode, Observation, Source, Target, TargetKey
from scaler.forecast_cycle import ForecastCycleConfig
from scaler.history import PREDICTION_LENGTH, STEPS
from scaler.policy import Outlook, PolicyConfig, PolicyState, Trajectory, decide, prepare

T0 = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
TICK = timedelta(seconds=15)
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
ROUNDS = 9
COUNTS: Final = (200, 1_000)  # of workloads: most that get a forecast a minute, and one every five
PERIODS: Final = 4
VALUES = np.full((30, len(LEVELS)), 42.0)


class _Inline(Executor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class _World:
    """Every port at once, each as cheap as it can be."""

    def __init__(self, workloads: int) -> None:
        self.listed = tuple(
            Target(TargetKey("bench", "Deployment", f"w{n}"), 0, 100, 10.0, mode=Mode.ON) for n in range(workloads)
        )

    def targets(self, now: datetime) -> Sequence[Target]:
        return self.listed

    def observe(self, targets: Sequence[Target], now: datetime) -> Mapping[TargetKey, Observation]:
        # A load that moves, so that floors do too.
        load = 30.0 + 20.0 * math.sin(now.timestamp() / 300.0)
        seen = Observation(now, load, 5, 5, 5)
        return {target.key: seen for target in targets}

    def load_between(
        self, targets: Sequence[Target], *, start: datetime, end: datetime, step: timedelta, now: datetime
    ) -> Mapping[TargetKey, FloatArray]:
        row = np.linspace(10.0, 50.0, (end - start) // step)
        return {target.key: row for target in targets}

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        return {r.key: Forecast(r.origin, r.step, LEVELS, VALUES, VALUES, Source.MODEL) for r in requests}

    def wake(self) -> timedelta:
        """Nothing sleeps."""
        return timedelta(0)

    def apply(self, target: Target, floor: int, now: datetime) -> None:
        """Nothing is set."""

    def record(self, decision: Decision) -> None:
        """Nothing is kept."""


def _decide_all(workloads: int, trajectory: Trajectory) -> float:
    target = Target(TargetKey("bench", "Deployment", "w"), 0, 100, 10.0)
    config, outlook = PolicyConfig(), Outlook(timedelta(seconds=90), (trajectory,))
    state, floor = PolicyState.start(5, T0), 5
    start = time.process_time()
    for n in range(workloads):
        # One workload's life at one tick a round; the load rises and falls, so every step has work.
        now = T0 + n % 60 * TICK
        seen = Observation(now, 30.0 + n % 20, 5, 5, floor)
        decision, state = decide(seen, outlook, state, target=target, config=config, now=now)
        floor = decision.floor
    return (time.process_time() - start) / workloads


def _hpa_all(workloads: int) -> float:
    replicas = 5
    start = time.process_time()
    for n in range(workloads):
        ratio = (30.0 + n % 20) / (replicas * 10.0 * 0.7)
        if abs(ratio - 1.0) > 0.1:
            replicas = min(max(math.ceil(replicas * ratio), 1), 100)
    return (time.process_time() - start) / workloads


class _Ticks(NamedTuple):
    """Seconds per workload of a tick.

    Attributes:
        plain: Without a forecast.
        mean: Over the last periods, once as many forecasts are to come true as ever will be.
        slowest: That asks for forecasts or takes them.
        first: Of those with the very first.
    """

    plain: float
    mean: float
    slowest: float
    first: float


def _tick_all(workloads: int) -> _Ticks:
    world = _World(workloads)
    controller = Controller(
        targets=world,
        metrics=world,
        forecaster=world,
        scale_target=world,
        recorder=world,
        executor=_Inline(),
    )
    period = ForecastCycleConfig().period_of(workloads)
    every, waiting = period // TICK, PREDICTION_LENGTH * STEPS[0] // period
    seconds = []
    for n in range((1 + waiting + PERIODS) * every):
        start = time.process_time()
        controller.tick(T0 + n * TICK)
        seconds.append((time.process_time() - start) / workloads)
    # Asked at the first tick of a period, taken at the one after.
    first, *later = np.array(seconds).reshape(-1, every)
    last = np.array(later[-PERIODS:])
    return _Ticks(float(last[:, 2:].min()), float(last.mean()), float(last[:, :2].max()), float(first[:2].max()))


def main() -> None:
    """Print the table."""
    workloads = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    forecast = Forecast(T0, timedelta(seconds=60), LEVELS, VALUES, VALUES, Source.MODEL)
    trajectory = prepare(forecast, 0.99, peaks=VALUES[:, -1], offsets=np.zeros(30))
    hpa = min(_hpa_all(workloads) for _ in range(ROUNDS))
    policy = min(_decide_all(workloads, trajectory) for _ in range(ROUNDS))
    print(f"{'per workload and tick':<52}{'microseconds':>14}{'times HPA arithmetic':>22}")
    rows = [("HPA arithmetic, nothing recorded", hpa), ("policy.decide", policy)]
    for count in COUNTS:
        ticks, name = _tick_all(count), f"Controller.tick, {count:,} workloads"
        rows += [
            (f"{name}, no forecast", ticks.plain),
            (f"{name}, mean", ticks.mean),
            (f"{name}, slowest", ticks.slowest),
            (f"{name}, very first", ticks.first),
        ]
    for name, seconds in rows:
        print(f"{name:<52}{seconds * 1e6:>14.2f}{seconds / hpa:>22.1f}")


if __name__ == "__main__":
    main()
