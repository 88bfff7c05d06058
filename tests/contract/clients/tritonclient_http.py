"""Asks over tritonclient.http in every combination of JSON and binary; a job on stdin, the answers on stdout."""

from __future__ import annotations

import itertools
import json
import sys
from typing import Any

import numpy as np
import tritonclient.http as triton

DTYPES = {"FP32": np.float32, "BOOL": np.bool_, "INT64": np.int64}


def main() -> None:
    job: dict[str, Any] = json.load(sys.stdin)
    client = triton.InferenceServerClient(job["http_url"].removeprefix("http://"))
    names = job["outputs"]
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("forecaster")
    answers = {"metadata": client.get_model_metadata("forecaster")}
    for binary_in, out in itertools.product([True, False], ["binary", "json", "default"]):
        inputs = []
        for tensor in job["request"]["inputs"]:
            array = np.array(tensor["data"], dtype=DTYPES[tensor["datatype"]]).reshape(tensor["shape"])
            item = triton.InferInput(tensor["name"], list(array.shape), tensor["datatype"])
            inputs.append(item.set_data_from_numpy(array, binary_data=binary_in))
        requested = [triton.InferRequestedOutput(name, binary_data=out == "binary") for name in names]
        result = client.infer(
            "forecaster",
            inputs,
            outputs=None if out == "default" else requested,
            request_id=job["request"]["id"],
            parameters=job["request"]["parameters"],
        )
        response = result.get_response()
        label = f"{'binary' if binary_in else 'json'}-in-{out}-out"
        answers[label] = {
            "id": response["id"],
            "parameters": response["parameters"],
            "outputs": {name: result.as_numpy(name).tolist() for name in names},
        }
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
