"""Backtests in words and sums: what AI-HPA changes on a series, and on all of them; no layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from scaler.backtest.equal import GRID, best_of
from scaler.backtest.policies import KNOBS, POLICY_NAMES, RIVALS, Point, Policy
from scaler.backtest.result import SeriesResult, WorstHour
from scaler.backtest.verdict import Answer
from scaler.replay.scores import Scores
from scaler.replay.summary import short_time

MONTH: Final = timedelta(days=30)
ROWS: Final = (Policy.AI_HPA, Policy.AI_HPA_TUNED)
"""Row A, over the same HPA, and row B, over the HPA that the verdict recommends."""
ANSWERS: Final = {
    Answer.ENABLE: "enable",
    Answer.KEEP_REACTIVE: "keep reactive",
    Answer.NOT_ENOUGH_HISTORY: "not enough history",
}

LABELS: Final = POLICY_NAMES | {
    Policy.AI_HPA: f"A: {POLICY_NAMES[Policy.AI_HPA]}",
    Policy.AI_HPA_TUNED: f"B: {POLICY_NAMES[Policy.AI_HPA_TUNED]}",
}
_RATIO_KNOBS: Final = (Policy.HPA, Policy.KPA, Policy.PHPA_LINEAR, Policy.PHPA_HOLT_WINTERS, Policy.AI_HPA)


class Change(NamedTuple):
    """AI-HPA against the HPA alone.

    Attributes:
        before: Time short of pods a day, of the HPA.
        after: Of AI-HPA.
        pod_hours: What AI-HPA takes more in 30 days; below 0 it saves them.
        pod_hours_ratio: The same over what the HPA takes.
    """

    before: timedelta
    after: timedelta
    pod_hours: float
    pod_hours_ratio: float


class Total(NamedTuple):
    """One choice for each series, together.

    Attributes:
        short: Time short of pods a day, mean over series.
        pod_hours: In 30 days, sum over series.
    """

    short: timedelta
    pod_hours: float


def change(one: SeriesResult, row: Policy) -> Change | None:
    """Hold one row against the HPA alone; None where one of the two was not run."""
    if row not in one.policies or Policy.HPA not in one.policies:
        return None
    hpa, ours = one.policies[Policy.HPA].main.scores, one.policies[row].main.scores
    more = a_month(ours) - a_month(hpa)
    return Change(a_day(hpa), a_day(ours), more, more / a_month(hpa))


def a_day(scores: Scores) -> timedelta:
    """Time short of pods in a day."""
    return timedelta(days=scores.under_time)


def a_month(scores: Scores) -> float:
    """Pod-hours in 30 days; what the trace does not know costs as much as the rest."""
    return scores.pod_hours / scores.scored_hours * (MONTH / timedelta(hours=1))


def comparable(series: Sequence[SeriesResult]) -> list[SeriesResult]:
    """The series on which the HPA alone and both rows of AI-HPA were run."""
    return [one for one in series if {Policy.HPA, *ROWS} <= one.policies.keys()]


def total(series: Sequence[SeriesResult], chosen: Callable[[SeriesResult], Policy]) -> Total | None:
    """Add up what one choice for each of the comparable series comes to; None where there are none."""
    scores = [one.policies[chosen(one)].main.scores for one in comparable(series)]
    if not scores:
        return None
    return Total(sum(map(a_day, scores), timedelta(0)) / len(scores), sum(map(a_month, scores)))


def as_told(one: SeriesResult) -> Policy:
    """Whoever decides about the pods once the verdict is followed."""
    return Policy.AI_HPA_TUNED if one.verdict.answer is Answer.ENABLE else Policy.HPA


def most_interesting_first(series: Sequence[SeriesResult]) -> list[SeriesResult]:
    """Order series: where AI-HPA loses, where the later part disagreed, what changes most; those not run last.

    It loses where row A, or row B where that is advised, is short for longer than the HPA alone.
    """

    def key(one: SeriesResult) -> tuple[int, float]:
        rows = ROWS if one.verdict.answer is Answer.ENABLE else ROWS[:1]
        changes = [found for row in rows if (found := change(one, row)) is not None]
        if not changes:
            return 3, 0.0
        lost = max((found.after - found.before).total_seconds() for found in changes)
        if lost > 0:
            return 0, -lost
        return (1, lost) if one.verdict.held is False else (2, lost)

    return sorted(series, key=key)


def in_words(series: Sequence[SeriesResult], *, price: float | None) -> str:
    """Say what the verdicts are, how often the later part agreed, and what following them comes to.

    Args:
        series: All of them.
        price: Of a pod-hour; None leaves money out.
    """
    return " ".join(filter(None, (_answers(series), _agreement(series), _followed(series, price))))


def _answers(series: Sequence[SeriesResult]) -> str:
    if len(series) == 1:
        (one,) = series
        return f"{ANSWERS[one.verdict.answer].capitalize()}. {one.verdict.why.removesuffix('.')}."
    enable, keep, unknown = (sum(one.verdict.answer is answer for one in series) for answer in Answer)
    return (
        f"By the earlier part of each history, enabling AI-HPA pays on {enable} of {len(series)} series, {keep} should "
        f"stay reactive, {unknown} {'has' if unknown == 1 else 'have'} not enough history."
    )


def _agreement(series: Sequence[SeriesResult]) -> str:
    checked = [one.verdict.held for one in series if one.verdict.held is not None]
    if not checked:
        return "Nothing could be checked on a later part."
    if len(series) == 1:
        return "The later part agreed." if checked[0] else "The later part disagreed."
    return f"The later part agreed with {sum(checked)} of {len(checked)} verdicts ({sum(checked) / len(checked):.0%})."


def _followed(series: Sequence[SeriesResult], price: float | None) -> str:
    before, after = total(series, lambda _: Policy.HPA), total(series, as_told)
    if before is None or after is None:
        return ""
    if all(as_told(one) is Policy.HPA for one in comparable(series)):
        return "Following the advice changes nothing."
    more = after.pod_hours - before.pod_hours
    spent = f"{abs(more):,.0f} pod-hours {'more' if more > 0 else 'fewer'} in 30 days ({more / before.pod_hours:+.1%})"
    if price is not None:
        spent += f", {abs(more) * price:,.2f} {'spent' if more > 0 else 'saved'} at {price:g} a pod-hour"
    count = len(comparable(series))
    mean = f", on average over {count} series" if count > 1 else ""
    return (
        f"Following the advice there comes to {spent}, and {short_time(after.short)} short of pods a day instead of "
        f"{short_time(before.short)}{mean}."
    )


def best_rival(one: SeriesResult) -> Policy | None:
    """Who besides the HPA has the least time short at equal pod-hours, at the middle price if any is had there."""
    reached_at = one.at_equal_pod_hours()
    for price in (GRID[1], GRID[2], GRID[0]):
        reached = reached_at[f"{price:g}"]
        best = best_of({rival.value: reached.get(rival.value) for rival in RIVALS if rival is not Policy.HPA})
        if best is not None:
            return Policy(best[0])
    return None


def missing(hour: WorstHour, policy: Policy) -> int:
    """Pod-minutes that a policy lacked, by each minute's most needed and fewest ready pods; unknown load needs none."""
    pairs = zip(hour.needed, hour.ready[policy], strict=True)
    return sum(max(needed - ready, 0) for needed, ready in pairs if needed is not None)


def knob_text(policy: Policy, point: Point) -> str:
    """Say what a policy's knob stands at; empty for a policy without one."""
    if point.knob is None or policy not in KNOBS:
        return ""
    if policy in _RATIO_KNOBS:
        return f"{KNOBS[policy]} {point.knob:.0%}"
    over = f" over an HPA at {point.hpa_target:.0%}" if point.hpa_target is not None else ""
    return f"{KNOBS[policy]} {point.knob:g}{over}"
