"""One worker thread for what may take long, beside the loop; it never keeps the process from ending."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class BesideExecutor(Executor):
    """One job at a time, in the order in which they came.

    A `ThreadPoolExecutor` has the interpreter wait for its job at the end: a model that hangs would keep a replica
    that was told to end for the whole forecast deadline.
    """

    def __init__(self, name: str) -> None:
        """Start the thread, named `name`."""
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Do it later; a future that was cancelled meanwhile is left out."""
        future: Future[R] = Future()
        self._jobs.put((future, partial(fn, *args, **kwargs)))
        return future

    def _run(self) -> None:
        while True:
            future, job = self._jobs.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = job()
            except BaseException as error:  # noqa: BLE001 - whoever asks the future gets it
                future.set_exception(error)
            else:
                future.set_result(result)
