"""The offset that each source's forecasts of a workload lack, learned online per number of steps from what came true.

Delayed-feedback quantile tracker: the P part of conformal PID (Angelopoulos, Candes, Tibshirani 2023,
https://arxiv.org/abs/2307.16895), on the score (realised window max - forecast window max at the level) / scale:

    offset <- clip(offset + eta * (err - alpha), -cap, cap),   err = 1 where score > offset,   alpha = 1 - level
    eta = rate * sqrt(0.1 / alpha) * sqrt(min(1, time since the forecast before / five minutes))

A higher level misses more seldom and so learns from fewer events; the square root keeps the time that an offset takes
to grow and the time it takes to shrink in balance between levels. Forecasts that follow each other closely miss the
same bursts in part: of the rate itself, the square root and the proportion of the time between them, the square root
did best on training traces with a forecast a minute.

Each window is held against what came as soon as it is over, the short ones of a forecast long before its last. Each
score is held against the offset of today, not against the one in use when its forecast was issued: overlapping
forecasts that missed the same burst would else push once each.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from scaler.alike import answer_alike
from scaler.bounded import Bounded, check_bounds
from scaler.domain import FloatArray, Source

SOURCES: Final = tuple(Source)
"""Rows of every array here."""
ALPHA_OF_RATE: Final = 0.1  # the rate is that of the level 0.9
PERIOD_OF_RATE: Final = timedelta(minutes=5)  # and of forecasts that are this far apart, or farther


@dataclass(frozen=True, slots=True)
class CalibrationConfig:
    """How fast and how far the offset moves, in units of the load scale (mean absolute change from step to step)."""

    calibration_rate: Annotated[
        float,
        Bounded(
            0.0,
            10.0,
            "Eta at the level 0.9 with a forecast every five minutes, the step of the offset in units of the load "
            "scale; at other levels times sqrt(0.1 / miss budget), with more frequent forecasts times the square root "
            "of their period over five minutes. 0 learns nothing. Of 0.02, 0.05, 0.1 and 0.25, held against training "
            "traces: a lower one is late where the forecast is off, a higher one costs pods.",
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
    """Forecasts of one origin, for workloads that were forecast for together.

    Attributes:
        bounds: Window max of each source at each workload's level, without offset; NaN where it had none.
            Shape (N, S, H).
        scales: Load scales when they were issued. Shape (N,).
    """

    origin: datetime
    step: timedelta
    bounds: FloatArray
    scales: FloatArray


class Waiting(NamedTuple):
    """One workload's forecasts that are still to come true, oldest first.

    Attributes:
        issued: With those of the others that were forecast for together.
        rows: The workload's in each of them.
        weights: Of what is learned from each, 0..1.
    """

    issued: tuple[Issued, ...] = ()
    rows: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()


class CalibrationState(NamedTuple):
    """What was learned about forecasts of one workload at one level.

    A named tuple, as one is made for each workload with each forecast; compared by identity alone.

    Attributes:
        offsets: In units of `scale`, for the highest load within h steps; NaN for a source not heard of yet.
            Shape (S, H).
        scale: Newest load scale, unit of the load.
        censored: Times of samples that were only lower bounds, as long as a forecast from before one waits; of those
            that no forecast began between, the first.
        learned_to: Windows that ended by this time have been learned from; None before the first.
    """

    level: float
    offsets: FloatArray
    scale: float
    waiting: Waiting = Waiting()
    censored: tuple[datetime, ...] = ()
    learned_to: datetime | None = None


def load_scales(loads: FloatArray) -> FloatArray:
    """Mean absolute change from one observed step to the next; at least 1 % of the mean load, where it is flat.

    Args:
        loads: NaN is missing. Shape (N, T).

    Returns:
        Unit of the load; 0 where no load was seen. Shape (N,).
    """
    scales: FloatArray = np.maximum(_observed_mean(np.abs(np.diff(loads))), 0.01 * _observed_mean(loads))
    return scales


def _observed_mean(values: FloatArray) -> FloatArray:
    """Mean of each row without what is missing; 0 where all is. Shape (N,)."""
    seen = np.isfinite(values)
    mean: FloatArray = np.where(seen, values, 0.0).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    return mean


def begin(state: CalibrationState | None, *, level: float, length: int, scale: float) -> CalibrationState:
    """Take up what was learned; another level or length is another thing to learn, and starts anew."""
    if state is None or (state.level, state.offsets.shape[1]) != (level, length):
        return CalibrationState(level=level, offsets=np.full((len(SOURCES), length), np.nan), scale=scale)
    return state._replace(scale=scale) if scale > 0 else state


def introduce(
    states: Sequence[CalibrationState],
    bounds: FloatArray,
    margins: Callable[[int], FloatArray],
    config: CalibrationConfig,
) -> list[CalibrationState]:
    """Give every source that is heard of for the first time an offset to begin with.

    Args:
        states: As `begin` gave them. Length N.
        bounds: As in `Issued`.
        margins: Gives these offsets of one workload, unit of the load, shape (S, H); called only where somebody is new.
        config: The cap.
    """
    introduced = list(states)
    new = np.isnan(np.array([state.offsets[:, 0] for state in states])) & np.isfinite(bounds[:, :, 0])  # (N, S)
    cap = config.calibration_cap
    for n in np.flatnonzero(new.any(axis=1)).tolist():
        state = states[n]
        units = np.clip(margins(n) / state.scale, -cap, cap) if state.scale > 0 else np.zeros_like(bounds[n])
        introduced[n] = state._replace(offsets=np.where(new[n][:, np.newaxis], units, state.offsets))
    return introduced


def issue(states: Sequence[CalibrationState], issued: Issued) -> list[CalibrationState]:
    """Remember forecasts until they come true; a late answer takes the place of the earlier ones of its origin.

    Args:
        states: Of the workloads that they are for, in the order of their rows. Length N.
        issued: The forecasts. A workload of which no load was seen has no unit to learn in, and learns nothing.
    """
    followed: dict[tuple[Issued, ...], _Followed] = {}
    remembered = []
    for row, (state, scale) in enumerate(zip(states, issued.scales.tolist(), strict=True)):
        if scale <= 0:
            remembered.append(state)
            continue
        before, rows, weights = state.waiting
        after = followed.get(before)
        if after is None:
            after = followed[before] = _follow(before, issued)
        waiting = Waiting(after.issued, (*rows[: after.kept], row), (*weights[: after.kept], after.weight))
        remembered.append(state._replace(waiting=waiting))
    return remembered


class _Followed(NamedTuple):
    """Forecasts that wait with a new one as their last, the number of them that stay, and what the new one counts."""

    issued: tuple[Issued, ...]
    kept: int
    weight: float


def _follow(before: tuple[Issued, ...], issued: Issued) -> _Followed:
    replaces = bool(before) and (before[-1].origin, before[-1].step) == (issued.origin, issued.step)
    earlier = before[:-1] if replaces else before
    apart = (issued.origin - earlier[-1].origin) / PERIOD_OF_RATE if earlier else 1.0
    return _Followed((*earlier, issued), len(earlier), math.sqrt(min(max(apart, 0.0), 1.0)))


def censor(state: CalibrationState, sampled_at: datetime) -> CalibrationState:
    """Mark that the sample at this time was a lower bound: it can prove a forecast too low, never right."""
    before = [issued.origin for issued in state.waiting.issued if issued.origin < sampled_at]
    # An earlier such sample says all of it already; without this, a long outage would add one in every tick.
    if not before or any(before[-1] < at <= sampled_at for at in state.censored):
        return state
    return state._replace(censored=(*state.censored, sampled_at))


def _certain_steps(states: Sequence[CalibrationState]) -> npt.NDArray[np.int64]:
    """Count the steps of each forecast before the first sample that was a lower bound.

    Args:
        states: Of workloads that wait for the same forecasts. Length N.

    Returns:
        Shape (N, K).
    """
    waiting, length = states[0].waiting.issued, states[0].offsets.shape[1]
    certain = np.full((len(states), len(waiting)), length)
    for n, state in enumerate(states):
        for place, issued in enumerate(waiting if state.censored else ()):
            # A sample at origin + n * step ends step n, so n - 1 steps before it are certain.
            after = (-((issued.origin - at) // issued.step) - 1 for at in state.censored if at > issued.origin)
            certain[n, place] = max(0, min(after, default=length))
    return certain


def resolve(
    states: Sequence[CalibrationState],
    loads: FloatArray,
    *,
    end: datetime,
    step: timedelta,
    config: CalibrationConfig,
) -> list[CalibrationState]:
    """Learn from every window that is over, of every forecast issued; many workloads cost little more than one.

    Args:
        states: What was learned so far of each workload. Length N.
        loads: Of each, oldest first, NaN is missing. Shape (N, T).
        end: Time of the last sample of all loads.
        step: Their spacing; forecasts of another step cannot be held against it and are forgotten.
        config: Rate and cap.
    """
    return answer_alike(
        ((state.offsets.shape, state.learned_to, state.waiting.issued) for state in states),
        lambda rows: _resolve_alike([states[row] for row in rows], loads[rows], end=end, step=step, config=config),
    )


class _News(NamedTuple):
    """What became known of the forecasts of one origin.

    Attributes:
        place: Among those that the workloads wait for.
        steps: Whose windows are newly over; index h - 1.
        highest: Highest load seen within them. Shape (N, len(steps)).
        certain: Where that is all there was. Shape (N, len(steps)).
    """

    place: int
    steps: slice
    highest: FloatArray
    certain: npt.NDArray[np.bool_]


def _resolve_alike(
    states: Sequence[CalibrationState],
    loads: FloatArray,
    *,
    end: datetime,
    step: timedelta,
    config: CalibrationConfig,
) -> Iterator[CalibrationState]:
    """Do as `resolve` for workloads that wait for the same forecasts."""
    length, learned_to = states[0].offsets.shape[1], states[0].learned_to
    waiting = states[0].waiting.issued
    rows = np.array([state.waiting.rows for state in states], np.int64)  # (N, K)
    certain_steps = _certain_steps(states)
    seen = np.isfinite(loads)
    filled = np.where(seen, loads, -np.inf)
    news: list[_News] = []
    kept: list[int] = []
    for place, issued in enumerate(waiting):
        over = min(length, (end - issued.origin) // issued.step)
        before = max(0, (learned_to - issued.origin) // issued.step) if learned_to is not None else 0
        if over <= before and issued.step == step:
            kept.append(place)
            continue
        first = place_of(issued.origin, issued.step, loads.shape[1], end=end, step=step)
        if first is None:
            continue
        highest = np.maximum.accumulate(filled[:, first : first + over], axis=1)
        certain = np.logical_and.accumulate(seen[:, first : first + over], axis=1)
        certain &= np.arange(over) < certain_steps[:, place, np.newaxis]
        news.append(_News(place, slice(before, over), highest[:, before:], certain[:, before:]))
        if over < length:
            kept.append(place)
    # Forecasts at regular times have windows of different length to tell of, and then all of them move together.
    disjoint = all(later.steps.stop <= earlier.steps.start for earlier, later in itertools.pairwise(news))
    offsets = np.array([state.offsets for state in states])
    for group in [news] if disjoint and news else [[one] for one in news]:
        offsets = _track(offsets, states, rows, group, config)
    newest = end if learned_to is None else max(learned_to, end)
    left = tuple([waiting[place] for place in kept])
    oldest = min([end, *[issued.origin for issued in left]])
    for state, own in zip(states, offsets, strict=True):
        _, own_rows, own_weights = state.waiting
        still = Waiting(left, tuple([own_rows[place] for place in kept]), tuple([own_weights[place] for place in kept]))
        censored = tuple([at for at in state.censored if at > oldest])
        # A copy, because a view would keep what was learned of all the others.
        yield CalibrationState(state.level, own.copy(), state.scale, still, censored, newest)


def place_of(origin: datetime, own_step: timedelta, length: int, *, end: datetime, step: timedelta) -> int | None:
    """Give the place of a forecast's first step in a history; None where the two do not line up.

    Args:
        origin: Of the forecast.
        own_step: Of the forecast.
        length: Of the history.
        end: Time of its last sample.
        step: Of the history.
    """
    behind, remainder = divmod(end - origin, step)
    first = length - behind
    return None if own_step != step or remainder or first < 0 else first


def _track(
    offsets: FloatArray,
    states: Sequence[CalibrationState],
    rows: npt.NDArray[np.int64],
    news: Sequence[_News],
    config: CalibrationConfig,
) -> FloatArray:
    """Move the offset at each h whose window is newly over by forecasts that came true.

    A missing or censored step may hide any load: until it is known that the rest of the window already exceeds the
    bound, the forecast counts neither as a hit nor as a miss.

    Args:
        offsets: As they stand. Shape (N, S, H).
        states: Who waits for the forecasts, at which level. Length N.
        rows: Of the workloads in what they wait for. Shape (N, K).
        news: No two of them of the same h.
        config: Rate and cap.
    """
    at = np.concatenate([np.arange(one.steps.start, one.steps.stop) for one in news])  # (M,)
    issued = [states[0].waiting.issued[one.place] for one in news]
    own = [rows[:, one.place] for one in news]
    bounds = np.concatenate(
        [of.bounds[row, :, one.steps] for one, of, row in zip(news, issued, own, strict=True)], axis=2
    )  # (N, S, M)
    widths = [one.steps.stop - one.steps.start for one in news]
    scales = np.stack([of.scales[row] for of, row in zip(issued, own, strict=True)], axis=1)
    weights = np.array([state.waiting.weights for state in states])[:, [one.place for one in news]]
    scales, weights = (np.repeat(each, widths, axis=1)[:, np.newaxis] for each in (scales, weights))  # (N, 1, M)
    highest = np.concatenate([one.highest for one in news], axis=1)[:, np.newaxis]
    certain = np.concatenate([one.certain for one in news], axis=1)[:, np.newaxis]
    alpha = 1.0 - np.array([state.level for state in states])[:, np.newaxis, np.newaxis]
    earlier = offsets[:, :, at]
    # A comparison with NaN is false: who had no forecast did not miss.
    missed = (highest - bounds) / scales > earlier
    eta = config.calibration_rate * np.sqrt(ALPHA_OF_RATE / alpha) * weights
    cap = config.calibration_cap
    moved = np.clip(earlier + eta * (missed - alpha), -cap, cap)
    tracked = offsets.copy()
    tracked[:, :, at] = np.where((missed | certain) & np.isfinite(bounds), moved, earlier)
    return tracked
