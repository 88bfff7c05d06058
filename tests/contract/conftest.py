"""The real model server as its own process, once per session, for every test that talks to one."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

START_SECONDS = 90.0
STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class ModelServer:
    """A model server that is ready.

    Attributes:
        http_url: Base of its REST routes.
        grpc_url: `host:port` of its gRPC twin.
    """

    http_url: str
    grpc_url: str
    pid: int

    @property
    def infer_url(self) -> str:
        """Where forecasts are asked for."""
        return f"{self.http_url}/v2/models/forecaster/infer"


class Caller:
    """Asks a model server over REST, on one kept-alive connection."""

    def __init__(self, server: ModelServer, client: httpx.Client) -> None:
        self.server = server
        self.client = client

    def post(self, body: Mapping[str, Any]) -> httpx.Response:
        """Send a v2 request as JSON."""
        return self.client.post(self.server.infer_url, json=body)

    def answer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send a v2 request as JSON and return the answer, which must be a good one."""
        response = self.post(body)
        assert response.status_code == 200, response.text
        content: dict[str, Any] = response.json()
        return content


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def serve_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "predictor_model", *arguments]


@contextmanager
def running_server(log: Path, arguments: Sequence[str] = ()) -> Iterator[ModelServer]:
    """Start a model server on free ports, wait until it is ready, and stop it at the end."""
    http_port, grpc_port = free_port(), free_port()
    command = serve_command(f"--http_port={http_port}", f"--grpc_port={grpc_port}", *arguments)
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    server = ModelServer(f"http://127.0.0.1:{http_port}", f"127.0.0.1:{grpc_port}", process.pid)
    try:
        _wait_until_ready(server, process, log)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(server: ModelServer, process: subprocess.Popen[bytes], log: Path) -> None:
    waiting = Retrying(
        retry=retry_if_exception_type(httpx.HTTPError),
        wait=wait_fixed(0.05),
        stop=stop_after_delay(START_SECONDS),
        reraise=True,
    )
    with httpx.Client() as client:
        for attempt in waiting:
            with attempt:
                assert process.poll() is None, f"the model server exited:\n{log.read_text()}"
                client.get(f"{server.http_url}/v2/models/forecaster/ready").raise_for_status()


@pytest.fixture(scope="session")
def model_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    with running_server(tmp_path_factory.mktemp("model_server") / "server.log") as server:
        yield server


@pytest.fixture(scope="session")
def caller(model_server: ModelServer) -> Iterator[Caller]:
    with httpx.Client(timeout=60.0) as client:
        yield Caller(model_server, client)
