from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.replay.hpa import HpaConfig
from scaler.replay.lanes import Lanes
from scaler.replay.last_week_lanes import LastWeekConfig, LastWeekLanes
from scaler.replay.physics import Physics
from scaler.replay.pods import Pods
from tests.unit.replay.simulated import lane, lanes

HOUR, LEAD = timedelta(hours=1), timedelta(minutes=5)
LOADS = st.lists(st.floats(0, 400) | st.just(float("nan")), min_size=30, max_size=30)


def under(
    simulated: Lanes, multiplier: list[float], *, period: timedelta = HOUR, lead: timedelta = LEAD
) -> LastWeekLanes:
    count = len(simulated)
    pods = Pods(np.full(count, 5), simulated.delays(), simulated.physics)
    config = HpaConfig(np.full(count, 7.0), simulated.max_replicas)
    return LastWeekLanes(simulated, config, pods, LastWeekConfig(np.array(multiplier), period, lead))


def floors(last_week: LastWeekLanes, ticks: range) -> list[list[int]]:
    """The floor of each lane at each tick. Shape (ticks, L)."""
    seen = []
    for tick in ticks:
        last_week.advance(tick)
        seen.append(last_week.floor.tolist())
    return seen


def test_the_highest_load_of_the_window_sets_the_floor_before_its_hour_comes_again() -> None:
    # Minute 10 has 95, all others 20. Its sample ends at tick 44; an hour is 240 ticks, five minutes are 20.
    simulated = lanes([[95.0 if minute == 10 else 20.0 for minute in range(80)]], [lane()] * 3)
    seen = floors(under(simulated, [1.0, 1.2, 0.0]), range(255, 300))
    calm, raised = [2, 3, 1], [10, 12, 1]
    assert seen == [calm] * 9 + [raised] * 21 + [calm] * 15


def test_it_is_last_week_and_half_an_hour_unless_said_otherwise() -> None:
    minutes = 8 * 24 * 60
    simulated = lanes([[95.0 if minute == 600 else 20.0 for minute in range(minutes)]])
    pods = Pods(np.full(1, 5), simulated.delays(), simulated.physics)
    config = HpaConfig(np.full(1, 7.0), simulated.max_replicas)
    last_week = LastWeekLanes(simulated, config, pods, LastWeekConfig(np.ones(1)))
    week, first, last = 7 * 5760, 4 * 601 - 120, 4 * 601
    assert floors(last_week, range(week + first - 2, week + first + 2)) == [[2], [2], [10], [10]]
    assert floors(last_week, range(week + last, week + last + 2)) == [[10], [2]]


def test_the_hpa_goes_above_the_floor_as_ever() -> None:
    simulated = lanes([[20.0] * 60 + [70.0] * 20], [lane(start_seconds=5.0)])
    last_week = under(simulated, [1.0])
    assert floors(last_week, range(240, 300))[-1] == [2]
    assert last_week.pods.ordered.tolist() == [10]  # 70 / 7


def test_the_floor_brings_pods_before_the_load() -> None:
    simulated = lanes([[20.0] * 10 + [90.0] * 5 + [20.0] * 65], [lane(start_seconds=90.0)])
    last_week = under(simulated, [1.0])
    floors(last_week, range(255, 275))
    assert last_week.pods.ready.tolist() == [9]  # the load of this hour is 20


@pytest.mark.parametrize(
    ("load", "tick", "floor"),
    [
        pytest.param([90.0] * 80, 239, 9, id="what there is of a window that begins before the load"),
        pytest.param([90.0] * 80, 219, 1, id="no sample of an hour ago"),
        pytest.param([np.nan] * 40 + [20.0] * 40, 300, 1, id="an hour ago nobody measured"),
        pytest.param([20.0] * 12 + [np.nan] * 5 + [20.0] * 63, 288, 2, id="a gap in the window is no zero"),
        pytest.param([20.0] * 12 + [np.nan] * 5 + [20.0] * 63, 290, 1, id="a gap as long as the window"),
        pytest.param([0.0] * 80, 300, 1, id="no load, the minimum"),
        pytest.param([9000.0] * 80, 300, 50, id="the maximum"),
        pytest.param([30.0] * 80, 300, 3, id="no pod for rounding"),
    ],
)
def test_what_is_not_known_is_no_floor_beyond_the_minimum(load: list[float], tick: int, floor: int) -> None:
    last_week = under(lanes([load]), [1.0])
    assert floors(last_week, range(tick, tick + 1)) == [[floor]]


@pytest.mark.parametrize(
    ("multiplier", "period", "lead", "match"),
    [
        pytest.param(-0.1, HOUR, LEAD, "multiplier must be at least 0", id="a negative load"),
        pytest.param(np.nan, HOUR, LEAD, "multiplier must be at least 0", id="no multiplier"),
        pytest.param(1.0, HOUR, HOUR, "less than the period", id="the present"),
        pytest.param(1.0, HOUR, -LEAD, "from 0", id="late"),
        pytest.param(1.0, HOUR, timedelta(seconds=3500), "nothing that is 0:01:40 old can be known", id="too new"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(multiplier: float, period: timedelta, lead: timedelta, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        under(lanes([[20.0] * 80]), [multiplier], period=period, lead=lead)


@settings(max_examples=20, deadline=None)
@given(loads=st.tuples(LOADS, LOADS), lead=st.integers(0, 40), multipliers=st.tuples(*[st.floats(0, 3)] * 3))
def test_a_lane_alone_is_the_lane_in_the_batch_and_floors_keep_the_bounds(
    loads: tuple[list[float], list[float]], lead: int, multipliers: tuple[float, float, float]
) -> None:
    rows = [lane(load, seed=seed, least=2, most=30) for load, seed in ((0, 3), (1, 3), (0, 4))]
    physics, asked = Physics(metric_delay=timedelta(seconds=45)), timedelta(seconds=15 * lead)

    def of(simulated: Lanes, some: list[float]) -> LastWeekLanes:
        return under(simulated, some, period=timedelta(minutes=12), lead=asked)

    batch = of(lanes(list(loads), rows, physics), list(multipliers))
    alone = [of(lanes(list(loads), [row], physics), [knob]) for row, knob in zip(rows, multipliers, strict=True)]
    for tick in range(40, 120):
        for last_week in (batch, *alone):
            last_week.advance(tick)
        assert ((batch.floor >= 2) & (batch.floor <= 30)).all()
        assert (batch.pods.ordered >= batch.floor).all()
        for number, one in enumerate(alone):
            assert batch.floor[number] == one.floor[0]
            for name in ("ready", "ordered", "serving"):
                assert getattr(batch.pods, name)[number] == getattr(one.pods, name)[0]


@settings(max_examples=30, deadline=None)
@given(past=st.lists(st.floats(0, 100) | st.just(np.nan), min_size=12, max_size=20), futures=st.tuples(LOADS, LOADS))
def test_changing_the_future_changes_nothing_that_is_done_earlier(
    past: list[float], futures: tuple[list[float], list[float]]
) -> None:
    seen = []
    for future in futures:
        last_week = under(lanes([past + future]), [1.3], period=timedelta(minutes=8), lead=timedelta(minutes=6))
        # a step after the past, and the metric delay
        floor = floors(last_week, range(32, 4 * (len(past) + 2)))
        seen.append((floor, last_week.pods.ordered.tolist()))
    assert seen[0] == seen[1]
