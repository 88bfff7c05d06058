"""`ai-hpa run` on a small API server over a socket: it leads, tells, stands by, and hands over when it ends."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from kubernetes import client
from typer.testing import CliRunner, Result

from scaler import exposition
from scaler.cli.exits import EXIT_BAD_INPUT, EXIT_NO_CLUSTER
from scaler.cli.run import Process, run_command
from scaler.domain import TargetKey, TargetUnavailable
from scaler.kube.api import KubeApi
from scaler.settings import Settings, load_settings
from tests.unit.kube.server import FakeKube, serving

LEASE = "/apis/coordination.k8s.io/v1/namespaces/ai-hpa-system/leases"
DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
SCALERS = "/apis/ai-hpa.dev/v1alpha1/namespaces/shop/predictivescalers"
SECONDS = 20.0  # no test waits for it
NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AI_HPA_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr("scaler.cli.run.configure_logging", lambda stream, level: None)


@pytest.fixture
def kube() -> Iterator[FakeKube]:
    with serving() as server:
        # One that was given back: one that never stood is waited out for 10 s.
        server.put(LEASE, {"metadata": {"name": "ai-hpa-scaler"}, "spec": {"holderIdentity": ""}})
        server.put(DEPLOYMENTS, deployment(**{"ai-hpa.dev/mode": "shadow", "ai-hpa.dev/min-replicas": "3"}))
        yield server


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("AI_HPA_TICK_SECONDS", "1")
    monkeypatch.setenv("AI_HPA_POD_NAME", "scaler-0")
    monkeypatch.setenv("AI_HPA_FORECASTER_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AI_HPA_HTTP_PORT", "0")
    return load_settings()


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(run_command)
    return CliRunner().invoke(app, arguments)


def deployment(**annotations: str) -> dict[str, Any]:
    labels = {"app": "web"}
    container = {"name": "web", "resources": {"limits": {"cpu": "500m"}}}
    return {
        "metadata": {"name": "web", "annotations": {"ai-hpa.dev/max-replicas": "9", **annotations}, "generation": 1},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
        "status": {"replicas": 1, "readyReplicas": 1, "observedGeneration": 1},
    }


def process_on(kube: FakeKube, settings: Settings) -> Process:
    configuration = client.Configuration(host=kube.address)
    configuration.retries = False
    configuration.connection_pool_maxsize = 32
    return Process(KubeApi(client.ApiClient(configuration)), settings)


@contextmanager
def running(process: Process) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=process.run, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        process.end(signal.SIGTERM, None)
        thread.join(SECONDS)


def holder(kube: FakeKube) -> str | None:
    lease = kube.objects.get(f"{LEASE}/ai-hpa-scaler")
    return None if lease is None else str(lease["spec"]["holderIdentity"])


def sample(process: Process, metric: str, **labels: str) -> float | None:
    return process._exposition.registry.get_sample_value(metric, labels)


WEB = {"namespace": "shop", "kind": "Deployment", "name": "web"}


def test_a_log_level_that_does_not_exist_is_told_the_ones_that_do() -> None:
    result = run("--log-level", "loud")
    assert result.exit_code == EXIT_BAD_INPUT
    assert "debug, info, warning or error, got 'loud'" in result.output


def test_settings_that_cannot_be_used_end_it_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_HPA_TICK_SECONDS", "0")
    monkeypatch.setenv("AI_HPA_TIKC", "3")
    result = run()
    assert result.exit_code == EXIT_BAD_INPUT
    assert "AI_HPA_TICK_SECONDS" in result.output
    assert "AI_HPA_TIKC: there is no such setting" in result.output


def test_without_a_cluster_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    result = run()
    assert result.exit_code == EXIT_NO_CLUSTER
    assert "KUBECONFIG" in result.output


def test_a_replica_alone_leads_decides_and_keeps_its_record(kube: FakeKube, settings: Settings) -> None:
    process = process_on(kube, settings)
    with running(process):
        begun = process._pulse.beat
        assert kube.wait(lambda: f"{SCALERS}/deployment-web" in kube.objects, SECONDS)
    assert process._pulse.beat > begun, "each turn is a sign of life"
    assert (sample(process, "ai_hpa_leader"), sample(process, "ai_hpa_floor_replicas", **WEB)) == (1.0, 3.0)
    assert kube.objects[f"{DEPLOYMENTS}/web"]["spec"]["replicas"] == 1, "in shadow mode nothing is written"


def test_one_that_is_told_to_end_gives_the_lease_back(kube: FakeKube, settings: Settings) -> None:
    process = process_on(kube, settings)
    with running(process) as thread:
        assert kube.wait(lambda: holder(kube) not in {None, ""}, SECONDS)
        assert str(holder(kube)).startswith("scaler-0_")
    assert not thread.is_alive()
    assert holder(kube) == ""


def test_one_that_does_not_lead_writes_nothing_but_watches(kube: FakeKube, settings: Settings) -> None:
    lease = {"holderIdentity": "another", "leaseDurationSeconds": 3600, "leaseTransitions": 1}
    kube.put(LEASE, {"metadata": {"name": "ai-hpa-scaler"}, "spec": lease})
    process = process_on(kube, settings)
    with running(process):
        assert kube.wait(lambda: process._scaler.discovered.workloads != {}, SECONDS)
    assert sample(process, "ai_hpa_leader") == 0.0
    assert holder(kube) == "another"
    assert kube.count("POST") == kube.count("PATCH") == kube.count("PUT") == 0


def test_probes_tell_whether_it_sees_and_comes_around(kube: FakeKube, settings: Settings) -> None:
    kube.absent.add("pods")
    process = process_on(kube, settings)
    assert process._readiness() == "the cluster is not listed yet" or "pods: not listed yet" in str(
        process._readiness()
    )
    with running(process):
        assert kube.wait(lambda: "pods: not listed yet" in str(process._readiness()), SECONDS)
        assert process._health() is None, "it waits for its first look"
        kube.absent.clear()
        assert kube.wait(lambda: process._readiness() is None, SECONDS)
    process._pulse.clock = lambda: process._pulse.beat + 100.0
    assert process._health() == "no tick ended for 100 s"


def test_probes_and_metrics_are_served(kube: FakeKube, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    ports: list[int] = []

    def serve(port: int, *args: Any, **kwargs: Any) -> Any:
        server = exposition.serve(0, *args, **kwargs)
        ports.append(server.server_address[1])
        return server

    monkeypatch.setattr("scaler.cli.run.serve", serve)
    process = process_on(kube, replace(settings, live=replace(settings.live, http_port=9090)))
    with running(process):
        assert kube.wait(lambda: process._readiness() is None, SECONDS)
        base = f"http://127.0.0.1:{ports[0]}"
        answers = {path: httpx.get(base + path, trust_env=False) for path in ("/healthz", "/readyz", "/metrics")}
    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(answers, 200)
    assert "ai_hpa_leader" in answers["/metrics"].text


def test_a_turn_that_fails_is_said_and_the_next_one_comes(
    kube: FakeKube, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    process = process_on(kube, settings)
    failures: list[Exception] = [TargetUnavailable("no API server"), ZeroDivisionError("a bug")]

    def stand_by(now: object) -> None:
        raise failures.pop(0)

    monkeypatch.setattr(process._scaler, "stand_by", stand_by)
    with caplog.at_level(logging.WARNING):
        process._come_around()
        process._come_around()
    assert [r.getMessage() for r in caplog.records if r.name == "scaler.cli.run"] == ["tick_held", "tick_failed"]
    assert sample(process, "ai_hpa_reconciliation_errors_total") == 1.0, "only a bug is counted as one"


def test_a_workload_whose_objects_may_not_be_watched_any_more_is_told_why(
    kube: FakeKube, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = process_on(kube, settings)
    said = ("deployments.apps: may not be listed and watched (revoked); grant `list` and `watch` on it",)
    with running(process):
        assert kube.wait(lambda: process._scaler.workload(TargetKey(**WEB)) is not None, SECONDS)
        assert process._unwatched(TargetKey(**WEB)) is None
    monkeypatch.setattr(process._cluster, "blind", lambda: frozenset({"deployments.apps"}))
    everything = {"deployments.apps": said[0], "verticalpodautoscalers": "verticalpodautoscalers: stale"}
    monkeypatch.setattr(process._cluster, "problems", lambda only: tuple(everything[name] for name in only))
    process._scaler.tick(NOW)
    trouble = process._unwatched(TargetKey(**WEB))
    assert trouble is not None
    assert (trouble.reason, trouble.message) == ("NotWatched", said[0])
