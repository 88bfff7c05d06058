"""The moments at which two policies differ, the worst first, with the decision that made the difference."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from scaler.domain import Decision
from scaler.replay.demand import TICK
from scaler.replay.result import Policy, ReplayResult

_JOIN_TICKS = timedelta(minutes=2) // TICK  # shortages this close are one moment to a reader


@dataclass(frozen=True, slots=True)
class Moment:
    """A stretch of time in which one policy was short of pods and the other was not.

    Attributes:
        first_tick, last_tick: The stretch, both inclusive.
        worst_tick: Where most pods were missing.
        short_time: Time within it in which only `short` was short.
        missing_pods: At the worst tick.
        pods: Ready pods of `short` and of `covered` at the worst tick.
        needed: Pods needed at the worst tick.
        decision: What AI-HPA decided that counted at the worst tick.
    """

    short: Policy
    covered: Policy
    first_tick: int
    last_tick: int
    worst_tick: int
    short_time: timedelta
    missing_pods: int
    pods: tuple[int, int]
    needed: int
    decision: Decision


def moments(result: ReplayResult, short: Policy, covered: Policy, *, limit: int) -> tuple[Moment, ...]:
    """Find the stretches in which `short` was short of pods and `covered` was not, by missing pod time.

    Args:
        result: A replay.
        short: Whose shortages are listed.
        covered: Who had enough pods at the same time.
        limit: How many to return at most.
    """
    missing = {
        policy: np.nan_to_num(np.maximum(result.needed - result.runs[policy].ready, 0.0)) for policy in (short, covered)
    }
    only_short = np.where(missing[covered] == 0, missing[short], 0.0)
    by_volume = sorted(_stretches(only_short > 0), key=lambda ends: -float(only_short[ends[0] : ends[1] + 1].sum()))
    return tuple(_moment(result, only_short, ends, short=short, covered=covered) for ends in by_volume[:limit])


def _stretches(active: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    at = np.flatnonzero(active)
    if not at.size:
        return []
    breaks = np.flatnonzero(np.diff(at) > _JOIN_TICKS)
    firsts, lasts = np.concatenate(([0], breaks + 1)), np.concatenate((breaks, [at.size - 1]))
    return list(zip(at[firsts].tolist(), at[lasts].tolist(), strict=True))


def _moment(
    result: ReplayResult,
    only_short: npt.NDArray[np.float64],
    ends: tuple[int, int],
    *,
    short: Policy,
    covered: Policy,
) -> Moment:
    first, last = ends
    within = only_short[first : last + 1]
    worst = first + int(within.argmax())
    return Moment(
        short=short,
        covered=covered,
        first_tick=first,
        last_tick=last,
        worst_tick=worst,
        short_time=int(np.count_nonzero(within)) * TICK,
        missing_pods=int(within.max()),
        pods=(int(result.runs[short].ready[worst]), int(result.runs[covered].ready[worst])),
        needed=int(result.needed[worst]),
        decision=_decision_that_counted(result.decisions, worst, ai_hpa_short=short is Policy.AI_HPA),
    )


def _decision_that_counted(decisions: tuple[Decision, ...], worst: int, *, ai_hpa_short: bool) -> Decision:
    """Pick the decision behind a moment.

    Where AI-HPA was short: the one a lead time before, the last that could have helped. Where it was not: the one
    that set the floor which stood at that time.
    """
    lead_time = decisions[worst].lead_time or timedelta(0)
    in_time = max(worst - lead_time // TICK, 0)
    if not ai_hpa_short:
        while in_time > 0 and decisions[in_time - 1].floor == decisions[in_time].floor:
            in_time -= 1
    return decisions[in_time]
