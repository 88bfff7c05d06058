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

from predictor_model.graph import MODEL_FILE, RECORD_FILE, SHIPPED_WEIGHTS, WEIGHTS_FILE, load_graph
from predictor_model.placement import put_in_place
from tests.contract.conftest import running_server

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


SMALL = {"inputs": [{"name": "load", "datatype": "FP32", "shape": [1, 8], "data": [1.0] * 8}]}


def shipped_as(version: str, folder: Path) -> Path:
    """The shipped weights under another version, which has to be as long."""
    folder.mkdir()
    shipped = load_graph(SHIPPED_WEIGHTS / MODEL_FILE).model_version
    assert len(version) == len(shipped)
    for name in (WEIGHTS_FILE, RECORD_FILE, MODEL_FILE):
        content = (SHIPPED_WEIGHTS / name).read_bytes()
        (folder / name).write_bytes(content.replace(shipped.encode(), version.encode()))
    return folder


def test_weights_that_are_exchanged_are_served_from_the_next_request_on(tmp_path: Path) -> None:
    place, log = tmp_path / "v1", tmp_path / "server.log"
    put_in_place(shipped_as("9.0.1", tmp_path / "first"), place)
    with running_server(log, [f"--model_dir={place}"]) as server, httpx.Client(timeout=30.0) as client:

        def versions() -> tuple[str, list[str]]:
            answer = client.post(server.infer_url, json=SMALL).raise_for_status().json()
            metadata = client.get(f"{server.http_url}/v2/models/forecaster").raise_for_status().json()
            return answer["parameters"]["model_version"], metadata["versions"]

        assert versions() == ("9.0.1", ["9.0.1"])
        put_in_place(shipped_as("9.0.2", tmp_path / "second"), place)
        assert versions() == ("9.0.2", ["9.0.2"])
        # What cannot serve, or is not there, changes nothing.
        broken = tmp_path / "broken"
        broken.write_bytes(b"no model")
        broken.replace(place / MODEL_FILE)
        assert versions() == versions() == ("9.0.2", ["9.0.2"])
        (place / MODEL_FILE).unlink()
        assert versions() == ("9.0.2", ["9.0.2"])
        put_in_place(shipped_as("9.0.3", tmp_path / "third"), place)
        assert versions() == ("9.0.3", ["9.0.3"])
    lines = log.read_text()
    assert lines.count("model_refused: ") == 1
    assert "version 9.0.2 serves on" in lines


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
