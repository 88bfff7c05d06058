"""The scaler as processes of this machine against a real cluster, and what its floors did meanwhile.

The load is a preset: a PromQL text of time alone, which the real Prometheus evaluates for any time. So there is a past
to forecast from at once, and the load is known exactly. It changes where a test edits a workload's annotations.
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import httpx

from bench.echo_workloads import container, opt_in, stateful_set
from scaler.kube.api import KubeApi, connect
from scaler.kube.resources import HPAS, STATEFUL_SETS
from scaler.replay.model_server import running_model_server
from tests.e2e.install import ROOT, SYSTEM
from tests.e2e.proxy import Proxy, Upstream, proxy_before, write_kubeconfig
from tests.e2e.tools import Json, Kubectl, eventually, now

PROMETHEUS: Final = os.environ.get("AI_HPA_E2E_PROMETHEUS_FROM_HERE") or "http://127.0.0.1:9090"
SAMPLE_SECONDS: Final = 0.5
END_SECONDS: Final = 15.0
# As short as the settings allow, so that an outage of many of each fits into a minute.
SHORT: Final[Mapping[str, str]] = {
    "TICK_SECONDS": "1",
    "FORECAST_PERIOD_SECONDS": "15",
    "FORECAST_PERIOD_MAX_SECONDS": "15",
    "FORECAST_DEADLINE_SECONDS": "3",
    "FORECAST_RETRY_SECONDS": "2",
    "FORECAST_WAKE_AHEAD_SECONDS": "2",
    "METRIC_DELAY_SECONDS": "15",
    "METRIC_FRESHNESS_SECONDS": "15",
    "RATE_WINDOW_SECONDS": "20",
    "SCALE_DOWN_STABILIZATION_WINDOW_SECONDS": "20",
    "RATE_LIMIT_PERIOD_SECONDS": "5",
    "PROMETHEUS_TIMEOUT_SECONDS": "2",
}
STABILIZATION: Final = 20.0


@dataclass(frozen=True, slots=True)
class Wave:
    """A load that is a known function of time: `mean + amplitude * sin(2 pi (t - rising) / period)`.

    Attributes:
        rising: Unix time at which it rises through its mean.
        period: Seconds.
    """

    mean: float
    amplitude: float = 0.0
    rising: float = 0.0
    period: float = 3600.0

    def at(self, seconds: float) -> float:
        return self.mean + self.amplitude * math.sin(2 * math.pi * (seconds - self.rising) / self.period)

    def query(self, pods: Sequence[str], namespace: str) -> str:
        """PromQL: the whole load on the first pod of each workload, and nothing on the others.

        Every pod that may ever stand has a value, so that none is unseen; those that do not stand count for nobody.
        """
        swing = f"{self.amplitude} * sin({2 * math.pi / self.period} * (vector(time()) - {self.rising:.0f}))"
        values = [(pod, f"({self.mean} + {swing})" if pod.endswith("-0") else "vector(0)") for pod in pods]
        return " or ".join(
            f'label_replace(label_replace({value}, "namespace", "{namespace}", "", ""), "pod", "{pod}", "", "")'
            for pod, value in values
        )


def presets(waves: Mapping[str, Wave], *, workloads: Sequence[str], namespace: str, pods: int = 15) -> str:
    """The setting PROMETHEUS_PRESETS, for StatefulSets of up to so many pods."""
    names = [f"{workload}-{number}" for workload in workloads for number in range(pods)]
    return json.dumps({name: wave.query(names, namespace) for name, wave in waves.items()})


def wave_set(name: str, *, metric: str, target: float, **settings: str) -> Json:
    """A StatefulSet in mode on whose load is a preset; its pods start all at once."""
    chosen = {"mode": "on", "metric": metric, "target": f"{target:g}", "max_replicas": "10", "lead_time": "15s"}
    document = stateful_set(name, container(cpu="2m"), annotations=opt_in(**(chosen | settings)))
    document["spec"]["podManagementPolicy"] = "Parallel"
    return document


class ScalerProcess:
    """`ai-hpa run` as a process of this machine."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path, port: int) -> None:
        self.name, self.process, self.log, self.port = name, process, log, port
        self._rows: list[Json] = []
        self._read = 0

    @property
    def agent(self) -> str:
        """As the API server's audit log has it."""
        return f"ai-hpa/{self.name}"

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def rows(self, event: str = "", since: datetime | None = None) -> list[Json]:
        """Lines of its log, oldest first."""
        with self.log.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                with suppress(ValueError):
                    self._rows.append(json.loads(line))
        start = since.isoformat() if since is not None else ""
        return [row for row in self._rows if event in {"", row.get("event")} and row["time"] >= start]

    def decisions(self, workload: str, since: datetime | None = None) -> list[Json]:
        """Decisions on one workload, named by its own name."""
        return [row for row in self.rows("decision", since) if row["key"].rpartition("/")[2] == workload]

    def decided(self, workload: str, is_so: Callable[[Json], bool], *, since: datetime, within: float) -> Json:
        """Wait for a decision."""
        look = lambda: next((row for row in self.decisions(workload, since) if is_so(row)), None)  # noqa: E731
        try:
            return eventually(look, within=within, what=f"{self.name} decides so on {workload}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    def answers(self, path: str) -> bool:
        """Whether a probe is content."""
        with suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=3, trust_env=False).status_code == 200
        return False

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> float:
        """Ask it to end, as a kubelet does; give the seconds that it took."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(END_SECONDS)
        return time.monotonic() - begin

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def tail(self, lines: int = 12) -> str:
        return "\n".join(json.dumps(row) for row in self.rows()[-lines:])


@contextmanager
def running_scaler(
    folder: Path, name: str, *, kubeconfig: Path, namespace: str, settings: Mapping[str, str]
) -> Iterator[ScalerProcess]:
    """Run one replica, whose Lease stands in `namespace`, the only one that it looks after."""
    port = free_port()
    chosen = {
        "POD_NAME": name,
        "POD_NAMESPACE": namespace,
        "NAMESPACES": namespace,
        "HTTP_PORT": str(port),
        "PROMETHEUS_URL": PROMETHEUS,
        **SHORT,
        **settings,
    }
    # The suite's own variables bear the prefix of the settings, which know no other names.
    env = {key: value for key, value in os.environ.items() if not key.startswith("AI_HPA_")}
    env |= {f"AI_HPA_{key}": value for key, value in chosen.items()} | {"KUBECONFIG": str(kubeconfig)}
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "scaler", "run", "--log-level", "debug"],  # every decision, also one like the last
            cwd=ROOT,
            env=env,
            stderr=output,
            start_new_session=True,
        )
    scaler = ScalerProcess(name, process, log, port)
    try:
        yield scaler
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)  # one that was stopped hears of nothing else
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            scaler.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Look:
    """What stood at one moment, by the StatefulSet's name."""

    at: datetime
    floors: Mapping[str, int]
    replicas: Mapping[str, int]
    ready: Mapping[str, int]


@dataclass(slots=True)
class Recorder:
    """Samples floors and pods of all StatefulSets of a namespace twice a second, past every fault."""

    kubeconfig: Path
    namespace: str
    looks: list[Look] = field(default_factory=list)
    failures: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Recorder:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10)

    def between(self, start: datetime, end: datetime | None = None) -> list[Look]:
        return [look for look in self.looks if look.at >= start and (end is None or look.at <= end)]

    def floors(self, workload: str, start: datetime, end: datetime | None = None) -> list[int]:
        """Floors that stood, oldest first; the one that stood at `start` is the first."""
        before = [look for look in self.looks if look.at < start][-1:]
        return [look.floors[workload] for look in (*before, *self.between(start, end)) if workload in look.floors]

    def floor(self, workload: str) -> int:
        return self.looks[-1].floors.get(workload, 0) if self.looks else 0

    def ready(self, workload: str) -> int:
        return self.looks[-1].ready.get(workload, 0) if self.looks else 0

    def _run(self) -> None:
        api = connect(kubeconfig=str(self.kubeconfig), user_agent="e2e-recorder")
        while not self._stop.wait(SAMPLE_SECONDS):
            try:
                self.looks.append(self._look(api))
            except Exception:  # noqa: BLE001 - a look that fails is one that is missing
                self.failures += 1

    def _look(self, api: KubeApi) -> Look:
        sets = api.list(STATEFUL_SETS, self.namespace).items
        hpas = api.list(HPAS, self.namespace).items
        replicas = {item["metadata"]["name"]: int(item["spec"].get("replicas", 1)) for item in sets}
        ready = {item["metadata"]["name"]: int(item.get("status", {}).get("readyReplicas", 0)) for item in sets}
        minimum = {item["spec"]["scaleTargetRef"]["name"]: int(item["spec"].get("minReplicas", 1)) for item in hpas}
        return Look(now(), replicas | minimum, replicas, ready)


@contextmanager
def alone_on(kubectl: Kubectl) -> Iterator[None]:
    """No other scaler acts meanwhile: one that is installed rests."""
    kubectl("apply", "-f", str(ROOT / "deploy" / "crd" / "predictivescalers.yaml"))
    found = kubectl.find("deployment", "ai-hpa-scaler", SYSTEM)
    if found is None:
        yield
        return
    replicas = found["spec"]["replicas"]
    kubectl("scale", "deployment/ai-hpa-scaler", "-n", SYSTEM, "--replicas=0")
    selector = "app.kubernetes.io/name=ai-hpa,app.kubernetes.io/component=scaler"
    eventually(lambda: not kubectl.items("pods", SYSTEM, selector), within=60, what="the installed scaler has ended")
    try:
        yield
    finally:
        kubectl("scale", "deployment/ai-hpa-scaler", "-n", SYSTEM, f"--replicas={replicas}", check=False)


def seconds_between(start: datetime, row: Json) -> float:
    """From a moment to a line of the log."""
    return (datetime.fromisoformat(row["time"]) - start).total_seconds()


def annotate(kubectl: Kubectl, namespace: str, workload: str, **settings: str) -> datetime:
    """Change a workload's settings as its user would; give the time just before."""
    at = now()
    kubectl.patch("statefulset", workload, namespace, {"metadata": {"annotations": opt_in(**settings)}})
    return at


def condition(kubectl: Kubectl, namespace: str, scaler: str, kind: str) -> Json:
    """One condition of a PredictiveScaler; empty where it is not said."""
    found = kubectl.find("predictivescaler", scaler, namespace) or {}
    conditions: list[Json] = found.get("status", {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == kind), {})


@dataclass(frozen=True, slots=True)
class Stage:
    """A namespace of StatefulSets, one replica of the scaler, and a proxy before each server that it talks to."""

    kubectl: Kubectl
    namespace: str
    folder: Path
    settings: Mapping[str, str]
    waves: Mapping[str, Wave]
    api: Proxy
    prometheus: Proxy
    model: Proxy
    scaler: ScalerProcess
    recorder: Recorder

    def annotate(self, workload: str, **settings: str) -> datetime:
        return annotate(self.kubectl, self.namespace, workload, **settings)

    def condition(self, workload: str, kind: str) -> Json:
        return condition(self.kubectl, self.namespace, f"statefulset-{workload}", kind)

    def stands_at(self, workload: str, floor: int, *, within: float) -> None:
        """Wait until a floor and so many ready pods stand."""
        recorder = self.recorder
        eventually(
            lambda: recorder.floor(workload) == floor and recorder.ready(workload) >= floor,
            within=within,
            what=f"{workload} stands at {floor}, is {recorder.looks[-1:]}\n{self.scaler.tail()}",
        )

    def never_below(self, workload: str, floor: int, start: datetime, end: datetime | None = None) -> None:
        """Neither the floor nor the ready pods were ever fewer."""
        looks = self.recorder.between(start, end)
        assert looks, "nothing was recorded"
        short = [look for look in looks if min(look.floors.get(workload, 0), look.ready.get(workload, 0)) < floor]
        assert not short, f"{workload} below {floor}: {short[0]}"


@contextmanager
def staged(
    kubectl: Kubectl, folder: Path, namespace: str, documents: Sequence[Json], waves: Mapping[str, Wave]
) -> Iterator[Stage]:
    """Put everything up, and take it down again."""
    admin = Path(os.environ["KUBECONFIG"])
    with ExitStack() as stack:
        stack.enter_context(alone_on(kubectl))
        kubectl("create", "namespace", namespace)
        stack.callback(kubectl, "delete", "namespace", namespace, "--wait=false")
        kubectl.apply(*documents, namespace=namespace)
        api = stack.enter_context(proxy_before(Upstream.of_kubeconfig(admin, folder)))
        prometheus = stack.enter_context(proxy_before(Upstream.of_url(PROMETHEUS)))
        model = stack.enter_context(proxy_before(Upstream.of_url(stack.enter_context(running_model_server()))))
        names = [document["metadata"]["name"] for document in documents if document["kind"] == "StatefulSet"]
        settings = {
            "PROMETHEUS_URL": prometheus.url,
            "FORECASTER_URL": model.url,
            "PROMETHEUS_PRESETS": presets(waves, workloads=names, namespace=namespace),
        }
        recorder = stack.enter_context(Recorder(admin, namespace))
        kubeconfig = write_kubeconfig(folder / "proxied", server=api.url)
        scaler = stack.enter_context(
            running_scaler(folder, "staged", kubeconfig=kubeconfig, namespace=namespace, settings=settings)
        )
        yield Stage(kubectl, namespace, folder, settings, waves, api, prometheus, model, scaler, recorder)
