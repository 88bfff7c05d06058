"""What Prometheus can scrape of the scaler itself, and its health, over one small HTTP server; it decides nothing.

Gauges of workloads are made of the newest decisions when they are scraped, so that a tick costs nothing for them.
`python -m scaler.exposition` prints docs/metrics.md.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from scaler.domain import Action, Decision, Mode, Reason, TargetKey

_WORKLOAD: Final = ("namespace", "kind", "name")

# Name, help, and what it reads of a decision; None leaves the sample out, for missing is not zero.
_GAUGES: Final[tuple[tuple[str, str, Callable[[Decision], float | None]], ...]] = (
    ("ai_hpa_floor_replicas", "Replica floor after the newest decision; in shadow mode the one that would stand.",
     lambda d: d.floor),
    ("ai_hpa_current_replicas", "Replicas that the API asks for.", lambda d: d.current_replicas),
    ("ai_hpa_ready_replicas", "Pods that serve.", lambda d: d.ready_replicas),
    ("ai_hpa_load", "Newest observed load of the whole service, in its own unit.", lambda d: d.load),
    ("ai_hpa_forecast_peak", "Highest load to expect until added pods are ready, at the level of the miss budget.",
     lambda d: d.forecast_peak),
    ("ai_hpa_capacity", "Load that one pod carries.", lambda d: d.capacity),
    ("ai_hpa_lead_time_seconds", "Time from a raised floor to ready pods, 90 % quantile.",
     lambda d: _seconds(d.lead_time)),
    ("ai_hpa_forecast_age_seconds", "Age of the forecast behind the newest decision.",
     lambda d: _seconds(d.forecast_age)),
    ("ai_hpa_mode_on", "1 where floors are written, 0 in shadow mode.", lambda d: float(d.mode is Mode.ON)),
    ("ai_hpa_metrics_missing", "1 where the newest decision saw no usable load.", lambda d: float(d.load is None)),
    ("ai_hpa_forecast_missing", "1 where no valid forecast stood behind the newest decision.",
     lambda d: float(d.forecast_source is None)),
)  # fmt: skip


@dataclass(slots=True, eq=False)
class Exposition:
    """The scaler's own metrics; a `DecisionRecorder`.

    Attributes:
        registry: Of this scaler alone.
        tick_seconds: Wall time of each tick.
        leader: 1 while this replica acts.
        refused: Opted-in workloads that are left alone.
        troubled: Workloads whose floor could not be set, or is put back by somebody else.
    """

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    tick_seconds: Histogram = field(init=False)
    tick_errors: Counter = field(init=False)
    leader: Gauge = field(init=False)
    refused: Gauge = field(init=False)
    troubled: Gauge = field(init=False)
    forecaster_start_seconds: Gauge = field(init=False)
    _decisions: dict[TargetKey, Decision] = field(init=False, default_factory=dict)
    _actions: dict[tuple[Action, Reason], int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Register everything."""
        self.tick_seconds = Histogram(
            "ai_hpa_reconciliation_duration_seconds",
            "Wall time of one tick over all workloads.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30),
            registry=self.registry,
        )
        self.tick_errors = Counter(
            "ai_hpa_reconciliation_errors", "Ticks that a bug ended early.", registry=self.registry
        )
        self.leader = Gauge("ai_hpa_leader", "1 while this replica holds the Lease.", registry=self.registry)
        self.refused = Gauge(
            "ai_hpa_refused_workloads", "Opted-in workloads that are left alone.", registry=self.registry
        )
        self.troubled = Gauge(
            "ai_hpa_floor_trouble_workloads",
            "Workloads whose floor could not be set, or is put back by another manager.",
            registry=self.registry,
        )
        self.forecaster_start_seconds = Gauge(
            "ai_hpa_forecaster_start_seconds",
            "Time the forecaster takes from a first touch to an answer, 90 % quantile.",
            registry=self.registry,
        )
        self.registry.register(_Workloads(self))
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def record(self, decision: Decision) -> None:
        """Keep the newest decision of its workload."""
        self._decisions[decision.key] = decision
        counted = (decision.action, decision.reason)
        self._actions[counted] = self._actions.get(counted, 0) + 1

    def keep_only(self, keys: Mapping[TargetKey, object]) -> None:
        """Forget workloads that are no longer looked after."""
        if len(self._decisions) > len(keys):
            self._decisions = {key: decision for key, decision in self._decisions.items() if key in keys}

    def families(self) -> Iterator[Metric]:
        """Make the gauges of all workloads from their newest decisions."""
        decisions = list(self._decisions.values())
        for name, text, read in _GAUGES:
            family = GaugeMetricFamily(name, text, labels=_WORKLOAD)
            for decision in decisions:
                value = read(decision)
                if value is not None:
                    key = decision.key
                    family.add_metric((key.namespace, key.kind, key.name), value)
            yield family
        ratios = GaugeMetricFamily(
            "ai_hpa_forecast_cost_ratio",
            "Cost in pods of each source's forecasts over persistence's, discounted over days.",
            labels=(*_WORKLOAD, "source"),
        )
        champions = GaugeMetricFamily(
            "ai_hpa_champion", "1 for the source whose forecasts serve the workload.", labels=(*_WORKLOAD, "source")
        )
        for decision in decisions:
            if (champion := decision.champion) is not None:
                key = decision.key
                workload = (key.namespace, key.kind, key.name)
                champions.add_metric((*workload, champion.source.value), 1.0)
                for source, ratio in champion.cost_ratios.items():
                    ratios.add_metric((*workload, source), ratio)
        yield from (ratios, champions)
        counter = CounterMetricFamily(
            "ai_hpa_reconciliations", "Decisions by what they did and why.", labels=("action", "reason")
        )
        for (action, reason), count in list(self._actions.items()):
            counter.add_metric((action.value, reason.value), count)
        yield counter


@dataclass(frozen=True, slots=True, eq=False)
class _Workloads(Collector):
    exposition: Exposition

    def collect(self) -> Iterator[Metric]:
        return self.exposition.families()


def serve(
    port: int, registry: CollectorRegistry, *, healthy: Callable[[], str | None], ready: Callable[[], str | None]
) -> ThreadingHTTPServer:
    """Serve /metrics, /healthz and /readyz from a thread of its own until `shutdown` is called.

    Args:
        port: 0 takes a free one; `server_address` says which.
        registry: What /metrics shows.
        healthy: None while all is well, else what is not.
        ready: The same for readiness.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/metrics"):
                self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(registry))
                return
            probe = {"/healthz": healthy, "/readyz": ready}.get(self.path.partition("?")[0])
            if probe is None:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there are /metrics, /healthz and /readyz\n")
                return
            problem = probe()
            status = HTTPStatus.OK if problem is None else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, "text/plain", f"{problem or 'ok'}\n".encode())

        def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: a probe every few seconds is no event."""

    server = ThreadingHTTPServer(("", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server


def to_markdown() -> str:
    """Write `docs/metrics.md`."""
    lines = [
        "# Metrics of the scaler",
        "",
        "Generated by `python -m scaler.exposition`; a test fails where this file differs from the code.",
        "Served at `/metrics`. Metrics of workloads carry the labels `namespace`, `kind` and `name`; a value that is",
        "missing has no sample.",
        "",
        "| metric | type | meaning |",
        "|---|---|---|",
    ]
    own = {family.name: family for family in Exposition().registry.collect() if family.name.startswith("ai_hpa_")}
    for name in sorted(own):
        family = own[name]
        suffix = "_total" if family.type == "counter" else ""
        lines.append(f"| `{name}{suffix}` | {family.type} | {family.documentation} |")
    return "\n".join(lines) + "\n"


def _seconds(duration: timedelta | None) -> float | None:
    return duration.total_seconds() if duration is not None else None


if __name__ == "__main__":
    sys.stdout.write(to_markdown())
