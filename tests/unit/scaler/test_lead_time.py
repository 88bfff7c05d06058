"""What counts as a raise, and what is learned from it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from scaler.lead_time import LeadTimeConfig, LeadTimeState, lose_sight, observe, start

T0 = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
CONFIG = LeadTimeConfig()


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def look(looks: list[tuple[int, int, int]], config: LeadTimeConfig = CONFIG) -> LeadTimeState:
    """Feed (seconds after T0, ready, desired) in their order."""
    state = start(config)
    for at, ready, desired in looks:
        state = observe(state, ready=ready, desired=desired, config=config, now=T0 + seconds(at))
    return state


def learned(*durations: float, config: LeadTimeConfig = CONFIG) -> timedelta:
    state = observe(start(config), ready=0, desired=0, config=config, now=T0)
    now = T0
    for duration in durations:
        state = observe(state, ready=0, desired=1, config=config, now=now)
        now += seconds(duration)
        state = observe(state, ready=1, desired=1, config=config, now=now)
        state = observe(state, ready=1, desired=0, config=config, now=now)
    assert len(state.durations) == min(len(durations), config.lead_time_memory)
    return state.lead_time


@pytest.mark.parametrize(
    ("looks", "durations"),
    [
        pytest.param([(0, 2, 2), (15, 2, 4), (60, 3, 4), (75, 4, 4)], [60], id="until all added pods are ready"),
        pytest.param([(0, 2, 2), (15, 2, 4), (60, 9, 9)], [45], id="more ready pods than asked for"),
        pytest.param([(0, 2, 4), (60, 4, 4)], [], id="what was raised before the first look has no beginning"),
        pytest.param([(0, 4, 2), (15, 4, 4), (30, 4, 4)], [], id="a raise to what is ready already adds no pod"),
        pytest.param([(0, 4, 2), (15, 4, 5), (45, 5, 5)], [30], id="one more than is ready does"),
        pytest.param([(0, 2, 2), (15, 2, 4), (30, 2, 3), (60, 4, 3)], [], id="cut by a scale-down"),
        pytest.param([(0, 2, 2), (15, 2, 3), (30, 2, 5), (45, 2, 4), (60, 4, 4)], [45], id="only the cut one is lost"),
        pytest.param([(0, 1, 1), (15, 1, 2), (30, 1, 3), (60, 2, 3), (90, 3, 3)], [45, 60], id="each step of a ramp"),
        pytest.param([(0, 1, 1), (0, 1, 2), (1799, 1, 2), (1799, 2, 2)], [1799], id="just under the cap"),
        pytest.param([(0, 1, 1), (0, 1, 2), (1800, 1, 2), (1815, 2, 2)], [], id="at the cap it is forgotten"),
        pytest.param([(0, 1, 1), (15, 1, 2), (30, 2, 2), (45, 1, 2), (60, 2, 2)], [15], id="a lost pod is no raise"),
    ],
)
def test_a_raise_is_measured(looks: list[tuple[int, int, int]], durations: list[int]) -> None:
    assert look(looks).durations == tuple(seconds(d) for d in durations)


@pytest.mark.parametrize(
    ("durations", "expected"),
    [
        pytest.param([], 90, id="the prior"),
        pytest.param([20] * 4, 90, id="one short start missing"),
        pytest.param([20] * 5, 20, id="enough of them"),
        pytest.param([200], 200, id="one long start counts at once"),
        # Nearest rank: ceil(.9 * 10) = 9th of 10, ceil(.9 * 11) = 10th of 11.
        pytest.param([*range(10, 100, 10), 500], 90, id="the ninth of ten"),
        pytest.param([*range(10, 110, 10), 500], 100, id="the tenth of eleven"),
    ],
)
def test_the_lead_time_is_the_upper_quantile(durations: list[float], expected: float) -> None:
    assert learned(*durations) == seconds(expected)


def test_old_raises_are_forgotten() -> None:
    config = LeadTimeConfig(lead_time_episodes=2, lead_time_memory=3)
    assert learned(500, 20, 20, config=config) == seconds(500)
    assert learned(500, 20, 20, 20, config=config) == seconds(20)


def test_a_raise_whose_end_nobody_saw_is_dropped() -> None:
    state = lose_sight(look([(0, 2, 2), (15, 2, 4), (30, 2, 5)]))
    assert lose_sight(state) is state
    for at in (900, 915):
        state = observe(state, ready=5, desired=5, config=CONFIG, now=T0 + seconds(at))
    assert state.durations == ()


def test_nothing_changes_while_nothing_happens() -> None:
    state = look([(0, 2, 2)])
    assert observe(state, ready=2, desired=2, config=CONFIG, now=T0 + seconds(15)) is state


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        pytest.param("lead_time_prior", seconds(0), "lead_time_prior must lie from", id="out of range"),
        pytest.param("lead_time_memory", 4, "at least lead_time_episodes, got 4 < 5", id="shorter than it needs"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(name: str, value: timedelta | int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **{name: value})  # type: ignore[arg-type]  # a table of several types
