from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from scaler.replay.demand import TICK, Demand, demand_from
from scaler.replay.metrics import Metrics

T0 = datetime(2026, 1, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def metrics_of(*columns: list[float], start: datetime = T0) -> Metrics:
    demands = [demand_from(np.array(c), start=start, step=MINUTE, noise_ratio=0.0, seed=1) for c in columns]
    return Metrics(demands, MINUTE)


def test_the_newest_sample_is_late_by_step_and_delay() -> None:
    metrics = metrics_of([10.0, 20.0, 30.0, 40.0])
    assert np.isnan(metrics.sampled[7, 0])  # the first step is over at tick 4, its delay at tick 8
    assert metrics.sampled[8:16, 0].tolist() == [10.0] * 4 + [20.0] * 4
    assert metrics.ends[8:16].tolist() == [4] * 4 + [8] * 4


def test_a_gap_is_a_missing_sample_and_the_last_value_keeps_its_time() -> None:
    metrics = metrics_of([10.0, np.nan, np.nan, 5.0])
    assert np.isnan(metrics.sampled[15, 0])
    assert metrics.last_value[15, 0] == 4


def test_loads_stay_in_their_columns() -> None:
    metrics = metrics_of([10.0, 20.0, 30.0], [1.0, np.nan, 3.0])
    assert metrics.load.shape == (12, 2)
    assert metrics.sampled[8].tolist() == [10.0, 1.0]
    assert metrics.last_value[11].tolist() == [4, 4]
    seen = metrics.between(start=T0, end=T0 + 2 * MINUTE, step=MINUTE, now=T0 + 3 * MINUTE)
    assert seen[0].tolist() == [10.0, 1.0]
    assert seen[1, 0] == 20.0
    assert np.isnan(seen[1, 1])


def test_a_wider_step_averages_and_tolerates_half_a_gap() -> None:
    metrics = metrics_of([10.0, 20.0, np.nan, 40.0, np.nan, np.nan, 0.0, 0.0])
    seen = metrics.between(start=T0, end=T0 + 6 * MINUTE, step=2 * MINUTE, now=T0 + 8 * MINUTE)[:, 0]
    assert seen[:2].tolist() == [15.0, 40.0]
    assert np.isnan(seen[2])


def test_history_ends_with_what_is_known_and_begins_with_the_trace() -> None:
    metrics = metrics_of([10.0, 20.0, 30.0, 40.0])
    seen = metrics.between(start=T0 - MINUTE, end=T0 + 4 * MINUTE, step=MINUTE, now=T0 + 4 * MINUTE)[:, 0]
    assert np.isnan(seen).tolist() == [True, False, False, False, True]  # the fourth is over, and a minute too young
    assert seen[1:4].tolist() == [10.0, 20.0, 30.0]


def test_a_step_that_ends_a_tick_after_what_is_known_is_unknown() -> None:
    metrics = metrics_of([10.0, 20.0, 30.0, 40.0])
    seen = metrics.between(start=T0 + TICK, end=T0 + TICK + 3 * MINUTE, step=MINUTE, now=T0 + 4 * MINUTE)[:, 0]
    assert np.isnan(seen).tolist() == [False, False, True]


def test_loads_of_different_clocks_are_refused() -> None:
    early, late = (metrics_of([1.0, 2.0], start=start).demands[0] for start in (T0, T0 + TICK))
    with pytest.raises(ValueError, match="must share start, step and length"):
        Metrics([early, late], MINUTE)


def test_a_sample_averages_over_the_window_asked_for() -> None:
    demand = Demand(T0, TICK, np.array([10.0, 20.0, 30.0, 40.0, 50.0, 60.0]))
    narrow = Metrics([demand], timedelta(seconds=2), metric_window=timedelta(seconds=15))
    wide = Metrics([demand], timedelta(seconds=2), metric_window=timedelta(seconds=20))  # two ticks, rounded up
    # The newest window ends a tick ago: a delay of two seconds is seen at the next tick.
    assert narrow.sampled[2:, 0].tolist() == [10.0, 20.0, 30.0, 40.0]
    assert wide.sampled[2:, 0].tolist() == [10.0, 15.0, 25.0, 35.0]
