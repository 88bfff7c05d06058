"""What stood in the cluster second by second, kept while a test does other things; it changes nothing there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tests.e2e.tools import eventually, now

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Moment(Generic[T]):
    """One look.

    Attributes:
        at: Unix time of it.
    """

    at: float
    seen: T


@dataclass(slots=True)
class Timeline(Generic[T]):
    """Looks, oldest first."""

    moments: list[Moment[T]] = field(default_factory=list)
    error: Exception | None = None

    def first(self, holds: Callable[[T], bool], *, within: float, what: str, after: float = 0.0) -> Moment[T]:
        """Give the first moment after a time at which something held; wait for one."""

        def found() -> Moment[T] | None:
            if self.error is not None:
                raise self.error
            return next((m for m in self.moments if m.at >= after and holds(m.seen)), None)

        try:
            return eventually(found, within=within, what=what)
        except AssertionError as exc:
            raise AssertionError(f"{exc}; last seen: {self.moments[-1] if self.moments else None}") from None

    def between(self, start: float, end: float) -> list[Moment[T]]:
        """Give the moments of a stretch of time."""
        return [m for m in self.moments if start <= m.at <= end]


@contextmanager
def timeline(look: Callable[[], T], *, every: float = 1.0) -> Iterator[Timeline[T]]:
    """Look from now on, beside the test."""
    seen: Timeline[T] = Timeline()
    stop = threading.Event()

    def watch() -> None:
        try:
            while not stop.wait(every):
                seen.moments.append(Moment(now().timestamp(), look()))
        except Exception as exc:  # noqa: BLE001 - the test has to hear of it, whatever it is
            seen.error = exc

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join(10)


def wait_until(at: float) -> None:
    """Wait for a Unix time."""
    left = at - now().timestamp()
    eventually(lambda: now().timestamp() >= at, within=max(0.0, left) + 5, what="the time has come")
