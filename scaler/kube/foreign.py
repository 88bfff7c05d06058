"""The /scale of kinds that are not watched, read again and again in one slow background lane; it writes nothing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from scaler.kube.api import Forbidden, Json, KubeError, NotFound
from scaler.kube.facts import ForeignScale
from scaler.kube.objects import ObjectRef, meta_of
from scaler.kube.resources import Resource

READ_EVERY_SECONDS: Final = 15.0
LOOK_EVERY_SECONDS: Final = 1.0
TRUSTED_SECONDS: Final = 60.0  # a reading that could not be repeated for so long is dropped
FORGOTTEN_AFTER_SECONDS: Final = 300.0  # of not being asked for
DISCOVERED_AGAIN_SECONDS: Final = 300.0

logger = logging.getLogger(__name__)


class ScaleApi(Protocol):
    """What reading a /scale needs of `KubeApi`."""

    def get(self, resource: Resource, namespace: str | None, name: str, subresource: str = "") -> Json:
        """Read one object."""

    def get_path(self, path: str) -> Json:
        """Read any path."""


@dataclass(slots=True)
class _Reading:
    asked_at: float
    read_at: float | None = None
    well_at: float | None = None
    scale: ForeignScale | None = None


class ForeignScales:
    """Reads what is asked for, each at most once in 15 s. Safe to use from several threads."""

    def __init__(self, api: ScaleApi, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nothing is read before it is asked for."""
        self._api = api
        self._clock = clock
        self._readings: dict[ObjectRef, _Reading] = {}
        self._kinds: dict[tuple[str, str], tuple[float, Resource | None]] = {}
        self._lock = threading.Lock()

    def get(self, target: ObjectRef) -> ForeignScale | None:
        """Give what was read last; None where nothing was, or not for a minute."""
        now = self._clock()
        with self._lock:
            reading = self._readings.setdefault(target, _Reading(asked_at=now))
            reading.asked_at = now
            fresh = reading.well_at is not None and now - reading.well_at <= TRUSTED_SECONDS
            return reading.scale if fresh else None

    def start(self, stop: threading.Event) -> threading.Thread:
        """Keep reading in a daemon thread until `stop`."""
        thread = threading.Thread(target=self._run, args=(stop,), name="foreign-scales", daemon=True)
        thread.start()
        return thread

    def read_due(self) -> None:
        """Read, one after another, those asked for lately and not read for 15 s."""
        now = self._clock()
        with self._lock:
            for target in [t for t, r in self._readings.items() if now - r.asked_at > FORGOTTEN_AFTER_SECONDS]:
                del self._readings[target]
            due = [
                (target, reading)
                for target, reading in self._readings.items()
                if reading.read_at is None or now - reading.read_at >= READ_EVERY_SECONDS
            ]
        for target, reading in due:
            reading.read_at = self._clock()
            self._read(target, reading)

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(LOOK_EVERY_SECONDS):
            try:
                self.read_due()
            except Exception:
                # One odd answer must not end the lane for all others.
                logger.exception("foreign_scale_failed")

    def _read(self, target: ObjectRef, reading: _Reading) -> None:
        try:
            resource = self._resource(target)
            item = None if resource is None else self._api.get(resource, target.namespace, target.name, "scale")
        except (NotFound, Forbidden) as exc:
            logger.info("foreign_scale_unreadable", extra={"target": str(target), "error": str(exc)})
            reading.scale = None
            return
        except KubeError as exc:
            logger.info("foreign_scale_unreadable", extra={"target": str(target), "error": str(exc)})
            return  # what was read before stands for its minute
        reading.scale = None if resource is None or item is None else _scale(resource, item)
        reading.well_at = self._clock()

    def _resource(self, target: ObjectRef) -> Resource | None:
        """Find the plural of a kind, by asking its API group; None where it has no /scale."""
        key = (target.api_version, target.kind)
        at, resource = self._kinds.get(key, (float("-inf"), None))
        if self._clock() - at < DISCOVERED_AGAIN_SECONDS:
            return resource
        group, _, version = target.api_version.rpartition("/")
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        entries = self._api.get_path(path).get("resources") or []
        names = {str(entry.get("name")): str(entry.get("kind")) for entry in entries}
        plural = next((n for n, kind in names.items() if kind == target.kind and f"{n}/scale" in names), None)
        found = None if plural is None else Resource(group, version, plural, target.kind)
        self._kinds[key] = (self._clock(), found)
        return found


def _scale(resource: Resource, item: Json) -> ForeignScale:
    meta = meta_of(item)
    spec, status = item.get("spec") or {}, item.get("status") or {}
    return ForeignScale(
        resource=resource,
        uid=meta.uid,
        resource_version=meta.resource_version,
        replicas=_count(spec.get("replicas")),
        current_replicas=_count(status.get("replicas")),
        selector=_equalities(str(status.get("selector") or "")),
    )


def _count(value: Any) -> int:
    """Read a number of replicas; autoscaling/v1 leaves a zero out."""
    return value if isinstance(value, int) else 0


def _equalities(selector: str) -> dict[str, str]:
    """Read `a=b,c=d`; empty where it asks for more than equality, for then no labels say the same."""
    pairs = [part.partition("=") for part in selector.split(",") if part]
    if any(not sign or not label or label.endswith("!") or "(" in value for label, sign, value in pairs):
        return {}
    return {label.strip(): value.removeprefix("=").strip() for label, _, value in pairs}
