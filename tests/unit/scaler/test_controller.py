"""Stories of whole ticks from a fixed time on, through fake ports."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from scaler.champion import ChampionConfig, Scores
from scaler.controller import Controller, ControllerConfig, Memory
from scaler.domain import (
    Action,
    ChampionReason,
    Decision,
    FloatArray,
    Forecast,
    ForecastFailure,
    ForecastRequest,
    ForecastUnavailable,
    MetricsUnavailable,
    Mode,
    Observation,
    Reason,
    Source,
    Target,
    TargetKey,
    TargetUnavailable,
)
from scaler.forecast_cycle import ForecastCycleConfig
from scaler.lead_time import LeadTimeConfig
from scaler.policy import PolicyConfig

T0 = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
TICK = timedelta(seconds=15)
LEVELS = (0.5, 0.9, 0.99)
WEB = TargetKey("shop", "Deployment", "web")
API = TargetKey("shop", "Deployment", "api")


def target_of(key: TargetKey = WEB, **changes: Any) -> Target:
    base = Target(key, min_replicas=1, max_replicas=50, capacity=10.0, mode=Mode.ON, only_scaler=True)
    return replace(base, **changes)


class StillRunning(Exception):
    """Raised by a job that has not come to an end yet."""


class LateExecutor(Executor):
    """Runs a job when `run` is called, not before; one that raises `StillRunning` never ends."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Future[Any], Callable[[], Any]]] = []
        self.held = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.jobs.append((future, lambda: fn(*args, **kwargs)))
        return future

    def run(self) -> None:
        if self.held:
            return
        for future, job in self.jobs:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(job())
                except StillRunning:
                    continue
                except ForecastUnavailable as error:
                    future.set_exception(error)
        self.jobs.clear()


class FakeForecaster:
    """Says the same peak for every workload and step; `error` or `silent` keys go without an answer."""

    def __init__(self, peak: float) -> None:
        self.peak = peak
        self.error: ForecastUnavailable | StillRunning | None = None
        self.silent: set[TargetKey] = set()
        self.calls: list[tuple[ForecastRequest, ...]] = []
        self.wakes = 0

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        self.calls.append(tuple(requests))
        if self.error is not None:
            raise self.error
        values = np.full((30, len(LEVELS)), self.peak)
        return {
            r.key: Forecast(r.origin, r.step, LEVELS, values, values, Source.MODEL)
            for r in requests
            if r.key not in self.silent
        }

    def wake(self) -> timedelta:
        self.wakes += 1
        return timedelta(0)


class World:
    """Targets, metrics, lever and recorder in one; what it holds is changed as the story goes on."""

    def __init__(self, *targets: Target) -> None:
        self.listed = list(targets)
        self.load: dict[TargetKey, float | None] = {t.key: 20.0 for t in targets}
        self.floor: dict[TargetKey, int | None] = {t.key: 2 for t in targets}
        self.ready: dict[TargetKey, int] = {t.key: 2 for t in targets}
        self.current: dict[TargetKey, int] = {t.key: 2 for t in targets}
        self.censored: set[TargetKey] = set()
        self.unseen: set[TargetKey] = set()
        self.broken: set[TargetKey] = set()
        self.listing_fails = self.metrics_fail = self.history_fails = self.seasons_fail = False
        self.past_unknown: set[TargetKey] = set()
        self.history = 20.0
        self.season_ahead = 20.0  # load that came a day and a week ago, after this time of day
        self.newest_missing = 0
        self.windows: list[tuple[tuple[TargetKey, ...], datetime, datetime, timedelta]] = []
        self.applied: list[tuple[TargetKey, int]] = []
        self.recorded: list[Decision] = []

    def targets(self, now: datetime) -> Sequence[Target]:
        if self.listing_fails:
            raise TargetUnavailable("no list")
        return tuple(self.listed)

    def observe(self, targets: Sequence[Target], now: datetime) -> Mapping[TargetKey, Observation]:
        if self.metrics_fail:
            raise MetricsUnavailable("no metrics")
        return {
            t.key: Observation(
                now,
                self.load[t.key],
                ready_replicas=self.ready[t.key],
                current_replicas=self.current[t.key],
                floor=self.floor[t.key],
                censored=t.key in self.censored,
            )
            for t in targets
            if t.key not in self.unseen
        }

    def load_between(
        self, targets: Sequence[Target], *, start: datetime, end: datetime, step: timedelta, now: datetime
    ) -> Mapping[TargetKey, FloatArray]:
        if self.history_fails or (self.seasons_fail and now - start > timedelta(days=1)):
            raise MetricsUnavailable("no history")
        self.windows.append((tuple(t.key for t in targets), start, end, step))
        times = (start + n * step for n in range(1, (end - start) // step + 1))
        known = now - self.newest_missing * step
        seasons = [timedelta(days=days) for days in (1, 7) if end > now - timedelta(days=days) > start]
        row = np.array([self.history if time <= known else np.nan for time in times])
        for season in seasons:
            row[(now - season - start) // step :] = self.season_ahead
        return {t.key: row.copy() for t in targets if t.key not in self.past_unknown}

    def apply(self, target: Target, floor: int, now: datetime) -> None:
        if target.key in self.broken:
            raise TargetUnavailable("conflict")
        self.applied.append((target.key, floor))
        self.floor[target.key] = floor
        self.current[target.key] = max(self.current[target.key], floor) if not target.only_scaler else floor

    def record(self, decision: Decision) -> None:
        self.recorded.append(decision)


class Story:
    """A controller and its world, ticking every 15 s from T0."""

    def __init__(
        self,
        *targets: Target,
        peak: float = 20.0,
        config: ControllerConfig | None = None,
        memory: Notebook | None = None,
    ) -> None:
        self.world = World(*(targets or (target_of(),)))
        self.model = FakeForecaster(peak)
        self.executor = LateExecutor()
        self.now = T0 - TICK
        self.controller = Controller(
            targets=self.world,
            metrics=self.world,
            forecaster=self.model,
            scale_target=self.world,
            recorder=self.world,
            executor=self.executor,
            config=config or ControllerConfig(),
            memory=memory,
        )

    def tick(self) -> tuple[Decision, ...]:
        self.now += TICK
        decisions = self.controller.tick(self.now)
        self.executor.run()
        return decisions

    def run(self, seconds: int) -> Decision:
        """Tick on until `seconds` after T0 and give the first workload's last decision."""
        decisions: tuple[Decision, ...] = ()
        while self.now < T0 + timedelta(seconds=seconds):
            decisions = self.tick()
        return decisions[0]


class Notebook:
    """A MemoryStore."""

    def __init__(self) -> None:
        self.kept: dict[TargetKey, Memory] = {}

    def recall(self, key: TargetKey) -> Memory | None:
        return self.kept.get(key)

    def keep(self, key: TargetKey, memory: Memory) -> None:
        self.kept[key] = memory


class TestMemory:
    def test_a_new_controller_goes_on_with_the_forecast_of_the_last_one(self) -> None:
        notebook = Notebook()
        first = Story(peak=80.0, memory=notebook)
        first.run(15)
        second = Story(peak=10.0, memory=notebook)
        second.model.error = StillRunning()
        decision = second.run(0)
        assert (decision.forecast_source, decision.forecast_peak) == ("model", 80.0)
        assert second.run(15 * 60).floor == 8  # until it has run out, although the load asks for 2

    def test_a_forecast_kept_at_another_level_is_left_alone(self) -> None:
        notebook = Notebook()
        Story(peak=80.0, memory=notebook).run(15)
        second = Story(target_of(miss_budget_ratio=0.05), memory=notebook)
        second.model.error = StillRunning()
        assert second.run(0).forecast_source is None

    def test_lead_times_are_kept_and_taken_up_again(self) -> None:
        notebook = Notebook()
        notebook.kept[WEB] = Memory(durations=(timedelta(seconds=200),) * 5)
        story = Story(memory=notebook)
        assert story.run(0).lead_time == timedelta(seconds=200)
        story.world.current[WEB] = 3
        story.run(15)
        story.world.ready[WEB] = 3
        story.run(45)
        assert notebook.kept[WEB].durations[-1] == timedelta(seconds=15)


class TestOrderedStart:
    def test_the_lead_time_grows_with_the_pods_that_are_added(self) -> None:
        story = Story(target_of(ordered_start=True), peak=50.0)
        assert story.run(0).lead_time == timedelta(seconds=90)
        story.run(15)
        # Five pods for a load of 50, two are ready: three start one after another.
        assert story.run(30).lead_time == timedelta(seconds=270)

    def test_what_is_learned_is_the_time_of_one_pod(self) -> None:
        notebook = Notebook()
        story = Story(target_of(ordered_start=True), memory=notebook)
        story.run(0)
        story.world.current[WEB] = 4
        story.run(15)
        story.world.ready[WEB] = 4
        story.run(75)
        assert notebook.kept[WEB].durations == (timedelta(seconds=7.5),)


class TestClusterLimit:
    CONFIG = ControllerConfig(max_total_replicas=9)

    def test_raises_beyond_it_are_cut_and_say_so(self) -> None:
        story = Story(target_of(WEB), target_of(API), peak=80.0, config=self.CONFIG)
        story.tick()
        web, api = story.tick()
        # Both stand at 2 of 9 in all: web may add four at once, api the one that is left.
        assert (web.floor, web.reason) == (6, Reason.SCALE_UP_LIMIT)
        assert (api.floor, api.reason, api.action) == (3, Reason.CLUSTER_LIMIT, Action.SCALE_UP)
        web, api = story.tick()
        assert (web.floor, api.floor) == (6, 3)
        assert api.action is Action.NONE

    def test_what_already_stands_is_never_lowered(self) -> None:
        config = ControllerConfig(max_total_replicas=1)
        story = Story(target_of(WEB), peak=20.0, config=config)
        assert story.run(30).floor == 2

    def test_shadow_takes_nothing_of_it(self) -> None:
        story = Story(target_of(WEB, mode=Mode.SHADOW), target_of(API), peak=60.0, config=self.CONFIG)
        story.tick()
        web, api = story.tick()
        assert (web.floor, api.floor) == (6, 6)


class TestForecasts:
    def test_the_first_tick_asks_and_the_second_uses_the_answer(self) -> None:
        story = Story(peak=80.0)
        first, second = story.run(0), story.run(15)
        assert (first.forecast_source, first.floor) == (None, 2)
        assert Reason.NO_FORECAST in first.reasons
        assert (second.forecast_source, second.forecast_peak, second.n_predicted) == ("model", 80.0, 8)
        assert second.floor == 6  # four pods a tick
        assert story.run(30).floor == 8
        assert story.world.applied == [(WEB, 6), (WEB, 8)]

    @pytest.mark.parametrize(
        ("newest_missing", "source", "failure"),
        [
            # 15 s after the first tick, a lead time of 90 s and a tick of 15 s: age + 105 s within 30 minutes
            pytest.param(28, "model", None, id="just-covers"),
            pytest.param(29, None, ForecastFailure.STALE, id="too-old"),
        ],
    )
    def test_a_forecast_too_old_on_arrival_is_stale(
        self, newest_missing: int, source: str | None, failure: ForecastFailure | None
    ) -> None:
        story = Story(peak=80.0)
        story.world.newest_missing = newest_missing
        story.run(0)
        decision = story.run(15)
        assert (decision.forecast_source, decision.forecast_failure) == (source, failure)
        assert decision.floor == (6 if source else 2)  # without it, what the load of 20 needs

    def test_a_lead_time_beyond_every_forecast_does_not_make_a_fresh_one_stale(self) -> None:
        story = Story(target_of(lead_time=timedelta(hours=5)))
        story.run(0)
        decision = story.run(15)
        assert (decision.forecast_source, decision.forecast_failure) == (None, None)

    def test_all_workloads_share_one_call_and_three_windows(self) -> None:
        story = Story(target_of(WEB), target_of(API))
        story.run(45)
        ((web, api),) = story.model.calls
        assert (web.key, api.key) == (WEB, API)
        minute = timedelta(seconds=60)
        day, week = timedelta(days=1), timedelta(days=7)
        assert story.world.windows == [
            ((WEB, API), T0 - 288 * minute, T0, minute),
            ((WEB, API), T0 - 288 * minute - day, T0 + 30 * minute - day, minute),
            ((WEB, API), T0 - 288 * minute - week, T0 + 30 * minute - week, minute),
        ]
        assert web.seasonal_load.shape == (2, 288 + 30)
        assert web.origin == T0
        story.run(60)
        assert len(story.model.calls) == 2

    def test_workloads_of_another_lead_time_get_another_step_in_the_same_call(self) -> None:
        slow = target_of(API, lead_time=timedelta(seconds=1500))
        story = Story(target_of(WEB), slow)
        story.run(0)
        ((web, api),) = story.model.calls
        # 1500 + 300 + 90 + 15 s is more than 30 steps of 60 s.
        assert (web.step, api.step) == (timedelta(seconds=60), timedelta(seconds=120))
        assert len(story.world.windows) == 6

    @pytest.mark.parametrize(
        ("lead", "covered"),
        [pytest.param(8595, True, id="just in reach"), pytest.param(8596, False, id="a second more")],
    )
    def test_a_lead_time_out_of_reach_is_said(self, lead: int, covered: bool) -> None:
        # 9000 s less the forecast period of 300, the metric delay of 90 and the tick of 15.
        story = Story(target_of(lead_time=timedelta(seconds=lead)))
        assert (Reason.LEAD_TIME_TOO_LONG not in story.run(15).reasons) is covered

    def test_a_request_starts_from_the_newest_sample(self) -> None:
        story = Story()
        story.world.newest_missing = 2
        story.run(0)
        ((request,),) = story.model.calls
        assert request.origin == T0 - timedelta(seconds=120)
        assert request.load.shape == (286,)

    @pytest.mark.parametrize(
        ("loads", "peak", "least", "calls"),
        [
            pytest.param([20.0], 20.0, 1, 10, id="load needs more"),
            pytest.param([5.0], 20.0, 1, 10, id="a forecast needs more"),
            pytest.param([5.0, 20.0], 5.0, 1, 10, id="one of two needs more"),
            pytest.param([5.0], 5.0, 1, 2, id="the fewest are enough"),
            pytest.param([20.0, 20.0], 20.0, 2, 2, id="the fewest of both are enough"),
            pytest.param([0.0], 0.0, 0, 2, id="none is needed"),
        ],
    )
    def test_it_is_asked_each_minute_while_more_than_the_fewest_replicas_may_be_needed_and_else_every_five(
        self, loads: list[float], peak: float, least: int, calls: int
    ) -> None:
        targets = [target_of(key, min_replicas=least) for key in (WEB, API)[: len(loads)]]
        story = Story(*targets, peak=peak)
        story.world.history = loads[0]
        for target, load in zip(targets, loads, strict=True):
            story.world.load[target.key] = load
            story.world.ready[target.key] = story.world.current[target.key] = story.world.floor[target.key] = least
        story.run(585)
        assert len(story.model.calls) == calls

    def test_a_rise_out_of_a_quiet_time_is_forecast_at_once(self) -> None:
        story = Story(peak=5.0)
        story.world.load[WEB] = story.world.history = 5.0
        story.run(120)
        assert len(story.model.calls) == 1
        story.world.load[WEB] = 30.0
        story.run(150)
        assert len(story.model.calls) == 2

    def test_the_model_is_woken_ahead_of_each_call(self) -> None:
        story = Story()
        story.run(15)
        assert story.model.wakes == 0
        story.run(45)
        assert story.model.wakes == 1

    def test_the_tick_never_waits_for_the_model(self) -> None:
        story = Story(peak=80.0)
        story.executor.held = True
        assert story.run(45).floor == 2
        story.executor.held = False
        story.run(60)
        # Asked at 0 s, deadline at 60 s: reported as failed there, then answered late and used all the same.
        decision = story.run(75)
        assert (decision.forecast_source, decision.forecast_failure, decision.n_predicted) == ("model", None, 8)

    def test_without_any_history_it_is_asked_again_soon(self) -> None:
        story = Story()
        story.world.history_fails = True
        assert story.run(15).forecast_failure is None
        assert not story.model.calls
        story.world.history_fails = False
        assert story.run(45).forecast_source == "model"

    def test_a_workload_that_is_listed_and_not_yet_seen_waits_for_its_forecast(self) -> None:
        story = Story(target_of(WEB), target_of(API))
        story.world.unseen = {API}
        story.run(15)
        assert [[r.key for r in call] for call in story.model.calls] == [[WEB]]

    def test_a_workload_whose_past_is_unknown_is_not_asked_for(self) -> None:
        story = Story(target_of(WEB), target_of(API))
        story.world.past_unknown = {API}
        story.run(15)
        assert [[r.key for r in call] for call in story.model.calls] == [[WEB]]

    def test_a_workload_that_is_too_young_is_not_asked_for(self) -> None:
        story = Story()
        story.world.newest_missing = 288 - 7
        assert story.run(15).reasons == (Reason.NO_FORECAST,)
        assert not story.model.calls

    def test_an_unknown_season_is_missing_and_not_zero(self) -> None:
        story = Story()
        story.world.seasons_fail = True
        story.run(15)
        ((request,),) = story.model.calls
        assert np.isnan(request.seasonal_load).all()
        assert request.seasonal_load.shape == (2, 288 + 30)

    def test_without_a_workload_nothing_is_asked(self) -> None:
        story = Story()
        story.world.listed.clear()
        assert story.tick() == ()
        assert not story.world.windows

    def test_the_current_forecast_is_the_one_behind_the_decision(self) -> None:
        story = Story()
        assert story.controller.forecast(WEB) is None
        story.run(0)
        assert story.controller.forecast(WEB) is None
        story.run(15)
        forecast = story.controller.forecast(WEB)
        assert forecast is not None
        assert (forecast.source, forecast.origin) == ("model", T0)
        assert story.controller.forecast(API) is None


class TestModelAway:
    def test_the_cached_forecast_serves_until_it_no_longer_covers_then_the_seasonal_one_then_load_alone(self) -> None:
        story = Story(peak=80.0)
        story.world.season_ahead = 60.0
        story.run(30)
        story.model.error = ForecastUnavailable(ForecastFailure.UNREACHABLE, "away")
        # Origin 0 s, lead 90 s and tick 15 s: it covers until 1800 - 105 = 1695 s.
        last = story.run(1695)
        assert (last.forecast_source, last.floor) == ("model", 8)
        assert last.forecast_failure is ForecastFailure.UNREACHABLE
        following = story.run(1710)
        assert (following.forecast_source, following.n_predicted) == ("seasonal-day", 6)
        assert (following.floor, following.reason) == (8, Reason.SCALE_DOWN_STABILIZED)
        assert story.run(2100).floor == 6

        story.world.history_fails = True
        alone = story.run(6000)
        assert (alone.forecast_source, alone.n_predicted, alone.n_reactive) == (None, None, 2)
        assert (alone.floor, alone.reason) == (2, Reason.NO_FORECAST)

    def test_a_model_that_is_back_takes_over(self) -> None:
        story = Story(peak=80.0)
        story.model.error = ForecastUnavailable(ForecastFailure.TIMEOUT, "asleep")
        assert story.run(15).forecast_source == "seasonal-day"
        story.model.error = None
        decision = story.run(60)
        assert (decision.forecast_source, decision.forecast_failure) == ("model", None)

    def test_a_call_past_its_deadline_is_answered_by_yesterday(self) -> None:
        story = Story()
        story.world.season_ahead = 80.0
        story.model.error = StillRunning()
        decision = story.run(60)
        assert (decision.forecast_source, decision.forecast_failure) == ("seasonal-day", ForecastFailure.TIMEOUT)
        assert decision.n_predicted == 8

    def test_a_past_that_is_not_loaded_in_time_is_a_time_out_of_everybody(self) -> None:
        story = Story(target_of(WEB), target_of(API))
        story.executor.held = True
        story.run(45)
        decisions = story.tick()
        assert {d.forecast_failure for d in decisions} == {ForecastFailure.TIMEOUT}
        assert {d.forecast_source for d in decisions} == {None}

    def test_a_workload_without_an_answer_falls_back_alone(self) -> None:
        story = Story(target_of(WEB), target_of(API))
        story.model.silent = {API}
        story.tick()
        web, api = story.tick()
        assert (web.forecast_source, web.forecast_failure) == ("model", None)
        assert (api.forecast_source, api.forecast_failure) == ("seasonal-day", ForecastFailure.REJECTED)
        behind = story.controller.forecast(API)
        assert behind is not None
        assert behind.source == "seasonal-day"

    def test_without_a_season_it_is_the_trend_that_stands_in(self) -> None:
        story = Story()
        story.model.error = ForecastUnavailable(ForecastFailure.UNREACHABLE, "away")
        story.world.seasons_fail = True
        assert story.run(15).forecast_source == "damped-trend"


class TestBlind:
    @pytest.mark.parametrize("unseen", [True, False], ids=["the workload is not seen", "nothing is seen"])
    def test_without_metrics_the_floor_holds(self, unseen: bool) -> None:
        story = Story(peak=80.0)
        assert story.run(60).floor == 8
        story.model.peak = 10.0
        story.world.unseen = {WEB} if unseen else set()
        story.world.metrics_fail = not unseen
        decision = story.run(900)
        assert (decision.floor, decision.action, decision.load) == (8, Action.NONE, None)
        assert Reason.NO_METRICS in decision.reasons
        assert (decision.current_replicas, decision.ready_replicas) == (8, 2)

    def test_a_floor_raised_just_before_sight_was_lost_still_stands(self) -> None:
        story = Story(peak=50.0)
        raised = story.run(15)
        assert (raised.previous_floor, raised.floor) == (2, 5)
        story.world.unseen = {WEB}
        decision = story.run(30)
        assert (decision.previous_floor, decision.floor, decision.action) == (5, 5, Action.NONE)

    def test_a_workload_at_zero_that_is_no_longer_seen_is_no_observed_zero(self) -> None:
        story = Story(target_of(min_replicas=0))
        story.world.ready[WEB] = story.world.current[WEB] = story.world.floor[WEB] = 0
        story.world.load[WEB] = None
        story.world.history, story.model.peak = 0.0, 0.0
        assert story.run(15).load == 0.0
        story.world.unseen = {WEB}
        assert story.run(30).load is None

    def test_nothing_is_decided_for_a_workload_that_was_never_seen(self) -> None:
        story = Story(target_of(WEB), target_of(API))
        story.world.unseen = {API}
        assert [d.key for d in story.tick()] == [WEB]
        story.world.unseen = set()
        assert [d.key for d in story.tick()] == [WEB, API]

    def test_blind_from_the_start_and_seen_later_never_starts_low(self) -> None:
        story = Story()
        story.world.metrics_fail = True
        assert story.tick() == ()
        story.world.metrics_fail = False
        story.world.floor[WEB] = story.world.current[WEB] = story.world.ready[WEB] = 9
        (decision,) = story.tick()
        assert (decision.previous_floor, decision.floor) == (9, 9)


class TestIsolation:
    def test_one_lever_that_fails_leaves_the_others_alone(self) -> None:
        story = Story(target_of(WEB), target_of(API), peak=60.0)
        story.world.broken = {WEB}
        story.tick()
        web, api = story.tick()
        assert (web.floor, web.action, web.reason) == (2, Action.NONE, Reason.TARGET_UNAVAILABLE)
        assert (api.floor, api.action) == (6, Action.SCALE_UP)
        assert story.world.recorded[-2:] == [web, api]

    def test_a_lever_that_failed_is_tried_again_at_its_full_step(self) -> None:
        story = Story(peak=80.0)
        story.world.broken = {WEB}
        story.run(60)
        story.world.broken = set()
        assert [story.run(75).floor, story.run(90).floor] == [6, 8]

    def test_a_floor_that_was_reverted_is_set_again(self) -> None:
        story = Story(peak=50.0)
        story.run(30)
        story.world.floor[WEB] = 3
        assert story.run(45).action is Action.SCALE_UP
        assert story.world.applied == [(WEB, 5), (WEB, 5)]

    def test_a_lever_without_a_floor_of_its_own_is_written_although_shadow_was_there_already(self) -> None:
        target = target_of(mode=Mode.SHADOW, only_scaler=False)
        story = Story(target, peak=50.0)
        story.world.floor[WEB] = None
        assert story.run(60).floor == 5
        story.world.listed = [replace(target, mode=Mode.ON)]
        assert story.run(75).previous_floor == 1
        assert story.world.applied == [(WEB, 5)]

    def test_when_the_workloads_cannot_be_listed_the_last_list_stands(self) -> None:
        story = Story(peak=50.0)
        story.run(0)
        story.world.listing_fails = True
        assert story.run(15).floor == 5

    def test_a_workload_that_left_is_forgotten(self) -> None:
        story = Story(target_of(WEB), target_of(API), peak=50.0)
        story.run(15)
        story.world.listed = [target_of(API)]
        assert [d.key for d in story.tick()] == [API]
        assert story.controller.forecast(WEB) is None

    def test_a_workload_that_leaves_while_its_forecast_is_made_does_no_harm(self) -> None:
        story = Story(target_of(WEB), target_of(API), peak=50.0)
        story.model.error = ForecastUnavailable(ForecastFailure.TIMEOUT, "asleep")
        story.run(0)
        story.world.listed = [target_of(API)]
        (api,) = story.tick()
        assert api.forecast_source == "seasonal-day"

    def test_a_workload_that_is_off_is_left_alone(self) -> None:
        story = Story(target_of(WEB, mode=Mode.OFF), target_of(API))
        assert [d.key for d in story.tick()] == [API]


class TestShadow:
    def test_shadow_writes_nothing_and_follows_its_own_floor(self) -> None:
        story = Story(target_of(mode=Mode.SHADOW), peak=80.0)
        assert [story.run(15).floor, story.run(30).floor, story.run(45).floor] == [6, 8, 8]
        assert not story.world.applied
        assert [d.previous_floor for d in story.world.recorded] == [2, 2, 6, 8]

    def test_shadow_and_on_decide_alike(self) -> None:
        on, shadow = Story(peak=80.0), Story(target_of(mode=Mode.SHADOW), peak=80.0)
        on.run(600)
        shadow.run(600)
        assert [d.floor for d in shadow.world.recorded] == [d.floor for d in on.world.recorded]

    def test_switching_on_starts_from_what_stands_and_waits_as_after_a_restart(self) -> None:
        story = Story(target_of(mode=Mode.SHADOW), peak=15.0)
        story.world.floor[WEB] = 9
        assert story.run(600).floor == 2
        story.world.listed = [target_of()]
        assert (story.run(615).floor, story.run(900).floor, story.run(915).floor) == (9, 9, 2)


class TestRestart:
    def test_a_restart_holds_the_floor_for_the_stabilization_window(self) -> None:
        story = Story(peak=20.0)
        story.world.floor[WEB] = 9
        # What was learned in these minutes asks for a third one.
        assert (story.run(0).floor, story.run(285).floor, story.run(300).floor) == (9, 9, 3)


class TestLearning:
    def test_the_lead_time_of_raised_floors_is_used(self) -> None:
        story = Story(config=ControllerConfig(lead_time=LeadTimeConfig(lead_time_episodes=1)))
        assert story.run(15).lead_time == timedelta(seconds=90)
        story.world.load[WEB] = 50.0
        raised = story.run(30)
        assert (raised.floor, raised.lead_time) == (5, timedelta(seconds=90))
        story.run(135)
        story.world.ready[WEB] = 5
        story.run(150)
        assert story.run(165).lead_time == timedelta(seconds=120)

    def test_in_shadow_it_is_learned_from_the_other_autoscaler(self) -> None:
        target = target_of(mode=Mode.SHADOW, only_scaler=False)
        story = Story(target, config=ControllerConfig(lead_time=LeadTimeConfig(lead_time_episodes=1)))
        story.run(15)
        story.world.current[WEB] = 4
        story.run(75)
        story.world.ready[WEB] = 4
        story.run(90)
        assert story.run(105).lead_time == timedelta(seconds=60)

    def test_the_floor_that_shadow_follows_is_no_raise(self) -> None:
        target = target_of(mode=Mode.SHADOW, only_scaler=False)
        config = ControllerConfig(lead_time=LeadTimeConfig(lead_time_episodes=1))
        story = Story(target, peak=80.0, config=config)
        assert story.run(45).floor == 8
        story.world.current[WEB] = story.world.ready[WEB] = 8
        story.run(60)
        assert story.run(75).lead_time == timedelta(seconds=90)

    def test_a_raise_that_ends_out_of_sight_is_not_measured(self) -> None:
        story = Story(peak=50.0, config=ControllerConfig(lead_time=LeadTimeConfig(lead_time_episodes=1)))
        assert story.run(15).floor == 5
        story.world.metrics_fail = True
        story.run(600)
        story.world.metrics_fail = False
        story.world.ready[WEB] = 5
        story.run(615)
        assert story.run(630).lead_time == timedelta(seconds=90)

    def test_a_lead_time_given_by_the_user_is_kept(self) -> None:
        assert Story(target_of(lead_time=timedelta(seconds=33))).run(15).lead_time == timedelta(seconds=33)

    def test_a_forecast_that_fell_short_raises_the_next_ones(self) -> None:
        five_minutes = ControllerConfig(forecast_cycle=ForecastCycleConfig(forecast_period=timedelta(minutes=5)))
        story = Story(target_of(max_replicas=90), peak=20.0, config=five_minutes)
        story.run(0)
        story.world.history = 30.0
        story.run(285)
        before = story.run(300)
        # The forecast of T0 said 20, 30 came; learned with the call at 300 s, used with its answer.
        after = story.run(315)
        assert (before.offset, before.forecast_peak) == (0.0, 20.0)
        # Rate 0.05 * sqrt(0.1 / 0.01) * level 0.99, in load scales of 1 % of the mean of 30, as the load is flat.
        learned = 0.05 * math.sqrt(10) * 0.99 * 0.3
        assert after.offset == pytest.approx(learned)
        assert after.forecast_peak == pytest.approx(20.0 + learned)

    def test_a_saturated_window_teaches_nothing_but_misses(self) -> None:
        story = Story(peak=40.0)
        story.run(0)
        story.world.censored = {WEB}
        calm = story.run(1815)
        assert calm.offset == 0.0
        story.world.history = 50.0
        assert (story.run(3615).offset or 0.0) > 0.0

    def test_a_calm_saturated_window_does_not_lower_the_offset(self) -> None:
        offsets = []
        for censored in (set[TargetKey](), {WEB}):
            story = Story(target_of(max_replicas=90), peak=20.0)
            story.run(0)
            story.world.history = 30.0
            story.run(1815)
            story.model.peak, story.world.censored = 40.0, censored
            # The last forecast that said 20 is learned from at 3300 s.
            peak = story.run(3615).offset or 0.0
            offsets.append((story.run(5415).offset or 0.0) / peak)
        assert offsets[0] < 1.0
        assert offsets[1] == 1.0

    def test_a_model_that_costs_more_than_another_source_steps_aside(self) -> None:
        config = ControllerConfig(champion=ChampionConfig(champion_scored=timedelta(hours=1)))
        story = Story(target_of(max_replicas=90), peak=60.0, config=config)
        before = story.run(3600)
        assert (before.forecast_source, before.n_predicted) == ("model", 6)
        assert before.champion is not None
        assert before.champion.reason is ChampionReason.TOO_FEW_SCORES
        after = story.run(2 * 3600)
        assert after.champion is not None
        assert after.champion.reason is ChampionReason.CHEAPEST
        assert after.champion.source is after.forecast_source is not Source.MODEL
        assert after.champion.cost_ratios["model"] > 2.0
        assert (after.n_predicted or 0) < 4

    def test_who_serves_outlives_the_process(self) -> None:
        notebook = Notebook()
        Story(peak=60.0, memory=notebook).run(15)
        notebook.kept[WEB] = replace(notebook.kept[WEB], scores=Scores(champion=Source.PERSISTENCE))
        assert Story(peak=60.0, memory=notebook).run(15).forecast_source == "persistence"

    def test_while_the_model_is_away_another_champion_serves_on(self) -> None:
        notebook = Notebook()
        notebook.kept[WEB] = Memory(scores=Scores(champion=Source.PERSISTENCE))
        story = Story(peak=60.0, memory=notebook)
        story.model.error = ForecastUnavailable(ForecastFailure.UNREACHABLE, "away")
        decision = story.run(15)
        assert (decision.forecast_source, decision.forecast_failure) == ("persistence", ForecastFailure.UNREACHABLE)


@pytest.mark.parametrize("delay", [timedelta(seconds=-1), timedelta(seconds=901)])
def test_a_configuration_out_of_range_is_refused(delay: timedelta) -> None:
    with pytest.raises(ValueError, match="metric_delay must lie from"):
        ControllerConfig(metric_delay=delay)


def test_a_slower_tick_reaches_the_decision() -> None:
    config = ControllerConfig(policy=PolicyConfig(tick=timedelta(seconds=60)))
    story = Story(target_of(lead_time=timedelta(seconds=30)), config=config)
    assert story.run(15).forecast_steps == 2  # ceil((15 + 30 + 60) / 60)
