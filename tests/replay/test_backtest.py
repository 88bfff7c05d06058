"""`ai-hpa backtest` as its own process, with the real model server: a run, shards put together, a run that resumes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import closed_loop
from scaler.backtest.policies import Policy
from scaler.backtest.result import from_json
from scaler.replay.model_server import running_model_server
from tests.unit.backtest.small import SCORES

START = 1767571200  # a Monday
RUN_SECONDS = 1200


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with running_model_server() as url:
        yield url


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two series of two days in steps of five minutes, and one that is too short."""
    rng, rows = np.random.default_rng(3), ["series,timestamp,value"]
    for name, phase, count in (("api", 0.0, 576), ("web", 0.3, 576), ("young", 0.0, 100)):
        at = np.arange(count) / 288.0
        values = 200.0 + 120.0 * np.sin(2 * np.pi * (at + phase)) + 150.0 * (rng.random(count) < 0.04)
        rows += [f"{name},{START + 300 * i},{value:.6g}" for i, value in enumerate(values + rng.normal(0, 8, count))]
    path = tmp_path_factory.mktemp("load") / "load.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scaler", "backtest", *arguments],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def whole(csv: Path, endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run over everything."""
    folder = tmp_path_factory.mktemp("whole")
    done = run(*options(csv, endpoint, folder))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Report:" in done.stdout
    return folder


def options(csv: Path, endpoint: str, folder: Path, *more: str) -> list[str]:
    named = ["--json", str(folder / "out.json"), "--html", str(folder / "out.html"), "--work", str(folder / "work")]
    return ["--csv", str(csv), "--endpoint", endpoint, *named, *more]


def loaded(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


def test_every_policy_is_scored_in_the_published_shape(whole: Path) -> None:
    series = {one["name"]: one for one in loaded(whole / "out.json")["series"]}
    assert set(series) == {"api", "web", "young"}
    for name in ("api", "web"):
        policies = series[name]["policies"]
        assert set(policies) == {policy.value for policy in Policy}
        assert all(set(scores) >= SCORES for scores in policies.values())
        assert policies["oracle"]["pod_hours_over_oracle"] == 1.0
        assert all(scores["pod_hours"] > 0 for scores in policies.values())
        # What AI-HPA is for.
        assert policies["ai-hpa"]["under_time"] <= policies["hpa"]["under_time"]
        assert series[name]["verdict"] == "not-enough-history"
    assert series["young"]["policies"] == {}
    assert "at least 2 days" in series["young"]["why"]
    assert "api" in (whole / "out.html").read_text(encoding="utf-8")


def test_shards_put_together_are_the_same_as_one_run(csv: Path, endpoint: str, whole: Path, tmp_path: Path) -> None:
    parts = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        done = run(*options(csv, endpoint, folder, "--shard", f"{number}/2"))
        assert done.returncode == 0, done.stdout + done.stderr
        parts.append(str(folder / "out.json"))
    merged = tmp_path / "merged.json"
    done = run("merge", *parts, "--json", str(merged), "--html", str(tmp_path / "merged.html"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert loaded(merged) == loaded(whole / "out.json")
    again = run("merge", parts[0], parts[0], "--html", str(tmp_path / "again.html"))
    assert again.returncode == 2
    assert "is in more than one of these files" in again.stderr


def test_sizes_and_start_up_times_that_are_run_together_come_out_as_alone(
    csv: Path, endpoint: str, whole: Path, tmp_path: Path
) -> None:
    ways = ["--pods-at-p99", "30", "10", "--start-seconds", "30", "90"]
    asked = ["--csv", str(csv), "--seeds", "1", "--endpoint", endpoint, "--out", str(tmp_path)]
    assert closed_loop.main([*asked, *ways]) == 0
    found = {(pods, start): loaded(tmp_path / f"p{pods}-f60-s{start}.json") for pods in (30, 10) for start in (30, 90)}
    for (pods, start), run in found.items():
        assert (run["settings"]["pods_at_p99"], run["settings"]["start_seconds"]) == (pods, start)
        assert [one["name"] for one in run["series"]] == ["api", "web", "young"]
    assert found[30, 90]["series"] == loaded(whole / "out.json")["series"]
    different = [json.dumps(run["series"]) for run in found.values()]
    assert len(set(different)) == 4


def test_a_run_resumes_from_what_is_done(csv: Path, whole: Path) -> None:
    # Nobody listens there: what is not kept cannot be made.
    nobody = "http://127.0.0.1:9"
    kept = loaded(whole / "out.json")
    done = run(*options(csv, nobody, whole))
    assert done.returncode == 0, done.stdout + done.stderr
    assert loaded(whole / "out.json") == kept


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["--shard", "3/2"], "a shard is I/N with 1 <= I <= N, got 3/2", id="shard"),
        pytest.param(["--shard", "x"], "--shard must be I/N, such as 1/4, got 'x'", id="no shard"),
        pytest.param(["--series", "db"], "no series 'db'; accepted are api, web, young", id="series"),
        pytest.param(["--capacity", "0"], "capacity must be above 0, got 0", id="capacity"),
        pytest.param(["--hpa-target", "1.2"], "hpa_target must lie above 0 and at most at 1, got 1.2", id="target"),
        pytest.param(["--query", "up"], "give either --csv, or --prometheus with --query", id="two sources"),
        pytest.param(["--miss-budget", "1"], "miss_budget_ratio must lie between 0 and 1, got 1", id="budget"),
        pytest.param(["--seeds", "0"], "at least one seed is needed", id="no seed"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(csv: Path, tmp_path: Path, arguments: list[str], told: str) -> None:
    done = run(*options(csv, "http://127.0.0.1:9", tmp_path, *arguments))
    assert done.returncode == 2
    assert told in " ".join(done.stderr.split())


def test_a_model_server_that_is_not_there_is_said(csv: Path, tmp_path: Path) -> None:
    done = run(*options(csv, "http://127.0.0.1:9", tmp_path))
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert not (tmp_path / "out.json").exists()


def test_the_json_can_be_read_back(whole: Path) -> None:
    series, settings = from_json(loaded(whole / "out.json"))
    assert [one.name for one in series] == ["api", "web", "young"]
    assert settings["sources"] == ["load.csv"]
