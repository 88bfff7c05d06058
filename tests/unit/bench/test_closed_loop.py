"""The page of the published comparison, from the JSON of backtests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import closed_loop
from bench.closed_loop import main
from bench.closed_loop_page import draw, renewed, summarise, to_markdown
from scaler.backtest.policies import Policy
from scaler.backtest.result import SeriesResult, to_json
from scaler.backtest.verdict import Answer
from tests.unit.backtest.test_report import loser, point, policies, run, series, without_history


def run_of(seconds: float, *found: SeriesResult) -> dict[str, object]:
    settings = {
        "sources": ["load.csv.gz"],
        "seeds": [0],
        "pods_at_p99": 30,
        "forecast_period_seconds": 60.0,
        "start_seconds": seconds,
    }
    return to_json(found, settings)


def test_a_run_is_summed_up_by_its_ratios_and_verdicts() -> None:
    web = series()
    (found,) = summarise([run_of(90, web, series("db", Answer.KEEP_REACTIVE, held=False), without_history())])["runs"]
    assert found["ratios"]["hpa"] == pytest.approx(
        (web.ratios(Policy.HPA)[0] * web.ratios(Policy.HPA)[1] * web.ratios(Policy.HPA)[2]) ** (1 / 3)
    )
    assert found["verdicts"] == {"enable": 1, "keep-reactive": 1, "not-enough-history": 0}
    assert (found["verdicts_held"], found["verdicts_checked"]) == (1, 2)
    assert [one["name"] for one in found["series"]] == ["web/api", "db"]
    assert list(found["left_out"]) == ["batch/nightly"]


def test_a_run_tells_how_far_its_series_lie_apart() -> None:
    web = series()
    same = policies() | {Policy.AI_HPA_TUNED: policies()[Policy.HPA]}
    db = series("db", policies=same)
    (found,) = summarise([run_of(90, web, db)])["runs"]
    assert found["best"]["name"] == "web/api"
    assert found["worst"]["name"] == "db"
    low, high = found["interval"]
    assert found["best"]["ratio"] <= low < high <= found["worst"]["ratio"]


def test_a_miss_budget_is_judged_where_a_week_is_scored_and_by_the_least_help_of_an_hpa() -> None:
    points = (
        point(0.99, 1.2, 0.002)._replace(hpa_target=0.8),
        point(0.99, 1.2, 0.008)._replace(hpa_target=0.9),
        point(0.999, 1.4, 0.003)._replace(hpa_target=0.7),
    )
    found = policies() | {Policy.AI_HPA_TUNED: run(points[0], *points)}
    week, short = series(days=7.0, policies=found), series("db", days=6.0, policies=found)
    budgets = summarise([run_of(90, week, short)])["runs"][0]["budgets"]
    assert budgets["0.99"] == pytest.approx({"mean": 0.8, "worst": 0.8, "name": "web/api"})
    assert budgets["0.999"] == pytest.approx({"mean": 3.0, "worst": 3.0, "name": "web/api"})


def test_a_ratio_says_at_how_many_prices_both_can_be_had() -> None:
    dear = policies() | {Policy.PHPA_LINEAR: run(point(0.7, 1.3, 0.01), point(0.7, 1.3, 0.01), point(0.5, 1.5, 0.005))}
    page = to_markdown(summarise([run_of(90, series(policies=dear))]))
    (row,) = (line for line in page.splitlines() if "/ PHPA, linear" in line)
    assert row.endswith("(1 of 3) |")


def test_series_on_which_row_a_is_short_for_longer_are_named() -> None:
    (found,) = summarise([run_of(90, series(), loser("db"))])["runs"]
    assert found["row_a_worse"] == ["db"]


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        pytest.param({}, False, id="the same run"),
        pytest.param({"seeds": [0, 1]}, False, id="with more seeds"),
        pytest.param({"start_seconds": 30}, True, id="another start-up"),
        pytest.param({"pods_at_p99": 5}, True, id="another size"),
        pytest.param({"forecast_period_seconds": 300.0}, True, id="another forecast period"),
        pytest.param({"sources": ["other.csv"]}, True, id="another load"),
    ],
)
def test_a_later_run_takes_the_place_of_the_same_one_alone(changed: dict[str, object], *, kept: bool) -> None:
    early, late = run_of(90, series("early")), run_of(90, series("late"))
    late["settings"] = {**late["settings"], **changed}  # type: ignore[dict-item]
    runs = renewed(summarise([early]), summarise([late]))["runs"]
    assert [run["series"][0]["name"] for run in runs] == (["early", "late"] if kept else ["late"])


def test_the_series_that_row_a_costs_most_on_is_named() -> None:
    dear = policies() | {Policy.AI_HPA: run(point(0.7, 3.0, 0.001))}
    page = to_markdown(summarise([run_of(90, series(), series("db", policies=dear))]))
    (row,) = (line for line in page.splitlines() if line.startswith("| row A's pod-hours"))
    hpa = policies()[Policy.HPA].main.scores.pod_hours
    assert row.endswith(f"| {dear[Policy.AI_HPA].main.scores.pod_hours / hpa - 1:+.0%}, db |")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"pods_at_p99": 5}, id="another size"),
        pytest.param({"forecast_period_seconds": 300.0}, id="another forecast period"),
    ],
)
def test_the_picture_has_a_panel_for_each_start_up_of_the_usual_kind(other: dict[str, object]) -> None:
    unusual = run_of(90, series())
    unusual["settings"] = {**unusual["settings"], **other}  # type: ignore[dict-item]
    figure = draw(summarise([run_of(300, series()), unusual, run_of(30, series())]))
    titles = [note.text for note in figure.layout.annotations]
    assert titles == ["pods take 30 s", "pods take 300 s"]
    hpa_over_itself = [trace for trace in figure.data if trace.name == "HPA alone"]
    assert not hpa_over_itself


def test_the_page_has_a_column_for_each_start_up_and_a_row_for_each_series() -> None:
    page = to_markdown(summarise([run_of(300, series()), run_of(30, series())]))
    assert "| start-up | 30 s | 300 s |" in page
    assert page.count("| web/api |") == 2
    assert "A ratio below 1 means" in page


def test_the_page_is_written_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = []
    monkeypatch.setattr(closed_loop, "photograph", lambda figure, path: pictures.append(path.name))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "one.json").write_text(json.dumps(run_of(90, series())), encoding="utf-8")
    summary, page = tmp_path / "summary.json", tmp_path / "page.md"
    written = ["--json", str(summary), "--page", str(page)]
    assert main(["--from", str(tmp_path / "runs"), *written]) == 0
    assert pictures == ["page.png"]
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "two.json").write_text(json.dumps(run_of(30, series())), encoding="utf-8")
    assert main(["--from", str(tmp_path / "more"), "--keep", *written]) == 0
    assert [run["settings"]["start_seconds"] for run in json.loads(summary.read_text())["runs"]] == [90, 30]
    assert main(written) == 0
    assert main([*written, "--check"]) == 0
    page.write_text("another page", encoding="utf-8")
    assert main([*written, "--check"]) == 1
