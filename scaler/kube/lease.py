"""Which of several processes may write, by a Lease; it never trusts another machine's clock, nor its own last call.

Why two never hold it: a holder stops `safety_margin` before `duration` has passed since it *began* its last successful
renewal. Another takes over only `duration` after it *saw* the record change for the last time, which was later. Both
measure spans of time on their own clock, so the margin has to cover how much two clocks differ in speed (20 % with the
defaults), and how long a write may be on its way after `held` was asked. Not covered: people who write or delete the
lease by hand faster than every candidate can see it.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol

from scaler.domain import ScalerError
from scaler.kube.api import Json, NotFound
from scaler.kube.resources import LEASES, Resource

RELEASED_DURATION_SECONDS: Final = 1

logger = logging.getLogger(__name__)


def boot_clock() -> float:
    """Seconds since the machine started; unlike the monotonic clock of Linux it goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def identity_of(pod_name: str) -> str:
    """Give an identity that no other process has: a container that starts again is another candidate."""
    return f"{pod_name}_{uuid.uuid4()}"


class LeaseApi(Protocol):
    """What leadership needs of `KubeApi`."""

    def get(self, resource: Resource, namespace: str | None, name: str, subresource: str = "") -> Json:
        """Read one object."""

    def create(self, resource: Resource, namespace: str | None, body: Json) -> Json:
        """Create one object."""

    def replace(self, resource: Resource, namespace: str | None, name: str, body: Json) -> Json:
        """Put one object in place of the one that `metadata.resourceVersion` names."""


@dataclass(frozen=True, slots=True)
class LeaseConfig:
    """Whose lease, and its times in seconds.

    Attributes:
        identity: Of this process, as no other has it; see `identity_of`.
        duration: How long others wait after the last change that they saw.
        renew_every: While nothing goes wrong.
        retry_every: After a renewal that failed.
        look_every: While another holds it: a lease that is given back is taken within this long.
        safety_margin: How much sooner than `duration` the holder itself stops.
    """

    namespace: str
    name: str
    identity: str
    duration: float = 10.0
    renew_every: float = 2.0
    retry_every: float = 0.5
    look_every: float = 1.5
    safety_margin: float = 2.0

    def __post_init__(self) -> None:
        """Refuse times with which nobody could hold the lease."""
        if not self.identity:
            raise ValueError("identity must not be empty: an empty holder means that the lease is free")
        if not 0 < self.retry_every <= self.renew_every < self.duration - self.safety_margin < self.duration:
            raise ValueError(
                "0 < retry_every <= renew_every < duration - safety_margin < duration must hold, got "
                f"{self.retry_every}, {self.renew_every}, {self.duration} and a margin of {self.safety_margin}"
            )


class Leadership:
    """One candidate for a lease. `held` may be asked from any thread."""

    def __init__(
        self,
        api: LeaseApi,
        config: LeaseConfig,
        *,
        wall_clock: Callable[[], datetime],
        clock: Callable[[], float] = boot_clock,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            api: To read and write the lease.
            config: Whose lease, and its times.
            wall_clock: For the times in the record, which people read and nobody here relies on.
            clock: Seconds that never go back and never stand still.
            uniform: A random number between two.
        """
        self._api = api
        self._config = config
        self._wall_clock = wall_clock
        self._clock = clock
        self._uniform = uniform
        self._held_until = float("-inf")
        self._known: Json | None = None  # as it was seen or written last; empty where none stood
        self._certain = False  # that it still stands as known, as long as this process holds it
        self._changed_at = float("-inf")  # when it was seen to change for the last time
        self._released = False
        self._was_held = False
        self._error = ""
        # Called from the lease's thread, so late where a call hangs: `held` is what counts.
        self.on_started: Callable[[], None] = _nothing
        self.on_stopped: Callable[[], None] = _nothing

    @property
    def identity(self) -> str:
        """Of this process."""
        return self._config.identity

    @property
    def holder(self) -> str:
        """Identity in the record as it was seen last; empty where it is free or was never seen."""
        return _holder(self._known) if self._known is not None else ""

    def held(self) -> bool:
        """Whether this process may write now; ask before each write."""
        return self._clock() < self._held_until

    def start(self, stop: threading.Event) -> threading.Thread:
        """Stand for the lease in a daemon thread until `stop`, which gives it back; join the thread to be sure of that.

        Set `stop` only when nothing writes any more.
        """
        thread = threading.Thread(target=self.run, args=(stop,), name="lease", daemon=True)
        thread.start()
        return thread

    def run(self, stop: threading.Event) -> None:
        """Stand for the lease until `stop`, then give it back."""
        while not stop.is_set():
            try:
                wait = self.step()
                self._tell()
            except Exception:
                # Whatever went wrong, `held` runs out by itself; ending here would leave no candidate.
                logger.exception("lease_failed")
                wait = self._config.retry_every
            stop.wait(wait)
        self.release()

    def step(self) -> float:
        """Try once to get or to renew the lease; give the seconds to wait before the next try."""
        try:
            wait = self._try()
        except ScalerError as exc:
            if isinstance(exc, NotFound):
                self._see({})
            # Another was faster, or the write was done though nobody said so.
            self._certain = False
            self._say(str(exc))
            return self._jittered(self._config.retry_every if self.held() else self._config.renew_every)
        self._error = ""
        return wait

    def release(self) -> None:
        """Stop holding, and let the next candidate in at once; never raises."""
        held, self._held_until, self._released = self.held(), float("-inf"), True
        self._tell()
        if not held:
            return
        try:
            if not self._certain:
                self._read()
            if self.holder == self.identity:
                self._write(self._record(holder="", transitions=_transitions(self._known or {})))
        except ScalerError as exc:
            logger.warning("lease_not_released", extra={"error": str(exc)})

    def _try(self) -> float:
        if self._released:
            return self._config.renew_every
        if not (self.held() and self._certain):
            self._read()
        began = self._clock()
        known = self._known or {}
        if _holder(known) != self.identity:
            free_at = self._free_at(known)
            if began < free_at:
                return min(self._jittered(self._config.look_every), max(free_at - began, 0.05))
            logger.info("lease_taking", extra={"from": _holder(known)})
        self._take()
        if not self._released:
            self._held_until = began + self._config.duration - self._config.safety_margin
        return self._config.renew_every

    def _read(self) -> None:
        """See what stands there. No lease is waited out as a holder would be: it may have been deleted under one."""
        try:
            found = self._api.get(LEASES, self._config.namespace, self._config.name)
        except NotFound:
            found = {}
        self._see(found)

    def _see(self, found: Json) -> None:
        """Take a record in, and note the time where it is another than before."""
        if self._known is None or _version(found) != _version(self._known):
            self._changed_at = self._clock()
        self._known, self._certain = found, True

    def _free_at(self, known: Json) -> float:
        """Give the time from which on nobody holds a lease that this process does not hold."""
        if known and not _holder(known):
            return float("-inf")  # given back
        theirs = _number(known, "leaseDurationSeconds")
        return self._changed_at + max(self._config.duration, theirs)

    def _take(self) -> None:
        known = self._known or {}
        taken_over = _holder(known) != self.identity
        record = self._record(
            holder=self.identity,
            transitions=_transitions(known) + (1 if taken_over and known else 0),
            acquired=None if taken_over else (known.get("spec") or {}).get("acquireTime"),
        )
        self._write(record)

    def _write(self, spec: Json) -> None:
        metadata = {"name": self._config.name, "namespace": self._config.namespace}
        lease: Json = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}
        if self._known:
            lease["metadata"] = {**(self._known.get("metadata") or {}), **metadata}
            written = self._api.replace(LEASES, self._config.namespace, self._config.name, lease)
        else:
            written = self._api.create(LEASES, self._config.namespace, lease)
        self._see(written)

    def _record(self, *, holder: str, transitions: int, acquired: str | None = None) -> Json:
        now = self._wall_clock().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        duration = math.ceil(self._config.duration) if holder else RELEASED_DURATION_SECONDS
        return {
            "holderIdentity": holder,
            "leaseDurationSeconds": duration,
            "acquireTime": acquired or now,
            "renewTime": now,
            "leaseTransitions": transitions,
        }

    def _jittered(self, seconds: float) -> float:
        return self._uniform(0.8 * seconds, seconds)

    def _say(self, error: str) -> None:
        if error != self._error:
            logger.warning("lease_not_renewed", extra={"error": error, "held": self.held()})
        self._error = error

    def _tell(self) -> None:
        held = self.held()
        if held == self._was_held:
            return
        self._was_held = held
        logger.info("lease_held" if held else "lease_lost", extra={"identity": self.identity, "holder": self.holder})
        (self.on_started if held else self.on_stopped)()


def _nothing() -> None:
    """Do nothing."""


def _holder(lease: Json) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def _transitions(lease: Json) -> int:
    return round(_number(lease, "leaseTransitions"))


def _number(lease: Json, name: str) -> float:
    value = (lease.get("spec") or {}).get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _version(lease: Json) -> tuple[str, str]:
    """Tell records apart. Not by their times: they come from a clock that may stand still or go back."""
    metadata = lease.get("metadata") or {}
    return str(metadata.get("uid") or ""), str(metadata.get("resourceVersion") or "")
