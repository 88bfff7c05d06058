"""The clients that people use get what the contract says; each in its own process, as their protobufs clash in one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CLIENTS = Path(__file__).parent / "clients"
OUTPUTS = ["quantiles", "window_max", "quantile_levels"]
T = 20


def request() -> dict[str, Any]:
    """Two rows with every input, one sample missing."""
    rng = np.random.default_rng(5)
    observed = np.ones((2, T), dtype=bool)
    observed[0, 4] = False
    arrays = {
        "load": ("FP32", rng.uniform(1, 50, (2, T)).round(3)),
        "observed": ("BOOL", observed),
        "end_time": ("INT64", np.array([1_700_000_000, 1_700_003_600])),
        "seasonal_lags": ("FP32", rng.uniform(1, 50, (2, 2, 30)).round(3)),
        "seasonal_lags_observed": ("BOOL", rng.random((2, 2, 30)) < 0.8),
    }
    inputs = [
        {"name": name, "datatype": datatype, "shape": list(array.shape), "data": array.ravel().tolist()}
        for name, (datatype, array) in arrays.items()
    ]
    return {"id": "a-request", "parameters": {"step_seconds": 300}, "inputs": inputs}


def one_input(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"inputs": [{"name": name, "datatype": datatype, "shape": shape, "data": data}]}


GOOD_LOAD = one_input("load", "FP32", [1, 8], [1.0] * 8)
BAD_OVER_GRPC = {
    "unknown input": {"request": one_input("loads", "FP32", [1, 8], [1.0] * 8)},
    "datatype": {"request": one_input("load", "FP64", [1, 8], [1.0] * 8)},
    "rank": {"request": one_input("load", "FP32", [8], [1.0] * 8)},
    "element count": {"request": one_input("load", "FP32", [1, 9], [1.0] * 8)},
    "negative load": {"request": one_input("load", "FP32", [1, 8], [1.0] * 7 + [-1.0])},
    "step too long": {"request": GOOD_LOAD | {"parameters": {"step_seconds": 3601}}},
    "step as text": {"request": GOOD_LOAD | {"parameters": {"step_seconds": "60"}}},
    "step as float": {"request": GOOD_LOAD | {"parameters": {"step_seconds": 60.0}}},
    "unknown output": {"request": GOOD_LOAD, "outputs": ["mean"]},
}


def run_client(script: str, job: dict[str, Any]) -> dict[str, Any]:
    process = subprocess.run(
        [sys.executable, str(CLIENTS / script)],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    answers: dict[str, Any] = json.loads(process.stdout)
    return answers


def job_for(caller: Any) -> dict[str, Any]:
    server = caller.server
    urls = {"http_url": server.http_url, "grpc_url": server.grpc_url}
    return urls | {"request": request(), "outputs": OUTPUTS, "bad": BAD_OVER_GRPC}


def assert_is_the_answer(caller: Any, answer: dict[str, Any], names: list[str] = OUTPUTS) -> None:
    expected = caller.answer(request())
    assert answer["id"] == "a-request"
    assert answer["parameters"]["step_seconds"] == 300
    assert answer["parameters"]["model_version"] == expected["parameters"]["model_version"]
    assert list(answer["outputs"]) == names
    for tensor in expected["outputs"]:
        if tensor["name"] in names:
            values = np.array(answer["outputs"][tensor["name"]])
            assert list(values.shape) == tensor["shape"]
            np.testing.assert_allclose(values.ravel(), tensor["data"], rtol=1e-5)


def test_tritonclient_http_gets_every_combination_of_json_and_binary(caller: Any) -> None:
    answers = run_client("tritonclient_http.py", job_for(caller))
    assert answers.pop("metadata")["inputs"][0] == {"name": "load", "datatype": "FP32", "shape": [-1, -1]}
    assert len(answers) == 6
    for answer in answers.values():
        assert_is_the_answer(caller, answer)


def test_tritonclient_grpc_gets_answers_metadata_and_refusals(caller: Any) -> None:
    answers = run_client("tritonclient_grpc.py", job_for(caller))
    assert_is_the_answer(caller, answers["all"])
    assert_is_the_answer(caller, answers["selected"], ["quantiles"])
    assert answers["metadata"]["platform"] == "onnxruntime_onnx"
    assert answers["metadata"]["outputs"][0]["shape"] == ["-1", "30", "8"]
    assert answers["largest_shape"] == [2000, 30, 8]
    assert answers["refusals"].keys() == BAD_OVER_GRPC.keys()
    for name, refusal in answers["refusals"].items():
        assert refusal["status"] == "StatusCode.INVALID_ARGUMENT", name
    messages = {name: refusal["message"] for name, refusal in answers["refusals"].items()}
    assert "load[0, 7] is -1.0" in messages["negative load"]
    assert "load holds 32 bytes" in messages["element count"]
    assert "step_seconds" in messages["step as text"]
    assert "step_seconds" in messages["step as float"]
    assert "mean" in messages["unknown output"]


def test_kserve_clients_get_answers_over_rest_and_grpc(caller: Any) -> None:
    answers = run_client("kserve_sdk.py", job_for(caller))
    assert answers.keys() == {"rest-binary", "rest-json", "grpc-binary", "grpc-json"}
    for answer in answers.values():
        assert_is_the_answer(caller, answer)


@pytest.mark.parametrize("headers", [[], ["-H", "Content-Type: application/json"]])
def test_curl_gets_an_answer_with_or_without_content_type(caller: Any, headers: list[str]) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    command = [curl, "--silent", "--show-error", "--fail-with-body", *headers, "--data", "@-", caller.server.infer_url]
    process = subprocess.run(
        command, input=json.dumps(request()), capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == 0, process.stderr + process.stdout
    answer = json.loads(process.stdout)
    outputs = {tensor["name"]: np.array(tensor["data"]).reshape(tensor["shape"]) for tensor in answer["outputs"]}
    assert_is_the_answer(caller, answer | {"outputs": outputs})
