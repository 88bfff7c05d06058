"""AI-HPA in the simulation: the shipped controller over lanes of an HPA or a KPA, after a week in shadow mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from scaler import pasts
from scaler.backtest.forecaster import Answers, SharedBaselines, SharedForecaster
from scaler.controller import Controller, ControllerConfig, Forecaster, Memory, MetricsSource
from scaler.domain import Decision, Mode, Target, TargetKey
from scaler.history import STEPS
from scaler.pasts import PastSource
from scaler.replay.demand import TICK
from scaler.replay.lanes import Lanes
from scaler.replay.play import Each, nothing
from scaler.replay.ports import FlooredLanes, SimulatedTargets
from scaler.replay.simulated_time import SimulatedExecutor

SHADOW_DAY: Final = timedelta(days=1)

ASKED_AHEAD: Final = 32  # most of what a call of a few rows costs is the call; this was two fifths of a small backtest

_ANY: Final = TargetKey("backtest", "", "")  # in place of a lane's own, to compare all else

See = Callable[[MetricsSource], MetricsSource]
"""What stands between the controller and its metrics."""


def clearly(source: MetricsSource) -> MetricsSource:
    """Let nothing stand in between."""
    return source


@dataclass(frozen=True, slots=True)
class _Memories:
    """The MemoryStore of a simulation."""

    kept: dict[TargetKey, Memory] = field(default_factory=dict)

    def recall(self, key: TargetKey) -> Memory | None:
        return self.kept.get(key)

    def keep(self, key: TargetKey, memory: Memory) -> None:
        self.kept[key] = memory


@dataclass(frozen=True, slots=True)
class _Unrecorded:
    """A DecisionRecorder that keeps nothing."""

    def record(self, decision: Decision) -> None:
        """Nothing is kept."""


@dataclass(frozen=True, slots=True)
class Floors:
    """AI-HPA over some lanes; its controllers follow each other as leaders do, each with what the one before learned.

    Attributes:
        ahead: As `SharedForecaster` takes it.
        config: Of the controller, for the metrics of these lanes.
        latency: From asking for a forecast to having it, in simulated time.
        answers: As `SharedForecaster` takes it.
        see: Gives the metrics as the controller sees them.
        asked_ahead: Forecasts of each load that are asked for in one call; 0 asks for each in its turn.
    """

    simulated: FlooredLanes
    targets: Mapping[int, Target]
    forecaster: Forecaster
    ahead: Sequence[timedelta]
    config: ControllerConfig
    latency: timedelta
    answers: Answers
    see: See = clearly
    asked_ahead: int = ASKED_AHEAD
    _memories: _Memories = field(default_factory=_Memories)

    def learn(self, start: datetime, end: datetime) -> None:
        """Hold forecasts against what came, in shadow mode, with two ticks for each: it is asked for, and it is there.

        What a week of shadow mode teaches is in the forecasts; all other ticks decide nothing. What is learned is about
        a load, at a level: of the lanes that share both one learns, and the others know it too.
        """
        teacher_of = self._teachers()
        learning = {lane: self.targets[lane] for lane in teacher_of.values()}
        before, after = replace(self, targets=learning).hooks(Mode.SHADOW, start)
        clock = self.simulated.lanes.metrics.clock
        answered = max(-(-self.latency // TICK), 1) * TICK
        now = start
        while now + answered < end:
            for at in (now, now + answered):
                tick = clock.tick_of(at)
                before(tick)
                after(tick)
            now += self.config.forecast_cycle.forecast_period
        for lane, teacher in teacher_of.items():
            learned = self._memories.recall(self.targets[teacher].key)
            if learned is not None:
                self._memories.keep(self.targets[lane].key, learned)

    def hooks(self, mode: Mode, start: datetime) -> tuple[Each, Each]:
        """Begin to lead at a time; gives what `play` calls before and after each tick."""
        if not self.targets:
            return nothing, nothing
        clock, executor = self.simulated.lanes.metrics.clock, SimulatedExecutor(start, self.latency)
        simulated = SimulatedTargets(
            self.simulated, {lane: replace(target, mode=mode) for lane, target in self.targets.items()}
        )
        forecaster = SharedForecaster(self.forecaster, self._load_of(), self.ahead, self.answers)
        period = self.config.forecast_cycle.forecast_period
        without_model = SharedBaselines()
        asking = _AskingAhead(
            forecaster, without_model, simulated, self._one_of_each_load(), period, self.asked_ahead, start
        )
        controller = Controller(
            targets=simulated,
            metrics=self.see(simulated),
            forecaster=forecaster,
            scale_target=simulated,
            recorder=_Unrecorded(),
            executor=executor,
            config=_regular(self.config),
            memory=self._memories,
            without_model=without_model,
        )

        def before(tick: int) -> None:
            asking.reach(clock.time_of(tick))
            executor.advance(clock.time_of(tick))

        return before, lambda tick: _tick(controller, clock.time_of(tick))

    def _teachers(self) -> dict[int, int]:
        """Give for each lane the first one with the same load, level, capacity and bounds."""
        lanes, first = self.simulated.lanes.lanes, dict[tuple[int, Target], int]()
        return {
            lane: first.setdefault((lanes[lane].load, replace(target, key=_ANY)), lane)
            for lane, target in self.targets.items()
        }

    def _one_of_each_load(self) -> list[Target]:
        lanes = self.simulated.lanes.lanes
        return list({lanes[lane].load: target for lane, target in self.targets.items()}.values())

    def _load_of(self) -> Callable[[TargetKey], int]:
        lanes = self.simulated.lanes.lanes
        return {target.key: lanes[lane].load for lane, target in self.targets.items()}.__getitem__


@dataclass(slots=True)
class _AskingAhead:
    """Asks for what a controller will ask for in its next periods.

    In a simulation all loads are known beforehand. Each request holds only what is known when its turn comes; what a
    controller asks for at other times or with another past is asked for then.

    Attributes:
        targets: One of each load.
        period: From one forecast to the next.
        count: Of periods that one call is for.
        until: Up to here it has been asked.
    """

    forecaster: SharedForecaster
    without_model: SharedBaselines
    pasts: PastSource
    targets: Sequence[Target]
    period: timedelta
    count: int
    until: datetime

    def reach(self, now: datetime) -> None:
        """Be ahead of a time."""
        if not self.count or now < self.until:
            return
        self.until = now + self.count * self.period
        step = STEPS[0]  # that of all but the longest lead times
        times = [now + n * self.period for n in range(self.count)]
        requests = [one for time in times for one in pasts.requests(self.pasts, self.targets, step, time)]
        self.forecaster.ask_ahead(requests)
        self.without_model.ask_ahead(requests)


def _regular(config: ControllerConfig) -> ControllerConfig:
    """Forecast in every period: lanes are many of one workload, and say nothing of how many a cluster has."""
    cycle = config.forecast_cycle
    return replace(config, forecast_cycle=replace(cycle, forecast_period_max=cycle.forecast_period))


def _tick(controller: Controller, now: datetime) -> None:
    controller.tick(now)


def targets_of(lanes: Lanes, levels: Sequence[float | None]) -> dict[int, Target]:
    """Name a target for each lane that has a level; lanes without one are left to their autoscaler."""
    return {
        number: Target(
            key=TargetKey("backtest", "HorizontalPodAutoscaler", f"lane-{number}"),
            min_replicas=lane.min_replicas,
            max_replicas=lane.max_replicas,
            capacity=lane.capacity,
            miss_budget_ratio=1.0 - level,
        )
        for number, (lane, level) in enumerate(zip(lanes.lanes, levels, strict=True))
        if level is not None
    }
