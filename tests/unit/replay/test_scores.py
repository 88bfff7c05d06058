from datetime import timedelta

import numpy as np
import pytest

from scaler.replay.cluster import serve
from scaler.replay.scores import Scores, score


def score_of(needed: list[float], ready: list[int], ordered: list[int] | None = None) -> Scores:
    s = np.array(ready)
    load = np.array(needed) * 10.0
    service = serve(load, s, capacity=10.0, queue_timeout=timedelta(seconds=0))
    return score(np.array(needed), s, s if ordered is None else np.array(ordered), service)


def test_shares_of_a_worked_case() -> None:
    # short by 1 of 4 in one tick, spare 2 over 2 in one, exact in two
    scores = score_of([4.0, 2.0, 3.0, 3.0], [3, 4, 3, 3])
    assert scores.under_time == pytest.approx(1 / 4)
    assert scores.under_volume == pytest.approx((1 / 4) / 4)
    assert scores.over_time == pytest.approx(1 / 4)
    assert scores.over_volume == pytest.approx((2 / 2) / 4)
    assert scores.late_requests == pytest.approx(10 / 120)  # 10 of 120 load-ticks find no pod
    assert scores.dropped_requests == pytest.approx(10 / 120)


def test_pod_hours_count_ordered_pods_also_while_they_start() -> None:
    # 240 ticks are one hour
    scores = score_of([2.0] * 240, [2] * 240, [3] * 240)
    assert scores.pod_hours == pytest.approx(3.0)
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
        pytest.param([2] + [4] * 40 + [2], 2, 1, id="ten minutes apart"),
        pytest.param([2] + [4] * 41 + [2], 2, 0, id="a tick more than ten minutes apart"),
    ],
)
def test_actions_and_reversals(ordered: list[int], actions: int, reversals: int) -> None:
    scores = score_of([1.0] * len(ordered), ordered)
    assert (scores.scale_actions, scores.reversals) == (actions, reversals)
