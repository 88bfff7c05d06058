"""CPU of pods that run nowhere, in a Prometheus of the benchmark's own: a recorded load, its past and its present."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final, TextIO

import httpx
import numpy as np
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from bench.fake_process import free_port, unix_now
from bench.fake_workloads import REPLICAS, TARGET_MILLICORES, FakeWorkload
from scaler.domain import FloatArray
from scaler.replay.traces import demo_trace

METRIC: Final = "container_cpu_usage_seconds_total"
SCRAPE_SECONDS: Final = 15
DAY: Final = 86400.0
REACH: Final = 8 * DAY  # how far back the past goes
CONTEXT: Final = 320 * 60.0  # more than the model looks back on, in steps of a minute
RECENT: Final = 900.0  # in which the pods of today ran; before it one pod per workload, and a sample a minute
MEAN_PODS: Final = 3.5  # that the mean load asks for

# Namespace, pod, and the number of its workload.
Pod = tuple[str, str, int]


class RecordedLoad:
    """Eight days of a real cluster's CPU at its real pace; each workload is at another place of it."""

    def __init__(self, begin: float) -> None:
        """Lay the record out over time.

        Args:
            begin: Unix time of the record's first sample, for workload 0.
        """
        trace = demo_trace()
        values = trace.values.copy()
        known = np.isfinite(values)
        values[~known] = np.interp(np.flatnonzero(~known), np.flatnonzero(known), values[known])
        cores = values / values.mean() * MEAN_PODS * TARGET_MILLICORES / 1000.0
        self._begin = begin
        self._step = trace.step.total_seconds()
        self._length = len(cores)
        twice = np.concatenate([cores, cores])
        self._used: FloatArray = np.concatenate([[0.0], np.cumsum(twice * self._step)])  # core-seconds

    def used(self, number: int, times: FloatArray | float) -> FloatArray:
        """Core-seconds that a workload used up to these Unix times, since some time of its own."""
        # A golden-ratio stride: neighbours are far apart, and no two workloads at one place.
        place = number * 0.6180339887 % 1.0 * self._length
        ticks = (np.asarray(times, dtype=float) - self._begin) / self._step
        laps = ticks // self._length * self._used[self._length]
        used: FloatArray = np.interp(ticks % self._length + place, np.arange(len(self._used)), self._used) + laps
        return used


def write_past(file: TextIO, workloads: Sequence[FakeWorkload], load: RecordedLoad, now: float) -> float:
    """Write the past as OpenMetrics; the last sample stands at the time that is given back.

    What the scaler asks for, and no more: the context, and the same a day and a week ago.
    """
    end = now // SCRAPE_SECONDS * SCRAPE_SECONDS
    handover = end // 60 * 60 - RECENT
    reach = 40 * 60.0  # of a forecast
    older = np.concatenate(
        [
            np.arange(end // 60 * 60 - season - CONTEXT, min(handover, end - season + reach), 60.0)
            for season in (7 * DAY, DAY, 0.0)
        ]
    )
    recent = np.arange(handover, end + 1, SCRAPE_SECONDS)
    file.write(f"# TYPE {METRIC} unknown\n")
    for workload in workloads:
        write_series(file, workload.namespace, workload.earlier_pod, older, load.used(workload.number, older))
        share = load.used(workload.number, recent) / REPLICAS
        for pod in workload.pods:
            write_series(file, workload.namespace, pod, recent, share)
    file.write("# EOF\n")
    return float(end)


def write_series(file: TextIO, namespace: str, pod: str, times: FloatArray, values: FloatArray) -> None:
    """Write one series in the order of time.

    Args:
        file: To write to.
        namespace: Of the pod.
        pod: Its name.
        times: Unix times. Shape (samples,).
        values: Core-seconds. Shape (samples,).
    """
    labels = _labels(namespace, pod)
    file.writelines(
        f"{labels} {value:.3f} {at:.0f}\n" for at, value in zip(times.tolist(), values.tolist(), strict=True)
    )


def _labels(namespace: str, pod: str) -> str:
    return f'{METRIC}{{namespace="{namespace}",pod="{pod}",container="app"}}'


@dataclass(slots=True)
class Exporter:
    """Counters of all pods that stand, as the kubelets of their nodes would show them.

    Attributes:
        pods: Those that stand now.
        since: Unix time at which the past ended.
    """

    load: RecordedLoad
    pods: Callable[[], Collection[Pod]]
    since: float
    clock: Callable[[], float] = unix_now
    _counters: dict[tuple[str, str], float] = field(init=False, default_factory=dict)
    _used: dict[tuple[str, int], float] = field(init=False, default_factory=dict)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def text(self) -> str:
        """Move all counters on to now; a workload's pods share its load."""
        with self._lock:
            members: dict[tuple[str, int], list[str]] = {}
            for namespace, pod, number in self.pods():
                members.setdefault((namespace, number), []).append(pod)
            counters: dict[tuple[str, str], float] = {}
            now = self.clock()
            for (namespace, number), pods in members.items():
                used = float(self.load.used(number, now))
                before = self._used.get((namespace, number))
                share = (used - (float(self.load.used(number, self.since)) if before is None else before)) / len(pods)
                for pod in pods:
                    start = float(self.load.used(number, self.since)) / REPLICAS if before is None else 0.0
                    counters[namespace, pod] = self._counters.get((namespace, pod), start) + share
                self._used[namespace, number] = used
            self._counters = counters
            return "".join(f"{_labels(*name)} {value:.3f}\n" for name, value in counters.items())


@contextmanager
def serving(exporter: Exporter) -> Iterator[str]:
    """Serve it; gives `host:port`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = exporter.text().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def backfill(programs: Path, folder: Path, write: Callable[[TextIO], float]) -> float:
    """Make Prometheus' blocks of a past; gives what `write` gave."""
    with (folder / "past.om").open("w") as file:
        end = write(file)
    command = [str(programs / "promtool"), "tsdb", "create-blocks-from", "openmetrics", "past.om", "data"]
    subprocess.run(command, cwd=folder, check=True, timeout=300, stdout=subprocess.DEVNULL)
    (folder / "past.om").unlink()
    return end


@contextmanager
def prometheus(programs: Path, folder: Path, targets: Sequence[str] = (), *, host: str = "127.0.0.1") -> Iterator[str]:
    """Run Prometheus over the blocks in `folder`, scraping `targets` alone; gives its URL."""
    scrape = {"job_name": "fake", "static_configs": [{"targets": list(targets)}]}
    every = {"scrape_interval": f"{SCRAPE_SECONDS}s", "scrape_timeout": "10s"}
    (folder / "prometheus.yml").write_text(json.dumps({"global": every, "scrape_configs": [scrape]}))
    url = f"{host}:{free_port()}"
    command = [
        str(programs / "prometheus"),
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        f"--web.listen-address={url}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        retry = retry_if_exception_type((AssertionError, httpx.HTTPError))
        for attempt in Retrying(retry=retry, wait=wait_fixed(0.2), stop=stop_after_delay(60), reraise=True):
            with attempt:
                httpx.get(f"http://{url}/-/ready", trust_env=False).raise_for_status()
        yield f"http://{url}"
    finally:
        process.terminate()
        process.wait(30)


def queries(url: str) -> Mapping[str, float]:
    """Queries that a Prometheus has answered so far, and the bytes of its answers, by what was asked for."""
    counts = {"query": 0.0, "query_range": 0.0, "bytes": 0.0}
    names = {f"/api/v1/{handler}": handler for handler in ("query", "query_range")}
    for line in httpx.get(f"{url}/metrics", trust_env=False).text.splitlines():
        handler = next((name for path, name in names.items() if f'handler="{path}"' in line), None)
        if handler is None:
            continue
        value = float(line.rpartition(" ")[2])
        if line.startswith("prometheus_http_requests_total"):
            counts[handler] += value
        elif line.startswith("prometheus_http_response_size_bytes_sum"):
            counts["bytes"] += value
    return counts
