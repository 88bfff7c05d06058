"""One scaler on a live cluster: what a tick does around the controller's, in its order; it reads no clock."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Container, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from scaler.controller import (
    Controller,
    ControllerConfig,
    DecisionRecorder,
    Forecaster,
    MemoryStore,
    MetricsSource,
    ScaleTarget,
)
from scaler.domain import Action, Decision, FloatArray, Observation, Target, TargetKey, TargetUnavailable
from scaler.exposition import Exposition
from scaler.kube.objects import InferenceServiceObject
from scaler.kube.resources import INFERENCE_SERVICES, PODS
from scaler.targets.peaks import PeakReplicas
from scaler.targets.workload import Discovered, Workload
from scaler.telemetry import ROWS, decision_row

logger = logging.getLogger(__name__)


class Watches(Protocol):
    """How far what is seen of the cluster can be trusted."""

    def synced(self) -> bool:
        """Whether every kind was listed once."""

    def blind(self) -> frozenset[str]:
        """Full names of the resources whose watch is stale or forbidden now."""


class Finder(Protocol):
    """Who finds what is opted in."""

    def discover(self, now: datetime) -> Discovered:
        """Find all workloads and refusals."""


class Lever(ScaleTarget, Protocol):
    """Who writes floors, and sees to it that they stand."""

    def verify(self, discovered: Discovered, now: datetime) -> None:
        """Look for floors that somebody else took back."""

    def reapply(self, discovered: Discovered, now: datetime) -> None:
        """Give objects that are new in a lever the floor of their workload."""

    def problem(self, key: TargetKey) -> str | None:
        """What keeps the floor of a workload from standing."""


class Release(Protocol):
    """Who gives earlier values back."""

    def release_stale(self, discovered: Discovered, now: datetime) -> None:
        """Give back the floors of all that is no longer in mode on."""


class StatusBook(DecisionRecorder, MemoryStore, Protocol):
    """Who keeps decisions and what was learned in PredictiveScalers."""

    def flush(self, discovered: Discovered, now: datetime) -> int:
        """Write what is due; give how many were written."""


@dataclass(slots=True, kw_only=True)
class LiveParts:
    """What a live scaler is plugged together from.

    Attributes:
        peaks: Told what runs; the finder asks it for the peak of a workload without a maximum.
        sample: Called on every tick of a standby: keeps up a history that lives in memory alone.
    """

    watches: Watches
    finder: Finder
    metrics: MetricsSource
    forecaster: Forecaster
    lever: Lever
    release: Release
    status: StatusBook
    exposition: Exposition
    executor: Executor
    peaks: PeakReplicas = field(default_factory=PeakReplicas)
    sample: Callable[[Collection[Workload], datetime], None] = field(default=lambda workloads, now: None)


class LiveScaler:
    """The loop's body. One thread ticks; `workload` and `looks_after` may be asked from any."""

    def __init__(self, parts: LiveParts, config: ControllerConfig) -> None:
        """Start with nothing found and nobody leading."""
        self._parts = parts
        self._config = config
        self._found = Discovered()
        self._blind: frozenset[str] = frozenset()
        self._controller: Controller | None = None
        self._log = self._new_log()

    @property
    def discovered(self) -> Discovered:
        """What the newest tick found."""
        return self._found

    def workload(self, key: TargetKey) -> Workload | None:
        """Find a workload as the newest tick saw it."""
        return self._found.workloads.get(key)

    def not_watched(self, key: TargetKey) -> frozenset[str]:
        """Give full names of the resources that a workload needs and that the newest tick could not trust."""
        return self._blind & _needs(self.workload(key)) if self._blind else self._blind

    def looks_after(self, service: InferenceServiceObject) -> bool:
        """Whether the newest tick found a component of this InferenceService opted in."""
        meta, workloads = service.meta, self._found.workloads
        keys = (TargetKey(meta.namespace, INFERENCE_SERVICES.kind, f"{meta.name}/{c}") for c in service.components)
        return any(key in workloads for key in keys)

    def stand_by(self, now: datetime) -> None:
        """Watch without acting, so that this replica could take over at once."""
        parts, self._controller = self._parts, None
        parts.exposition.leader.set(0)
        if parts.watches.synced():
            self._found = self._find(now)
            # Writes nothing while another leads, and learns what there would be to give back.
            parts.release.release_stale(self._found, now)
            parts.sample(self._found.workloads.values(), now)

    def tick(self, now: datetime) -> tuple[Decision, ...]:
        """Find, observe, decide, act and tell once.

        Raises:
            TargetUnavailable: The cluster was never seen whole; nothing was done.
        """
        parts = self._parts
        parts.exposition.leader.set(1)
        if not parts.watches.synced():
            raise TargetUnavailable("the cluster is not listed yet, or permissions are missing: see cluster_watch logs")
        self._found, self._blind = self._find(now), parts.watches.blind()
        if self._controller is None:
            self._controller = self._new_controller()
        parts.lever.verify(self._found, now)
        parts.lever.reapply(self._found, now)
        parts.release.release_stale(self._found, now)
        try:
            decisions = self._controller.tick(now)
        finally:
            self._log.write()
        parts.status.flush(self._found, now)
        self._log.keep_only(self._found.workloads)
        self._expose(self._controller)
        return decisions

    def _find(self, now: datetime) -> Discovered:
        found = self._parts.finder.discover(now)
        self._parts.peaks.see(found.workloads.values(), now)
        return found

    def _new_controller(self) -> Controller:
        """Begin leading: everything that was learned comes from where an earlier leader left it."""
        parts, self._log = self._parts, self._new_log()
        return Controller(
            targets=_Targets(lambda: self._found),
            metrics=_Sight(parts.metrics, self.not_watched),
            forecaster=parts.forecaster,
            scale_target=parts.lever,
            recorder=_Recorders((parts.status, parts.exposition, self._log)),
            executor=parts.executor,
            config=self._config,
            memory=parts.status,
        )

    def _new_log(self) -> _DecisionLog:
        return _DecisionLog(self._config.forecast_cycle.longest_period)

    def _expose(self, controller: Controller) -> None:
        exposition, workloads = self._parts.exposition, self._found.workloads
        exposition.keep_only(workloads)
        exposition.refused.set(len(self._found.refusals))
        exposition.troubled.set(sum(self._parts.lever.problem(key) is not None for key in workloads))
        exposition.forecaster_start_seconds.set(controller.forecaster_starts.lead_time.total_seconds())


@dataclass(frozen=True, slots=True)
class _Targets:
    """The TargetSource of a live scaler: what the tick has found already."""

    found: Callable[[], Discovered]

    def targets(self, now: datetime) -> Sequence[Target]:
        return [workload.target for workload in self.found().workloads.values()]


@dataclass(frozen=True, slots=True)
class _Sight:
    """A MetricsSource that does not see workloads whose objects are not watched at the moment.

    What a stale watch shows may be long past: such a workload counts as unseen, and an unseen one holds.
    """

    metrics: MetricsSource
    not_watched: Callable[[TargetKey], frozenset[str]]

    def observe(self, targets: Sequence[Target], now: datetime) -> Mapping[TargetKey, Observation]:
        missing = {target.key: blind for target in targets if (blind := self.not_watched(target.key))}
        if missing:
            extra = {"resources": sorted(frozenset().union(*missing.values())), "workloads": len(missing)}
            logger.warning("cluster_watch_blind", extra=extra)
        return self.metrics.observe([target for target in targets if target.key not in missing], now)

    def load_between(
        self, targets: Sequence[Target], *, start: datetime, end: datetime, step: timedelta, now: datetime
    ) -> Mapping[TargetKey, FloatArray]:
        return self.metrics.load_between(targets, start=start, end=end, step=step, now=now)


@dataclass(frozen=True, slots=True)
class _Recorders:
    """Passes each decision to several recorders."""

    recorders: tuple[DecisionRecorder, ...]

    def record(self, decision: Decision) -> None:
        for recorder in self.recorders:
            recorder.record(decision)


def _needs(workload: Workload | None) -> frozenset[str]:
    """Name what has to be watched for a workload to be seen: its pods, and what carries its floor."""
    levers = workload.lever.fields if workload is not None else ()
    return frozenset((PODS.full_name, *(f.resource.full_name for f in levers)))


class _DecisionLog:
    """A log line for each decision that says something else than the last line on its workload, and else per period.

    A thousand workloads would otherwise write 4 GB a day of what hardly changes; at level debug they do. All lines of a
    tick are written at once: a line costs less than a record.
    """

    def __init__(self, period: timedelta) -> None:
        self._period = period
        self._written: dict[TargetKey, Decision] = {}
        self._due: list[Decision] = []

    def record(self, decision: Decision) -> None:
        before = self._written.get(decision.key)
        if (
            before is None
            or decision.action is not Action.NONE
            or _said(decision) != _said(before)
            or decision.at - before.at >= self._period
            or logger.isEnabledFor(logging.DEBUG)
        ):
            self._written[decision.key] = decision
            self._due.append(decision)

    def write(self) -> None:
        decisions, self._due = self._due, []
        if decisions and logger.isEnabledFor(logging.INFO):
            logger.info("decision", extra={ROWS: [decision_row(decision) for decision in decisions]})

    def keep_only(self, keys: Container[TargetKey]) -> None:
        """Forget workloads that are no longer looked after."""
        self._written = {key: decision for key, decision in self._written.items() if key in keys}


def _said(decision: Decision) -> tuple[object, ...]:
    """Give what a reader of the log acts on; all else are numbers that move."""
    champion = decision.champion.source if decision.champion is not None else None
    return (
        decision.mode,
        decision.floor,
        decision.reasons,
        decision.forecast_source,
        decision.forecast_failure,
        champion,
    )
