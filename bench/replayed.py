"""A recording's load under the simulator's own HPA and KPA, and how far their replicas are from the recorded ones."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import numpy as np

from bench.curves import Distance, distance, mean_distance
from bench.recording import Changes, MetricsLook, Recorded, Recording, by_second, changes, value_at
from scaler.domain import FloatArray
from scaler.replay.demand import TICK, Demand, IntArray
from scaler.replay.hpa import HpaConfig
from scaler.replay.hpa_lanes import HpaLanes
from scaler.replay.kpa import SUB_TICK, KpaConfig
from scaler.replay.kpa_lanes import KpaLanes, sub_ticks
from scaler.replay.lanes import Lane, Lanes, lanes_of
from scaler.replay.metrics import METRIC_WINDOW, Metrics
from scaler.replay.physics import Physics
from scaler.replay.play import play, play_kpa
from scaler.replay.pods import Pods
from scaler.replay.start_up import StartUp
from scaler.replay.traces import EPOCH

PHASES: Final = range(TICK // timedelta(seconds=1))  # seconds from a sync of the simulator to second 0
BEGIN_TICKS: Final = 4  # of the lead: the windows of both are full by second 0, and a KPA's first panic is over


@dataclass(frozen=True, slots=True)
class Pipeline:
    """How an autoscaler sees CPU.

    Attributes:
        delay: From the end of a window to its being visible.
        window: What one value averages over.
    """

    delay: timedelta
    window: timedelta


TARGET_BURST_CAPACITY: Final = 211  # requests; Knative's own
USUAL: Final = Pipeline(Physics().metric_delay, METRIC_WINDOW)
"""What a backtest takes where nobody says otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Replicas second by second from second 0 on. Each array has shape (seconds,)."""

    desired: FloatArray
    ready: FloatArray


@dataclass(frozen=True, slots=True)
class Compared:
    """Mean over the phases, and the least and greatest of the mean ratio."""

    desired: Distance
    ready: Distance
    desired_range: tuple[float, float]
    ready_range: tuple[float, float]


def recorded_curves(recorded: Recorded, seconds: int) -> Curves:
    """What the cluster did."""
    return Curves(by_second(recorded.desired, seconds), by_second(recorded.ready, seconds))


def measured_pipeline(recorded: Recorded) -> Pipeline:
    """What metrics-server did: the youngest that each new value was seen, median, and its window, median."""
    looks = recorded.metrics
    return Pipeline(
        timedelta(seconds=statistics.median(look.seen - look.measured for look in looks)),
        timedelta(seconds=statistics.median(look.window for look in looks)),
    )


def used_over_asked(recorded: Recorded, lead_seconds: int) -> float:
    """CPU that the pods used over what the requests asked for, where every Ready pod had a metric."""
    looks = [look for look in recorded.metrics if look.pods == look.ready and _covered(look, recorded, lead_seconds)]
    asked = [_asked(look, recorded, lead_seconds) for look in looks]
    return sum(look.cores for look in looks) / sum(asked)


def simulated_hpa(recording: Recording, pipeline: Pipeline, phase: int) -> Curves:
    """Replay the HPA's load; requests cost what they were measured to use."""
    recorded = recording.hpa
    cost = recorded.per_request * used_over_asked(recorded, recording.lead_seconds)
    lanes = _lanes(recording, recorded, cost, phase, pipeline)
    per_pod = lanes.capacity * recorded.target_utilization
    hpas = HpaLanes(lanes, HpaConfig(per_pod, lanes.max_replicas), _pods_found(recording, recorded, lanes, phase))
    window = range(BEGIN_TICKS, len(lanes.metrics))
    played = play(hpas, window, watched=[0])
    at = [_second(recording, phase, tick * TICK) for tick in window]
    return _curves(recording, at, played.ordered[:, 0], played.ready[:, 0])


def simulated_kpa(recording: Recording, phase: int) -> Curves:
    """Replay the KPA's load: requests in flight, each for as long as they were measured to be where none waits."""
    recorded = recording.kpa
    lanes = _lanes(recording, recorded, recorded.request_seconds, phase, USUAL)
    takes = recorded.capacity * recorded.max_replicas
    config = KpaConfig(target_utilization=recorded.target_utilization, activator_in_path=takes < TARGET_BURST_CAPACITY)
    pods = _pods_found(recording, recorded, lanes, phase, SUB_TICK)
    clock = lanes.metrics.clock
    began = sub_ticks(clock, clock.time_of(BEGIN_TICKS)).start
    kpas = KpaLanes(lanes, config, pods, began=began, request_time=timedelta(seconds=recorded.request_seconds))
    at, ordered, ready = [], [], []

    def keep(sub_tick: int) -> None:
        at.append(_second(recording, phase, sub_tick * SUB_TICK))
        ordered.append(int(pods.ordered[0]))
        ready.append(int(pods.ready[0]))

    play_kpa(kpas, range(BEGIN_TICKS, len(lanes.metrics)), after_each=keep)
    return _curves(recording, at, np.array(ordered), np.array(ready))


def compared(recorded: Recorded, seconds: int, simulate: Callable[[int], Curves]) -> Compared:
    """Compare at every phase: when a real autoscaler looks is luck, and so it is in the simulator."""
    real = recorded_curves(recorded, seconds)
    runs = [simulate(phase) for phase in PHASES]
    desired = [distance(run.desired, real.desired) for run in runs]
    ready = [distance(run.ready, real.ready) for run in runs]
    return Compared(mean_distance(desired), mean_distance(ready), _range(desired), _range(ready))


def _range(distances: list[Distance]) -> tuple[float, float]:
    ratios = [one.mean_ratio for one in distances]
    return min(ratios), max(ratios)


def _lanes(recording: Recording, recorded: Recorded, cost: float, phase: int, pipeline: Pipeline) -> Lanes:
    """One lane: the recorded load in ticks, the measured start-up, no noise, no warm-up."""
    rate = recorded.rate()[phase:]
    ticks = len(rate) // len(PHASES)
    load = rate[: ticks * len(PHASES)].reshape(ticks, len(PHASES)).mean(axis=1) * cost
    metrics = Metrics([Demand(EPOCH, TICK, load)], pipeline.delay, metric_window=pipeline.window)
    start_up = StartUp(median=recorded.start_median, spread_ratio=recorded.start_spread_ratio, cache_miss_ratio=0.0)
    physics = Physics(
        metric_delay=pipeline.delay,
        noise_ratio=0.0,
        pod_noise_ratio=0.0,
        warm_up=timedelta(0),
        queue_timeout=timedelta(seconds=30),  # that of the load generator
    )
    lane = Lane(0, recorded.capacity, recorded.min_replicas, recorded.max_replicas, start_up, seed=0)
    return lanes_of([lane], metrics, physics)


def _pods_found(recording: Recording, recorded: Recorded, lanes: Lanes, phase: int, step: timedelta = TICK) -> Pods:
    """Begin with the Ready pods that the cluster had then: neither remembers how it came to them."""
    ready = value_at(recorded.ready, _second(recording, phase, BEGIN_TICKS * TICK))
    return Pods(np.array([int(ready)]), lanes.delays(step), lanes.physics)


def _second(recording: Recording, phase: int, since_begin: timedelta) -> float:
    return phase - recording.lead_seconds + since_begin.total_seconds()


def _curves(recording: Recording, at: list[float], ordered: IntArray, ready: IntArray) -> Curves:
    def of(values: IntArray) -> Changes:
        return changes(list(zip(at, values.tolist(), strict=True)))

    return Curves(by_second(of(ordered), recording.seconds), by_second(of(ready), recording.seconds))


def _covered(look: MetricsLook, recorded: Recorded, lead_seconds: int) -> bool:
    return look.measured - look.window >= -lead_seconds and look.measured <= len(recorded.sent) - lead_seconds


def _asked(look: MetricsLook, recorded: Recorded, lead_seconds: int) -> float:
    """CPU asked for in the window of a look, mean in cores."""
    first, last = (round(at) + lead_seconds for at in (look.measured - look.window, look.measured))
    return float(recorded.rate()[first:last].mean()) * recorded.per_request
