"""The page of the published comparison, from the JSON of backtests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.closed_loop import main, summarise, to_markdown
from scaler.backtest.policies import Policy
from scaler.backtest.result import SeriesResult, to_json
from scaler.backtest.verdict import Answer
from tests.unit.backtest.test_report import series, without_history


def run_of(seconds: float, *found: SeriesResult) -> dict[str, object]:
    settings = {
        "sources": ["load.csv.gz"],
        "seeds": [0],
        "pods_at_p99": 30,
        "forecast_period_seconds": 300.0,
        "start_seconds": seconds,
    }
    return to_json(found, settings)


def test_a_run_is_summed_up_by_its_ratios_and_verdicts() -> None:
    web = series()
    (run,) = summarise([run_of(90, web, series("db", Answer.KEEP_REACTIVE, held=False), without_history())])["runs"]
    assert run["ratios"]["hpa"] == pytest.approx(
        (web.ratios(Policy.HPA)[0] * web.ratios(Policy.HPA)[1] * web.ratios(Policy.HPA)[2]) ** (1 / 3)
    )
    assert run["verdicts"] == {"enable": 1, "keep-reactive": 1, "not-enough-history": 0}
    assert (run["verdicts_held"], run["verdicts_checked"]) == (1, 2)
    assert [one["name"] for one in run["series"]] == ["web/api", "db"]
    assert list(run["left_out"]) == ["batch/nightly"]


def test_the_page_has_a_column_for_each_start_up_and_a_row_for_each_series() -> None:
    page = to_markdown(summarise([run_of(300, series()), run_of(30, series())]))
    assert "| start-up | 30 s | 300 s |" in page
    assert page.count("| web/api |") == 2
    assert "A ratio below 1 means" in page


def test_the_page_is_written_and_checked(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "one.json").write_text(json.dumps(run_of(90, series())), encoding="utf-8")
    summary, page = tmp_path / "summary.json", tmp_path / "page.md"
    written = ["--json", str(summary), "--page", str(page)]
    assert main(["--from", str(tmp_path / "runs"), *written]) == 0
    assert main([*written, "--check"]) == 0
    page.write_text("another page", encoding="utf-8")
    assert main([*written, "--check"]) == 1
