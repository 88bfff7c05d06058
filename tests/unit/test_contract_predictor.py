"""The model side of the contract: its view of the file, the graph held against it, windows cut and padded."""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictor_model.config import UNKNOWN_END_TIME
from predictor_model.contract import CONTRACT, load_contract
from predictor_model.graph import MODEL_FILE, SHIPPED_WEIGHTS, ModelUnusable, load_graph
from predictor_model.validation import InvalidRequest, RequestTensor, read_windows

DATA = json.loads((importlib.resources.files("contracts") / "forecast_v2.json").read_text(encoding="utf-8"))
WEIGHTS = SHIPPED_WEIGHTS / MODEL_FILE
H = CONTRACT.prediction_length


def test_the_view_holds_what_the_file_holds() -> None:
    contract = load_contract()
    assert contract == CONTRACT
    assert contract.model_name == DATA["model_name"]
    assert list(contract.quantile_levels) == DATA["quantile_levels"]
    assert (contract.min_history_length, contract.max_history_length) == (8, 2016)
    assert (contract.min_step_seconds, contract.default_step_seconds, contract.max_step_seconds) == (15, 60, 3600)
    assert contract.max_batch_size == DATA["batch_size"]["max"]
    assert [tensor.name for tensor in contract.inputs if not tensor.optional] == ["load"]
    assert [(tensor.name, tensor.datatype) for tensor in contract.outputs] == [
        ("quantiles", "FP32"),
        ("window_max", "FP32"),
        ("quantile_levels", "FP32"),
    ]


def test_the_shipped_graph_fits_the_contract() -> None:
    graph = load_graph(WEIGHTS)
    assert graph.context_length == 288
    assert graph.model_version


@pytest.mark.parametrize(
    ("find", "replace", "says"),
    [
        pytest.param(b"[0.05, 0.1,", b"[0.06, 0.1,", "quantile_levels", id="other-levels"),
        pytest.param(b"context_length", b"context_lengtx", "context_length", id="no-context-length"),
        pytest.param(b"end_time", b"fin_time", "end_time is None", id="other-input"),
        pytest.param(b"window_max", b"window_top", "window_max is None", id="other-output"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused_by_name(tmp_path: Path, find: bytes, replace: bytes, says: str) -> None:
    content = WEIGHTS.read_bytes()
    assert find in content
    path = tmp_path / "model.onnx"
    path.write_bytes(content.replace(find, replace))
    with pytest.raises(ModelUnusable, match=says) as refused:
        load_graph(path)
    assert str(path) in str(refused.value)


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(ModelUnusable, match="no forecaster's graph"):
        load_graph(path)


def load_tensor(load: Any) -> RequestTensor:
    array = np.asarray(load, dtype=np.float32)
    return RequestTensor("load", "FP32", array.shape, array.tolist())


@pytest.mark.parametrize(
    ("length", "first", "observed_count"),
    [
        pytest.param(8, 0.0, 8, id="padded-at-the-old-end"),
        pytest.param(16, 0.0, 16, id="as-long-as-the-context"),
        pytest.param(20, 4.0, 16, id="cut-at-the-old-end"),
    ],
)
def test_history_is_brought_to_the_context(length: int, first: float, observed_count: int) -> None:
    windows = read_windows([load_tensor([np.arange(length)])], {}, 16)
    assert windows.load.shape == windows.observed.shape == (1, 16)
    assert windows.load[0, -1] == length - 1
    assert windows.load[0, windows.observed[0].argmax()] == first
    assert windows.observed[0, -observed_count:].all()
    assert not windows.observed[0, :-observed_count].any()


def test_optional_inputs_get_their_defaults() -> None:
    windows = read_windows([load_tensor(np.ones((2, 8)))], {}, 16)
    assert windows.end_time.tolist() == [UNKNOWN_END_TIME] * 2
    assert windows.step_seconds.tolist() == [60, 60]
    assert windows.seasonal_lags.shape == (2, 2, H)
    assert not windows.seasonal_lags_observed.any()


def test_lags_without_a_mask_are_all_observed() -> None:
    lags = RequestTensor("seasonal_lags", "FP32", (1, 2, H), [1] * (2 * H))
    windows = read_windows([load_tensor(np.ones((1, 8))), lags], {}, 16)
    assert windows.seasonal_lags_observed.all()


def test_binary_and_json_elements_read_alike() -> None:
    values = np.arange(16, dtype=np.float32).reshape(2, 8)
    binary = RequestTensor("load", "FP32", values.shape, memoryview(values.tobytes()))
    left, right = read_windows([binary], {}, 8), read_windows([load_tensor(values)], {}, 8)
    np.testing.assert_array_equal(left.load, right.load)


def test_any_byte_but_zero_is_true_in_a_binary_mask() -> None:
    mask = RequestTensor("observed", "BOOL", (1, 8), memoryview(bytes([0, 1, 2, 255, 0, 0, 0, 7])))
    windows = read_windows([load_tensor(np.ones((1, 8))), mask], {}, 8)
    assert windows.observed.view(np.uint8).tolist() == [[0, 1, 1, 1, 0, 0, 0, 1]]


def test_a_sample_outside_the_context_is_checked_too() -> None:
    with pytest.raises(InvalidRequest, match=r"load\[0, 1\] is -1\.0"):
        read_windows([load_tensor([[1, -1, *range(18)]])], {}, 16)


def test_rows_are_a_slice_of_every_array() -> None:
    load = np.arange(24.0).reshape(3, 8)
    windows = read_windows([load_tensor(load)], {"step_seconds": 300}, 8).rows(1, 3)
    assert len(windows) == 2
    np.testing.assert_array_equal(windows.load, load[1:])
    assert windows.step_seconds.tolist() == [300, 300]
