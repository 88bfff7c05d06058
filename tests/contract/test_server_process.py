"""The server as a process: health while it computes, and a clear end where it cannot serve."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

ROWS = 5000


def large_json() -> tuple[bytes, dict[str, str]]:
    load = np.random.default_rng(0).uniform(1, 9, (ROWS, 288)).round(3)
    tensor = {"name": "load", "datatype": "FP32", "shape": list(load.shape), "data": load.ravel().tolist()}
    return json.dumps({"inputs": [tensor]}).encode(), {}


def large_binary() -> tuple[bytes, dict[str, str]]:
    load = np.random.default_rng(0).uniform(1, 9, (ROWS, 288)).astype(np.float32)
    tensor = {"name": "load", "datatype": "FP32", "shape": list(load.shape)}
    head = {
        "inputs": [tensor | {"parameters": {"binary_data_size": load.nbytes}}],
        "parameters": {"binary_data_output": True},
    }
    content = json.dumps(head).encode()
    return content + load.tobytes(), {"Inference-Header-Content-Length": str(len(content))}


@pytest.mark.parametrize("make_body", [large_binary, large_json])
def test_health_routes_and_small_requests_answer_while_a_large_batch_computes(
    model_server: Any, make_body: Any
) -> None:
    content, headers = make_body()
    answers: list[httpx.Response] = []

    def ask_for_all() -> None:
        answers.append(httpx.post(model_server.infer_url, content=content, headers=headers, timeout=120.0))

    small = {"inputs": [{"name": "load", "datatype": "FP32", "shape": [1, 8], "data": [1.0] * 8}]}
    asking = threading.Thread(target=ask_for_all)
    health_seconds, answered_small = [], 0
    with httpx.Client(timeout=30.0) as client:
        asking.start()
        while asking.is_alive():
            health = client.get(f"{model_server.http_url}/v2/health/live")
            health_seconds.append(health.elapsed.total_seconds())
            answered_small += client.post(model_server.infer_url, json=small).status_code == 200
            assert health.status_code == 200
    asking.join()
    assert answers[0].status_code == 200
    assert answered_small >= 3  # one at the start, one at the end, and at least one in between
    # Computing on the event loop would hold up one health answer for nearly all of the batch's time.
    assert max(health_seconds) < answers[0].elapsed.total_seconds() / 2


def start_in_vain(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "predictor_model", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_model_dir_without_a_model_ends_with_one_line_and_exit_code_2(tmp_path: Path) -> None:
    ended = start_in_vain(f"--model_dir={tmp_path}")
    assert ended.returncode == 2
    accepted = "accepted is a directory that holds model.onnx"
    assert ended.stderr.splitlines() == [f"{tmp_path / 'model.onnx'} is not there; {accepted}"]


def test_more_than_one_worker_process_is_refused() -> None:
    ended = start_in_vain("--workers=2")
    assert ended.returncode == 2
    assert "accepted is 1" in ended.stderr
