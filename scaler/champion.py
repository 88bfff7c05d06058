"""Whose forecasts serve a workload: the source whose forecasts have cost it least, in pods; pure.

The cost of a forecast is the pinball loss of the replicas that it asked for against those that were needed, at the
workload's own level. Costs are discounted over days, so that a workload that changes changes its champion. Sources are
not always there together (a week of history takes a week), so each is held against persistence, which always is, over
the windows that both spoke on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import compress
from typing import Annotated, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from scaler.bounded import Bounded, check_bounds
from scaler.calibration import SOURCES, place_of
from scaler.domain import Champion, ChampionReason, FloatArray, Source, Target
from scaler.policy import PolicyConfig, pods_for

_PERSISTENCE: Final = SOURCES.index(Source.PERSISTENCE)
# Of two sources that have cost nothing at all, neither is cheaper.
_NO_COST: Final = 1e-9
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ChampionConfig:
    """When another source takes over."""

    champion_margin_ratio: Annotated[
        float,
        Bounded(
            0.0,
            1.0,
            "Another source takes over where its forecasts have cost less by more than this share. Below, the two do "
            "about as well, and a change would only be one more change.",
        ),
    ] = 0.03
    champion_scored: Annotated[
        timedelta,
        Bounded(
            timedelta(hours=1),
            timedelta(days=7),
            "Time that a source's forecasts have to have been scored for before it may take over. A day: most loads "
            "have one, and half of one says little of the other half.",
        ),
    ] = _DAY
    champion_half_life: Annotated[
        timedelta,
        Bounded(
            timedelta(hours=1),
            timedelta(days=60),
            "Time after which a cost counts half. Longer than a night or a weekend, which say little of the days after "
            "them; short enough to follow a workload that changes for good.",
        ),
    ] = timedelta(days=4)

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_bounds(self)


_NOTHING: Final = np.zeros(len(SOURCES))
_NOTHING.flags.writeable = False


class Scores(NamedTuple):
    """What each source's forecasts have cost one workload.

    A named tuple, as one is made for each workload with each forecast; compared by identity alone.

    Attributes:
        costs: Discounted sum over windows. Shape (S,).
        references: The same of persistence, over the windows that each source spoke on. Shape (S,).
        seconds: Time that these windows speak for, discounted alike. Shape (S,).
        scored_at: Origin of the newest window scored; None before the first.
        champion: Who serves.
        since: When it took over; None where it has served from the start.
    """

    costs: FloatArray = _NOTHING
    references: FloatArray = _NOTHING
    seconds: FloatArray = _NOTHING
    scored_at: datetime | None = None
    champion: Source = Source.MODEL
    since: datetime | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Forecasts of one origin, by the windows that decisions on them look at; made together for many workloads.

    Attributes:
        steps: Length of each workload's window. Length N.
        peaks: Highest load that each source, offset included, expected within it. Shape (N, S).
    """

    origin: datetime
    step: timedelta
    steps: tuple[int, ...]
    peaks: FloatArray


class Pending(NamedTuple):
    """One workload's forecasts, until the window that a decision on them looks at is over."""

    judged: Judged
    row: int

    @property
    def end(self) -> datetime:
        """End of the window."""
        return self.judged.origin + self.judged.steps[self.row] * self.judged.step


class Outcome(NamedTuple):
    """What came of the window that a decision looked at.

    Attributes:
        origin: Of the forecasts.
        highest: Load that came, unit of the load.
        peaks: What each source expected at most, as in `Judged`. Shape (S,).
    """

    origin: datetime
    highest: float
    peaks: FloatArray


def await_outcome(pending: tuple[Pending, ...], judged: Judged, row: int) -> tuple[Pending, ...]:
    """Remember a forecast until its window is over; a late answer takes the place of the earlier one of its origin."""
    earlier = pending
    if pending and (pending[-1].judged.origin, pending[-1].judged.step) == (judged.origin, judged.step):
        earlier = pending[:-1]
    return (*earlier, Pending(judged, row))


def resolve(
    pending: tuple[Pending, ...],
    load: FloatArray,
    *,
    end: datetime,
    step: timedelta,
    censored: Sequence[datetime] = (),
) -> tuple[tuple[Pending, ...], list[Outcome]]:
    """See what came of those windows that are over.

    Args:
        pending: Of one workload, oldest first.
        load: Oldest first, NaN is missing. Shape (T,).
        end: Time of the last sample.
        step: Their spacing; forecasts of another step cannot be held against it.
        censored: Times of samples that were only lower bounds.

    Returns:
        What is still to come, and what came of those that were seen whole.
    """
    left, outcomes = [], []
    for one in pending:
        if one.end > end:
            left.append(one)
            continue
        judged = one.judged
        first = place_of(judged.origin, judged.step, len(load), end=end, step=step)
        if first is None or any(judged.origin < at <= one.end for at in censored):
            continue
        highest = float(load[first : first + judged.steps[one.row]].max())
        if math.isfinite(highest):  # a gap may hide anything
            outcomes.append(Outcome(judged.origin, highest, judged.peaks[one.row]))
    return tuple(left), outcomes


def score(
    scores: Sequence[Scores],
    outcomes: Sequence[Sequence[Outcome]],
    *,
    targets: Sequence[Target],
    config: ChampionConfig,
    policy: PolicyConfig,
    period: timedelta,
) -> list[Scores]:
    """Take what came of some windows into account; many workloads cost little more than one.

    Args:
        scores: Of each workload as they stand. Length N.
        outcomes: Of each, windows that are over, in order of their origins. Length N.
        targets: Their bounds, capacities and levels are what a window is judged by. Length N.
        config: How long a cost counts.
        policy: How load becomes replicas.
        period: Time between two forecasts, which is what a window speaks for.
    """
    scored = list(scores)
    for nth in range(max(map(len, outcomes), default=0)):
        rows = [row for row, own in enumerate(outcomes) if len(own) > nth]
        told = [outcomes[row][nth] for row in rows]
        costs = _costs(told, [targets[row] for row in rows], policy)
        heard = np.isfinite(costs[:, _PERSISTENCE]).tolist()
        rows, told = list(compress(rows, heard)), list(compress(told, heard))
        if rows:
            added = _scored([scored[row] for row in rows], told, costs[heard], config, period)
            for row, own in zip(rows, added, strict=True):
                scored[row] = own
    return scored


def _scored(
    scores: Sequence[Scores],
    outcomes: Sequence[Outcome],
    costs: FloatArray,
    config: ChampionConfig,
    period: timedelta,
) -> Iterator[Scores]:
    """Add what one window of each workload has cost; costs of shape (N, S)."""
    passed = [
        max(outcome.origin - own.scored_at, timedelta(0)) if own.scored_at is not None else timedelta(0)
        for own, outcome in zip(scores, outcomes, strict=True)
    ]
    kept = np.array([[0.5 ** (time / config.champion_half_life)] for time in passed])
    speaks_for = np.array([[min(time, period).total_seconds()] for time in passed])
    spoke = np.isfinite(costs)
    added = (costs, costs[:, _PERSISTENCE, np.newaxis], speaks_for)
    sums = [
        kept * np.array(own) + np.where(spoke, more, 0.0)
        for own, more in zip(zip(*(own[:3] for own in scores), strict=True), added, strict=True)
    ]
    for own, outcome, *row in zip(scores, outcomes, *sums, strict=True):
        # Copies, because views would keep the sums of all the others.
        spent, references, seconds = (each.copy() for each in row)
        yield Scores(spent, references, seconds, outcome.origin, own.champion, own.since)


def _ratios(costs: FloatArray, references: FloatArray, seconds: FloatArray) -> FloatArray:
    """Cost of each source over that of persistence; NaN where none was scored. Any shape."""
    ratios: FloatArray = np.where(seconds > 0, (costs + _NO_COST) / (references + _NO_COST), np.nan)
    return ratios


def crown(scores: Sequence[Scores], config: ChampionConfig, now: datetime) -> list[tuple[Scores, Champion]]:
    """Say of each workload who serves from now on, and why."""
    costs, references, seconds = (np.array(each) for each in zip(*(own[:3] for own in scores), strict=True))
    ratios = _ratios(costs, references, seconds)  # (N, S)
    proven = seconds >= config.champion_scored.total_seconds()
    best = np.argmin(np.where(proven, ratios, np.inf), axis=1)
    rows = zip(scores, ratios.tolist(), proven.tolist(), best.tolist(), strict=True)
    return [_crowned(*row, config, now) for row in rows]


def _crowned(
    scores: Scores, ratios: Sequence[float], proven: Sequence[bool], best: int, config: ChampionConfig, now: datetime
) -> tuple[Scores, Champion]:
    champion = SOURCES.index(scores.champion)
    reason = ChampionReason.TOO_FEW_SCORES
    if proven[champion] and sum(proven) > 1:
        if ratios[best] < (1.0 - config.champion_margin_ratio) * ratios[champion]:
            scores, champion = scores._replace(champion=SOURCES[best], since=now), best
        cheapest = ratios[champion] <= ratios[best]
        reason = ChampionReason.CHEAPEST if cheapest else ChampionReason.WITHIN_MARGIN
    known = {
        source.value: round(ratio, 4) for source, ratio in zip(SOURCES, ratios, strict=True) if math.isfinite(ratio)
    }
    days = round(float(scores.seconds[champion]) / _DAY.total_seconds(), 3)
    return scores, Champion(scores.champion, reason, scores.since, known, days)


def next_best(scores: Scores, available: npt.NDArray[np.bool_], config: ChampionConfig) -> Source | None:
    """Give who serves while the champion cannot: the cheapest of the proven ones, else the first; None where nobody.

    Args:
        scores: As they stand.
        available: Who has a forecast now. Shape (S,).
        config: Who is proven.
    """
    if not available.any():
        return None
    proven = available & (scores.seconds >= config.champion_scored.total_seconds())
    ratios = np.where(proven, _ratios(scores.costs, scores.references, scores.seconds), np.inf)
    return SOURCES[int(np.argmin(ratios)) if proven.any() else int(np.argmax(available))]


def _costs(outcomes: Sequence[Outcome], targets: Sequence[Target], policy: PolicyConfig) -> FloatArray:
    """Pinball loss of the replicas asked for, at each workload's level; NaN for who had no forecast. Shape (N, S)."""
    asked = pods_for(np.array([outcome.peaks for outcome in outcomes]), targets, policy)
    needed = pods_for(np.array([[outcome.highest] for outcome in outcomes]), targets, policy)
    level = np.array([[target.level] for target in targets])
    short = needed - asked
    return np.maximum(level * short, (level - 1.0) * short)
