"""One trace under the HPA, under AI-HPA over the same HPA, and under the oracle; it draws and prints nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from scaler.controller import Controller, ControllerConfig, Forecaster
from scaler.domain import Decision, FloatArray, Mode, Target, TargetKey
from scaler.replay.cluster import SimulatedCluster, serve
from scaler.replay.demand import TICK, Demand, demand_from, pods_needed
from scaler.replay.hpa import HorizontalPodAutoscaler, HpaConfig
from scaler.replay.oracle import clairvoyant
from scaler.replay.plan import ReplayPlan
from scaler.replay.result import Policy, PolicyRun, ReplayResult, ReplaySettings
from scaler.replay.scores import score
from scaler.replay.simulated_time import RecordingForecaster, SimulatedExecutor
from scaler.replay.workload import SimulatedTarget, SimulatedWorkload, TraceMetrics

PROGRESS_PERIOD = timedelta(minutes=30)  # of simulated time


@dataclass(frozen=True, slots=True)
class _OneTarget:
    """The TargetSource of a replay."""

    target: Target

    def targets(self, now: datetime) -> Sequence[Target]:
        return (self.target,)


@dataclass(frozen=True, slots=True)
class _Decisions:
    """The DecisionRecorder of a replay."""

    decisions: list[Decision] = field(default_factory=list)

    def record(self, decision: Decision) -> None:
        self.decisions.append(decision)


@dataclass(frozen=True, slots=True, eq=False)
class _Stage:
    """What every policy of one replay meets: the same load, the same metrics and the same luck with pods."""

    metrics: TraceMetrics
    start_delays: npt.NDArray[np.int64]
    window: range
    settings: ReplaySettings

    @property
    def needed(self) -> FloatArray:
        return pods_needed(self.metrics.demand.load, self.settings.capacity)[self.window.start :]

    def workload(self) -> SimulatedWorkload:
        """Pods and an HPA at the start of the window, with as many pods as the HPA would have."""
        settings = self.settings
        target_per_replica = settings.capacity * settings.hpa_target_ratio
        before = self.metrics.demand.load[: self.window.start]
        newest = before[np.flatnonzero(~np.isnan(before))[-1]]
        settled = math.ceil(newest / target_per_replica)
        return SimulatedWorkload(
            metrics=self.metrics,
            cluster=SimulatedCluster(
                start_delays=self.start_delays,
                ready_replicas=min(max(settled, settings.min_replicas), settings.max_replicas),
            ),
            hpa=HorizontalPodAutoscaler(HpaConfig(target_per_replica, settings.max_replicas)),
            floor=settings.min_replicas,
        )

    def run(self, ready: npt.NDArray[np.int64], ordered: npt.NDArray[np.int64]) -> PolicyRun:
        """Serve the window's load with these pods and score it. Shape (window,) each."""
        settings = self.settings
        load = self.metrics.demand.load[self.window.start :]
        service = serve(load, ready, capacity=settings.capacity, queue_timeout=settings.queue_timeout)
        return PolicyRun(ready, ordered, service, score(self.needed, ready, ordered, service))


def replay(
    plan: ReplayPlan,
    settings: ReplaySettings,
    forecaster: Forecaster,
    *,
    config: ControllerConfig | None = None,
    progress: Callable[[datetime], None] = lambda now: None,
) -> ReplayResult:
    """Replay one trace under every policy.

    AI-HPA is the shipped controller in mode `on`, told nothing before the window but the load history that any
    metrics store would have. Its lever is the HPA's minimum, read at the HPA's next sync, 15 s later.

    Args:
        plan: The trace and its window.
        settings: Everything else.
        forecaster: What AI-HPA asks.
        config: Of the controller; None takes the shipped one.
        progress: Told the simulated time about every half hour of it.

    Raises:
        ValueError: Nothing was observed before the window, or the load of the whole window is unknown.
    """
    trace = plan.trace
    demand = demand_from(
        trace.values, start=trace.start, step=trace.step, noise_ratio=settings.noise_ratio, seed=settings.seed
    )
    stage = _Stage(
        metrics=TraceMetrics(demand, settings.metric_delay),
        start_delays=settings.start_up.draw(len(demand), settings.seed),
        window=range(demand.tick_of(plan.window_start), len(demand)),
        settings=settings,
    )
    hpa_run = _hpa_alone(stage)
    recorder = _Decisions()
    executor = SimulatedExecutor(plan.window_start, settings.forecast_latency)
    recording = RecordingForecaster(forecaster, executor)
    fitted = _for_step(config if config is not None else ControllerConfig(), demand, settings)
    ai_hpa_run = _ai_hpa(stage, recording, recorder, config=fitted, progress=progress)
    return ReplayResult(
        series=trace.name,
        has_clock=trace.has_clock,
        start=plan.window_start,
        load=demand.load[stage.window.start :],
        needed=stage.needed,
        runs={Policy.HPA: hpa_run, Policy.AI_HPA: ai_hpa_run, Policy.ORACLE: _oracle(stage)},
        decisions=tuple(recorder.decisions),
        forecasts=tuple(recording.issued),
        settings=settings,
        config=fitted,
        preprocessing=plan.notes,
    )


def _for_step(config: ControllerConfig, demand: Demand, settings: ReplaySettings) -> ControllerConfig:
    """Tell the controller how old a newest sample usually is, as one would for a pipeline with this step."""
    age = demand.step + settings.metric_delay
    freshness = max(config.policy.metric_freshness, age + demand.step)
    return replace(
        config,
        metric_delay=max(config.metric_delay, age),
        policy=replace(config.policy, metric_freshness=freshness),
    )


def _hpa_alone(stage: _Stage) -> PolicyRun:
    workload = stage.workload()
    for tick in stage.window:
        workload.advance(tick, stage.metrics.demand.time_of(tick))
    return stage.run(workload.ready[stage.window.start :], workload.ordered[stage.window.start :])


def _ai_hpa(
    stage: _Stage,
    forecaster: RecordingForecaster,
    recorder: _Decisions,
    *,
    config: ControllerConfig,
    progress: Callable[[datetime], None],
) -> PolicyRun:
    workload = stage.workload()
    target = _target(stage.settings)
    simulated = SimulatedTarget(target.key, workload)
    controller = Controller(
        targets=_OneTarget(target),
        metrics=simulated,
        forecaster=forecaster,
        scale_target=simulated,
        recorder=recorder,
        executor=forecaster.executor,
        config=config,
    )
    for tick in stage.window:
        now = stage.metrics.demand.time_of(tick)
        if not (tick - stage.window.start) % (PROGRESS_PERIOD // TICK):
            progress(now)
        forecaster.executor.advance(now)
        workload.advance(tick, now)  # before the controller: a raised floor waits for the HPA's next sync
        controller.tick(now)
    return stage.run(workload.ready[stage.window.start :], workload.ordered[stage.window.start :])


def _target(settings: ReplaySettings) -> Target:
    return Target(
        key=TargetKey("replay", "HorizontalPodAutoscaler", "workload"),
        min_replicas=settings.min_replicas,
        max_replicas=settings.max_replicas,
        capacity=settings.capacity,
        mode=Mode.ON,
    )


def _oracle(stage: _Stage) -> PolicyRun:
    ready, ordered = clairvoyant(
        stage.needed,
        stage.start_delays[stage.window.start :],
        min_replicas=stage.settings.min_replicas,
        max_replicas=stage.settings.max_replicas,
        stabilization_window=HpaConfig(1.0, 1).scale_down_stabilization_window,
    )
    return stage.run(ready, ordered)
