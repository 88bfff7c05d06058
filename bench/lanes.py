"""CPU time of the simulator, per lane and tick, against the least arithmetic that turns load into pods.

Run: python -m bench.lanes [--lanes 1 100 1000 5000] [--workloads 500] [--ticks 400]

- *HPA*, *PHPA*, *KPA*: pods, autoscaler, queue and scores of all lanes together, over loads that move. A tick is 15 s;
  the KPA decides every 2 s, so a tick of it is seven and a half steps. PHPA runs both of its models in every sync. Its
  season is a quarter of an hour, so that every round holds one; what a season costs is in proportion to its length.
- *Controller.tick*: the shipped controller with that many lanes as its workloads, over HPA lanes, observation of the
  simulated cluster included. The median is a tick without forecasts; the mean has its share of loading the past and
  of taking in forecasts every five minutes, from a forecaster that answers at once.
- *plain arithmetic*: ceil(load / target) within bounds, in numpy over as many lanes: what no simulator can do without.
  Every row is a ratio to it at the same size, in the same run.

CPU time and the best of several rounds: what else runs on the machine does not count.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from scaler.controller import Controller
from scaler.domain import Decision, Forecast, ForecastRequest, Mode, Source, Target, TargetKey
from scaler.replay.demand import TICK, demand_from
from scaler.replay.hpa import HpaConfig
from scaler.replay.hpa_lanes import HpaLanes
from scaler.replay.kpa import SUB_TICK, KpaConfig
from scaler.replay.kpa_lanes import KpaLanes, sub_ticks
from scaler.replay.lanes import Lane, Lanes, lanes_of
from scaler.replay.ledger import Ledger
from scaler.replay.metrics import Metrics
from scaler.replay.phpa import HoltWinters, LinearRegression, PhpaConfig
from scaler.replay.phpa_lanes import PhpaLanes
from scaler.replay.physics import Physics
from scaler.replay.ports import SimulatedTargets
from scaler.replay.simulated_time import SimulatedExecutor
from scaler.replay.start_up import StartUp

T0 = datetime(2026, 1, 5, tzinfo=UTC)
STEP = timedelta(seconds=60)
WARM_UP = 100  # ticks before anything is measured
ROUNDS = 5
CAPACITY = 10.0
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
START_UPS = tuple(StartUp(median=timedelta(seconds=seconds)) for seconds in (5, 30, 90, 300))


class _Instant:
    """A forecaster that answers with the newest sample, and a recorder that keeps nothing."""

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        return {request.key: self._answer(request) for request in requests}

    def wake(self) -> timedelta:
        """Nothing sleeps."""
        return timedelta(0)

    def record(self, decision: Decision) -> None:
        """Nothing is kept."""

    def _answer(self, request: ForecastRequest) -> Forecast:
        values = np.full((30, len(LEVELS)), float(np.nan_to_num(request.load[-1])))
        return Forecast(request.origin, request.step, LEVELS, values, values, Source.MODEL)


def _lanes(count: int, ticks: int) -> Lanes:
    """Lanes of ten loads, four start-up times and five seeds; the loads wander and jump."""
    physics = Physics()
    steps = (WARM_UP + ticks) * TICK // STEP + 1
    rng = np.random.default_rng(0)
    demands = []
    for seed in range(10):
        wander = 300.0 + 150.0 * np.sin(np.arange(steps) / 40.0 + seed) + 150.0 * (rng.random(steps) < 0.03)
        demands.append(demand_from(wander, start=T0, step=STEP, noise_ratio=physics.noise_ratio, seed=seed))
    rows = [Lane(n % 10, CAPACITY, 1, 300, START_UPS[n // 10 % 4], n // 40 % 5) for n in range(count)]
    return lanes_of(rows, Metrics(demands, physics.metric_delay), physics)


def _best(step: Callable[[int], None], window: range) -> float:
    """Seconds of one step, the best of the rounds that the window is cut into; the first of it is for warming up."""
    size = len(window) // (ROUNDS + 1)
    spent = []
    for number in range(ROUNDS + 1):
        start = time.process_time()
        for at in window[number * size : (number + 1) * size]:
            step(at)
        spent.append((time.process_time() - start) / size)
    return min(spent[1:])


def _arithmetic(count: int) -> float:
    """Seconds of the least that turns the load of all lanes into pods."""
    load, target = np.linspace(1.0, 900.0, count), np.full(count, 7.0)

    def step(_: int) -> None:
        np.clip(np.ceil(load / target), 1.0, 300.0).astype(np.int64)

    return _best(step, range(6000))


def _hpa(count: int, ticks: int) -> float:
    lanes = _lanes(count, ticks)
    target = lanes.capacity * np.linspace(0.5, 0.9, count)
    hpas = HpaLanes(lanes, HpaConfig(target, lanes.max_replicas), lanes.settled_pods(WARM_UP, target))
    ledger = Ledger(lanes)

    def step(tick: int) -> None:
        hpas.advance(tick)
        ledger.add(tick, hpas.pods.counts, hpas.pods.serving)

    return _best(step, range(WARM_UP, WARM_UP + ticks))


def _phpa(count: int, ticks: int) -> float:
    lanes = _lanes(count, ticks)
    target = lanes.capacity * np.linspace(0.5, 0.9, count)
    models = (LinearRegression.example(count), HoltWinters.example(count, season=timedelta(minutes=15)))
    config = PhpaConfig(target, lanes.max_replicas, models)
    phpas, ledger = PhpaLanes(lanes, config, lanes.settled_pods(WARM_UP, target)), Ledger(lanes)
    past, rng = range(WARM_UP - config.stored_syncs, WARM_UP), np.random.default_rng(0)
    phpas.remember(past, (np.ceil(rng.uniform(20.0, 60.0, count)) for _ in past))

    def step(tick: int) -> None:
        phpas.advance(tick)
        ledger.add(tick, phpas.pods.counts, phpas.pods.serving)

    return _best(step, range(WARM_UP, WARM_UP + ticks))


def _kpa(count: int, ticks: int) -> float:
    lanes, config = _lanes(count, ticks), KpaConfig()
    began = T0 + WARM_UP * TICK
    window = sub_ticks(lanes.metrics.clock, began)
    pods = lanes.settled_pods(WARM_UP, lanes.capacity * config.target_utilization, SUB_TICK)
    kpas, ledger = KpaLanes(lanes, config, pods, began=window.start), Ledger(lanes, step=SUB_TICK, held_pods=1)

    def step(sub_tick: int) -> None:
        kpas.advance(sub_tick, ledger.waiting)
        ledger.add(sub_tick, pods.counts, pods.serving)

    return _best(step, window) * (TICK / SUB_TICK)


def _controller(count: int, ticks: int) -> tuple[float, float]:
    """Seconds of a tick: the median, which is one without forecasts, and the mean over whole forecast periods."""
    lanes = _lanes(count, ticks)
    target = lanes.capacity * 0.7
    hpas = HpaLanes(lanes, HpaConfig(target, lanes.max_replicas), lanes.settled_pods(WARM_UP, target))
    simulated = SimulatedTargets(hpas, {n: _target(n) for n in range(count)})
    instant, executor = _Instant(), SimulatedExecutor(T0 + WARM_UP * TICK, timedelta(seconds=3))
    controller = Controller(
        targets=simulated,
        metrics=simulated,
        forecaster=instant,
        scale_target=simulated,
        recorder=instant,
        executor=executor,
    )
    spent = []
    for tick in range(WARM_UP, WARM_UP + ticks):
        now = lanes.metrics.clock.time_of(tick)
        hpas.advance(tick)
        start = time.process_time()
        executor.advance(now)
        controller.tick(now)
        spent.append(time.process_time() - start)
    return float(np.median(spent)), float(np.mean(spent))


def _target(number: int) -> Target:
    key = TargetKey("bench", "HorizontalPodAutoscaler", f"w{number}")
    return Target(key=key, min_replicas=1, max_replicas=300, capacity=CAPACITY, mode=Mode.ON)


def _rows(sizes: Sequence[int], workloads: int, ticks: int) -> Iterator[tuple[str, int, float, float]]:
    """Give what, lanes, microseconds per lane and tick, and the ratio to plain arithmetic of the same size."""
    for count in sizes:
        plain = _arithmetic(count)
        policies = (("HPA", _hpa), ("PHPA", _phpa), ("KPA", _kpa))
        for name, seconds in (("plain arithmetic", plain), *((name, run(count, ticks)) for name, run in policies)):
            yield name, count, seconds / count * 1e6, seconds / plain
    plain = _arithmetic(workloads)
    for name, seconds in zip(("median", "mean"), _controller(workloads, min(ticks, 200)), strict=True):
        yield f"Controller.tick, {name}", workloads, seconds / workloads * 1e6, seconds / plain


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="CPU time of the simulator, per lane and tick")
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 100, 1000, 5000])
    parser.add_argument("--workloads", type=int, default=500)
    parser.add_argument("--ticks", type=int, default=400)
    options = parser.parse_args()
    print(f"{'per lane and tick of 15 s':<26}{'lanes':>8}{'microseconds':>14}{'times arithmetic':>18}")
    for name, count, microseconds, ratio in _rows(options.lanes, options.workloads, options.ticks):
        print(f"{name:<26}{count:>8}{microseconds:>14.3f}{ratio:>18.1f}")


if __name__ == "__main__":
    main()
