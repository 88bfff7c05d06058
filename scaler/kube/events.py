"""Kubernetes events in the background, the same said again counted in one event; emitting never waits and never raises.

An event that repeats an earlier one (same object, same reason, same message but for its numbers) within ten minutes
becomes a count in that one's series. Each object and the whole sink have a budget; what exceeds it, or finds the queue
full, is dropped and counted.
"""

from __future__ import annotations

import logging
import queue
import re
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from scaler.domain import ScalerError
from scaler.kube.api import FIELD_MANAGER, Json, NotFound
from scaler.kube.objects import ObjectRef
from scaler.kube.resources import EVENTS, Resource

SERIES_WINDOW: Final = timedelta(minutes=10)
SERIES_WRITTEN_EVERY: Final = timedelta(minutes=1)
QUEUE_SIZE: Final = 1000
LONGEST_NOTE: Final = 1024  # bytes, of events.k8s.io/v1
OBJECT_BURST: Final = 10.0
OBJECT_PER_SECOND: Final = 1 / 60
SINK_BURST: Final = 100.0
SINK_PER_SECOND: Final = 2.0

_NUMBERS: Final = re.compile(r"\d+(\.\d+)?")

logger = logging.getLogger(__name__)


class EventType(StrEnum):
    """How serious it is."""

    NORMAL = "Normal"
    WARNING = "Warning"


class EventApi(Protocol):
    """What writing events needs of `KubeApi`."""

    def create(self, resource: Resource, namespace: str | None, body: Json) -> Json:
        """Create one object."""

    def merge_patch(self, resource: Resource, namespace: str | None, name: str, body: Json) -> Json:
        """Change fields of one object."""


@dataclass(frozen=True, slots=True)
class _Event:
    regarding: ObjectRef
    uid: str
    type: EventType
    reason: str
    message: str
    at: datetime

    @property
    def key(self) -> tuple[ObjectRef, str, str, str]:
        """The same for events that say the same."""
        return self.regarding, self.uid, self.reason, _NUMBERS.sub("#", self.message)

    @property
    def namespace(self) -> str:
        """Where the event is kept."""
        return self.regarding.namespace or "default"


@dataclass(slots=True)
class _Bucket:
    """Tokens that come back with time."""

    burst: float
    per_second: float
    at: datetime
    tokens: float = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = self.burst

    def take(self, now: datetime) -> bool:
        """Take one token; whether there was one."""
        passed = max(0.0, (now - self.at).total_seconds())
        self.at = max(self.at, now)
        self.tokens = min(self.burst, self.tokens + passed * self.per_second)
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


@dataclass(slots=True)
class _Series:
    """One event as it was written, and how often it was said since."""

    name: str
    namespace: str
    count: int
    last: datetime
    written_at: datetime
    written_count: int = 1


class EventSink:
    """Where events go. `emit` may be called from any thread."""

    def __init__(
        self,
        api: EventApi,
        *,
        instance: str,
        held: Callable[[], bool],
        queue_size: int = QUEUE_SIZE,
    ) -> None:
        """Prepare; nothing is sent before `start`.

        Args:
            api: To write to.
            instance: Of the reporting controller: the name of the pod.
            held: Whether this process may write; events of one that may not are thrown away.
            queue_size: How many wait at most.
        """
        self._api = api
        self._instance = instance[:128]
        self._held = held
        self._queue: queue.Queue[_Event | None] = queue.Queue(queue_size)  # None only wakes the writing thread
        self._ending = threading.Event()
        self._series: dict[tuple[ObjectRef, str, str, str], _Series] = {}
        self._objects: dict[ObjectRef, _Bucket] = {}
        self._sink: _Bucket | None = None
        self._error = ""
        self._lock = threading.Lock()
        self._dropped = 0
        self._failed = 0

    @property
    def dropped(self) -> int:
        """How many were thrown away: the queue was full, or a budget was spent."""
        return self._dropped

    @property
    def failed(self) -> int:
        """How many writes the API server did not take."""
        return self._failed

    def emit(
        self, regarding: ObjectRef, uid: str, *, type: EventType, reason: str, message: str, now: datetime
    ) -> None:
        """Say something about an object, later and perhaps; never waits and never raises.

        Args:
            regarding: The object.
            uid: Of the object, so that an event is not shown on a later one of its name.
            type: How serious it is.
            reason: One word in CamelCase, of a closed set.
            message: A sentence for people; what differs from one time to the next only in its numbers is the same.
            now: When it happened.
        """
        try:
            self._queue.put_nowait(_Event(regarding, uid, type, reason, message, now))
        except queue.Full:
            self._drop()

    def start(self) -> threading.Thread:
        """Write in a daemon thread until `end`."""
        thread = threading.Thread(target=self._run, name="events", daemon=True)
        thread.start()
        return thread

    def end(self) -> None:
        """Let the thread write what waits, and end."""
        self._ending.set()
        with suppress(queue.Full):  # then it is awake
            self._queue.put_nowait(None)

    def drain(self) -> None:
        """Write all that waits."""
        while True:
            try:
                event = self._queue.get_nowait()
            except queue.Empty:
                return
            if event is not None:
                self._take(event)

    def _run(self) -> None:
        while not self._ending.is_set():
            event = self._queue.get()
            if event is not None:
                self._take(event)
        self.drain()

    def _take(self, event: _Event) -> None:
        if not self._held():
            return
        try:
            self._write(event)
        except ScalerError as exc:
            self._fail(str(exc))
        except Exception:
            # An event is a courtesy: whatever is wrong with one, the next may well be written.
            logger.exception("event_failed")
            self._failed += 1
        else:
            self._error = ""

    def _write(self, event: _Event) -> None:
        self._forget(event.at)
        series = self._series.get(event.key)
        if series is not None:
            series.count += 1
            series.last = max(series.last, event.at)
            if event.at - series.written_at >= SERIES_WRITTEN_EVERY or series.written_count == 1:
                self._count(series, event)
        elif self._affordable(event):
            self._create(event)
        else:
            self._drop()

    def _create(self, event: _Event) -> None:
        name = f"{event.regarding.name[:200]}.{uuid.uuid4().hex[:16]}"
        self._api.create(EVENTS, event.namespace, self._body(event, name))
        self._series[event.key] = _Series(name, event.namespace, count=1, last=event.at, written_at=event.at)

    def _count(self, series: _Series, event: _Event) -> None:
        series.written_at, series.written_count = event.at, series.count
        body = {"series": {"count": series.count, "lastObservedTime": _time(series.last)}}
        try:
            self._api.merge_patch(EVENTS, series.namespace, series.name, body)
        except NotFound:  # the API server forgets events after a while
            del self._series[event.key]
            self._create(event)

    def _body(self, event: _Event, name: str) -> Json:
        regarding = event.regarding
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": name, "namespace": event.namespace},
            "eventTime": _time(event.at),
            "reportingController": FIELD_MANAGER,
            "reportingInstance": self._instance,
            "action": event.reason,
            "reason": event.reason,
            "type": str(event.type),
            "note": _cut(event.message),
            "regarding": {
                "apiVersion": regarding.api_version,
                "kind": regarding.kind,
                "namespace": regarding.namespace,
                "name": regarding.name,
                "uid": event.uid,
            },
        }

    def _affordable(self, event: _Event) -> bool:
        """Take a token of the object's and one of the sink's budget."""
        bucket = self._objects.setdefault(event.regarding, _Bucket(OBJECT_BURST, OBJECT_PER_SECOND, event.at))
        if self._sink is None:
            self._sink = _Bucket(SINK_BURST, SINK_PER_SECOND, event.at)
        return bucket.take(event.at) and self._sink.take(event.at)

    def _forget(self, now: datetime) -> None:
        """Drop series that are over and budgets that are full again."""
        for key in [k for k, s in self._series.items() if now - s.last > SERIES_WINDOW]:
            del self._series[key]
        full = timedelta(seconds=OBJECT_BURST / OBJECT_PER_SECOND)
        for regarding in [r for r, b in self._objects.items() if now - b.at > full]:
            del self._objects[regarding]

    def _drop(self) -> None:
        with self._lock:  # by the emitting threads and by the writing one
            self._dropped += 1

    def _fail(self, error: str) -> None:
        self._failed += 1
        if error != self._error:
            logger.warning("event_not_written", extra={"error": error})
        self._error = error


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _cut(message: str) -> str:
    """Keep a message within what the API takes, counted in bytes."""
    encoded = message.encode()
    return message if len(encoded) <= LONGEST_NOTE else encoded[: LONGEST_NOTE - 3].decode(errors="ignore") + "..."
