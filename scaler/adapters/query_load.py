"""Past load as one PromQL query gives it, a series for each set of labels; it never fills in what is missing."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from scaler.adapters.load_history import MAX_COLUMNS, Columns
from scaler.domain import FloatArray, MetricsUnavailable

CHUNK: Final = timedelta(hours=6)  # of one query: what a busy server answers within its time-out, also for rates
MAX_SERIES: Final = 1_000  # two weeks of minutes are 20 million rows; a query by pod has far more series, all short
NO_LABELS: Final = "load"
HEADER: Final = "series,timestamp,value\n"

_Float32: TypeAlias = npt.NDArray[np.float32]


class UnusableQuery(MetricsUnavailable):
    """The query works, and what it gives is no load of workloads; the message says what is accepted."""


class RangeQueries(Protocol):
    """Who evaluates a query at many times."""

    def matrix(self, query: str, columns: Columns) -> list[tuple[Mapping[str, str], FloatArray]]:
        """Labels and values at each time of `columns`; NaN where a series has no value.

        Raises:
            MetricsUnavailable: No usable answer.
        """


@dataclass(frozen=True, slots=True, eq=False)
class QueriedLoad:
    """What a query gave.

    Attributes:
        columns: Times, each the end of a step.
        loads: By the series' name, 0 or more, NaN is missing. Each of shape (columns,).
        dropped: Why a series is not among them, by its name.
        not_finite: Samples that were infinite and count as missing; a division by zero gives them.
    """

    columns: Columns
    loads: Mapping[str, _Float32]
    dropped: Mapping[str, str]
    not_finite: int

    @property
    def missing_ratio(self) -> float:
        """Share of samples that are missing."""
        return float(np.mean([np.isnan(load).mean() for load in self.loads.values()]))


def fetch_query(
    source: RangeQueries, query: str, columns: Columns, *, progress: Callable[[int, int], None] = lambda done, of: None
) -> QueriedLoad:
    """Fetch it a few hours at a time.

    Args:
        source: The server.
        query: Its series are the workloads.
        columns: When to evaluate it.
        progress: Told after each request how many columns are there, of how many.

    Raises:
        UnusableQuery: It gave no series, too many, or none that is a load.
        MetricsUnavailable: No answer.
    """
    size = min(MAX_COLUMNS, max(1, CHUNK // columns.step))
    found: dict[str, _Float32] = {}
    for begin in range(0, columns.count, size):
        part = Columns(columns.first + begin * columns.step, columns.step, min(size, columns.count - begin))
        for labels, values in source.matrix(query, part):
            load = found.setdefault(series_name(labels), np.full(columns.count, np.nan, np.float32))
            load[begin : begin + part.count] = values
        if len(found) > MAX_SERIES:
            raise UnusableQuery(
                f"the query gives more than {MAX_SERIES:,} series; accepted is one for each workload: take a sum by "
                "(namespace, deployment) or the like, not by pod, or fewer workloads"
            )
        progress(begin + part.count, columns.count)
    return _checked(query, columns, found)


def series_name(labels: Mapping[str, str]) -> str:
    r"""Name a series by its labels, `deployment=web,namespace=shop`; `\`, `,` and `=` in a value follow a `\`."""
    parts = []
    for label in sorted(labels):
        value = labels[label].replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")
        parts.append(f"{label}={value}")
    return ",".join(parts) or NO_LABELS


def write_csv(load: QueriedLoad, path: Path) -> None:
    """Write it as the project's CSV, gzip; the same load always gives the same bytes.

    A value is stamped with the start of its step. The file takes its place when it is whole.

    Raises:
        OSError: It cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=0) as file:
        file.write(HEADER.encode())
        for name, values in load.loads.items():
            file.write("".join(_rows(name, values, load.columns)).encode())
    part.replace(path)


def _rows(name: str, values: _Float32, columns: Columns) -> Iterator[str]:
    quoted = '"' + name.replace('"', '""') + '"'
    step = round(columns.step.total_seconds())
    first = round(columns.first.timestamp()) - step
    known = np.flatnonzero(~np.isnan(values))
    for column in range(known[0], known[-1] + 1):
        value = "" if np.isnan(values[column]) else f"{values[column]:.7g}"
        yield f"{quoted},{first + column * step},{value}\n"


def _checked(query: str, columns: Columns, found: Mapping[str, _Float32]) -> QueriedLoad:
    """Leave out what is no load.

    Raises:
        UnusableQuery: Nothing is left.
    """
    loads: dict[str, _Float32] = {}
    dropped: dict[str, str] = {}
    not_finite = 0
    for name, values in sorted(found.items()):
        infinite = np.isinf(values)
        not_finite += int(infinite.sum())
        load = np.where(infinite, np.float32(np.nan), values)
        if np.isnan(load).all():
            dropped[name] = "has no sample that is a number"
        elif (load < 0).any():
            below = f"{int((load < 0).sum())} samples below 0, the lowest {np.nanmin(load):g}"
            dropped[name] = f"has {below}; load is never negative"
        else:
            loads[name] = load
    if not loads:
        between = f"between {columns.first - columns.step:%Y-%m-%d %H:%M} and {columns.last:%Y-%m-%d %H:%M} UTC"
        reasons = "".join(f"; {name} {why}" for name, why in list(dropped.items())[:3])
        raise UnusableQuery(f"the query gives no load {between}{reasons}; look at it in the server's own page: {query}")
    return QueriedLoad(columns, loads, dropped, not_finite)
