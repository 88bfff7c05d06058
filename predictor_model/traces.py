"""Reads load traces in the contract's CSV format; it never fills what is missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

FloatArray: TypeAlias = npt.NDArray[np.float32]

COLUMNS = ("series", "timestamp", "value")
MAX_SLOTS_PER_ROW = 50  # a grid much emptier than this comes from one wrong timestamp, and would not fit into memory


class TraceError(ValueError):
    """A trace file cannot be used; the message names the file and what is accepted."""


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """One series of load at a uniform step.

    Attributes:
        dataset: The file it came from, without its endings.
        name: Its name in that file.
        start: Unix seconds of the first value; 0 where the source has no clock.
        step_seconds: Spacing of the values.
        values: Load, any unit, NaN is missing. Shape (T,).
    """

    dataset: str
    name: str
    start: int
    step_seconds: int
    values: FloatArray

    @property
    def has_clock(self) -> bool:
        """Whether timestamps are real; a series that starts at 0 has none."""
        return self.start > 0


def dataset_name(path: Path) -> str:
    """Name of the data set in a file: `smd` for `smd.csv.gz`."""
    return path.name.removesuffix(".gz").removesuffix(".csv")


def trace_files(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The CSV files named, with directories opened up.

    Raises:
        TraceError: A path does not exist, or a directory has no CSV files.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise TraceError(f"{path}: no such file or directory; give CSV files or a directory of them")
        found = sorted([*path.glob("*.csv"), *path.glob("*.csv.gz")]) if path.is_dir() else [path]
        if not found:
            raise TraceError(f"{path}: holds no *.csv or *.csv.gz")
        files.extend(found)
    return tuple(files)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A series that is left out, and why."""

    dataset: str
    series: str
    why: str


def read_traces(path: Path) -> tuple[Trace, ...]:
    """Read every series of a CSV file, gzip or plain.

    Raises:
        TraceError: Wrong header, a value that is no number or negative, or a series with fewer than two samples.
    """
    traces, skipped = read_usable_traces(path)
    if skipped:
        raise TraceError(f"{path}: series {skipped[0].series} {skipped[0].why}")
    return traces


def read_usable_traces(path: Path) -> tuple[tuple[Trace, ...], tuple[Skipped, ...]]:
    """Read those series of a CSV file that can be used, and say why the others cannot.

    Raises:
        TraceError: Nothing of the file can be read.
    """
    try:
        frame = pd.read_csv(path, dtype={"series": str})
    except (ValueError, OSError) as error:
        raise TraceError(f"{path}: not readable as CSV: {error}") from error
    if tuple(frame.columns) != COLUMNS:
        raise TraceError(f"{path}: header is {','.join(map(str, frame.columns))}; accepted is {','.join(COLUMNS)}")
    if not all(pd.api.types.is_numeric_dtype(frame[column]) for column in COLUMNS[1:]):
        raise TraceError(f"{path}: timestamp and value must be numbers; an empty value is a missing one")
    if not np.isfinite(frame["timestamp"]).all():
        raise TraceError(f"{path}: a row without a timestamp; each needs its Unix seconds")
    dataset, traces, skipped = dataset_name(path), [], []
    for name, group in frame.groupby("series", sort=False):
        found = _trace(dataset, str(name), group)
        if isinstance(found, Trace):
            traces.append(found)
        else:
            skipped.append(Skipped(dataset, str(name), found))
    return tuple(traces), tuple(skipped)


def _trace(dataset: str, name: str, group: pd.DataFrame) -> Trace | str:
    """Lay one series out on its grid, or say why that cannot be done."""
    stamps = group["timestamp"].to_numpy(dtype=np.int64)
    values = group["value"].to_numpy(dtype=np.float64)
    gaps = np.diff(stamps)
    if len(gaps) == 0 or (gaps <= 0).any():
        return "needs at least two samples with rising timestamps"
    if (values < 0).any() or np.isinf(values).any():
        return "has negative or infinite load; accepted is 0 and above, or empty"
    step = int(np.median(gaps))
    index = np.round((stamps - stamps[0]) / step).astype(np.int64)
    length = int(index[-1]) + 1
    if length > MAX_SLOTS_PER_ROW * len(values):
        return f"has {len(values)} rows for {length} steps of {step} s; check its timestamps"
    grid = np.full(length, np.nan, dtype=np.float32)
    grid[index] = values
    return Trace(dataset, name, int(stamps[0]), step, grid)


def coarsen(trace: Trace, factor: int) -> Trace:
    """Average groups of `factor` values; a group with more than half of it missing is missing."""
    if factor == 1:
        return trace
    groups = trace.values[: len(trace.values) // factor * factor].reshape(-1, factor)
    known = ~np.isnan(groups)
    count = known.sum(1)
    total = np.where(known, groups, 0).sum(1)
    values = np.where(2 * count >= factor, total / np.maximum(count, 1), np.nan).astype(np.float32)
    return Trace(trace.dataset, trace.name, trace.start, trace.step_seconds * factor, values)
