from dataclasses import replace
from datetime import timedelta
from functools import cache

import numpy as np
import pytest

from scaler.backtest.case import BacktestSettings, Case
from scaler.backtest.forecaster import EVEN
from scaler.backtest.policies import FIXED_RATIOS, FLOORS, MULTIPLIERS, TARGETS, Policy
from scaler.backtest.result import SeriesResult
from scaler.backtest.run import KPA_LEVELS, NOT_ENOUGH, STAGES, backtest
from scaler.backtest.simulate import HISTORY_SIZES, REACTIVE_TARGET, SMOOTHINGS
from scaler.backtest.verdict import Answer
from scaler.replay.scores import Scores
from tests.unit.backtest.small import BY_LUCK, HOUR, NOISY, QUIET, HourBefore, case, hourly_jump, ours, steady

WEB = case(hourly_jump(3), start_up=BY_LUCK)
API = replace(
    case(hourly_jump(3, low=64.0, minute=40), name="api", has_clock=False, start_up=BY_LUCK), notes=("Averaged.",)
)
UNDECIDED = case(hourly_jump(3), decided=2 * HOUR, start_up=BY_LUCK)
OWN = replace(QUIET, hpa_target=0.62, miss_budget_ratio=0.03)


@cache
def run(cases: tuple[Case, ...], settings: BacktestSettings = NOISY) -> list[SeriesResult]:
    return backtest(cases, settings, ours())


def only(one: Case, settings: BacktestSettings = QUIET) -> SeriesResult:
    (found,) = run((one,), settings)
    return found


def test_two_cases_come_out_together_as_one_by_one() -> None:
    together = run((WEB, API))
    assert [one.name for one in together] == ["web", "api"]
    assert together == [only(WEB, NOISY), only(API, NOISY)]
    assert together[0].policies != together[1].policies


def test_one_load_with_several_start_ups_comes_out_as_one_by_one_and_is_asked_for_once() -> None:
    slow = replace(WEB, start_up=replace(BY_LUCK, median=timedelta(minutes=5)))
    forecaster = HourBefore()
    together = backtest([WEB, slow], NOISY, ours(forecaster))
    assert together == [only(WEB, NOISY), only(slow, NOISY)]
    assert together[0].policies != together[1].policies
    asked = [one for batch in forecaster.asked for one in batch if one.key.kind != EVEN]
    assert len(asked) == len({(one.origin, one.load.tobytes()) for one in asked})


def test_a_backtest_tells_how_far_it_is_and_is_the_same_again() -> None:
    told: list[str] = []
    forecaster = HourBefore()
    again = backtest([WEB], QUIET, ours(forecaster), progress=told.append)
    assert told == list(STAGES)
    assert again == [only(WEB)]
    # It was asked for the load and not for each lane: for every past once, in batches made even.
    assert {len(batch) % 2 for batch in forecaster.asked} == {0}
    asked = [one for batch in forecaster.asked for one in batch if one.key.kind != EVEN]
    assert len(asked) == len({(one.origin, one.load.tobytes()) for one in asked})


def test_a_series_says_what_it_was_scored_on() -> None:
    web, api = run((WEB, API))
    assert (web.start, api.start) == ("05 Jan 2026 02:00:00 UTC", "day 20459 02:00:00")
    assert [web.days, web.decided_days] == pytest.approx([1 / 24, 1 / 24])
    assert (web.capacity, web.min_replicas, web.max_replicas) == (10.0, 1, 50)
    assert (web.notes, api.notes) == ((), ("Averaged.",))
    # Four pods, for a quarter of each hour twelve.
    assert only(WEB).needed_pod_hours == pytest.approx(0.75 * 4 + 0.25 * 12)


def test_every_policy_has_its_main_setting_and_its_sweep() -> None:
    policies = only(WEB).policies
    assert set(policies) == set(Policy)
    assert {policy: result.main.knob for policy, result in policies.items()} == {
        Policy.HPA: 0.7,
        Policy.KPA: 0.7,
        Policy.PHPA_LINEAR: 0.7,
        Policy.PHPA_HOLT_WINTERS: 0.7,
        Policy.LAST_WEEK: 1.0,
        Policy.FIXED: 12,  # what the earlier peak needed
        Policy.AI_HPA: 0.7,
        Policy.AI_HPA_TUNED: 0.99,
        Policy.AI_HPA_KPA: 0.99,
        Policy.ORACLE: None,
    }
    mean = 6  # pods
    assert {policy: [point.knob for point in result.sweep] for policy, result in policies.items()} == {
        Policy.HPA: list(TARGETS),
        Policy.KPA: list(TARGETS),
        Policy.PHPA_LINEAR: list(TARGETS) * len(HISTORY_SIZES),
        Policy.PHPA_HOLT_WINTERS: list(TARGETS) * len(SMOOTHINGS),
        Policy.LAST_WEEK: list(MULTIPLIERS),
        Policy.FIXED: [round(ratio * mean) for ratio in FIXED_RATIOS],
        Policy.AI_HPA: [0.7],
        Policy.AI_HPA_TUNED: [level for level, _ in FLOORS],
        Policy.AI_HPA_KPA: list(KPA_LEVELS),
        Policy.ORACLE: [None],
    }


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(policy, id=policy)
        for policy in (Policy.HPA, Policy.KPA, Policy.PHPA_LINEAR, Policy.PHPA_HOLT_WINTERS, Policy.LAST_WEEK)
    ],
)
def test_the_main_setting_is_one_of_the_sweep(policy: Policy) -> None:
    result = only(WEB).policies[policy]
    assert next(point for point in result.sweep if point.knob == result.main.knob) == result.main


def scores(found: SeriesResult, policy: Policy) -> Scores:
    return found.policies[policy].main.scores


def test_lower_targets_and_more_pods_cost_more() -> None:
    policies = only(WEB).policies
    for policy in (Policy.HPA, Policy.KPA, Policy.FIXED):
        hours = [point.scores.pod_hours for point in policies[policy].sweep]
        assert hours == sorted(hours, reverse=policy is not Policy.FIXED)
        assert hours[0] != hours[-1]
    assert scores(only(WEB), Policy.FIXED).pod_hours == pytest.approx(12)
    assert scores(only(WEB), Policy.ORACLE).under_time == 0.0


def test_ai_hpa_beats_the_hpa_on_a_jump_that_comes_every_hour() -> None:
    found = only(WEB)
    assert scores(found, Policy.AI_HPA).under_time < scores(found, Policy.HPA).under_time / 3
    assert scores(found, Policy.AI_HPA_TUNED).pod_hours < scores(found, Policy.AI_HPA).pod_hours
    assert scores(found, Policy.AI_HPA_KPA).under_time <= scores(found, Policy.KPA).under_time


def test_the_verdict_enables_at_a_target_above_the_users_and_it_held() -> None:
    verdict = only(WEB).verdict
    assert (verdict.answer, verdict.held) == (Answer.ENABLE, True)
    assert verdict.hpa_target is not None
    assert verdict.hpa_target > QUIET.hpa_target


def test_a_steady_load_keeps_the_hpa_and_nobody_is_short() -> None:
    found = only(case(steady(3, 35.0), bounds=(1, 5)))
    assert (found.verdict.answer, found.verdict.hpa_target) == (Answer.KEEP_REACTIVE, None)
    # No HPA is as cheap as the one at 95 %, and that one was never short.
    assert found.verdict.held is None
    assert {scores(found, policy).under_time for policy in Policy} == {0.0}
    assert found.worst_hours == {}
    # No fixed count is beyond the maximum.
    assert [point.knob for point in found.policies[Policy.FIXED].sweep] == [min(round(r * 4), 5) for r in FIXED_RATIOS]


def test_without_a_part_to_decide_on_there_is_no_verdict_and_all_else() -> None:
    found = only(UNDECIDED, OWN)
    assert (found.verdict.answer, found.verdict.why) == (Answer.NOT_ENOUGH_HISTORY, NOT_ENOUGH)
    assert (found.verdict.hpa_target, found.verdict.held, found.decided_days) == (None, None, 0.0)
    assert set(found.policies) == set(Policy)
    # AI-HPA runs over the reactive target then, at the user's level.
    tuned = found.policies[Policy.AI_HPA_TUNED]
    assert (tuned.main.knob, tuned.main.hpa_target) == (OWN.level, REACTIVE_TARGET)


def test_further_seeds_check_a_verdict_and_do_not_decide_it() -> None:
    one, two = (only(WEB, replace(NOISY, seeds=seeds)) for seeds in ((3,), (3, 4)))
    assert one.verdict.why == two.verdict.why
    assert one.policies != two.policies


def test_the_verdict_knows_nothing_of_the_part_that_checks_it() -> None:
    calm = hourly_jump(3)
    calm[120:] = 35.0
    found = only(case(calm, start_up=BY_LUCK))
    assert replace(found.verdict, held=None) == replace(only(WEB).verdict, held=None)
    assert found.verdict.held is not True


def test_the_users_own_target_is_swept_as_well() -> None:
    found = only(UNDECIDED, OWN)
    assert [point.knob for point in found.policies[Policy.HPA].sweep] == sorted([*TARGETS, 0.62])
    assert found.policies[Policy.HPA].main.knob == found.policies[Policy.AI_HPA].main.knob == 0.62
    assert found.policies[Policy.PHPA_LINEAR].main.knob == 0.62
    assert found.policies[Policy.AI_HPA_TUNED].main.knob == found.policies[Policy.AI_HPA_KPA].main.knob == OWN.level
    for policy in (Policy.HPA, Policy.PHPA_LINEAR, Policy.PHPA_HOLT_WINTERS):
        result = found.policies[policy]
        assert result.main in result.sweep


def jump_in_the_second_hour() -> Case:
    """A little in the first hour, more in the second, and half an hour that is not a whole one."""
    load = steady(3.5, 35.0)
    load[60:90] = np.nan
    load[100:102] = 115.0
    load[150:170] = 115.0
    load[160] = np.nan
    return case(load, decided=HOUR, checked=HOUR, bounds=(5, 50))


GAPPY = jump_in_the_second_hour()


def test_fixed_counts_follow_the_mean_of_what_is_known_and_the_bounds() -> None:
    fixed = only(GAPPY).policies[Policy.FIXED]
    # Of 150 minutes 119 are known, 21 of them need twelve pods and the others four.
    mean = (21 * 12 + 98 * 4) / 119
    assert [point.knob for point in fixed.sweep] == [max(round(ratio * mean), 5) for ratio in FIXED_RATIOS]
    assert fixed.main.knob == 5  # four were enough before


def test_the_worst_hour_is_the_one_with_the_most_pods_lacking() -> None:
    found = only(GAPPY)
    hour = found.worst_hours[Policy.HPA]
    assert hour.start == "05 Jan 2026 02:00:00 UTC"
    assert hour.needed == (*[4] * 30, *[12] * 10, None, *[12] * 9, *[4] * 10)
    assert set(hour.ready) == set(Policy)
    assert hour.ready[Policy.FIXED] == (5,) * 60
    assert list(hour.ready[Policy.ORACLE][30:50]) == [12] * 20
    # Visible two minutes later and ready a minute after that; it may double in each tick. A minute shows its fewest.
    assert hour.ready[Policy.HPA][:33] == (5,) * 33
    assert hour.ready[Policy.HPA][33] == 10
    assert min(hour.ready[Policy.HPA][34:50]) >= 12
    assert Policy.ORACLE not in found.worst_hours


def test_the_price_of_a_setting_is_its_pod_hours_over_those_needed() -> None:
    found = only(WEB)
    fixed = found.policies[Policy.FIXED].main
    assert found.spot(fixed) == pytest.approx((2.0, 0.0))
