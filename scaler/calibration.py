"""The offset that each source's forecasts of a workload lack, learned online per number of steps from what came true.

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

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from scaler.bounded import Bounded, check_bounds
from scaler.domain import FloatArray, Source

SOURCES: Final = tuple(Source)
"""Rows of every array here."""
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
    """Forecasts of one origin that have not come true yet.

    Attributes:
        bounds: Window max of each source at the level, without offset; NaN where it had none. Shape (S, H).
        scale: Load scale when they were issued.
        judged_steps: Length of the window that a decision on them looks at.
        peaks: Highest load that each source, offset included, then expected within it. Shape (S,).
        certain_steps: From the step after this many on, the load is only known to be a lower bound.
        resolved_steps: Windows of up to this many steps have been learned from.
    """

    origin: datetime
    step: timedelta
    bounds: FloatArray
    scale: float
    judged_steps: int
    peaks: FloatArray
    certain_steps: int
    resolved_steps: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationState:
    """What was learned about forecasts of one workload at one level.

    Attributes:
        offsets: In units of `scale`, for the highest load within h steps; NaN for a source not heard of yet.
            Shape (S, H).
        scale: Newest load scale, unit of the load.
        issued: Forecasts still to come true, oldest first.
    """

    level: float
    offsets: FloatArray
    scale: float
    issued: tuple[Issued, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of the window that a decision looked at.

    Attributes:
        origin: Of the forecasts.
        highest: Load that came, unit of the load.
        peaks: What each source expected at most, as in `Issued`. Shape (S,).
    """

    origin: datetime
    highest: float
    peaks: FloatArray


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


def begin(state: CalibrationState | None, *, level: float, length: int, scale: float) -> CalibrationState:
    """Take up what was learned; another level or length is another thing to learn, and starts anew."""
    if state is None or (state.level, state.offsets.shape[1]) != (level, length):
        return CalibrationState(level=level, offsets=np.full((len(SOURCES), length), np.nan), scale=scale)
    return replace(state, scale=scale) if scale > 0 else state


def introduce(
    state: CalibrationState, bounds: FloatArray, margins: Callable[[], FloatArray], config: CalibrationConfig
) -> CalibrationState:
    """Give every source that is heard of for the first time an offset to begin with.

    Args:
        state: As `begin` gave it.
        bounds: As in `Issued`.
        margins: Gives these offsets, unit of the load, shape (S, H); called only where somebody is new.
        config: The cap.
    """
    new = np.isnan(state.offsets[:, 0]) & np.isfinite(bounds[:, 0])
    if not new.any():
        return state
    cap = config.calibration_cap
    units = np.clip(margins() / state.scale, -cap, cap) if state.scale > 0 else np.zeros_like(bounds)
    return replace(state, offsets=np.where(new[:, np.newaxis], units, state.offsets))


def issue(state: CalibrationState, issued: Issued) -> CalibrationState:
    """Remember forecasts until they come true; a late answer takes the place of the earlier ones of its origin."""
    if issued.scale <= 0:
        return state  # no load was seen: there is no unit to learn in
    earlier = state.issued
    if earlier and (earlier[-1].origin, earlier[-1].step) == (issued.origin, issued.step):
        issued = replace(issued, resolved_steps=earlier[-1].resolved_steps, certain_steps=earlier[-1].certain_steps)
        earlier = earlier[:-1]
    return replace(state, issued=(*earlier, issued))


def censor(state: CalibrationState, sampled_at: datetime) -> CalibrationState:
    """Mark that the sample at this time was a lower bound: it can prove a forecast too low, never right."""

    def mark(issued: Issued) -> Issued:
        # A sample at origin + n * step ends step n, so n - 1 steps before it are certain.
        steps = max(0, -((issued.origin - sampled_at) // issued.step) - 1)
        return replace(issued, certain_steps=min(issued.certain_steps, steps))

    return replace(state, issued=tuple(mark(i) if sampled_at > i.origin else i for i in state.issued))


def resolve(
    state: CalibrationState, load: FloatArray, *, end: datetime, step: timedelta, config: CalibrationConfig
) -> tuple[CalibrationState, tuple[Outcome, ...]]:
    """Learn from every window that is over, of every forecast issued.

    Args:
        state: What was learned so far.
        load: Oldest first, NaN is missing. Shape (T,).
        end: Time of the last sample of `load`.
        step: Spacing of `load`; forecasts of another step cannot be held against it and are forgotten.
        config: Rate and cap.

    Returns:
        What is known now, and what came of those judged windows that are newly over and were seen whole.
    """
    seen = np.isfinite(load)
    filled = np.where(seen, load, -np.inf)
    news: list[_News] = []
    waiting: list[Issued] = []
    outcomes: list[Outcome] = []
    for issued in state.issued:
        over = min(issued.bounds.shape[1], (end - issued.origin) // issued.step)
        if over <= issued.resolved_steps and issued.step == step:
            waiting.append(issued)
            continue
        first = _place_of(issued, len(load), end, step)
        if first is None:
            continue
        highest = np.maximum.accumulate(filled[first : first + over])
        certain = np.logical_and.accumulate(seen[first : first + over])
        certain[issued.certain_steps :] = False
        news.append(_News(issued, slice(issued.resolved_steps, over), highest, certain))
        if issued.resolved_steps < issued.judged_steps <= over and certain[issued.judged_steps - 1]:
            outcomes.append(Outcome(issued.origin, float(highest[issued.judged_steps - 1]), issued.peaks))
        if over < issued.bounds.shape[1]:
            waiting.append(replace(issued, resolved_steps=over))
    # Forecasts at regular times have windows of different length to tell of, and then all of them move together.
    disjoint = all(later.steps.stop <= earlier.steps.start for earlier, later in itertools.pairwise(news))
    offsets = state.offsets
    for group in [news] if disjoint and news else [[one] for one in news]:
        offsets = _track(offsets, group, alpha=1.0 - state.level, config=config)
    return replace(state, offsets=offsets, issued=tuple(waiting)), tuple(outcomes)


class _News(NamedTuple):
    """What became known of one origin's forecasts.

    Attributes:
        steps: Whose windows are newly over; index h - 1.
        highest: Highest load seen within the first steps. Shape (h,), up to the last of `steps`.
        certain: Where that is all there was. Shape (h,).
    """

    issued: Issued
    steps: slice
    highest: FloatArray
    certain: npt.NDArray[np.bool_]


def _place_of(issued: Issued, length: int, end: datetime, step: timedelta) -> int | None:
    """Place of a forecast's first step in a history of that length; None where the two do not line up."""
    behind, remainder = divmod(end - issued.origin, step)
    first = length - behind
    return None if issued.step != step or remainder or first < 0 else first


def _track(offsets: FloatArray, news: Sequence[_News], *, alpha: float, config: CalibrationConfig) -> FloatArray:
    """Move the offset at each h whose window is newly over by forecasts that came true.

    A missing or censored step may hide any load: until it is known that the rest of the window already exceeds the
    bound, the forecast counts neither as a hit nor as a miss.

    Args:
        offsets: As they stand. Shape (S, H).
        news: No two of them of the same h.
        alpha: Share of windows that may exceed.
        config: Rate and cap.
    """
    at = np.concatenate([np.arange(one.steps.start, one.steps.stop) for one in news])  # (M,)
    bounds = np.concatenate([one.issued.bounds[:, one.steps] for one in news], axis=1)  # (S, M)
    highest = np.concatenate([one.highest[one.steps] for one in news])
    certain = np.concatenate([one.certain[one.steps] for one in news])
    scale = np.repeat([one.issued.scale for one in news], [one.steps.stop - one.steps.start for one in news])
    earlier = offsets[:, at]
    # A comparison with NaN is false: who had no forecast did not miss.
    missed = (highest - bounds) / scale > earlier
    eta = config.calibration_rate * math.sqrt(ALPHA_OF_RATE / alpha)
    cap = config.calibration_cap
    moved = np.clip(earlier + eta * (missed - alpha), -cap, cap)
    tracked = offsets.copy()
    tracked[:, at] = np.where((missed | certain) & np.isfinite(bounds), moved, earlier)
    return tracked
