"""Whether prediction pays for a workload, decided on the earlier part of its history; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Final

from scaler.backtest.equal import Spot, under_time_at
from scaler.replay.demand import TICK
from scaler.replay.summary import short_time

CLEARLY_BETTER: Final = 0.9
"""Time short, over that of the best HPA at the same pod-hours: above, it may be luck."""
NOTICED: Final = timedelta(minutes=1)
"""A day. Less time short than that is nobody's reason to change anything."""
DEAREST: Final = 2.0
"""Pod-hours over those of the user's HPA, at most: pods that stand by for bursts that nobody can foresee do help, at
many times the price, and that is no forecast's merit."""


class Answer(StrEnum):
    """What to do about a workload."""

    ENABLE = "enable"
    KEEP_REACTIVE = "keep-reactive"
    NOT_ENOUGH_HISTORY = "not-enough-history"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer and its grounds.

    Attributes:
        why: In a sentence or two.
        hpa_target: Recommended; None where nothing is to be changed.
        held: Whether the later part agreed; None where nothing was decided, or neither was short there.
    """

    answer: Answer
    why: str
    hpa_target: float | None = None
    held: bool | None = None


def pays(ours: Spot, hpa: Sequence[Spot], *, least: float, margin: float = CLEARLY_BETTER) -> bool:
    """Whether a setting has less time short than any HPA would have at its price."""
    reached = under_time_at(hpa, ours.pod_hours_ratio, least=least)
    return reached is None or max(ours.under_time, least) < margin * reached


def decide(ours: Mapping[float, Spot], hpa: Mapping[float, Spot], *, user_target: float, length: timedelta) -> Verdict:
    """Decide on one part of a history.

    The HPA target is recommended that is cheapest while AI-HPA over it has no more time short than the user's HPA alone
    (or too little for anybody to notice). Enabling pays where that beats every HPA at the same pod-hours, and costs at
    most `DEAREST` times those of the user's.

    Args:
        ours: AI-HPA over HPAs, by their target; the user's among them.
        hpa: The HPA alone, by target; the user's among them.
        user_target: Of the HPA that is there now.
        length: Of the part.
    """
    least = TICK / length
    before = hpa[user_target]
    allowed = max(before.under_time, NOTICED / timedelta(days=1))
    good = {target: spot for target, spot in ours.items() if spot.under_time <= allowed}
    if not good:
        best = min(ours.values(), key=lambda spot: spot.under_time)
        return Verdict(
            Answer.KEEP_REACTIVE,
            f"AI-HPA would be short of pods for {_a_day(best)} a day, "
            f"the HPA at {user_target:.0%} is for {_a_day(before)}.",
        )
    target = min(good, key=lambda t: (good[t].pod_hours_ratio, -t))
    chosen = good[target]
    change = chosen.pod_hours_ratio / before.pod_hours_ratio - 1
    told = (
        f"Over an HPA at {target:.0%}, AI-HPA is short of pods for {_a_day(chosen)} a day, with {_percent(change)} "
        f"pod-hours; the HPA alone at {user_target:.0%} is for {_a_day(before)}"
    )
    if _too_dear(chosen, before):
        return Verdict(
            Answer.KEEP_REACTIVE,
            f"{told}. More than {DEAREST:g} times the pods is too dear: only pods that stand by meet bursts that "
            "nobody can foresee.",
        )
    if pays(chosen, list(hpa.values()), least=least):
        return Verdict(Answer.ENABLE, f"{told}, and no HPA does as well for as little.", target)
    return Verdict(Answer.KEEP_REACTIVE, f"{told}; another HPA target does about as well without forecasts.")


def checked(verdict: Verdict, ours: Spot, hpa: Sequence[Spot], before: Spot, *, least: float) -> Verdict:
    """Hold a verdict against the later part: would the other answer have been right?

    Args:
        verdict: Of the earlier part.
        ours: AI-HPA over the HPA that it recommends.
        hpa: The HPA alone.
        before: The user's HPA.
        least: One tick of the later part, as a share of time.
    """
    if verdict.answer is Answer.NOT_ENOUGH_HISTORY:
        return verdict
    reached = under_time_at(hpa, ours.pod_hours_ratio, least=least)
    if reached is not None and max(reached, ours.under_time) <= least:
        return verdict
    paid = pays(ours, hpa, least=least, margin=1.0) and not _too_dear(ours, before)
    return replace(verdict, held=paid == (verdict.answer is Answer.ENABLE))


def _too_dear(ours: Spot, before: Spot) -> bool:
    return ours.pod_hours_ratio > DEAREST * before.pod_hours_ratio


def _a_day(spot: Spot) -> str:
    return short_time(timedelta(days=spot.under_time))


def _percent(change: float) -> str:
    return f"{abs(change):.1%} {'more' if change >= 0 else 'fewer'}"
