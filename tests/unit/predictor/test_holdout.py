from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor_model.holdout import BLOCKS, History, needed_days, split_history
from predictor_model.traces import Trace

DAY = 86_400
CLOCK = 1_700_000_000


def trace(days: float, *, name: str = "web", start: int = 0, step: int = 300, dataset: str = "load") -> Trace:
    return Trace(dataset, name, start, step, np.ones(int(days * DAY / step), np.float32))


def one(*traces: Trace) -> History:
    (history,) = split_history(traces).histories
    return history


def test_a_series_without_a_clock_is_cut_in_its_own_time() -> None:
    history = one(trace(10))
    assert (history.fit, history.holdout, history.end) == (2016, 2304, 2880)  # 70, 80 and 100 % of 2,880 steps
    assert history.fit_share == pytest.approx(7 / 8)
    assert len(history.before.values) == 2304


def test_series_of_one_file_are_cut_at_one_moment() -> None:
    old, young = trace(10, start=CLOCK), trace(6, name="young", start=CLOCK + 4 * DAY)
    first, second = split_history([old, young]).histories
    moments = [
        {history.trace.start + 300 * getattr(history, border) for history in (first, second)}
        for border in ("holdout", "fit", "end")
    ]
    assert [len(moment) for moment in moments] == [1, 1, 1]
    assert moments[0] == {CLOCK + 8 * DAY}


def test_files_are_cut_each_in_its_own_time() -> None:
    first, second = split_history(
        [trace(10, start=CLOCK, dataset="a"), trace(10, start=CLOCK + 900 * DAY, dataset="b")]
    ).histories
    assert first.holdout == second.holdout == 2304


def test_a_series_that_ended_before_the_holdout_trains_whole() -> None:
    gone = trace(5, name="gone", start=CLOCK)
    histories = split_history([trace(10, start=CLOCK), gone]).histories
    assert (histories[1].fit, histories[1].holdout) == (1440, 1440)


@pytest.mark.parametrize(
    ("series", "why"),
    [
        pytest.param(trace(4.9), "has 4.9 days of history; at a step of 300 s at least 5.0 are needed", id="short"),
        pytest.param(trace(40, step=3600), "has 40.0 days of history; at a step of 3600 s at least 50.0", id="hourly"),
        pytest.param(trace(400, step=7200), "has a step of 7200 s; at most 3600 s is accepted", id="coarse"),
    ],
)
def test_a_series_that_cannot_be_used_says_what_is_needed(series: Trace, why: str) -> None:
    split = split_history([series])
    assert split.histories == ()
    (skipped,) = split.skipped
    assert (skipped.dataset, skipped.series) == ("load", "web")
    assert skipped.why.startswith(why)


def test_a_series_that_began_a_moment_ago_is_left_out_and_the_others_stay() -> None:
    new = trace(1, name="new", start=CLOCK + 9 * DAY)
    split = split_history([trace(10, start=CLOCK), new])
    assert [history.trace.name for history in split.histories] == ["web"]
    assert [(s.series, s.why) for s in split.skipped] == [
        ("new", "has 0 samples before the newest 30 % of the time; 90 are needed")
    ]


def test_missing_samples_are_not_counted() -> None:
    series = trace(10)
    series.values[:1950] = np.nan  # 66 of the 2,016 that train are left
    assert split_history([series]).skipped[0].why.startswith("has 66 samples before")


def test_a_series_lost_sight_of_for_a_while_trains_and_judges_but_stops_nothing() -> None:
    series = trace(10)
    series.values[2016:2304] = np.nan
    assert not one(series).validates
    assert one(trace(10)).validates


def test_a_step_too_fine_is_averaged_up() -> None:
    assert one(trace(10, step=10)).trace.step_seconds == 20


@pytest.mark.parametrize(("step", "days"), [(15, 5.0), (60, 5.0), (300, 5.0), (600, 1200 * 600 / DAY)])
def test_the_history_needed_holds_a_day_and_eight_horizons_to_judge_by(step: int, days: float) -> None:
    assert needed_days(step) == pytest.approx(days)
    assert 0.2 * needed_days(step) * DAY / step >= 8 * 30


@given(days=st.floats(5, 30), lag=st.floats(0, 10), step=st.sampled_from([60, 300, 600]))
def test_parts_follow_each_other_and_blocks_cover_the_holdout(days: float, lag: float, step: int) -> None:
    series = [trace(days + lag, start=CLOCK, step=step), trace(days, name="b", start=CLOCK, step=step)]
    for history in split_history(series).histories:
        assert 0 < history.fit <= history.holdout <= len(history.trace.values)
        assert history.end > history.holdout
        origins = np.arange(history.holdout, len(history.trace.values))
        blocks = history.blocks(origins)
        assert (np.diff(blocks) >= 0).all()
        assert blocks.min(initial=0) >= 0
        assert blocks.max(initial=0) < BLOCKS


def test_nothing_of_the_holdout_is_in_what_came_before() -> None:
    history = one(trace(10))
    values = history.trace.values.copy()
    values[history.holdout :] = 99.0
    changed = replace(history, trace=replace(history.trace, values=values))
    np.testing.assert_array_equal(changed.before.values, history.before.values)
