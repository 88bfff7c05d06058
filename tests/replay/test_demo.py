"""`ai-hpa demo` as its own process, with the real model server."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from scaler.replay.model_server import running_model_server

START = 1767571200  # a Monday
RUN_SECONDS = 300


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with running_model_server() as url:
        yield url


def write_csv(path: Path, *, factor: float = 1.0, days: float = 2.0) -> Path:
    """Two days in steps of five minutes: a daily cycle, and bursts that the seed places."""
    at = np.arange(int(days * 288)) / 288.0
    rng = np.random.default_rng(3)
    values = 200.0 + 120.0 * np.sin(2 * np.pi * at) + 150.0 * (rng.random(at.size) < 0.04) + rng.normal(0, 8, at.size)
    rows = [f"web,{START + 300 * i},{max(value, 0.0) * factor:.6g}" for i, value in enumerate(values)]
    path.write_text("series,timestamp,value\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def command(csv: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "scaler", "demo", "--csv", str(csv), "--days", "1", *options]


def scores_of(csv: Path, folder: Path, *options: str) -> dict[str, Any]:
    scores = folder / f"{csv.stem}.json"
    run = subprocess.run(
        [*command(csv, "--json", str(scores), "--html", str(folder / f"{csv.stem}.html")), *options],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "AI-HPA over HPA" in run.stdout
    assert "WARNING" not in run.stdout
    loaded: dict[str, Any] = json.loads(scores.read_text(encoding="utf-8"))
    return loaded


def test_the_demo_answers_to_the_load_and_not_to_its_unit(endpoint: str, tmp_path: Path) -> None:
    first = scores_of(write_csv(tmp_path / "load.csv"), tmp_path, "--endpoint", endpoint)
    scaled = scores_of(write_csv(tmp_path / "scaled.csv", factor=1000.0), tmp_path, "--endpoint", endpoint)
    longer = scores_of(write_csv(tmp_path / "longer.csv", days=2.4), tmp_path, "--endpoint", endpoint)
    policies, of_scaled, of_longer = (run["series"][0]["policies"] for run in (first, scaled, longer))
    assert first["series"][0]["forecast_sources"]["model"] > 0.99
    # a model that answers the same to everything either adds no pods here, or not as many a thousand times as large
    assert policies["ai-hpa"]["pod_hours"] > policies["hpa"]["pod_hours"]
    assert of_scaled["ai-hpa"]["pod_hours"] == pytest.approx(policies["ai-hpa"]["pod_hours"], rel=0.01)
    assert of_longer != policies
    assert policies["oracle"]["under_time"] == 0


def test_the_report_of_a_run_is_whole_and_loads_nothing(endpoint: str, tmp_path: Path) -> None:
    scores_of(write_csv(tmp_path / "load.csv"), tmp_path, "--endpoint", endpoint)
    page = (tmp_path / "load.html").read_text(encoding="utf-8")
    assert page.endswith("</html>\n")
    assert len(page) < 8_000_000
    tags = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"<(link|img|iframe|script)\b[^>]*(src|href)|@import|url\(", tags)
    assert "default-src 'none'" in tags


def test_ctrl_c_ends_the_demo_with_130_and_leaves_nothing_running(tmp_path: Path) -> None:
    with subprocess.Popen(
        command(write_csv(tmp_path / "load.csv"), "--html", str(tmp_path / "load.html")),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"},
    ) as demo:
        assert demo.stdout is not None
        ready = next(line for line in demo.stdout if "Model server ready at" in line)
        url = httpx.URL(ready.split()[-1])
        servers = children_of(demo.pid)
        assert servers
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
        demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert not any(Path(f"/proc/{server}").exists() for server in servers)
    with socket.socket() as probe:
        assert probe.connect_ex((url.host, url.port or 80)) != 0
    assert not (tmp_path / "load.html").exists()


def children_of(pid: int) -> set[int]:
    """Every process whose parent is `pid`, from Linux's /proc."""
    children: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that ended since it was listed
            children |= {int(child) for child in (task / "children").read_text().split()}
    return children
