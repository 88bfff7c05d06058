"""The process around a model server; a small stand-in of the standard library answers for the model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from datetime import timedelta

import pytest

from scaler.replay.model_server import ModelServerFailed, model_endpoint, running_model_server

STAND_IN = """
import http.server, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
{before}
http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""


def stand_in(before: str = "") -> list[str]:
    return [sys.executable, "-c", STAND_IN.format(before=before)]


def pid_behind(url: str) -> int:
    with urllib.request.urlopen(url) as response:  # noqa: S310  a loopback address made here
        return int(response.read())


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_server_runs_within_the_context_and_not_after_it() -> None:
    with running_model_server(command=stand_in()) as url:
        pid = pid_behind(url)
        assert is_running(pid)
    assert not is_running(pid)


def fail_beside_a_server(pids: list[int]) -> None:
    with running_model_server(command=stand_in()) as url:
        pids.append(pid_behind(url))
        raise ZeroDivisionError


def test_an_exception_takes_the_server_along() -> None:
    pids: list[int] = []
    with pytest.raises(ZeroDivisionError):
        fail_beside_a_server(pids)
    assert not is_running(pids[0])


def test_a_server_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scaler.replay.model_server.TERMINATE_SECONDS", 0.1)
    with running_model_server(command=stand_in("signal.signal(signal.SIGTERM, signal.SIG_IGN)")) as url:
        pid = pid_behind(url)
    assert not is_running(pid)


@pytest.mark.parametrize(
    ("signum", "code"),
    [
        pytest.param(signal.SIGTERM, 128 + signal.SIGTERM, id="sigterm"),
        pytest.param(signal.SIGHUP, 128 + signal.SIGHUP, id="sighup"),
        pytest.param(signal.SIGINT, -signal.SIGINT, id="ctrl_c"),
    ],
)
def test_a_signal_takes_the_server_along(signum: signal.Signals, code: int) -> None:
    script = f"""
import urllib.request
from scaler.replay.model_server import running_model_server
with running_model_server(command={stand_in()!r}) as url:
    print(urllib.request.urlopen(url).read().decode(), flush=True)
    import signal
    signal.pause()
"""
    caller = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with caller:
        assert caller.stdout is not None
        pid = int(caller.stdout.readline())
        caller.send_signal(signum)
        assert caller.wait(30) == code
    assert not is_running(pid)


def test_signal_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with running_model_server(command=stand_in()):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("before", "message"),
    [
        pytest.param("sys.exit('the weights are gone')", "ended with code 1\nthe weights are gone", id="own_words"),
        pytest.param("import no_such_package", r"pip install 'ai-hpa\[demo\]'", id="package_missing"),
    ],
)
def test_a_server_that_ends_early_is_an_error_with_its_last_words(before: str, message: str) -> None:
    with pytest.raises(ModelServerFailed, match=message), running_model_server(command=stand_in(before)):
        pass


def test_a_server_that_never_gets_ready_is_an_error_and_gone() -> None:
    never = "print(os.getpid(), flush=True); signal.pause()"
    with (
        pytest.raises(ModelServerFailed, match="was not ready within") as failure,
        running_model_server(command=stand_in(never), deadline=timedelta(seconds=1)),
    ):
        pass
    assert not is_running(int(str(failure.value).splitlines()[-1]))


def test_a_port_taken_in_between_is_chosen_around(tmp_path: os.PathLike[str]) -> None:
    first = f"""
mark = os.path.join({os.fspath(tmp_path)!r}, "tried")
if not os.path.exists(mark):
    open(mark, "w").close()
    sys.exit("[Errno 98] error while attempting to bind on address: address already in use")
"""
    with running_model_server(command=stand_in(first)) as url:
        assert pid_behind(url)


def test_a_port_that_is_always_taken_is_an_error() -> None:
    with (
        pytest.raises(ModelServerFailed, match="found its port taken"),
        running_model_server(command=stand_in("sys.exit('Address already in use')")),
    ):
        pass


def test_a_given_endpoint_starts_nothing() -> None:
    with model_endpoint("http://forecaster.ai-hpa") as url:
        assert url == "http://forecaster.ai-hpa"
