from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from scaler.domain import ForecastFailure, Reason
from scaler.replay.demand import TICK
from scaler.replay.oracle import clairvoyant
from scaler.replay.plan import ReplayPlan
from scaler.replay.result import Policy, ReplayResult, ReplaySettings
from scaler.replay.run import replay
from tests.replay.golden import Yesterday
from tests.unit.replay.conftest import WINDOW, daily_jump, plan_of

TICKS = WINDOW // TICK


def test_every_policy_has_every_tick_and_ai_hpa_decides_at_each(result: ReplayResult) -> None:
    assert {run.ready.shape for run in result.runs.values()} == {(TICKS,)}
    assert [decision.at for decision in result.decisions] == [result.start + tick * TICK for tick in range(TICKS)]
    assert result.duration == WINDOW


def test_the_same_seed_gives_the_same_replay(plan: ReplayPlan, settings: ReplaySettings, result: ReplayResult) -> None:
    again = replay(plan, settings, Yesterday())
    assert again.decisions == result.decisions
    assert all(np.array_equal(again.runs[policy].ready, run.ready) for policy, run in result.runs.items())
    other = replay(plan, replace(settings, seed=1), Yesterday())
    assert other.decisions != result.decisions


def test_the_oracle_is_never_short_and_no_policy_that_never_is_costs_less(result: ReplayResult) -> None:
    assert result.runs[Policy.ORACLE].scores.under_time == 0
    assert result.runs[Policy.ORACLE].scores.late_requests == 0
    assert result.pod_hours_over_oracle(Policy.ORACLE) == 1
    assert result.pod_hours_over_oracle(Policy.AI_HPA) > 1


def test_every_policy_meets_the_same_start_up_delays(result: ReplayResult, plan: ReplayPlan) -> None:
    delays = result.settings.start_up.draw(len(plan.trace.values) * 20, result.settings.seed)[-TICKS:]
    for policy in (Policy.HPA, Policy.AI_HPA):
        run = result.runs[policy]
        order = int(np.flatnonzero(np.diff(run.ordered) > 0)[0]) + 1
        added = int(run.ordered[order] - run.ordered[order - 1])
        ready_at = np.sort(order + delays[order, :added])
        until_first = range(order, int(ready_at[0]) + 1)
        expected = run.ready[order - 1] + np.searchsorted(ready_at, until_first, side="right")
        assert run.ready[order : ready_at[0] + 1].tolist() == expected.tolist()
    warm_up = 2  # ticks, for which the oracle orders earlier still
    ready, ordered = clairvoyant(
        result.needed, delays + warm_up, min_replicas=1, max_replicas=100, stabilization_window=timedelta(minutes=5)
    )
    assert np.array_equal(result.runs[Policy.ORACLE].ready, ready)
    assert np.array_equal(result.runs[Policy.ORACLE].ordered, ordered)


def test_a_daily_jump_is_met_by_forecast_and_missed_by_the_hpa(result: ReplayResult) -> None:
    # load triples within a step: the HPA at 70 % has room for 1.43 times
    hpa, ai_hpa = result.runs[Policy.HPA].scores, result.runs[Policy.AI_HPA].scores
    assert hpa.under_time > 0.01
    assert ai_hpa.under_time < hpa.under_time / 3  # the pods that pull their image come late


def test_floors_stay_within_the_bounds_and_reach_the_pods(result: ReplayResult) -> None:
    floors = np.array([decision.floor for decision in result.decisions])
    ordered = result.runs[Policy.AI_HPA].ordered
    assert floors.min() >= result.settings.min_replicas
    assert floors.max() <= result.settings.max_replicas
    assert (ordered[1:] >= floors[:-1]).all()  # the HPA reads a floor at its next sync
    assert [decision.ready_replicas for decision in result.decisions] == result.runs[Policy.AI_HPA].ready.tolist()


def test_a_forecast_counts_only_after_its_latency(plan: ReplayPlan, settings: ReplaySettings) -> None:
    slow = replay(plan, replace(settings, forecast_latency=timedelta(seconds=50)), Yesterday())
    first = next(decision for decision in slow.decisions if decision.forecast_source is not None)
    assert first.at - slow.start == 4 * TICK


def test_nothing_seen_comes_from_the_future(settings: ReplaySettings) -> None:
    trace = daily_jump()
    changed_step = len(trace.values) - 18
    changed = replace(trace, values=np.where(np.arange(len(trace.values)) < changed_step, trace.values, 1000.0))
    before, after = (replay(plan_of(some), settings, Yesterday()) for some in (trace, changed))
    # 18 steps of 36 lie before the change, 20 ticks each; its first step and the metric delay hide it for 24 more
    unseen = 18 * 20 + 24
    assert before.decisions[:unseen] == after.decisions[:unseen]
    assert before.decisions[unseen] != after.decisions[unseen]
    for policy in (Policy.HPA, Policy.AI_HPA):
        first, second = (some.runs[policy].ordered[:unseen] for some in (before, after))
        assert np.array_equal(first, second)


def test_without_the_model_yesterday_decides_and_the_failure_is_kept(
    plan: ReplayPlan, settings: ReplaySettings
) -> None:
    away = replay(plan, settings, Yesterday(answers=0))
    assert set(away.forecast_sources()) <= {"seasonal-day", "damped-trend", "none"}
    assert away.forecasts == ()
    assert away.decisions[-1].forecast_failure is ForecastFailure.TIMEOUT


def test_a_gap_is_not_scored_and_never_lowers_a_floor(settings: ReplaySettings) -> None:
    trace = daily_jump()
    trace.values[-12:-6] = np.nan
    gappy = replay(plan_of(trace), settings, Yesterday())
    assert gappy.runs[Policy.HPA].scores.scored_hours == pytest.approx(2.5)
    blind = [decision for decision in gappy.decisions if Reason.NO_METRICS in decision.reasons]
    assert blind
    assert all(decision.floor >= decision.previous_floor for decision in blind)


def test_progress_tells_simulated_time(plan: ReplayPlan, settings: ReplaySettings) -> None:
    told: list[datetime] = []
    replay(plan, settings, Yesterday(), progress=told.append)
    assert told == [plan.window_start + half * timedelta(minutes=30) for half in range(6)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"capacity": 0.0}, "capacity must be above 0", id="capacity"),
        pytest.param({"min_replicas": 0}, "1 <= min_replicas", id="no replicas"),
        pytest.param({"max_replicas": 0}, "min_replicas <= max_replicas", id="bounds crossed"),
        pytest.param({"hpa_target_ratio": 1.5}, "hpa_target_ratio must lie above 0 and at most at 1", id="target"),
    ],
)
def test_settings_name_what_is_wrong(settings: ReplaySettings, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(settings, **change)
