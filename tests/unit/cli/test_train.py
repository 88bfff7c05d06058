from __future__ import annotations

import gzip
import json
import os
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner, Result

from scaler.cli import app, past_load, train

RUNNER = CliRunner()
NOW = datetime(2026, 1, 20, 12, 34, 56, tzinfo=UTC)


class Started(Exception):
    """Stands for the process that takes the command's place."""


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Command lines of trainers."""
    lines: list[list[str]] = []

    def execv(program: str, arguments: list[str]) -> None:
        lines.append([program, *arguments])
        raise Started

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr(train, "NEEDED", ("sys",))
    monkeypatch.setattr(past_load, "now", lambda: NOW)
    monkeypatch.chdir(tmp_path)
    return lines


class Server:
    """Answers each range query with the same value at every time, and remembers what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.value = "1.5"
        self.asked: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
                server.asked.append(query)
                server.headers.append(dict(self.headers))
                body = json.dumps(server.answer(query)).encode()
                self.send_response(server.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def answer(self, query: dict[str, str]) -> dict[str, Any]:
        first, last, step = (float(query[name]) for name in ("start", "end", "step"))
        times = [first + number * step for number in range(round((last - first) / step) + 1)]
        rows = [{"metric": {"app": "web"}, "values": [[time, self.value] for time in times]}]
        return {"status": "success", "data": {"resultType": "matrix", "result": rows}}


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join(10)


def run(*options: str, **environment: str) -> Result:
    return RUNNER.invoke(app, ["train", *options], env={"COLUMNS": "300", **environment})


def test_files_are_handed_to_the_trainer_of_this_interpreter(started: list[list[str]]) -> None:
    run("--csv", "a.csv", "--csv", "b.csv", "--out", "out", "--model-version", "7")
    module = [sys.executable, sys.executable, "-m", "predictor_model.finetune"]
    assert started == [[*module, "--csv", "a.csv", "b.csv", "--out", "out", "--model-version", "7"]]


def test_past_load_is_fetched_and_handed_over(server: Server, started: list[list[str]], tmp_path: Path) -> None:
    ran = run("--prometheus", server.url, "--query", "load", "--days", "1", "--out", "out")
    assert isinstance(ran.exception, Started), ran.output
    assert started[0][4:] == ["--csv", "out/load.csv.gz", "--out", "out"]
    lines = gzip.decompress((tmp_path / "out" / "load.csv.gz").read_bytes()).decode().splitlines()
    # Up to the last full hour, each value stamped with the start of its minute.
    newest = int(datetime(2026, 1, 20, 12, tzinfo=UTC).timestamp())
    assert lines[1] == f'"app=web",{newest - 86_400},1.5'
    assert lines[-1] == f'"app=web",{newest - 60},1.5'
    assert len(lines) == 1 + 24 * 60
    assert "1 series from 2026-01-19 12:00 to 2026-01-20 12:00 UTC; 0.0% of the samples are missing" in ran.output


def test_step_and_end_are_the_users(server: Server, tmp_path: Path) -> None:
    options = ["--step", "300", "--end", "2026-01-10T06:07:08Z", "--days", "0.25"]
    run("--prometheus", server.url, "--query", "load", *options, "--out", "out")
    (asked,) = server.asked
    assert asked["step"] == "300"
    assert float(asked["end"]) == datetime(2026, 1, 10, 6, 5, tzinfo=UTC).timestamp()
    assert float(asked["start"]) == datetime(2026, 1, 10, 0, 10, tzinfo=UTC).timestamp()


def test_the_server_is_reached_as_the_scaler_reaches_it(server: Server, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    told = {
        "AI_HPA_PROMETHEUS_URL": server.url,
        "AI_HPA_PROMETHEUS_TOKEN_FILE": str(tmp_path / "token"),
        "AI_HPA_PROMETHEUS_HEADERS": '{"X-Scope-OrgID": "team"}',
    }
    run("--query", "load", "--days", "0.1", "--out", "out", **told)
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert server.headers[0]["X-Scope-OrgID"] == "team"


def test_nothing_is_fetched_where_nothing_could_be_trained(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "NEEDED", ("sys", "no_such_torch"))
    ran = run("--prometheus", server.url, "--query", "load", "--out", "out")
    assert ran.exit_code == 2
    assert "training needs no_such_torch, not installed here: pip install 'ai-hpa[scaler,training]'" in ran.output
    assert server.asked == []


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        pytest.param([], {}, "give --csv FILE, or --prometheus URL with --query PROMQL", id="neither"),
        pytest.param(["--prometheus", "URL"], {}, "or --prometheus URL with --query PROMQL", id="no-query"),
        pytest.param(["--query", "x"], {}, "or --prometheus URL with --query PROMQL", id="no-url"),
        pytest.param(["--csv", "a.csv", "--query", "x"], {}, "either --csv, or --prometheus with --query", id="both"),
        pytest.param(["--prometheus", "ftp://x", "--query", "x"], {}, "prometheus url must be an http://", id="url"),
        pytest.param(["--prometheus", "URL", "--query", "x", "--days", "0"], {}, "--days must be above 0", id="days"),
        pytest.param(
            ["--prometheus", "URL", "--query", "x", "--step", "5"], {}, "--step must be 15 to 3600", id="step"
        ),
        pytest.param(
            ["--prometheus", "URL", "--query", "x"],
            {"AI_HPA_PROMETHEUS_URI": "x"},
            "did you mean AI_HPA_PROMETHEUS_URL?",
            id="mistyped-setting",
        ),
    ],
)
def test_what_was_typed_wrong_is_said_and_ends_with_2(
    server: Server, started: list[list[str]], options: list[str], environment: dict[str, str], message: str
) -> None:
    ran = run(*(server.url if option == "URL" else option for option in options), "--out", "out", **environment)
    assert (ran.exit_code, started, server.asked) == (2, [], [])
    assert message in " ".join(ran.output.split())


@pytest.mark.parametrize(
    ("status", "value", "code", "message"),
    [
        pytest.param(400, "1", 2, "the query was refused", id="refused-query"),
        pytest.param(401, "1", 1, "check the bearer token", id="refused-token"),
        pytest.param(200, "NaN", 2, "the query gives no load", id="nothing-there"),
        pytest.param(200, "-1", 2, "load is never negative", id="negative"),
    ],
)
def test_a_fetch_that_fails_trains_nothing(
    server: Server, started: list[list[str]], status: int, value: str, code: int, message: str
) -> None:
    server.status, server.value = status, value
    ran = run("--prometheus", server.url, "--query", "load", "--days", "0.1", "--out", "out")
    assert (ran.exit_code, started) == (code, [])
    assert message in " ".join(ran.output.split())


def test_a_folder_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    ran = run("--prometheus", server.url, "--query", "load", "--days", "0.1", "--out", "out")
    assert ran.exit_code == 2
    assert "out: File exists" in ran.output
