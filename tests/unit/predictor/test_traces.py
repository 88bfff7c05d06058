import gzip
from pathlib import Path

import numpy as np
import pytest

from predictor_model.traces import Trace, TraceError, coarsen, read_traces, trace_files

HEADER = "series,timestamp,value\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_value_and_a_missing_row_are_both_missing_not_zero(tmp_path: Path) -> None:
    path = write(tmp_path / "load.csv", HEADER + "a,60,1\na,120,\na,240,4\na,300,5\n")
    (trace,) = read_traces(path)
    np.testing.assert_array_equal(trace.values, np.array([1, np.nan, np.nan, 4, 5], dtype=np.float32))
    assert (trace.dataset, trace.name, trace.start, trace.step_seconds) == ("load", "a", 60, 60)


def test_gzip_and_several_series_are_read(tmp_path: Path) -> None:
    path = tmp_path / "load.csv.gz"
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write(HEADER + "b,0,1\nb,300,2\na,0,3\na,300,4\n")
    assert [(trace.name, trace.dataset) for trace in read_traces(path)] == [("b", "load"), ("a", "load")]


@pytest.mark.parametrize(
    ("start", "has_clock"),
    [pytest.param(0, False, id="zero-is-no-clock"), pytest.param(1_600_000_000, True, id="unix")],
)
def test_a_series_that_starts_at_zero_has_no_clock(start: int, has_clock: bool) -> None:
    assert Trace("d", "s", start, 60, np.ones(3, dtype=np.float32)).has_clock is has_clock


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("name,timestamp,value\na,0,1\na,60,2\n", "header is name,timestamp,value", id="header"),
        pytest.param(HEADER + "a,0,1\na,60,many\n", "must be numbers", id="not-a-number"),
        pytest.param(HEADER + "a,0,1\na,60,-2\n", "negative or infinite", id="negative"),
        pytest.param(HEADER + "a,0,1\na,60,inf\n", "negative or infinite", id="infinite"),
        pytest.param(HEADER + "a,0,1\n", "at least two samples", id="one-sample"),
        pytest.param(HEADER + "a,60,1\na,0,1\n", "rising timestamps", id="falling-clock"),
        pytest.param(HEADER + "a,60,1\na,60,1\n", "rising timestamps", id="repeated-stamp"),
        pytest.param("", "not readable as CSV", id="empty-file"),
    ],
)
def test_a_bad_file_is_refused_with_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        read_traces(write(tmp_path / "bad.csv", text))


def test_a_folder_stands_for_its_csv_files(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.csv", HEADER), write(tmp_path / "b.csv.gz", "")
    write(tmp_path / "notes.txt", "")
    assert trace_files([tmp_path]) == (first, second)


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_path_without_traces_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TraceError):
        trace_files([tmp_path / name])


def test_coarsening_averages_what_is_known_and_drops_groups_mostly_missing() -> None:
    values = np.array([1, 3, np.nan, 5, np.nan, np.nan, 7], dtype=np.float32)
    coarse = coarsen(Trace("d", "s", 10, 60, values), 2)
    # (1 + 3) / 2; 5 alone is half of its group; nothing known; the 7 has no partner
    np.testing.assert_array_equal(coarse.values, np.array([2, 5, np.nan], dtype=np.float32))
    assert coarse.step_seconds == 120
