"""Each failure of a Prometheus becomes one error of ours, in time; requests carry what the connection says."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from scaler.adapters.load_history import Columns
from scaler.adapters.prometheus import Connection, PrometheusClient, PrometheusLoads
from scaler.domain import MetricsUnavailable

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
SCRAPES = {"metric": {}, "value": [NOW.timestamp(), "40"]}  # in ten minutes: one every 15 s


@dataclass
class Asked:
    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass
class FakePrometheus:
    """Answers from a list, the last one again and again; remembers what it was asked."""

    answers: list[tuple[int, str]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    def rows(self, *rows: dict[str, Any]) -> None:
        self.answers.append((200, json.dumps({"status": "success", "data": {"result": rows}})))

    def next(self) -> tuple[int, str]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def fake() -> Iterator[FakePrometheus]:
    fake = FakePrometheus()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            fake.asked.append(Asked(parts.path, query, dict(self.headers)))
            status, body = fake.next()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield fake
    server.shutdown()
    server.server_close()
    thread.join(10)


@dataclass
class Time:
    """Seconds that pass only by sleeping."""

    at: float = 0.0
    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


@pytest.fixture
def time() -> Time:
    return Time()


def client_of(fake: FakePrometheus, time: Time, **options: Any) -> PrometheusClient:
    return PrometheusClient(Connection(options.pop("url", fake.url), **options), clock=time.clock, sleep=time.sleep)


def sample(pod: str, value: str) -> dict[str, Any]:
    return {"metric": {"namespace": "shop", "pod": pod}, "value": [NOW.timestamp(), value]}


@pytest.mark.parametrize(
    ("status", "body", "message", "retried"),
    [
        pytest.param(401, "no", "check the bearer token", False, id="401"),
        pytest.param(403, "no", "X-Scope-OrgID", False, id="403"),
        pytest.param(404, "no", "below /prometheus", False, id="404"),
        pytest.param(422, '{"error":"too many samples"}', "could not be run", False, id="422"),
        pytest.param(429, "later", "busy or failing", True, id="429"),
        pytest.param(503, "later", "busy or failing", True, id="503"),
        pytest.param(200, "<html>sign in</html>", "no JSON; check that the URL", False, id="a login page"),
        pytest.param(200, '{"status":"error","error":"x"}', "no result", False, id="status=error"),
        pytest.param(200, "[]", "no result", False, id="JSON of another kind"),
        pytest.param(200, '{"data":{"result":{}}}', "no list of series", False, id="no list"),
        pytest.param(200, '{"data":{"result":[{"metric":{}}]}}', "another shape", False, id="no value"),
        pytest.param(200, '{"data":{"result":[0,"1"]}}', "another shape", False, id="a scalar"),
    ],
)
def test_a_failure_says_what_to_do(
    fake: FakePrometheus, time: Time, status: int, body: str, message: str, retried: bool
) -> None:
    fake.answers.append((status, body))

    with pytest.raises(MetricsUnavailable, match=message):
        client_of(fake, time).vector("up")

    assert (len(fake.asked) > 1) is retried


def test_a_server_that_is_away_is_tried_for_the_budget_only(fake: FakePrometheus, time: Time) -> None:
    client = client_of(fake, time, url="http://127.0.0.1:9", budget_seconds=4.5)

    with pytest.raises(MetricsUnavailable, match=r"not reachable.*check the URL"):
        client.vector("up")

    assert time.slept
    assert time.at < 4.5


def test_a_server_that_does_not_answer_is_left_after_the_timeout(fake: FakePrometheus, time: Time) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent:
        url = f"http://127.0.0.1:{silent.server_address[1]}"
        client = client_of(fake, time, url=url, timeout_seconds=0.05, budget_seconds=0.1)

        with pytest.raises(MetricsUnavailable, match="no answer in time"):
            client.vector("up")


def test_a_server_that_let_a_budget_run_out_costs_the_queries_that_follow_nothing(
    fake: FakePrometheus, time: Time
) -> None:
    fake.answers.append((503, "down"))
    client = client_of(fake, time, budget_seconds=4.5)
    with pytest.raises(MetricsUnavailable, match="busy or failing"):
        client.vector("first")
    tried, spent = len(fake.asked), time.at

    with pytest.raises(MetricsUnavailable, match=r"asked again in 4\.5 s"):
        client.vector("second")
    assert (len(fake.asked), time.at) == (tried, spent)

    fake.answers.clear()
    fake.rows(sample("a", "1"))
    time.sleep(4.5)
    assert client.vector("third")


def test_a_query_that_is_refused_leaves_the_next_one_its_try(fake: FakePrometheus, time: Time) -> None:
    fake.answers.append((422, "too many samples"))
    fake.rows(sample("a", "1"))
    client = client_of(fake, time)
    with pytest.raises(MetricsUnavailable, match="could not be run"):
        client.vector("wide")
    assert client.vector("narrow")


def test_a_busy_moment_is_waited_out(fake: FakePrometheus, time: Time, caplog: pytest.LogCaptureFixture) -> None:
    fake.answers.append((503, "starting"))
    fake.rows(sample("a", "1"))

    with caplog.at_level(logging.INFO):
        assert client_of(fake, time).vector("up") == [({"namespace": "shop", "pod": "a"}, 1.0)]

    assert [record.getMessage() for record in caplog.records] == ["prometheus_retry"]


def test_requests_carry_tenant_and_the_token_as_it_is_now(fake: FakePrometheus, time: Time, tmp_path: Path) -> None:
    fake.rows()
    token = tmp_path / "token"
    token.write_text("first\n")
    client = client_of(fake, time, headers={"X-Scope-OrgID": "team"}, bearer_token_file=token)

    client.vector("up")
    token.write_text("second\n")
    client.vector("up")

    assert [asked.headers["Authorization"] for asked in fake.asked] == ["Bearer first", "Bearer second"]
    assert {asked.headers["X-Scope-OrgID"] for asked in fake.asked} == {"team"}


def test_a_token_that_cannot_be_read_is_named(fake: FakePrometheus, time: Time, tmp_path: Path) -> None:
    client = client_of(fake, time, bearer_token_file=tmp_path / "missing")

    with pytest.raises(MetricsUnavailable, match=r"bearer_token_file .*missing.*must hold a token"):
        client.vector("up")


def test_a_path_of_the_url_is_kept_and_partial_answers_are_refused(fake: FakePrometheus, time: Time) -> None:
    fake.rows()

    client_of(fake, time, url=f"{fake.url}/prometheus/").vector("up", NOW)

    (asked,) = fake.asked
    assert asked.path == "/prometheus/api/v1/query"
    assert asked.query["partial_response"] == "false"
    assert float(asked.query["time"]) == NOW.timestamp()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"url": "prometheus:9090"}, "must be an http", id="no scheme"),
        pytest.param({"url": "http://"}, "must be an http", id="no host"),
        pytest.param({"timeout_seconds": 5, "budget_seconds": 4}, "accepted is 0 <", id="timeout above budget"),
        pytest.param({"ca_file": Path("ca"), "insecure": True}, "exclude each other", id="CA and insecure"),
    ],
)
def test_a_connection_that_could_never_work_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Connection(**{"url": "http://prometheus:9090", **options})


def test_points_stand_in_their_columns(fake: FakePrometheus, time: Time) -> None:
    values = [[NOW.timestamp(), "1"], [NOW.timestamp() + 120, "NaN"], [NOW.timestamp() + 180, "2.5"]]
    fake.rows({"metric": {"stem": "api-#"}, "values": values})

    ((labels, load),) = client_of(fake, time).matrix("up", Columns(NOW, timedelta(minutes=1), 5))

    assert labels == {"stem": "api-#"}
    assert np.array_equal(load, [1.0, np.nan, np.nan, 2.5, np.nan], equal_nan=True)
    assert fake.asked[0].query["step"] == "60"


def test_values_are_taken_as_of_the_newest_sample(fake: FakePrometheus, time: Time) -> None:
    at = NOW - timedelta(seconds=40)
    fake.rows(SCRAPES)
    fake.rows(sample("a", str(at.timestamp())), sample("b", str(at.timestamp() - 100)))
    fake.rows(sample("a", "0.5"), sample("b", "NaN"), sample("c", "0.25"))

    samples = PrometheusLoads(client_of(fake, time)).newest("cpu", {"shop"}, NOW)

    assert float(fake.asked[2].query["time"]) == at.timestamp() == samples.newest
    assert samples.values == {("shop", "a"): 0.5, ("shop", "c"): 0.25}
    assert samples.fresh_since == at.timestamp() - 60


def test_a_clock_that_runs_ahead_on_a_node_does_not_look_into_the_future(fake: FakePrometheus, time: Time) -> None:
    fake.rows(SCRAPES)
    fake.rows(sample("a", str(NOW.timestamp() + 30)))
    fake.rows(sample("a", "0.5"))

    assert PrometheusLoads(client_of(fake, time)).newest("cpu", {"shop"}, NOW).newest == NOW.timestamp()


def test_no_sample_at_all_is_no_sample_and_not_zero(fake: FakePrometheus, time: Time) -> None:
    fake.rows()

    samples = PrometheusLoads(client_of(fake, time)).newest("cpu", {"shop"}, NOW)

    assert (samples.values, samples.newest) == ({}, None)


def test_an_unknown_metric_is_not_asked_for(fake: FakePrometheus, time: Time) -> None:
    with pytest.raises(MetricsUnavailable, match="'gpu' is not known"):
        PrometheusLoads(client_of(fake, time)).newest("gpu", {"shop"}, NOW)

    assert fake.asked == []


def test_replica_sets_of_one_deployment_are_added_where_they_overlap(fake: FakePrometheus, time: Time) -> None:
    def row(stem: str, *values: tuple[int, str]) -> dict[str, Any]:
        points = [[NOW.timestamp() + 60 * column, value] for column, value in values]
        return {"metric": {"namespace": "shop", "stem": stem}, "values": points}

    fake.rows(SCRAPES)
    fake.rows()
    fake.rows(
        row("api-5d8f7b9c6d-", (0, "1"), (1, "2")),
        row("api-6c4fd5b-", (1, "3"), (2, "4")),
        {"metric": {"stem": "!"}, "values": [[NOW.timestamp(), "4"]]},
    )

    fetched = PrometheusLoads(client_of(fake, time)).fetch("cpu", [], Columns(NOW, timedelta(minutes=1), 4))

    ((name, load),) = fetched.loads.items()
    assert name == ("shop", "Deployment", "api")
    assert np.array_equal(load, [1, 5, 4, np.nan], equal_nan=True)
    assert fetched.coverage.tolist() == [4, 0, 0, 0]


def test_a_window_is_as_wide_as_rare_samples_need_and_that_is_looked_at_now_and_then(
    fake: FakePrometheus, time: Time
) -> None:
    fake.rows(SCRAPES | {"value": [NOW.timestamp(), "10"]})
    fake.rows(sample("a", str(NOW.timestamp())))
    loads = PrometheusLoads(client_of(fake, time))

    samples = loads.newest("cpu", {"shop"}, NOW)
    loads.newest("cpu", {"shop"}, NOW + timedelta(minutes=9))
    loads.newest("cpu", {"shop"}, NOW + timedelta(minutes=10))

    assert samples.span == timedelta(seconds=240)
    assert "[240s]" in fake.asked[2].query["query"]
    assert ["quantile" in asked.query["query"] for asked in fake.asked] == [
        *(True, False, False),
        *(False, False),
        *(True, False, False),
    ]


def test_a_certificate_that_is_not_trusted_is_no_reason_to_try_again(fake: FakePrometheus, time: Time) -> None:
    with pytest.raises(MetricsUnavailable, match="TLS failed"):
        client_of(fake, time, url=fake.url.replace("http:", "https:")).vector("up")

    assert time.slept == []


def test_rare_scrapes_are_reported(fake: FakePrometheus, time: Time) -> None:
    fake.rows(SCRAPES | {"value": [NOW.timestamp(), "5"]})
    fake.rows({"metric": {"version": "3.5.0"}, "value": [NOW.timestamp(), "1"]})

    report = client_of(fake, time).check(NOW)

    assert report.version == "3.5.0"
    assert report.has_owner_metric
    assert report.scrape_interval == timedelta(seconds=120)
    assert [problem for problem in report.problems if "scraped every 120 s" in problem]
