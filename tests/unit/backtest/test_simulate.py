from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from scaler.backtest import simulate
from scaler.backtest.case import BacktestSettings, Case
from scaler.backtest.simulate import HoltWintersSetting, LinearSetting, Ours, Setting
from scaler.backtest.stage import Outcome, Stage, stage_of
from scaler.domain import FloatArray
from scaler.forecast_cycle import ForecastCycleConfig
from scaler.replay.demand import TICK, pods_needed
from scaler.replay.physics import Physics
from tests.unit.backtest.small import BY_LUCK, HOUR, NOISY, PUNCTUAL, QUIET, HourBefore, case, hourly_jump, ours, steady
from tests.unit.replay.simulated import MINUTE

FORECAST_PERIOD = ForecastCycleConfig().forecast_period

Policy = Callable[[Stage, range], list[Outcome]]


POLICIES: dict[str, Policy] = {
    "hpa": lambda stage, window: simulate.over_hpa(stage, [[Setting(0.7)]] * len(stage.cases), window, None),
    "ai-hpa": lambda stage, window: simulate.over_hpa(stage, [[Setting(0.7, 0.95)]] * len(stage.cases), window, ours()),
    "kpa": lambda stage, window: simulate.over_kpa(stage, [[Setting(0.7)]] * len(stage.cases), window, None),
    "ai-hpa+kpa": lambda stage, window: simulate.over_kpa(
        stage, [[Setting(0.7, 0.95)]] * len(stage.cases), window, ours()
    ),
    "last-week": lambda stage, window: simulate.last_week(stage, [1.0], window),
    "phpa-linear": lambda stage, window: simulate.phpa_linear(stage, [LinearSetting(0.7, 6)], window),
    "phpa-holt-winters": lambda stage, window: simulate.phpa_holt_winters(
        stage, [HoltWintersSetting(0.7, 0.3, 0.02, 0.3)], window
    ),
    "fixed": lambda stage, window: simulate.fixed(stage, [[10]] * len(stage.cases), window),
    "oracle": simulate.oracle,
}
every_policy = pytest.mark.parametrize("policy", [pytest.param(run, id=name) for name, run in POLICIES.items()])


def stage(*cases: Case, settings: BacktestSettings = QUIET) -> Stage:
    return stage_of(cases, settings)


@pytest.mark.parametrize(
    ("policy", "pods"),
    [
        pytest.param("hpa", 10, id="hpa: seven of load to a pod"),
        pytest.param("kpa", 10, id="kpa: seven of load to a pod"),
        pytest.param("phpa-linear", 10, id="phpa-linear: seven of load to a pod"),
        pytest.param("phpa-holt-winters", 10, id="phpa-holt-winters: seven of load to a pod"),
        pytest.param("last-week", 8, id="last-week: nine to a pod, nothing known of last week"),
        pytest.param("ai-hpa", 10, id="ai-hpa: its floor is below the pods of the hpa"),
        pytest.param("ai-hpa+kpa", 10, id="ai-hpa+kpa: its floor is below the pods of the kpa"),
        pytest.param("fixed", 10, id="fixed: as many as said"),
        pytest.param("oracle", 7, id="oracle: no more than needed"),
    ],
)
def test_a_steady_load_needs_no_action_and_costs_its_pods(policy: str, pods: int) -> None:
    steadily = stage(case(steady(4, 70.0)))
    (found,) = POLICIES[policy](steadily, steadily.checking)
    assert found.scores.scale_actions == 0
    assert found.scores.under_time == 0.0
    assert found.scores.late_requests == 0.0
    assert found.scores.pod_hours == pytest.approx(2 * pods, rel=1e-3)
    assert set(found.ready.tolist()) == {pods}
    assert len(found.ready) == len(steadily.checking)


@every_policy
def test_a_case_comes_out_alone_as_it_does_among_others_and_other_seeds(policy: Policy) -> None:
    jumps = ((64.0, 32), (35.0, 20), (12.0, 44))
    cases = [case(hourly_jump(3, low=low, minute=minute), start_up=BY_LUCK) for low, minute in jumps]
    cases[1].values[100:110] = np.nan
    cases[2] = replace(cases[2], capacity=4.0, min_replicas=2, max_replicas=20)
    together = stage(*cases, settings=NOISY)
    found = policy(together, together.checking)
    for one, expected in zip(cases[1:], found[1:], strict=True):
        (alone,) = policy(stage(one, settings=NOISY), together.checking)
        assert alone.scores == expected.scores
        assert np.array_equal(alone.ready, expected.ready)
    (luckier,) = policy(stage(cases[2], settings=replace(NOISY, seeds=(0, 5))), together.checking)
    assert np.array_equal(luckier.ready, found[2].ready)
    assert luckier.scores != found[2].scores


@pytest.mark.parametrize("policy", [pytest.param(run, id=name) for name, run in POLICIES.items() if name != "oracle"])
def test_nobody_but_the_oracle_knows_the_future(policy: Policy) -> None:
    load = hourly_jump(3)
    other = load.copy()
    other[150:] = 300.0
    one, two = stage(case(load)), stage(case(other))
    before, after = (policy(some, one.checking)[0].ready for some in (one, two))
    unseen = 30 * 4  # half an hour into the part that is scored
    assert np.array_equal(before[:unseen], after[:unseen])
    assert np.array_equal(before, after) is (policy is POLICIES["fixed"])


def test_lanes_without_a_level_are_the_hpa_without_ai_hpa_beside_them() -> None:
    jumpy = stage(case(hourly_jump(3), start_up=BY_LUCK), settings=NOISY)
    for run in (simulate.over_hpa, simulate.over_kpa):
        alone = run(jumpy, [[Setting(0.7), Setting(0.9)]], jumpy.checking, ours())
        beside = run(jumpy, [[Setting(0.7), Setting(0.9, 0.95), Setting(0.9)]], jumpy.checking, ours())
        assert [outcome.scores for outcome in alone] == [beside[0].scores, beside[2].scores]
        assert beside[1].scores != beside[2].scores


def test_a_floor_has_learned_alone_what_it_has_beside_others_over_the_same_load() -> None:
    jumpy = stage(case(hourly_jump(6), decided=4 * HOUR, checked=5 * HOUR, start_up=BY_LUCK), settings=NOISY)
    settings = [Setting(0.9, 0.5), Setting(0.9, 0.99), Setting(0.8, 0.99)]
    for run in (simulate.over_hpa, simulate.over_kpa):
        beside = run(jumpy, [settings], jumpy.checking, ours())
        assert len({outcome.scores for outcome in beside}) == 3
        for setting, expected in zip(settings, beside, strict=True):
            (alone,) = run(jumpy, [[setting]], jumpy.checking, ours())
            assert alone.scores == expected.scores


def in_turn(forecaster: HourBefore) -> Ours:
    """AI-HPA that asks for each forecast when a controller does."""
    return replace(ours(forecaster), asked_ahead=0)


def test_ai_hpa_has_learned_before_it_leads_and_meets_what_the_autoscaler_misses() -> None:
    jumpy = stage(case(hourly_jump(6), decided=4 * HOUR, checked=5 * HOUR))
    for run in (simulate.over_hpa, simulate.over_kpa):
        forecaster = HourBefore()
        alone, floored = run(jumpy, [[Setting(0.9), Setting(0.9, 0.95)]], jumpy.checking, in_turn(forecaster))
        assert alone.scores.under_time > 0.01
        assert floored.scores.under_time < alone.scores.under_time / 5
        assert floored.scores.pod_hours > alone.scores.pod_hours
        learning = [batch[0].origin for batch in forecaster.asked]
        assert min(learning) < jumpy.cases[0].start + 2 * HOUR
        assert max(learning) < jumpy.cases[0].end
        # Every answer was heard in time, so that it was asked for once in each period of the hour.
        assert sum(at > jumpy.cases[0].checked - 2 * MINUTE for at in learning) == HOUR // FORECAST_PERIOD


def test_a_queue_of_long_requests_looks_like_less_load_to_a_kpa() -> None:
    waking = stage(case(np.where(hourly_jump(3) > 100, 30.0, 0.0), bounds=(0, 50)))
    most = []
    for seconds in (1, 30):
        time = timedelta(seconds=seconds)
        (found,) = simulate.over_kpa(waking, [[Setting(0.7)]], waking.checking, None, request_time=time)
        most.append(found.ready.max())
    # Requests of 30 s that have waited for a minute are two pods' worth and not sixty.
    assert most[0] > 2 * most[1]
    assert most[1] >= 5  # 30 / 7


def test_shadow_mode_before_the_window_moves_no_pods() -> None:
    # The window begins two minutes after a jump: floors would have brought pods by now, and the HPA has just seen it.
    jumpy = stage(case(hourly_jump(3)))
    (found,) = simulate.over_hpa(jumpy, [[Setting(0.7, 0.95)]], range(480 + 88, 480 + 92), ours())
    assert found.ready[0] == 5


def test_ai_hpa_learns_from_up_to_a_week_and_watches_every_tick_of_the_last_day() -> None:
    load = hourly_jump(27)
    load[:30] = np.nan
    long = stage(case(load, decided=26.5 * HOUR, checked=26.5 * HOUR))
    forecaster = HourBefore()
    simulate.over_hpa(long, [[Setting(0.7, 0.95)]], long.checking, in_turn(forecaster))
    begin = long.cases[0].start + 0.5 * HOUR
    asked = [batch[0].origin for batch in forecaster.asked]
    assert begin < asked[0] < begin + 0.5 * HOUR  # as soon as there is a past long enough to ask about
    assert asked == sorted(asked)
    periods = np.diff([at.timestamp() for at in asked])
    assert set(periods.tolist()) <= {60.0, 300.0}  # a new leader asks at once
    assert (asked[-1] - asked[0]) / HOUR == pytest.approx(26.0, abs=0.6)


@pytest.mark.parametrize(
    "warm_up", [pytest.param(timedelta(0), id="at once"), pytest.param(timedelta(seconds=45), id="warming up")]
)
def test_the_oracle_is_never_short_and_nothing_is_late_where_its_maximum_allows(warm_up: timedelta) -> None:
    jumpy = stage(case(hourly_jump(4), start_up=BY_LUCK), settings=replace(NOISY, physics=Physics(warm_up=warm_up)))
    (found,) = simulate.oracle(jumpy, jumpy.checking)
    assert found.scores.under_time == found.scores.late_requests == 0.0
    needed = pods_needed(jumpy.load(0, jumpy.checking), 10.0)
    assert (found.ready >= needed).all()
    assert found.scores.pod_hours >= jumpy.needed_pod_hours(0, jumpy.checking)


@pytest.mark.parametrize("warm_up", [pytest.param(0.0, id="at once"), pytest.param(0.7, id="warming up")])
def test_the_oracle_pays_for_pods_that_start_and_that_end(warm_up: float) -> None:
    # From four pods to twelve and back, twice: a minute to start each time, three ticks to warm up, five minutes more
    # that stabilization keeps them, and the grace.
    physics = replace(QUIET.physics, termination_grace=timedelta(seconds=30), warm_up=timedelta(minutes=warm_up))
    jumpy = stage(case(hourly_jump(4)), settings=replace(QUIET, physics=physics))
    (found,) = simulate.oracle(jumpy, jumpy.checking)
    needed = jumpy.needed_pod_hours(0, jumpy.checking)
    minutes = (
        1 + np.ceil(4 * warm_up) / 4 + 5 - 0.25 + 0.5
    )  # stabilization keeps the ticks of five minutes, the last needed one among them
    assert found.scores.pod_hours - needed == pytest.approx(2 * 8 * minutes / 60)
    assert found.scores.scale_actions == 4


def test_above_its_maximum_the_oracle_is_short_as_well() -> None:
    jumpy = stage(case(hourly_jump(4), bounds=(1, 11)))
    (found,) = simulate.oracle(jumpy, jumpy.checking)
    assert found.scores.under_time == pytest.approx(0.25)


def test_fixed_counts_cost_their_hours_and_stay_within_the_bounds() -> None:
    steadily = stage(case(steady(4, 35.0), bounds=(2, 9)), case(steady(4, 70.0)))
    found = simulate.fixed(steadily, [[1, 5, 30], [1, 7, 6]], steadily.checking)
    assert [outcome.scores.pod_hours for outcome in found] == pytest.approx([4, 10, 18, 2, 14, 12])
    assert [outcome.scores.under_time for outcome in found] == [1, 0, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("settings", "pods"),
    [
        pytest.param((0.5, 0.7, 1.0), (14, 10, 7), id="by target"),
        pytest.param((1.0, 0.5, 0.7), (7, 14, 10), id="in the order asked for"),
    ],
)
def test_each_lane_has_its_own_target(settings: Sequence[float], pods: Sequence[int]) -> None:
    steadily = stage(case(steady(4, 70.0)))
    targets = [Setting(target) for target in settings]
    runs = [
        simulate.over_hpa(steadily, [targets], steadily.checking, None),
        simulate.over_kpa(steadily, [targets], steadily.checking, None),
        simulate.phpa_linear(steadily, [LinearSetting(target, 6) for target in settings], steadily.checking),
    ]
    for found in runs:
        assert [outcome.ready[-1] for outcome in found] == list(pods)


def test_higher_levels_cost_more() -> None:
    jumpy = stage(case(hourly_jump(3)))
    levels = [Setting(0.9, level) for level in (0.5, 0.95, 0.999)]
    found = simulate.over_hpa(jumpy, [levels], jumpy.checking, ours())
    low, middle, high = (outcome.scores.pod_hours for outcome in found)
    assert low < middle <= high


def test_last_weeks_load_is_met_half_an_hour_early_and_multiplied() -> None:
    # Last week had a jump in the first hour that is scored now; this week is steady.
    week = 7 * 24
    load = steady(week + 4, 30.0)
    jump = slice((2 * 60) + 40, (2 * 60) + 50)
    load[jump] = 150.0
    weekly = stage(case(load, decided=(week + 1) * HOUR, checked=(week + 2) * HOUR))
    window = range(weekly.checking.start, weekly.checking.start + HOUR // TICK)
    once, twice = simulate.last_week(weekly, [1.0, 2.0], window)
    # Samples of last week that end by minute 41; the floor half an hour before, and a minute until pods are ready.
    assert once.ready[10 * 4] < 15
    assert once.ready[13 * 4] == 15
    assert twice.ready[13 * 4] == 30
    assert once.ready[0] == 4  # 30 / 9


def rising(hours: int) -> FloatArray:
    """A pod more every ten minutes from the second hour on."""
    rise: FloatArray = np.maximum(np.arange(hours * 60) - 60.0, 0.0)
    return 50.0 + rise


def test_the_linear_phpa_is_ahead_of_the_hpa_on_a_straight_line_by_the_start_up() -> None:
    line = stage(case(rising(4), start_up=replace(PUNCTUAL, median=timedelta(minutes=5))))
    (hpa,) = simulate.over_hpa(line, [[Setting(0.95)]], line.checking, None)
    linear, long = simulate.phpa_linear(line, [LinearSetting(0.95, 6), LinearSetting(0.95, 40)], line.checking)
    assert linear.scores.under_time < hpa.scores.under_time
    assert long.scores != linear.scores
    (quick,) = simulate.phpa_linear(stage(case(rising(4))), [LinearSetting(0.95, 40)], line.checking)
    assert quick.scores.pod_hours < long.scores.pod_hours / 1.5  # four minutes of looking ahead


def test_the_seasonal_phpa_knows_the_day_before_from_the_start() -> None:
    days = 3 * 24
    load = steady(days + 3, 40.0)
    for day in range(3):
        load[day * 1440 + 60 : day * 1440 + 90] = 140.0 - 30.0 * day  # an hour into each day but this one
    seasonal = stage(case(load, decided=days * HOUR, checked=days * HOUR))
    calm = HoltWintersSetting(0.7, 0.3, 0.02, 0.3)
    others = [calm._replace(alpha=0.9), calm._replace(beta=0.9), calm._replace(gamma=0.9)]
    found, *differently = simulate.phpa_holt_winters(seasonal, [calm, *others], seasonal.checking)
    assert len({outcome.scores.pod_hours for outcome in (found, *differently)}) == 4
    (hpa,) = simulate.over_hpa(seasonal, [[Setting(0.7)]], seasonal.checking, None)
    hour = HOUR // TICK
    assert set(hpa.ready[: hour + 120].tolist()) == {6}
    assert found.ready[hour : hour + 120].max() > 6
