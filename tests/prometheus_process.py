"""A real Prometheus with a past of the tests' making, as a process of this machine."""

from __future__ import annotations

import http.server
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed


@contextmanager
def running_prometheus(
    programs: Path, folder: Path, openmetrics: str, *, scrape_configs: Sequence[Mapping[str, Any]] = ()
) -> Iterator[str]:
    """Run a Prometheus that holds these samples; gives its URL once it is ready."""
    (folder / "past.om").write_text(openmetrics)
    backfill: list[str | Path] = [programs / "promtool", "tsdb", "create-blocks-from", "openmetrics", "past.om", "data"]
    subprocess.run(backfill, cwd=folder, check=True, timeout=120, stdout=subprocess.DEVNULL)
    (folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": list(scrape_configs)}))
    address = free_address()
    command: list[str | Path] = [
        programs / "prometheus",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        "--storage.tsdb.retention.time=50y",
        f"--web.listen-address={address}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        eventually(lambda: httpx.get(f"http://{address}/-/ready").is_success)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def free_address() -> str:
    """Host and port that nobody listens on."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as probe:
        return f"127.0.0.1:{probe.server_address[1]}"


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a minute at most until it holds."""

    def attempt() -> None:
        assert condition()

    retry = retry_if_exception_type((AssertionError, httpx.HTTPError))
    Retrying(retry=retry, wait=wait_fixed(0.1), stop=stop_after_delay(60), reraise=True)(attempt)
