"""One tick of the autoscaler over all its workloads, and the ports it needs; it never reads a clock or the network."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Annotated, Protocol, TypeAlias

from scaler import baselines, forecasts, history, lead_time, pasts, policy
from scaler.absence import AbsenceConfig
from scaler.baselines import Baselines
from scaler.bounded import Bounded, check_bounds
from scaler.calibration import CalibrationConfig, CalibrationState
from scaler.champion import ChampionConfig, Scores
from scaler.domain import (
    Decision,
    Forecast,
    ForecastFailure,
    ForecastRequest,
    MetricsUnavailable,
    Mode,
    Observation,
    ScalerError,
    Target,
    TargetKey,
)
from scaler.forecast_cycle import ForecastCycle, ForecastCycleConfig
from scaler.forecasts import Arrival, Forecasts, ForecastsConfig
from scaler.lead_time import LeadTimeConfig, LeadTimeState
from scaler.pasts import PastSource
from scaler.policy import Outlook, PolicyConfig, PolicyState, Trajectory

logger = logging.getLogger(__name__)


class TargetSource(Protocol):
    """Who knows the workloads under AI-HPA."""

    def targets(self, now: datetime) -> Sequence[Target]:
        """List every workload, each key once.

        Raises:
            TargetUnavailable: They could not be listed; the last list stands.
        """


class MetricsSource(PastSource, Protocol):
    """Where load and pods are seen."""

    def observe(self, targets: Sequence[Target], now: datetime) -> Mapping[TargetKey, Observation]:
        """See every target once; a target without an entry could not be seen.

        Raises:
            MetricsUnavailable: Nothing could be seen at all.
        """


class Forecaster(Protocol):
    """Who turns the past into quantiles of the load to come."""

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        """Answer all requests together; a key without an entry could not be answered.

        Raises:
            ForecastUnavailable: None could be answered; carries the cause.
        """

    def wake(self) -> timedelta:
        """Bring a forecaster that sleeps at zero up, ahead of `forecast`; never raises for one that is away.

        Returns:
            How long it took to answer; 0 where it did not.
        """


class ScaleTarget(Protocol):
    """The lever on one kind of workload."""

    def apply(self, target: Target, floor: int, now: datetime) -> None:
        """Set the replica floor.

        Raises:
            TargetUnavailable: It could not be set; nothing changed.
        """


WithoutModel: TypeAlias = Callable[[Sequence[ForecastRequest]], Sequence[Baselines]]
"""What is forecast without a model, one for each request; pure."""


class DecisionRecorder(Protocol):
    """Who keeps the decisions."""

    def record(self, decision: Decision) -> None:
        """Keep one decision."""


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What was learned of one workload and must outlive the process: a few numbers.

    Attributes:
        durations: From a raise to its ready pods, oldest first.
        calibration: Without the forecasts that are still to come true; None before the first forecast.
        scores: What each source's forecasts have cost.
        trajectory: The newest forecast of the champion, at the workload's level; None before the first.
    """

    durations: tuple[timedelta, ...] = ()
    calibration: CalibrationState | None = None
    scores: Scores = field(default_factory=Scores)
    trajectory: Trajectory | None = None


class MemoryStore(Protocol):
    """Who keeps what was learned, past the end of the process."""

    def recall(self, key: TargetKey) -> Memory | None:
        """Give what was kept of a workload; None where nothing was. Does no I/O and never raises."""

    def keep(self, key: TargetKey, memory: Memory) -> None:
        """Keep this in place of what was kept before. Does no I/O and never raises."""


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """Everything one controller is told, by the part that it concerns."""

    policy: PolicyConfig = field(default_factory=PolicyConfig)
    forecast_cycle: ForecastCycleConfig = field(default_factory=ForecastCycleConfig)
    lead_time: LeadTimeConfig = field(default_factory=LeadTimeConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    champion: ChampionConfig = field(default_factory=ChampionConfig)
    absence: AbsenceConfig = field(default_factory=AbsenceConfig)
    metric_delay: Annotated[
        timedelta,
        Bounded(
            timedelta(0),
            timedelta(seconds=900),
            "Longest usual age of the newest sample; part of how far a forecast has to reach. Metrics pipelines "
            "deliver 15 to 90 s late.",
        ),
    ] = timedelta(seconds=90)
    max_total_replicas: Annotated[
        int,
        Bounded(
            0,
            1_000_000,
            "Replicas that the floors of all workloads in mode `on` may ask for together. A raise beyond is cut; "
            "nothing that stands is lowered. 0 sets no such limit, as the HPA has none.",
        ),
    ] = 0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_bounds(self)


@dataclass(slots=True)
class _Workload:
    """What the controller remembers of one workload.

    Attributes:
        mode: The mode that `policy` was built up in.
        failure: Why the newest call gave nothing.
        decision: Newest.
    """

    observation: Observation
    mode: Mode
    policy: PolicyState
    lead_time: LeadTimeState
    forecasts: Forecasts = field(default_factory=Forecasts)
    failure: ForecastFailure | None = None
    decision: Decision | None = None


@dataclass(slots=True, kw_only=True)
class Controller:
    """One autoscaler over all its workloads; live, shadow, replay and backtest differ only in the ports.

    Nothing is written for a workload in shadow mode: its floor is followed in memory, as if it had been.

    Attributes:
        metrics: `load_between` is called by the executor's thread, beside the tick; all else within it.
        executor: Runs what takes time: loading the past and asking `forecaster`; one worker is enough.
        memory: Where what was learned outlives the process; None keeps it in the process alone.
        without_model: What stands in for the model, and is held against it.
    """

    targets: TargetSource
    metrics: MetricsSource
    forecaster: Forecaster
    scale_target: ScaleTarget
    recorder: DecisionRecorder
    executor: Executor
    config: ControllerConfig = field(default_factory=ControllerConfig)
    memory: MemoryStore | None = None
    without_model: WithoutModel = baselines.forecast
    _cycle: ForecastCycle = field(init=False, repr=False)
    _forecasts: ForecastsConfig = field(init=False, repr=False)
    _targets: tuple[Target, ...] = field(init=False, repr=False, default=())
    _workloads: dict[TargetKey, _Workload] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Start with no forecast asked for and no workload seen."""
        self._cycle = ForecastCycle(
            ask=self.forecaster.forecast,
            wake=self.forecaster.wake,
            executor=self.executor,
            config=self.config.forecast_cycle,
            starts=self.config.lead_time,
            tick=self.config.policy.tick,
        )
        self._forecasts = ForecastsConfig(
            calibration=self.config.calibration,
            champion=self.config.champion,
            absence=self.config.absence,
            policy=self.config.policy,
            period=self.config.forecast_cycle.longest_period,
        )

    def tick(self, now: datetime) -> tuple[Decision, ...]:
        """Observe, decide and act once for every workload; what fails for one leaves the others alone.

        Returns:
            One decision per workload that was ever seen, in the order of the targets. A workload never seen has no
            floor that could be held, so nothing is decided for it.
        """
        self._list_targets(now)
        observations = self._observe(now)
        period = self._forecast_period()
        self._take_forecasts(now, period)
        if self._targets and self._cycle.due(now, period):
            plan = self._plan()
            self._cycle.ask(lambda: self._requests(plan, now), now)
        room = self._room()
        decisions = []
        for target in self._targets:
            workload = self._workloads.get(target.key)
            if workload is None:
                continue
            decision = self._decide(target, workload, seen=target.key in observations, room=room, now=now)
            if target.mode is Mode.ON:
                room -= max(0, decision.floor - decision.previous_floor)
            decisions.append(decision)
        return tuple(decisions)

    @property
    def forecaster_starts(self) -> LeadTimeState:
        """How long the forecaster takes to start, as learned from its wake-ups."""
        return self._cycle.starts

    def forecast(self, key: TargetKey) -> Forecast | None:
        """Give the forecast behind the newest decision of a workload; None where there was no valid one."""
        workload = self._workloads.get(key)
        if workload is None or workload.decision is None or workload.decision.forecast_age is None:
            return None
        behind = (workload.decision.forecast_source, workload.decision.at - workload.decision.forecast_age)
        made = (trajectory.forecast for trajectory in workload.forecasts.trajectories)
        return next((forecast for forecast in made if (forecast.source, forecast.origin) == behind), None)

    def _list_targets(self, now: datetime) -> None:
        """Take the list of workloads; those that left it are forgotten."""
        try:
            listed = self.targets.targets(now)
        except ScalerError as error:
            logger.warning("targets_unavailable", extra={"error": str(error)})
            return
        self._targets = tuple(target for target in listed if target.mode is not Mode.OFF)
        keys = {target.key for target in self._targets}
        self._workloads = {key: workload for key, workload in self._workloads.items() if key in keys}

    def _observe(self, now: datetime) -> Mapping[TargetKey, Observation]:
        """See every workload, and start the memory of those seen for the first time."""
        try:
            observations = self.metrics.observe(self._targets, now)
        except MetricsUnavailable as error:
            logger.warning("metrics_unavailable", extra={"error": str(error)})
            observations = {}
        for target in self._targets:
            observation = observations.get(target.key)
            if observation is not None:
                self._remember(target, observation, now)
        return observations

    def _remember(self, target: Target, observation: Observation, now: datetime) -> None:
        workload = self._workloads.get(target.key)
        if workload is None:
            self._workloads[target.key] = self._begin(target, observation, now)
            return
        workload.observation = observation
        if workload.mode is not target.mode:
            # The floor that shadow mode followed never stood; switching over is a restart.
            workload.mode = target.mode
            workload.policy = PolicyState.start(policy.standing_floor(observation, target), now)
        if observation.censored and observation.sampled_at is not None:
            workload.forecasts = forecasts.censor(workload.forecasts, observation.sampled_at)

    def _begin(self, target: Target, observation: Observation, now: datetime) -> _Workload:
        """Start the memory of a workload with what an earlier process left of it."""
        kept = (self.memory.recall(target.key) if self.memory is not None else None) or Memory()
        trajectory, level = kept.trajectory, target.level
        return _Workload(
            observation=observation,
            mode=target.mode,
            policy=PolicyState.start(policy.standing_floor(observation, target), now),
            lead_time=lead_time.start(self.config.lead_time, kept.durations),
            forecasts=Forecasts(
                calibration=kept.calibration,
                scores=kept.scores,
                # Peaks at another level are no answer to the question asked now.
                newest=trajectory if trajectory is not None and math.isclose(trajectory.level, level) else None,
            ),
        )

    def _room(self) -> int:
        """Replicas that the floors of all workloads together may still add."""
        limit = self.config.max_total_replicas
        if not limit:
            return sys.maxsize
        return limit - sum(w.policy.floor for w in self._workloads.values() if w.mode is Mode.ON)

    def _decide(self, target: Target, workload: _Workload, *, seen: bool, room: int, now: datetime) -> Decision:
        observation = _current(workload, seen=seen)
        decision, state = policy.decide(
            observation,
            self._outlook(target, workload),
            workload.policy,
            target=target,
            config=self.config.policy,
            now=now,
        )
        if target.mode is Mode.ON:
            decision, state = policy.limit_cluster(decision, state, room)
            if decision.floor != decision.previous_floor:
                decision, state = self._apply(target, decision, state)
        workload.policy, workload.decision = state, decision
        self._learn_lead_time(target, workload, decision, seen=seen)
        self.recorder.record(decision)
        return decision

    def _learn_lead_time(self, target: Target, workload: _Workload, decision: Decision, *, seen: bool) -> None:
        """Follow raises to their ready pods: our own, and those of the autoscaler above the floor.

        The floor that shadow mode follows raises nothing, so there only the other's count.
        """
        if not seen:
            workload.lead_time = lead_time.lose_sight(workload.lead_time)
            return
        written = decision.floor if decision.mode is Mode.ON else 0
        before = workload.lead_time
        workload.lead_time = lead_time.observe(
            before,
            ready=decision.ready_replicas,
            desired=max(written, decision.current_replicas),
            config=self.config.lead_time,
            now=decision.at,
            ordered=target.ordered_start,
        )
        if workload.lead_time.durations is not before.durations:
            self._keep(decision.key, workload)

    def _keep(self, key: TargetKey, workload: _Workload) -> None:
        if self.memory is not None:
            durations, known = workload.lead_time.durations, workload.forecasts
            self.memory.keep(key, Memory(durations, known.calibration, known.scores, known.newest))

    def _apply(self, target: Target, decision: Decision, state: PolicyState) -> tuple[Decision, PolicyState]:
        try:
            self.scale_target.apply(target, decision.floor, decision.at)
        except ScalerError as error:
            logger.warning("apply_failed", extra={"target": str(target.key), "error": str(error)})
            return policy.not_applied(decision, state)
        return decision, state

    def _outlook(self, target: Target, workload: _Workload) -> Outlook:
        lead = _lead_time(target, workload)
        known = workload.forecasts
        return Outlook(lead, known.trajectories, self._choose_step(lead)[1], workload.failure, known.champion)

    def _choose_step(self, lead: timedelta) -> tuple[timedelta, bool]:
        """Find the step whose forecasts still cover the lead time just before they are replaced."""
        config = self.config
        return history.choose_step(
            lead + config.forecast_cycle.longest_period + config.metric_delay + config.policy.tick
        )

    def _forecast_period(self) -> timedelta:
        """Time from one forecast to the next: the longest while none of them may change anything."""
        cycle = self.config.forecast_cycle
        if any(self._may_change(target) for target in self._targets):
            return cycle.period_of(len(self._targets))
        return cycle.longest_period

    def _may_change(self, target: Target) -> bool:
        """Whether a workload needs, or is forecast to need as far as can be seen, more than its fewest replicas."""
        workload = self._workloads.get(target.key)
        if workload is None:
            return False
        newest, decision = workload.forecasts.newest, workload.decision
        if newest is None or decision is None or decision.n_combined is None:
            return True
        needed = max(decision.n_combined, policy.most_replicas(newest, target, self.config.policy))
        return needed > target.min_replicas

    def _plan(self) -> Mapping[timedelta, Sequence[Target]]:
        """Group the workloads by the step that their lead times need, for a call that outlives this tick."""
        by_step: dict[timedelta, list[Target]] = {}
        for target in self._targets:
            workload = self._workloads.get(target.key)
            if workload is not None:
                step, _ = self._choose_step(_lead_time(target, workload))
                by_step.setdefault(step, []).append(target)
        return by_step

    def _requests(self, plan: Mapping[timedelta, Sequence[Target]], now: datetime) -> list[ForecastRequest]:
        """Load every workload's past, step by step; runs beside the tick, and touches nothing that a tick changes."""
        asked = (pasts.requests(self.metrics, targets, step, now) for step, targets in plan.items())
        return list(chain.from_iterable(asked))

    def _take_forecasts(self, now: datetime, period: timedelta) -> None:
        """Take what came of the call under way, and forecast without the model beside it.

        Args:
            now: Time of the tick.
            period: From this forecast to the next.
        """
        answer = self._cycle.poll(now)
        if answer is None:
            return
        targets = {target.key: target for target in self._targets}
        if answer.failure is not None and not answer.requests:
            # Not even the past was loaded in time: nobody has anything to fall back on either.
            for waiting in self._workloads.values():
                waiting.failure = answer.failure
        without_model = self.without_model(answer.requests)
        known: list[tuple[Target, _Workload, Arrival]] = []
        for request, own in zip(answer.requests, without_model, strict=True):
            target, workload = targets.get(request.key), self._workloads.get(request.key)
            if target is None or workload is None:
                continue
            forecast = answer.forecasts.get(request.key)
            workload.failure = None
            if forecast is None:
                workload.failure = answer.failure or ForecastFailure.REJECTED
            elif self._is_stale(forecast, target, workload, now):
                forecast, workload.failure = None, ForecastFailure.STALE
            ahead = now - request.origin + _lead_time(target, workload) + self.config.policy.tick
            judged = _judged_steps(ahead + period / 2, request.step)
            known.append((target, workload, Arrival(request, forecast, own, judged)))
        taken = forecasts.take(
            [workload.forecasts for _, workload, _ in known],
            [arrival for _, _, arrival in known],
            targets=[target for target, _, _ in known],
            config=self._forecasts,
            now=now,
        )
        for (target, workload, _), found in zip(known, taken, strict=True):
            workload.forecasts = found
            self._keep(target.key, workload)

    def _is_stale(self, forecast: Forecast, target: Target, workload: _Workload, now: datetime) -> bool:
        """Whether a forecast no longer covers, on arrival, a lead time that a fresh one would cover."""
        lead = _lead_time(target, workload)
        steps = policy.steps_that_matter(forecast, lead, tick=self.config.policy.tick, now=now)
        return steps is None and self._choose_step(lead)[1]


def _judged_steps(ahead: timedelta, step: timedelta) -> int:
    """Length of the window that decisions on a forecast look at, halfway to the next one."""
    return min(max(1, -(-ahead // step)), history.PREDICTION_LENGTH)


def _lead_time(target: Target, workload: _Workload) -> timedelta:
    """Give the time from a raised floor to ready pods: the user's, else the learned one.

    Where pods start one after another, what was learned counts for each pod that the newest decision adds.
    """
    if target.lead_time is not None:
        return target.lead_time
    learned, decision = workload.lead_time.lead_time, workload.decision
    if not target.ordered_start or decision is None or decision.n_combined is None:
        return learned
    return learned * max(1, decision.n_combined - decision.ready_replicas)


def _current(workload: _Workload, *, seen: bool) -> Observation:
    """Give what a decision may take as true now.

    A workload that could not be seen keeps its last replicas and the floor that was set; as if censored, so that
    replicas once at zero are not taken for an observed zero. In shadow mode the floor is always the one followed.
    """
    observation = workload.observation
    if not seen:
        return replace(observation, sampled_at=None, load=None, floor=workload.policy.floor, censored=True)
    if workload.mode is Mode.SHADOW:
        return replace(observation, floor=workload.policy.floor)
    return observation
