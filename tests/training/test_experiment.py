import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from predictor_model.config import TrainConfig
from predictor_model.experiment import BASE, ROWS, folder_of, main
from predictor_model.graph import load_graph
from predictor_model.train import Trainer
from predictor_model.training_data import load_training_data
from tests.training.small import write_waves

pytestmark = pytest.mark.training


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    return write_waves(tmp_path / "own.csv", ("a",))


def test_a_row_trains_is_scored_and_is_not_trained_anew(traces: Path, tmp_path: Path) -> None:
    out, summary = tmp_path / "out", tmp_path / "experiment.json"
    command = ["--data", str(traces), "--csv", str(traces), "--out", str(out), "--json", str(summary), "--steps", "1"]
    rows = ["base", "context: 72", "no statistics of spans", "loss: mae"]
    command += ["--synthetic-traces", "0", "--rows", *rows]
    assert main(command) == 0
    written = json.loads(summary.read_text())
    assert [row["forecaster"] for row in written["summaries"]] == rows
    assert written["steps"] == 1
    assert load_graph(out / folder_of("context: 72") / "model.onnx").context_length == 72
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/checkpoint.pt")}
    assert len(before) == len(rows)
    assert main(command) == 0
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("*/checkpoint.pt")}


@pytest.mark.parametrize("name", list(ROWS))
def test_every_row_is_a_network_that_can_learn(traces: Path, tmp_path: Path, name: str) -> None:
    model = replace(BASE, **ROWS[name].model)
    train = replace(TrainConfig(synthetic_traces=0, validation_windows=1, batch_size=4), **ROWS[name].train)
    data = load_training_data([traces], model, train)
    before = Trainer(data, model, train, tmp_path)
    weights = {name: value.clone() for name, value in before.network.state_dict().items()}
    before._train_step()
    moved = [name for name, value in before.network.state_dict().items() if not torch.equal(value, weights[name])]
    assert "heads.weight" in moved
    assert "patch.weight" in moved


def test_rows_differ_from_the_base_in_one_choice() -> None:
    assert ROWS["base"].model == ROWS["base"].train == {}
    changes = [(tuple(row.model.items()), tuple(row.train.items())) for row in ROWS.values()]
    assert len(set(changes)) == len(changes)


def test_a_command_that_cannot_run_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = str(tmp_path / "nowhere")
    assert main(["--data", nowhere, "--csv", nowhere, "--out", str(tmp_path)]) == 2
    assert "nowhere" in "".join(capsys.readouterr().err.split())
