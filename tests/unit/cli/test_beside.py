from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from scaler.cli.beside import BesideExecutor

SECONDS = 10.0  # no test waits for it
HANGS = """
import threading
from scaler.cli.beside import BesideExecutor
begun = threading.Event()
BesideExecutor("x").submit(lambda: (begun.set(), threading.Event().wait()))
begun.wait()
"""


def test_jobs_run_one_after_another_in_a_thread_of_their_own() -> None:
    executor = BesideExecutor("beside")
    order: list[tuple[int, str]] = []
    futures = [executor.submit(lambda n: order.append((n, threading.current_thread().name)), n) for n in range(3)]
    for future in futures:
        future.result(SECONDS)
    assert order == [(0, "beside"), (1, "beside"), (2, "beside")]


def test_a_job_that_fails_tells_its_future_and_the_next_one_runs() -> None:
    executor = BesideExecutor("beside")
    failed, done = executor.submit(int, "x"), executor.submit(int, "7")
    with pytest.raises(ValueError, match="invalid literal"):
        failed.result(SECONDS)
    assert done.result(SECONDS) == 7


def test_a_job_that_is_cancelled_before_its_turn_never_runs() -> None:
    executor, free = BesideExecutor("beside"), threading.Event()
    ran: list[int] = []
    first, second = executor.submit(free.wait, SECONDS), executor.submit(ran.append, 1)
    assert second.cancel()
    free.set()
    assert first.result(SECONDS)
    executor.submit(int).result(SECONDS)
    assert ran == []


def test_a_job_that_hangs_does_not_keep_the_process() -> None:
    subprocess.run([sys.executable, "-c", HANGS], check=True, timeout=30)
