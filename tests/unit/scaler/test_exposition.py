"""What Prometheus scrapes of the scaler, and what its probes answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest

from scaler.domain import Action, Decision, Mode, Reason, TargetKey
from scaler.exposition import Exposition, serve, to_markdown

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"
NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
WEB = TargetKey("shop", "Deployment", "web")
API = TargetKey("shop", "Deployment", "api")


def decision(key: TargetKey = WEB, **changes: Any) -> Decision:
    values: dict[str, Any] = {
        "key": key,
        "at": NOW,
        "mode": Mode.ON,
        "previous_floor": 2,
        "floor": 5,
        "action": Action.SCALE_UP,
        "reason": Reason.DESIRED_WITHIN_RANGE,
        "reasons": (),
        "current_replicas": 2,
        "ready_replicas": 1,
        "load": 12.5,
        "lead_time": timedelta(seconds=90),
    }
    return Decision(**(values | changes))


def scrape(exposition: Exposition) -> str:
    return generate_latest(exposition.registry).decode()


def test_the_newest_decision_of_each_workload_is_shown() -> None:
    exposition = Exposition()
    exposition.record(decision(floor=3))
    exposition.record(decision(floor=5))
    exposition.record(decision(API, floor=1, mode=Mode.SHADOW))
    text = scrape(exposition)
    assert 'ai_hpa_floor_replicas{kind="Deployment",name="web",namespace="shop"} 5.0' in text
    assert 'ai_hpa_floor_replicas{kind="Deployment",name="api",namespace="shop"} 1.0' in text
    assert 'ai_hpa_mode_on{kind="Deployment",name="api",namespace="shop"} 0.0' in text
    assert 'ai_hpa_lead_time_seconds{kind="Deployment",name="web",namespace="shop"} 90.0' in text
    assert 'ai_hpa_reconciliations_total{action="scale_up",reason="DesiredWithinRange"} 3.0' in text


def test_a_missing_load_has_no_sample_and_is_counted_as_missing() -> None:
    exposition = Exposition()
    exposition.record(decision(load=None))
    text = scrape(exposition)
    assert "ai_hpa_load{" not in text
    assert 'ai_hpa_metrics_missing{kind="Deployment",name="web",namespace="shop"} 1.0' in text
    assert 'ai_hpa_forecast_missing{kind="Deployment",name="web",namespace="shop"} 1.0' in text


def test_a_workload_that_left_is_not_shown_any_more() -> None:
    exposition = Exposition()
    exposition.record(decision(WEB))
    exposition.record(decision(API))
    exposition.keep_only({API: None})
    assert 'name="web"' not in scrape(exposition)
    assert 'name="api"' in scrape(exposition)


@pytest.fixture
def health() -> dict[str, str | None]:
    return {"healthy": None, "ready": "not synced"}


@pytest.fixture
def server(health: dict[str, str | None]) -> Iterator[ThreadingHTTPServer]:
    exposition = Exposition()
    exposition.record(decision())
    server = serve(0, exposition.registry, healthy=lambda: health["healthy"], ready=lambda: health["ready"])
    yield server
    server.shutdown()
    server.server_close()


def test_probes_say_what_is_wrong(server: ThreadingHTTPServer, health: dict[str, str | None]) -> None:
    url = f"http://127.0.0.1:{server.server_address[1]}"
    with httpx.Client(base_url=url, trust_env=False) as client:
        assert (client.get("/healthz").status_code, client.get("/healthz").text) == (200, "ok\n")
        assert (client.get("/readyz").status_code, client.get("/readyz").text) == (503, "not synced\n")
        health |= {"healthy": "no tick for 80 s", "ready": None}
        assert client.get("/healthz").status_code == 503
        assert client.get("/readyz").status_code == 200
        assert "ai_hpa_floor_replicas" in client.get("/metrics").text
        assert client.get("/").status_code == 404


def test_the_documentation_is_generated() -> None:
    assert DOCS.read_text() == to_markdown(), "run: python -m scaler.exposition > docs/metrics.md"
