from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.replay.demand import BoolArray, IntArray
from scaler.replay.hpa import PolicyKind, ScalingPolicy, ScalingRules
from scaler.replay.hpa_lanes import HpaLanes
from scaler.replay.lanes import Lanes
from scaler.replay.phpa import HoltWinters, LinearRegression, Model, PhpaConfig, PredictiveAutoscalers
from scaler.replay.phpa_lanes import PhpaLanes, calculated_before
from scaler.replay.physics import Physics
from scaler.replay.pods import Pods
from tests.unit.replay.simulated import lane, lanes

NOW = timedelta(0)
AT_ONCE = ScalingRules((ScalingPolicy(PolicyKind.PODS, 1000, timedelta(seconds=15)),), NOW)
LOADS = st.lists(st.floats(0, 400) | st.just(float("nan")), min_size=20, max_size=20)


def linear(count: int = 1, ahead: float = 60.0) -> LinearRegression:
    return LinearRegression(np.full(count, ahead), np.full(count, 6))


def seasonal(count: int = 1, period: int = 12, stored: int = 2) -> HoltWinters:
    alpha, beta, gamma = (np.full(count, parameter) for parameter in (0.3, 0.05, 0.3))
    return HoltWinters(alpha, beta, gamma, period, stored)


def config_of(simulated: Lanes, *models: Model, sync_period: timedelta = timedelta(seconds=15)) -> PhpaConfig:
    return PhpaConfig(np.full(len(simulated), 7.0), simulated.max_replicas, models, sync_period=sync_period)


def under(simulated: Lanes, config: PhpaConfig, ready: int = 5) -> PhpaLanes:
    return PhpaLanes(simulated, config, Pods(np.full(len(simulated), ready), simulated.delays(), simulated.physics))


def run(phpas: PhpaLanes | HpaLanes, ticks: range) -> list[list[int]]:
    """Pods ordered at each tick, lane by lane."""
    seen = []
    for tick in ticks:
        phpas.advance(tick)
        seen.append(phpas.pods.ordered.tolist())
    return [list(of_lane) for of_lane in zip(*seen, strict=True)]


def test_without_models_it_is_an_hpa_of_its_behaviour() -> None:
    loads = [[35.0] * 3 + [70.0] * 7 + [20.0] * 12, [35.0, np.nan, 300.0] * 7 + [1.0]]
    simulated = lanes(loads)
    config = config_of(simulated)
    pods = Pods(np.full(2, 5), simulated.delays(), simulated.physics)
    assert run(under(simulated, config), range(8, 80)) == run(HpaLanes(simulated, config.hpa, pods), range(8, 80))


def test_a_rise_is_led_by_the_linear_model() -> None:
    rise = lanes([[7.0 * (5 + minute) for minute in range(12)]], [lane(start_seconds=5.0)])
    reactive = run(under(rise, config_of(rise)), range(8, 48))[0]
    led = run(under(rise, config_of(rise, linear(ahead=120.0))), range(8, 48))[0]
    assert all(more >= fewer for more, fewer in zip(led, reactive, strict=True))
    assert sum(led) > sum(reactive)


def test_it_doubles_or_adds_four_in_a_minute_and_no_more() -> None:
    # 5 pods at 4 times their target: 10 at once, 20 a minute later, where an HPA has them after 15 s
    simulated = lanes([[35.0] * 3 + [140.0] * 10], [lane(start_seconds=5.0)])
    (ordered,) = run(under(simulated, config_of(simulated)), range(16, 28))
    assert ordered == [5] * 4 + [10] * 4 + [20] * 4


def test_a_forecast_stands_for_the_stabilization_window() -> None:
    # One sync in which the line through 5 and 10 promises many: they stay for 300 s, 20 syncs, though 10 are enough.
    simulated = lanes([[35.0] * 3 + [70.0] * 12], [lane(start_seconds=5.0)])
    config = replace(config_of(simulated, linear(ahead=60.0)), scale_up=AT_ONCE)
    (ordered,) = run(under(simulated, config), range(16, 60))
    most = max(ordered)
    assert most > 10
    last = len(ordered) - ordered[::-1].index(most) - 1
    assert last - ordered.index(most) >= 19
    assert ordered[-1] < most


def test_without_metrics_nothing_changes_and_nothing_is_learned() -> None:
    gap = lanes([[35.0] * 3 + [np.nan] * 7 + [35.0] * 3])
    phpas = under(gap, config_of(gap, linear(), seasonal(period=4)))
    assert set(run(phpas, range(8, 52))[0]) == {5}


def test_before_anything_is_known_it_holds() -> None:
    simulated = lanes([[35.0] * 3])
    assert set(run(under(simulated, config_of(simulated, linear()), ready=9), range(8))[0]) == {9}


def test_between_syncs_nothing_moves() -> None:
    simulated = lanes([[35.0] * 3 + [70.0] * 7])
    (ordered,) = run(under(simulated, config_of(simulated, sync_period=timedelta(seconds=105))), range(8, 32))
    assert ordered == [5] * 13 + [10] * 11  # the jump is visible at tick 20; the next sync is that of tick 21


def test_its_bounds_are_the_lanes() -> None:
    simulated = lanes([[35.0] * 3 + [900.0] * 7 + [0.0] * 30], [lane(least=3, most=8, start_seconds=5.0)])
    config = replace(config_of(simulated, linear()), scale_up=AT_ONCE)
    (ordered,) = run(under(simulated, config), range(8, 150))
    assert (max(ordered), ordered[-1]) == (8, 3)


def test_a_remembered_season_is_foreseen_from_the_start() -> None:
    # A season of six minutes: 70, then five minutes of 21. Syncs of a minute; the metrics are a minute late.
    minute = timedelta(minutes=1)
    simulated = lanes([([70.0] + [21.0] * 5) * 8], [lane(start_seconds=5.0)])
    settings = replace(
        config_of(simulated, seasonal(period=6, stored=3), sync_period=minute), scale_up=AT_ONCE, scale_down=AT_ONCE
    )
    began = 4 * 6 * 4  # four seasons, of which three stay
    ordered = {}
    for remembers in (False, True):
        phpas = under(simulated, settings, ready=3)
        if remembers:
            past = phpas.past_syncs(began)
            phpas.remember(past, calculated_before(simulated, past, np.full(1, 7.0)))
        ordered[remembers] = run(phpas, range(began, began + 48))[0]
    # The peak of tick 96 to 100 is seen at tick 104. A sync ahead of that the model orders ten; without memory it has
    # nothing to say before it has 16 counts.
    assert ordered[False][:8] == [3] * 8
    assert ordered[True][4] == 10
    assert ordered[True][24 + 4] == 10


def test_the_past_is_what_the_metrics_showed() -> None:
    simulated = lanes([[35.0, 70.0, np.nan, 14.0, 14.0], [7.0] * 5], [lane(0), lane(1)])
    history = np.array(list(calculated_before(simulated, range(0, 20, 4), np.array([7.0, 3.5]))))
    np.testing.assert_array_equal(history[:, 0], [np.nan, np.nan, 5.0, 10.0, np.nan])
    np.testing.assert_array_equal(history[:, 1], [np.nan, np.nan, 2.0, 2.0, 2.0])


@pytest.mark.parametrize(
    ("models", "began", "expected"),
    [
        pytest.param((), 100, range(100, 100, 4), id="nothing to remember"),
        pytest.param((linear(),), 100, range(72, 100, 4), id="seven counts"),
        pytest.param((linear(), seasonal(period=12)), 1001, range(860, 1001, 4), id="three seasons"),
        pytest.param((seasonal(period=12),), 30, range(0, 30, 4), id="as far as the load goes"),
    ],
)
def test_past_syncs_fill_the_longest_history(models: tuple[Model, ...], began: int, expected: range) -> None:
    simulated = lanes([[7.0] * 10])
    phpas = under(simulated, config_of(simulated, *models, sync_period=timedelta(minutes=1)))
    assert list(phpas.past_syncs(began)) == list(expected)


def test_a_history_has_a_row_for_each_sync() -> None:
    simulated = lanes([[7.0] * 10])
    phpas = under(simulated, config_of(simulated, linear()))
    with pytest.raises(ValueError, match="shorter"):
        phpas.remember(range(4), [np.ones(1)] * 3)


@settings(max_examples=20, deadline=None)
@given(loads=st.tuples(LOADS, LOADS), sync=st.sampled_from([15, 45]))
def test_a_lane_alone_is_the_lane_in_the_batch(loads: tuple[list[float], list[float]], sync: int) -> None:
    rows = [lane(load, start, seed=seed) for load, start, seed in zip((0, 1, 0), (5, 60, 5), (3, 3, 4), strict=True)]
    physics, period = Physics(metric_delay=timedelta(seconds=45)), timedelta(seconds=sync)

    def of(simulated: Lanes) -> PhpaLanes:
        models = (linear(len(simulated)), seasonal(len(simulated), 8))
        phpas = under(simulated, config_of(simulated, *models, sync_period=period))
        past = phpas.past_syncs(40)
        phpas.remember(past, calculated_before(simulated, past, np.full(len(simulated), 7.0)))
        return phpas

    batch = of(lanes(list(loads), rows, physics))
    alone = [of(lanes(list(loads), [row], physics)) for row in rows]
    for tick in range(40, 80):
        for phpas in (batch, *alone):
            phpas.advance(tick)
        for number, one in enumerate(alone):
            for name in ("ready", "ordered", "starting", "terminating", "serving"):
                assert getattr(batch.pods, name)[number] == getattr(one.pods, name)[0]


@settings(max_examples=25, deadline=None)
@given(past=st.lists(st.floats(0, 100) | st.just(np.nan), min_size=6, max_size=9), futures=st.tuples(LOADS, LOADS))
def test_changing_the_future_changes_nothing_that_is_done_earlier(
    past: list[float], futures: tuple[list[float], list[float]]
) -> None:
    first_unlike = 4 * (len(past) + 2)  # a step after the past, and the metric delay
    done = []
    for future in futures:
        simulated = lanes([past + future])
        phpas = under(simulated, config_of(simulated, linear(), seasonal(period=4)))
        syncs = phpas.past_syncs(16)
        phpas.remember(syncs, calculated_before(simulated, syncs, np.full(1, 7.0)))
        done.append(run(phpas, range(16, first_unlike)))
    assert done[0] == done[1]


class Spied(PredictiveAutoscalers):
    """The models of one PHPA, with the counts that they were given; 0 where there was none."""

    def __init__(self, config: PhpaConfig) -> None:
        super().__init__(config)
        self.counts: list[int] = []

    def sync(self, tick: int, calculated: IntArray, known: BoolArray) -> IntArray:
        self.counts.append(int(calculated[0]) if known[0] else 0)
        return super().sync(tick, calculated, known)


@settings(max_examples=25, deadline=None)
@given(load=LOADS)
def test_it_orders_no_fewer_than_the_hpa_calculates_and_keeps_its_bounds(load: list[float]) -> None:
    simulated = lanes([load], [lane(most=20, start_seconds=30.0)])
    config = replace(config_of(simulated, linear(), seasonal(period=4)), scale_up=AT_ONCE)
    phpas, spied = under(simulated, config), Spied(config)
    phpas._models = spied
    (ordered,) = run(phpas, range(8, 80))
    for at, count in enumerate(ordered):
        assert 1 <= count <= 20
        assert count >= min(max(spied.counts[max(at - 19, 0) : at + 1]), 20)


@pytest.mark.parametrize("missing", [range(4, 6), range(4, 15)], ids=["two minutes", "more than the window"])
def test_missing_load_never_takes_a_pod(missing: range) -> None:
    load = [np.nan if minute in missing else 70.0 for minute in range(20)]
    simulated = lanes([load])
    phpas = under(simulated, config_of(simulated, linear(), seasonal(period=4)), ready=10)
    assert min(run(phpas, range(8, 80))[0]) == 10
