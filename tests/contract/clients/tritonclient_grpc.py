"""Asks over tritonclient.grpc, well and badly; a job on stdin, the answers and the refusals on stdout."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

DTYPES = {"FP32": np.float32, "BOOL": np.bool_, "INT64": np.int64, "FP64": np.float64}


def infer_input(tensor: dict[str, Any]) -> triton.InferInput:
    array: np.ndarray[Any, Any] = np.array(tensor["data"], dtype=DTYPES[tensor["datatype"]])
    item = triton.InferInput(tensor["name"], list(array.shape), tensor["datatype"]).set_data_from_numpy(array)
    return item.set_shape(tensor["shape"])


def ask(client: triton.InferenceServerClient, request: dict[str, Any], names: list[str] | None) -> dict[str, Any]:
    result = client.infer(
        "forecaster",
        [infer_input(tensor) for tensor in request["inputs"]],
        outputs=None if names is None else [triton.InferRequestedOutput(name) for name in names],
        request_id=request.get("id", ""),
        parameters=request.get("parameters"),
    )
    response = result.get_response()
    parameters = {
        key: getattr(value, value.WhichOneof("parameter_choice")) for key, value in response.parameters.items()
    }
    outputs = {output.name: result.as_numpy(output.name).tolist() for output in response.outputs}
    return {"id": response.id, "parameters": parameters, "outputs": outputs}


def refusal(client: triton.InferenceServerClient, request: dict[str, Any], names: list[str] | None) -> dict[str, Any]:
    try:
        ask(client, request, names)
    except InferenceServerException as exc:
        return {"status": exc.status(), "message": exc.message()}
    return {"status": "answered", "message": ""}


def main() -> None:
    job: dict[str, Any] = json.load(sys.stdin)
    client = triton.InferenceServerClient(job["grpc_url"])
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("forecaster")
    answers = {
        "all": ask(client, job["request"], None),
        "selected": ask(client, job["request"], job["outputs"][:1]),
        "metadata": client.get_model_metadata("forecaster", as_json=True),
        "refusals": {name: refusal(client, bad["request"], bad.get("outputs")) for name, bad in job["bad"].items()},
    }
    # 16 MB: twice what the SDK takes by default
    big = np.ones((2000, 2016), dtype=np.float32)
    load = triton.InferInput("load", list(big.shape), "FP32").set_data_from_numpy(big)
    answers["largest_shape"] = list(client.infer("forecaster", [load]).as_numpy("quantiles").shape)
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
