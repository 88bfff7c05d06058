"""What a cluster did under a known load, as data: replicas beside the load that was sent; it judges nothing."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from pydantic import TypeAdapter

from scaler.domain import FloatArray

Changes: TypeAlias = tuple[tuple[float, float], ...]
"""(seconds, value from then on), oldest first."""


@dataclass(frozen=True, slots=True)
class MetricsLook:
    """The newest metrics of all pods of a workload, when they were first seen; times in seconds as in `Lane`.

    Attributes:
        seen: When they were read.
        measured: Their own time stamp, the oldest pod's.
        window: Seconds that they average over, mean over pods.
        cores: CPU of all pods that have metrics.
        pods: How many those are.
        ready: How many pods were Ready.
    """

    seen: float
    measured: float
    window: float
    cores: float
    pods: int
    ready: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """One workload under one autoscaler. All times are seconds after the recording's start.

    Attributes:
        sent: Requests begun in each second, the lead's first. Shape (lead + seconds,).
        in_flight: Requests begun and not ended yet, at the end of each second. Shape (lead + seconds,).
        failed, slow: Requests without a 200 within 30 s, and of the others those that took long.
        per_request: Load of one request: CPU seconds that it asks for, or seconds that it is in flight.
        capacity: What the target is a share of, in the unit of load: CPU that a pod asks for, requests it takes.
        target_utilization: Share of the capacity that the autoscaler aims at.
        desired: Replicas that the autoscaler asked for.
        ready: Ready pods.
        pods: Of each pod that was made during the recording: when, and the seconds until it was Ready.
        metrics: What metrics-server said; empty for an autoscaler that does not read it.
        told: What the autoscaler said that it saw: for an HPA its utilization in percent of the request.
    """

    sent: tuple[float, ...]
    in_flight: tuple[float, ...]
    failed: int
    slow: int
    per_request: float
    capacity: float
    target_utilization: float
    min_replicas: int
    max_replicas: int
    desired: Changes
    ready: Changes
    pods: tuple[tuple[float, float], ...]
    metrics: tuple[MetricsLook, ...] = ()
    told: Changes = ()

    def rate(self) -> FloatArray:
        """Requests begun in each second. Shape (lead + seconds,)."""
        return np.array(self.sent, dtype=np.float64)

    @property
    def request_seconds(self) -> float:
        """How long a request is in flight where none waits: median over time of in flight over the rate (Little)."""
        width = 5  # seconds; the rate of one is a coarse count
        rate = np.convolve(self.rate(), np.ones(width) / width)[: len(self.sent)]
        busy = rate >= 1.0
        return float(np.median(np.array(self.in_flight)[busy] / rate[busy]))

    @property
    def start_median(self) -> timedelta:
        """Median time from made to Ready."""
        return timedelta(seconds=statistics.median(took for _, took in self.pods))

    @property
    def start_spread_ratio(self) -> float:
        """Standard deviation of the logarithm of that time."""
        return float(np.std(np.log([took for _, took in self.pods])))


@dataclass(frozen=True, slots=True)
class Recording:
    """An HPA and a KPA side by side.

    Attributes:
        at: When it was made, in UTC.
        cluster: What it ran on, by name.
        lead_seconds: Load before second 0, which is compared with nothing.
        seconds: How long it lasted from second 0 on.
        load_average: Of the recorder's machine over a minute, by time.
    """

    at: str
    cluster: Mapping[str, str]
    lead_seconds: int
    seconds: int
    hpa: Recorded
    kpa: Recorded
    load_average: Changes

    def write(self, path: Path) -> None:
        """Write JSON, a field a line, so that it is small and its changes can be read."""
        rows = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in _fields(asdict(self))]
        path.write_text("{\n" + ",\n".join(rows) + "\n}\n", encoding="utf-8")


def read(path: Path) -> Recording:
    """Read what `write` wrote.

    Raises:
        pydantic.ValidationError: It is something else.
        OSError: It cannot be read.
    """
    found: dict[str, Any] = {}
    for name, value in json.loads(path.read_text(encoding="utf-8")).items():
        part, _, field = name.rpartition(".")
        (found.setdefault(part, {}) if part else found)[field] = value
    return TypeAdapter(Recording).validate_python(found)


def _fields(data: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Fields by name, those of each workload as `hpa.field`."""
    parts = ("hpa", "kpa")
    whole = [(name, value) for name, value in data.items() if name not in parts]
    return whole + [(f"{part}.{name}", value) for part in parts for name, value in data[part].items()]


def changes(seen: Sequence[tuple[float, float]]) -> Changes:
    """Keep of a series of looks those at which the value was new."""
    kept: list[tuple[float, float]] = []
    for at, value in seen:
        if not kept or kept[-1][1] != value:
            kept.append((round(at, 1), value))
    return tuple(kept)


def by_second(curve: Changes, seconds: int) -> FloatArray:
    """Give a curve's value at each second from 0 on; before its first change it is that one's. Shape (seconds,)."""
    return _values_at(curve, np.arange(seconds, dtype=np.float64))


def value_at(curve: Changes, second: float) -> float:
    """Give a curve's value at one second, as `by_second` does."""
    return float(_values_at(curve, np.array([second]))[0])


def by_whole_seconds(said: Sequence[tuple[float, float]], start: int, end: int) -> tuple[float, ...]:
    """Turn a counter read at odd times into counts of each whole second.

    Args:
        said: (seconds, count up to then), oldest first.
        start: The first second counted, inclusive.
        end: The last, exclusive.
    """
    times, counts = zip(*said, strict=True)
    at = np.interp(np.arange(start, end + 1), times, counts)
    return tuple(np.round(np.diff(at), 2).tolist())


def _values_at(curve: Changes, seconds: FloatArray) -> FloatArray:
    times, values = (np.array(column, dtype=np.float64) for column in zip(*curve, strict=True))
    found: FloatArray = values[np.maximum(np.searchsorted(times, seconds, side="right") - 1, 0)]
    return found
