"""A query's answer, chunk by chunk, becomes the load of workloads; what is no load is said and left out."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.adapters import query_load
from scaler.adapters.load_history import Columns
from scaler.adapters.query_load import QueriedLoad, UnusableQuery, fetch_query, series_name, write_csv
from scaler.domain import FloatArray, MetricsUnavailable
from scaler.replay.traces import read_csv

T0 = datetime(2026, 1, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NAN = float("nan")


@dataclass
class Recorded:
    """Stands where a Prometheus stands: series by their labels, a value a minute from T0 on."""

    series: list[tuple[Mapping[str, str], list[float]]]
    asked: list[Columns] = field(default_factory=list)

    def matrix(self, query: str, columns: Columns) -> list[tuple[Mapping[str, str], FloatArray]]:
        self.asked.append(columns)
        first = round((columns.first - T0) / MINUTE) - 1
        cut = [(labels, np.array(values[first : first + columns.count])) for labels, values in self.series]
        return [(labels, values) for labels, values in cut if not np.isnan(values).all()]


def columns(count: int) -> Columns:
    return Columns(T0 + MINUTE, MINUTE, count)


def fetch(*series: tuple[Mapping[str, str], list[float]]) -> QueriedLoad:
    return fetch_query(Recorded(list(series)), "load", columns(len(series[0][1])))


def test_chunks_of_six_hours_make_one_series_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [float(minute) for minute in range(800)]
    source = Recorded([({"app": "web"}, values)])
    progress: list[tuple[int, int]] = []
    load = fetch_query(source, "load", columns(800), progress=lambda done, of: progress.append((done, of)))
    assert [part.count for part in source.asked] == [360, 360, 80]
    assert source.asked[1].first == T0 + 361 * MINUTE
    assert progress == [(360, 800), (720, 800), (800, 800)]
    np.testing.assert_array_equal(load.loads["app=web"], np.array(values, np.float32))


def test_a_series_that_some_chunks_lack_is_missing_there_and_not_zero() -> None:
    late = [NAN] * 500 + [7.0] * 300
    load = fetch(({"app": "web"}, [1.0] * 800), ({"app": "late"}, late))
    np.testing.assert_array_equal(load.loads["app=late"], np.array(late, np.float32))
    assert load.missing_ratio == pytest.approx(500 / 1600)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        pytest.param([1.0, -0.5, -2.0], "has 2 samples below 0, the lowest -2; load is never negative", id="negative"),
        pytest.param([NAN, float("inf"), NAN], "has no sample that is a number", id="nothing-finite"),
    ],
)
def test_a_series_that_is_no_load_is_left_out_by_name_and_the_others_stay(values: list[float], why: str) -> None:
    load = fetch(({"app": "web"}, [1.0, 2.0, 3.0]), ({"app": "odd"}, values))
    assert list(load.loads) == ["app=web"]
    assert load.dropped == {"app=odd": why}


def test_infinite_samples_count_as_missing_and_are_counted() -> None:
    load = fetch(({"app": "web"}, [1.0, float("inf"), 3.0, -float("inf")]))
    np.testing.assert_array_equal(load.loads["app=web"], np.array([1, np.nan, 3, np.nan], np.float32))
    assert load.not_finite == 2


@pytest.mark.parametrize(
    ("series", "message"),
    [
        pytest.param(
            [], r"gives no load between 2026-01-05 00:00 and 2026-01-05 00:03 UTC; look at it .*: load", id="none"
        ),
        pytest.param([({"a": "b"}, [-1.0] * 3)], "a=b has 3 samples below 0", id="all-negative"),
    ],
)
def test_a_query_without_load_is_refused_with_what_it_gave(
    series: list[tuple[Mapping[str, str], list[float]]], message: str
) -> None:
    with pytest.raises(UnusableQuery, match=message):
        fetch_query(Recorded(series), "load", columns(3))


def test_a_query_by_pod_is_refused_after_its_first_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_load, "MAX_SERIES", 2)
    source = Recorded([({"pod": str(number)}, [1.0] * 800) for number in range(3)])
    with pytest.raises(UnusableQuery, match=r"more than 2 series; accepted is one for each workload.*not by pod"):
        fetch_query(source, "load", columns(800))
    assert len(source.asked) == 1


def test_a_server_that_fails_fails_the_whole() -> None:
    class Failing(Recorded):
        def matrix(self, query: str, columns: Columns) -> list[tuple[Mapping[str, str], FloatArray]]:
            if self.asked:
                raise MetricsUnavailable("busy")
            return super().matrix(query, columns)

    with pytest.raises(MetricsUnavailable, match="busy"):
        fetch_query(Failing([({}, [1.0] * 800)]), "load", columns(800))


@pytest.mark.parametrize(
    ("labels", "name"),
    [
        pytest.param({"namespace": "shop", "deployment": "web"}, "deployment=web,namespace=shop", id="sorted"),
        pytest.param({}, "load", id="no-labels"),
        pytest.param({"a": "1,b=2\\"}, "a=1\\,b\\=2\\\\", id="escaped"),
    ],
)
def test_a_series_is_named_by_its_labels(labels: dict[str, str], name: str) -> None:
    assert series_name(labels) == name


LABELS = st.dictionaries(st.sampled_from("abc"), st.text("ab,=\\", max_size=4), min_size=1)


@given(one=LABELS, other=LABELS)
def test_two_sets_of_labels_never_share_a_name(one: dict[str, str], other: dict[str, str]) -> None:
    assert (series_name(one) == series_name(other)) is (one == other)


def test_the_file_says_when_each_step_began_and_leaves_gaps_empty(tmp_path: Path) -> None:
    path = tmp_path / "load.csv.gz"
    write_csv(fetch(({"app": 'say "hi", web'}, [NAN, 1.5, NAN, 0.125, NAN])), path)
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    begin = int(T0.timestamp())
    name = 'app=say "hi"\\, web'
    assert header == ["series", "timestamp", "value"]
    assert rows == [[name, str(begin + 60), "1.5"], [name, str(begin + 120), ""], [name, str(begin + 180), "0.125"]]
    assert not list(tmp_path.glob("*.part"))


def test_the_same_load_gives_the_same_bytes(tmp_path: Path) -> None:
    load = fetch(({"app": "web"}, [1.0, 2.0, 3.0]))
    write_csv(load, tmp_path / "a.csv.gz")
    write_csv(load, tmp_path / "b.csv.gz")
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


@given(
    values=st.lists(
        st.one_of(st.floats(0, 1e6, width=32, allow_subnormal=False), st.just(NAN)), min_size=30, max_size=60
    )
)
def test_what_is_written_is_read_as_it_was(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    values = [1.0] * 10 + values + [2.0] * 10
    path = tmp_path_factory.mktemp("load") / "load.csv.gz"
    write_csv(fetch(({"app": "web"}, values)), path)
    (trace,) = read_csv(path)
    assert (trace.name, trace.start, trace.step) == ("app=web", T0, MINUTE)
    np.testing.assert_allclose(trace.values, np.array(values, np.float32), rtol=1e-6)
