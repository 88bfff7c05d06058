"""Past load step by step: what Prometheus has, fetched once, or what was seen since start-up; it asks no clock.

Forecasts look at the same three windows again and again, each a few steps later. So a window is kept as a table of
workloads by steps, and only the cells that are new, or that were too young to be final, are fetched.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from scaler.adapters.promql import SeriesName, series_of
from scaler.domain import FloatArray, MetricsUnavailable, TargetKey
from scaler.targets.workload import PodGroup, Workload

MAX_POINTS: Final = 50_000  # of one query: 2 MB of JSON
MAX_COLUMNS: Final = 10_000  # of one query; Prometheus refuses more than 11,000 points of one series
SETTLED_AFTER: Final = timedelta(minutes=3)  # samples arrive late, and what they change is fetched again until then
FORGET_AFTER: Final = timedelta(hours=1)  # without being asked for: twelve of the longest forecast periods
MAX_TABLES: Final = 32
# A step counts when it was sampled this often, against a usual step. A rate leaves out what lies behind the last
# sample, so the step at the edge of an outage is at most a quarter low.
COVERED_RATIO: Final = 0.75
CELL: Final = timedelta(seconds=60)  # of what is kept in memory: the smallest step

_Float32: TypeAlias = npt.NDArray[np.float32]
_Bool: TypeAlias = npt.NDArray[np.bool_]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Columns:
    """Times at regular distance, each the end of a step."""

    first: datetime
    step: timedelta
    count: int

    @property
    def last(self) -> datetime:
        """The newest of them."""
        return self.first + (self.count - 1) * self.step


@dataclass(frozen=True, slots=True, eq=False)
class Fetched:
    """Answer to one fetch.

    Attributes:
        loads: Mean load over each step, NaN where no pod of the workload was seen. Shape (columns,).
        coverage: How often the series that was sampled best was sampled within each step. Shape (columns,).
    """

    loads: Mapping[SeriesName, FloatArray]
    coverage: FloatArray


class LoadFetcher(Protocol):
    """Who has the past."""

    def frontier(self, metric: str, now: datetime) -> datetime | None:
        """Time up to which samples are there; None where there are none.

        Raises:
            MetricsUnavailable: No answer.
        """

    def fetch(self, metric: str, groups: Sequence[PodGroup], columns: Columns) -> Fetched:
        """Load of all these workloads, and perhaps of others.

        Raises:
            MetricsUnavailable: No answer.
        """


class _Table:
    """One window of one metric: workloads by steps. Column i ends at (first + i) steps after the epoch."""

    def __init__(self, columns: int) -> None:
        self.first = 0
        self.rows: dict[TargetKey, int] = {}
        self.asked: dict[TargetKey, datetime] = {}
        self.loads: _Float32 = np.empty((0, columns), np.float32)
        self.fetched: _Bool = np.empty((0, columns), np.bool_)
        self.final: _Bool = np.empty((0, columns), np.bool_)
        self.coverage: _Float32 = np.full(columns, np.nan, np.float32)

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.coverage)

    def move_to(self, first: int) -> None:
        """Let the window begin at this column; what is in both stays."""
        shift = first - self.first
        self.first = first
        if shift:
            _shift(self.loads, shift, np.nan)
            _shift(self.fetched, shift, False)
            _shift(self.final, shift, False)
            _shift(self.coverage[np.newaxis], shift, np.nan)

    def admit(self, keys: Iterable[TargetKey], now: datetime) -> None:
        """Make room for these, in place of those that nobody asked for any more."""
        for key in keys:
            self.asked[key] = now
        new = [key for key in self.asked if key not in self.rows]
        stale = [key for key, at in self.asked.items() if now - at > FORGET_AFTER]
        if not new and not stale:
            return
        for key in stale:
            del self.asked[key]
        kept = [key for key in self.rows if key in self.asked]
        picked = [self.rows[key] for key in kept]
        empty = np.zeros((len(new), self.width), np.bool_)
        self.loads = np.vstack([self.loads[picked], np.where(empty, 0, np.nan).astype(np.float32)])
        self.fetched = np.vstack([self.fetched[picked], empty])
        self.final = np.vstack([self.final[picked], empty])
        self.rows = {key: row for row, key in enumerate((*kept, *new))}

    def gaps(self, keys: Sequence[TargetKey], until: int) -> Iterator[tuple[list[TargetKey], int, int]]:
        """Cells before column `until` that are to be fetched: workloads, first column, and the one behind the last."""
        by_pattern: dict[bytes, list[TargetKey]] = {}
        for key in keys:
            by_pattern.setdefault((~self.final[self.rows[key], :until]).tobytes(), []).append(key)
        for pattern, members in by_pattern.items():
            missing = np.frombuffer(pattern, np.bool_)
            edges = np.flatnonzero(np.diff(missing, prepend=False, append=False))
            for start, stop in edges.reshape(-1, 2):
                yield members, int(start), int(stop)

    def store(self, members: Mapping[TargetKey, SeriesName], start: int, fetched: Fetched, settled: int) -> None:
        """Put an answer into its cells; those from column `settled` on are fetched again next time."""
        stop = start + len(fetched.coverage)
        for key, name in members.items():
            row = self.rows[key]
            self.loads[row, start:stop] = fetched.loads.get(name, np.nan)
            self.fetched[row, start:stop] = True
            self.final[row, start : max(start, min(stop, settled))] = True
        self.coverage[start:stop] = fetched.coverage

    def alive(self) -> _Bool:
        """Steps that were sampled often enough to count."""
        sampled = self.coverage[self.coverage > 0]
        usual = float(np.median(sampled)) if sampled.size else 1.0
        # Half a sample less: where a scrape falls on the border of a step, it is counted on one side only.
        return np.nan_to_num(self.coverage) >= max(0.5, COVERED_RATIO * usual - 0.5)


@dataclass(slots=True)
class LoadHistory:
    """The past from a `LoadFetcher`, each step fetched once. Safe to use from several threads."""

    fetcher: LoadFetcher
    max_points: int = MAX_POINTS
    _tables: dict[tuple[str, timedelta, int, int], _Table] = field(init=False, repr=False, default_factory=dict)
    _lock: threading.Lock = field(init=False, repr=False, default_factory=threading.Lock)

    def load_between(
        self, workloads: Sequence[Workload], *, start: datetime, end: datetime, step: timedelta, now: datetime
    ) -> Mapping[TargetKey, FloatArray]:
        """As `MetricsSource.load_between`. What cannot be fetched now is missing, and is fetched next time.

        A workload that may be at zero had no load in a step in which others were seen and it had no pod, from its first
        pod on. For all others that is a gap.

        Raises:
            MetricsUnavailable: Nothing could be fetched, and nothing was fetched before.
        """
        by_metric: dict[str, list[Workload]] = {}
        for workload in workloads:
            by_metric.setdefault(workload.metric, []).append(workload)
        first, count = _column(start, step) + 1, round((end - start) / step)
        loads: dict[TargetKey, FloatArray] = {}
        failures: list[MetricsUnavailable] = []
        with self._lock:
            for metric, members in by_metric.items():
                table = self._table((metric, step, count, _column(now, step) - first))
                table.move_to(first)
                table.admit((workload.key for workload in members), now)
                try:
                    self._fill(table, metric, members, step=step, now=now)
                except MetricsUnavailable as error:
                    logger.warning("history_incomplete", extra={"metric": metric, "error": str(error)})
                    failures.append(error)
                    if not table.fetched.any():
                        continue
                loads |= _read(table, members)
        if failures and not loads:
            raise failures[0]
        return loads

    def _table(self, key: tuple[str, timedelta, int, int]) -> _Table:
        """Find a window by its distance from now: it moves on with the time."""
        table = self._tables.pop(key, None) or _Table(key[2])
        self._tables[key] = table
        if len(self._tables) > MAX_TABLES:
            del self._tables[next(iter(self._tables))]
        return table

    def _fill(self, table: _Table, metric: str, members: Sequence[Workload], *, step: timedelta, now: datetime) -> None:
        """Fetch what is missing, in queries that are bounded in points, workloads that miss the same together."""
        groups = {workload.key: workload.pods for workload in members}
        settled = _column(now - SETTLED_AFTER, step) + 1 - table.first
        until = self._ripe(table, metric, step=step, now=now)
        gaps = list(table.gaps(list(groups), until))
        total = sum(len(keys) * (stop - start) for keys, start, stop in gaps)
        done = 0
        for keys, start, stop in gaps:
            size = min(MAX_COLUMNS, max(1, self.max_points // len(keys)))
            for begin in range(start, stop, size):
                columns = Columns(_time(table.first + begin, step), step, min(size, stop - begin))
                fetched = self.fetcher.fetch(metric, [groups[key] for key in keys], columns)
                table.store({key: series_of(groups[key]) for key in keys}, begin, fetched, settled)
                done += len(keys) * columns.count
                if total > self.max_points:
                    logger.info("history_loading", extra={"metric": metric, "points": done, "of": total})

    def _ripe(self, table: _Table, metric: str, *, step: timedelta, now: datetime) -> int:
        """Columns whose step is over for the newest sample too: one that still grows would pass for a low load."""
        width = table.width
        if _time(table.first + width, step) <= now - SETTLED_AFTER:
            return width
        frontier = self.fetcher.frontier(metric, now)
        if frontier is None:
            return 0
        return max(0, min(width, _column(frontier, step) + 1 - table.first))


def _read(table: _Table, members: Iterable[Workload]) -> dict[TargetKey, FloatArray]:
    alive = table.alive()
    loads: dict[TargetKey, FloatArray] = {}
    for workload in members:
        row = table.rows[workload.key]
        known = alive & table.fetched[row]
        load = np.where(known, table.loads[row], np.nan).astype(np.float64)
        if workload.target.min_replicas == 0:
            seen = np.flatnonzero(np.isfinite(load))
            if seen.size:
                load[seen[0] :][known[seen[0] :] & np.isnan(load[seen[0] :])] = 0.0
        loads[workload.key] = load
    return loads


class _Ring:
    """Load of one workload by minutes since start-up, as load-seconds and seconds seen; it grows up to its length."""

    __slots__ = ("first", "seconds", "sums")

    def __init__(self, first: int) -> None:
        self.first = first
        self.sums: _Float32 = np.zeros(64, np.float32)
        self.seconds: _Float32 = np.zeros(64, np.float32)

    def add(self, cell: int, seconds: float, load: float, longest: int) -> None:
        place = cell - self.first
        if place < 0:
            return
        if place >= len(self.sums):
            self._make_room(cell, longest)
            place = cell - self.first
        self.sums[place] += load * seconds
        self.seconds[place] += seconds

    def _make_room(self, cell: int, longest: int) -> None:
        """Double it, or drop the oldest eighth where it is as long as it may be."""
        needed = cell - self.first + 1
        drop = needed - longest + longest // 8 if needed > longest else 0
        size = min(longest, max(2 * len(self.sums), needed))
        self.sums, self.seconds = _moved(self.sums, drop, size), _moved(self.seconds, drop, size)
        self.first += drop

    def window(self, first: int, count: int) -> tuple[FloatArray, FloatArray]:
        """Load-seconds and seconds of `count` minutes."""
        sums, seconds = np.zeros(count), np.zeros(count)
        start, stop = max(first, self.first), min(first + count, self.first + len(self.sums))
        if start < stop:
            sums[start - first : stop - first] = self.sums[start - self.first : stop - self.first]
            seconds[start - first : stop - first] = self.seconds[start - self.first : stop - self.first]
        return sums, seconds


@dataclass(frozen=True, slots=True)
class Sample:
    """Load of one workload over a stretch of time."""

    load: float
    start: datetime
    end: datetime


@dataclass(slots=True)
class SeenHistory:
    """The past since start-up, from samples as they came. Safe to use from several threads.

    Attributes:
        longest: Kept of each workload; a week and a forecast's reach, 90 KB.
    """

    longest: timedelta = timedelta(days=8)
    _rings: dict[TargetKey, _Ring] = field(init=False, repr=False, default_factory=dict)
    _until: dict[TargetKey, datetime] = field(init=False, repr=False, default_factory=dict)
    _lock: threading.Lock = field(init=False, repr=False, default_factory=threading.Lock)

    def record(self, samples: Mapping[TargetKey, Sample]) -> None:
        """Take in what was seen; a stretch of time that was seen before counts once."""
        longest = self.longest // CELL
        with self._lock:
            for key, sample in samples.items():
                start = max(sample.start, self._until.get(key, sample.start))
                if start >= sample.end:
                    continue
                self._until[key] = sample.end
                ring = self._rings.setdefault(key, _Ring(_cell(start)))
                for cell, seconds in _cells(start, sample.end):
                    ring.add(cell, seconds, sample.load, longest)

    def keep_only(self, keys: Collection[TargetKey]) -> None:
        """Forget all others."""
        with self._lock:
            for key in self._rings.keys() - set(keys):
                del self._rings[key]
                self._until.pop(key, None)

    def load_between(
        self, workloads: Sequence[Workload], *, start: datetime, end: datetime, step: timedelta, now: datetime
    ) -> Mapping[TargetKey, FloatArray]:
        """As `MetricsSource.load_between`; a step counts when at least half of it was seen."""
        count, cells = round((end - start) / step), step // CELL
        first = _cell(start)
        loads: dict[TargetKey, FloatArray] = {}
        with self._lock:
            for workload in workloads:
                ring = self._rings.get(workload.key)
                if ring is None:
                    continue
                sums, seconds = (part.reshape(count, cells).sum(axis=1) for part in ring.window(first, count * cells))
                seen = seconds >= step.total_seconds() / 2
                loads[workload.key] = np.divide(sums, seconds, out=np.full(count, np.nan), where=seen)
        return loads


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _column(at: datetime, step: timedelta) -> int:
    """Number of the last column that ends at or before this time."""
    return (at - _EPOCH) // step


def _time(column: int, step: timedelta) -> datetime:
    return _EPOCH + column * step


def _cell(at: datetime) -> int:
    return (at - _EPOCH) // CELL


def _cells(start: datetime, end: datetime) -> Iterator[tuple[int, float]]:
    """Split a stretch of time at the minutes."""
    while start < end:
        cell = _cell(start)
        stop = min(end, _EPOCH + (cell + 1) * CELL)
        yield cell, (stop - start).total_seconds()
        start = stop


def _moved(values: _Float32, drop: int, size: int) -> _Float32:
    """Copy all but the first `drop` values into an array of `size`, zeros behind them."""
    moved = np.zeros(size, np.float32)
    kept = values[drop : drop + size]
    moved[: len(kept)] = kept
    return moved


def _shift(values: _Float32 | _Bool, by: int, empty: float | bool) -> None:
    """Move the columns to the left, or to the right where `by` is negative, and empty those that come in."""
    width = values.shape[1]
    if abs(by) >= width:
        values[:] = empty
    elif by > 0:
        values[:, :-by] = values[:, by:].copy()
        values[:, -by:] = empty
    else:
        values[:, -by:] = values[:, :by].copy()
        values[:, :-by] = empty
