"""The decision's rules, each on both sides of its edge."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from scaler.domain import (
    Action,
    FloatArray,
    Forecast,
    ForecastFailure,
    Mode,
    Observation,
    Reason,
    Source,
    Target,
    TargetKey,
)
from scaler.policy import (
    Outlook,
    PolicyConfig,
    PolicyState,
    Recommendation,
    ScaleEvent,
    Trajectory,
    clamp,
    covering,
    dead_band,
    decide,
    limit_rate,
    most_replicas,
    not_applied,
    peaks_of,
    prepare,
    replicas_for,
    stabilize,
    standing_floor,
    usable_load,
    window_max_at,
)

T0 = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
LEVELS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
TARGET = Target(TargetKey("shop", "Deployment", "web"), min_replicas=0, max_replicas=100, capacity=10.0)
CONFIG = PolicyConfig()
MINUTE = timedelta(seconds=60)


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def observed(load: float | None, *, floor: int | None = 5, current: int = 5, censored: bool = False) -> Observation:
    return Observation(T0, load, ready_replicas=current, current_replicas=current, floor=floor, censored=censored)


def prepared(forecast: Forecast, offsets: FloatArray, returning: FloatArray | None = None) -> Trajectory:
    """At the level 0.99."""
    peaks = peaks_of(window_max_at(forecast, 0.99), offsets)
    return prepare(forecast, 0.99, peaks=peaks, offsets=offsets, returning=returning)


def trajectory(
    *peaks: float, origin: datetime = T0, step: timedelta = MINUTE, source: Source = Source.MODEL, offset: float = 0.0
) -> Trajectory:
    values = np.repeat(np.array(peaks)[:, None], len(LEVELS), axis=1)
    forecast = Forecast(origin, step, LEVELS, values, values, source)
    return prepared(forecast, np.full(len(peaks), offset))


def held(*returning: float, peak: float) -> Trajectory:
    values = np.full((len(returning), len(LEVELS)), peak)
    forecast = Forecast(T0, MINUTE, LEVELS, values, values, Source.MODEL)
    return prepared(forecast, np.zeros(len(returning)), returning=np.array(returning))


def outlook(*trajectories: Trajectory, lead: float = 60) -> Outlook:
    return Outlook(seconds(lead), trajectories)


def old_state(floor: int = 5) -> PolicyState:
    return PolicyState.start(floor, T0 - timedelta(hours=1))


class TestAbsentLoad:
    def test_pods_stay_for_its_return_and_the_decision_says_so(self) -> None:
        decision, _ = decide(
            observed(5, floor=9),
            outlook(held(80.0, 80.0, 80.0, peak=10.0)),
            old_state(9),
            target=TARGET,
            config=CONFIG,
            now=T0,
        )
        assert (decision.floor, decision.forecast_peak) == (8, 80.0)
        assert Reason.LOAD_ABSENT in decision.reasons

    @pytest.mark.parametrize(
        "trajectory",
        [
            pytest.param(held(80.0, 80.0, 80.0, peak=90.0), id="more is forecast than would return"),
            pytest.param(held(0.0, 0.0, 0.0, peak=0.0), id="nothing would return"),
        ],
    )
    def test_it_is_not_said_where_it_settles_nothing(self, trajectory: Trajectory) -> None:
        decision, _ = decide(observed(5), outlook(trajectory), old_state(9), target=TARGET, config=CONFIG, now=T0)
        assert Reason.LOAD_ABSENT not in decision.reasons


class TestRecommend:
    @pytest.mark.parametrize(
        ("load", "replicas"),
        [
            pytest.param(0.0, 0, id="nothing"),
            pytest.param(0.499, 0, id="just below the activation threshold of 0.05 * 10"),
            pytest.param(0.5, 1, id="at the activation threshold"),
            pytest.param(10.0, 1, id="exactly one pod"),
            pytest.param(10.001, 2, id="a little more than one pod"),
            pytest.param(10.0 * (0.1 + 0.2) * 10, 3, id="three pods, summed to 30.000000000000004"),
        ],
    )
    def test_load_needs_replicas(self, load: float, replicas: int) -> None:
        assert replicas_for(load, capacity=10.0, activation_ratio=0.05) == replicas

    @pytest.mark.parametrize(
        ("last", "most", "replicas"),
        [pytest.param(45.0, 9, 5, id="its last peak"), pytest.param(45.0, 3, 3, id="as many as the user allows")],
    )
    def test_a_whole_forecast_needs_replicas_for_its_highest_peak(self, last: float, most: int, replicas: int) -> None:
        target = replace(TARGET, capacity=10.0, max_replicas=most)
        assert most_replicas(trajectory(5.0, 5.0, last), target, CONFIG) == replicas

    @pytest.mark.parametrize(
        ("age", "lead", "steps"),
        [
            pytest.param(0, 45, 1, id="lead and tick fill exactly one step"),
            pytest.param(0, 46, 2, id="one second more needs the second step"),
            pytest.param(45, 60, 2, id="the age of the forecast counts"),
            pytest.param(-60, 45, 1, id="an origin one step ahead still counts the first step"),
            pytest.param(-61, 45, None, id="an origin further ahead is no forecast"),
            pytest.param(60, 105, 3, id="covers to its very end"),
            pytest.param(61, 105, None, id="one second past its end"),
        ],
    )
    def test_the_steps_that_matter_grow_with_age_and_lead(self, age: int, lead: int, steps: int | None) -> None:
        view = covering(outlook(trajectory(1, 2, 3, origin=T0 - seconds(age)), lead=lead), seconds(15), T0)
        assert (view.steps if view else None) == steps
        if view and steps:
            assert view.peak == float(steps)

    def test_the_first_trajectory_that_covers_counts(self) -> None:
        model = trajectory(10, 20, origin=T0 - seconds(600))
        seasonal = trajectory(30, 40, source=Source.SEASONAL_DAY)
        decision, _ = decide(observed(10), outlook(model, seasonal), old_state(), target=TARGET, config=CONFIG, now=T0)
        assert (decision.forecast_source, decision.forecast_peak, decision.n_predicted) == ("seasonal-day", 40.0, 4)

    @pytest.mark.parametrize(
        ("level", "expected"),
        [
            pytest.param(0.01, 1.0, id="below the lowest level the lowest stands"),
            pytest.param(0.05, 1.0, id="the lowest level"),
            pytest.param(0.9, 6.0, id="one of the levels"),
            pytest.param(0.97, 7.5, id="halfway between .95 and .99"),
            pytest.param(0.99, 8.0, id="the highest level"),
            pytest.param(0.999, 8.0, id="above it the highest stands"),
        ],
    )
    def test_a_level_between_two_quantiles_is_interpolated(self, level: float, expected: float) -> None:
        values = np.arange(1.0, 9.0)[None, :]
        forecast = Forecast(T0, MINUTE, LEVELS, values, values, Source.MODEL)
        assert window_max_at(forecast, level) == pytest.approx([expected])

    def test_the_offset_raises_the_peak_and_never_makes_it_fall_along_the_window(self) -> None:
        values = np.repeat(np.array([[10.0], [11.0], [12.0]]), len(LEVELS), axis=1)
        forecast = Forecast(T0, MINUTE, LEVELS, values, values, Source.MODEL)
        assert prepared(forecast, np.array([5.0, 0.0, 4.0])).peaks == (15.0, 15.0, 16.0)
        assert prepared(forecast, np.array([-20.0, -20.0, -10.0])).peaks == (0.0, 0.0, 2.0)

    def test_the_newest_sample_raises_the_forecast_peak_and_never_lowers_it(self) -> None:
        def peak(load: float) -> float | None:
            ahead = outlook(trajectory(40, 40))
            return decide(observed(load), ahead, old_state(), target=TARGET, config=CONFIG, now=T0)[0].peak

        assert (peak(39.0), peak(41.0)) == (40.0, 41.0)

    def test_the_decision_shows_what_the_forecast_said(self) -> None:
        made = outlook(trajectory(50, 60, origin=T0 - seconds(30), offset=3.0))
        ahead = made._replace(forecast_failure=ForecastFailure.TIMEOUT)
        decision, _ = decide(observed(10), ahead, old_state(), target=TARGET, config=CONFIG, now=T0)
        assert decision.offset == 3.0
        assert decision.forecast_peak == 63.0
        assert decision.forecast_age == seconds(30)
        assert decision.forecast_steps == 2
        assert decision.forecast_failure is ForecastFailure.TIMEOUT
        assert (decision.level, decision.capacity, decision.lead_time) == (0.99, 10.0, seconds(60))

    @pytest.mark.parametrize(
        ("only_scaler", "with_forecast", "reactive"),
        [
            pytest.param(True, True, 3, id="the only scaler reacts beside the forecast"),
            pytest.param(True, False, 3, id="the only scaler reacts without one"),
            pytest.param(False, True, None, id="under a reactive autoscaler the forecast alone speaks"),
            pytest.param(False, False, 3, id="without a forecast the newest sample speaks"),
        ],
    )
    def test_who_reacts(self, only_scaler: bool, with_forecast: bool, reactive: int | None) -> None:
        target = replace(TARGET, only_scaler=only_scaler)
        ahead = outlook(trajectory(50, 50)) if with_forecast else outlook()
        decision, _ = decide(observed(30), ahead, old_state(), target=target, config=CONFIG, now=T0)
        assert decision.n_reactive == reactive
        assert decision.n_predicted == (5 if with_forecast else None)
        assert (Reason.NO_FORECAST in decision.reasons) is not with_forecast


class TestUsableLoad:
    @pytest.mark.parametrize(
        ("age", "usable"),
        [pytest.param(240, 7.0, id="as old as allowed"), pytest.param(241, None, id="a second older")],
    )
    def test_an_old_sample_is_no_measurement(self, age: int, usable: float | None) -> None:
        seen = replace(observed(7.0), sampled_at=T0 - seconds(age))
        assert usable_load(seen, seconds(240), T0) == usable

    @pytest.mark.parametrize(
        ("current", "ready", "censored", "usable"),
        [
            pytest.param(0, 0, False, 0.0, id="no pod wanted and none there is an observed zero"),
            pytest.param(1, 0, False, None, id="a pod is wanted"),
            pytest.param(0, 1, False, None, id="a pod still serves"),
            pytest.param(0, 0, True, None, id="requests are queued"),
        ],
    )
    def test_a_missing_sample_is_zero_only_where_nothing_runs(
        self, current: int, ready: int, censored: bool, usable: float | None
    ) -> None:
        seen = Observation(None, None, ready_replicas=ready, current_replicas=current, censored=censored)
        assert usable_load(seen, seconds(240), T0) == usable

    def test_a_sample_without_a_time_is_no_measurement(self) -> None:
        assert usable_load(replace(observed(7.0), sampled_at=None), seconds(240), T0) is None


class TestStandingFloor:
    @pytest.mark.parametrize(
        ("floor", "only_scaler", "expected"),
        [
            pytest.param(7, True, 7, id="the API's floor"),
            pytest.param(0, True, 0, id="a floor of zero is a floor"),
            pytest.param(None, True, 5, id="the only scaler's floor is the replicas"),
            pytest.param(None, False, 2, id="under a reactive autoscaler the minimum stands"),
        ],
    )
    def test_a_lever_without_a_floor(self, floor: int | None, only_scaler: bool, expected: int) -> None:
        target = replace(TARGET, min_replicas=2, only_scaler=only_scaler)
        assert standing_floor(observed(1.0, floor=floor, current=5), target) == expected


class TestHold:
    @pytest.mark.parametrize(
        ("observation", "changes", "peak", "floor", "reason"),
        [
            pytest.param(observed(None), {}, None, 5, Reason.NO_FORECAST, id="blind without a forecast"),
            pytest.param(observed(None), {}, 20, 5, Reason.NO_METRICS, id="blind never follows a forecast down"),
            pytest.param(observed(None), {}, 80, 8, Reason.NO_METRICS, id="blind follows a forecast up"),
            pytest.param(observed(20, censored=True), {}, 20, 5, Reason.CENSORED_METRICS, id="censored never lowers"),
            pytest.param(observed(80, censored=True), {}, 20, 8, Reason.DESIRED_WITHIN_RANGE, id="censored may raise"),
            pytest.param(observed(20), {"paused": True}, 20, 5, Reason.PAUSED, id="paused holds on the way down"),
            pytest.param(observed(80), {"paused": True}, 80, 5, Reason.PAUSED, id="paused holds on the way up"),
            pytest.param(observed(20), {"scale_down_paused": True}, 20, 5, Reason.SCALE_DOWN_PAUSED, id="down paused"),
            pytest.param(observed(80), {"scale_down_paused": True}, 80, 8, Reason.DESIRED_WITHIN_RANGE, id="up is not"),
            pytest.param(observed(20), {}, 20, 2, Reason.DESIRED_WITHIN_RANGE, id="certain and free to fall"),
            pytest.param(observed(20), {}, None, 2, Reason.NO_FORECAST, id="a fresh sample alone may lower"),
            pytest.param(observed(0), {}, 0, 0, Reason.BELOW_ACTIVATION, id="to zero below the activation threshold"),
            pytest.param(observed(0), {"only_scaler": True}, 0, 0, Reason.BELOW_ACTIVATION, id="the only scaler too"),
        ],
    )
    def test_whatever_is_uncertain_holds(
        self, observation: Observation, changes: dict[str, Any], peak: float | None, floor: int, reason: Reason
    ) -> None:
        ahead = outlook() if peak is None else outlook(trajectory(peak, peak))
        target = replace(TARGET, **changes)
        decision, _ = decide(observation, ahead, old_state(), target=target, config=CONFIG, now=T0)
        assert (decision.floor, decision.reason) == (floor, reason)
        assert decision.n_combined == floor

    def test_blind_without_a_forecast_says_both(self) -> None:
        decision, _ = decide(observed(None), outlook(), old_state(), target=TARGET, config=CONFIG, now=T0)
        assert decision.reasons == (Reason.NO_METRICS, Reason.NO_FORECAST)
        assert (decision.load, decision.peak, decision.forecast_peak) == (None, None, None)

    def test_an_uncovered_lead_time_is_said_and_settles_nothing(self) -> None:
        ahead = outlook(trajectory(80, 80))._replace(lead_time_covered=False)
        decision, _ = decide(observed(10), ahead, old_state(), target=TARGET, config=CONFIG, now=T0)
        assert decision.reasons == (Reason.LEAD_TIME_TOO_LONG,)
        assert decision.reason is Reason.DESIRED_WITHIN_RANGE


class TestStabilize:
    @pytest.mark.parametrize(
        ("wanted", "recommended", "expected"),
        [
            pytest.param(6, 9, (6, None), id="on the way up nothing holds"),
            pytest.param(5, 9, (5, None), id="at the floor nothing holds"),
            pytest.param(2, 4, (4, Reason.SCALE_DOWN_STABILIZED), id="falls only to the highest of the window"),
            pytest.param(2, 9, (5, Reason.SCALE_DOWN_STABILIZED), id="the window never raises the floor"),
            pytest.param(2, 2, (2, None), id="the window agrees"),
            pytest.param(2, None, (2, None), id="an empty window"),
        ],
    )
    def test_the_way_down_waits(
        self, wanted: int, recommended: int | None, expected: tuple[int, Reason | None]
    ) -> None:
        recommendations = () if recommended is None else (Recommendation(T0, recommended),)
        assert stabilize(wanted, 5, recommendations) == expected

    @pytest.mark.parametrize(
        ("age", "floor"),
        [pytest.param(299, 5, id="inside the window"), pytest.param(300, 2, id="the window has just passed")],
    )
    def test_scale_down_waits_for_the_stabilization_window(self, age: int, floor: int) -> None:
        state = PolicyState.start(5, T0 - seconds(age))
        decision, _ = decide(observed(20), outlook(), state, target=TARGET, config=CONFIG, now=T0)
        assert decision.floor == floor
        assert (decision.reason is Reason.SCALE_DOWN_STABILIZED) is (floor == 5)

    def test_the_window_forgets_each_recommendation_in_its_turn(self) -> None:
        state, floor, floors = PolicyState.start(5, T0), 5, []
        for tick, load in enumerate([40, 20, 20, 30, 10, 10, 10, 10], start=1):
            now = T0 + tick * seconds(100)
            seen = replace(observed(load, floor=floor), sampled_at=now)
            decision, state = decide(seen, outlook(), state, target=TARGET, config=CONFIG, now=now)
            floor = decision.floor
            floors.append(floor)
        # In pods: seed 5 at 0 s, then 4 2 2 3 1 1 1 1; each floor is the highest of those under 300 s old.
        assert floors == [5, 5, 4, 3, 3, 3, 1, 1]

    def test_a_hold_counts_as_a_recommendation(self) -> None:
        _, state = decide(observed(None), outlook(), old_state(), target=TARGET, config=CONFIG, now=T0)
        later = T0 + seconds(15)
        seen = replace(observed(20), sampled_at=later)
        assert decide(seen, outlook(), state, target=TARGET, config=CONFIG, now=later)[0].floor == 5


class TestLimitRate:
    @pytest.mark.parametrize(
        ("wanted", "floor", "start", "expected"),
        [
            pytest.param(7, 3, ScaleEvent(T0, 3, 3), (7, None), id="four pods more than three"),
            pytest.param(8, 3, ScaleEvent(T0, 3, 3), (7, Reason.SCALE_UP_LIMIT), id="a fifth waits"),
            pytest.param(20, 10, ScaleEvent(T0, 10, 10), (20, None), id="twice of ten"),
            pytest.param(21, 10, ScaleEvent(T0, 10, 10), (20, Reason.SCALE_UP_LIMIT), id="more than twice"),
            pytest.param(40, 2, ScaleEvent(T0, 2, 20), (40, None), id="counted from the replicas that run"),
            pytest.param(41, 2, ScaleEvent(T0, 2, 20), (40, Reason.SCALE_UP_LIMIT), id="and not from more"),
            pytest.param(30, 25, ScaleEvent(T0, 10, 10), (25, Reason.SCALE_UP_LIMIT), id="a limit never lowers"),
            pytest.param(0, 10, ScaleEvent(T0, 10, 10), (0, None), id="all may go at once"),
            pytest.param(10, 10, ScaleEvent(T0, 0, 0), (10, None), id="no change is never limited"),
        ],
    )
    def test_default_limits(
        self, wanted: int, floor: int, start: ScaleEvent, expected: tuple[int, Reason | None]
    ) -> None:
        assert limit_rate(wanted, floor, start, CONFIG) == expected

    @pytest.mark.parametrize(
        ("wanted", "floor", "expected"),
        [
            pytest.param(9, 10, (9, None), id="a tenth of ten"),
            pytest.param(8, 10, (9, Reason.SCALE_DOWN_LIMIT), id="no more than that"),
            pytest.param(4, 6, (6, Reason.SCALE_DOWN_LIMIT), id="the period's share is spent, the limit never raises"),
        ],
    )
    def test_a_tighter_limit_on_the_way_down(
        self, wanted: int, floor: int, expected: tuple[int, Reason | None]
    ) -> None:
        config = replace(CONFIG, scale_down_ratio=0.1)
        assert limit_rate(wanted, floor, ScaleEvent(T0, 10, 10), config) == expected

    @pytest.mark.parametrize(
        ("later", "floor"),
        [pytest.param(14, 7, id="the same period"), pytest.param(15, 14, id="the next period")],
    )
    def test_two_raises_within_one_period_share_its_limit(self, later: int, floor: int) -> None:
        first, state = decide(
            observed(300, floor=3, current=3), outlook(), old_state(), target=TARGET, config=CONFIG, now=T0
        )
        assert (first.floor, first.n_stabilized, first.n_limited) == (7, 30, 7)
        now = T0 + seconds(later)
        seen = observed(300, floor=7, current=7)
        assert decide(seen, outlook(), state, target=TARGET, config=CONFIG, now=now)[0].floor == floor


class TestClampAndDeadBand:
    @pytest.mark.parametrize(
        ("wanted", "expected"),
        [
            pytest.param(1, (2, Reason.TOO_FEW_REPLICAS), id="below the minimum"),
            pytest.param(2, (2, None), id="at the minimum"),
            pytest.param(9, (9, None), id="at the maximum"),
            pytest.param(10, (9, Reason.TOO_MANY_REPLICAS), id="above the maximum"),
        ],
    )
    def test_bounds_win(self, wanted: int, expected: tuple[int, Reason | None]) -> None:
        assert clamp(wanted, replace(TARGET, min_replicas=2, max_replicas=9)) == expected

    @pytest.mark.parametrize(
        ("wanted", "floor", "expected"),
        [
            pytest.param(19, 20, (20, Reason.WITHIN_TOLERANCE), id="one of twenty is within five percent"),
            pytest.param(18, 19, (18, None), id="one of nineteen is more"),
            pytest.param(18, 20, (18, None), id="two of twenty are more"),
            pytest.param(21, 20, (21, None), id="a raise is never held"),
            pytest.param(20, 20, (20, None), id="nothing to hold"),
            pytest.param(0, 1, (0, None), id="the last pod goes"),
            pytest.param(100, 101, (100, None), id="a floor above the maximum always comes down"),
        ],
    )
    def test_only_the_way_down_has_a_dead_band(
        self, wanted: int, floor: int, expected: tuple[int, Reason | None]
    ) -> None:
        assert dead_band(wanted, floor, 100, 0.05) == expected

    @pytest.mark.parametrize("observation", [observed(None, floor=50), observed(10, floor=50, censored=True)])
    def test_a_lowered_maximum_wins_over_every_hold(self, observation: Observation) -> None:
        target = replace(TARGET, max_replicas=8, paused=True)
        decision, _ = decide(observation, outlook(), old_state(50), target=target, config=CONFIG, now=T0)
        assert (decision.floor, decision.reason) == (8, Reason.TOO_MANY_REPLICAS)


class TestDecision:
    @pytest.mark.parametrize(
        ("load", "action"),
        [
            pytest.param(51, Action.SCALE_UP, id="up"),
            pytest.param(50, Action.NONE, id="nothing"),
            pytest.param(40, Action.SCALE_DOWN, id="down"),
        ],
    )
    def test_the_action_is_the_sign_of_the_change(self, load: float, action: Action) -> None:
        decision, state = decide(observed(load), outlook(), old_state(), target=TARGET, config=CONFIG, now=T0)
        assert decision.action is action
        assert decision.previous_floor == 5
        assert state.floor == decision.floor
        assert bool(state.scale_events) is (action is not Action.NONE)

    def test_every_reason_is_kept_in_the_order_of_the_steps(self) -> None:
        target = replace(TARGET, max_replicas=6)
        decision, _ = decide(observed(500), outlook(), old_state(), target=target, config=CONFIG, now=T0)
        assert decision.reasons == (Reason.NO_FORECAST, Reason.SCALE_UP_LIMIT, Reason.TOO_MANY_REPLICAS)
        assert decision.reason is Reason.TOO_MANY_REPLICAS

    def test_shadow_decides_as_on_does(self) -> None:
        ahead = outlook(trajectory(80, 80))
        modes = [
            decide(observed(10), ahead, old_state(), target=replace(TARGET, mode=mode), config=CONFIG, now=T0)
            for mode in (Mode.SHADOW, Mode.ON)
        ]
        assert modes[0][0]._replace(mode=Mode.ON) == modes[1][0]
        assert modes[0][1] == modes[1][1]

    def test_a_floor_that_could_not_be_set_changes_nothing(self) -> None:
        decision, state = decide(observed(300), outlook(), old_state(), target=TARGET, config=CONFIG, now=T0)
        assert decision.floor == 10
        kept, after = not_applied(decision, state)
        assert (kept.floor, kept.action, kept.reason) == (5, Action.NONE, Reason.TARGET_UNAVAILABLE)
        assert kept.reasons == (*decision.reasons, Reason.TARGET_UNAVAILABLE)
        assert (after.floor, after.scale_events) == (5, ())
        assert after.recommendations == state.recommendations


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"tick": seconds(0)}, "tick must lie from 0:00:01 to 0:01:00, got 0:00:00", id="too small"),
        pytest.param({"tolerance_ratio": 0.51}, "tolerance_ratio must lie from 0.0 to 0.5, got 0.51", id="too large"),
        pytest.param({"scale_up_pods": 0, "activation_ratio": -1.0}, "activation_ratio .*; scale_up_pods", id="all"),
        pytest.param({"activation_ratio": float("nan")}, "activation_ratio .* got nan", id="not a number"),
    ],
)
def test_a_configuration_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)
