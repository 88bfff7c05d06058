"""From load windows to forecast requests: which times to ask for, and how to cut what came back; it fetches nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from scaler.domain import FloatArray, ForecastRequest, TargetKey

# Steps of a forecast and fewest samples that the model answers: contracts/forecast_v2.json, held equal by a test.
PREDICTION_LENGTH = 30
MIN_SAMPLES = 8
# Samples the model was trained to look back on; more brings nothing, fewer is accepted.
CONTEXT_LENGTH = 288
# Each step keeps 30 steps worth asking for: 30 minutes, an hour, two and a half.
STEPS = (timedelta(seconds=60), timedelta(seconds=120), timedelta(seconds=300))
SEASONS = (timedelta(days=1), timedelta(days=7))

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time to load: samples at start + step, ..., end."""

    start: datetime
    end: datetime


def choose_step(needed: timedelta) -> tuple[timedelta, bool]:
    """Take the smallest step whose forecast reaches `needed` ahead, else the widest.

    Returns:
        The step, and whether it reaches.
    """
    for step in STEPS:
        if PREDICTION_LENGTH * step >= needed:
            return step, True
    return STEPS[-1], False


def context_window(now: datetime, step: timedelta) -> Window:
    """Stretch of the context, ending on the last full step, so that every tick cuts the same steps."""
    end = now - (now - _EPOCH) % step
    return Window(end - CONTEXT_LENGTH * step, end)


def seasonal_window(context: Window, season: timedelta, step: timedelta) -> Window:
    """The context and the steps to forecast, one season earlier."""
    return Window(context.start - season, context.end + PREDICTION_LENGTH * step - season)


def forecast_request(
    key: TargetKey, load: FloatArray, seasonal_load: FloatArray, *, end: datetime, step: timedelta
) -> ForecastRequest | None:
    """Make a request whose origin is the newest sample, not the newest step.

    Args:
        key: Names the workload.
        load: The context, NaN is missing. Shape (T,).
        seasonal_load: Rows as `SEASONS`, NaN is unknown. Shape (2, T + H).
        end: Time of the last step of `load`, measured or not.
        step: Spacing of `load`.

    Returns:
        None where too few samples were seen for an answer.
    """
    (seen,) = np.nonzero(np.isfinite(load))
    if seen.size < MIN_SAMPLES:
        return None
    missing = len(load) - 1 - int(seen[-1])
    kept = len(load) - missing
    return ForecastRequest(
        key=key,
        origin=end - missing * step,
        step=step,
        load=load[:kept],
        seasonal_load=seasonal_load[:, : kept + PREDICTION_LENGTH],
    )
