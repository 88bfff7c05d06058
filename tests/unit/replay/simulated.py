"""Small simulations for tests: one value a minute, no luck, no noise unless asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from scaler.replay.demand import TICK, demand_from
from scaler.replay.hpa import DEFAULT_SCALE_DOWN, HpaConfig, ScalingRules
from scaler.replay.hpa_lanes import HpaLanes
from scaler.replay.lanes import Lane, Lanes, lanes_of
from scaler.replay.metrics import Metrics
from scaler.replay.physics import Physics
from scaler.replay.pods import Pods
from scaler.replay.start_up import StartUp

T0 = datetime(2026, 1, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BARE = Physics(
    noise_ratio=0.0, pod_noise_ratio=0.0, warm_up=timedelta(0), termination_grace=timedelta(0), metric_delay=MINUTE
)


def exact(seconds: float) -> StartUp:
    """Every pod takes as long."""
    return StartUp(median=timedelta(seconds=seconds), spread_ratio=0.0, cache_miss_ratio=0.0)


def lane(load: int = 0, start_seconds: float = 90.0, *, least: int = 1, most: int = 50, seed: int = 1) -> Lane:
    """A lane whose pods carry ten."""
    return Lane(load, 10.0, least, most, exact(start_seconds), seed)


def lanes(loads: list[list[float]], rows: list[Lane] | None = None, physics: Physics = BARE) -> Lanes:
    """One lane for each load, unless said otherwise."""
    demands = [
        demand_from(np.array(values), start=T0, step=MINUTE, noise_ratio=physics.noise_ratio, seed=seed)
        for seed, values in enumerate(loads)
    ]
    chosen = rows if rows is not None else [lane(load) for load in range(len(loads))]
    return lanes_of(chosen, Metrics(demands, physics.metric_delay), physics)


def under_hpa(simulated: Lanes, ready: int = 5, down: ScalingRules = DEFAULT_SCALE_DOWN) -> HpaLanes:
    """Every lane under an HPA of its own, whose target is 7."""
    pods = Pods(np.full(len(simulated), ready), simulated.delays(), simulated.physics)
    return HpaLanes(simulated, HpaConfig(np.full(len(simulated), 7.0), simulated.max_replicas, scale_down=down), pods)


def run(hpas: HpaLanes, ticks: range) -> list[list[int]]:
    """Pods ordered at each tick, lane by lane."""
    seen = []
    for tick in ticks:
        hpas.advance(tick)
        seen.append(hpas.pods.ordered.tolist())
    return [list(of_lane) for of_lane in zip(*seen, strict=True)]


def at(tick: int) -> datetime:
    """When a tick begins."""
    return T0 + tick * TICK
