from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from scaler.adapters.v2_tensors import MalformedBody, Tensor, decode_response, encode_request


def test_a_request_is_a_json_header_and_the_raw_tensors() -> None:
    inputs: dict[str, Tensor] = {
        "load": np.array([[1, 2.5]], np.float32),
        "observed": np.array([[True, False]]),
        "end_time": np.array([7], np.int64),
    }
    body, length = encode_request(inputs, request_id="r-1", parameters={"step_seconds": 60}, outputs=("quantiles",))
    header = json.loads(body[:length])
    assert [(t["name"], t["datatype"], t["shape"], t["parameters"]) for t in header["inputs"]] == [
        ("load", "FP32", [1, 2], {"binary_data_size": 8}),
        ("observed", "BOOL", [1, 2], {"binary_data_size": 2}),
        ("end_time", "INT64", [1], {"binary_data_size": 8}),
    ]
    assert (header["id"], header["parameters"]) == ("r-1", {"step_seconds": 60})
    assert header["outputs"] == [{"name": "quantiles", "parameters": {"binary_data": True}}]
    assert body[length:] == bytes.fromhex("0000803f00002040 0100 0700000000000000")


def test_binary_and_json_tensors_may_stand_side_by_side() -> None:
    header = {
        "parameters": {"model_version": "1"},
        "outputs": [
            {"name": "a", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}},
            {"name": "b", "datatype": "FP32", "shape": [1, 2], "data": [[3, None]]},
            {"name": "c", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}},
        ],
    }
    text = json.dumps(header).encode()
    response = decode_response(text + np.array([1, 2, 9], "<f4").tobytes(), str(len(text)))
    assert response.parameters == {"model_version": "1"}
    assert {name: values.tolist() for name, values in response.outputs.items()} | {"b": None} == {
        "a": [1, 2],
        "b": None,
        "c": [9],
    }
    np.testing.assert_array_equal(response.outputs["b"], [[3, np.nan]])


GOOD: dict[str, Any] = {"name": "a", "datatype": "FP32", "shape": [2], "data": [1, 2]}
SPOILED: dict[str, dict[str, Any]] = {
    "unknown_datatype": {"datatype": "FP999"},
    "shape_does_not_fit": {"shape": [3]},
    "shape_is_a_number": {"shape": 2},
    "data_is_text": {"data": ["x", "y"]},
    "data_is_ragged": {"data": [[1], [2, 3]]},
    "parameters_is_a_list": {"parameters": [1]},
    "raw_tensor_is_not_there": {"parameters": {"binary_data_size": 8}},
    "size_does_not_fit_the_shape": {"parameters": {"binary_data_size": 4}},
    "size_is_text": {"parameters": {"binary_data_size": "8"}},
}


@pytest.mark.parametrize(
    ("body", "header_length"),
    [
        pytest.param(b"", None, id="empty"),
        pytest.param(b"<html>", None, id="html"),
        pytest.param(b"\xff\xfe", None, id="bytes"),
        pytest.param(b"null", None, id="null"),
        pytest.param(b'{"outputs": 3}', None, id="outputs_is_a_number"),
        pytest.param(b'{"outputs": [3]}', None, id="output_is_a_number"),
        pytest.param(b'{"outputs": [], "parameters": [1]}', None, id="parameters_is_a_list"),
        pytest.param(b'{"outputs": []}', "many", id="header_length_is_a_word"),
        pytest.param(b'{"outputs": []}', "5", id="header_length_too_short"),
        *[
            pytest.param(json.dumps({"outputs": [GOOD | changed]}).encode(), None, id=name)
            for name, changed in SPOILED.items()
        ],
        pytest.param(b'{"outputs": [{}]}', None, id="nothing_said"),
    ],
)
def test_what_is_no_answer_is_malformed(body: bytes, header_length: str | None) -> None:
    with pytest.raises(MalformedBody):
        decode_response(body, header_length)
