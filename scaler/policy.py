"""The decision: what was seen and forecast in, replica floor and every reason out; it knows no clock and no cluster.

What is made anew in each decision is a named tuple: a large cluster makes a thousand of each in every tick, and a
frozen dataclass takes four times as long.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, NamedTuple, TypeVar

import numpy as np

from scaler.bounded import Bounded, check_bounds
from scaler.domain import (
    Action,
    Champion,
    Decision,
    FloatArray,
    Forecast,
    ForecastFailure,
    Observation,
    Reason,
    Target,
)

# 3 pods' worth of load summed from floats may read 3.0000000000000004; that must not buy a fourth pod.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """What holds for every workload of one controller."""

    tick: Annotated[
        timedelta,
        Bounded(
            timedelta(seconds=1),
            timedelta(seconds=60),
            "Time between two decisions. The HPA's sync period: a reactive autoscaler above the floor is no faster.",
        ),
    ] = timedelta(seconds=15)
    activation_ratio: Annotated[
        float,
        Bounded(
            0.0,
            1.0,
            "Load below this share of one pod's capacity needs no pod. A twentieth keeps scrape noise from waking "
            "a workload that is at zero.",
        ),
    ] = 0.05
    metric_freshness: Annotated[
        timedelta,
        Bounded(
            timedelta(seconds=15),
            timedelta(seconds=1800),
            "A newest sample older than this is no measurement, and the decision is blind. Metrics pipelines deliver "
            "15 to 90 s late; this leaves room for one lost 60 s sample on top.",
        ),
    ] = timedelta(seconds=240)
    scale_down_stabilization_window: Annotated[
        timedelta,
        Bounded(
            timedelta(0),
            timedelta(seconds=3600),
            "The floor follows the highest recommendation of this long on its way down. The HPA's default.",
        ),
    ] = timedelta(seconds=300)
    scale_up_ratio: Annotated[
        float, Bounded(0.0, 10.0, "Share of the replicas that one rate_limit_period may add. The HPA's default, 100 %.")
    ] = 1.0
    scale_up_pods: Annotated[
        int,
        Bounded(
            1,
            1000,
            "Pods that one rate_limit_period may add where that is more than scale_up_ratio. The HPA's default.",
        ),
    ] = 4
    scale_down_ratio: Annotated[
        float,
        Bounded(
            0.01,
            1.0,
            "Share of the floor that one rate_limit_period may remove. The HPA's default, 100 %: the stabilization "
            "window has already held the highest need, and pods above a lowered floor still leave at the pace of the "
            "autoscaler that owns them.",
        ),
    ] = 1.0
    rate_limit_period: Annotated[
        timedelta,
        Bounded(
            timedelta(seconds=1),
            timedelta(seconds=1800),
            "Time over which the three limits above count. The HPA's default.",
        ),
    ] = timedelta(seconds=15)
    tolerance_ratio: Annotated[
        float,
        Bounded(
            0.0,
            0.5,
            "The floor is lowered only by more than this share of itself; raised at once. Half the HPA's 10 %: the "
            "stabilization window already stops flapping, this only spares writes for one pod in twenty.",
        ),
    ] = 0.05

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_bounds(self)


class Recommendation(NamedTuple):
    """How many replicas one decision asked for."""

    at: datetime
    replicas: int


class ScaleEvent(NamedTuple):
    """What stood before one change of the floor.

    Attributes:
        replicas: The larger of the floor and of the replicas the API asked for.
    """

    at: datetime
    floor: int
    replicas: int


class PolicyState(NamedTuple):
    """What one decision must know of those before it.

    Attributes:
        floor: What the last decision set.
        recommendations: Of the stabilization window, oldest first; one that a newer one reaches is left out, so that
            the first is the highest.
        scale_events: Of the rate limit period, oldest first.
    """

    floor: int
    recommendations: tuple[Recommendation, ...]
    scale_events: tuple[ScaleEvent, ...] = ()

    @classmethod
    def start(cls, floor: int, now: datetime) -> PolicyState:
        """Begin as if `floor` had just been recommended: a restart holds it for a whole stabilization window."""
        return cls(floor=floor, recommendations=(Recommendation(now, floor),))


class Trajectory(NamedTuple):
    """One forecast at the workload's level, prepared once for the many ticks that read it.

    Attributes:
        peaks: Highest load within the first h steps at `level`, offset included, and what is held for load that is
            absent; index h - 1, non-decreasing.
        offsets: Learned offset inside each peak, unit of the load; index h - 1.
        returning: What load that is absent would come back to; index h - 1. Empty where none is.
    """

    forecast: Forecast
    level: float
    peaks: tuple[float, ...]
    offsets: tuple[float, ...]
    returning: tuple[float, ...] = ()


class Outlook(NamedTuple):
    """What is known of the time ahead of one workload.

    Attributes:
        lead_time: From a raised floor to ready pods.
        trajectories: The best first; the first that covers the lead time counts.
        lead_time_covered: A fresh forecast at the widest step still covers the lead time.
        forecast_failure: Why the newest call of the forecaster gave nothing for this workload.
        champion: Whose forecasts serve.
    """

    lead_time: timedelta
    trajectories: tuple[Trajectory, ...] = ()
    lead_time_covered: bool = True
    forecast_failure: ForecastFailure | None = None
    champion: Champion | None = None


class _View(NamedTuple):
    """One trajectory at the number of steps that matter now."""

    trajectory: Trajectory
    steps: int
    peak: float

    @property
    def is_held(self) -> bool:
        """Whether the peak is that of load which is absent."""
        returning = self.trajectory.returning
        return bool(returning) and 0 < self.peak <= returning[self.steps - 1]


class _Need(NamedTuple):
    """What the load, seen and forecast, asks for."""

    load: float | None
    view: _View | None
    peak: float | None
    n_predicted: int | None
    n_reactive: int | None


class _Steps(NamedTuple):
    """Replicas after each step of one decision, and the reasons that applied."""

    previous_floor: int
    n_combined: int
    n_stabilized: int
    n_limited: int
    floor: int
    reasons: tuple[Reason, ...]


E = TypeVar("E", Recommendation, ScaleEvent)


def window_max_at(forecast: Forecast, level: float) -> FloatArray:
    """Read the highest load within the first h steps at any level.

    Between two levels of the forecast it is interpolated linearly; outside of them the outermost one stands, and the
    learned offset has to make up for the rest.

    Returns:
        Unit of the load. Shape (H,).
    """
    levels = forecast.quantile_levels
    upper = bisect_right(levels, level)
    if upper == 0:
        return forecast.window_max[:, 0]
    if upper == len(levels):
        return forecast.window_max[:, -1]
    weight = (level - levels[upper - 1]) / (levels[upper] - levels[upper - 1])
    return (1.0 - weight) * forecast.window_max[:, upper - 1] + weight * forecast.window_max[:, upper]


def peaks_of(bounds: FloatArray, offsets: FloatArray) -> FloatArray:
    """Add what was learned to the highest load forecast within the first h steps.

    A window that grows cannot have a lower maximum, but offsets are learned per h and may differ.

    Args:
        bounds: Unit of the load; NaN stays. Shape (..., H).
        offsets: Likewise.
    """
    peaks: FloatArray = np.maximum.accumulate(np.maximum(bounds + offsets, 0.0), axis=-1)
    return peaks


def prepare(
    forecast: Forecast, level: float, *, peaks: FloatArray, offsets: FloatArray, returning: FloatArray | None = None
) -> Trajectory:
    """Put a forecast and what was learned about it into the form that `decide` reads.

    Args:
        forecast: As it arrived.
        level: Quantile level of the peaks.
        peaks: Highest load within the first h steps at the level, as `peaks_of` gives it. Shape (H,).
        offsets: What was added for that at each h, unit of the load. Shape (H,).
        returning: Highest load within the first h steps if load that is absent came back. Shape (H,).
    """
    return Trajectory(
        forecast=forecast,
        level=level,
        peaks=tuple((peaks if returning is None else np.maximum(peaks, returning)).tolist()),
        offsets=tuple(offsets.tolist()),
        returning=() if returning is None else tuple(returning.tolist()),
    )


def steps_that_matter(forecast: Forecast, lead_time: timedelta, *, tick: timedelta, now: datetime) -> int | None:
    """Count the steps of a forecast that the load has to be covered for; None where it is not valid for that.

    h = ceil((now - origin + lead + tick) / step); valid while h <= H and the origin lies at most one step ahead.
    """
    age = now - forecast.origin
    steps = max(1, -(-(age + lead_time + tick) // forecast.step))
    return steps if steps <= forecast.prediction_length and age >= -forecast.step else None


def covering(outlook: Outlook, tick: timedelta, now: datetime) -> _View | None:
    """Find the first trajectory that is valid, and read it at the steps that matter."""
    for trajectory in outlook.trajectories:
        steps = steps_that_matter(trajectory.forecast, outlook.lead_time, tick=tick, now=now)
        if steps is not None:
            return _View(trajectory, steps, trajectory.peaks[steps - 1])
    return None


def usable_load(observation: Observation, metric_freshness: timedelta, now: datetime) -> float | None:
    """Give the load that a decision may stand on, or None where it is blind.

    No replicas asked for and none ready is an observed zero, even though nobody is there to report a load.
    """
    sampled_at = observation.sampled_at
    if observation.load is not None and sampled_at is not None and now - sampled_at <= metric_freshness:
        return observation.load
    if observation.current_replicas == observation.ready_replicas == 0 and not observation.censored:
        return 0.0
    return None


def standing_floor(observation: Observation, target: Target) -> int:
    """Give the floor that holds now; where the lever has none yet, what holds without one."""
    if observation.floor is not None:
        return observation.floor
    return observation.current_replicas if target.only_scaler else target.min_replicas


def replicas_for(load: float, capacity: float, activation_ratio: float) -> int:
    """Replicas that carry `load`; none where it is below the activation threshold."""
    if load < activation_ratio * capacity:
        return 0
    return math.ceil(load / capacity - _ROUNDING)


def pods_for(loads: FloatArray, targets: Sequence[Target], config: PolicyConfig) -> FloatArray:
    """Pods that carry each of these loads, within the user's bounds; NaN stays.

    Args:
        loads: Unit of the load. Shape (N, S).
        targets: A row each. Length N.
        config: What counts as load at all.
    """
    capacity, least, most = np.array([(t.capacity, t.min_replicas, t.max_replicas) for t in targets]).T[:, :, None]
    pods = np.where(loads < config.activation_ratio * capacity, 0.0, np.ceil(loads / capacity - _ROUNDING))
    return np.clip(pods, least, most)


def most_replicas(trajectory: Trajectory, target: Target, config: PolicyConfig) -> int:
    """Replicas for the highest load of a whole forecast, within the user's upper bound."""
    return min(replicas_for(trajectory.peaks[-1], target.capacity, config.activation_ratio), target.max_replicas)


def recommend(load: float | None, outlook: Outlook, *, target: Target, config: PolicyConfig, now: datetime) -> _Need:
    """Turn load, seen and forecast, into replicas; the newest sample may raise the peak, never lower it."""
    view = covering(outlook, config.tick, now)
    known = [value for value in (load, view.peak if view is not None else None) if value is not None]
    peak = max(known, default=None)
    n_predicted = n_reactive = None
    if view is not None and peak is not None:
        n_predicted = replicas_for(peak, target.capacity, config.activation_ratio)
    if load is not None and (target.only_scaler or view is None):
        n_reactive = replicas_for(load, target.capacity, config.activation_ratio)
    return _Need(load, view, peak, n_predicted, n_reactive)


def combine(need: _Need, floor: int, *, censored: bool, target: Target) -> tuple[int, Reason | None]:
    """Take the larger part; whatever is uncertain, or paused by the user, holds the floor on the way down."""
    wanted = max((n for n in (need.n_predicted, need.n_reactive) if n is not None), default=floor)
    if target.paused:
        return floor, Reason.PAUSED
    if wanted >= floor:
        return wanted, None
    if need.load is None:
        return floor, Reason.NO_METRICS
    if censored:
        return floor, Reason.CENSORED_METRICS
    if target.scale_down_paused:
        return floor, Reason.SCALE_DOWN_PAUSED
    return wanted, None


def stabilize(wanted: int, floor: int, recommendations: tuple[Recommendation, ...]) -> tuple[int, Reason | None]:
    """Follow the highest recommendation of the window on the way down."""
    if wanted >= floor or not recommendations or recommendations[0].replicas <= wanted:
        return wanted, None
    return min(floor, recommendations[0].replicas), Reason.SCALE_DOWN_STABILIZED


def limit_rate(wanted: int, floor: int, start: ScaleEvent, config: PolicyConfig) -> tuple[int, Reason | None]:
    """Bound the change within one period, counted from what stood at its start.

    Pods that a reactive autoscaler added already run, so a floor may rise to them at once.
    """
    if wanted > floor:
        by_ratio = math.floor(start.replicas * (1.0 + config.scale_up_ratio) + _ROUNDING)
        limit = max(by_ratio, start.replicas + config.scale_up_pods, floor)
        return (limit, Reason.SCALE_UP_LIMIT) if wanted > limit else (wanted, None)
    limit = min(math.ceil(start.floor * (1.0 - config.scale_down_ratio) - _ROUNDING), floor)
    return (limit, Reason.SCALE_DOWN_LIMIT) if wanted < limit else (wanted, None)


def clamp(wanted: int, target: Target) -> tuple[int, Reason | None]:
    """Keep the user's bounds, whatever was said before."""
    if wanted < target.min_replicas:
        return target.min_replicas, Reason.TOO_FEW_REPLICAS
    if wanted > target.max_replicas:
        return target.max_replicas, Reason.TOO_MANY_REPLICAS
    return wanted, None


def dead_band(wanted: int, floor: int, max_replicas: int, tolerance_ratio: float) -> tuple[int, Reason | None]:
    """Leave a floor alone that is only a little too high, unless it is out of bounds."""
    if wanted < floor <= max_replicas and floor - wanted <= tolerance_ratio * floor + _ROUNDING:
        return floor, Reason.WITHIN_TOLERANCE
    return wanted, None


def decide(
    observation: Observation,
    outlook: Outlook,
    state: PolicyState,
    *,
    target: Target,
    config: PolicyConfig,
    now: datetime,
) -> tuple[Decision, PolicyState]:
    """Decide the floor of one workload; a reducer: same arguments, same answer.

    Returns:
        The decision, and the state to pass to the next one.
    """
    floor = standing_floor(observation, target)
    load = usable_load(observation, config.metric_freshness, now)
    recommendations = _later_than(now - config.scale_down_stabilization_window, state.recommendations)
    events = _later_than(now - config.rate_limit_period, state.scale_events)
    standing = ScaleEvent(now, floor, max(floor, observation.current_replicas))

    need = recommend(load, outlook, target=target, config=config, now=now)
    n_combined, held = combine(need, floor, censored=observation.censored, target=target)
    n_stabilized, stabilized = stabilize(n_combined, floor, recommendations)
    n_limited, limited = limit_rate(n_stabilized, floor, events[0] if events else standing, config)
    n_clamped, clamped = clamp(n_limited, target)
    new_floor, tolerated = dead_band(n_clamped, floor, target.max_replicas, config.tolerance_ratio)

    applied = (*_conditions(need), held, stabilized, limited, clamped, tolerated)
    steps = _Steps(floor, n_combined, n_stabilized, n_limited, new_floor, tuple(r for r in applied if r is not None))
    decision = _record(observation, outlook, need, steps, target=target, now=now)
    reached = tuple(r for r in recommendations if r.replicas > n_combined)
    return decision, PolicyState(
        floor=new_floor,
        recommendations=(*reached, Recommendation(now, n_combined)),
        scale_events=events if new_floor == floor else (*events, standing),
    )


def not_applied(decision: Decision, state: PolicyState) -> tuple[Decision, PolicyState]:
    """Correct a decision, and the state after it, whose floor could not be set: nothing changed."""
    reasons = (*decision.reasons, Reason.TARGET_UNAVAILABLE)
    kept = decision._replace(
        floor=decision.previous_floor,
        action=Action.NONE,
        reason=Reason.TARGET_UNAVAILABLE,
        reasons=reasons,
    )
    events = tuple(event for event in state.scale_events if event.at != decision.at)
    return kept, state._replace(floor=decision.previous_floor, scale_events=events)


def limit_cluster(decision: Decision, state: PolicyState, room: int) -> tuple[Decision, PolicyState]:
    """Cut a raise to the replicas that all workloads together may still add; nothing that stands is lowered.

    Args:
        decision: As decided for this workload alone.
        state: After it.
        room: Replicas that may still be added.
    """
    allowed = decision.previous_floor + max(0, room)
    if decision.floor <= allowed:
        return decision, state
    kept = decision._replace(
        floor=allowed,
        action=_action(decision.previous_floor, allowed),
        reason=Reason.CLUSTER_LIMIT,
        reasons=(*decision.reasons, Reason.CLUSTER_LIMIT),
    )
    unmoved = allowed == decision.previous_floor
    events = tuple(event for event in state.scale_events if not unmoved or event.at != decision.at)
    return kept, state._replace(floor=allowed, scale_events=events)


def _later_than(cutoff: datetime, entries: tuple[E, ...]) -> tuple[E, ...]:
    """Drop what is as old as the cutoff or older; `entries` are oldest first."""
    if not entries or entries[0].at > cutoff:
        return entries
    return tuple(entry for entry in entries if entry.at > cutoff)


def _conditions(need: _Need) -> tuple[Reason | None, ...]:
    """Say what the need stands on; the first reasons of every decision."""
    idle = need.peak is not None and not need.n_predicted and not need.n_reactive
    return (
        Reason.NO_METRICS if need.load is None else None,
        Reason.NO_FORECAST if need.view is None else None,
        Reason.LOAD_ABSENT if need.view is not None and need.view.is_held else None,
        Reason.BELOW_ACTIVATION if idle else None,
    )


def _action(previous_floor: int, floor: int) -> Action:
    if floor == previous_floor:
        return Action.NONE
    return Action.SCALE_UP if floor > previous_floor else Action.SCALE_DOWN


def _record(
    observation: Observation, outlook: Outlook, need: _Need, steps: _Steps, *, target: Target, now: datetime
) -> Decision:
    """Write everything down that the floor came from."""
    view = need.view
    # The lead time is said first and never settles anything: the forecast still counts as far as it reaches.
    uncovered = () if outlook.lead_time_covered else (Reason.LEAD_TIME_TOO_LONG,)
    return Decision(
        key=target.key,
        at=now,
        mode=target.mode,
        previous_floor=steps.previous_floor,
        floor=steps.floor,
        action=_action(steps.previous_floor, steps.floor),
        reason=steps.reasons[-1] if steps.reasons else Reason.DESIRED_WITHIN_RANGE,
        reasons=uncovered + steps.reasons,
        current_replicas=observation.current_replicas,
        ready_replicas=observation.ready_replicas,
        load=need.load,
        peak=need.peak,
        forecast_peak=view.peak if view else None,
        offset=view.trajectory.offsets[view.steps - 1] if view else None,
        level=target.level,
        capacity=target.capacity,
        lead_time=outlook.lead_time,
        forecast_source=view.trajectory.forecast.source if view else None,
        forecast_age=now - view.trajectory.forecast.origin if view else None,
        forecast_steps=view.steps if view else None,
        forecast_failure=outlook.forecast_failure,
        champion=outlook.champion,
        n_predicted=need.n_predicted,
        n_reactive=need.n_reactive,
        n_combined=steps.n_combined,
        n_stabilized=steps.n_stabilized,
        n_limited=steps.n_limited,
    )
