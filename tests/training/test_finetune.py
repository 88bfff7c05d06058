from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from predictor_model import finetune
from predictor_model.checkpoint import Checkpoint, load_start
from predictor_model.config import TrainConfig
from predictor_model.export import export_onnx
from predictor_model.finetune import RECIPE, main
from predictor_model.graph import MODEL_FILE, RECORD_FILE, SHIPPED_WEIGHTS, WEIGHTS_FILE, load_graph
from predictor_model.network import BiLSTMForecaster
from predictor_model.placement import put_in_place

pytestmark = pytest.mark.training

START = 1_767_571_200  # 2026-01-05
SAMPLES = 6 * 288
SMALL = replace(
    RECIPE, steps=16, batch_size=32, synthetic_traces=0, average_decay=0.0, validation_windows=512, validate_every=4
)
NO_STEP = replace(SMALL, steps=1, learning_rate=1e-30, weight_decay=0.0)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetune, "RECIPE", SMALL)
    monkeypatch.setenv("COLUMNS", "300")


def no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the training change nothing: its result is as good as the shipped weights, and no better."""
    monkeypatch.setattr(finetune, "RECIPE", NO_STEP)


def odd_load(seed: int) -> np.ndarray:
    """Six days of a load that the shipped weights have never seen: a tooth of seven steps, and little noise."""
    rng = np.random.default_rng(seed)
    load: np.ndarray = 10 + 8 * ((np.arange(SAMPLES) + seed) % 7 == 0) + 0.2 * rng.random(SAMPLES)
    return load


def write(path: Path, *loads: np.ndarray, extra: str = "") -> Path:
    rows = [
        f"web-{number},{START + 300 * step},{value:.4f}\n"
        for number, load in enumerate(loads)
        for step, value in enumerate(load)
    ]
    path.write_text("series,timestamp,value\n" + "".join(rows) + extra, encoding="utf-8")
    return path


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return write(tmp_path / "load.csv", odd_load(0), odd_load(1))


def run(csv: Path, out: Path, *options: str) -> dict[str, Any]:
    assert main(["--csv", str(csv), "--out", str(out), *options]) == 0
    verdict: dict[str, Any] = json.loads((out / "verdict.json").read_text())
    return verdict


def test_better_weights_are_put_in_place_and_everything_says_so(
    csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    verdict = run(csv, out)
    told = capsys.readouterr()
    assert (verdict["verdict"], verdict["action"]) == ("better", "put in place")
    version = load_graph(out / "v1" / MODEL_FILE).model_version
    shipped = load_graph(SHIPPED_WEIGHTS / MODEL_FILE).model_version
    assert version == verdict["model_version"]
    assert version.startswith(f"{shipped}+ft.20260111.")  # the newest sample's day
    assert load_start(out / "v1").model_version == version
    assert json.loads((out / "v1" / RECORD_FILE).read_text())["train"]["start_sha256"]
    assert "Better: on the newest load of 2 series" in told.out
    assert str(out / "v1") in told.out
    assert "forecaster-finetuned.yaml" in told.out
    assert "Better:" in (out / "report.html").read_text(encoding="utf-8")
    assert [comparison["theirs"] for comparison in verdict["comparisons"]] == ["shipped"]
    assert verdict["comparisons"][0]["interval"][1] < 1


def test_weights_that_are_not_better_touch_nothing(
    csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    no_step(monkeypatch)
    out = tmp_path / "out"
    verdict = run(csv, out)
    assert (verdict["verdict"], verdict["action"]) == ("not-better", "kept")
    assert not (out / "v1").exists()
    assert (out / "report.html").exists()
    told = capsys.readouterr().out
    assert "Not better:" in told
    assert "Keep the shipped ones; nothing was changed." in told


def other_model(folder: Path, *, worse: bool) -> Path:
    """A model in `folder` that differs from the shipped one, in little or in everything."""
    start = load_start(SHIPPED_WEIGHTS)
    network = BiLSTMForecaster(start.model)
    factor = 0.0 if worse else 1.0 + 1e-6
    network.load_state_dict({name: factor * weight for name, weight in start.weights.items()})
    folder.mkdir()
    export_onnx(network.eval(), folder / MODEL_FILE, model_version="9.9.9")
    for name in (WEIGHTS_FILE, RECORD_FILE):
        (folder / name).write_bytes((SHIPPED_WEIGHTS / name).read_bytes())
    return folder


def test_what_stands_in_place_is_kept_byte_for_byte_where_nothing_is_better(
    csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_step(monkeypatch)
    out = tmp_path / "out"
    put_in_place(other_model(tmp_path / "other", worse=False), out / "v1")
    before = {path.name: path.read_bytes() for path in (out / "v1").iterdir()}
    verdict = run(csv, out)
    assert verdict["action"] == "kept"
    assert verdict["versions"]["in place"] == "9.9.9"
    assert {path.name: path.read_bytes() for path in (out / "v1").iterdir()} == before


@pytest.mark.parametrize("kind", ["worse", "broken"])
def test_what_stands_in_place_gives_way_to_the_shipped_weights_where_it_has_gone_bad(
    csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    no_step(monkeypatch)
    out = tmp_path / "out"
    put_in_place(other_model(tmp_path / "other", worse=True), out / "v1")
    if kind == "broken":
        (out / "v1" / MODEL_FILE).write_text("no model")
    verdict = run(csv, out)
    assert (verdict["verdict"], verdict["action"]) == ("not-better", "went back to the shipped weights")
    assert (out / "v1" / MODEL_FILE).read_bytes() == (SHIPPED_WEIGHTS / MODEL_FILE).read_bytes()
    assert "The shipped weights now stand in" in capsys.readouterr().out


def test_the_same_command_again_finds_the_same_and_changes_nothing(csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run(csv, out)
    placed = (out / "v1" / MODEL_FILE).read_bytes()
    assert run(csv, out) == first
    assert (out / "v1" / MODEL_FILE).read_bytes() == placed


def test_other_load_begins_a_run_of_its_own_and_forgets_the_old_one(csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(csv, out)
    (old,) = (out / "runs").iterdir()
    run(write(csv, odd_load(2)), out)
    (new,) = (out / "runs").iterdir()
    assert new.name != old.name


def test_the_holdout_is_seen_by_nothing_that_trains(csv: Path, tmp_path: Path) -> None:
    border = int(0.8 * SAMPLES)
    changed = [odd_load(seed) for seed in (0, 1)]
    for load in changed:
        load[border:] = 77 + np.arange(SAMPLES - border) % 5
    other = write(tmp_path / "changed.csv", *changed)
    found = []
    for name, source in (("one", csv), ("other", other)):
        run(source, tmp_path / name)
        (folder,) = (tmp_path / name / "runs").iterdir()
        checkpoint = Checkpoint.load(folder)
        assert checkpoint is not None
        found.append(checkpoint)
    assert found[0].best_loss == found[1].best_loss
    assert all(torch.equal(found[0].best_weights[name], weight) for name, weight in found[1].best_weights.items())


def test_series_that_cannot_be_used_are_named_everywhere(
    csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    no_step(monkeypatch)
    flat = "".join(f"flat,{START + 300 * step},5\n" for step in range(SAMPLES))
    out = tmp_path / "out"
    verdict = run(write(csv, odd_load(0), extra=f"bad,{START},-1\nbad,{START + 300},1\n" + flat), out)
    assert {row["series"] for row in verdict["skipped"]} == {"bad", "flat"}
    assert "load/bad has negative or infinite load" in capsys.readouterr().err
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<b>bad</b>" in page
    assert "<b>flat</b>" in page


def test_the_version_may_be_the_users(csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_step(monkeypatch)
    assert run(csv, tmp_path / "out", "--model-version", "mine-3")["model_version"] == "mine-3"


def test_a_killed_run_goes_on_where_it_was(csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f"""
import sys
from dataclasses import replace
from predictor_model import finetune
finetune.RECIPE = replace(finetune.RECIPE, batch_size=8, synthetic_traces=0, validation_windows=512, validate_every=4)
sys.exit(finetune.main(["--csv", {str(csv)!r}, "--out", {str(out)!r}, "--steps", "12"]))
"""
    command = [sys.executable, "-c", script]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as first:
        assert first.stderr is not None
        next(line for line in first.stderr if line.startswith("step 4:"))
        first.kill()
    assert not (out / "verdict.json").exists()
    second = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=environment)
    assert "step 4:" not in second.stderr
    assert "step 12:" in second.stderr
    assert (out / "verdict.json").exists()


@pytest.mark.parametrize(
    ("number", "code"),
    [pytest.param(signal.SIGINT, 130, id="ctrl-c"), pytest.param(signal.SIGTERM, 143, id="sigterm")],
)
def test_the_command_and_its_training_are_one_process_that_a_signal_ends(
    csv: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    options = ["train", "--csv", str(csv), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-c", "from scaler.cli import main; main()", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if "2 series with" in line)  # said by the trainer, under the same number
        process.send_signal(number)
        assert process.wait(60) == code
        told = process.stderr.read()
    assert "Traceback" not in told
    assert not (tmp_path / "out" / "v1").exists()


def test_several_processes_fine_tune_one_model_and_one_of_them_judges(csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--csv", str(csv), "--out", str(out), "--steps", "1"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    done = subprocess.run(
        [*launcher, "-m", "predictor_model.finetune", *options],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.stderr.count("2 series with") == 1
    assert done.stdout.count("Report:") == 1
    assert (out / "verdict.json").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "no such file", id="no-file"),
        pytest.param("name,timestamp,value\na,0,1\n", "header is name,timestamp,value", id="header"),
        pytest.param(
            "series,timestamp,value\n" + "".join(f"a,{300 * n},{n % 5}\n" for n in range(576)),
            "a has 2.0 days of history; at a step of 300 s at least 5.0 are needed",
            id="too-short",
        ),
        pytest.param(
            "series,timestamp,value\n" + "".join(f"a,{300 * n},5\n" for n in range(SAMPLES)),
            "nothing can be judged: each of 1 series has no load to judge by",
            id="constant",
        ),
    ],
)
def test_load_that_cannot_be_used_is_refused_with_code_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    content: str | None,
    message: str,
) -> None:
    no_step(monkeypatch)
    path = tmp_path / "load.csv"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert main(["--csv", str(path), "--out", str(tmp_path / "out")]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out" / "v1").exists()


def test_the_recipe_takes_the_shipped_network_and_few_steps() -> None:
    assert RECIPE.steps <= TrainConfig().steps / 10
    assert RECIPE.learning_rate < TrainConfig().learning_rate
