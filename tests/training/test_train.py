import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from predictor_model.checkpoint import Checkpoint
from predictor_model.config import TrainConfig
from predictor_model.contract import CONTRACT
from predictor_model.export import example_window, export_onnx
from predictor_model.graph import MODEL_FILE, load_graph
from predictor_model.network import BiLSTMForecaster
from predictor_model.traces import TraceError
from predictor_model.train import Trainer, main, pinball, window_max_target
from predictor_model.training_data import data_source, load_training_data
from tests.training.small import SMALL, write_waves

pytestmark = pytest.mark.training

TRAIN = TrainConfig(
    steps=8, batch_size=16, synthetic_traces=2, validate_every=2, validation_windows=512, learning_rate=0.01
)


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    folder = tmp_path / "traces"
    folder.mkdir()
    write_waves(folder / "own.csv", ("a", "b"))
    return folder


def trainer(traces: Path, folder: Path, train: TrainConfig = TRAIN) -> Trainer:
    folder.mkdir(exist_ok=True)
    return Trainer(load_training_data([traces / "own.csv"], SMALL, train), SMALL, train, folder)


def weights(run: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.network.state_dict().items()}


def quiet() -> Console:
    return Console(quiet=True)


def test_pinball_of_a_hand_computed_case() -> None:
    levels = torch.tensor([0.1, 0.9])
    torch.testing.assert_close(pinball(torch.tensor([[2.0], [-2.0]]), levels), torch.tensor([[0.2, 1.8], [1.8, 0.2]]))


def test_window_max_target_is_unknown_from_the_first_missing_step() -> None:
    highest, known = window_max_target(torch.tensor([[2.0, 1.0, float("nan"), 9.0]]))
    assert known.tolist() == [[True, True, False, False]]
    assert highest.tolist() == [[2.0, 2.0, 0.0, 0.0]]


def test_the_same_seed_trains_the_same_weights(traces: Path, tmp_path: Path) -> None:
    runs = [trainer(traces, tmp_path / name) for name in ("first", "second")]
    for run in runs:
        run.run(quiet())
    first, second = (weights(run) for run in runs)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_killed_run_resumes_to_where_an_unbroken_one_ends(traces: Path, tmp_path: Path) -> None:
    unbroken = trainer(traces, tmp_path / "unbroken")
    unbroken.run(quiet())

    class Killed(Exception):
        pass

    broken = trainer(traces, tmp_path / "broken")
    train_step = broken._train_step

    def dies_at_five() -> float:
        if broken.step == 5:  # one step after the checkpoint of step 4
            raise Killed
        return train_step()

    broken._train_step = dies_at_five  # type: ignore[method-assign]
    with pytest.raises(Killed):
        broken.run(quiet())
    resumed = trainer(traces, tmp_path / "broken")
    assert resumed.step == 4
    resumed.run(quiet())
    first, second = weights(unbroken), weights(resumed)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (unbroken.best_step, unbroken.best_loss) == (resumed.best_step, resumed.best_loss)


def test_a_killed_process_leaves_a_checkpoint_that_the_next_one_goes_on_from(traces: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--data", str(traces), "--out", str(out), "--steps", "500", "--synthetic-traces", "0"]
    command = [sys.executable, "-m", "predictor_model.train", *options, "--batch-size", "4", "--hidden-size", "8"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None
        next(line for line in first.stderr if line.startswith("step 250:"))
        first.kill()
    assert not (out / MODEL_FILE).exists()
    second = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert "step 250:" not in second.stderr
    assert "step 500:" in second.stderr
    assert load_graph(out / MODEL_FILE).model_version == "0.0.0"


def test_a_checkpoint_says_what_it_was_made_of(traces: Path, tmp_path: Path) -> None:
    run = trainer(traces, tmp_path / "out")
    run.run(quiet())
    checkpoint = Checkpoint.load(tmp_path / "out")
    assert checkpoint is not None
    assert (checkpoint.model, checkpoint.train) == (SMALL, TRAIN)
    assert checkpoint.data == (data_source(traces / "own.csv"),)
    assert checkpoint.data[0].licence == "unknown"
    assert len(checkpoint.data[0].sha256) == 64


def test_a_folder_with_another_run_is_refused(traces: Path, tmp_path: Path) -> None:
    trainer(traces, tmp_path / "out").run(quiet())
    with pytest.raises(TraceError, match="other settings or data"):
        trainer(traces, tmp_path / "out", TrainConfig(seed=1, steps=8))


def test_training_stops_when_validation_no_longer_improves(traces: Path, tmp_path: Path) -> None:
    frozen = TrainConfig(
        steps=1000,
        batch_size=16,
        synthetic_traces=0,
        validate_every=2,
        validation_windows=512,
        learning_rate=1e-30,
        weight_decay=0.0,
        patience=3,
    )
    run = trainer(traces, tmp_path / "out", frozen)
    run.run(quiet())
    assert run.step < 20


def test_validation_windows_lie_in_the_later_slice_of_time(traces: Path) -> None:
    data = load_training_data([traces / "own.csv"], SMALL, TrainConfig(synthetic_traces=0, validation_windows=512))
    assert (data.sampler.high <= 0.85 * data.sampler.index.lengths).all()


def test_the_exported_graph_answers_as_the_network_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = BiLSTMForecaster(SMALL).eval()
    path = tmp_path / "model.onnx"
    export_onnx(network, path, model_version="1.2.3")
    graph = load_graph(path)
    assert (graph.model_version, graph.context_length) == ("1.2.3", 48)
    for batch in (1, 5):
        window = example_window(SMALL, batch)
        with torch.no_grad():
            expected = network(window)
        feed = {name: tensor.numpy() for name, tensor in window._asdict().items()}
        for ours, theirs in zip(expected, graph.session.run(["quantiles", "window_max"], feed), strict=True):
            np.testing.assert_allclose(theirs, ours.numpy(), rtol=1e-4, atol=1e-5)


def test_the_command_trains_exports_and_says_where(
    traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = [
        "--data",
        str(traces),
        "--out",
        str(out),
        "--steps",
        "2",
        "--synthetic-traces",
        "1",
        "--batch-size",
        "8",
    ]
    assert main([*arguments, "--hidden-size", "8", "--model-version", "9.9.9"]) == 0
    assert load_graph(out / "model.onnx").model_version == "9.9.9"
    assert "model.onnx" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--data", "nowhere"], "no such file", id="no-data"),
        pytest.param(["--sets", "shipped"], "none of the sets that may ship", id="nothing-that-may-ship"),
        pytest.param(["--patch-length", "7"], "patch_length", id="impossible-shape"),
    ],
)
def test_a_command_that_cannot_run_says_why(
    traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    defaults = [] if "--data" in arguments else ["--data", str(traces)]
    assert main([*defaults, "--out", str(tmp_path / "out"), *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_the_contract_and_the_network_agree_on_the_horizon() -> None:
    window = example_window(SMALL, 1)
    assert BiLSTMForecaster(SMALL).eval()(window).quantiles.shape == (1, CONTRACT.prediction_length, 8)
