import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from predictor_model.checkpoint import load_start, write_weights
from predictor_model.config import ModelConfig, TrainConfig
from predictor_model.contract import CONTRACT
from predictor_model.export import example_window, export_onnx
from predictor_model.graph import MODEL_FILE, RECORD_FILE, SHIPPED_WEIGHTS, WEIGHTS_FILE, load_graph
from predictor_model.network import BiLSTMForecaster, Window
from predictor_model.traces import TraceError
from predictor_model.train import Trainer, configs, main, parse_arguments, start_of
from predictor_model.training_data import load_training_data
from tests.training.small import SMALL, write_waves

pytestmark = pytest.mark.training

FEW = TrainConfig(steps=4, batch_size=8, synthetic_traces=0, validate_every=2, validation_windows=512)


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    return write_waves(tmp_path / "own.csv", ("a",))


@pytest.fixture
def exported(traces: Path, tmp_path: Path) -> Path:
    """Folder of a small run that has ended."""
    folder = tmp_path / "first"
    folder.mkdir()
    run = Trainer(load_training_data([traces], SMALL, FEW), SMALL, FEW, folder)
    run.run(Console(quiet=True))
    run.export(model_version="1.0.0")
    return folder


def random_window(seed: int, config: ModelConfig) -> Window:
    torch.manual_seed(seed)
    window = example_window(config, 16)
    return window._replace(
        load=window.load * 10.0 ** torch.randint(-3, 6, (16, 1)),
        observed=torch.rand(16, config.context_length) > 0.3,
        end_time=torch.randint(-1, 2_000_000_000, (16,)),
        seasonal_lags_observed=torch.rand(16, 2, CONTRACT.prediction_length) > 0.5,
        step_seconds=torch.tensor([15, 60, 300, 3600] * 4),
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_shipped_weights_are_those_of_the_shipped_model(seed: int) -> None:
    start, graph = load_start(SHIPPED_WEIGHTS), load_graph(SHIPPED_WEIGHTS / MODEL_FILE)
    network = BiLSTMForecaster(start.model)
    network.load_state_dict(start.weights)
    window = random_window(seed, start.model)
    with torch.no_grad():
        expected = network.eval()(window)
    feed = {name: tensor.numpy() for name, tensor in window._asdict().items()}
    for ours, theirs in zip(expected, graph.session.run(["quantiles", "window_max"], feed), strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), rtol=1e-4, atol=1e-5 * float(window.load.max()))
    assert start.model_version == graph.model_version


def test_exported_weights_make_the_exported_model_anew(exported: Path, tmp_path: Path) -> None:
    start = load_start(exported)
    network = BiLSTMForecaster(start.model)
    network.load_state_dict(start.weights)
    export_onnx(network.eval(), tmp_path / "again.onnx", model_version="1.0.0")
    assert (tmp_path / "again.onnx").read_bytes() == (exported / MODEL_FILE).read_bytes()
    assert {weight.dtype for weight in start.weights.values()} == {torch.float32}


def second_run(traces: Path, exported: Path, folder: Path, train: TrainConfig = FEW) -> Trainer:
    folder.mkdir(exist_ok=True)
    return Trainer(load_training_data([traces], SMALL, train), SMALL, train, folder, start=load_start(exported))


def test_a_run_begins_at_the_weights_it_was_given(traces: Path, exported: Path, tmp_path: Path) -> None:
    start, run = load_start(exported), second_run(traces, exported, tmp_path / "second")
    for weights in (run.network.state_dict(), run.best_weights):
        assert all(torch.equal(weights[name], value) for name, value in start.weights.items())
    run.run(Console(quiet=True))
    assert not all(torch.equal(run.network.state_dict()[name], value) for name, value in start.weights.items())


def test_weights_that_no_step_improves_are_what_is_exported(traces: Path, exported: Path, tmp_path: Path) -> None:
    harmful = replace(FEW, learning_rate=1.0, average_decay=0.0)
    run = second_run(traces, exported, tmp_path / "second", harmful)
    run.run(Console(quiet=True))
    assert run.best_step == 0
    run.export(model_version="1.0.0")
    assert (tmp_path / "second" / MODEL_FILE).read_bytes() == (exported / MODEL_FILE).read_bytes()


def test_a_run_is_not_resumed_with_another_start(traces: Path, exported: Path, tmp_path: Path) -> None:
    second_run(traces, exported, tmp_path / "second").run(Console(quiet=True))
    weights = load_start(exported).weights
    write_weights({name: weight + 1 for name, weight in weights.items()}, exported)
    with pytest.raises(TraceError, match="other settings or data"):
        second_run(traces, exported, tmp_path / "second")


def test_the_command_starts_from_a_folder_and_takes_its_shape(traces: Path, exported: Path, tmp_path: Path) -> None:
    options = ["--data", str(traces), "--steps", "1", "--batch-size", "4", "--synthetic-traces", "0"]
    assert main([*options, "--out", str(tmp_path / "out"), "--start-from", str(exported)]) == 0
    record = json.loads((tmp_path / "out" / RECORD_FILE).read_text())
    assert record["train"]["start_sha256"] == load_start(exported).sha256
    assert load_start(tmp_path / "out").model == SMALL


def test_shipped_stands_for_the_weights_of_the_package() -> None:
    start = start_of("shipped")
    assert start is not None
    assert start.weights.keys() == BiLSTMForecaster(start.model).state_dict().keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            ["--hidden-size", "9"], "--hidden-size 9: the weights in X have 8; leave it out", id="other-shape"
        ),
        pytest.param(["--scaling", "min-max"], "--scaling min-max: the weights in X have asinh", id="other-scaling"),
    ],
)
def test_a_shape_that_disagrees_with_the_start_is_refused_by_name(
    exported: Path, options: list[str], message: str
) -> None:
    asked = parse_arguments(["--data", "x", "--out", "x", "--start-from", "X", *options])
    with pytest.raises(ValueError, match=message):
        configs(asked, load_start(exported))


def test_a_shape_that_agrees_with_the_start_is_accepted(exported: Path) -> None:
    asked = parse_arguments(["--data", "x", "--out", "x", "--hidden-size", "8", "--seed", "7"])
    model, train = configs(asked, load_start(exported))
    assert (model, train.seed) == (SMALL, 7)


@pytest.mark.parametrize("broken", [WEIGHTS_FILE, RECORD_FILE])
@pytest.mark.parametrize("content", [pytest.param(None, id="missing"), pytest.param(b"{}", id="another-file")])
def test_a_folder_that_is_no_exported_run_is_refused(
    exported: Path, traces: Path, capsys: pytest.CaptureFixture[str], broken: str, content: bytes | None
) -> None:
    (exported / broken).unlink()
    if content is not None:
        (exported / broken).write_bytes(content)
    assert main(["--data", str(traces), "--out", str(exported), "--start-from", str(exported)]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "cannot be started from" in told
    assert f"with {WEIGHTS_FILE} and {RECORD_FILE}" in told


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_first_weights_is_in_those_exported(
    traces: Path, exported: Path, tmp_path: Path, share: float
) -> None:
    run = second_run(traces, exported, tmp_path / "second", replace(FEW, start_share=share))
    run.run(Console(quiet=True))
    run.export(model_version="1.0.0")
    first, last, written = load_start(exported).weights, run.best_weights, load_start(tmp_path / "second").weights
    for name, weight in written.items():
        torch.testing.assert_close(weight, share * first[name] + (1 - share) * last[name])
    assert not torch.equal(last["heads.weight"], first["heads.weight"])
