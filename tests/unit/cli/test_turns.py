from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from scaler.cli.turns import SHORTEST_SECONDS, Turns

PERIOD = timedelta(seconds=15)
LONG = 30.0  # no test waits for it


@dataclass
class Clock:
    """Time that moves on with whoever waits."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Waits:
    """Stands in for an event: waiting moves the clock, and is over at once where the event is set."""

    clock: Clock
    seconds: list[float] = field(default_factory=list)
    up: bool = False

    def wait(self, timeout: float) -> bool:
        if not self.up:
            self.seconds.append(timeout)
            self.clock.now += timeout
        return self.up

    def set(self) -> None:
        self.up = True

    def clear(self) -> None:
        self.up = False


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def turns(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Turns:
    monkeypatch.setattr(threading, "Event", lambda: Waits(clock))
    return Turns(PERIOD, clock=clock)


@pytest.mark.parametrize(
    ("worked", "begins"),
    [
        pytest.param(0.0, 115.0, id="nothing-to-do"),
        pytest.param(4.0, 115.0, id="the-work-is-part-of-the-period"),
        pytest.param(20.0, 120.0, id="late-turns-are-not-caught-up-with"),
    ],
)
def test_turns_begin_a_period_apart(turns: Turns, clock: Clock, worked: float, begins: float) -> None:
    turns.begin()
    clock.now += worked
    turns.rest()
    assert clock.now == begins


@pytest.mark.parametrize(
    ("worked", "begins"),
    [
        pytest.param(0.25, 100 + SHORTEST_SECONDS, id="never-twice-within-a-second"),
        pytest.param(4.0, 104.0, id="at-once-after-that"),
    ],
)
def test_a_hurried_turn_comes_sooner(turns: Turns, clock: Clock, worked: float, begins: float) -> None:
    turns.begin()
    clock.now += worked
    turns.hurry()
    turns.rest()
    assert clock.now == begins


def test_what_hurries_before_a_turn_is_dealt_with_by_it(turns: Turns, clock: Clock) -> None:
    turns.hurry()
    turns.begin()
    turns.rest()
    assert clock.now == 115.0


def test_the_end_comes_at_once(turns: Turns, clock: Clock) -> None:
    turns.begin()
    turns.end()
    turns.rest()
    assert clock.now == 100.0


def test_another_thread_may_hurry_and_end() -> None:
    turns = Turns(timedelta(seconds=LONG))
    turns.begin()
    for call in (turns.hurry, turns.end):
        resting = threading.Thread(target=turns.rest, daemon=True)
        resting.start()
        call()
        resting.join(5.0)
        assert not resting.is_alive()
    assert turns.ended.is_set()
