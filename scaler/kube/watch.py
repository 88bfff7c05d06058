"""Objects of one kind kept in memory by a list and a watch that resumes; it never polls and never hammers the server.

What the API server answers, and what follows:

    410             listed anew, after a jittered wait
    403             said in `error`, asked again every minute; what was seen before stays
    404, optional   the kind is absent: empty and synced, looked for again every three minutes
    anything else   said in `error`, asked again with exponential back-off and jitter
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from scaler.domain import ScalerError
from scaler.kube.api import Forbidden, Gone, Json, Listing, NotFound
from scaler.kube.resources import Resource
from scaler.retries import asked_seconds

FullName: TypeAlias = tuple[str, str]  # namespace, name

WATCH_SECONDS: Final = 240.0
STALE_AFTER_SECONDS: Final = 360.0  # a whole watch and its read timeout; bookmarks come every minute
FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 30.0
FORBIDDEN_WAIT_SECONDS: Final = 60.0
ABSENT_WAIT_SECONDS: Final = 180.0
SHORT_WATCH_SECONDS: Final = 5.0  # one that ends sooner with nothing said counts as failed

_INSTALL: Final = "; is its CustomResourceDefinition installed?"

_T = TypeVar("_T")

logger = logging.getLogger(__name__)


class WatchApi(Protocol):
    """What a reflector needs of `KubeApi`."""

    def pages(
        self, resource: Resource, namespace: str | None = None, *, metadata_only: bool = False
    ) -> Iterator[Listing]:
        """Read all objects of a kind, chunk by chunk."""

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        timeout_seconds: int,
        metadata_only: bool = False,
    ) -> Iterator[Json]:
        """Follow changes until the server ends it."""


class Cache(Generic[_T]):
    """Values by namespace and name. Safe to use from several threads."""

    def __init__(self) -> None:
        """Start empty."""
        self._values: dict[FullName, _T] = {}
        self._listeners: list[Callable[[_T | None, _T | None], None]] = []
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._values)

    def listen(self, listener: Callable[[_T | None, _T | None], None]) -> None:
        """Have `listener(old, new)` called on each change, in order, under the cache's lock; None is no value."""
        with self._lock:
            self._listeners.append(listener)

    def get(self, namespace: str, name: str) -> _T | None:
        """Give one value."""
        return self._values.get((namespace, name))

    def values(self) -> tuple[_T, ...]:
        """Give all values as they are now."""
        with self._lock:
            return tuple(self._values.values())

    def put(self, key: FullName, value: _T) -> None:
        """Set one value."""
        with self._lock:
            old = self._values.get(key)
            self._values[key] = value
            self._tell(old, value)

    def delete(self, key: FullName) -> None:
        """Drop one value; one that is not there is fine."""
        with self._lock:
            old = self._values.pop(key, None)
            if old is not None:
                self._tell(old, None)

    def replace(self, values: Mapping[FullName, _T], namespace: str | None = None) -> None:
        """Set all values of a namespace, or of all; listeners hear of what differs only."""
        with self._lock:
            gone = [key for key in self._values if key not in values and namespace in {None, key[0]}]
            for key in gone:
                self.delete(key)
            for key, value in values.items():
                if self._values.get(key) != value:
                    self.put(key, value)

    def _tell(self, old: _T | None, new: _T | None) -> None:
        for listener in self._listeners:
            listener(old, new)


class Index(Generic[_T]):
    """Values of a cache by keys that are read from each, kept up to date change by change."""

    def __init__(
        self, cache: Cache[_T], name: Callable[[_T], FullName], keys: Callable[[_T], Iterable[Hashable]]
    ) -> None:
        """Follow `cache`.

        Args:
            cache: Empty as yet.
            name: Tells values apart.
            keys: Under which a value is found; none leaves it out.
        """
        self._name = name
        self._keys = keys
        self._buckets: dict[Hashable, dict[FullName, _T]] = {}
        self._lock = threading.Lock()
        cache.listen(self._changed)

    def get(self, key: Hashable) -> tuple[_T, ...]:
        """Give all values under a key."""
        with self._lock:
            bucket = self._buckets.get(key)
            return tuple(bucket.values()) if bucket else ()

    def count(self, key: Hashable) -> int:
        """Count the values under a key."""
        return len(self._buckets.get(key, ()))

    def _changed(self, old: _T | None, new: _T | None) -> None:
        stale = set(self._keys(old)) if old is not None else set()
        with self._lock:
            if new is not None:
                for key in self._keys(new):
                    stale.discard(key)
                    self._buckets.setdefault(key, {})[self._name(new)] = new
            for key in stale:
                self._drop(key, old)

    def _drop(self, key: Hashable, old: _T | None) -> None:
        bucket = self._buckets.get(key)
        if bucket is None or old is None:
            return
        bucket.pop(self._name(old), None)
        if not bucket:
            del self._buckets[key]


@dataclass(slots=True)
class _Scope:
    """How far one list and watch, of one namespace or of all, has come.

    Attributes:
        version: To watch from; None where a list has to come first.
        synced: It was listed once, or there is no such kind.
        last_contact: When the server last said anything of it, on the monotonic clock.
        error: Why it is behind; empty where it is not.
        failures: In a row.
    """

    namespace: str | None
    version: str | None = None
    synced: bool = False
    absent: bool = False
    last_contact: float | None = None
    error: str = ""
    forbidden: bool = False
    failures: int = 0


@dataclass(slots=True, kw_only=True)
class Reflector(Generic[_T]):
    """Keeps `cache` equal to all objects of one kind, each read by `read`.

    Attributes:
        namespaces: To watch, one watch each; empty for the whole cluster.
        optional: The cluster may do without this kind, and without our permission to see it.
        metadata_only: The server sends no more than the metadata.
        clock: Monotonic seconds.
        uniform: A random number between two.
    """

    api: WatchApi
    resource: Resource
    read: Callable[[Json], _T]
    cache: Cache[_T] = field(default_factory=Cache)
    namespaces: tuple[str, ...] = ()
    optional: bool = False
    metadata_only: bool = False
    clock: Callable[[], float] = time.monotonic
    uniform: Callable[[float, float], float] = random.uniform
    _scopes: tuple[_Scope, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Start with nothing seen."""
        self._scopes = tuple(_Scope(namespace) for namespace in self.namespaces or (None,))

    @property
    def synced(self) -> bool:
        """Whether everything was listed once."""
        return all(scope.synced for scope in self._scopes)

    @property
    def absent(self) -> bool:
        """Whether the cluster has no such kind."""
        return all(scope.absent for scope in self._scopes)

    @property
    def last_contact(self) -> float | None:
        """When the server last spoke of the part that it was silent on for longest; None where it never did."""
        contacts = [scope.last_contact for scope in self._scopes]
        known = [contact for contact in contacts if contact is not None]
        return min(known) if len(known) == len(contacts) else None

    @property
    def error(self) -> str:
        """Why it is behind; empty where it is not."""
        return next((scope.error for scope in self._scopes if scope.error), "")

    def stale(self, now: float) -> bool:
        """Whether the server was silent for so long, by the monotonic clock, that what is kept may be wrong."""
        contact = self.last_contact
        return contact is not None and now - contact > STALE_AFTER_SECONDS

    def blind(self, now: float) -> bool:
        """Whether what is kept may be wrong: the watch is stale, forbidden, or never came to its first list."""
        return not self.synced or self.stale(now) or any(scope.forbidden for scope in self._scopes)

    def problem(self, now: float) -> str:
        """Say what is wrong and what to do; empty where nothing is."""
        name = self.resource.full_name
        forbidden = next((scope for scope in self._scopes if scope.forbidden), None)
        if forbidden is not None:
            where = f"in namespace {forbidden.namespace}" if forbidden.namespace else "in all namespaces"
            return f"{name}: may not be listed and watched {where} ({forbidden.error}); grant `list` and `watch` on it"
        if not self.synced:
            return f"{name}: not listed yet" + (f" ({self.error})" if self.error else "")
        if self.stale(now):
            return f"{name}: nothing heard for over {STALE_AFTER_SECONDS:.0f} s" + (
                f" ({self.error})" if self.error else ""
            )
        return ""

    def start(self, stop: threading.Event) -> tuple[threading.Thread, ...]:
        """Begin, in one daemon thread per watch; each ends with the event that follows `stop`, or with the process."""
        threads = tuple(
            threading.Thread(
                target=self._run,
                args=(scope, stop),
                name=f"watch-{self.resource.plural}-{scope.namespace}",
                daemon=True,
            )
            for scope in self._scopes
        )
        for thread in threads:
            thread.start()
        return threads

    def turn(self, stop: threading.Event, part: int = 0) -> float:
        """List if that is needed, watch once, and give the seconds to wait before the next turn.

        Args:
            stop: Ends the watch at its next event.
            part: Which of `namespaces`.
        """
        scope = self._scopes[part]
        try:
            if scope.version is None:
                self._list(scope)
            return self._watch(scope, stop)
        except Forbidden as exc:
            return self._refused(scope, exc)
        except NotFound as exc:
            scope.version = None
            return self._missing(scope) if self.optional else self._failed(scope, exc, hint=_INSTALL)
        except Gone as exc:
            scope.version = None
            return self._failed(scope, exc)
        except ScalerError as exc:
            return self._failed(scope, exc)

    def _run(self, scope: _Scope, stop: threading.Event) -> None:
        part = self._scopes.index(scope)
        while not stop.is_set():
            try:
                wait = self.turn(stop, part)
            except Exception as exc:
                # A thread that dies in silence leaves its kind as it was for ever.
                logger.exception("watch_failed", extra={"resource": self.resource.full_name})
                scope.version = None
                wait = self._failed(scope, exc)
            stop.wait(wait)

    def _list(self, scope: _Scope) -> None:
        values, version = {}, ""
        for page in self.api.pages(self.resource, scope.namespace, metadata_only=self.metadata_only):
            version = page.resource_version
            for item in page.items:
                key = _full_name(item)
                value = self._value(item)
                if value is None:
                    value = self.cache.get(*key)
                if value is not None:
                    values[key] = value
        self.cache.replace(values, scope.namespace)
        scope.version = version
        scope.synced, scope.absent, scope.forbidden, scope.error = True, False, False, ""
        scope.last_contact = self.clock()

    def _watch(self, scope: _Scope, stop: threading.Event) -> float:
        """Follow the changes from `scope.version` on, until the server ends the watch."""
        began, heard = self.clock(), False
        for event in self.api.watch(
            self.resource,
            scope.namespace,
            resource_version=scope.version or "",
            timeout_seconds=round(WATCH_SECONDS * self.uniform(0.8, 1.2)),
            metadata_only=self.metadata_only,
        ):
            self._take(scope, event)
            heard = True
            if stop.is_set():
                return 0.0
        if not heard and self.clock() - began < SHORT_WATCH_SECONDS:
            return self._wait_after_failure(scope)
        self._well(scope)
        return 0.0

    def _take(self, scope: _Scope, event: Json) -> None:
        """Take one event in; the version to resume from moves on with it."""
        item = event.get("object")
        if not isinstance(item, dict):
            return
        kind, key = event.get("type"), _full_name(item)
        if kind == "DELETED":
            self.cache.delete(key)
        elif kind in {"ADDED", "MODIFIED"}:
            value = self._value(item)
            if value is not None:
                self.cache.put(key, value)
        version = (item.get("metadata") or {}).get("resourceVersion")
        if version:
            scope.version = str(version)
        self._well(scope)

    def _well(self, scope: _Scope) -> None:
        scope.failures, scope.error, scope.forbidden = 0, "", False
        scope.last_contact = self.clock()

    def _value(self, item: Json) -> _T | None:
        try:
            return self.read(item)
        except Exception:
            # One object that cannot be read must not hide all others of its kind; its earlier value stays.
            logger.exception(
                "object_unreadable", extra={"kind": self.resource.kind, "object": "/".join(_full_name(item))}
            )
            return None

    def _refused(self, scope: _Scope, exc: Forbidden) -> float:
        if exc.status == 401:  # a token that is just being renewed
            return self._failed(scope, exc)
        self._say(scope, str(exc))
        scope.forbidden = True
        # Without the API group there is often no rule for it either, and RBAC answers before the router does.
        scope.synced = scope.synced or self.optional
        return FORBIDDEN_WAIT_SECONDS * self.uniform(0.8, 1.2)

    def _missing(self, scope: _Scope) -> float:
        self.cache.replace({}, scope.namespace)
        self._well(scope)
        scope.synced, scope.absent = True, True
        return ABSENT_WAIT_SECONDS * self.uniform(0.8, 1.2)

    def _failed(self, scope: _Scope, exc: Exception, *, hint: str = "") -> float:
        self._say(scope, (str(exc) or type(exc).__name__) + hint)
        asked = asked_seconds(exc)
        return max(asked, self._wait_after_failure(scope))

    def _wait_after_failure(self, scope: _Scope) -> float:
        longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(scope.failures, 10))
        scope.failures += 1
        return self.uniform(longest / 2, longest)

    def _say(self, scope: _Scope, error: str) -> None:
        scope.forbidden = False
        if scope.error != error:
            logger.warning(
                "watch_behind",
                extra={"resource": self.resource.full_name, "namespace": scope.namespace or "", "error": error},
            )
        scope.error = error


def _full_name(item: Json) -> FullName:
    metadata = item.get("metadata") or {}
    return str(metadata.get("namespace") or ""), str(metadata.get("name") or "")
