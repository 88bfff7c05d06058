"""Every request that breaks the contract is a 400 that names the tensor, what was wrong and what is accepted."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

JSON_LENGTH = "Inference-Header-Content-Length"
T = 12
H = 30


def tensor(name: str, datatype: str, shape: list[int], data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def load(data: list[Any] | None = None, shape: list[int] | None = None, datatype: str = "FP32") -> dict[str, Any]:
    return tensor("load", datatype, [1, T] if shape is None else shape, [1.0] * T if data is None else data)


def observed(data: list[Any], shape: list[int] | None = None, datatype: str = "BOOL") -> dict[str, Any]:
    return tensor("observed", datatype, shape or [1, T], data)


def end_time(data: list[Any], shape: list[int] | None = None, datatype: str = "INT64") -> dict[str, Any]:
    return tensor("end_time", datatype, shape or [1], data)


def lags(data: list[Any] | None = None, shape: list[int] | None = None) -> dict[str, Any]:
    return tensor("seasonal_lags", "FP32", shape or [1, 2, H], [1.0] * (2 * H) if data is None else data)


def lags_observed(shape: list[int] | None = None) -> dict[str, Any]:
    return tensor("seasonal_lags_observed", "BOOL", shape or [1, 2, H], [True] * (2 * H))


def request(*inputs: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"inputs": list(inputs), **rest}


def with_step(step_seconds: Any) -> dict[str, Any]:
    return request(load(), parameters={"step_seconds": step_seconds})


MISSING = [True] * (T - 1) + [False]

REJECTED = [
    pytest.param(request(), "load", "missing", id="no-inputs"),
    pytest.param(request(end_time([1])), "load", "missing", id="load-missing"),
    pytest.param(request(load(), tensor("loads", "FP32", [1, T], [1.0] * T)), "loads", "accepted", id="unknown-input"),
    pytest.param(request(load(), load()), "load", "twice", id="duplicate-input"),
    pytest.param(request(load(datatype="FP64")), "load", "accepted is FP32", id="load-datatype"),
    pytest.param(request(load(datatype="NONSENSE")), "load", "accepted is FP32", id="nonsense-datatype"),
    pytest.param(request(load(), observed([1] * T, datatype="INT64")), "observed", "BOOL", id="observed-datatype"),
    pytest.param(request(load(), end_time([1.0], datatype="FP32")), "end_time", "INT64", id="end-time-datatype"),
    pytest.param(request(load(shape=[T])), "load", "[B, T]", id="rank-1"),
    pytest.param(request(load(shape=[1, T, 1])), "load", "[B, T]", id="rank-3"),
    pytest.param(request(load(shape=[])), "load", "[B, T]", id="rank-0"),
    pytest.param(request(load(shape=[1, -T])), "load", "8 to 2016", id="negative-size"),
    pytest.param(request(load([1.0] * (T - 1))), "load", "12 elements", id="too-few-elements"),
    pytest.param(request(load([1.0] * (T + 1))), "load", "12 elements", id="too-many-elements"),
    pytest.param(request(load([])), "load", "12 elements", id="no-elements"),
    pytest.param(request(load([[1.0] * T] * 2, shape=[2, T]), end_time([1])), "end_time", "[2]", id="end-time-batch"),
    pytest.param(request(load([[1.0] * 6, [1.0] * 5])), "load", "different lengths", id="ragged"),
    pytest.param(request(load([[1.0] * 6] * 2)), "load", "flat or nested", id="nested-in-another-shape"),
    pytest.param(request(load([1.0] * 7, shape=[1, 7])), "load", "8 to 2016", id="history-too-short"),
    pytest.param(request(load([1.0] * 2017, shape=[1, 2017])), "load", "8 to 2016", id="history-too-long"),
    pytest.param(request(load([], shape=[0, T])), "load", "1 to 10000", id="empty-batch"),
    pytest.param(request(load([1.0] * 80_008, shape=[10_001, 8])), "load", "1 to 10000", id="too-many-rows"),
    pytest.param(request(load(), observed([True] * (T - 1), [1, T - 1])), "observed", "[1, 12]", id="observed-shape"),
    pytest.param(request(load([1.0] * (T - 1) + [None])), "load[0, 11]", "observed", id="null-where-observed"),
    pytest.param(request(load([1.0] * (T - 1) + [-0.5])), "load[0, 11]", "-0.5", id="negative-load"),
    pytest.param(request(load([1.0] * (T - 1) + [1e39])), "load[0, 11]", "inf", id="load-beyond-float32"),
    pytest.param(request(load([1.0] * (T - 1) + [1e31])), "load[0, 11]", "1e+30", id="load-beyond-the-graph"),
    pytest.param(request(load([1.0] * (T - 1) + [10**400])), "load", "integer", id="load-beyond-float64"),
    pytest.param(request(load(["1.0"] * T)), "load", "numbers", id="strings-as-load"),
    pytest.param(request(load([True] * T)), "load", "numbers", id="booleans-as-load"),
    pytest.param(request(load([{}] * T)), "load", "numbers", id="objects-as-load"),
    pytest.param(request(load(), observed(["false"] * T)), "observed", "true or false", id="strings-as-mask"),
    pytest.param(request(load(), observed([1] * T)), "observed", "true or false", id="numbers-as-mask"),
    pytest.param(request(load(), observed([None] * T)), "observed", "true or false", id="nulls-as-mask"),
    pytest.param(request(load(), observed([False] * T)), "observed", "row 0", id="nothing-observed"),
    pytest.param(
        request(load([1.0] * 300, [1, 300]), observed([True] * 12 + [False] * 288, [1, 300])),
        "observed",
        "newest 288",
        id="nothing-observed-in-the-context",
    ),
    pytest.param(request(load(), end_time([-1])), "end_time[0]", "Unix seconds", id="end-time-negative"),
    pytest.param(request(load(), end_time([1_700_000_000_000])), "end_time[0]", "seconds", id="end-time-milliseconds"),
    pytest.param(request(load(), end_time([2**63])), "end_time", "64 bits", id="end-time-beyond-int64"),
    pytest.param(request(load(), end_time([2**70])), "end_time", "64 bits", id="end-time-far-beyond-int64"),
    pytest.param(request(load(), end_time([1.5])), "end_time", "integers", id="end-time-fraction"),
    pytest.param(request(load(), end_time([True])), "end_time", "integers", id="end-time-boolean"),
    pytest.param(request(load(), lags_observed()), "seasonal_lags_observed", "seasonal_lags", id="mask-without-lags"),
    pytest.param(request(load(), lags([1.0] * 58, [1, 2, 29])), "seasonal_lags", "[1, 2, 30]", id="wrong-horizon"),
    pytest.param(request(load(), lags([1.0] * 30, [1, 1, H])), "seasonal_lags", "[1, 2, 30]", id="one-lag-only"),
    pytest.param(
        request(load(), lags(), lags_observed([1, 2, 29])), "seasonal_lags_observed", "[1, 2, 30]", id="lag-mask-shape"
    ),
    pytest.param(request(load(), lags([None] + [1.0] * 59)), "seasonal_lags[0, 0, 0]", "nan", id="null-lag"),
    pytest.param(request(load(), lags([1.0] * 59 + [-1.0])), "seasonal_lags[0, 1, 29]", "-1.0", id="negative-lag"),
    pytest.param(with_step(14), "step_seconds", "15 to 3600", id="step-too-short"),
    pytest.param(with_step(3601), "step_seconds", "15 to 3600", id="step-too-long"),
    pytest.param(with_step(True), "step_seconds", "True", id="step-boolean"),
    pytest.param(with_step("60"), "step_seconds", "'60'", id="step-string"),
    pytest.param(with_step(60.0), "step_seconds", "60.0", id="step-float"),
    pytest.param(with_step(2**80), "step_seconds", "15 to 3600", id="step-beyond-int64"),
    pytest.param(with_step(None), "step_seconds", "accepted", id="step-null"),
    pytest.param(request(load(), parameters={"note": None}), "note", "accepted", id="null-parameter"),
    pytest.param(request(load(), parameters={"note": []}), "note", "accepted", id="list-parameter"),
    pytest.param(request(load(), outputs=[{"name": "mean"}]), "mean", "quantiles", id="unknown-output"),
    pytest.param(request(load(), outputs=[{"name": "quantiles"}] * 2), "quantiles", "twice", id="output-twice"),
    pytest.param({"inputs": [{"name": "load", "datatype": "FP32", "shape": [1, T]}]}, "load", "no data", id="no-data"),
    pytest.param({"inputs": [load() | {"shape": ["1", T]}]}, "shape", "integer", id="string-in-shape"),
    pytest.param({"inputs": [load() | {"datatype": None}]}, "datatype", "string", id="datatype-null"),
    pytest.param({"inputs": {"load": [1.0] * T}}, "inputs", "array", id="inputs-no-list"),
    pytest.param({"instances": [[1.0] * T]}, "inputs", "v2", id="v1-body"),
    pytest.param(request(load(), id=7), "id", "string", id="id-no-string"),
]


@pytest.mark.parametrize(("body", "names", "says"), REJECTED)
def test_a_request_that_breaks_the_contract_is_400_and_says_why(caller: Any, body: Any, names: str, says: str) -> None:
    response = caller.post(body)
    assert response.status_code == 400, response.text
    assert list(response.json()) == ["error"]
    error = response.json()["error"]
    assert names in error
    assert says in error
    assert "accepted" in error


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"inputs": [', id="cut-off"),
        pytest.param(b"load=1&load=2", id="form"),
        pytest.param(b"\xff\xfe\x00", id="no-text"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"null", id="null"),
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "application/octet-stream", None])
def test_a_body_that_is_no_request_is_400(caller: Any, content: bytes, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = caller.client.post(caller.server.infer_url, content=content, headers=headers)
    assert response.status_code == 400
    assert "accepted" in response.json()["error"]


def binary_request(head: dict[str, Any], raw: bytes) -> tuple[bytes, dict[str, str]]:
    content = json.dumps(head).encode()
    return content + raw, {JSON_LENGTH: str(len(content))}


def binary_load(size: int, shape: list[int] | None = None, datatype: str = "FP32") -> dict[str, Any]:
    tensor = {"name": "load", "datatype": datatype, "shape": shape or [1, T]}
    return request(tensor | {"parameters": {"binary_data_size": size}})


@pytest.mark.parametrize(
    ("head", "raw", "names", "says"),
    [
        pytest.param(binary_load(48), b"\0" * 44, "load", "44 bytes", id="body-too-short"),
        pytest.param(binary_load(44), b"\0" * 48, "4 bytes", "none", id="body-too-long"),
        pytest.param(binary_load(44), b"\0" * 44, "load", "takes 48", id="size-not-of-the-shape"),
        pytest.param(binary_load(-1), b"\0" * 48, "load", "-1", id="negative-size"),
        pytest.param(binary_load(48, datatype="BYTES"), b"\0" * 48, "load", "accepted is FP32", id="datatype"),
        pytest.param(binary_load(48, [1, 7]), b"\0" * 48, "load", "8 to 2016", id="shape"),
        pytest.param(binary_load(48), b"\0" * 44 + b"\0\0\xc0\x7f", "load[0, 11]", "nan", id="nan"),
        pytest.param({"outputs": []}, b"", "inputs", "required", id="no-inputs"),
    ],
)
def test_binary_tensors_that_break_the_contract_are_400(
    caller: Any, head: dict[str, Any], raw: bytes, names: str, says: str
) -> None:
    content, headers = binary_request(head, raw)
    response = caller.client.post(caller.server.infer_url, content=content, headers=headers)
    assert response.status_code == 400, response.text
    assert names in response.json()["error"]
    assert says in response.json()["error"]


@pytest.mark.parametrize("length", ["ten", "-1", "1000000", "²"])
def test_a_json_length_that_does_not_fit_the_body_is_400(caller: Any, length: str) -> None:
    content = json.dumps(request(load())).encode()
    response = caller.client.post(
        caller.server.infer_url, content=content, headers={JSON_LENGTH.encode(): length.encode("latin-1")}
    )
    assert response.status_code == 400
    assert "content-length" in response.json()["error"]


def test_protocol_v1_is_400_and_points_to_v2(caller: Any) -> None:
    url = f"{caller.server.http_url}/v1/models/forecaster:predict"
    response = caller.client.post(url, json={"instances": [[1.0] * T]})
    assert response.status_code == 400
    assert "/v2/models/forecaster/infer" in response.json()["error"]


def test_rejections_leave_the_connection_open(model_server: Any) -> None:
    bad, good = request(load([-1.0] * T)), request(load())
    limits = httpx.Limits(max_connections=1)
    with httpx.Client(transport=httpx.HTTPTransport(limits=limits, retries=0)) as client:
        statuses = []
        for body in [bad, good] * 40:
            response = client.post(model_server.infer_url, json=body)
            statuses.append(response.status_code)
            assert response.headers.get("connection") != "close"
    assert statuses == [400, 200] * 40
