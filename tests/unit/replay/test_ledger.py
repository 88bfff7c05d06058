from datetime import timedelta

import numpy as np
import pytest

from scaler.replay.demand import TICK
from scaler.replay.ledger import Ledger
from scaler.replay.physics import Physics
from scaler.replay.pods import PodCounts
from scaler.replay.scores import Scores
from tests.unit.replay.simulated import lanes

HASTY = Physics(noise_ratio=0.0, pod_noise_ratio=0.0, queue_timeout=timedelta(0))


def scores_of(
    loads: list[list[float]], pods: list[int], *, step: timedelta = TICK, serving: float | None = None
) -> tuple[Scores, ...]:
    """Score the whole of some loads, each with as many pods all along."""
    ledger, ready = Ledger(lanes(loads, physics=HASTY), step=step), np.array(pods)
    for number in range(len(loads[0]) * timedelta(minutes=1) // step):
        ledger.add(number, PodCounts(ready, ready, ready), ready * 1.0 if serving is None else np.full(1, serving))
    return ledger.scores()


def test_each_lane_is_served_and_scored_by_its_own_load_and_pods() -> None:
    idle, short = scores_of([[10.0, 20.0], [30.0, 50.0]], [2, 4])
    assert (idle.under_time, idle.over_time, idle.late_requests) == (0.0, 0.5, 0.0)
    assert (short.under_time, short.over_time) == (0.5, 0.5)
    assert short.late_requests == pytest.approx(10 / 80)


def test_unknown_load_is_never_late_and_is_not_scored() -> None:
    (scores,) = scores_of([[10.0, np.nan, 20.0]], [1])
    assert scores.under_time == 0.5
    assert scores.late_requests == pytest.approx(10 / 30)
    assert scores.scored_hours == pytest.approx(2 / 60)


def test_a_finer_pace_scores_the_same_load_the_same() -> None:
    (coarse,), (fine,) = (scores_of([[10.0, 20.0]], [1], step=step) for step in (TICK, timedelta(seconds=5)))
    assert fine.under_time == coarse.under_time == 0.5
    assert fine.pod_hours == pytest.approx(coarse.pod_hours) == pytest.approx(2 / 60)
    assert fine.late_requests == pytest.approx(coarse.late_requests)


def test_pods_that_warm_up_count_as_ready_and_serve_less() -> None:
    (scores,) = scores_of([[20.0]], [2], serving=1.5)
    assert scores.under_time == 0.0
    assert scores.late_requests == pytest.approx(0.25)


def test_what_waits_is_told_in_load_times_seconds() -> None:
    patient = Physics(noise_ratio=0.0, queue_timeout=timedelta(seconds=60))
    for step in (TICK, timedelta(seconds=5)):
        ledger = Ledger(lanes([[30.0]], physics=patient), step=step)
        ready = np.array([1])
        for number in range(timedelta(seconds=15) // step):
            ledger.add(number, PodCounts(ready, ready, ready), ready * 1.0)
        assert ledger.waiting.tolist() == [20.0 * 15]  # 30 come, 10 are served, for 15 s


@pytest.mark.parametrize(
    ("held_pods", "dropped"), [pytest.param(0, 1.0, id="nobody"), pytest.param(1, 0.5, id="activator")]
)
def test_without_pods_requests_wait_where_somebody_holds_them(held_pods: int, dropped: float) -> None:
    half_a_minute = Physics(noise_ratio=0.0, queue_timeout=timedelta(seconds=30))
    ledger = Ledger(lanes([[10.0]], physics=half_a_minute), held_pods=held_pods)
    none = np.zeros(1, dtype=np.int64)
    for tick in range(4):
        ledger.add(tick, PodCounts(none, none, none), np.zeros(1))
    (scores,) = ledger.scores()
    assert (scores.late_requests, scores.dropped_requests) == (1.0, dropped)  # of 60 s of load 30 are held
