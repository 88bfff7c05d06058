"""Every policy over one stage: what each had and missed, under every setting of its knob."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, NamedTuple

import numpy as np

from scaler.backtest.case import LEARNED
from scaler.backtest.forecaster import Answers
from scaler.backtest.ours import ASKED_AHEAD, SHADOW_DAY, Floors, See, clearly, targets_of
from scaler.backtest.stage import LanePlan, Outcome, Stage
from scaler.controller import ControllerConfig, Forecaster
from scaler.domain import FloatArray, Mode
from scaler.replay.demand import TICK, pods_needed
from scaler.replay.fixed_lanes import FixedLanes
from scaler.replay.hpa import DEFAULT_SCALE_DOWN, HpaConfig
from scaler.replay.hpa_lanes import HpaLanes
from scaler.replay.kpa import SUB_TICK, KpaConfig
from scaler.replay.kpa_lanes import KpaLanes, sub_ticks
from scaler.replay.last_week_lanes import LastWeekConfig, LastWeekLanes
from scaler.replay.ledger import Ledger
from scaler.replay.oracle import clairvoyant, paid_for
from scaler.replay.phpa import HoltWinters, LinearRegression, PhpaConfig
from scaler.replay.phpa_lanes import PhpaLanes, calculated_before
from scaler.replay.play import Played, play, play_kpa
from scaler.replay.pods import PodCounts

REACTIVE_TARGET: Final = 0.9
"""Of the autoscaler under a floor that carries most of the load: last week's, and AI-HPA's without a verdict."""
LEARNING: Final = LEARNED - SHADOW_DAY  # in shadow mode, before a day of it with every tick


class Setting(NamedTuple):
    """What one lane under an HPA or a KPA is set to.

    Attributes:
        target: Utilization that its autoscaler aims at.
        level: Of AI-HPA's floor under it; None is the autoscaler alone.
    """

    target: float
    level: float | None = None


class HoltWintersSetting(NamedTuple):
    """What one lane under the PHPA with Holt-Winters is set to."""

    target: float
    alpha: float
    beta: float
    gamma: float


class LinearSetting(NamedTuple):
    """What one lane under the PHPA with linear regression is set to."""

    target: float
    history_size: int


# The smoothing of PHPA's own example follows every count and overshoots; the calm one is there so that the rival is
# not judged by that.
SMOOTHINGS: Final = ((0.3, 0.02, 0.3), (0.9, 0.9, 0.9))
HISTORY_SIZES: Final = (6, 20)  # PHPA's example; five minutes


@dataclass(frozen=True, slots=True)
class Ours:
    """What AI-HPA needs besides a stage.

    Attributes:
        answers: Of the forecaster, to whichever policy and part asked first.
        see: Gives the metrics as the controller sees them, on the clock of the stage.
        asked_ahead: Forecasts of each load that are asked for in one call; 0 asks for each in its turn, which a
            forecaster needs that is not the same all along.
    """

    forecaster: Forecaster
    config: ControllerConfig
    see: See = clearly
    answers: Answers = field(default_factory=dict)
    asked_ahead: int = ASKED_AHEAD


def over_hpa(stage: Stage, settings: Sequence[Sequence[Setting]], window: range, ours: Ours | None) -> list[Outcome]:
    """Run lanes under HPAs, those with a level with AI-HPA's floor; a week of shadow mode comes before.

    Returns:
        Of each case's settings, in order.
    """
    plan = stage.plan(settings)
    lanes = plan.lanes
    per_pod = _per_pod(plan)
    shadow = range(max(window.start - SHADOW_DAY // TICK, stage.begin), window.start) if ours is not None else range(0)
    start = shadow.start if shadow else window.start
    hpas = HpaLanes(lanes, HpaConfig(per_pod, lanes.max_replicas), lanes.settled_pods(start, per_pod))
    if ours is None:
        return plan.outcomes(play(hpas, window, watched=plan.first_seeds))
    floors = _floors(stage, plan, hpas, ours)
    clock = lanes.metrics.clock
    learning = max(start - LEARNING // TICK, stage.begin)
    floors.learn(clock.time_of(learning), clock.time_of(start))
    before, after = floors.hooks(Mode.SHADOW, clock.time_of(start))
    for tick in shadow:
        before(tick)
        hpas.advance(tick)
        after(tick)
    before, after = floors.hooks(Mode.ON, clock.time_of(window.start))
    return plan.outcomes(play(hpas, window, before=before, after=after, watched=plan.first_seeds))


def over_kpa(
    stage: Stage,
    settings: Sequence[Sequence[Setting]],
    window: range,
    ours: Ours | None,
    *,
    request_time: timedelta = timedelta(seconds=1),
) -> list[Outcome]:
    """Run lanes under KPAs, those with a level with AI-HPA's floor; as `over_hpa`.

    Args:
        stage: What is simulated.
        settings: Of each case.
        window: Ticks.
        ours: None where no lane has a level.
        request_time: How long a pod takes over one request: the longer, the less does a queue look like load.
    """
    plan = stage.plan(settings)
    lanes = plan.lanes
    per_pod = _per_pod(plan)
    config = KpaConfig(target_utilization=np.array([setting.target for setting in plan.of]))
    pods = lanes.settled_pods(window.start, per_pod, SUB_TICK)
    clock = lanes.metrics.clock
    began = sub_ticks(clock, clock.time_of(window.start)).start
    kpas = KpaLanes(lanes, config, pods, began=began, request_time=request_time)
    if ours is None:
        return plan.outcomes(play_kpa(kpas, window, watched=plan.first_seeds))
    floors = _floors(stage, plan, kpas, ours)
    learning = max(window.start - (LEARNING + SHADOW_DAY) // TICK, stage.begin)
    floors.learn(clock.time_of(learning), clock.time_of(window.start))
    before, after = floors.hooks(Mode.ON, clock.time_of(window.start))

    def both(tick: int) -> None:
        before(tick)
        after(tick)

    return plan.outcomes(play_kpa(kpas, window, after=both, watched=plan.first_seeds))


def last_week(stage: Stage, multipliers: Sequence[float], window: range) -> list[Outcome]:
    """Run lanes whose floors are last week's load, half an hour early, over an HPA."""
    plan = stage.plan([multipliers] * len(stage.cases))
    lanes = plan.lanes
    per_pod = lanes.capacity * REACTIVE_TARGET
    config, pods = HpaConfig(per_pod, lanes.max_replicas), lanes.settled_pods(window.start, per_pod)
    scaled = LastWeekLanes(lanes, config, pods, LastWeekConfig(np.array(plan.of)))
    return plan.outcomes(play(scaled, window, watched=plan.first_seeds))


def phpa_linear(stage: Stage, settings: Sequence[LinearSetting], window: range) -> list[Outcome]:
    """Run lanes under PHPAs with linear regression that looks as far ahead as pods take to start."""
    plan = stage.plan([settings] * len(stage.cases))
    model = LinearRegression(
        np.array([lane.start_up.median.total_seconds() for lane in plan.lanes.lanes]),
        np.array([setting.history_size for setting in plan.of], dtype=np.int64),
    )
    return _phpa(plan, PhpaConfig(_per_pod(plan), plan.lanes.max_replicas, (model,)), window)


def phpa_holt_winters(stage: Stage, settings: Sequence[HoltWintersSetting], window: range) -> list[Outcome]:
    """Run lanes under PHPAs with Holt-Winters over a day, which know their seasons from the start."""
    plan = stage.plan([settings] * len(stage.cases))
    alpha, beta, gamma = (np.array([setting[n] for setting in plan.of]) for n in (1, 2, 3))
    model = HoltWinters(alpha, beta, gamma, seasonal_periods=timedelta(days=1) // TICK)
    return _phpa(plan, PhpaConfig(_per_pod(plan), plan.lanes.max_replicas, (model,)), window)


def fixed(stage: Stage, counts: Sequence[Sequence[int]], window: range) -> list[Outcome]:
    """Run lanes with as many pods all along."""
    plan = stage.plan(counts)
    return plan.outcomes(
        play(FixedLanes(plan.lanes, np.array(plan.of, dtype=np.int64)), window, watched=plan.first_seeds)
    )


def oracle(stage: Stage, window: range) -> list[Outcome]:
    """Run the clairvoyant policy, one setting for each case."""
    plan = stage.plan([[None]] * len(stage.cases))
    lanes, physics = plan.lanes, stage.settings.physics
    delays = lanes.delays()
    warm = -(-physics.warm_up // TICK)  # its pods are warm when they are needed
    shown = [
        clairvoyant(
            pods_needed(lanes.metrics.load[window.start : window.stop, lane.load], lane.capacity),
            delays.tables[delays.of_lane[number], window.start : window.stop].astype(np.int64) + warm,
            min_replicas=lane.min_replicas,
            max_replicas=lane.max_replicas,
            stabilization_window=DEFAULT_SCALE_DOWN.stabilization_window,
        )
        for number, lane in enumerate(lanes.lanes)
    ]
    ready, ordered = (np.stack(columns, axis=1) for columns in zip(*shown, strict=True))
    paid = np.stack([paid_for(column, physics.termination_grace) for column in ordered.T], axis=1)
    ledger = Ledger(lanes)
    for tick, *counts in zip(window, ready, ordered, paid, strict=True):
        ledger.add(tick, PodCounts(*counts), counts[0].astype(np.float64))
    watched = list(plan.first_seeds)
    return plan.outcomes(Played(ledger.scores(), ready[:, watched], ordered[:, watched]))


def _floors(stage: Stage, plan: LanePlan[Setting], scaled: HpaLanes | KpaLanes, ours: Ours) -> Floors:
    targets = targets_of(plan.lanes, [setting.level for setting in plan.of])
    return Floors(
        simulated=scaled,
        targets=targets,
        forecaster=ours.forecaster,
        ahead=stage.ahead,
        config=ours.config,
        latency=stage.settings.forecast_latency,
        answers=ours.answers,
        see=ours.see,
        asked_ahead=ours.asked_ahead,
    )


def _phpa(
    plan: LanePlan[LinearSetting] | LanePlan[HoltWintersSetting], config: PhpaConfig, window: range
) -> list[Outcome]:
    lanes, per_pod = plan.lanes, config.target_per_replica
    scaled = PhpaLanes(lanes, config, lanes.settled_pods(window.start, per_pod))
    past = scaled.past_syncs(window.start)
    scaled.remember(past, calculated_before(lanes, past, per_pod))
    return plan.outcomes(play(scaled, window, watched=plan.first_seeds))


def _per_pod(plan: LanePlan[Setting] | LanePlan[LinearSetting] | LanePlan[HoltWintersSetting]) -> FloatArray:
    """Load that each lane's pods should carry. Shape (L,)."""
    per_pod: FloatArray = plan.lanes.capacity * np.array([setting.target for setting in plan.of])
    return per_pod
