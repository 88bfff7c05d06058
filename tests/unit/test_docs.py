"""What README and docs claim, held against the files that the measurements left behind."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from bench.finetune import finetune_table
from bench.scenarios.page import must_hold, to_markdown
from bench.table import markdown_table
from predictor_model.config import ModelConfig, TrainConfig
from predictor_model.datasets import SHIPPED_SETS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md"), *ROOT.glob("predictor_model/**/*.md")]
)


def load(path: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((ROOT / path).read_text(encoding="utf-8"))
    return data


def cells(page: str, first: str) -> list[str]:
    """The cells after the first of the table row that begins with `first`."""
    (row,) = re.findall(rf"^\| {re.escape(first)} \| (.*) \|$", page, flags=re.MULTILINE)
    return [cell.strip() for cell in row.split(" | ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize(
    ("policy", "row"),
    [
        pytest.param("hpa", "HPA alone, target 70 %", id="hpa"),
        pytest.param("ai-hpa", "AI-HPA over the same HPA", id="ai-hpa"),
    ],
)
def test_the_readmes_demo_table_is_the_recorded_run(policy: str, row: str) -> None:
    scores = load("docs/demo.json")["series"][0]["policies"][policy]
    short, late, pod_hours, over_oracle = cells(README, row)
    minutes = scores["under_time"] * scores["scored_hours"] * 60
    assert short == f"{minutes:.{0 if minutes >= 10 else 1}f} min ({scores['under_time']:.2%})".replace("%", " %")
    assert late == f"{scores['late_requests']:.3%}".replace("%", " %")
    assert pod_hours == f"{scores['pod_hours']:,.0f}"
    assert over_oracle == f"{scores['pod_hours_over_oracle']:.2f}"


def test_the_readmes_forecast_quality_is_the_measured_one() -> None:
    overall = {row["forecaster"]: row["overall"] for row in load("docs/evaluation.json")["summaries"]}
    sentence = " ".join(README.split())
    assert f"WQL is {overall['bi-lstm']:.2f} of that of the better of persistence and seasonal naive" in sentence
    rivals = {"LightGBM": "lightgbm", "AutoTheta": "auto-theta", "Holt-Winters": "holt-winters"}
    assert f"({', '.join(f'{said}: {overall[name]:.2f}' for said, name in rivals.items())};" in sentence


def test_the_readmes_comparison_is_the_published_one() -> None:
    runs = {
        run["settings"]["start_seconds"]: run["ratios"]
        for run in load("docs/closed-loop.json")["runs"]
        if (run["settings"]["pods_at_p99"], run["settings"]["forecast_period_seconds"]) == (30, 60.0)
        and "nab_cloudwatch.csv.gz" not in run["settings"]["sources"]
    }
    quickest, quick, slow, slower = (runs[seconds] for seconds in (5, 30, 90, 300))
    sentence = " ".join(README.split())
    assert f"for {slow['hpa']:.2f} of the time of the best-tuned HPA where pods take 90 s to start" in sentence
    assert f"and for {slower['hpa']:.2f} where they take 300 s" in sentence
    assert f"for {slow['best']:.2f} and {slower['best']:.2f} of that of the best rival on each series" in sentence
    assert f"has {quick['kpa']:.2f} of its time at 30 s, and {quickest['kpa']:.2f} at 5 s" in sentence
    assert f"{quick['kpa-alone']:.2f} and {quickest['kpa-alone']:.2f} of the KPA alone" in sentence


def test_the_shipped_model_is_the_one_its_record_describes() -> None:
    weights = ROOT / "predictor_model" / "weights"
    digest = hashlib.sha256((weights / "model.onnx").read_bytes()).hexdigest()
    assert load("predictor_model/weights/training.json")["model_sha256"] == digest


def test_the_documented_command_rebuilds_the_shipped_weights() -> None:
    record = load("predictor_model/weights/training.json")
    assert TypeAdapter(TrainConfig).validate_python(record["train"]) == TrainConfig()
    assert TypeAdapter(ModelConfig).validate_python(record["model"]) == ModelConfig()
    assert {source["dataset"] for source in record["data"]} == set(SHIPPED_SETS)


def test_the_benchmark_page_holds_the_recorded_run() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    rows = [tuple(row.values()) for row in load("docs/bench-serving.json")["rows"]]
    assert markdown_table(rows) in page


def test_the_scenarios_page_is_the_recorded_run_in_which_every_promise_was_kept() -> None:
    recorded = load("docs/scenarios.json")
    assert to_markdown(recorded) == (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
    assert [rule for rule in must_hold(recorded) if rule.held < rule.of] == []


def test_the_fine_tuning_page_and_the_readme_hold_the_recorded_runs() -> None:
    page = (ROOT / "docs" / "fine-tuning.md").read_text(encoding="utf-8")
    rows = json.loads((ROOT / "docs" / "fine-tuning.json").read_text(encoding="utf-8"))
    assert finetune_table(rows) in page
    assert {row["verdict"] for row in rows} == {"better", "not-better"}
    hundred = rows[0]
    minutes = f"{hundred['seconds'] / 60:.0f} minutes"
    assert f"On 100 workloads it made {hundred['loss']:.3f} of the shipped loss, in {minutes}" in " ".join(
        README.split()
    )


def test_every_make_target_that_the_docs_name_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = {
        target for page in PAGES for target in re.findall(r"`make ([a-z0-9-]+)", page.read_text(encoding="utf-8"))
    } | set(re.findall(r"^make ([a-z0-9-]+)", README, flags=re.MULTILINE))
    assert named <= targets


def test_the_api_page_is_the_contract() -> None:
    page, contract = (ROOT / "docs" / "forecast-api.md").read_text(encoding="utf-8"), load("contracts/forecast_v2.json")
    for tensor in contract["inputs"]:
        shape = f"[{', '.join(map(str, tensor['shape']))}]"
        assert cells(page, f"`{tensor['name']}`")[:3] == [
            tensor["datatype"],
            shape,
            "no" if tensor["optional"] else "yes",
        ]
    for tensor in contract["outputs"]:
        shape = f"[{', '.join(map(str, tensor['shape']))}]"
        assert cells(page, f"`{tensor['name']}`")[:2] == [tensor["datatype"], shape]
    sentence = " ".join(page.split())
    assert ", ".join(map(str, contract["quantile_levels"])) in sentence
    history, step, batch = (contract[name] for name in ("history_length", "step_seconds", "batch_size"))
    assert f"T from {history['min']} to {history['max']}" in sentence
    assert f"{step['min']} to {step['max']}, default {step['default']}" in sentence
    assert f"B from {batch['min']} to {batch['max']}" in sentence
    assert f"H = {contract['prediction_length']}." in sentence
