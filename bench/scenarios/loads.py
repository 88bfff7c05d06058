"""Synthetic load for the scenarios: ordinary days, and what happens on the last of them; seeded.

Every load has one value a minute, in requests per second, each the mean over its minute. Nothing here was fitted to a
recorded trace.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

import numpy as np

from scaler.domain import FloatArray
from scaler.replay.demand import IntArray

STEP: Final = timedelta(minutes=1)
PEAK: Final = 1000.0  # requests per second in the busiest hour of a usual day

_DAY_SPREAD: Final = 0.05  # of a day's level around the usual one, as a logarithm
_DAY_SHIFT_HOURS: Final = 0.08  # by which people are early or late on a day
_NOISE: Final = 0.03  # of a minute around its day, as a logarithm
_NOISE_MINUTES: Final = 10.0  # over which the noise forgets itself


def wall_clock(start: datetime, steps: int, zone: tzinfo) -> FloatArray:
    """Tell the hours on the clock on the wall, counted on from the midnight before the start.

    Where the clock is put forward or back, the hours jump with it.

    Args:
        start: Begin of the first step, aware.
        steps: How many, each of `STEP`.
        zone: Whose clock it is.

    Returns:
        Hours at the begin of each step. Shape (steps,).
    """
    local = [(start.astimezone(UTC) + step * STEP).astimezone(zone).replace(tzinfo=UTC) for step in range(steps)]
    midnight = local[0].replace(hour=0, minute=0, second=0, microsecond=0)
    return np.array([(at - midnight) / timedelta(hours=1) for at in local])


def as_it_was(start: datetime, zone: tzinfo) -> tzinfo:
    """Give the zone's clock as it stood at a time, never put forward or back."""
    offset = zone.utcoffset(start.astimezone(zone).replace(tzinfo=None))
    return timezone(offset if offset is not None else timedelta(0))


def daily(clock: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Make days that are alike and never the same.

    A quiet night, a steep rise at a quarter past eight, a dip at noon, a fall at six, and a lower second peak in the
    evening. Each day has its own level and is a few minutes early or late; each minute has noise that outlasts it.

    Args:
        clock: As `wall_clock` tells it. Shape (n,).
        rng: Of the days and the noise.
    """
    day = np.floor(clock / 24.0).astype(np.int64) - int(np.floor(clock.min() / 24.0))
    days = int(day.max()) + 1
    level = np.exp(rng.normal(0.0, _DAY_SPREAD, days))[day]
    hour = clock % 24.0 + rng.normal(0.0, _DAY_SHIFT_HOURS, days)[day]
    work = _rise(hour, 8.25, 0.25) * (1.0 - _rise(hour, 18.0, 0.5))
    evening, lunch = 0.4 * _bump(hour, 20.5, 1.3), 0.12 * _bump(hour, 12.5, 0.6)
    return PEAK * level * (0.2 + 0.8 * np.maximum(work - lunch, evening)) * _noise(len(clock), rng)


def office_hours(clock: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Make days of a tool that people use now and then, from eight to six, and nobody at night but for two visits.

    In office hours sessions of 30 minutes on average and pauses of 40 take turns; a session has 20 requests a minute
    on average. The first one of a day begins within a few minutes of eight.

    Returns:
        Requests per second, 0 for most of the day. Shape (n,).
    """
    busy = np.zeros(len(clock), dtype=bool)
    for day in range(int(np.floor(clock.min() / 24.0)), int(np.floor(clock.max() / 24.0)) + 1):
        at = 24.0 * day + 8.0 + abs(rng.normal(0.0, 0.05))
        while at < 24.0 * day + 18.0:
            ends = at + max(rng.exponential(0.5), 0.05)
            busy |= (clock >= at) & (clock < ends)
            at = ends + rng.exponential(2.0 / 3.0)
        for visit in 24.0 * day + rng.uniform(0.0, 7.0, 2):
            busy |= (clock >= visit) & (clock < visit + 0.05)
    return np.where(busy, np.maximum(rng.poisson(20.0, len(clock)), 1) / 60.0, 0.0)


def flash_crowds(load: FloatArray, at: IntArray, factor: float) -> FloatArray:
    """Multiply the load from one minute to the next, for 20 minutes, and let it fade out over about as long.

    Args:
        load: Shape (n,).
        at: Minutes in which the crowds come.
        factor: Of the load while a crowd is there.
    """
    minutes = np.arange(len(load))
    crowd = np.zeros(len(load))
    for begin in at.tolist():
        since = minutes - begin
        crowd = np.maximum(crowd, np.where(since >= 0, np.exp(-np.maximum(since - 20, 0) / 10.0), 0.0))
    return load * (1.0 + (factor - 1.0) * crowd)


def level_shift(load: FloatArray, at: int, factor: float) -> FloatArray:
    """Multiply the load from one minute on, for good."""
    return load * np.where(np.arange(len(load)) >= at, factor, 1.0)


def upstream_outage(load: FloatArray, at: int, minutes: int, *, left: float = 0.01) -> FloatArray:
    """Let a share of the load through for some minutes, then all of it at once: whoever sends it was away."""
    minute = np.arange(len(load))
    return load * np.where((minute >= at) & (minute < at + minutes), left, 1.0)


def moments(rng: np.random.Generator, window: range, count: int, *, apart: int) -> IntArray:
    """Draw minutes that nobody can know, at least so far apart.

    Raises:
        ValueError: They do not fit in.
    """
    free = len(window) - (count - 1) * apart
    if free < 1:
        raise ValueError(f"{count} moments {apart} minutes apart need more than {len(window)} minutes")
    drawn: IntArray = window.start + np.sort(rng.integers(0, free, count)) + apart * np.arange(count)
    return drawn


def _rise(hour: FloatArray, at: float, width: float) -> FloatArray:
    """Rise from 0 to 1 around an hour."""
    risen: FloatArray = 1.0 / (1.0 + np.exp(-(hour - at) / width))
    return risen


def _bump(hour: FloatArray, at: float, width: float) -> FloatArray:
    bump: FloatArray = np.exp(-0.5 * ((hour - at) / width) ** 2)
    return bump


def _noise(steps: int, rng: np.random.Generator) -> FloatArray:
    """Factors around 1 whose logarithms are an AR(1) process. Shape (steps,)."""
    kept = np.exp(-1.0 / _NOISE_MINUTES)
    new = rng.normal(0.0, _NOISE * np.sqrt(1.0 - kept**2), steps)
    new[0] = rng.normal(0.0, _NOISE)
    value, values = 0.0, np.empty(steps)
    for step in range(steps):
        value = kept * value + new[step]
        values[step] = value
    return np.exp(values)
