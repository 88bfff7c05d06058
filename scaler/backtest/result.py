"""What a backtest hands over, as JSON and from it; plain values, no rendering."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from scaler.backtest.equal import GRID, Spot, best_of, ratio, under_time_at
from scaler.backtest.policies import RIVALS, Point, Policy
from scaler.backtest.verdict import Answer, Verdict
from scaler.replay.demand import TICK
from scaler.replay.scores import Scores


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """One policy over the scored part of one series.

    Attributes:
        main: As one would run it, untuned.
        sweep: Over its knob, ascending; once for each of its other parameters, where it has any.
    """

    main: Point
    sweep: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class WorstHour:
    """The hour in which a policy lacked the most pods, and what the others had then.

    Attributes:
        start: For a reader; the day counts from the trace's start where it has no time of day.
        needed: Most pods needed in each minute; None where the load is unknown.
        ready: Fewest ready pods in each minute, by policy.
    """

    start: str
    needed: tuple[int | None, ...]
    ready: Mapping[Policy, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class SeriesResult:
    """One series.

    Attributes:
        start: Of the scored part, for a reader as in `WorstHour`.
        days: That are scored.
        decided_days: That the verdict is decided on.
        needed_pod_hours: Sum of the pods needed over the scored part.
        worst_hours: By the policy whose hour it is.
        notes: What was done to the trace, in sentences.
    """

    name: str
    start: str
    days: float
    decided_days: float
    capacity: float
    min_replicas: int
    max_replicas: int
    needed_pod_hours: float
    policies: Mapping[Policy, PolicyResult]
    verdict: Verdict
    worst_hours: Mapping[Policy, WorstHour]
    notes: tuple[str, ...] = ()

    def spots(self, policy: Policy) -> list[Spot]:
        """The sweep of a policy as price and time short."""
        return [self.spot(point) for point in self.policies[policy].sweep]

    def spot(self, point: Point) -> Spot:
        """Price and time short of one setting."""
        return Spot(point.scores.pod_hours / self.needed_pod_hours, point.scores.under_time)

    @property
    def least(self) -> float:
        """One tick, as a share of the time scored."""
        return TICK / timedelta(days=self.days)

    def at_equal_pod_hours(self) -> dict[str, dict[str, float | None]]:
        """Time short at each price of the grid, by policy; None where a policy cannot be had for it."""
        swept = [policy for policy, result in self.policies.items() if len(result.sweep) > 1]
        return {
            f"{price:g}": {policy.value: under_time_at(self.spots(policy), price, least=self.least) for policy in swept}
            for price in GRID
        }

    def ratios(self, against: Policy | None, ours: Policy = Policy.AI_HPA_TUNED) -> list[float]:
        """Time short of a policy of ours over that of a rival at each price; None is the best rival."""
        given = []
        for reached in self.at_equal_pod_hours().values():
            if against is not None:
                theirs = reached.get(against.value)
            else:
                best = best_of({rival.value: reached.get(rival.value) for rival in RIVALS})
                theirs = best[1] if best is not None else None
            given.append(ratio(reached.get(ours.value), theirs))
        return given


def to_json(series: Sequence[SeriesResult], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Write in the shape that the project publishes."""
    return {"series": [_series_to_json(one) for one in series], "settings": dict(settings)}


def from_json(written: Mapping[str, Any]) -> tuple[list[SeriesResult], dict[str, Any]]:
    """Read what `to_json` wrote.

    Raises:
        ValueError: It is not that.
    """
    try:
        return [_series_from_json(one) for one in written["series"]], dict(written["settings"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"not the JSON of a backtest: {error!r}") from error


def _series_to_json(one: SeriesResult) -> dict[str, Any]:
    oracle = one.policies.get(Policy.ORACLE)
    over = oracle.main.scores.pod_hours if oracle is not None else None
    equal = one.at_equal_pod_hours() if one.policies else {}
    return {
        "name": one.name,
        "verdict": one.verdict.answer.value,
        "why": one.verdict.why,
        "recommended_hpa_target": one.verdict.hpa_target,
        "verdict_held": one.verdict.held,
        "start": one.start,
        "days": one.days,
        "decided_days": one.decided_days,
        "capacity": one.capacity,
        "min_replicas": one.min_replicas,
        "max_replicas": one.max_replicas,
        "needed_pod_hours": one.needed_pod_hours,
        "policies": {
            policy.value: {
                **dataclasses.asdict(result.main.scores),
                "pod_hours_over_oracle": result.main.scores.pod_hours / over if over else None,
                "knob": result.main.knob,
                "hpa_target": result.main.hpa_target,
                "sweep": [
                    {"knob": point.knob, "hpa_target": point.hpa_target, **dataclasses.asdict(point.scores)}
                    for point in result.sweep
                ],
            }
            for policy, result in one.policies.items()
        },
        "equal_pod_hours": equal,
        "worst_hours": {
            policy.value: {
                "start": hour.start,
                "needed": list(hour.needed),
                "ready": {other.value: list(pods) for other, pods in hour.ready.items()},
            }
            for policy, hour in one.worst_hours.items()
        },
        "notes": list(one.notes),
    }


def _series_from_json(written: Mapping[str, Any]) -> SeriesResult:
    return SeriesResult(
        name=str(written["name"]),
        start=str(written["start"]),
        days=float(written["days"]),
        decided_days=float(written["decided_days"]),
        capacity=float(written["capacity"]),
        min_replicas=int(written["min_replicas"]),
        max_replicas=int(written["max_replicas"]),
        needed_pod_hours=float(written["needed_pod_hours"]),
        policies={
            Policy(name): PolicyResult(_point(result), tuple(_point(point) for point in result["sweep"]))
            for name, result in written["policies"].items()
        },
        verdict=Verdict(
            Answer(written["verdict"]),
            str(written["why"]),
            _optional(written["recommended_hpa_target"]),
            written["verdict_held"],
        ),
        worst_hours={
            Policy(name): WorstHour(
                str(hour["start"]),
                tuple(None if pods is None else int(pods) for pods in hour["needed"]),
                {Policy(other): tuple(map(int, pods)) for other, pods in hour["ready"].items()},
            )
            for name, hour in written["worst_hours"].items()
        },
        notes=tuple(map(str, written["notes"])),
    )


def _point(written: Mapping[str, Any]) -> Point:
    scores = Scores(**{f.name: float(written[f.name]) for f in dataclasses.fields(Scores)})
    return Point(_optional(written["knob"]), scores, _optional(written["hpa_target"]))


def _optional(written: Any) -> float | None:
    return None if written is None else float(written)
