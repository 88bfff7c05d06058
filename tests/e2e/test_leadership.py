"""Two replicas of the real scaler and one Lease: a leader that dies, hangs or leaves; and a restart in mid-scale.

The API server's audit log tells the writes of the two apart by their user agents.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count, groupby
from pathlib import Path

import pytest

from scaler.replay.model_server import running_model_server
from tests.e2e.processes import (
    STABILIZATION,
    Recorder,
    ScalerProcess,
    Wave,
    alone_on,
    annotate,
    presets,
    running_scaler,
    wave_set,
)
from tests.e2e.proxy import Fault, Proxy, Upstream, proxy_before
from tests.e2e.tools import AuditEvent, AuditLog, Kubectl, Report, eventually, now

NAMESPACE = "e2e-leadership"
TAKEN_OVER_WITHIN = 15.0
HANDED_OVER_WITHIN = 2.0


@dataclass(slots=True)
class Replicas:
    """A workload to write to, and what it takes to start replicas of the scaler."""

    kubectl: Kubectl
    folder: Path
    settings: dict[str, str]
    model: Proxy
    recorder: Recorder
    stack: ExitStack
    numbers: Iterator[int]

    def start(self, name: str) -> ScalerProcess:
        """Start one more, under a name that was never used before."""
        return self.stack.enter_context(
            running_scaler(
                self.folder,
                f"{name}-{next(self.numbers)}",
                kubeconfig=Path(os.environ["KUBECONFIG"]),
                namespace=NAMESPACE,
                settings=self.settings,
            )
        )

    def annotate(self, workload: str, **settings: str) -> datetime:
        return annotate(self.kubectl, NAMESPACE, workload, **settings)

    def one_more(self, within: float) -> float:
        """Ask for a floor higher by one; give the seconds until it stands."""
        floor, begin = self.recorder.floor("web") + 1, time.monotonic()
        self.annotate("web", min_replicas=str(floor))
        eventually(lambda: self.recorder.floor("web") == floor, within=within, what=f"the floor is raised to {floor}")
        return time.monotonic() - begin


@pytest.fixture(scope="module")
def bench(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    folder, admin = tmp_path_factory.mktemp("leadership"), Path(os.environ["KUBECONFIG"])
    waves = {"high": Wave(5.5), "low": Wave(1.5)}
    documents = [wave_set("web", metric="low", target=2.0), wave_set("shop", metric="high", target=2.0)]
    with ExitStack() as stack:
        stack.enter_context(alone_on(kubectl))
        kubectl("create", "namespace", NAMESPACE)
        stack.callback(kubectl, "delete", "namespace", NAMESPACE, "--wait=false")
        kubectl.apply(*documents, namespace=NAMESPACE)
        model = stack.enter_context(proxy_before(Upstream.of_url(stack.enter_context(running_model_server()))))
        settings = {
            "FORECASTER_URL": model.url,
            "FORECAST_DEADLINE_SECONDS": "30",
            "PROMETHEUS_PRESETS": presets(waves, workloads=("web", "shop"), namespace=NAMESPACE),
        }
        recorder = stack.enter_context(Recorder(admin, NAMESPACE))
        yield Replicas(kubectl, folder, settings, model, recorder, stack, count(1))


@pytest.fixture
def replicas(bench: Replicas) -> Iterator[Replicas]:
    """Each test ends the replicas that it started."""
    with ExitStack() as stack:
        bench.stack = stack
        yield bench


def _leads(scaler: ScalerProcess) -> bool:
    events = [row["event"] for row in scaler.rows() if row["event"] in {"lease_held", "lease_lost"}]
    return events[-1:] == ["lease_held"]


def _ready(scaler: ScalerProcess) -> bool:
    """Whether it stands by: it has seen the cluster, and its answer says so."""
    return scaler.answers("/readyz")


def _pair(replicas: Replicas) -> tuple[ScalerProcess, ScalerProcess]:
    first = replicas.start("a")
    eventually(lambda: _leads(first) and first.decisions("web"), within=40, what="the first one leads and decides")
    second = replicas.start("b")
    eventually(lambda: _ready(second), within=30, what="the second one stands by")
    return first, second


def _writes(audit: AuditLog, since: int, scalers: Sequence[ScalerProcess]) -> list[AuditEvent]:
    """What they wrote, but for the Lease, in the order in which it came in."""
    agents = {scaler.agent for scaler in scalers}
    events = [e for e in audit.events(since) if e.agent in agents and e.resource != "leases"]
    return sorted(events, key=lambda event: event.at)


def _writers(events: Sequence[AuditEvent]) -> list[str]:
    return [agent for agent, _ in groupby(event.agent for event in events)]


def test_when_the_leader_is_killed_the_other_acts_and_their_writes_never_mix(
    replicas: Replicas, audit: AuditLog, report: Report
) -> None:
    since = audit.size()
    first, second = _pair(replicas)
    replicas.one_more(within=10)
    first.kill()
    killed = time.monotonic()
    replicas.one_more(within=TAKEN_OVER_WITHIN)
    took = time.monotonic() - killed
    assert _writers(_writes(audit, since, (first, second))) == [first.agent, second.agent]
    report.add(f"leader killed: the other had written a floor after {took:.1f} s")


def test_a_leader_that_hung_past_its_lease_writes_nothing_when_it_wakes(
    replicas: Replicas, audit: AuditLog, report: Report
) -> None:
    since = audit.size()
    first, second = _pair(replicas)
    replicas.one_more(within=10)
    first.signal(signal.SIGSTOP)
    took = replicas.one_more(within=TAKEN_OVER_WITHIN)
    woken = now()
    first.signal(signal.SIGCONT)
    replicas.one_more(within=10)
    eventually(lambda: first.rows("lease_lost", woken), within=10, what="the one that hung knows that it lost")
    assert _writers(_writes(audit, since, (first, second))) == [first.agent, second.agent]
    assert first.alive
    report.add(f"leader stopped: the other had written a floor after {took:.1f} s; awake again it wrote nothing")


def test_a_leader_that_is_told_to_end_hands_over_at_once(replicas: Replicas, audit: AuditLog, report: Report) -> None:
    since = audit.size()
    first, second = _pair(replicas)
    replicas.one_more(within=10)
    with replicas.model.fault(Fault(delay=60.0, status=503)) as hangs:
        assert hangs.caught.wait(30), "the model is asked"
        asked = now()
        ended = first.terminate()
    held = eventually(lambda: second.rows("lease_held", asked), within=10, what="the other one holds the lease")
    took = (datetime.fromisoformat(held[0]["time"]) - asked).total_seconds()
    decided = second.decided("web", lambda row: True, since=asked, within=5)
    acted = (datetime.fromisoformat(decided["time"]) - asked).total_seconds()
    assert first.process.returncode == 0, first.tail()
    replicas.one_more(within=5)
    assert _writers(_writes(audit, since, (first, second))) == [first.agent, second.agent]
    report.add(f"leader ended by SIGTERM in {ended:.1f} s: lease held after {took:.1f} s, decided after {acted:.1f} s")
    assert acted < HANDED_OVER_WITHIN + 1.0, "one tick of one second after the lease"
    assert took < HANDED_OVER_WITHIN
    assert ended < HANDED_OVER_WITHIN, "it waits for no answer of a model that hangs"


def test_a_restart_in_mid_scale_lowers_nothing(replicas: Replicas, report: Report) -> None:
    """It dies between its write and the pods, the load falls, and the model is away when it comes back."""
    replicas.annotate("shop", target="2", metric="high")
    first = replicas.start("a")
    first.decided("shop", lambda row: row["forecast_source"] == "model" and row["floor"] == 3, since=now(), within=45)
    eventually(lambda: replicas.recorder.ready("shop") == 3, within=30, what="3 pods serve")
    replicas.annotate("shop", target="1")
    eventually(lambda: replicas.recorder.floor("shop") == 6, within=15, what="the floor is raised to 6")
    first.kill()
    died = now()
    assert replicas.recorder.ready("shop") < 6, "in mid-scale"
    with replicas.model.away():
        replicas.annotate("shop", metric="low")
        second = replicas.start("b")
        born = second.decided("shop", lambda row: True, since=died, within=30)
        assert born["forecast_source"] == "model", "the last forecast outlived the process that asked for it"
        assert born["previous_floor"] == born["floor"] == 6
        blind = datetime.fromisoformat(born["time"]) + timedelta(seconds=STABILIZATION + 5)
        eventually(lambda: now() > blind, within=60, what="a stabilization window passed since the restart")
        floors = replicas.recorder.floors("shop", died)
        assert min(floors) == 6, floors
        assert replicas.recorder.ready("shop") == 6
    recovered = now()
    eventually(lambda: replicas.recorder.floor("shop") == 2, within=60, what="a new forecast lowers it")
    report.add(
        f"restarted in mid-scale: floor held for {(recovered - died).total_seconds():.0f} s without a model; "
        f"lowered {(now() - recovered).total_seconds():.0f} s after it was back"
    )
