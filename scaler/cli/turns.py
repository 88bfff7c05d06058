"""When the loop of `ai-hpa run` comes around: every tick, and sooner when hurried; it never does the work itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

# A rollout of many services hurries again and again; a tick each would cost more than it gains.
SHORTEST_SECONDS: Final = 1.0


class Turns:
    """The pace of one loop. `hurry` and `end` may be called from any thread."""

    def __init__(self, period: timedelta, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the time from the begin of one turn to that of the next; `clock` gives monotonic seconds."""
        self._period = period.total_seconds()
        self._clock = clock
        self._hurried = threading.Event()
        self._begun = clock()
        self.ended = threading.Event()

    def begin(self) -> None:
        """Begin a turn; what hurries from now on brings another one."""
        self._begun = self._clock()
        self._hurried.clear()

    def rest(self) -> None:
        """Wait for the next turn."""
        self.ended.wait(self._left(min(SHORTEST_SECONDS, self._period)))
        self._hurried.wait(self._left(self._period))

    def hurry(self) -> None:
        """Have the next turn come at once, or a second after the last one began."""
        self._hurried.set()

    def end(self) -> None:
        """Have no turn come any more; a rest is over at once."""
        self.ended.set()
        self._hurried.set()

    def _left(self, seconds: float) -> float:
        return max(0.0, self._begun + seconds - self._clock())
