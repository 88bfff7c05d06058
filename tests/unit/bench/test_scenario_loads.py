"""Synthetic load of the scenarios: what the docstrings say of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from bench.scenarios.loads import (
    PEAK,
    as_it_was,
    daily,
    flash_crowds,
    level_shift,
    moments,
    office_hours,
    upstream_outage,
    wall_clock,
)
from bench.scenarios.setups import AUTUMN, BERLIN, SPRING
from scaler.domain import FloatArray

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
DAY = 24 * 60


def days(seed: int = 0, count: int = 9) -> FloatArray:
    return daily(wall_clock(MONDAY, count * DAY, UTC), np.random.default_rng(seed))


def test_the_clock_on_the_wall_counts_on_from_midnight() -> None:
    assert wall_clock(MONDAY, 2, UTC).tolist() == pytest.approx([0.0, 1 / 60])
    assert wall_clock(MONDAY, 1, BERLIN).tolist() == [1.0]


@pytest.mark.parametrize(
    ("change", "jump"),
    [pytest.param(AUTUMN, -1.0, id="put back"), pytest.param(SPRING, 1.0, id="put forward")],
)
def test_the_clock_jumps_by_an_hour_at_the_change_and_never_where_there_is_none(change: datetime, jump: float) -> None:
    start, steps = change - timedelta(hours=2), 4 * 60
    moved = np.diff(wall_clock(start, steps, BERLIN))
    assert moved[2 * 60 - 1] == pytest.approx(jump + 1 / 60)
    assert np.delete(moved, 2 * 60 - 1) == pytest.approx(1 / 60)
    unmoved = wall_clock(start, steps, as_it_was(start, BERLIN))
    assert np.diff(unmoved) == pytest.approx(1 / 60)
    assert unmoved[: 2 * 60] == pytest.approx(wall_clock(start, 2 * 60, BERLIN))


def test_load_follows_the_clock_on_the_wall() -> None:
    start, steps = SPRING - timedelta(days=1), 2 * DAY
    load = daily(wall_clock(start, steps, BERLIN), np.random.default_rng(0))
    without = daily(wall_clock(start, steps, as_it_was(start, BERLIN)), np.random.default_rng(0))
    assert load[:DAY] == pytest.approx(without[:DAY])
    assert load[DAY : steps - 60] == pytest.approx(without[DAY + 60 :], rel=0.3)  # an hour earlier, but for the noise
    assert np.corrcoef(load[DAY : steps - 60], without[DAY + 60 :])[0, 1] > 0.99


def test_days_are_alike_and_never_the_same() -> None:
    load = days().reshape(-1, DAY)
    assert load.min() > 0
    assert 0.8 * PEAK < np.median(load.max(axis=1)) < 1.3 * PEAK
    night, noon = load[:, 2 * 60 : 4 * 60].mean(axis=1), load[:, 10 * 60 : 12 * 60].mean(axis=1)
    assert (noon > 3 * night).all()
    for one, other in pairwise(load):
        assert np.corrcoef(one, other)[0, 1] > 0.95
        assert not np.allclose(one, other, rtol=0.01)
    # The ramp that faults are put on: most of the rise lies in the hour around a quarter past eight.
    before, after = load[:, 7 * 60 + 15].mean(), load[:, 9 * 60 + 15].mean()
    assert after > 3 * before


def test_a_seed_gives_the_same_days_and_another_seed_others() -> None:
    assert np.array_equal(days(1), days(1))
    assert not np.array_equal(days(1), days(2))


def test_a_longer_history_does_not_change_the_clock_of_a_day() -> None:
    assert wall_clock(MONDAY, 3 * DAY, UTC)[:DAY] == pytest.approx(wall_clock(MONDAY, DAY, UTC))


def test_an_office_sleeps_at_night_but_for_two_visits_and_wakes_at_eight() -> None:
    load = office_hours(wall_clock(MONDAY, 9 * DAY, UTC), np.random.default_rng(0)).reshape(-1, DAY)
    assert (load >= 0).all()
    night = load[:, : 7 * 60 + 30]
    assert (np.count_nonzero(night, axis=1) <= 8).all()  # two visits of three or four minutes
    assert (np.count_nonzero(night, axis=1) >= 3).all()
    assert (load[:, 20 * 60 :] == 0).all()
    first = [int(np.flatnonzero(day[7 * 60 + 30 :])[0]) - 30 for day in load]
    assert all(0 <= minutes <= 15 for minutes in first)
    busy = np.count_nonzero(load[:, 8 * 60 : 18 * 60]) / load[:, 8 * 60 : 18 * 60].size
    assert 0.25 < busy < 0.65
    assert np.mean(load[load > 0]) * 60 == pytest.approx(20.0, rel=0.05)


def test_a_crowd_is_there_within_a_minute_and_fades() -> None:
    load = flash_crowds(np.full(200, 10.0), np.array([50, 120]), 3.0)
    assert load[:50] == pytest.approx(10.0)
    assert load[50:71] == pytest.approx(30.0)
    assert 10.0 < load[85] < 20.0
    assert load[118] < 10.2
    assert load[120:141] == pytest.approx(30.0)


def test_a_level_shift_stays() -> None:
    load = level_shift(np.full(10, 10.0), 4, 0.5)
    assert load.tolist() == [10.0] * 4 + [5.0] * 6


def test_an_upstream_outage_leaves_next_to_nothing_and_ends_at_once() -> None:
    load = upstream_outage(np.full(10, 100.0), 3, 4)
    assert load.tolist() == [100.0] * 3 + [1.0] * 4 + [100.0] * 3


def test_moments_lie_in_their_window_and_apart() -> None:
    for seed in range(50):
        drawn = moments(np.random.default_rng(seed), range(100, 300), 3, apart=60)
        assert drawn.min() >= 100
        assert drawn.max() < 300
        assert (np.diff(drawn) >= 60).all()
    assert len({tuple(moments(np.random.default_rng(s), range(100), 1, apart=0)) for s in range(20)}) > 10


def test_moments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="3 moments 60 minutes apart need more than 120 minutes"):
        moments(np.random.default_rng(0), range(120), 3, apart=60)


def test_the_zone_is_the_one_of_the_changes() -> None:
    for change, hours in ((AUTUMN, (2.0, 1.0)), (SPRING, (1.0, 2.0))):
        offsets = [
            (change + timedelta(minutes=minute)).astimezone(ZoneInfo("Europe/Berlin")).utcoffset() for minute in (-1, 0)
        ]
        assert offsets == [timedelta(hours=hour) for hour in hours]
