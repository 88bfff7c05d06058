"""Backtests of cases that are alike: the verdict on the earlier part, every policy over the later one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, NamedTuple

import numpy as np

from scaler.backtest import simulate
from scaler.backtest.case import BacktestSettings, Case
from scaler.backtest.equal import Spot
from scaler.backtest.policies import FIXED_RATIOS, FLOORS, MULTIPLIERS, TARGETS, Point, Policy
from scaler.backtest.result import PolicyResult, SeriesResult, WorstHour
from scaler.backtest.simulate import HISTORY_SIZES, REACTIVE_TARGET, SMOOTHINGS, Ours, Setting
from scaler.backtest.stage import Outcome, Stage, stage_of
from scaler.backtest.verdict import Answer, Verdict, checked, decide
from scaler.domain import FloatArray
from scaler.replay.demand import TICK, IntArray, pods_needed
from scaler.replay.summary import time_label

RECOMMENDABLE: Final = (0.8, 0.85, 0.9, 0.95)
"""HPA targets that a verdict chooses from, beside the user's own."""
KPA_TARGET: Final = 0.7  # Knative's default
KPA_LEVELS: Final = (0.9, 0.98, 0.999)
NOT_ENOUGH: Final = (
    "Too little is known before the part that a verdict is checked on: a day with load is needed to decide on, "
    "and a day before it."
)
STAGES: Final = ("verdict", "HPA and AI-HPA", "KPA and AI-HPA", "PHPA", "other rivals")
"""What one call of `backtest` goes through, in order."""

_MINUTE: Final = timedelta(minutes=1) // TICK
_HOUR: Final = timedelta(hours=1) // TICK


class _Run(NamedTuple):
    """A policy over one case.

    Attributes:
        ready: Pods under its main setting, first seed, at each tick. Shape (n,).
    """

    result: PolicyResult
    ready: IntArray


def backtest(
    cases: Sequence[Case],
    settings: BacktestSettings,
    ours: Ours,
    *,
    progress: Callable[[str], None] = lambda stage: None,
) -> list[SeriesResult]:
    """Run every policy over cases of one shape.

    Args:
        cases: What is simulated together; each comes out as if it were alone.
        settings: Everything else.
        ours: Who forecasts, and how the controller is set.
        progress: Told each of `STAGES` once it is over.
    """
    # A verdict rests on one history, as a user has it, however many seeds it is then checked with.
    verdicts = _verdicts(stage_of(cases, replace(settings, seeds=settings.seeds[:1])), ours)
    stage = stage_of(cases, settings)
    progress(STAGES[0])
    runs: list[dict[Policy, _Run]] = [{} for _ in cases]
    # Generators: each is simulated when its turn comes.
    parts = (_over_hpa(stage, verdicts, ours), _over_kpa(stage, ours), _phpa(stage), _others(stage))
    for name, part in zip(STAGES[1:], parts, strict=True):
        for own, found in zip(runs, part, strict=True):
            own.update(found)
        progress(name)
    return [_result(stage, number, verdicts[number], own) for number, own in enumerate(runs)]


def _verdicts(stage: Stage, ours: Ours) -> list[Verdict]:
    """Decide on the earlier part."""
    settings = stage.settings
    if not stage.cases[0].can_decide:
        return [Verdict(Answer.NOT_ENOUGH_HISTORY, NOT_ENOUGH)] * len(stage.cases)
    targets = sorted({*RECOMMENDABLE, settings.hpa_target})
    alone = [Setting(target) for target in sorted({*TARGETS, settings.hpa_target})]
    floored = [Setting(target, settings.level) for target in targets]
    window = stage.deciding
    outcomes = iter(simulate.over_hpa(stage, [[*alone, *floored]] * len(stage.cases), window, ours))
    decided = []
    for number in range(len(stage.cases)):
        needed = stage.needed_pod_hours(number, window)
        spots = {setting: _spot(next(outcomes), needed) for setting in (*alone, *floored)}
        decided.append(
            decide(
                {setting.target: spots[setting] for setting in floored},
                {setting.target: spots[setting] for setting in alone},
                user_target=settings.hpa_target,
                length=len(window) * TICK,
            )
        )
    return decided


def _over_hpa(stage: Stage, verdicts: Sequence[Verdict], ours: Ours) -> Iterator[dict[Policy, _Run]]:
    """Run the HPA over its targets, AI-HPA over the user's HPA, and over its own path of levels and targets."""
    settings = stage.settings
    alone = [Setting(target) for target in sorted({*TARGETS, settings.hpa_target})]
    path = [Setting(target, level) for level, target in FLOORS]
    row_a = Setting(settings.hpa_target, settings.level)
    plans = []
    for verdict in verdicts:
        target = verdict.hpa_target if verdict.hpa_target is not None else REACTIVE_TARGET
        plans.append([*alone, row_a, Setting(target, settings.level), *path])
    outcomes = iter(simulate.over_hpa(stage, plans, stage.checking, ours))
    for plan in plans:
        found = [next(outcomes) for _ in plan]
        hpa, row, main, tuned = found[: len(alone)], found[len(alone)], found[len(alone) + 1], found[-len(path) :]
        yield {
            Policy.HPA: _run(
                hpa[alone.index(Setting(settings.hpa_target))],
                settings.hpa_target,
                zip([setting.target for setting in alone], hpa, strict=True),
            ),
            Policy.AI_HPA: _run(row, settings.hpa_target, [(settings.hpa_target, row)]),
            Policy.AI_HPA_TUNED: _floored(main, plan[len(alone) + 1], zip(path, tuned, strict=True)),
        }


def _over_kpa(stage: Stage, ours: Ours) -> Iterator[dict[Policy, _Run]]:
    alone = [Setting(target) for target in TARGETS]
    floored = [Setting(REACTIVE_TARGET, level) for level in KPA_LEVELS]
    main = Setting(KPA_TARGET, stage.settings.level)
    plan = [*alone, *floored, main]
    outcomes = iter(simulate.over_kpa(stage, [plan] * len(stage.cases), stage.checking, ours))
    for _ in stage.cases:
        found = dict(zip(plan, [next(outcomes) for _ in plan], strict=True))
        yield {
            Policy.KPA: _run(found[Setting(KPA_TARGET)], KPA_TARGET, ((s.target, found[s]) for s in alone)),
            Policy.AI_HPA_KPA: _run(
                found[main], stage.settings.level, ((setting.level, found[setting]) for setting in floored)
            ),
        }


def _phpa(stage: Stage) -> Iterator[dict[Policy, _Run]]:
    """Run both kinds, each over the targets of its HPA, with the parameters of its example and with others."""
    settings = stage.settings
    targets = sorted({*TARGETS, settings.hpa_target})
    linear = [simulate.LinearSetting(target, size) for size in HISTORY_SIZES for target in targets]
    smooth = [simulate.HoltWintersSetting(target, *three) for three in SMOOTHINGS for target in targets]
    window = stage.checking
    straight = iter(simulate.phpa_linear(stage, linear, window))
    seasonal = iter(simulate.phpa_holt_winters(stage, smooth, window))
    for _ in stage.cases:
        lines, seasons = [next(straight) for _ in linear], [next(seasonal) for _ in smooth]
        first = targets.index(settings.hpa_target)
        yield {
            Policy.PHPA_LINEAR: _run(
                lines[first], settings.hpa_target, ((s.target, o) for s, o in zip(linear, lines, strict=True))
            ),
            Policy.PHPA_HOLT_WINTERS: _run(
                seasons[first], settings.hpa_target, ((s.target, o) for s, o in zip(smooth, seasons, strict=True))
            ),
        }


def _others(stage: Stage) -> Iterator[dict[Policy, _Run]]:
    window = stage.checking
    weekly = iter(simulate.last_week(stage, MULTIPLIERS, window))
    counts = []
    for number, case in enumerate(stage.cases):
        mean = float(np.nanmean(pods_needed(stage.load(number, window), case.capacity)))
        before = float(np.nanmax(pods_needed(stage.load(number, range(window.start)), case.capacity)))
        wanted = np.round([before, *(ratio * mean for ratio in FIXED_RATIOS)]).astype(np.int64)
        counts.append(np.clip(wanted, case.min_replicas, case.max_replicas).tolist())
    steady = iter(simulate.fixed(stage, counts, window))
    best = iter(simulate.oracle(stage, window))
    for own in counts:
        weeks, fixed, oracle = [next(weekly) for _ in MULTIPLIERS], [next(steady) for _ in own], next(best)
        yield {
            Policy.LAST_WEEK: _run(weeks[MULTIPLIERS.index(1.0)], 1.0, zip(MULTIPLIERS, weeks, strict=True)),
            Policy.FIXED: _run(fixed[0], own[0], zip(own[1:], fixed[1:], strict=True)),
            Policy.ORACLE: _run(oracle, None, [(None, oracle)]),
        }


def _floored(main: Outcome, setting: Setting, sweep: Iterable[tuple[Setting, Outcome]]) -> _Run:
    """Put floors over HPAs together; their knob is the level."""
    points = tuple(Point(own.level, outcome.scores, own.target) for own, outcome in sweep)
    return _Run(PolicyResult(Point(setting.level, main.scores, setting.target), points), main.ready)


def _run(main: Outcome, knob: float | None, sweep: Iterable[tuple[float | None, Outcome]]) -> _Run:
    points = tuple(Point(value, outcome.scores) for value, outcome in sweep)
    return _Run(PolicyResult(Point(knob, main.scores), points), main.ready)


def _spot(outcome: Outcome, needed: float) -> Spot:
    return Spot(outcome.scores.pod_hours / needed, outcome.scores.under_time)


def _result(stage: Stage, number: int, verdict: Verdict, runs: Mapping[Policy, _Run]) -> SeriesResult:
    case, window = stage.cases[number], stage.checking
    result = SeriesResult(
        name=case.name,
        start=time_label(case.checked, has_clock=case.has_clock),
        days=(case.end - case.checked) / timedelta(days=1),
        decided_days=(case.checked - case.decided) / timedelta(days=1),
        capacity=case.capacity,
        min_replicas=case.min_replicas,
        max_replicas=case.max_replicas,
        needed_pod_hours=stage.needed_pod_hours(number, window),
        policies={policy: runs[policy].result for policy in Policy},
        verdict=verdict,
        worst_hours=_worst_hours(stage, number, runs),
        notes=case.notes,
    )
    main, before = (result.spot(result.policies[policy].main) for policy in (Policy.AI_HPA_TUNED, Policy.HPA))
    return replace(result, verdict=checked(verdict, main, result.spots(Policy.HPA), before, least=result.least))


def _worst_hours(stage: Stage, number: int, runs: Mapping[Policy, _Run]) -> dict[Policy, WorstHour]:
    """Find for each policy the hour in which it lacked the most pods; none where it never lacked any."""
    case, window = stage.cases[number], stage.checking
    needed = pods_needed(stage.load(number, window), case.capacity)
    hours = len(needed) // _HOUR
    cut = needed[: hours * _HOUR].reshape(hours, _HOUR)
    found = {}
    for policy, run in runs.items():
        lacking = np.nansum(np.maximum(cut - run.ready[: hours * _HOUR].reshape(hours, _HOUR), 0.0), axis=1)
        worst = int(lacking.argmax())
        if not lacking[worst]:
            continue
        part = slice(worst * _HOUR, (worst + 1) * _HOUR)
        found[policy] = WorstHour(
            start=time_label(case.checked + worst * _HOUR * TICK, has_clock=case.has_clock),
            needed=_minutes_needed(needed[part]),
            ready={
                other: tuple(run.ready[part].reshape(-1, _MINUTE).min(axis=1).tolist()) for other, run in runs.items()
            },
        )
    return found


def _minutes_needed(needed: FloatArray) -> tuple[int | None, ...]:
    highest = np.where(np.isnan(needed), -1.0, needed).reshape(-1, _MINUTE).max(axis=1)
    return tuple(None if math.isnan(value) or value < 0 else int(value) for value in highest.tolist())
