"""Measures the model server against a plain KServe model in torch and against bare onnxruntime, all in one run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import tritonclient.grpc as triton

from bench.bare_asgi import feed
from bench.table import Row, markdown_table
from predictor_model.graph import CHUNK_ROWS, MODEL_FILE, SHIPPED_WEIGHTS

BENCH = Path(__file__).parent
GRAPH = SHIPPED_WEIGHTS / MODEL_FILE
READY = "/v2/models/forecaster/ready"
INFER = "/v2/models/forecaster/infer"
CONTEXT_LENGTH = 288
BATCHES = (1, 32, 1000)
START_SECONDS = 120.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(command: Sequence[str], port: int, environment: dict[str, str]) -> Iterator[float]:
    """A server from start to ready; yields how many seconds that took, and ends it."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client() as client:
            yield _wait_until_ready(client, process, port) - began
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes], port: int) -> float:
    pause, deadline = threading.Event(), time.perf_counter() + START_SECONDS
    while time.perf_counter() < deadline and process.poll() is None:
        try:
            if client.get(f"http://127.0.0.1:{port}{READY}").status_code == httpx.codes.OK:
                return time.perf_counter()
        except httpx.TransportError:
            pause.wait(0.005)
    raise RuntimeError(f"the server on port {port} did not become ready, exit code {process.poll()}")


def commands(weights: Path) -> dict[str, Callable[[int], list[str]]]:
    """How each contender is started on a port."""
    plain = [sys.executable, str(BENCH / "plain_kserve_torch.py"), f"--weights={weights}"]
    bare = [sys.executable, str(BENCH / "bare_asgi.py"), f"--model={GRAPH}"]
    return {
        "ours": ours,
        "plain KServe + torch": lambda port: [*plain, f"--http_port={port}", f"--grpc_port={free_port()}"],
        "bare ASGI + onnxruntime": lambda port: [*bare, f"--http_port={port}"],
    }


def ours(http_port: int, grpc_port: int | None = None) -> list[str]:
    """How the model server is started on a port."""
    return [
        sys.executable,
        "-m",
        "predictor_model",
        f"--http_port={http_port}",
        f"--grpc_port={grpc_port or free_port()}",
    ]


def cold_starts(weights: Path, environment: dict[str, str], repeats: int) -> dict[str, float]:
    """Median seconds from process start to ready, the contenders taking turns; byte code and pages are warm."""
    seconds: dict[str, list[float]] = {}
    for turn in range(repeats + 1):
        for name, command in commands(weights).items():
            port = free_port()
            with running(command(port), port, environment) as taken:
                if turn:  # the first one compiles
                    seconds.setdefault(name, []).append(taken)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def windows(rows: int) -> np.ndarray[Any, Any]:
    """Loads to forecast. Shape (rows, 288)."""
    return np.random.default_rng(0).uniform(1, 9, (rows, CONTEXT_LENGTH)).astype(np.float32).round(3)


def json_body(rows: int) -> tuple[bytes, dict[str, str]]:
    """A request in JSON."""
    load = windows(rows)
    tensor = {"name": "load", "datatype": "FP32", "shape": list(load.shape), "data": load.ravel().tolist()}
    return json.dumps({"inputs": [tensor]}).encode(), {"Content-Type": "application/json"}


def binary_body(rows: int) -> tuple[bytes, dict[str, str]]:
    """A request with a binary tensor, for a binary answer."""
    load = windows(rows)
    size = {"binary_data_size": load.nbytes}
    tensor = {"name": "load", "datatype": "FP32", "shape": list(load.shape), "parameters": size}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + load.tobytes(), {"Inference-Header-Content-Length": str(len(head))}


def median_seconds(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median of each call, taking turns so that what else the machine does hits all alike; two turns warm up."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 2):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if turn > 1:
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def bare_runs() -> dict[str, Callable[[], object]]:
    """The graph in this process on 1,000 windows: in one run over all CPUs, and in chunks on one worker per CPU."""
    cpus = len(os.sched_getaffinity(0))
    sessions = {}
    for threads in (1, cpus):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        sessions[threads] = onnxruntime.InferenceSession(str(GRAPH), options, providers=["CPUExecutionProvider"])
    load = windows(BATCHES[-1])
    whole = feed(load)
    chunks = [feed(load[start : start + CHUNK_ROWS]) for start in range(0, len(load), CHUNK_ROWS)]
    pool = ThreadPoolExecutor(cpus)
    return {
        "bare onnxruntime, one run": lambda: sessions[cpus].run(None, whole),
        "bare onnxruntime, chunks": lambda: list(pool.map(lambda chunk: sessions[1].run(None, chunk), chunks)),
    }


def request_calls(http_url: str, grpc_url: str, rows: int) -> dict[str, Callable[[], object]]:
    """One request over each wire form."""
    client, grpc = httpx.Client(timeout=120.0), triton.InferenceServerClient(grpc_url)
    load = windows(rows)
    tensor = triton.InferInput("load", list(load.shape), "FP32").set_data_from_numpy(load)

    def post(body: tuple[bytes, dict[str, str]]) -> Callable[[], object]:
        content, headers = body
        return lambda: client.post(http_url + INFER, content=content, headers=headers).raise_for_status()

    return {
        "JSON": post(json_body(rows)),
        "binary": post(binary_body(rows)),
        "gRPC": lambda: grpc.infer("forecaster", [tensor]),
    }


def health_p99(http_url: str, busy: Callable[[], object] | None, seconds: float) -> float:
    """99th percentile of the live route's seconds, while requests follow each other or in peace."""
    stopped = threading.Event()

    def keep_busy() -> None:
        while busy is not None and not stopped.is_set():
            busy()

    worker = threading.Thread(target=keep_busy)
    worker.start()
    taken, until = [], time.perf_counter() + seconds
    with httpx.Client(timeout=30.0) as client:
        while time.perf_counter() < until:
            taken.append(client.get(http_url + "/v2/health/live").elapsed.total_seconds())
            stopped.wait(0.005)
    stopped.set()
    worker.join()
    return float(np.quantile(taken, 0.99))


def measure(repeats: int) -> list[Row]:
    """All rows of the table: what, value, unit, and the bar it is held to."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}
        weights = Path(folder) / "network.pt"
        create = [sys.executable, str(BENCH / "plain_kserve_torch.py"), f"--weights={weights}", "--create"]
        subprocess.run(create, check=True, env=environment)
        return [*start_rows(cold_starts(weights, environment, repeats)), *request_rows(environment, repeats)]


def start_rows(starts: dict[str, float]) -> list[Row]:
    """Start to ready, and its ratios."""
    ours = starts["ours"]
    rows: list[Row] = [(f"start to ready, {name}", seconds, "s", "") for name, seconds in starts.items()]
    rows.append(("start to ready, ours / plain KServe + torch", ours / starts["plain KServe + torch"], "", "<= 0.6"))
    rows.append(("start to ready, ours / bare ASGI", ours / starts["bare ASGI + onnxruntime"], "", "<= 5"))
    return rows


def request_rows(environment: dict[str, str], repeats: int) -> list[Row]:
    """Throughput over each wire form, against the bare graph, and health beside it."""
    rows: list[Row] = []
    http_port, grpc_port = free_port(), free_port()
    http_url = f"http://127.0.0.1:{http_port}"
    with running(ours(http_port, grpc_port), http_port, environment):
        calls = {batch: request_calls(http_url, f"127.0.0.1:{grpc_port}", batch) for batch in BATCHES}
        for batch in BATCHES[:-1]:
            for form, seconds in median_seconds(calls[batch], repeats * 40).items():
                rows.append((f"{form}, batch {batch}", batch / seconds, "windows/s", ""))
        largest, bare = calls[BATCHES[-1]], bare_runs()
        medians = median_seconds(largest | bare, repeats * 5)
        rows += [(f"{form}, batch {BATCHES[-1]}", BATCHES[-1] / medians[form], "windows/s", "") for form in largest]
        rows += [(f"1000 windows, {name}", 1e3 * seconds, "ms", "") for name, seconds in medians.items()]
        ratio = medians["binary"] / min(medians[name] for name in bare)
        rows.append(("1000 windows, binary request / fastest bare run", ratio, "", "<= 2"))
        rows.append(("health p99, idle", 1e3 * health_p99(http_url, None, 2.0), "ms", ""))
        for form, call in largest.items():
            rows.append((f"health p99 beside 1000-row {form}", 1e3 * health_p99(http_url, call, 4.0), "ms", ""))
    return rows


def main() -> None:
    """Measure, print the table, write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="starts of each server; default: 5")
    parser.add_argument("--json", type=Path, help="write the rows there, too")
    args = parser.parse_args()
    rows = measure(args.repeats)
    print(markdown_table(rows))
    if args.json:
        keys = ("name", "value", "unit", "bar")
        machine = {"cpus": len(os.sched_getaffinity(0)), "python": platform.python_version()}
        table = {"machine": machine, "rows": [dict(zip(keys, row, strict=True)) for row in rows]}
        args.json.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
