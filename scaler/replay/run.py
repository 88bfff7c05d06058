"""One trace under the HPA, under AI-HPA over the same HPA, and under the oracle; it draws and prints nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np

from scaler.controller import Controller, ControllerConfig, Forecaster
from scaler.domain import Decision, FloatArray, Mode, Target, TargetKey
from scaler.replay.demand import TICK, demand_from, pods_needed
from scaler.replay.hpa import DEFAULT_SCALE_DOWN, HpaConfig
from scaler.replay.hpa_lanes import HpaLanes
from scaler.replay.lanes import Lane, Lanes, lanes_of
from scaler.replay.ledger import Ledger
from scaler.replay.metrics import Metrics
from scaler.replay.oracle import clairvoyant, paid_for
from scaler.replay.plan import ReplayPlan
from scaler.replay.play import play
from scaler.replay.pods import PodCounts
from scaler.replay.ports import SimulatedTargets
from scaler.replay.result import Policy, PolicyRun, ReplayResult, ReplaySettings
from scaler.replay.simulated_time import RecordingForecaster, SimulatedExecutor

PROGRESS_PERIOD = timedelta(minutes=30)  # of simulated time
_HPA, _AI_HPA = 0, 1  # the lanes


@dataclass(frozen=True, slots=True)
class _Decisions:
    """The DecisionRecorder of a replay."""

    decisions: list[Decision] = field(default_factory=list)

    def record(self, decision: Decision) -> None:
        self.decisions.append(decision)


@dataclass(frozen=True, slots=True, eq=False)
class _Stage:
    """What every policy of one replay meets: the same load, the same metrics and the same luck with pods."""

    metrics: Metrics
    plan: ReplayPlan
    settings: ReplaySettings

    @property
    def window(self) -> range:
        """The ticks that are replayed."""
        return range(self.metrics.clock.tick_of(self.plan.window_start), len(self.metrics))

    @property
    def load(self) -> FloatArray:
        """Of the window. Shape (n,)."""
        return self.metrics.load[self.window.start :, 0]

    @property
    def needed(self) -> FloatArray:
        """Pods that the window's load needs. Shape (n,)."""
        return pods_needed(self.load, self.settings.capacity)

    def lanes(self, count: int) -> Lanes:
        """Make as many lanes, all alike."""
        settings = self.settings
        lane = Lane(
            load=0,
            capacity=settings.capacity,
            min_replicas=settings.min_replicas,
            max_replicas=settings.max_replicas,
            start_up=settings.start_up,
            seed=settings.seed,
        )
        return lanes_of([lane] * count, self.metrics, settings.physics)


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
    trace, physics = plan.trace, settings.physics
    demand = demand_from(
        trace.values, start=trace.start, step=trace.step, noise_ratio=physics.noise_ratio, seed=settings.seed
    )
    stage = _Stage(Metrics([demand], physics.metric_delay), plan, settings)
    recorder = _Decisions()
    recording = RecordingForecaster(forecaster, SimulatedExecutor(plan.window_start, settings.forecast_latency))
    fitted = fitted_to(config if config is not None else ControllerConfig(), demand.step, physics.metric_delay)
    hpa_run, ai_hpa_run = _over_hpa(stage, recording, recorder, config=fitted, progress=progress)
    return ReplayResult(
        series=trace.name,
        has_clock=trace.has_clock,
        start=plan.window_start,
        load=stage.load,
        needed=stage.needed,
        runs={Policy.HPA: hpa_run, Policy.AI_HPA: ai_hpa_run, Policy.ORACLE: _oracle(stage)},
        decisions=tuple(recorder.decisions),
        forecasts=tuple(recording.issued),
        settings=settings,
        config=fitted,
        preprocessing=plan.notes,
    )


def fitted_to(config: ControllerConfig, step: timedelta, metric_delay: timedelta) -> ControllerConfig:
    """Tell the controller how old a newest sample usually is, as one would for a pipeline with this step."""
    age = step + metric_delay
    freshness = max(config.policy.metric_freshness, age + step)
    return replace(
        config,
        metric_delay=max(config.metric_delay, age),
        policy=replace(config.policy, metric_freshness=freshness),
    )


def _over_hpa(
    stage: _Stage,
    forecaster: RecordingForecaster,
    recorder: _Decisions,
    *,
    config: ControllerConfig,
    progress: Callable[[datetime], None],
) -> tuple[PolicyRun, PolicyRun]:
    """Run two lanes of the same HPA: one alone, one with AI-HPA's floor under it."""
    lanes, window = stage.lanes(2), stage.window
    per_pod = lanes.capacity * stage.settings.hpa_target_ratio
    pods = lanes.settled_pods(window.start, per_pod)
    hpas = HpaLanes(lanes, HpaConfig(per_pod, lanes.max_replicas), pods)
    simulated = SimulatedTargets(hpas, {_AI_HPA: _target(stage.settings)})
    controller = Controller(
        targets=simulated,
        metrics=simulated,
        forecaster=forecaster,
        scale_target=simulated,
        recorder=recorder,
        executor=forecaster.executor,
        config=config,
    )

    def before(tick: int) -> None:
        now = stage.metrics.clock.time_of(tick)
        if not (tick - window.start) % (PROGRESS_PERIOD // TICK):
            progress(now)
        forecaster.executor.advance(now)

    def after(tick: int) -> None:
        controller.tick(stage.metrics.clock.time_of(tick))

    played = play(hpas, window, before=before, after=after, watched=range(len(lanes)))
    hpa, ai_hpa = (
        PolicyRun(played.ready[:, lane], played.ordered[:, lane], played.scores[lane]) for lane in (_HPA, _AI_HPA)
    )
    return hpa, ai_hpa


def _target(settings: ReplaySettings) -> Target:
    return Target(
        key=TargetKey("replay", "HorizontalPodAutoscaler", "workload"),
        min_replicas=settings.min_replicas,
        max_replicas=settings.max_replicas,
        capacity=settings.capacity,
        mode=Mode.ON,
    )


def _oracle(stage: _Stage) -> PolicyRun:
    lanes, window, physics = stage.lanes(1), stage.window, stage.settings.physics
    delays = lanes.delays().tables[0, window.start :].astype(np.int64)
    ready, ordered = clairvoyant(
        stage.needed,
        delays + -(-physics.warm_up // TICK),  # its pods are warm when they are needed
        min_replicas=stage.settings.min_replicas,
        max_replicas=stage.settings.max_replicas,
        stabilization_window=DEFAULT_SCALE_DOWN.stabilization_window,
    )
    paid = paid_for(ordered, physics.termination_grace)
    ledger = Ledger(lanes)
    for tick, *counts in zip(window, ready[:, None], ordered[:, None], paid[:, None], strict=True):
        ledger.add(tick, PodCounts(*counts), counts[0].astype(np.float64))
    return PolicyRun(ready, ordered, ledger.scores()[0])
