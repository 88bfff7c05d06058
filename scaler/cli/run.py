"""`ai-hpa run`: the scaler on a live cluster, plugged together from its environment; its loop reads the clock."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import FrameType
from typing import Annotated, Final

import typer

from scaler.adapters.kserve_forecaster import KServeForecaster
from scaler.adapters.load_history import LoadHistory, SeenHistory
from scaler.adapters.metrics_server import MetricsServerLoads
from scaler.adapters.observer import LoadSource, Observer, PodLoads
from scaler.adapters.prometheus import PrometheusClient, PrometheusLoads, connection_of
from scaler.adapters.promql import Preset
from scaler.cli.beside import BesideExecutor
from scaler.cli.exits import EXIT_BAD_INPUT, EXIT_NO_CLUSTER, fail
from scaler.cli.session import now
from scaler.cli.turns import Turns
from scaler.domain import ScalerError, TargetKey
from scaler.exposition import Exposition, serve
from scaler.kube.api import USER_AGENT, KubeApi, NoCluster, connect
from scaler.kube.cluster import Cluster
from scaler.kube.events import EventSink
from scaler.kube.facts import FactsReader
from scaler.kube.lease import Leadership, LeaseConfig, identity_of
from scaler.kube.objects import InferenceServiceObject
from scaler.live import LiveParts, LiveScaler
from scaler.live_config import LiveConfig
from scaler.settings import Settings, SettingsError, load_settings
from scaler.targets.actuator import Actuator, Trouble
from scaler.targets.discovery import Discovery, DiscoveryConfig
from scaler.targets.peaks import PeakReplicas
from scaler.targets.record import RecorderConfig, Sources, StatusRecorder
from scaler.targets.release import Releaser
from scaler.targets.stages import Stages, start_durations, start_stages
from scaler.targets.view import living_pods
from scaler.targets.workload import Workload
from scaler.telemetry import configure_logging

STALLED_TICKS: Final = 5  # without a tick that ended, the process is not well
FIRST_LOOK_SECONDS: Final = 60.0
# For the collector of cycles: what is kept of a large cluster lives long, and each look at all of it takes 0.1 s.
# Two answers of Prometheus for 5,000 pods are 40,000 objects, all gone a moment later.
GC_THRESHOLDS: Final = (200_000, 20, 10)

logger = logging.getLogger(__name__)


def run_command(
    *,
    context: Annotated[
        str | None, typer.Option(help="Context of the kubeconfig; without it the pod's service account comes first.")
    ] = None,
    log_level: Annotated[
        str, typer.Option(help="debug (every decision of every tick), info, warning or error.")
    ] = "info",
) -> None:
    """Run the scaler on a live cluster.

    It reads AI_HPA_* (docs/configuration.md), elects one of its replicas by a Lease, and looks after every workload
    with an `ai-hpa.dev/` annotation or a PredictiveScaler. A workload is in shadow mode until you say `on`.
    """
    level = logging.getLevelNamesMapping().get(log_level.upper())
    if level is None:
        fail(f"--log-level must be debug, info, warning or error, got {log_level!r}", EXIT_BAD_INPUT)
    configure_logging(sys.stderr, level)
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        settings = load_settings()
        # Each replica by its own name, so that an audit log tells their writes apart.
        api = connect(context=context, user_agent=f"{USER_AGENT}/{settings.live.pod_name}")
    except SettingsError as exc:
        fail(str(exc), EXIT_BAD_INPUT)
    except NoCluster as exc:
        fail(str(exc), EXIT_NO_CLUSTER)
    process = Process(api, settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, process.end)
    process.run()


@dataclass(slots=True)
class _Pulse:
    """When the loop last came around; asked by the health probe's thread."""

    clock: Callable[[], float] = time.monotonic
    beat: float = field(init=False)

    def __post_init__(self) -> None:
        self.beat = self.clock()

    def mark(self) -> None:
        self.beat = self.clock()

    def problem(self, longest: timedelta) -> str | None:
        silent = self.clock() - self.beat
        return f"no tick ended for {silent:.0f} s" if silent > longest.total_seconds() else None


class Process:
    """Everything that one replica runs."""

    def __init__(self, api: KubeApi, settings: Settings) -> None:
        """Plug the parts together; nothing is started or sent yet."""
        live, self._config = settings.live, settings.controller
        self._live = live
        self._turns = Turns(self._config.policy.tick)
        self._pulse = _Pulse()
        self._cluster = Cluster(api, namespaces=live.namespace_list(), facts=_facts(api, live))
        self._leadership = Leadership(
            api,
            LeaseConfig(live.pod_namespace, live.lease_name, identity_of(live.pod_name)),
            wall_clock=now,
        )
        self._leadership.on_started = self._turns.hurry
        self._events = EventSink(api, instance=live.pod_name, held=self._leadership.held)
        self._executor = BesideExecutor("forecast")
        self._exposition = Exposition()
        self._scaler = self._plug(api)
        self._cluster.on_new_revision(self._inherit_soon)

    def end(self, number: int, frame: FrameType | None) -> None:
        """Take a signal: finish the tick under way, give the lease back, and end."""
        logger.info("ending", extra={"signal": signal.Signals(number).name})
        self._turns.end()

    def run(self) -> None:
        """Run until `end`."""
        released = threading.Event()  # set when nothing writes any more: only then may the lease be given back
        self._cluster.start(self._turns.ended)
        lease = self._leadership.start(released)
        events = self._events.start()
        server = serve(
            self._live.http_port, self._exposition.registry, healthy=self._health, ready=self._readiness
        ) if self._live.http_port else None  # fmt: skip
        if not self._cluster.wait_synced(FIRST_LOOK_SECONDS):
            logger.warning("cluster_not_synced", extra={"problems": list(self._cluster.problems())})
        while not self._turns.ended.is_set():
            self._turns.begin()
            self._come_around()
            self._pulse.mark()
            self._turns.rest()
        self._events.end()
        events.join(timeout=5)
        released.set()
        lease.join(timeout=5)
        if server is not None:
            server.shutdown()
            server.server_close()

    def _inherit_soon(self, service: InferenceServiceObject) -> None:
        """A new Revision is Ready, and has all the traffic, within seconds: it needs the floor before that."""
        if self._scaler.looks_after(service):
            self._turns.hurry()

    def _come_around(self) -> None:
        """Tick, or stand by; whatever goes wrong is said, counted, and tried again at the next turn."""
        try:
            if self._leadership.held():
                with self._exposition.tick_seconds.time():
                    self._scaler.tick(now())
            else:
                self._scaler.stand_by(now())
        except ScalerError as error:
            extra = {"error": str(error), "problems": list(self._cluster.problems())}
            logger.warning("tick_held", extra=extra)
        except Exception:
            self._exposition.tick_errors.inc()
            logger.exception("tick_failed")

    def _plug(self, api: KubeApi) -> LiveScaler:
        held, cluster, peaks = self._leadership.held, self._cluster, PeakReplicas()
        actuator = Actuator(api, cluster, workload=self._workload, held=held, events=self._events)
        metrics = self._observer(api, actuator)
        status = StatusRecorder(
            api,
            cluster,
            held=held,
            events=self._events,
            sources=Sources(
                workload=self._workload,
                trouble=lambda key: actuator.trouble(key) or self._unwatched(key),
                seed=self._starts_seen,
                stages=self._stages,
            ),
            config=RecorderConfig(self._config.forecast_cycle.longest_period, self._live.status_writes),
        )
        return LiveScaler(
            LiveParts(
                watches=cluster,
                finder=self._discovery(peaks),
                peaks=peaks,
                metrics=metrics,
                forecaster=KServeForecaster(
                    self._live.forecaster_url,
                    host=self._live.forecaster_host,
                    deadline=self._config.forecast_cycle.forecast_deadline,
                ),
                lever=actuator,
                release=Releaser(api, cluster, held=held, events=self._events),
                status=status,
                exposition=self._exposition,
                executor=self._executor,
                sample=_standby_sampling(metrics),
            ),
            self._config,
        )

    def _discovery(self, peaks: PeakReplicas) -> Discovery:
        config = DiscoveryConfig(
            presets=frozenset(self._live.presets()),
            assumed_maximum_ratio=self._live.assumed_maximum_ratio or None,
        )
        return Discovery(self._cluster, config=config, peak_replicas=peaks.of)

    def _observer(self, api: KubeApi, actuator: Actuator) -> Observer:
        live = self._live
        loads: PodLoads
        history: LoadSource
        seen: SeenHistory | None = None
        if live.prometheus_url:
            loads = _prometheus(live)
            history = LoadHistory(loads)
        else:
            loads = MetricsServerLoads(api)
            history = seen = SeenHistory()
        return Observer(
            workload_of=self._workload,
            standing_floor=actuator.standing_floor,
            pods=self._cluster,
            loads=loads,
            history=history,
            seen=seen,
        )

    def _workload(self, key: TargetKey) -> Workload | None:
        return self._scaler.workload(key)

    def _unwatched(self, key: TargetKey) -> Trouble | None:
        """Say what of a workload may not be seen; it holds until then."""
        resources = self._scaler.not_watched(key)
        said = self._cluster.problems(resources) if resources else ()
        return Trouble("NotWatched", "; ".join(said), now()) if said else None

    def _starts_seen(self, key: TargetKey) -> tuple[timedelta, ...]:
        workload = self._workload(key)
        return start_durations(living_pods(self._cluster, workload.pods)) if workload is not None else ()

    def _stages(self, workload: Workload) -> Stages | None:
        return start_stages(living_pods(self._cluster, workload.pods))

    def _health(self) -> str | None:
        # The first look at a large cluster may take a minute before there is any tick.
        longest = STALLED_TICKS * self._config.policy.tick + timedelta(seconds=FIRST_LOOK_SECONDS)
        return self._pulse.problem(longest)

    def _readiness(self) -> str | None:
        if self._cluster.synced():
            return None
        return "; ".join(self._cluster.problems()) or "the cluster is not listed yet"


def _prometheus(live: LiveConfig) -> PrometheusLoads:
    timeout, connection = live.prometheus_timeout.total_seconds(), connection_of(live, live.prometheus_url)
    budget = max(timeout, connection.budget_seconds)
    connection = replace(connection, timeout_seconds=timeout, budget_seconds=budget)
    presets = [Preset(name, query) for name, query in live.presets().items()]
    return PrometheusLoads(PrometheusClient(connection), rate_window=live.rate_window, presets=presets)


def _facts(api: KubeApi, live: LiveConfig) -> FactsReader:
    return FactsReader(api, kserve_namespace=live.kserve_namespace, knative_namespace=live.knative_namespace)


def _standby_sampling(observer: Observer) -> Callable[[Collection[Workload], datetime], None]:
    """Keep a history that nobody else keeps."""
    if observer.seen is None:
        return lambda workloads, now: None
    return lambda workloads, now: _observe(observer, workloads, now)


def _observe(observer: Observer, workloads: Collection[Workload], now: datetime) -> None:
    observer.observe([workload.target for workload in workloads], now)
