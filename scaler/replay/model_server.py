"""The real model server as a process of this machine, for demos and ad-hoc forecasts; it never outlives its caller."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from types import FrameType
from typing import IO, Final

from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from scaler.adapters.forecast_contract import CONTRACT
from scaler.adapters.v2_client import V2Client
from scaler.domain import ScalerError

COMMAND: Final = (sys.executable, "-m", "predictor_model")
PORT_TRIES: Final = 3
POLL_SECONDS: Final = 0.1
TERMINATE_SECONDS: Final = 5.0
TAIL_LINES: Final = 15


class ModelServerFailed(ScalerError):
    """The model server did not come up, or does not answer; the message says what it said last."""


class _PortTaken(ModelServerFailed):
    """Another process took the port between its choice and its use."""


@contextmanager
def running_model_server(
    *, command: Sequence[str] = COMMAND, deadline: timedelta = timedelta(seconds=60)
) -> Iterator[str]:
    """Run the model server on a free port while the context lasts.

    It gets a session of its own, so that Ctrl-C reaches it through this context alone, and is gone when the context
    ends, by an exception, SIGINT, SIGTERM or SIGHUP too.

    Args:
        command: Starts the server; the port is appended.
        deadline: From the start to ready, for each of at most three ports.

    Yields:
        Its base URL, once the model is ready.

    Raises:
        ModelServerFailed: It ended early or was not ready in time.
    """
    with _exit_on_signals(), tempfile.TemporaryFile() as output:
        process, url = _start(command, deadline, output)
        try:
            yield url
        finally:
            _stop(process)


@contextmanager
def model_endpoint(endpoint: str | None) -> Iterator[str]:
    """The endpoint itself, or that of a model server that runs while the context lasts.

    Raises:
        ModelServerFailed: The model server did not come up.
    """
    if endpoint is not None:
        yield endpoint
        return
    with running_model_server() as url:
        yield url


def _start(command: Sequence[str], deadline: timedelta, output: IO[bytes]) -> tuple[subprocess.Popen[bytes], str]:
    for tries_left in reversed(range(PORT_TRIES)):
        port = _free_port()
        process = subprocess.Popen(  # noqa: S603  our own interpreter and module
            [*command, "--http_port", str(port), "--enable_grpc", "false"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_until_ready(process, url, deadline, output)
        except _PortTaken:
            if not tries_left:
                raise
        except BaseException:
            _stop(process)
            raise
        else:
            return process, url
    raise AssertionError("unreachable: the last try returns or raises")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, deadline: timedelta, output: IO[bytes]) -> None:
    with closing(V2Client(url)) as client:

        def ready() -> bool:
            answered = client.is_ready(CONTRACT.model_name)
            if process.poll() is not None:  # asked last: whoever answers on the port of a dead server is another
                raise _early_end(process.returncode, _tail(output))
            return answered

        retrying = Retrying(
            retry=retry_if_result(lambda answered: not answered),
            wait=wait_fixed(POLL_SECONDS),
            stop=stop_after_delay(deadline),
            retry_error_callback=lambda _: False,
        )
        if not retrying(ready):
            raise ModelServerFailed(f"the model server was not ready within {deadline}\n{_tail(output)}")


def _early_end(returncode: int, tail: str) -> ModelServerFailed:
    if "address already in use" in tail.lower():
        return _PortTaken(f"the model server found its port taken\n{tail}")
    hint = "; is it installed? pip install 'ai-hpa[demo]'" if "ModuleNotFoundError" in tail else ""
    return ModelServerFailed(f"the model server ended with code {returncode}{hint}\n{tail}")


def _tail(output: IO[bytes]) -> str:
    output.seek(0)
    lines = output.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the whole process group to end, then make it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(TERMINATE_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit, so that contexts are left; only the main thread may do so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(signum: int, _: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    previous = {signum: signal.signal(signum, leave) for signum in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
