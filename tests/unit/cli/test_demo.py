import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from scaler.cli import app, demo
from scaler.replay.model_server import ModelServerFailed
from tests.replay.golden import Yesterday

RUNNER = CliRunner()
DAYS = 2.1


class InProcess(Yesterday):
    """Stands where the KServe adapter stands, without a server behind it."""

    def __init__(self, endpoint: str, *, deadline: timedelta) -> None:
        super().__init__(answers=2 if endpoint.endswith("dying") else 10**6)

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def check_metadata(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "KServeForecaster", InProcess)
    monkeypatch.setattr(demo, "configure_logging", lambda *_: None)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    """A little over two days in steps of ten minutes, which replay quickly, and a second series."""
    return write_csv(tmp_path / "load.csv", DAYS)


def write_csv(path: Path, days: float, *, peak: float = 300.0) -> Path:
    at = np.arange(int(days * 144)) / 144.0
    values = np.where(at % 1 > 0.9, peak, 100.0)
    rows = [f"{name},{1767571200 + 600 * i},{v}" for name in ("web", "api") for i, v in enumerate(values)]
    path.write_text("series,timestamp,value\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_the_demo_writes_table_report_and_scores(csv: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.json"
    options = ["--csv", str(csv), "--series", "web", "--days", "1", "--endpoint", "http://up", "--json", str(scores)]
    ran = RUNNER.invoke(app, ["demo", *options, "--html", "report.html"], env={"COLUMNS": "100"})
    assert ran.exit_code == 0, ran.output
    for expected in ("HPA alone", "AI-HPA over HPA", "Oracle", "pod-hours", "Decisions stood", "on the model"):
        assert expected in ran.output
    assert f"Report: {tmp_path / 'report.html'}" in ran.output.replace("\n", "")
    assert "WARNING" not in ran.output
    assert "<title>AI-HPA: web</title>" in (tmp_path / "report.html").read_text(encoding="utf-8")
    data = json.loads(scores.read_text(encoding="utf-8"))
    assert data["series"][0]["name"] == "web"
    assert data["settings"]["days"] == pytest.approx(1)


def test_every_decision_can_be_kept_with_all_its_reasons(csv: Path, tmp_path: Path) -> None:
    options = ["--csv", str(csv), "--series", "web", "--days", "1", "--endpoint", "http://up"]
    ran = RUNNER.invoke(app, ["demo", *options, "--decisions", "decisions.jsonl"])
    assert ran.exit_code == 0, ran.output
    rows = [json.loads(line) for line in (tmp_path / "decisions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 24 * 60 * 4
    assert all(row["reason"] and row["key"] == "replay/HorizontalPodAutoscaler/workload" for row in rows)


def test_settings_of_the_environment_reach_the_controller_and_are_said(csv: Path, tmp_path: Path) -> None:
    options = ["--csv", str(csv), "--series", "web", "--days", "1", "--endpoint", "http://up"]
    setting = {"AI_HPA_LEAD_TIME_PRIOR_SECONDS": "600"}
    ran = RUNNER.invoke(app, ["demo", *options, "--decisions", "decisions.jsonl"], env=setting | {"COLUMNS": "200"})
    assert ran.exit_code == 0, ran.output
    assert "AI_HPA_LEAD_TIME_PRIOR_SECONDS=600 from the environment." in ran.output
    first = json.loads((tmp_path / "decisions.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["lead_time_seconds"] == 600
    assert "AI_HPA_LEAD_TIME_PRIOR_SECONDS=600 ai-hpa" in (tmp_path / "ai-hpa-demo.html").read_text(encoding="utf-8")


def test_a_mistyped_setting_stops_the_demo(csv: Path) -> None:
    ran = RUNNER.invoke(app, ["demo", "--csv", str(csv), "--series", "web"], env={"AI_HPA_FORECAST_PERIOD": "60"})
    assert ran.exit_code == 2
    assert "did you mean AI_HPA_FORECAST_PERIOD_SECONDS?" in " ".join(ran.output.split())


def test_a_forecaster_that_dies_on_the_way_is_said_loudly(csv: Path) -> None:
    options = ["--csv", str(csv), "--series", "web", "--days", "1", "--endpoint", "http://dying"]
    ran = RUNNER.invoke(app, ["demo", *options], env={"COLUMNS": "400"})
    assert ran.exit_code == 0, ran.output
    assert "WARNING: The forecaster failed (timeout) for" in ran.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["--csv", "none.csv"], "none.csv", id="no such file"),
        pytest.param(["--csv", "load.csv"], "choose one with --series: web, api", id="several series"),
        pytest.param(["--csv", "load.csv", "--series", "db"], "no series 'db'", id="unknown series"),
        pytest.param(["--csv", "short.csv", "--series", "web"], "at least 2 days are needed", id="too short"),
        pytest.param(["--series", "web"], "--series web needs --csv", id="series without file"),
        pytest.param(["--days", "0.5"], "the window must be at least 1 days", id="window"),
        pytest.param(["--capacity", "0"], "capacity must be above 0, got 0", id="capacity"),
        pytest.param(["--hpa-target", "70"], "hpa_target_ratio must lie above 0", id="target in percent"),
        pytest.param(["--start-seconds", "0"], "start-up must take more than 0 s", id="start"),
        pytest.param(["--min-replicas", "9", "--max-replicas", "3"], "min_replicas <= max_replicas", id="bounds"),
    ],
)
def test_what_cannot_be_replayed_is_refused_with_its_reason(csv: Path, options: list[str], message: str) -> None:
    write_csv(csv.parent / "short.csv", 1.5)
    ran = RUNNER.invoke(app, ["demo", *options, "--endpoint", "http://up"])
    assert ran.exit_code == 2, ran.output
    assert message in ran.output.replace("\n", " ")
    assert not list(csv.parent.glob("*.html"))


def test_a_model_server_that_does_not_start_ends_the_demo(csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def broken(endpoint: str | None) -> Iterator[str]:
        raise ModelServerFailed("the model server ended with code 1")
        yield ""

    monkeypatch.setattr(demo, "model_endpoint", broken)
    ran = RUNNER.invoke(app, ["demo", "--csv", str(csv), "--series", "web", "--days", "1"])
    assert ran.exit_code == 1
    assert "the model server ended with code 1" in ran.output


def test_a_short_trace_shortens_the_demo_and_says_so(csv: Path) -> None:
    ran = RUNNER.invoke(app, ["demo", "--csv", str(csv), "--series", "web", "--endpoint", "http://up"])
    assert ran.exit_code == 0, ran.output
    assert "The trace allows for 1.1 days" in ran.output


def test_without_a_command_the_help_names_them_all() -> None:
    ran = RUNNER.invoke(app, [])
    assert "demo" in ran.output
    assert "forecast" in ran.output
