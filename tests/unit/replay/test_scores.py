from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scaler.replay.demand import TICK
from scaler.replay.pods import PodCounts
from scaler.replay.scores import Scores, Tally
from scaler.replay.service import Queue


def score_of(
    needed: list[float], ready: list[int], ordered: list[int] | None = None, paid: list[int] | None = None
) -> Scores:
    """Score one lane whose pods serve ten each, with no queue."""
    asked = ordered if ordered is not None else ready
    columns = (needed, ready, asked, paid if paid is not None else asked)
    (scores,) = tallied(*(np.array([column]) for column in columns)).scores()
    return scores


def tallied(*columns: np.ndarray) -> Tally:
    """Needed, ready, ordered and paid pods, lane by lane."""
    needed, ready, ordered, paid = (column.T for column in columns)
    tally, queue = Tally(needed.shape[1], TICK), Queue(needed.shape[1], room_steps=0.0)
    for d, s, r, p in zip(needed, ready, ordered, paid, strict=True):
        arrived = np.nan_to_num(d) * 10.0
        tally.add(d, PodCounts(s, r, p), arrived, queue.serve(arrived, s * 10.0))
    return tally


def test_shares_of_a_worked_case() -> None:
    # short by 1 of 4 in one tick, spare 2 over 2 in one, exact in two
    scores = score_of([4.0, 2.0, 3.0, 3.0], [3, 4, 3, 3])
    assert scores.under_time == pytest.approx(1 / 4)
    assert scores.under_volume == pytest.approx((1 / 4) / 4)
    assert scores.over_time == pytest.approx(1 / 4)
    assert scores.over_volume == pytest.approx((2 / 2) / 4)
    assert scores.late_requests == pytest.approx(10 / 120)  # 10 of 120 load-ticks find no pod
    assert scores.dropped_requests == pytest.approx(10 / 120)


def test_pod_hours_count_pods_also_while_they_start_and_terminate() -> None:
    # 240 ticks are one hour
    scores = score_of([2.0] * 240, [2] * 240, [3] * 240, [4] * 240)
    assert scores.pod_hours == pytest.approx(4.0)
    assert scores.scored_hours == pytest.approx(1.0)


def test_pods_that_still_start_do_not_count_as_ready() -> None:
    scores = score_of([3.0, 3.0], [2, 3], [3, 3])
    assert scores.under_time == pytest.approx(0.5)
    assert scores.over_time == 0.0


def test_unknown_load_is_left_out_of_every_share() -> None:
    with_gap = score_of([4.0, np.nan, 2.0], [3, 9, 2])
    without = score_of([4.0, 2.0], [3, 2])
    assert with_gap.under_time == without.under_time == pytest.approx(0.5)
    assert with_gap.pod_hours == without.pod_hours
    assert with_gap.late_requests == without.late_requests


def test_no_known_load_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="load is unknown in the whole window"):
        score_of([np.nan], [1])


def test_a_tick_that_needs_no_pod_counts_its_spare_pods_against_one() -> None:
    scores = score_of([0.0, 0.0], [2, 0])
    assert scores.under_volume == 0.0
    assert scores.over_volume == pytest.approx(1.0)
    assert scores.late_requests == 0.0


@pytest.mark.parametrize(
    ("ordered", "actions", "reversals"),
    [
        pytest.param([2] * 10, 0, 0, id="steady"),
        pytest.param([2, 4, 2], 2, 1, id="up and down again"),
        pytest.param([4, 2, 4], 2, 0, id="down and up is none"),
        pytest.param([2, 4, 6, 2], 3, 1, id="two ups and one down are one reversal"),
        pytest.param([2, 4, 3, 2], 3, 1, id="one up and two downs are one reversal"),
        pytest.param([2] + [4] * 40 + [2], 2, 1, id="ten minutes apart"),
        pytest.param([2] + [4] * 41 + [2], 2, 0, id="a tick more than ten minutes apart"),
        pytest.param([4, 2], 1, 0, id="a first action downwards is none"),
    ],
)
def test_actions_and_reversals(ordered: list[int], actions: int, reversals: int) -> None:
    scores = score_of([1.0] * len(ordered), ordered)
    assert (scores.scale_actions, scores.reversals) == (actions, reversals)


def test_ten_minutes_are_as_long_at_another_pace() -> None:
    tally, queue = Tally(1, timedelta(seconds=2)), Queue(1, room_steps=0.0)
    for ordered in [2] + [4] * 300 + [2]:
        pods = np.array([ordered])
        tally.add(np.ones(1), PodCounts(pods, pods, pods), np.ones(1), queue.serve(np.ones(1), pods * 1.0))
    (scores,) = tally.scores()
    assert scores.reversals == 1
    assert scores.scored_hours == pytest.approx(302 * 2 / 3600)


@given(
    needed=arrays(np.float64, (2, 20), elements=st.sampled_from([0.0, 1.0, 4.0, 9.0, np.nan])),
    ready=arrays(np.int64, (2, 20), elements=st.integers(0, 9)),
)
def test_a_lane_alone_scores_as_in_the_batch(needed: np.ndarray, ready: np.ndarray) -> None:
    needed[:, 0] = 1.0  # something is known
    together = tallied(needed, ready, ready, ready).scores()
    for lane, scores in enumerate(together):
        own = ready[lane : lane + 1]
        assert tallied(needed[lane : lane + 1], own, own, own).scores() == (scores,)
