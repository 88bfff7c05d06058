"""`ai-hpa train` against a real Prometheus that remembers six days of three services, and the CPU of some pods."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from predictor_model.own_load import read_load
from scaler.adapters.load_history import Columns
from scaler.adapters.prometheus import Connection, PrometheusClient, QueryRefused
from scaler.adapters.query_load import fetch_query
from scaler.cli import app, train
from scaler.replay.traces import read_csv
from tests.prometheus_binary import NoPrometheus, prometheus_folder
from tests.prometheus_process import running_prometheus

MANIFEST = Path(__file__).parents[2] / "inferenceservices" / "finetune-cronjob.yaml"
T0 = datetime(2026, 1, 5, tzinfo=UTC)
DAYS = 6
STEP = timedelta(minutes=5)
STEPS = DAYS * 288
GAP = (700, 760)  # steps between which nothing is scraped
# Cores of each pod, by container; one that belongs to no Deployment uses so much that it would be seen.
PODS = {
    "web-5d8f7b9c6d-b5d7c": {"app": 1.0, "istio-proxy": 64.0, "": 64.0},
    "web-5d8f7b9c6d-x2v6k": {"app": 2.0},
    "web-6c4fd5b8-m4n7p": {"app": 4.0},
    "web-v2-6c4fd5b8-m4n7p": {"app": 3.0},
    "iris-predictor-00001-deployment-5d8f7b9c6d-b5d7c": {"app": 1.0, "queue-proxy": 64.0},
    "iris-predictor-00002-deployment-7bcd95f4c-x2v6k": {"app": 4.0},
    # The API server cuts a name before its five random letters: here within the hash, and right behind it.
    "my-sentiment-classifier-predictor-00001-deployment-5d8f7b9b5d7c": {"app": 6.0},
    "text-classifier-2026-predictor-00001-deployment-5d8f7b9c6db5d7c": {"app": 7.0},
    "node-exporter-b5d7c": {"app": 64.0},  # of a DaemonSet
    "backup-29612345-b5d7c": {"app": 64.0},  # of a CronJob
    "db-0": {"app": 64.0},  # of a StatefulSet
}


def load_of(service: int) -> np.ndarray:
    """A gauge a step, its day's wave at another height for each service."""
    return 10 * (service + 1) + 5 * np.sin(2 * np.pi * np.arange(STEPS + 1) / 288)


def openmetrics() -> str:
    """Samples of one series in the order of time, one series after the other."""
    times = [f"{T0.timestamp() + step * STEP.total_seconds():.0f}" for step in range(STEPS + 1)]
    lines = ["# TYPE requests unknown"]
    for service in range(3):
        series = f'requests{{namespace="shop",app="web-{service}",pod="a"}}'
        lines += [
            f"{series} {value:.6f} {times[step]}"
            for step, value in enumerate(load_of(service))
            if not GAP[0] < step < GAP[1]
        ]
    lines.append("# TYPE odd unknown")
    for kind, value in (("negative", "-1"), ("nan", "NaN"), ("inf", "+Inf")):
        lines += [f'odd{{kind="{kind}"}} {value} {time}' for time in times[::12]]
    return "\n".join([*lines, *cpu_lines(), "# EOF", ""])


def cpu_lines() -> Iterator[str]:
    """What cadvisor says of the pods, twice a minute for the first half hour."""
    yield "# TYPE container_cpu_usage_seconds unknown"
    for pod, containers in PODS.items():
        for container, cores in containers.items():
            series = f'container_cpu_usage_seconds_total{{namespace="shop",pod="{pod}",container="{container}"}}'
            for second in range(0, 1801, 30):
                yield f"{series} {cores * second:.1f} {T0.timestamp() + second:.0f}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    try:
        programs = prometheus_folder()
    except NoPrometheus as exc:
        pytest.skip(str(exc))
    with running_prometheus(programs, tmp_path_factory.mktemp("prometheus"), openmetrics()) as url:
        yield url


@pytest.fixture
def client(server: str) -> Iterator[PrometheusClient]:
    client = PrometheusClient(Connection(server))
    yield client
    client.close()


WHOLE = Columns(T0 + STEP, STEP, STEPS)


def test_series_come_whole_over_all_chunks_and_gaps_stay_gaps(client: PrometheusClient) -> None:
    found = fetch_query(client, "sum by (namespace, app) (requests)", WHOLE)
    assert list(found.loads) == [f"app=web-{service},namespace=shop" for service in range(3)]
    for service, load in enumerate(found.loads.values()):
        # Behind its last sample a value is repeated for five minutes; whether the fifth counts is the server's to say.
        load[GAP[0]] = np.nan
        expected = load_of(service)[1:].copy()
        expected[GAP[0] : GAP[1] - 1] = np.nan
        np.testing.assert_allclose(load, expected, rtol=1e-5)


def test_what_is_no_load_is_told_apart(client: PrometheusClient) -> None:
    found = fetch_query(client, "sum by (app) (requests) or odd", WHOLE)
    assert len(found.loads) == 3
    why = {name.partition("kind=")[2]: reason for name, reason in found.dropped.items()}
    assert "load is never negative" in why["negative"]
    assert why["nan"] == why["inf"] == "has no sample that is a number"
    assert found.not_finite > 0


def test_the_weekly_jobs_own_query_gives_each_deployment_once_and_nothing_else(client: PrometheusClient) -> None:
    documents = yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8"))
    (job,) = [document for document in documents if document["kind"] == "CronJob"]
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    (query,) = [argument for argument in container["args"] if argument.startswith("--query=")]
    minutes = Columns(T0 + timedelta(minutes=10), timedelta(minutes=1), 20)
    loads = fetch_query(client, query.removeprefix("--query="), minutes).loads
    assert {name: pytest.approx(load) for name, load in loads.items()} == {
        "deployment=web,namespace=shop": np.full(20, 7.0),
        "deployment=web-v2,namespace=shop": np.full(20, 3.0),
        "deployment=iris-predictor,namespace=shop": np.full(20, 5.0),
        "deployment=my-sentiment-classifier-predictor,namespace=shop": np.full(20, 6.0),
        "deployment=text-classifier-2026-predictor,namespace=shop": np.full(20, 7.0),
    }


def test_a_query_that_the_server_refuses_is_told_from_a_server_that_is_away(client: PrometheusClient) -> None:
    with pytest.raises(QueryRefused, match="the query was refused"):
        fetch_query(client, "sum(", WHOLE)


def test_the_command_leaves_a_file_that_trainer_and_replay_both_read(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[list[str]] = []
    monkeypatch.setattr(train, "NEEDED", ())
    monkeypatch.setattr(os, "execv", lambda program, arguments: handed.append(arguments))
    end = f"{T0 + timedelta(days=DAYS):%Y-%m-%dT%H:%M:%SZ}"
    options = ["--days", str(DAYS), "--step", "300", "--end", end, "--out", str(tmp_path)]
    ran = CliRunner().invoke(app, ["train", "--prometheus", server, "--query", "sum by (app) (requests)", *options])
    assert ran.exit_code == 0, ran.output
    (path,) = [Path(argument) for argument in handed[0] if argument.endswith(".csv.gz")]
    assert gzip.decompress(path.read_bytes()).decode().startswith('series,timestamp,value\n"app=web-0",')
    (first, *others) = read_csv(path)
    assert (first.name, first.start, first.step, len(others)) == ("app=web-0", T0, STEP, 2)
    load = read_load([path])
    assert [history.trace.name for history in load.histories] == [f"app=web-{service}" for service in range(3)]
    assert load.skipped == ()
    assert load.newest() == T0 + timedelta(days=DAYS)
