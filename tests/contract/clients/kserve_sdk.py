"""Asks over KServe's own REST and gRPC clients; a job on stdin, the answers on stdout."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, InferResponse, RESTConfig
from kserve.protocol.infer_type import RequestedOutput, to_http_parameters

DTYPES = {"FP32": np.float32, "BOOL": np.bool_, "INT64": np.int64}


def infer_request(job: dict[str, Any], *, is_binary: bool) -> InferRequest:
    request, inputs = job["request"], []
    for tensor in request["inputs"]:
        item = InferInput(tensor["name"], tensor["shape"], tensor["datatype"], data=tensor["data"])
        if is_binary:
            array = np.array(tensor["data"], dtype=DTYPES[tensor["datatype"]]).reshape(tensor["shape"])
            item.set_data_from_numpy(array, binary_data=True)
        inputs.append(item)
    outputs = [RequestedOutput(name, {"binary_data": is_binary}) for name in job["outputs"]]
    return InferRequest(
        model_name="forecaster",
        infer_inputs=inputs,
        request_id=request["id"],
        parameters=request["parameters"],
        request_outputs=outputs,
    )


def described(response: InferResponse) -> dict[str, Any]:
    outputs = {output.name: output.as_numpy().tolist() for output in response.outputs}
    return {"id": response.id, "parameters": to_http_parameters(response.parameters), "outputs": outputs}


async def main() -> None:
    job: dict[str, Any] = json.load(sys.stdin)
    rest = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60, retries=0))
    grpc = InferenceGRPCClient(job["grpc_url"], timeout=60, retries=0)
    assert await rest.is_model_ready(job["http_url"], "forecaster")
    assert await grpc.is_model_ready("forecaster")
    answers = {}
    for form, is_binary in (("binary", True), ("json", False)):
        request = infer_request(job, is_binary=is_binary)
        answers[f"rest-{form}"] = described(await rest.infer(job["http_url"], request, model_name="forecaster"))
        answers[f"grpc-{form}"] = described(await grpc.infer(infer_request(job, is_binary=is_binary)))
    await rest.close()
    await grpc.close()
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
