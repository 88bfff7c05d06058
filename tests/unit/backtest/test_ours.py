import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import pytest

from scaler import baselines
from scaler.backtest.ours import Floors, targets_of
from scaler.baselines import Baselines
from scaler.controller import ControllerConfig
from scaler.domain import FloatArray, ForecastRequest, Mode
from scaler.forecast_cycle import ForecastCycleConfig
from scaler.replay.demand import TICK
from scaler.replay.hpa_lanes import HpaLanes
from scaler.replay.play import nothing
from tests.unit.backtest.small import HOUR, HourBefore, hourly_jump, steady
from tests.unit.replay.simulated import MINUTE, T0, at, lane, lanes, under_hpa

HOUR_TICKS = HOUR // TICK
CONFIG = ControllerConfig(metric_delay=MINUTE)


class Over(NamedTuple):
    """AI-HPA over the HPAs of some lanes; the lanes alternate between floored and not."""

    floors: Floors
    hpas: HpaLanes
    forecaster: HourBefore

    def lead(self, mode: Mode, window: range) -> list[list[int]]:
        """Floors at each tick, after the HPAs have acted on those of the tick before."""
        before, after = self.floors.hooks(mode, at(window.start))
        seen = []
        for tick in window:
            before(tick)
            self.hpas.advance(tick)
            seen.append(self.hpas.floor.tolist())
            after(tick)
        return seen


def over(
    load: FloatArray,
    levels: tuple[float | None, ...] = (None, 0.95),
    *,
    latency: timedelta = timedelta(seconds=3),
    config: ControllerConfig = CONFIG,
    ahead: timedelta = timedelta(0),
    asked_ahead: int = 0,
) -> Over:
    simulated = lanes([load.tolist()], [lane(0, 60.0) for _ in levels])
    hpas, forecaster = under_hpa(simulated), HourBefore()
    floors = Floors(
        hpas, targets_of(simulated, levels), forecaster, [ahead], config, latency, {}, asked_ahead=asked_ahead
    )
    return Over(floors, hpas, forecaster)


def test_lanes_with_a_level_are_targets_and_the_others_are_left_alone() -> None:
    simulated = lanes([[1.0]], [lane(least=2, most=9), lane(), lane(least=3, most=7)])
    found = targets_of(simulated, (0.99, None, 0.5))
    assert list(found) == [0, 2]
    assert [(one.min_replicas, one.max_replicas, one.capacity) for one in found.values()] == [
        (2, 9, 10.0),
        (3, 7, 10.0),
    ]
    assert [one.level for one in found.values()] == pytest.approx([0.99, 0.5])
    assert len({one.key for one in found.values()}) == 2


def test_without_a_floored_lane_nothing_is_asked_or_done() -> None:
    ai_hpa = over(steady(3, 35.0), (None, None))
    ai_hpa.floors.learn(at(HOUR_TICKS), at(2 * HOUR_TICKS))
    assert ai_hpa.floors.hooks(Mode.ON, at(0)) == (nothing, nothing)
    assert ai_hpa.forecaster.asked == []


def test_in_mode_on_floors_foresee_the_jump_and_in_shadow_mode_nothing_moves() -> None:
    load, window = hourly_jump(4), range(2 * HOUR_TICKS, 3 * HOUR_TICKS)
    led = np.array(over(load).lead(Mode.ON, window))
    assert set(led[:, 0].tolist()) == {1}  # the lane that is nobody's
    assert led[80:90, 1].min() >= 12  # the jump to twelve pods comes at tick 80
    shadow = over(load)
    assert set(np.array(shadow.lead(Mode.SHADOW, window)).ravel().tolist()) == {1}
    assert shadow.forecaster.asked


def test_a_floor_acts_from_the_next_tick_on() -> None:
    ai_hpa = over(hourly_jump(4))
    before, after = ai_hpa.floors.hooks(Mode.ON, at(2 * HOUR_TICKS))
    raised = 0
    for tick in range(2 * HOUR_TICKS, 3 * HOUR_TICKS):
        before(tick)
        floor = ai_hpa.hpas.floor[1]
        ai_hpa.hpas.advance(tick)
        assert ai_hpa.hpas.pods.ordered[1] >= floor
        ordered = int(ai_hpa.hpas.pods.ordered[1])
        after(tick)
        assert ai_hpa.hpas.pods.ordered[1] == ordered
        raised += int(ai_hpa.hpas.floor[1] > ordered)
    assert raised


@pytest.mark.parametrize(
    ("seconds", "seen"),
    [
        pytest.param(3, 2, id="there in the next tick, seen in the one after"),
        pytest.param(40, 4, id="there three ticks later"),
    ],
)
def test_a_forecast_counts_only_after_its_latency(seconds: float, seen: int) -> None:
    window = range(2 * HOUR_TICKS + 77, 2 * HOUR_TICKS + 84)  # the jump comes at tick 80, and is visible at 88
    floors = np.array(over(hourly_jump(4), latency=timedelta(seconds=seconds)).lead(Mode.ON, window))
    # Four carry the load as it is. A raise may double the floor.
    assert (floors[:, 1] > 4).tolist() == [tick >= seen for tick in range(len(window))]


def test_what_shadow_mode_has_learned_is_recalled_by_the_next_leader() -> None:
    load = hourly_jump(8)
    learned = over(load)
    learned.floors.learn(at(3 * HOUR_TICKS), at(6 * HOUR_TICKS))
    (memory,) = learned.floors._memories.kept.values()
    assert memory.calibration is not None
    assert memory.trajectory is not None
    assert memory.scores.seconds.any()
    # With an answer that takes long, the first ticks stand on what was learned, or on nothing.
    window, slow = range(6 * HOUR_TICKS + 70, 6 * HOUR_TICKS + 80), timedelta(minutes=5)
    learned.floors.learn(at(6 * HOUR_TICKS), at(window.start))
    heir = replace(learned.floors, latency=slow)
    assert Over(heir, learned.hpas, learned.forecaster).lead(Mode.ON, window)[-1][1] >= 12
    assert over(load, latency=slow).lead(Mode.ON, window)[-1][1] < 12


@pytest.mark.parametrize(
    ("latency", "period"),
    [
        pytest.param(timedelta(seconds=3), timedelta(minutes=5), id="the shipped ones"),
        pytest.param(timedelta(seconds=40), timedelta(minutes=5), id="longer than a tick"),
        pytest.param(timedelta(seconds=3), timedelta(minutes=1), id="each minute"),
    ],
)
def test_learning_asks_once_in_each_period_and_hears_each_answer_in_time(latency: timedelta, period: timedelta) -> None:
    config = replace(CONFIG, forecast_cycle=ForecastCycleConfig(forecast_period=period))
    ai_hpa = over(hourly_jump(4), latency=latency, config=config)
    ai_hpa.floors.learn(at(2 * HOUR_TICKS), at(3 * HOUR_TICKS))
    assert len(ai_hpa.forecaster.asked) == HOUR // period
    (memory,) = ai_hpa.floors._memories.kept.values()
    assert memory.trajectory is not None
    # the newest is known to the memory: asked for in the last period, from what was visible a minute later
    newest = at(3 * HOUR_TICKS) - period - MINUTE
    assert memory.trajectory.forecast.origin == newest


@pytest.mark.parametrize("count", [1, 7, 60])
def test_asking_ahead_changes_nothing_but_the_number_of_calls(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    load, window = hourly_jump(6), range(4 * HOUR_TICKS, 5 * HOUR_TICKS)
    without_model, forecast = list[int](), baselines.forecast

    def counted(requests: Sequence[ForecastRequest]) -> list[Baselines]:
        without_model.extend([len(requests)] if requests else [])
        return forecast(requests)

    monkeypatch.setattr(baselines, "forecast", counted)
    told = []
    for ahead in (0, count):
        without_model.clear()
        ai_hpa = over(load, asked_ahead=ahead)
        ai_hpa.floors.learn(at(2 * HOUR_TICKS), at(window.start))
        floors = ai_hpa.lead(Mode.ON, window)
        told.append((floors, len(ai_hpa.forecaster.asked), len(without_model)))
    in_turn, ahead_of_it = told
    assert in_turn[0] == ahead_of_it[0]
    assert in_turn[1:] == (120 + 60, 120 + 60)
    calls = math.ceil(120 / count) + math.ceil(60 / count)
    assert ahead_of_it[1:] == (calls, calls)


def test_learning_ends_with_the_last_answer_that_can_be_heard() -> None:
    ai_hpa = over(hourly_jump(4))
    ai_hpa.floors.learn(at(2 * HOUR_TICKS), at(2 * HOUR_TICKS + 1))
    assert ai_hpa.forecaster.asked == []
    ai_hpa.floors.learn(at(2 * HOUR_TICKS), at(2 * HOUR_TICKS + 2))
    assert len(ai_hpa.forecaster.asked) == 1


@pytest.mark.parametrize(
    ("load", "levels"),
    [
        pytest.param(5.0, (0.95,), id="a load that needs no forecast"),
        pytest.param(500.0, (0.95,) * 300, id="more lanes than a cluster is asked for each minute"),
    ],
)
def test_a_lane_gets_a_forecast_in_each_period_whatever_it_needs_and_however_many_there_are(
    load: float, levels: tuple[float, ...]
) -> None:
    ai_hpa = over(steady(3, load), levels)
    ai_hpa.lead(Mode.ON, range(2 * HOUR_TICKS, 2 * HOUR_TICKS + 40))
    assert len(ai_hpa.forecaster.asked) == 10 * MINUTE // ForecastCycleConfig().forecast_period


def test_the_forecaster_hears_true_time() -> None:
    ai_hpa = over(steady(3, 35.0), ahead=timedelta(days=20))
    ai_hpa.lead(Mode.ON, range(2 * HOUR_TICKS, 2 * HOUR_TICKS + 4))
    assert {asked.origin for asked in ai_hpa.forecaster.asked[0]} == {T0 + timedelta(days=20, hours=2) - MINUTE}


def test_nothing_later_than_now_is_shown_to_the_forecaster_or_decided_on() -> None:
    load = hourly_jump(6)
    other = load.copy()
    changed = 4 * 60 + 30  # minutes
    other[changed:] = 400.0
    told = []
    for some in (load, other):
        ai_hpa = over(some)
        ai_hpa.floors.learn(at(2 * HOUR_TICKS), at(4 * HOUR_TICKS))
        floors = ai_hpa.lead(Mode.ON, range(4 * HOUR_TICKS, 5 * HOUR_TICKS))
        told.append((floors, ai_hpa.forecaster.asked))
    # A value is over after a minute and visible a minute later: 32 minutes into the hour, the fourth tick of which sees
    # it; the floor is seen in the tick after.
    unseen = 32 * 4
    assert told[0][0][: unseen + 1] == told[1][0][: unseen + 1]
    assert told[0][0] != told[1][0]
    known = [
        [asked for batch in batches for asked in batch if asked.origin <= T0 + changed * MINUTE] for _, batches in told
    ]
    assert len(known[0]) == len(known[1]) > 0
    for one, two in zip(*known, strict=True):
        assert np.array_equal(one.load, two.load, equal_nan=True)
        assert np.array_equal(one.seasonal_load, two.seasonal_load, equal_nan=True)
