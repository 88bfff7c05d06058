"""What one cycle of the scaler costs on a cluster of 1,000 workloads with 5,000 pods, against one of 250.

Run: python -m bench.cluster_scale [--sizes 250 1000] [--cycles 20] [--json OUT]

It needs KUBECONFIG, the API server's audit log, fake nodes fake-0 to fake-9 (kwok), and no other scaler that acts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import yaml

from bench import fake_load
from bench.fake_process import ROOT, ScalerProcess, running_scaler, service_account, unix_now, user_name
from bench.fake_workloads import create, delete, workloads_in
from scaler.domain import Source
from scaler.forecast_cycle import ForecastCycleConfig
from scaler.kube.api import Conflict, KubeApi, NotFound, connect
from scaler.kube.objects import MetadataObject, metadata_object
from scaler.kube.resources import DEPLOYMENTS, LEASES, PODS, PREDICTIVE_SCALERS, Resource
from scaler.kube.watch import Reflector
from scaler.replay.model_server import running_model_server
from tests.prometheus_binary import prometheus_folder

TICK_SECONDS: Final = 15.0
FORECAST_PERIOD: Final = ForecastCycleConfig().longest_period
# A whole period: each kind of work, as often as ever.
CYCLES: Final = round(FORECAST_PERIOD.total_seconds() / TICK_SECONDS)
SETTLING_SECONDS: Final = 45.0  # in which the first forecasts move the first floors, each with a record to be made
SETTLE_SECONDS: Final = 240.0
START_SECONDS: Final = 180.0
MAX_CPU_SECONDS: Final = 0.3
MAX_RSS_MB: Final = 250.0
MIN_FLOORS: Final = 100

_DEFINITIONS: Final = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition")


@dataclass(frozen=True, slots=True)
class Calls:
    """Requests to the API server by verb and resource, the floors among them, and how many were answered 429."""

    counts: Mapping[str, int] = field(default_factory=dict)
    floors: frozenset[str] = frozenset()
    first_floor: float = 0.0
    last_floor: float = 0.0
    throttled: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """One size. CPU, calls and queries are of one cycle.

    Attributes:
        first_decision, all_decided, all_forecast: Seconds from the start of the process to the first decision, to one
            on each workload, to a forecast behind each.
        burst_floors, burst_seconds: Floors written in the tick that first had forecasts, and the time that took.
        fresh_forecasts: Workloads whose newest decision rests on a forecast of the model that is no older than two
            periods.
        yardstick_seconds: CPU time that a fixed piece of work took this machine in the same minutes, mean.
        apf_wait_seconds: Time that requests of all service accounts waited in the API server's queues.
    """

    workloads: int
    pods: int
    first_decision: float
    all_decided: float
    all_forecast: float
    fresh_forecasts: int
    floors: int
    burst_floors: int
    burst_seconds: float
    cpu_seconds: tuple[float, ...]
    yardstick_seconds: float
    rss_mb: float
    peak_rss_mb: float
    calls: Mapping[str, float]
    queries: float
    range_queries: float
    answer_kb: float
    log_kb: float
    throttled: int
    apf_wait_seconds: float

    @property
    def cpu_mean(self) -> float:
        """CPU seconds of a cycle."""
        return statistics.fmean(self.cpu_seconds)


class Pods:
    """The pods that stand, from a watch: what the exporter shows."""

    def __init__(self, api: KubeApi, namespaces: Sequence[str], stop: threading.Event) -> None:
        self._reflector: Reflector[MetadataObject] = Reflector(
            api=api, resource=PODS, read=metadata_object, namespaces=tuple(namespaces), metadata_only=True
        )
        self._reflector.start(stop)

    def wait(self, count: int, stop: threading.Event) -> None:
        """Wait until so many stand."""
        _until(lambda: len(self._reflector.cache) >= count, SETTLE_SECONDS, f"{count} pods", stop)

    def __call__(self) -> list[fake_load.Pod]:
        """List them, each with the number of its workload."""
        return [
            (pod.meta.namespace, pod.meta.name, int(pod.meta.labels["app"][1:]))
            for pod in self._reflector.cache.values()
            if not pod.meta.deleting
        ]


class Audit:
    """The API server's audit log, also where it was rotated meanwhile."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise SystemExit(f"cluster_scale: no audit log of the API server at {path}; name it with --audit-log")
        self._path = path

    def calls(self, user: str, start: float, end: float) -> Calls:
        """What one user asked for between two Unix times."""
        counts: Counter[str] = Counter()
        floors: dict[str, float] = {}
        throttled = 0
        for at, event in self._events(user):
            if not start <= at < end or (event["stage"] == "ResponseComplete") == (event["verb"] == "watch"):
                continue
            reference = event.get("objectRef") or {}
            kind = "/".join(filter(None, (reference.get("resource"), reference.get("subresource"))))
            status = (event.get("responseStatus") or {}).get("code", 0)
            counts[f"{event['verb']} {kind or event['requestURI']}"] += 1
            throttled += status == 429
            if event["verb"] == "patch" and kind in {"deployments/scale", "horizontalpodautoscalers"} and status < 300:
                floors.setdefault(f"{kind} {reference['namespace']}/{reference['name']}", at)
        times = sorted(floors.values())
        first, last = (times[0], times[-1]) if times else (0.0, 0.0)
        return Calls(dict(counts), frozenset(floors), first, last, throttled)

    def _events(self, user: str) -> Iterator[tuple[float, dict[str, Any]]]:
        needle = user.encode()
        for path in sorted(self._path.parent.glob(f"{self._path.stem}*{self._path.suffix}")):
            with path.open("rb") as file:
                for line in file:
                    if needle in line and line.endswith(b"\n"):
                        event = json.loads(line)
                        yield datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp(), event


@dataclass(slots=True)
class Progress:
    """Follows the log of a scaler that starts."""

    scaler: ScalerProcess
    decided: dict[str, dict[str, Any]] = field(default_factory=dict)
    first: float | None = None

    def look(self) -> None:
        """Read on; a process that ended says why."""
        if not self.scaler.alive:
            raise AssertionError(f"the scaler has ended; the end of its log:\n{self.scaler.tail()}")
        for row in self.scaler.new_rows():
            if row["event"] == "decision":
                self.decided[row["key"]] = row
                self.first = _seconds(row["time"]) if self.first is None else self.first
            elif row["event"] in {"tick_failed", "tick_held", "metric_unavailable", "kube_retry", "forecast_failed"}:
                print(f"  scaler: {json.dumps(row)[:300]}", file=sys.stderr)

    def fresh(self) -> int:
        """Workloads whose newest decision rests on a fresh forecast of the model."""
        return sum(
            row["forecast_source"] == Source.MODEL
            and row["forecast_age_seconds"] <= 2 * FORECAST_PERIOD.total_seconds()
            for row in self.decided.values()
        )


@dataclass(frozen=True, slots=True)
class Stage:
    """Servers and cluster that the scaler works with."""

    api: KubeApi
    audit: Audit
    folder: Path
    prometheus_url: str
    model_url: str
    stop: threading.Event


@contextmanager
def staged(sizes: Sequence[int], prefix: str, audit: Audit, stop: threading.Event) -> Iterator[Stage]:
    """Make all workloads and their load; gives what a scaler needs, and takes it all away again."""
    programs, api = prometheus_folder(), connect(user_agent="bench")
    namespaces = [f"{prefix}-{size}" for size in sizes]
    workloads = [w for namespace, size in zip(namespaces, sizes, strict=True) for w in workloads_in(namespace, size)]
    count = sum(len(workload.pods) for workload in workloads)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ai-hpa-")))
        stack.callback(delete, api, namespaces)
        stack.callback(stop.set)
        _ensure_definition(api)
        with _timed(f"{len(workloads)} Deployments with {count} pods made"):
            create(api, workloads)
        pods = Pods(api, namespaces, stop)
        pods.wait(count, stop)
        load = fake_load.RecordedLoad(unix_now() - fake_load.REACH)
        with _timed("their past written"):
            end = fake_load.backfill(
                programs, folder, lambda file: fake_load.write_past(file, workloads, load, unix_now())
            )
        address = stack.enter_context(fake_load.serving(fake_load.Exporter(load, pods, end)))
        url = stack.enter_context(fake_load.prometheus(programs, folder, [address]))
        model = stack.enter_context(running_model_server())
        yield Stage(api, audit, folder, url, model, stop)


def _ensure_definition(api: KubeApi) -> None:
    """Make the CustomResourceDefinition where it is missing; it stays."""
    definition = yaml.safe_load((ROOT / "deploy" / "crd" / "predictivescalers.yaml").read_text())
    with suppress(Conflict):
        api.create(_DEFINITIONS, None, definition)
        _until(lambda: _is_served(api), START_SECONDS, "PredictiveScalers are served", threading.Event())


def _is_served(api: KubeApi) -> bool:
    try:
        api.list(PREDICTIVE_SCALERS, "default")
    except NotFound:
        return False
    return True


def measure(stage: Stage, size: int, prefix: str, cycles: int) -> Measured:
    """Run the scaler over one namespace, from its start to so many cycles after the first forecasts."""
    namespace = f"{prefix}-{size}"
    _wait_settled(stage, namespace, size)
    # As an earlier leader gave it back: one that is missing is waited for as if somebody held it.
    stage.api.create(LEASES, namespace, {"metadata": {"name": "ai-hpa-scaler"}, "spec": {"holderIdentity": ""}})
    settings = {
        "NAMESPACES": namespace,
        "POD_NAMESPACE": namespace,
        "POD_NAME": f"bench-{size}",
        "PROMETHEUS_URL": stage.prometheus_url,
        "FORECASTER_URL": stage.model_url,
    }
    with (
        service_account(stage.api, namespace, stage.folder) as kubeconfig,
        running_scaler(kubeconfig, stage.folder, settings) as scaler,
    ):
        progress = Progress(scaler)
        decided = _follow(stage, progress, lambda: len(progress.decided) >= size, f"{size} decisions") - scaler.started
        forecast = _follow(stage, progress, lambda: progress.fresh() >= size, f"{size} forecasts") - scaler.started
        stage.stop.wait(SETTLING_SECONDS)
        steady = _steady(stage, progress, user_name(namespace), cycles)
        whole = stage.audit.calls(user_name(namespace), scaler.started, unix_now())
        return Measured(
            workloads=size,
            pods=len(stage.api.list(PODS, namespace, metadata_only=True).items),
            first_decision=(progress.first or 0.0) - scaler.started,
            all_decided=decided,
            all_forecast=forecast,
            fresh_forecasts=progress.fresh(),
            floors=len(whole.floors),
            rss_mb=scaler.rss_bytes / 2**20,
            peak_rss_mb=scaler.peak_rss_bytes / 2**20,
            throttled=whole.throttled,
            **_burst(stage.audit, user_name(namespace), scaler.started, whole.first_floor),
            **steady,
        )


def _burst(audit: Audit, user: str, start: float, first: float) -> dict[str, Any]:
    """Writes of the tick that wrote the first floors."""
    burst = audit.calls(user, start, first + 0.9 * TICK_SECONDS) if first else Calls()
    return {"burst_floors": len(burst.floors), "burst_seconds": burst.last_floor - burst.first_floor}


def _steady(stage: Stage, progress: Progress, user: str, cycles: int) -> dict[str, Any]:
    """Watch some cycles go by."""
    scaler = progress.scaler
    start, asked, waited = unix_now(), fake_load.queries(stage.prometheus_url), _apf_wait_seconds()
    logged, begin = scaler.log.stat().st_size, time.monotonic()
    cpu, yardsticks = [scaler.cpu_seconds], []
    for cycle in range(1, cycles + 1):
        yardsticks.append(_yardstick_seconds())
        stage.stop.wait(begin + cycle * TICK_SECONDS - time.monotonic())
        cpu.append(scaler.cpu_seconds)
        progress.look()
    calls, now_asked = stage.audit.calls(user, start, unix_now()), fake_load.queries(stage.prometheus_url)
    per_cycle = {name: (now_asked[name] - asked[name]) / cycles for name in asked}
    return {
        "cpu_seconds": tuple(round(after - before, 3) for before, after in pairwise(cpu)),
        "yardstick_seconds": statistics.fmean(yardsticks),
        "calls": {name: count / cycles for name, count in sorted(calls.counts.items())},
        "queries": per_cycle["query"],
        "range_queries": per_cycle["query_range"],
        "answer_kb": per_cycle["bytes"] / 1024,
        "log_kb": (scaler.log.stat().st_size - logged) / cycles / 1024,
        "apf_wait_seconds": _apf_wait_seconds() - waited,
    }


def _yardstick_seconds() -> float:
    """CPU seconds for reading 50,000 samples out of JSON: virtual machines differ by half from one hour to the next."""
    row = {"metric": {"namespace": "bench", "pod": "w0001-5d9c7b6f4-abcde"}, "value": [1764300000.123, "0.123456789"]}
    answer = json.dumps([row] * 5_000)
    begin = time.thread_time()
    for _ in range(10):
        rows = json.loads(answer)
        {(row["metric"]["namespace"], row["metric"]["pod"], n): float(row["value"][1]) for n, row in enumerate(rows)}
    return time.thread_time() - begin


def _apf_wait_seconds() -> float:
    """Seconds that requests of service accounts have waited in the API server's queues so far."""
    command = ["kubectl", "get", "--raw", "/metrics"]  # in the PATH of whoever has a KUBECONFIG
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    name = "apiserver_flowcontrol_request_wait_duration_seconds_sum"
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith(name) and 'flow_schema="service-accounts"' in line
    )


def _wait_settled(stage: Stage, namespace: str, size: int) -> None:
    """Wait until the Deployments' controller has nothing left to write."""

    def settled() -> bool:
        items = stage.api.list(DEPLOYMENTS, namespace).items
        replicas = [(item.get("status") or {}).get("readyReplicas") for item in items]
        return len(items) == size and all(replicas)

    with _timed(f"{namespace}: every Deployment shows its pods"):
        _until(settled, SETTLE_SECONDS, f"the Deployments of {namespace} show their pods", stage.stop)


def _follow(stage: Stage, progress: Progress, done: Callable[[], bool], what: str) -> float:
    """Read the scaler's log until something stands in it; gives the time of that line."""

    def look() -> bool:
        progress.look()
        return done()

    _until(look, START_SECONDS, what, stage.stop)
    return max(_seconds(row["time"]) for row in progress.decided.values())


def _until(look: Callable[[], bool], seconds: float, what: str, stop: threading.Event) -> None:
    end = time.monotonic() + seconds
    while not look():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        stop.wait(0.5)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


@contextmanager
def _timed(what: str) -> Iterator[None]:
    begin = time.monotonic()
    yield
    print(f"{time.monotonic() - begin:6.1f} s  {what}", file=sys.stderr, flush=True)


def run(
    sizes: Sequence[int], cycles: int = CYCLES, *, audit_log: Path, prefix: str = "bench-scale"
) -> tuple[Measured, ...]:
    """Measure all sizes, in workloads that are there all the time.

    Args:
        sizes: Workloads of each namespace.
        cycles: Of each measurement, once every workload has a forecast.
        audit_log: The API server's.
        prefix: Of the namespaces.
    """
    stop = threading.Event()
    with staged(sizes, prefix, Audit(audit_log), stop) as stage:
        return tuple(measure(stage, size, prefix, cycles) for size in sizes)


def table(measured: Sequence[Measured]) -> str:
    """What was measured, a column for each size."""
    calls = sorted({name for m in measured for name in m.calls})
    rows: list[tuple[str, Callable[[Measured], str]]] = [
        ("pods", lambda m: f"{m.pods:,}"),
        ("CPU seconds of a cycle, mean", lambda m: f"{m.cpu_mean:.3f}"),
        ("CPU seconds of a cycle, p50", lambda m: f"{statistics.median(m.cpu_seconds):.3f}"),
        ("CPU seconds of a cycle, max", lambda m: f"{max(m.cpu_seconds):.3f}"),
        ("CPU seconds of the yardstick, mean", lambda m: f"{m.yardstick_seconds:.3f}"),
        ("a cycle in yardsticks", lambda m: f"{m.cpu_mean / m.yardstick_seconds:.2f}"),
        ("RSS, MiB", lambda m: f"{m.rss_mb:.0f}"),
        ("RSS, MiB, peak", lambda m: f"{m.peak_rss_mb:.0f}"),
        ("fresh forecasts used", lambda m: f"{m.fresh_forecasts:,}"),
        ("floors written", lambda m: f"{m.floors:,}"),
        ("start to first decision, s", lambda m: f"{m.first_decision:.1f}"),
        ("start to a decision on all, s", lambda m: f"{m.all_decided:.1f}"),
        ("start to a forecast behind all, s", lambda m: f"{m.all_forecast:.1f}"),
        ("first burst of floors", lambda m: f"{m.burst_floors} in {m.burst_seconds:.1f} s"),
        ("Prometheus queries of a cycle, instant", lambda m: f"{m.queries:.1f}"),
        ("Prometheus queries of a cycle, range", lambda m: f"{m.range_queries:.1f}"),
        ("KiB of their answers", lambda m: f"{m.answer_kb:.0f}"),
        ("KiB of log of a cycle", lambda m: f"{m.log_kb:.0f}"),
        ("API calls of a cycle", lambda m: f"{sum(m.calls.values()):.1f}"),
        *((f"- {name}", lambda m, name=name: f"{m.calls.get(name, 0.0):.1f}") for name in calls),
        ("answered 429", lambda m: str(m.throttled)),
        ("seconds waited in the API server's queues", lambda m: f"{m.apf_wait_seconds:.2f}"),
    ]
    lines = ["| what | " + " | ".join(f"{m.workloads:,} workloads" for m in measured) + " |"]
    lines.append("| --- |" + " --- |" * len(measured))
    lines += [f"| {name} | " + " | ".join(read(m) for m in measured) + " |" for name, read in rows]
    return "\n".join(lines)


def failures(measured: Sequence[Measured]) -> list[str]:
    """What does not work as it should, however fast the machine is; empty where all does."""
    small, large = measured[0], measured[-1]
    ratio = large.workloads / small.workloads
    checks = [
        (large.fresh_forecasts == large.workloads, f"{large.fresh_forecasts} fresh forecasts of {large.workloads}"),
        (large.floors >= MIN_FLOORS, f"{large.floors} floors written, at least {MIN_FLOORS} expected"),
        (large.rss_mb <= MAX_RSS_MB, f"{large.rss_mb:.0f} MiB RSS, at most {MAX_RSS_MB:.0f}"),
        (
            large.cpu_mean <= ratio * small.cpu_mean,
            f"CPU of a cycle grows {large.cpu_mean / small.cpu_mean:.2f} times over {ratio:.0f} times the workloads",
        ),
        (
            sum(large.calls.values()) <= large.workloads / 4,
            f"{sum(large.calls.values()):.0f} API calls a cycle for {large.workloads} workloads",
        ),
        (large.queries + large.range_queries <= 2 * (small.queries + small.range_queries), "queries grow by workload"),
        (large.throttled == 0, f"{large.throttled} calls were answered 429"),
    ]
    return [what for holds, what in checks if not holds]


def main() -> None:
    """Print the table, and what fails: the CPU of a cycle too, which a test never asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[250, 1000])
    parser.add_argument("--cycles", type=int, default=CYCLES)
    home = Path(os.environ.get("LAB_HOME") or Path.home() / ".cache" / "lab")
    parser.add_argument("--audit-log", type=Path, default=home / "log" / "audit.log", help="the API server's")
    parser.add_argument("--prefix", default="bench-scale", help="of the namespaces")
    parser.add_argument("--json", type=Path, help="also write what was measured there")
    options = parser.parse_args()
    measured = run(options.sizes, options.cycles, audit_log=options.audit_log, prefix=options.prefix)
    print(table(measured))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(m) for m in measured], indent=1) + "\n")
    failed = failures(measured)
    if measured[-1].cpu_mean > MAX_CPU_SECONDS:
        failed.append(f"{measured[-1].cpu_mean:.3f} CPU seconds a cycle, at most {MAX_CPU_SECONDS}")
    if failed:
        raise SystemExit("\n".join(f"cluster_scale: {what}" for what in failed))


if __name__ == "__main__":
    main()
