"""metrics-server's answers become samples with their own times."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scaler.adapters.metrics_server import MetricsServerLoads
from scaler.domain import MetricsUnavailable
from scaler.kube.api import Forbidden, KubeError, Listing, NotFound, ServerBusy
from scaler.kube.resources import POD_METRICS, Resource

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
TAKEN = NOW - timedelta(seconds=20)


def item(name: str, *, at: str | None = TAKEN.isoformat(), window: Any = "15.041s", **usage: str) -> dict[str, Any]:
    containers = [{"name": container, "usage": {"cpu": cpu, "memory": "64Mi"}} for container, cpu in usage.items()]
    return {
        "metadata": {"namespace": "shop", "name": name},
        "timestamp": at,
        "window": window,
        "containers": containers,
    }


@dataclass
class FakeApi:
    items: list[dict[str, Any]] = field(default_factory=list)
    error: KubeError | None = None
    asked: list[str | None] = field(default_factory=list)

    def list(self, resource: Resource, namespace: str | None = None) -> Listing:
        assert resource is POD_METRICS
        self.asked.append(namespace)
        if self.error is not None:
            raise self.error
        return Listing(tuple(self.items), "")


def test_a_pod_is_the_sum_of_its_own_containers() -> None:
    api = FakeApi([item("a", app="250m", helper="1500000n", **{"queue-proxy": "2", "istio-proxy": "3"})])

    samples = MetricsServerLoads(api).newest("cpu", {"shop"}, NOW)

    assert samples.values == {("shop", "a"): pytest.approx(0.2515)}
    assert samples.times == {("shop", "a"): TAKEN.timestamp()}
    assert samples.newest == TAKEN.timestamp()
    assert samples.span == timedelta(seconds=15.041)
    assert not samples.windowed


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(item("b", app="much"), id="no quantity"),
        pytest.param(item("b", at=None, app="1"), id="no time"),
        pytest.param(item("b"), id="no containers"),
        pytest.param(item("b", app="1", helper="?"), id="one container without a value"),
        pytest.param({}, id="nothing"),
    ],
)
def test_a_pod_that_cannot_be_read_has_no_sample_and_harms_no_other(broken: dict[str, Any]) -> None:
    samples = MetricsServerLoads(FakeApi([broken, item("a", app="1")])).newest("cpu", {"shop"}, NOW)

    assert samples.values == {("shop", "a"): 1.0}


def test_an_old_sample_is_not_fresh() -> None:
    old = (TAKEN - timedelta(seconds=61)).isoformat()
    samples = MetricsServerLoads(FakeApi([item("a", app="1"), item("b", at=old, app="1")])).newest("cpu", {"shop"}, NOW)

    fresh = {name for _, name in samples.values if samples.times["shop", name] >= samples.fresh_since}
    assert fresh == {"a"}


@pytest.mark.parametrize(
    ("window", "seconds"),
    [
        pytest.param("15.041s", 15.041, id="seconds"),
        pytest.param("1m0s", 60, id="a minute"),
        pytest.param("1m", 60, id="minutes alone"),
        pytest.param("soon", 0, id="no duration"),
        pytest.param(None, 0, id="missing"),
    ],
)
def test_the_window_is_read_as_go_writes_it(window: object, seconds: float) -> None:
    samples = MetricsServerLoads(FakeApi([item("a", window=window, app="1")])).newest("cpu", {"shop"}, NOW)

    assert samples.span == timedelta(seconds=seconds)


def test_both_metrics_of_a_tick_come_from_one_answer() -> None:
    api = FakeApi([item("a", app="1")])
    loads = MetricsServerLoads(api)

    loads.newest("cpu", {"shop"}, NOW)
    memory = loads.newest("memory", {"shop"}, NOW)
    assert api.asked == ["shop"]
    assert memory.values == {("shop", "a"): 64 * 2**20}

    loads.newest("cpu", {"shop"}, NOW + timedelta(seconds=15))
    assert api.asked == ["shop", "shop"]


def test_many_namespaces_are_read_in_one_call() -> None:
    api = FakeApi()

    MetricsServerLoads(api).newest("cpu", {f"n{number}" for number in range(6)}, NOW)

    assert api.asked == [None]


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        pytest.param(NotFound("x"), "install it, or connect a Prometheus", id="not installed"),
        pytest.param(Forbidden("x"), "grant get and list on pods.metrics.k8s.io", id="forbidden"),
        pytest.param(ServerBusy("x", status=503), "kubectl get apiservice", id="not serving"),
    ],
)
def test_a_failure_says_what_to_do(error: KubeError, advice: str) -> None:
    with pytest.raises(MetricsUnavailable, match=advice):
        MetricsServerLoads(FakeApi(error=error)).newest("cpu", {"shop"}, NOW)


def test_what_it_does_not_have_is_refused() -> None:
    loads = MetricsServerLoads(FakeApi())

    with pytest.raises(MetricsUnavailable, match="'rps' is not in metrics-server"):
        loads.newest("rps", {"shop"}, NOW)
    assert loads.throttled({"shop"}, NOW) == {} == loads.held({"shop"}, NOW)
