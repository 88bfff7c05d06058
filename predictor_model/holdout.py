"""What of a user's load trains, what stops the training, and what judges it; the last is seen by nothing before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

import numpy as np

from predictor_model.baselines import DAY_SECONDS
from predictor_model.contract import CONTRACT
from predictor_model.features import HORIZON, IntArray
from predictor_model.traces import Skipped, Trace, coarsen

HOLDOUT_SHARE: Final = 0.2
VALIDATION_SHARE: Final = 0.1
# The holdout then has a whole day, and eight horizons: less tells nothing of how a model does.
MIN_DAYS: Final = 5
MIN_STEPS: Final = 1_200
MIN_FIT: Final = 3 * HORIZON  # samples of one series
BLOCKS: Final = 12  # of time, in the holdout; over 14 days each lasts 5.6 hours


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """One series, cut in time.

    Attributes:
        fit: Samples before this one train.
        holdout: Samples from this one on judge; those between stop the training.
        end: Where the holdout of all series recorded together ends, at or after the last sample.
    """

    trace: Trace
    fit: int
    holdout: int
    end: int

    @property
    def before(self) -> Trace:
        """What was recorded before the holdout."""
        return replace(self.trace, values=self.trace.values[: self.holdout])

    @property
    def validates(self) -> bool:
        """Whether enough was seen between training and holdout."""
        return int(np.isfinite(self.trace.values[self.fit : self.holdout]).sum()) > HORIZON

    @property
    def fit_share(self) -> float:
        """Share of `before` that trains."""
        return self.fit / self.holdout

    def blocks(self, origins: IntArray) -> IntArray:
        """Number of the block of time, one of `BLOCKS`, in which each origin lies. Shape (N,) in and out."""
        blocks: IntArray = (origins - self.holdout) * BLOCKS // (self.end - self.holdout)
        return blocks


@dataclass(frozen=True, slots=True)
class Split:
    """All series that can be used, and those that cannot."""

    histories: tuple[History, ...]
    skipped: tuple[Skipped, ...]


def needed_days(step_seconds: int) -> float:
    """Days of history without which nothing is trained."""
    return max(float(MIN_DAYS), MIN_STEPS * step_seconds / DAY_SECONDS)


def split_history(traces: Sequence[Trace]) -> Split:
    """Cut every series in time; those of one file at the same moments where they have a clock.

    What moves many services at once, a holiday or an outage, so lies on one side for all of them.
    """
    histories: list[History] = []
    skipped: list[Skipped] = []
    for trace, (begin, end) in _periods(traces):
        found = _history(trace, begin, end)
        if isinstance(found, History):
            histories.append(found)
        else:
            skipped.append(Skipped(trace.dataset, trace.name, found))
    return Split(tuple(histories), tuple(skipped))


def _periods(traces: Sequence[Trace]) -> Iterator[tuple[Trace, tuple[int, int]]]:
    """Each series, at a step that the contract accepts, with the time in which it was recorded."""
    for _, members in groupby(traces, key=lambda trace: trace.dataset):
        accepted = [coarsen(trace, -(-CONTRACT.min_step_seconds // trace.step_seconds)) for trace in members]
        clocked = [_period(trace) for trace in accepted if trace.has_clock]
        together = (min(begin for begin, _ in clocked), max(end for _, end in clocked)) if clocked else (0, 0)
        for trace in accepted:
            yield trace, together if trace.has_clock else _period(trace)


def _period(trace: Trace) -> tuple[int, int]:
    return trace.start, trace.start + len(trace.values) * trace.step_seconds


def _history(trace: Trace, begin: int, end: int) -> History | str:
    """Cut one series, or say why it cannot be used."""
    step, days = trace.step_seconds, (end - begin) / DAY_SECONDS
    if step > CONTRACT.max_step_seconds:
        return f"has a step of {step} s; at most {CONTRACT.max_step_seconds} s is accepted"
    if days < needed_days(step):
        return f"has {days:.1f} days of history; at a step of {step} s at least {needed_days(step):.1f} are needed"
    fit, holdout = (
        min(len(trace.values), int((end - share * (end - begin) - trace.start) // step))
        for share in (HOLDOUT_SHARE + VALIDATION_SHARE, HOLDOUT_SHARE)
    )
    seen = int(np.isfinite(trace.values[: max(0, fit)]).sum())
    if seen < MIN_FIT:
        return f"has {seen} samples before the newest 30 % of the time; {MIN_FIT} are needed"
    return History(trace, fit, holdout, max(holdout + 1, (end - trace.start) // step))
