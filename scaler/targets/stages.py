"""How long the pods of a workload took to start, read from those that run now; it remembers nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from scaler.kube.objects import PodObject

# A pod that is Ready for the first time, or again, after longer than this says nothing about starting: it restarted, or
# it waited for something that no forecast brings.
LONGEST_START: Final = timedelta(minutes=30)
STARTS_KEPT: Final = 64


@dataclass(frozen=True, slots=True)
class Stages:
    """Where the time of a start goes: medians, each counted from the creation of the pod.

    Attributes:
        scheduled: Until it was bound to a node.
        started: Until all its containers ran.
        ready: Until it was Ready.
    """

    scheduled: timedelta
    started: timedelta
    ready: timedelta


@dataclass(frozen=True, slots=True)
class _Start:
    created: datetime
    scheduled: timedelta
    started: timedelta
    ready: timedelta


def start_stages(pods: Iterable[PodObject]) -> Stages | None:
    """Take the medians over all pods that started in one go; None where there is no such pod."""
    starts = _starts(pods)
    if not starts:
        return None
    return Stages(
        scheduled=_median(start.scheduled for start in starts),
        started=_median(start.started for start in starts),
        ready=_median(start.ready for start in starts),
    )


def start_durations(pods: Iterable[PodObject]) -> tuple[timedelta, ...]:
    """Give the time from creation to Ready of the newest pods, oldest first: what a lead time is, but for our write.

    The clock of the API counts whole seconds, so a start within the same second took one.
    """
    starts = sorted(_starts(pods), key=lambda start: start.created)[-STARTS_KEPT:]
    return tuple(max(start.ready, timedelta(seconds=1)) for start in starts)


def _starts(pods: Iterable[PodObject]) -> list[_Start]:
    return [start for start in map(_start, pods) if start is not None]


def _start(pod: PodObject) -> _Start | None:
    created, scheduled, started, ready = pod.meta.created, pod.scheduled_at, pod.started_at, pod.ready_since
    if created is None or scheduled is None or started is None or ready is None or pod.finished:
        return None
    if not created <= scheduled <= started <= ready or ready - created > LONGEST_START:
        return None
    return _Start(created, scheduled - created, started - created, ready - created)


def _median(durations: Iterable[timedelta]) -> timedelta:
    return timedelta(seconds=median(duration.total_seconds() for duration in durations))
