"""Drives an HPA and a KPA of a real cluster with a known load and writes down what they did; it simulates nothing."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np

from bench.echo_workloads import container, deployment, hpa, knative_service, service
from bench.fake_process import unix_now
from bench.fake_workloads import NAMESPACES
from bench.load_pod import Load, burning
from bench.recording import Changes, MetricsLook, Recorded, Recording, by_whole_seconds, changes
from scaler.adapters.metrics_server import window_of
from scaler.kube.api import Json, KubeApi, KubeError
from scaler.kube.objects import quantity
from scaler.kube.resources import DEPLOYMENTS, HPAS, POD_METRICS, PODS, Resource

Profile = tuple[tuple[float, float], ...]

LEAD_SECONDS: Final = 120  # of load before second 0: the HPA's metrics and the KPA's windows are full by then
CPU, CONCURRENCY = "on-cpu", "on-concurrency"  # the two workloads
SERVICES: Final = Resource("", "v1", "services", "Service")
KNATIVE_SERVICES: Final = Resource("serving.knative.dev", "v1", "services", "Service")

REQUEST_MILLICORES: Final = 30
UTILIZATION: Final = 70
BURN_SECONDS: Final = 0.015
HPA_START_SECONDS: Final = 25
MAX_REPLICAS: Final = 12
TARGET_CORES: Final = REQUEST_MILLICORES / 1000 * UTILIZATION / 100

CONCURRENT: Final = 5
WAIT_SECONDS: Final = 2.0
KPA_START_SECONDS: Final = 8
TARGET_CONCURRENCY: Final = CONCURRENT * 0.7  # Knative's own share

# Seconds, and pods at their target that the load is worth from then on.
HPA_PODS: Final[Profile] = (
    (0, 0.8),
    (40, 2.6),  # a step
    (110, 9.0),  # a step beyond what one period may add
    (200, 4.0),  # a fall that is over before the stabilization window is
    *((270 + 25 * i, 5.0 + i) for i in range(7)),  # a ramp up to 11
    (450, 2.0),  # a fall that lasts
    (810, 7.0),  # a spike
    (840, 2.0),
    (900, 0.0),
)
KPA_PODS: Final[Profile] = (
    (0, 1.6),
    (40, 2.6),  # a step without a panic
    *((110 + 20 * i, 3.0 + 0.44 * i) for i in range(10)),  # a ramp up to 7
    (320, 3.0),
    (410, 10.0),  # a spike with a panic
    (455, 3.0),
    (560, 1.0),
    (620, 8.0),  # a step that one pod cannot serve: requests wait
    (700, 0.0),  # to zero, and up again
    (830, 1.5),
    (900, 0.0),
)


def requests_per_second(pods: Profile, per_pod: float, seconds: float) -> Profile:
    """Turn a profile in pods into requests a second, with the lead before it and an end."""
    within = [(at, count * per_pod) for at, count in pods if at < seconds]
    return ((-LEAD_SECONDS, within[0][1]), *within, (seconds, 0.0))


class _Setting(NamedTuple):
    """What a recording says of a workload; its fields are those of `Recorded`."""

    name: str
    per_request: float
    capacity: float
    target_utilization: float
    min_replicas: int


_HPA_SETTING: Final = _Setting(CPU, BURN_SECONDS, REQUEST_MILLICORES / 1000, UTILIZATION / 100, 1)
_KPA_SETTING: Final = _Setting(CONCURRENCY, WAIT_SECONDS, CONCURRENT, TARGET_CONCURRENCY / CONCURRENT, 0)


class _Sent(NamedTuple):
    """What a load generator sent; its fields are those of `Recorded`."""

    begun: tuple[float, ...]
    in_flight: tuple[float, ...]
    failed: int
    slow: int


class Pod(NamedTuple):
    """One pod as it was last seen; Unix times."""

    workload: str
    made: float
    ready: float | None


@dataclass(slots=True)
class _Seen:
    """Everything seen so far of one workload, by Unix time."""

    desired: list[tuple[float, float]] = field(default_factory=list)
    ready: list[tuple[float, float]] = field(default_factory=list)
    told: list[tuple[float, float]] = field(default_factory=list)
    metrics: list[MetricsLook] = field(default_factory=list)


class Recorder:
    """One run in a namespace of its own."""

    def __init__(self, api: KubeApi, namespace: str, say: Callable[[str], None]) -> None:
        """Begin with nothing made.

        Args:
            api: Of the cluster.
            namespace: To be made, and deleted in the end.
            say: Told of progress, a line each.
        """
        self._api, self._namespace, self._say = api, namespace, say
        self._seen = {CPU: _Seen(), CONCURRENCY: _Seen()}
        self._pods: dict[str, Pod] = {}
        self._load_average: list[tuple[float, float]] = []
        self._pause = threading.Event()

    def record(self, *, echo: str, image: str, ingress: str, cluster: dict[str, str], seconds: int) -> Recording:
        """Make everything, drive it, look on, and delete it.

        Args:
            echo: Image of the echo server.
            image: One with Python, for the load generators and the server that burns CPU.
            ingress: `host:port` at which pods reach Knative's ingress.
            cluster: What the cluster does not say of itself.
            seconds: How long to record from second 0 on; shorter ones cut the load off.

        Raises:
            KubeError: The cluster does not take it.
            TimeoutError: The workloads did not get ready.
        """
        self._api.create(NAMESPACES, None, {"metadata": {"name": self._namespace}})
        try:
            host = self._set_up(echo, image)
            start = unix_now() + LEAD_SECONDS + 10
            profiles = {
                CPU: requests_per_second(HPA_PODS, TARGET_CORES / BURN_SECONDS, seconds),
                CONCURRENCY: requests_per_second(KPA_PODS, TARGET_CONCURRENCY / WAIT_SECONDS, seconds),
            }
            wait = f"/?wait={WAIT_SECONDS:g}s"
            loads = (
                Load(f"load-{CPU}", f"{CPU}.{self._namespace}:80", CPU, "/", start, profiles[CPU], say=1.0),
                Load(
                    f"load-{CONCURRENCY}",
                    ingress,
                    host,
                    wait,
                    start,
                    profiles[CONCURRENCY],
                    slow=2 * WAIT_SECONDS,
                    say=1.0,
                ),
            )
            for load in loads:
                self._api.create(PODS, self._namespace, load.pod(image))
            self._look_on(start, start + seconds)
            sent = {name: self._sent(f"load-{name}", seconds) for name in (CPU, CONCURRENCY)}
        finally:
            with suppress(KubeError):  # must not hide why it ended early
                self._api.delete(NAMESPACES, None, self._namespace)
        version = str(self._api.get_path("/version")["gitVersion"])
        return Recording(
            at=datetime.fromtimestamp(start, UTC).isoformat(timespec="seconds"),
            cluster={"Kubernetes": version} | cluster | {"CPUs": str(os.cpu_count())},
            lead_seconds=LEAD_SECONDS,
            seconds=seconds,
            hpa=self._recorded(_HPA_SETTING, start, sent[CPU]),
            kpa=self._recorded(_KPA_SETTING, start, sent[CONCURRENCY]),
            load_average=_since(start, self._load_average),
        )

    def _set_up(self, echo: str, image: str) -> str:
        """Make both workloads and wait for them; give the host of the Knative Service."""
        web = container(cpu=f"{REQUEST_MILLICORES}m", limit="2", slow_start=HPA_START_SECONDS)
        burns = burning(web, image, BURN_SECONDS)
        waits = container(echo, cpu="10m", limit="500m", slow_start=KPA_START_SECONDS)
        scaling = {
            "autoscaling.knative.dev/class": "kpa.autoscaling.knative.dev",
            "autoscaling.knative.dev/metric": "concurrency",
            "autoscaling.knative.dev/max-scale": str(MAX_REPLICAS),
        }
        for resource, body in (
            (DEPLOYMENTS, deployment(CPU, burns)),
            (HPAS, hpa(CPU, target=CPU, maximum=MAX_REPLICAS, utilization=UTILIZATION)),
            (SERVICES, service(CPU)),
            (KNATIVE_SERVICES, knative_service(CONCURRENCY, waits, annotations=scaling, concurrency=CONCURRENT)),
        ):
            self._api.create(resource, self._namespace, body)
        self._say("waiting for both workloads")
        end = time.monotonic() + 120
        while True:
            found = self._api.get(KNATIVE_SERVICES, self._namespace, CONCURRENCY).get("status") or {}
            conditions = {c["type"]: c["status"] for c in found.get("conditions", ())}
            if conditions.get("Ready") == "True" and self._ready(self._deployments().get(CPU)) > 0:
                return str(found["url"]).removeprefix("http://")
            if time.monotonic() > end:
                raise TimeoutError(f"the workloads in {self._namespace} were not ready within 120 s: {conditions}")
            self._pause.wait(1)

    def _look_on(self, start: float, end: float) -> None:
        """Look at everything once a second."""
        said = metrics = 0.0
        while (now := unix_now()) < end:
            try:
                self._look(now)
                if now - metrics >= 3:
                    metrics = now
                    self._read_metrics(now)
            except KubeError as error:
                self._say(f"{now - start:5.0f} s: a look failed: {error}")
            if now - said >= 30:
                said = now
                self._load_average.append((now, os.getloadavg()[0]))
                newest = {name: (s.desired[-1][1], s.ready[-1][1]) for name, s in self._seen.items() if s.desired}
                self._say(f"{now - start:5.0f} s: (desired, ready) {newest}, load average {os.getloadavg()[0]:.1f}")
            self._pause.wait(max(0.0, 1 - (unix_now() - now)))

    def _look(self, now: float) -> None:
        for name, found in self._deployments().items():
            self._seen[name].desired.append((now, int(found["spec"]["replicas"])))
            self._seen[name].ready.append((now, self._ready(found)))
        status = self._api.get(HPAS, self._namespace, CPU).get("status") or {}
        for metric in status.get("currentMetrics") or ():
            used = metric.get("resource", {}).get("current", {}).get("averageUtilization")
            if used is not None:
                self._seen[CPU].told.append((now, int(used)))
        for pod in self._api.list(PODS, self._namespace).items:
            labels = pod["metadata"].get("labels") or {}
            workload = labels.get("serving.knative.dev/service") or labels.get("app", "")
            if workload in self._seen:
                name = pod["metadata"]["name"]
                before = self._pods.get(name)
                ready = before.ready if before is not None and before.ready is not None else _ready_at(pod)
                self._pods[name] = Pod(workload, _unix(pod["metadata"]["creationTimestamp"]), ready)

    def _read_metrics(self, now: float) -> None:
        found = self._api.list(POD_METRICS, self._namespace, label_selector=f"app={CPU}").items
        if not found:
            return
        seen = self._seen[CPU]
        measured = min(_unix(item["timestamp"]) for item in found)
        if seen.metrics and seen.metrics[-1].measured == measured:
            return
        windows = [window_of(item["window"]).total_seconds() for item in found]
        cores = sum(quantity(c["usage"]["cpu"]) or 0.0 for item in found for c in item["containers"])
        ready = int(seen.ready[-1][1]) if seen.ready else 0
        seen.metrics.append(MetricsLook(now, measured, sum(windows) / len(windows), cores, len(found), ready))

    def _deployments(self) -> dict[str, Json]:
        """Of each workload; Knative names its own after the Revision."""
        found = {item["metadata"]["name"]: item for item in self._api.list(DEPLOYMENTS, self._namespace).items}
        names = {CPU: CPU, CONCURRENCY: f"{CONCURRENCY}-00001-deployment"}
        return {name: found[own] for name, own in names.items() if own in found}

    @staticmethod
    def _ready(found: Json | None) -> int:
        return int((found or {}).get("status", {}).get("readyReplicas") or 0)

    def _sent(self, pod: str, seconds: int) -> _Sent:
        """Read what a load generator says of itself."""
        command = ["kubectl", "logs", pod, "-n", self._namespace]
        text = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
        return sent_by(text, seconds)

    def _recorded(self, setting: _Setting, start: float, sent: _Sent) -> Recorded:
        seen = self._seen[setting.name]
        pods = [pod for pod in self._pods.values() if pod.workload == setting.name and pod.made > start - LEAD_SECONDS]
        return Recorded(
            sent=sent.begun,
            in_flight=sent.in_flight,
            failed=sent.failed,
            slow=sent.slow,
            per_request=setting.per_request,
            capacity=setting.capacity,
            target_utilization=setting.target_utilization,
            min_replicas=setting.min_replicas,
            max_replicas=MAX_REPLICAS,
            desired=_since(start, seen.desired),
            ready=_since(start, seen.ready),
            pods=tuple(sorted((p.made - start, p.ready - p.made) for p in pods if p.ready is not None)),
            metrics=tuple(_moved(look, start) for look in seen.metrics),
            told=_since(start, seen.told),
        )


def sent_by(log: str, seconds: int) -> _Sent:
    """Read the log of a load generator.

    Args:
        log: Lines of JSON, as `Load` writes them.
        seconds: Of the recording, from second 0 on.
    """
    rows = [json.loads(line) for line in log.splitlines()]
    within = [row for row in rows if row["at"] > -LEAD_SECONDS]
    begun, ended = (
        by_whole_seconds([(-LEAD_SECONDS, 0.0), *((row["at"], row[name]) for row in within)], -LEAD_SECONDS, seconds)
        for name in ("begun", "sent")
    )
    left = np.round(np.cumsum(begun) - np.cumsum(ended), 1)
    return _Sent(begun, tuple(left.tolist()), rows[-1]["failed"], rows[-1]["slow"])


def _since(start: float, seen: Sequence[tuple[float, float]]) -> Changes:
    return changes([(at - start, value) for at, value in seen])


def _moved(look: MetricsLook, start: float) -> MetricsLook:
    seen, measured = (round(at - start, 1) for at in (look.seen, look.measured))
    return MetricsLook(seen, measured, round(look.window, 2), round(look.cores, 4), look.pods, look.ready)


def _ready_at(pod: Json) -> float | None:
    """When a pod first became Ready, as far as its condition says."""
    for condition in pod.get("status", {}).get("conditions", ()):
        if condition["type"] == "Ready" and condition["status"] == "True":
            return _unix(condition["lastTransitionTime"])
    return None


def _unix(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()
