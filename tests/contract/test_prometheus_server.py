"""Queries against a real Prometheus: recorded stories of pods that come, go, restart and are lost sight of."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from scaler.adapters.load_history import Columns, Fetched, LoadHistory
from scaler.adapters.prometheus import Connection, PrometheusClient, PrometheusLoads
from scaler.adapters.promql import Preset, SeriesName
from scaler.domain import MetricsUnavailable, Target, TargetKey
from scaler.kube.objects import ObjectRef
from scaler.targets.workload import Lever, LeverKind, PodGroup, Workload
from tests.prometheus_binary import NoPrometheus, prometheus_folder
from tests.prometheus_process import eventually, running_prometheus

T0 = datetime(2026, 1, 5, tzinfo=UTC)
OWNED_T0 = T0 + timedelta(hours=4)  # from here on kube-state-metrics is there too
MINUTE = timedelta(minutes=1)
INTERVAL = 15
OUTAGE = (40, 45)  # minutes in which nothing is scraped
LONG = "a-deployment-whose-name-is-so-long-that-its-hash-is-cut-away"
CPU = "container_cpu_usage_seconds_total"
REQUESTS = "kn_serving_invocation_duration_seconds"


@dataclass(frozen=True)
class Story:
    """One series: a counter that grows by `rate` a second, or a gauge that stands at it.

    Attributes:
        start, stop: Minutes in which it is sampled.
        restarts: Minute at which the counter begins at zero again.
    """

    pod: str
    rate: float
    labels: str = 'container="app"'
    metric: str = CPU
    start: float = 0
    stop: float = 60
    restarts: float | None = None
    gauge: bool = False
    origin: datetime = T0

    def lines(self) -> Iterator[str]:
        for second in range(int(self.start * 60), int(self.stop * 60) + 1, INTERVAL):
            if OUTAGE[0] * 60 < second < OUTAGE[1] * 60:
                continue
            began = self.start if self.restarts is None or second < self.restarts * 60 else self.restarts
            value = self.rate if self.gauge else self.rate * (second - began * 60)
            labels = ",".join(filter(None, ['namespace="shop"', f'pod="{self.pod}"', self.labels]))
            yield f"{self.metric}{{{labels}}} {value} {self.origin.timestamp() + second:.0f}"


def requests(pod: str, rps: float, seconds: float, *, start: float = 0, stop: float = 60) -> list[Story]:
    status = 'http_response_status_code="200"'
    return [
        Story(pod, rps, status, f"{REQUESTS}_count", start=start, stop=stop),
        Story(pod, rps * seconds, status, f"{REQUESTS}_sum", start=start, stop=stop),
        Story(pod, 1, 'container_name="queue-proxy"', "target_info", gauge=True, start=start, stop=stop),
    ]


def owner(pod: str, kind: str, name: str) -> Story:
    labels = f'owner_kind="{kind}",owner_name="{name}",owner_is_controller="true",uid="u"'
    return Story(pod, 1, labels, "kube_pod_owner", gauge=True, origin=OWNED_T0)


API = ("api-5d8f7b9c6d-aaaaa".replace("a" * 5, "b5d7c"), "api-5d8f7b9c6d-x2x2x")
STORIES: list[Story] = [
    Story(API[0], 0.2),
    Story(API[1], 0.3),
    Story(API[0], 0.2, 'container="app",replica="b"'),  # a second Prometheus behind one Thanos
    Story(API[0], 0.2, 'container=""'),  # the whole pod
    Story(API[0], 0.05, 'container="POD"'),
    Story(API[0], 5.0, 'container="queue-proxy"'),
    Story(API[1], 0.05, 'container="helper"'),
    Story("api-v2-5d8f7b9c6d-b5d7c", 0.7),
    Story("api-v2-canary-5d8f7b9c6d-b5d7c", 1.1),
    Story("api-0", 1.3),
    Story("api-b5d7c", 1.7),
    Story("web-5d8f7b9c6d-b5d7c", 0.4, stop=30),
    Story("web-5d8f7b9c6d-x2x2x", 0.4, start=30),
    Story("restarted-5d8f7b9c6d-b5d7c", 0.5, restarts=20),
    Story("lost-5d8f7b9c6d-b5d7c", 0.6, stop=30),
    Story("night-5d8f7b9c6d-b5d7c", 0.8, stop=10),
    Story("night-5d8f7b9c6d-x2x2x", 0.8, start=50),
    Story("model-predictor-00001-deployment-5d8f7b9c6d-b5d7c", 0.9, stop=30),
    Story("model-predictor-00002-deployment-6c4fd5b-b5d7c", 0.9, start=30),
    *requests("model-predictor-00001-deployment-5d8f7b9c6d-b5d7c", 10, 0.25, stop=30),
    *requests("model-predictor-00002-deployment-6c4fd5b-b5d7c", 10, 0.25, start=30),
    Story("idle-00001-deployment-5d8f7b9c6d-b5d7c", 1, 'container_name="queue-proxy"', "target_info", gauge=True),
    Story(API[0], 100e6, metric="container_memory_working_set_bytes", gauge=True, stop=30.5),
    Story(API[1], 300e6, metric="container_memory_working_set_bytes", gauge=True),
    Story(API[0], 10, metric="container_cpu_cfs_periods_total"),
    Story(API[0], 4, metric="container_cpu_cfs_throttled_periods_total"),
    Story(API[1], 10, metric="container_cpu_cfs_periods_total"),
    Story(API[1], 0.1, metric="container_cpu_cfs_throttled_periods_total"),
    Story(API[0], 7, 'queue="a"', "jobs_waiting", gauge=True),
    Story(API[0], 5, 'queue="b"', "jobs_waiting", gauge=True),
    Story("activator-0", 1, 'service_name="activator"', "target_info", gauge=True, origin=OWNED_T0),
    # With owners.
    Story(f"{LONG[:58]}b5d7c", 0.3, origin=OWNED_T0),
    owner(f"{LONG[:58]}b5d7c", "ReplicaSet", f"{LONG}-5d8f7b9c6d"),
    Story("db-0", 0.4, origin=OWNED_T0),
    owner("db-0", "StatefulSet", "db"),
    Story("web-5d8f7b9c6d-bbbbb", 0.5, origin=OWNED_T0, stop=30),
    Story("web-5d8f7b9c6d-bbbbb", 1, "", "kube_pod_owner", gauge=True, origin=OWNED_T0, stop=0),
]


def openmetrics() -> str:
    """Samples of one metric stand together, and those of one series in the order of time."""
    lines = []
    for metric in sorted({story.metric for story in STORIES}):
        lines += [f"# TYPE {metric} unknown"]
        lines += [line for story in STORIES if story.metric == metric for line in story.lines()]
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="session")
def programs() -> Path:
    """Folder of `prometheus` and `promtool`."""
    try:
        return prometheus_folder()
    except NoPrometheus as exc:
        pytest.skip(str(exc))


class Exporter:
    """One pod's metrics on a socket; `up` False makes it refuse."""

    def __init__(self) -> None:
        self.up = True
        exporter = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = f'{CPU}{{namespace="live",pod="live-0",container="app"}} 5\n'.encode() if exporter.up else b""
                self.send_response(200 if exporter.up else 503)
                self.send_header("Content-Type", "text/plain")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"


@contextmanager
def serving(exporter: Exporter) -> Iterator[None]:
    thread = threading.Thread(target=exporter.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        exporter.server.shutdown()
        exporter.server.server_close()
        thread.join(10)


@pytest.fixture(scope="session")
def exporter() -> Iterator[Exporter]:
    exporter = Exporter()
    with serving(exporter):
        yield exporter


@pytest.fixture(scope="session")
def server(programs: Path, exporter: Exporter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Prometheus that holds the stories and scrapes the exporter every second."""
    scrape = {"job_name": "live", "scrape_interval": "1s", "static_configs": [{"targets": [exporter.address]}]}
    folder = tmp_path_factory.mktemp("prometheus")
    with running_prometheus(programs, folder, openmetrics(), scrape_configs=[scrape]) as url:
        yield url


@pytest.fixture
def client(server: str) -> Iterator[PrometheusClient]:
    client = PrometheusClient(Connection(server))
    yield client
    client.close()


@pytest.fixture
def loads(client: PrometheusClient) -> PrometheusLoads:
    presets = [Preset("queue", "sum by (namespace, pod) (jobs_waiting)")]
    return PrometheusLoads(client, rate_window=2 * MINUTE, presets=presets)


def minutes(count: float) -> datetime:
    return T0 + count * MINUTE


def group(kind: str, name: str) -> PodGroup:
    return PodGroup("shop", {}, (), kind, name)


def fetched(loads: PrometheusLoads, metric: str = "cpu", groups: Sequence[PodGroup] = ()) -> Fetched:
    """The hour, minute by minute; column i ends at minute i + 1."""
    return loads.fetch(metric, groups, Columns(minutes(1), MINUTE, 60))


def history_of(loads: PrometheusLoads, kind: str, name: str, metric: str = "cpu") -> np.ndarray:
    return fetched(loads, metric).loads[SeriesName("shop", kind, name)]


def workload(kind: str, name: str, *, min_replicas: int = 1, metric: str = "cpu") -> Workload:
    key = TargetKey("shop", kind, name)
    return Workload(
        target=Target(key, min_replicas=min_replicas, max_replicas=9, capacity=1.0),
        lever=Lever(LeverKind.SCALE, ()),
        pods=group(kind, name),
        reference=ObjectRef("apps/v1", kind, "shop", name),
        reference_uid="u",
        scaler_name=name,
        metric=metric,
        capacity_source="",
        current_replicas=1,
        ready_replicas=1,
    )


def test_a_pod_is_the_sum_over_its_own_containers_each_once(loads: PrometheusLoads) -> None:
    samples = loads.newest("cpu", {"shop"}, minutes(20))

    assert samples.values["shop", API[0]] == pytest.approx(0.2, rel=0.01)
    assert samples.values["shop", API[1]] == pytest.approx(0.35, rel=0.01)
    assert samples.newest == minutes(20).timestamp()


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        pytest.param("Deployment", "api", 0.55, id="Deployment api"),
        pytest.param("StatefulSet", "api", 1.3, id="StatefulSet api"),
        pytest.param("Deployment", "api-v2", 0.7, id="api-v2"),
        pytest.param("Deployment", "api-v2-canary", 1.1, id="api-v2-canary"),
    ],
)
def test_workloads_that_share_a_name_prefix_are_not_mixed(
    loads: PrometheusLoads, kind: str, name: str, expected: float
) -> None:
    assert history_of(loads, kind, name)[5:35] == pytest.approx(expected, rel=0.01)


def test_a_handover_from_pod_to_pod_leaves_the_sum_as_it_was(loads: PrometheusLoads) -> None:
    load = history_of(loads, "Deployment", "web")

    assert load[5:28] == pytest.approx(0.4, rel=0.01)
    # A counter's first sample is the base of its rate, so what came before it is lost: one of the window's eight.
    assert load[28:33] == pytest.approx(0.4, rel=0.15)


def test_a_handover_in_the_newest_sample_needs_the_pod_that_is_gone(loads: PrometheusLoads) -> None:
    samples = loads.newest("cpu", {"shop"}, minutes(31))
    old, new = (samples.values["shop", f"web-5d8f7b9c6d-{suffix}"] for suffix in ("b5d7c", "x2x2x"))

    assert samples.windowed
    assert old == pytest.approx(0.2, rel=0.15)
    assert old + new == pytest.approx(0.4, rel=0.1)


def test_a_container_that_restarts_does_not_make_a_spike(loads: PrometheusLoads) -> None:
    assert history_of(loads, "Deployment", "restarted")[15:25] == pytest.approx(0.5, rel=0.15)


def test_revisions_of_one_configuration_count_together(loads: PrometheusLoads) -> None:
    assert history_of(loads, "Revision", "model-predictor")[5:35] == pytest.approx(0.9, rel=0.15)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [pytest.param("rps", 10.0, id="rps"), pytest.param("concurrency", 2.5, id="10 rps of 250 ms each")],
)
def test_requests_come_from_queue_proxy(loads: PrometheusLoads, metric: str, expected: float) -> None:
    samples = loads.newest(metric, {"shop"}, minutes(20))

    assert samples.values["shop", "model-predictor-00001-deployment-5d8f7b9c6d-b5d7c"] == pytest.approx(expected)
    assert samples.values["shop", "idle-00001-deployment-5d8f7b9c6d-b5d7c"] == 0.0
    assert history_of(loads, "Revision", "model-predictor", metric)[5:28] == pytest.approx(expected, rel=0.01)


def test_memory_of_a_pod_counts_for_the_time_that_it_stood(loads: PrometheusLoads) -> None:
    load = history_of(loads, "Deployment", "api", "memory")

    assert load[20] == pytest.approx(400e6)
    assert load[30] == pytest.approx(350e6, rel=0.05)  # half of the minute
    assert load[35] == pytest.approx(300e6)


def test_a_preset_is_summed_by_pod_and_by_workload(loads: PrometheusLoads) -> None:
    assert loads.newest("queue", {"shop"}, minutes(20)).values == {("shop", API[0]): 12.0}
    assert history_of(loads, "Deployment", "api", "queue")[20] == 12.0


def test_pods_that_are_throttled_a_little_are_left_out(loads: PrometheusLoads) -> None:
    throttled = loads.throttled({"shop"}, minutes(20))

    assert throttled == {("shop", API[0]): pytest.approx(0.4)}


def test_a_pod_that_is_lost_sight_of_is_not_fresh(loads: PrometheusLoads) -> None:
    samples = loads.newest("cpu", {"shop"}, minutes(31.5))
    times = samples.times

    assert times["shop", "lost-5d8f7b9c6d-b5d7c"] == minutes(30).timestamp() < samples.fresh_since
    assert times["shop", API[0]] == minutes(31.5).timestamp() > samples.fresh_since


def test_an_outage_shows_as_age_and_not_as_a_falling_load(loads: PrometheusLoads) -> None:
    before, during = (loads.newest("cpu", {"shop"}, minutes(at)) for at in (40, 43))

    assert during.newest == minutes(40).timestamp()
    assert during.values["shop", API[0]] == before.values["shop", API[0]] == pytest.approx(0.2, rel=0.01)


def test_after_five_minutes_of_outage_there_is_no_sample(loads: PrometheusLoads) -> None:
    assert loads.newest("cpu", {"shop"}, minutes(60 + 6)).values == {}


def test_an_outage_is_a_gap_in_history_and_its_edge_is_hardly_low(loads: PrometheusLoads) -> None:
    history = LoadHistory(loads)
    api = workload("Deployment", "api")

    load = history.load_between([api], start=T0, end=minutes(60), step=MINUTE, now=minutes(70))[api.key]

    assert np.isnan(load[40:44]).all()
    assert np.isfinite(np.delete(load, [0, *range(39, 47)])).all()
    assert np.nanmin(load[1:]) > 0.75 * 0.55
    assert np.nanmax(load) < 1.05 * 0.55


def test_a_workload_at_zero_had_no_load_only_where_it_may_be_at_zero_and_others_were_seen(
    loads: PrometheusLoads,
) -> None:
    history = LoadHistory(loads)
    night = workload("Deployment", "night", min_replicas=0)
    window = {"start": T0, "end": minutes(60), "now": minutes(70)}

    load = history.load_between([night], step=MINUTE, **window)[night.key]
    always = workload("Deployment", "night")
    gaps = LoadHistory(loads).load_between([always], step=MINUTE, **window)[always.key]

    assert (load[13:38] == 0).all()
    assert np.isnan(load[41:44]).all()
    assert load[5] == load[55] == pytest.approx(0.8, rel=0.01)
    assert np.isnan(gaps[13:48]).all()


def test_the_activator_shows_that_no_requests_were_missed_while_nothing_stood(loads: PrometheusLoads) -> None:
    answer = loads.fetch("rps", [], Columns(OWNED_T0 + 20 * MINUTE, MINUTE, 10))

    assert answer.loads == {}
    assert (answer.coverage >= 8).all()
    assert loads.frontier("rps", OWNED_T0 + 20 * MINUTE) == OWNED_T0 + 20 * MINUTE


@pytest.mark.parametrize("scoped", [False, True])
def test_owners_find_what_no_name_tells(loads: PrometheusLoads, scoped: bool) -> None:
    names = [SeriesName("shop", "Deployment", LONG), SeriesName("shop", "StatefulSet", "db")]
    names.append(SeriesName("shop", "Deployment", "web"))
    groups = [PodGroup(*name[:1], {}, (), *name[1:]) for name in names] if scoped else []

    answer = loads.fetch("cpu", groups, Columns(OWNED_T0 + 20 * MINUTE, MINUTE, 10))

    assert [answer.loads[name][0] for name in names] == pytest.approx([0.3, 0.4, 0.5], rel=0.01)


def test_several_queries_give_what_one_gives(loads: PrometheusLoads) -> None:
    members = [workload("Deployment", "api"), workload("StatefulSet", "api"), workload("Deployment", "web")]
    window = {"start": T0, "end": minutes(60), "now": minutes(70)}

    whole = LoadHistory(loads).load_between(members, step=2 * MINUTE, **window)
    parts = LoadHistory(loads, max_points=21).load_between(members, step=2 * MINUTE, **window)

    assert whole.keys() == parts.keys()
    assert all(np.array_equal(whole[key], parts[key], equal_nan=True) for key in whole)


def test_the_newest_step_waits_until_all_of_it_was_sampled(loads: PrometheusLoads) -> None:
    history, api = LoadHistory(loads), workload("Deployment", "api")
    now = minutes(41.5)  # the newest sample is that of minute 40

    load = history.load_between([api], start=minutes(30), end=minutes(41), step=MINUTE, now=now)[api.key]

    assert np.isfinite(load[:10]).all()
    assert np.isnan(load[10:]).all()


def test_a_query_that_is_wrong_says_so(client: PrometheusClient) -> None:
    with pytest.raises(MetricsUnavailable, match=r"HTTP Status Code 400.*parse error.*the query was refused"):
        client.vector("sum(")


def test_a_server_that_lacks_something_is_told_what(client: PrometheusClient) -> None:
    report = client.check(minutes(20))

    assert report.has_container_cpu
    assert report.scrape_interval == timedelta(seconds=INTERVAL)
    assert not report.has_owner_metric
    assert [problem for problem in report.problems if "kube-state-metrics" in problem]
    assert client.check(OWNED_T0 + 20 * MINUTE).problems == ()


def test_a_target_that_goes_down_leaves_no_sample_behind(
    client: PrometheusClient, loads: PrometheusLoads, exporter: Exporter
) -> None:
    # Prometheus marks the series of a target that answers no more as stale: no five minutes of repeated values.
    def seen() -> bool:
        ((_, seconds),) = client.vector("vector(time())")
        return ("live", "live-0") in loads.newest("cpu", {"live"}, datetime.fromtimestamp(seconds, UTC)).times

    eventually(seen)

    exporter.up = False

    eventually(lambda: not seen())
