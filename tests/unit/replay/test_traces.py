from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.replay.traces import EPOCH, Trace, TraceError, demo_trace, read_csv, resample

MINUTE = timedelta(minutes=1)
HEADER = "series,timestamp,value\n"


def write(tmp_path: Path, text: str, name: str = "load.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def rows(values: list[object], *, series: str = "web", start: int = 0, step: int = 60) -> str:
    return "".join(f"{series},{start + i * step},{value}\n" for i, value in enumerate(values))


def make_trace(values: list[float], *, step: timedelta = MINUTE) -> Trace:
    return Trace(name="web", start=EPOCH, step=step, values=np.array(values), has_clock=False)


@pytest.mark.parametrize("name", ["load.csv", "load.csv.gz"])
def test_a_file_is_read_as_it_stands(tmp_path: Path, name: str) -> None:
    start = 1_700_000_000
    (trace,) = read_csv(write(tmp_path, HEADER + rows([1, 2.5, "", 4, 5, 6, 7, 0, 9], start=start), name))
    assert (trace.name, trace.step, trace.has_clock) == ("web", MINUTE, True)
    assert trace.start == datetime.fromtimestamp(start, UTC)
    assert trace.end == trace.start + 9 * MINUTE
    np.testing.assert_array_equal(trace.values, [1, 2.5, np.nan, 4, 5, 6, 7, 0, 9])


def test_timestamps_from_zero_are_no_clock(tmp_path: Path) -> None:
    (trace,) = read_csv(write(tmp_path, HEADER + rows([1] * 8)))
    assert not trace.has_clock


def test_rows_that_are_not_there_are_missing(tmp_path: Path) -> None:
    text = HEADER + rows([1] * 8) + rows([2] * 2, start=10 * 60)
    (trace,) = read_csv(write(tmp_path, text))
    np.testing.assert_array_equal(trace.values, [1] * 8 + [np.nan] * 2 + [2] * 2)


def test_a_row_beside_the_grid_goes_to_the_nearest_place(tmp_path: Path) -> None:
    text = HEADER + rows([1] * 8) + "web,485,3\nweb,535,5\nweb,601,7\n"
    (trace,) = read_csv(write(tmp_path, text))
    np.testing.assert_array_equal(trace.values, [1] * 8 + [3, 5, 7])


def test_rows_that_share_a_place_are_averaged(tmp_path: Path) -> None:
    text = HEADER + rows([1] * 8) + "web,475,3\nweb,485,5\nweb,490,\n"
    (trace,) = read_csv(write(tmp_path, text))
    np.testing.assert_array_equal(trace.values, [1] * 8 + [4])


def test_all_series_are_read_in_the_order_of_the_file_and_one_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + rows([1] * 8, series="b") + rows([2] * 8, series="a", step=300))
    assert [(trace.name, trace.step) for trace in read_csv(path)] == [("b", MINUTE), ("a", 5 * MINUTE)]
    assert [trace.name for trace in read_csv(path, series="a")] == ["a"]


def test_series_may_take_turns(tmp_path: Path) -> None:
    text = HEADER + "".join(f"a,{60 * i},1\nb,{60 * i},2\n" for i in range(8))
    assert [trace.values.tolist() for trace in read_csv(write(tmp_path, text))] == [[1] * 8, [2] * 8]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", ":1: header must be 'series,timestamp,value', got ''", id="empty"),
        pytest.param("timestamp,value\n0,1\n", ":1: header must be .*, got 'timestamp,value'", id="header"),
        pytest.param(HEADER, "no rows after the header", id="no_rows"),
        pytest.param(HEADER + "web,0,1\nweb,60\n", ":3: a row must have 3 cells, got 2", id="short_row"),
        pytest.param(HEADER + "web,noon,1\n", ":2: timestamp must be .*, got 'noon'", id="timestamp_text"),
        pytest.param(HEADER + "web,,1\n", ":2: timestamp must be .*, got ''", id="timestamp_empty"),
        pytest.param(HEADER + "web,1700000000000,1\n", ":2: timestamp must be Unix seconds", id="milliseconds"),
        pytest.param(HEADER + "web,0,high\n", ":2: value must be a finite number of at least 0, got 'high'", id="text"),
        pytest.param(HEADER + "web,0,1\nweb,60,-1\n", ":3: value must be .*, got '-1'", id="negative"),
        pytest.param(HEADER + "web,0,inf\n", ":2: value must be .*, got 'inf'", id="infinite"),
        pytest.param(HEADER + "web,0,nan\n", ":2: value must be .*, got 'nan'", id="nan_is_not_a_word_for_missing"),
        pytest.param(HEADER + "web,60,1\nweb,60,1\n", ":3: timestamp 60 of 'web' must increase", id="duplicate"),
        pytest.param(HEADER + "web,60,1\nweb,0,1\n", ":3: timestamp 0 of 'web' must increase", id="decreasing"),
        pytest.param(HEADER + rows([1] * 7 + [""]), "'web' has 7 samples, at least 8 are needed", id="seven_samples"),
        pytest.param(HEADER + rows([1] * 8) + "web,1700000000,1\n", "check its timestamps", id="lonely_timestamp"),
        pytest.param(HEADER + "".join(f"web,{i / 10},1\n" for i in range(9)), "below one second", id="tenths"),
    ],
)
def test_a_bad_file_is_refused_with_the_place_and_what_is_accepted(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        read_csv(write(tmp_path, text))


def test_an_unknown_series_lists_the_known_ones(tmp_path: Path) -> None:
    path = write(tmp_path, HEADER + rows([1] * 8, series="b") + rows([2] * 8, series="a"))
    with pytest.raises(TraceError, match="no series 'c'; accepted are a, b"):
        read_csv(path, series="c")


@pytest.mark.parametrize(
    "content",
    [pytest.param(b"\x1f\x8b\x08\x00broken", id="broken_gzip"), pytest.param(b"plain", id="plain_text_named_gz")],
)
def test_a_broken_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "load.csv.gz"
    path.write_bytes(content)
    with pytest.raises(TraceError, match="not a CSV text file"):
        read_csv(path)


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TraceError, match="not a CSV text file"):
        read_csv(path)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_csv(tmp_path / "nowhere.csv")


def test_resampling_averages_whole_groups_and_drops_the_rest() -> None:
    coarse = resample(make_trace([1, 3, 5, 7, 9]), 2 * MINUTE)
    np.testing.assert_array_equal(coarse.values, [2, 6])
    assert (coarse.step, coarse.start) == (2 * MINUTE, EPOCH)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([4, np.nan, 8, np.nan], 6, id="half_is_enough"),
        pytest.param([4, np.nan, np.nan, np.nan], np.nan, id="less_than_half_is_missing"),
        pytest.param([np.nan] * 4, np.nan, id="none"),
    ],
)
def test_a_group_needs_half_of_its_samples(values: list[float], expected: float) -> None:
    np.testing.assert_array_equal(resample(make_trace(values), 4 * MINUTE).values, [expected])


@pytest.mark.parametrize("seconds", [30, 90])
def test_a_step_that_is_no_whole_multiple_is_refused(seconds: int) -> None:
    with pytest.raises(TraceError, match="must be a whole multiple"):
        resample(make_trace([1] * 8), timedelta(seconds=seconds))


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=50), st.integers(1, 7))
def test_resampling_stays_between_lowest_and_highest(values: list[float], group: int) -> None:
    coarse = resample(make_trace(values), group * MINUTE)
    assert len(coarse.values) == len(values) // group
    assert ((coarse.values >= min(values) * (1 - 1e-9)) & (coarse.values <= max(values) * (1 + 1e-9))).all()


def test_the_demo_trace_is_almost_eight_days_with_its_hole_shown() -> None:
    trace = demo_trace()
    assert (trace.step, trace.has_clock) == (timedelta(seconds=10), False)
    assert len(trace.values) == 67_242 + 18
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(trace.values)), np.arange(15_402, 15_420))
    assert 14 < np.nanmin(trace.values) < np.nanmax(trace.values) < 80


def test_the_demo_trace_keeps_its_five_minute_rhythm_over_the_hole() -> None:
    values = demo_trace().values

    def peak_row(first: int, last: int) -> int:
        rise = np.diff(values[first : last + 1])[: (last - first) // 30 * 30].reshape(-1, 30)
        return int((np.nanmedian(rise, axis=0).argmax() + first + 1) % 30)

    assert peak_row(0, 8640) == peak_row(8640, 15_402) == peak_row(15_420, 40_000)
