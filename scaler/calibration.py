"""The offset that a workload's forecasts lack, learned online per number of steps; it sees only what came true.

Delayed-feedback quantile tracker: the P part of conformal PID (Angelopoulos, Candes, Tibshirani 2023,
https://arxiv.org/abs/2307.16895), on the score (realised window max - forecast window max at the level) / scale:

    offset <- clip(offset + eta * (err - alpha), -cap, cap),   err = 1 where score > offset,   alpha = 1 - level
    eta = rate * sqrt(0.1 / alpha)

A higher level misses more seldom and so learns from fewer events; the square root keeps the time that an offset takes
to grow and the time it takes to shrink in balance between levels.

Each window is held against what came as soon as it is over, the short ones of a forecast long before its last. Each
score is held against the offset of today, not against the one in use when its forecast was issued: overlapping
forecasts that missed the same burst would else push once each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated

import numpy as np

from scaler.bounded import Bounded, check_bounds
from scaler.domain import FloatArray, Forecast

ALPHA_OF_RATE = 0.1  # the rate is that of the level 0.9


@dataclass(frozen=True, slots=True)
class CalibrationConfig:
    """How fast and how far the offset moves, in units of the load scale (mean absolute change from step to step)."""

    calibration_rate: Annotated[
        float,
        Bounded(
            0.0,
            10.0,
            "Eta at the level 0.9, the step of the offset in units of the load scale; at other levels times "
            "sqrt(0.1 / miss budget). 0 learns nothing. Of 0.02, 0.05, 0.1 and 0.25, held against training traces: a "
            "lower one is late where the forecast is off, a higher one costs pods.",
        ),
    ] = 0.05
    calibration_cap: Annotated[
        float,
        Bounded(
            0.0,
            1000.0,
            "Largest offset up or down, in units of the load scale. A forecaster that is short by more than twenty "
            "ordinary steps is wrong rather than uncalibrated, and an offset must not hide that behind pods.",
        ),
    ] = 20.0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_bounds(self)


@dataclass(frozen=True, slots=True, eq=False)
class Issued:
    """A forecast that has not come true yet.

    Attributes:
        bounds: Its window max at the level, without offset. Shape (H,).
        scale: Load scale when it was issued.
        certain_steps: From the step after this many on, the load is only known to be a lower bound.
        resolved_steps: Windows of up to this many steps have been learned from.
    """

    origin: datetime
    step: timedelta
    bounds: FloatArray
    scale: float
    certain_steps: int
    resolved_steps: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationState:
    """What was learned about one forecaster's forecasts of one workload at one level.

    Attributes:
        offsets: In units of `scale`, for the highest load within h steps; index h - 1. Shape (H,).
        scale: Newest load scale, unit of the load.
        issued: Forecasts still to come true, oldest first.
    """

    source: str
    level: float
    offsets: FloatArray
    scale: float
    issued: tuple[Issued, ...] = ()


def load_scale(load: FloatArray) -> float:
    """Mean absolute change from one observed step to the next; at least 1 % of the mean load, where it is flat.

    Args:
        load: NaN is missing. Shape (T,).

    Returns:
        Unit of the load; 0 where no load was seen.
    """
    changes = np.abs(np.diff(load))
    changes = changes[np.isfinite(changes)]
    seen = load[np.isfinite(load)]
    floor = 0.01 * float(seen.mean()) if seen.size else 0.0
    return max(float(changes.mean()), floor) if changes.size else floor


def issue(
    state: CalibrationState | None, forecast: Forecast, bounds: FloatArray, *, level: float, scale: float
) -> CalibrationState:
    """Remember a forecast until it comes true.

    Another source, level or length is another thing to learn, and starts anew.

    Args:
        state: What was learned so far; None before the first forecast.
        forecast: As it arrived.
        bounds: Its window max at `level`, without offset. Shape (H,).
        level: Quantile level of `bounds`.
        scale: Load scale of the context it was made from; where it is 0 there is no load to learn from.
    """
    length = forecast.prediction_length
    if state is None or (state.source, state.level, len(state.offsets)) != (forecast.source, level, length):
        state = CalibrationState(source=forecast.source, level=level, offsets=np.zeros(length), scale=scale)
    if scale <= 0:
        return state
    issued = Issued(forecast.origin, forecast.step, bounds, scale, certain_steps=length)
    return replace(state, scale=scale, issued=(*state.issued, issued))


def censor(state: CalibrationState, sampled_at: datetime) -> CalibrationState:
    """Mark that the sample at this time was a lower bound: it can prove a forecast too low, never right."""

    def mark(issued: Issued) -> Issued:
        # A sample at origin + n * step ends step n, so n - 1 steps before it are certain.
        steps = max(0, -((issued.origin - sampled_at) // issued.step) - 1)
        return replace(issued, certain_steps=min(issued.certain_steps, steps))

    return replace(state, issued=tuple(mark(i) if sampled_at > i.origin else i for i in state.issued))


def resolve(
    state: CalibrationState, load: FloatArray, *, end: datetime, step: timedelta, config: CalibrationConfig
) -> CalibrationState:
    """Learn from every window that is over, of every forecast issued.

    Args:
        state: What was learned so far.
        load: Oldest first, NaN is missing. Shape (T,).
        end: Time of the last sample of `load`.
        step: Spacing of `load`; forecasts of another step cannot be held against it and are forgotten.
        config: Rate and cap.
    """
    offsets, waiting = state.offsets, []
    for issued in state.issued:
        length = len(issued.bounds)
        over = min(length, (end - issued.origin) // issued.step)
        if over <= issued.resolved_steps and issued.step == step:
            waiting.append(issued)
            continue
        realised = _realised(issued, load, end, step, over)
        if realised is None:
            continue
        offsets = _track(offsets, issued, realised, alpha=1.0 - state.level, config=config)
        if over < length:
            waiting.append(replace(issued, resolved_steps=over))
    return replace(state, offsets=offsets, issued=tuple(waiting))


def offsets_for(state: CalibrationState | None, forecast: Forecast, level: float) -> FloatArray:
    """Give what to add to the window max of `forecast` at `level`; 0 unless it was learned on just that.

    Returns:
        Unit of the load. Shape (H,).
    """
    length = forecast.prediction_length
    if state is None or (state.source, state.level, len(state.offsets)) != (forecast.source, level, length):
        return np.zeros(length)
    return state.offsets * state.scale


def _realised(issued: Issued, load: FloatArray, end: datetime, step: timedelta, steps: int) -> FloatArray | None:
    """Cut the first `steps` of a forecast out of the history; None where the two do not line up."""
    behind, remainder = divmod(end - issued.origin, step)
    first = len(load) - behind
    if issued.step != step or remainder or first < 0:
        return None
    return load[first : first + steps]


def _track(
    offsets: FloatArray, issued: Issued, realised: FloatArray, *, alpha: float, config: CalibrationConfig
) -> FloatArray:
    """Move the offset at each h whose window is newly over by one forecast that came true.

    A missing or censored step may hide any load: until it is known that the rest of the window already exceeds the
    bound, the forecast counts neither as a hit nor as a miss.

    Args:
        offsets: As they stand. Shape (H,).
        issued: The forecast.
        realised: Load of its first steps. Shape (h,) with h at most H.
        alpha: Share of windows that may exceed.
        config: Rate and cap.
    """
    seen = np.isfinite(realised)
    peak = np.maximum.accumulate(np.where(seen, realised, -np.inf))
    length = len(realised)
    missed = (peak - issued.bounds[:length]) / issued.scale > offsets[:length]
    steps = np.arange(length)
    certain = np.logical_and.accumulate(seen) & (steps < issued.certain_steps)
    eta = config.calibration_rate * math.sqrt(ALPHA_OF_RATE / alpha)
    cap = config.calibration_cap
    moved = np.clip(offsets[:length] + eta * (missed - alpha), -cap, cap)
    learned = (missed | certain) & (steps >= issued.resolved_steps)
    return np.concatenate([np.where(learned, moved, offsets[:length]), offsets[length:]])
