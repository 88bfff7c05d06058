from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from predictor_model.own_load import read_load
from predictor_model.traces import TraceError, read_usable_traces

START = 1_767_571_200  # 2026-01-05
HEADER = "series,timestamp,value\n"


def rows(name: str, *, days: float = 6, start: int = START, value: float = 1.0) -> str:
    return "".join(f"{name},{start + 300 * number},{value + number % 7}\n" for number in range(int(days * 288)))


def write(path: Path, *parts: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(HEADER + "".join(parts), encoding="utf-8")
    return path


def test_bad_series_are_named_and_never_stop_the_others(tmp_path: Path) -> None:
    path = write(
        tmp_path / "load.csv",
        rows("good"),
        rows("negative", value=-3),
        f"single,{START},1\n",
        f"wild,{START},1\nwild,{START + 60},1\nwild,{START + 120},1\nwild,{1000 * START},1\n",
        rows("new", days=0.2, start=START + 5 * 86_400),
    )
    load = read_load([path])
    assert [history.trace.name for history in load.histories] == ["good"]
    why = {series.series: series.why for series in load.skipped}
    assert list(why) == ["negative", "single", "wild", "new"]
    assert "negative or infinite" in why["negative"]
    assert "at least two samples" in why["single"]
    assert "check its timestamps" in why["wild"]
    assert "before the newest 30 %" in why["new"]


def test_series_of_several_files_are_one_data_set_with_names_of_their_own(tmp_path: Path) -> None:
    load = read_load([write(tmp_path / f"{name}.csv", rows("web")) for name in ("a", "b")])
    assert [(h.trace.dataset, h.trace.name) for h in load.histories] == [("own", "a/web"), ("own", "b/web")]


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    paths = [write(tmp_path / folder / "load.csv", rows("web")) for folder in ("a", "b")]
    with pytest.raises(TraceError, match="different names, got load, load"):
        read_load(paths)


def test_too_little_history_is_refused_with_what_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path / "load.csv", rows("web", days=3))
    with pytest.raises(TraceError, match=r"none of 1 series can be used: web has 3.0 days .* at least 5.0 are needed"):
        read_load([path])


def test_the_newest_sample_has_a_time_only_where_there_is_a_clock(tmp_path: Path) -> None:
    clocked = read_load([write(tmp_path / "a.csv", rows("web"))])
    assert clocked.newest() == datetime(2026, 1, 11, tzinfo=UTC)
    assert read_load([write(tmp_path / "b.csv", rows("web", start=0))]).newest() is None


def test_the_digest_is_that_of_what_the_files_hold(tmp_path: Path) -> None:
    one, same, other = (
        read_load([write(tmp_path / name / "load.csv", rows("web", value=value))])
        for name, value in (("a", 1.0), ("b", 1.0), ("c", 2.0))
    )
    assert one.digest() == same.digest() != other.digest()


def test_a_row_without_a_timestamp_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="a row without a timestamp"):
        read_usable_traces(write(tmp_path / "load.csv", "web,0,1\nweb,,2\nweb,120,3\n"))


def test_missing_samples_stay_missing(tmp_path: Path) -> None:
    gappy = "".join(f"gappy,{START + 300 * n},{'' if n % 3 else 1}\n" for n in range(6 * 288))
    (history,) = read_load([write(tmp_path / "load.csv", gappy)]).histories
    assert np.isnan(history.trace.values).mean() == pytest.approx(2 / 3, abs=0.01)
