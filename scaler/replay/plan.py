"""Which part of a trace is replayed and which is only history, and what is done to it first; every change is said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from scaler.domain import FloatArray
from scaler.replay.demand import TICK
from scaler.replay.summary import in_days
from scaler.replay.traces import Trace, TraceError, resample

HISTORY: Final = timedelta(days=1)  # at least: the forecaster's day lag, and a p99 worth the name
MIN_WINDOW: Final = timedelta(days=1)
SHOWN_STEP: Final = timedelta(seconds=60)  # finer traces are averaged to this, the forecaster's smallest step
MAX_STEP: Final = timedelta(minutes=10)  # a coarser trace shows less than the lead times this is about
PODS_AT_P99: Final = 30


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """A trace made ready.

    Attributes:
        trace: At the step it is replayed with, history included.
        window_start: When the replay begins; what lies before is history.
        notes: What was done to the trace, in sentences.
    """

    trace: Trace
    window_start: datetime
    notes: tuple[str, ...]

    @property
    def history(self) -> FloatArray:
        """Values before the window."""
        return self.trace.values[: (self.window_start - self.trace.start) // self.trace.step]

    def default_capacity(self) -> float:
        """Load of one pod: p99 of the history over 30, so that busy times of the past needed 30 pods.

        Raises:
            TraceError: The history has no load above 0.
        """
        p99 = float(np.nanpercentile(self.history, 99)) if np.isfinite(self.history).any() else 0.0
        if p99 <= 0:
            raise TraceError(f"{self.trace.name}: no load above 0 before {self.window_start}; give the capacity")
        return p99 / PODS_AT_P99

    def default_max_replicas(self, capacity: float) -> int:
        """Three times the pods that the busiest step of the history needed."""
        peak = float(np.nanmax(self.history, initial=0.0))
        return max(3 * int(np.ceil(peak / capacity)), 3)


def plan_replay(trace: Trace, length: timedelta) -> ReplayPlan:
    """Take the newest part of a trace as the window, shorter than asked for where the trace is.

    Args:
        trace: As recorded.
        length: Of the window, at least a day.

    Raises:
        TraceError: The trace is too short, too coarse, or nothing is known in its window.
        ValueError: The window asked for is shorter than a day.
    """
    if length < MIN_WINDOW:
        raise ValueError(f"the window must be at least {in_days(MIN_WINDOW)}, got {in_days(length)}")
    if trace.step > MAX_STEP:
        raise TraceError(f"{trace.name}: step must be at most {MAX_STEP.total_seconds():g} s, got {trace.step}")
    notes = []
    shown = averaged(trace)
    if shown is not trace:
        notes.append(f"Averaged from {trace.step.total_seconds():g} s to {shown.step.total_seconds():g} s.")
    available = shown.end - shown.start - HISTORY
    if available < MIN_WINDOW:
        parts = f"{in_days(HISTORY)} of history and {in_days(MIN_WINDOW)} to replay"
        needed = f"{in_days(HISTORY + MIN_WINDOW)} are needed: {parts}"
        raise TraceError(f"{trace.name}: {in_days(shown.end - shown.start)} of load; at least {needed}")
    if available < length:
        notes.append(f"The trace allows for {in_days(available)} after a day of history, instead of {in_days(length)}.")
    steps = min(length, available) // shown.step
    window = shown.values[-steps:]
    missing = int(np.isnan(window).sum())
    if missing == steps:
        raise TraceError(f"{trace.name}: no value is known in the last {in_days(steps * shown.step)}")
    if missing:
        notes.append(
            f"{missing} of {steps} values are missing: no metrics in that time, and it is left out of every score."
        )
    if not trace.has_clock:
        notes.append("The trace has no time of day; days count from its start, and the model gets no calendar.")
    return ReplayPlan(trace=shown, window_start=shown.end - steps * shown.step, notes=tuple(notes))


def averaged(trace: Trace) -> Trace:
    """Average a trace that is finer than the step shown, by a whole multiple; any other is itself."""
    if trace.step >= SHOWN_STEP:
        return trace
    group = max(SHOWN_STEP // trace.step, -(-TICK // trace.step))
    return resample(trace, group * trace.step) if group > 1 else trace
