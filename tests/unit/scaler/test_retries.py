"""A call again until a deadline: what is tried again, how long it waits, when it gives up."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tenacity import wait_random_exponential

from scaler.retries import asked_seconds, retry_after_seconds, retrying


class Busy(Exception):
    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__("busy")
        self.retry_after_seconds = seconds


class Time:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.tries: list[tuple[int, str, float]] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def log(self, attempt: int, error: BaseException | None, seconds: float) -> None:
        self.tries.append((attempt, str(error), seconds))

    def call(self, errors: list[Exception], *, budget: float) -> str:
        def attempt() -> str:
            if errors:
                raise errors.pop(0)
            return "answer"

        again = retrying(
            Busy,
            deadline=self.now + budget,
            wait=wait_random_exponential(multiplier=0.0),
            clock=lambda: self.now,
            sleep=self.sleep,
            log=self.log,
        )
        return again(attempt)


def test_a_call_is_tried_again_after_what_the_server_asked_for() -> None:
    time = Time()
    assert time.call([Busy(2.0), Busy(3.0)], budget=10) == "answer"
    assert time.tries == [(1, "busy", 2.0), (2, "busy", 3.0)]
    assert time.now == 105.0


@pytest.mark.parametrize("asked", [pytest.param(10.0, id="to the deadline"), pytest.param(60.0, id="beyond it")])
def test_a_wait_that_would_reach_the_deadline_is_not_begun(asked: float) -> None:
    time = Time()
    with pytest.raises(Busy):
        time.call([Busy(asked)], budget=10)
    assert time.now == 100.0
    assert time.tries == []


def test_an_error_that_does_not_pass_is_raised_at_once() -> None:
    time = Time()
    with pytest.raises(ValueError, match="wrong"):
        time.call([ValueError("wrong")], budget=10)
    assert time.tries == []


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({"Retry-After": "7"}, 7.0, id="seconds"),
        pytest.param({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.0, id="a date"),
        pytest.param({"Retry-After": "-1"}, 0.0, id="negative"),
        pytest.param({"Retry-After": "²"}, 0.0, id="a digit that is no number"),
        pytest.param({}, 0.0, id="absent"),
    ],
)
def test_retry_after_is_read_where_it_holds_seconds(headers: Mapping[str, str], seconds: float) -> None:
    assert retry_after_seconds(headers) == seconds


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        pytest.param(Busy(4.0), 4.0, id="it asked"),
        pytest.param(ValueError(), 0.0, id="it did not"),
        pytest.param(None, 0.0, id="no error"),
    ],
)
def test_an_error_tells_what_the_server_asked_for(error: BaseException | None, seconds: float) -> None:
    assert asked_seconds(error) == seconds
