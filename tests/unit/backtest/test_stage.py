from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.backtest.stage import mean_scores, stage_of
from scaler.replay.demand import TICK
from scaler.replay.fixed_lanes import FixedLanes
from scaler.replay.play import Played, play
from scaler.replay.scores import Scores
from scaler.replay.traces import EPOCH
from tests.unit.backtest.small import HOUR, NOISY, PUNCTUAL, QUIET, T0, case, steady

SEEDS = replace(QUIET, seeds=(3, 8))
HOUR_TICKS = HOUR // TICK


def test_the_parts_are_ticks_on_a_clock_that_all_cases_share() -> None:
    stage = stage_of([case(steady(4, 10.0)), case(steady(4, 20.0), start=T0 + timedelta(days=9))], QUIET)
    assert stage.deciding == range(HOUR_TICKS, 2 * HOUR_TICKS)
    assert stage.checking == range(2 * HOUR_TICKS, 4 * HOUR_TICKS)
    assert stage.metrics.clock.start == EPOCH
    assert stage.metrics.load.shape == (4 * HOUR_TICKS, 2)


def test_true_time_is_ahead_of_the_common_clock_where_a_trace_has_any() -> None:
    cases = [case(steady(3, 1.0)), case(steady(3, 1.0), has_clock=False), case(steady(3, 1.0), start=T0 + HOUR)]
    assert stage_of(cases, SEEDS).ahead == [
        true - EPOCH for true in (T0, T0, EPOCH, EPOCH, T0 + HOUR, T0 + HOUR)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("unknown", "begin"),
    [
        pytest.param((0, 0), 1, id="from the start"),
        pytest.param((10, 0), 41, id="padded"),
        pytest.param((10, 30), 121, id="the last of them"),
    ],
)
def test_nothing_begins_before_every_case_has_a_value(unknown: tuple[int, int], begin: int) -> None:
    loads = [steady(3, 10.0) for _ in unknown]
    for load, minutes in zip(loads, unknown, strict=True):
        load[:minutes] = np.nan
    stage = stage_of([case(load) for load in loads], QUIET)
    assert stage.begin == begin
    assert not np.isnan(stage.metrics.load[begin - 1]).any()


def test_a_plan_has_a_lane_for_each_seed_of_each_setting_of_each_case() -> None:
    stage = stage_of([case(steady(3, 10.0)), case(steady(3, 70.0), bounds=(2, 9))], SEEDS)
    plan = stage.plan([["a", "b"], ["c", "d"]])
    assert plan.of == ("a", "a", "b", "b", "c", "c", "d", "d")
    assert [lane.load for lane in plan.lanes.lanes] == [0, 1, 0, 1, 2, 3, 2, 3]
    assert [lane.seed for lane in plan.lanes.lanes] == [3, 8] * 4
    assert [(lane.min_replicas, lane.max_replicas) for lane in plan.lanes.lanes] == [(1, 50)] * 4 + [(2, 9)] * 4
    assert list(plan.first_seeds) == [0, 2, 4, 6]
    assert plan.lanes.load(0).tolist() == [10.0] * 4 + [70.0] * 4


def test_cases_of_one_load_share_its_columns_and_differ_in_all_else() -> None:
    load, slow = steady(3, 70.0), replace(PUNCTUAL, median=timedelta(minutes=5))
    others = [case(steady(3, 10.0)), case(load, start=T0 + HOUR), case(load, has_clock=False)]
    stage = stage_of([case(load), *others, case(load, start_up=slow, bounds=(2, 9))], SEEDS)
    assert stage.metrics.load.shape[1] == 8
    assert stage.ahead[::2] == [T0 - EPOCH, T0 - EPOCH, T0 + HOUR - EPOCH, timedelta(0)]
    lanes = stage.plan([["a"]] * 5).lanes.lanes
    assert [lane.load for lane in lanes] == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]
    assert [(lane.start_up, lane.max_replicas) for lane in lanes] == [(PUNCTUAL, 50)] * 8 + [(slow, 9)] * 2
    assert stage.load(4, stage.checking).tolist() == stage.load(0, stage.checking).tolist() == [70.0] * HOUR_TICKS
    assert stage.needed_pod_hours(4, stage.checking) == pytest.approx(7.0)
    assert stage.needed_pod_hours(1, stage.checking) == pytest.approx(1.0)


def test_every_case_has_as_many_settings() -> None:
    with pytest.raises(ValueError, match="zip"):
        stage_of([case(steady(3, 10.0))], QUIET).plan([["a"], ["b"]])


def test_outcomes_are_means_over_seeds_with_the_pods_of_the_first() -> None:
    stage = stage_of([case(steady(3, 10.0)), case(steady(3, 70.0))], SEEDS)
    plan = stage.plan([[2, 3], [4, 5]])
    counts = np.arange(8) + 1  # unlike among seeds, which the real ones never are
    played = play(FixedLanes(plan.lanes, counts), stage.checking, watched=plan.first_seeds)
    found = plan.outcomes(played)
    assert [outcome.scores.pod_hours for outcome in found] == pytest.approx([1.5, 3.5, 5.5, 7.5])
    assert [outcome.ready.tolist() for outcome in found] == [[pods] * HOUR_TICKS for pods in (1, 3, 5, 7)]
    unwatched = plan.outcomes(play(FixedLanes(plan.lanes, counts), stage.checking))
    assert [outcome.ready.shape for outcome in unwatched] == [(0,)] * 4
    assert [outcome.scores for outcome in unwatched] == [outcome.scores for outcome in found]


def test_needed_pod_hours_are_the_mean_of_what_each_seed_needs() -> None:
    noisy = stage_of([case(steady(3, 95.0)), case(steady(3, 15.0))], replace(NOISY, seeds=(3, 8)))
    needs = [
        np.ceil(noisy.metrics.load[noisy.checking.start :, column] / 10.0).sum() / HOUR_TICKS for column in range(4)
    ]
    assert needs[0] != needs[1]
    assert noisy.needed_pod_hours(0, noisy.checking) == pytest.approx((needs[0] + needs[1]) / 2)
    assert noisy.needed_pod_hours(1, noisy.checking) == pytest.approx((needs[2] + needs[3]) / 2)


def test_what_is_unknown_needs_no_pods() -> None:
    load = steady(4, 35.0)
    load[150:] = np.nan  # half an hour of the scored two is known
    stage = stage_of([case(load)], QUIET)
    assert stage.needed_pod_hours(0, stage.deciding) == pytest.approx(4.0)
    assert stage.needed_pod_hours(0, stage.checking) == pytest.approx(2.0)


def test_the_load_of_a_case_is_that_of_its_first_seed() -> None:
    stage = stage_of([case(steady(3, 95.0)), case(steady(3, 15.0))], replace(NOISY, seeds=(3, 8)))
    alone = stage_of([case(steady(3, 15.0))], replace(NOISY, seeds=(3,)))
    assert stage.load(1, stage.checking).tolist() == alone.metrics.load[stage.checking.start :, 0].tolist()


@given(st.lists(st.builds(Scores, *[st.floats(0, 100)] * 10), min_size=1, max_size=5))
def test_every_score_is_averaged(seeds: list[Scores]) -> None:
    mean = mean_scores(seeds)
    assert mean.under_time == pytest.approx(sum(one.under_time for one in seeds) / len(seeds))
    assert mean.reversals == pytest.approx(sum(one.reversals for one in seeds) / len(seeds))
    assert mean_scores([mean]) == mean


def test_played_lanes_of_other_cases_do_not_mix() -> None:
    stage = stage_of([case(steady(3, 10.0)), case(steady(3, 70.0))], QUIET)
    plan = stage.plan([[0], [1]])
    scores = play(FixedLanes(plan.lanes, np.array([7, 7])), stage.checking).scores
    ready = np.array([[1, 2], [3, 4]])
    first, second = plan.outcomes(Played(scores, ready, ready))
    assert (first.ready.tolist(), second.ready.tolist()) == ([1, 3], [2, 4])
    assert (first.scores, second.scores) == scores
