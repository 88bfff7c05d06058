"""What a live cluster shows of every workload in one tick: `MetricsSource` over pods and metrics; it changes nothing.

The load of a workload is the sum over its pods. What a sum leaves out makes it a lower bound, and the observation says
so (`censored`); nothing is ever filled in with zero. See docs/metrics-sources.md for the rules.
"""

from __future__ import annotations

import logging
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Protocol, TypeAlias

from scaler.adapters.load_history import Sample, SeenHistory
from scaler.adapters.promql import THROTTLED_RATIO
from scaler.domain import FloatArray, MetricsUnavailable, Observation, ScalerError, Target, TargetKey
from scaler.kube.objects import PodObject
from scaler.targets.view import PodLookup, living_pods
from scaler.targets.workload import Metric, Workload

PodName: TypeAlias = tuple[str, str]  # namespace, name

# Measured on the requests themselves, in queue-proxy: a pod that starts, or is at its limit, does not distort them.
_REQUEST_METRICS: Final = frozenset({Metric.CONCURRENCY, Metric.RPS})
# Measured on what pods use: starts and rollouts distort it.
_USE_METRICS: Final = frozenset({Metric.CPU, Metric.MEMORY})
_TICK: Final = timedelta(seconds=15)  # what a sample without a window stands for

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class PodSamples:
    """The newest values of one metric, by pod.

    Attributes:
        values: Load of each pod, also of pods that are gone.
        times: Unix time of each pod's newest sample; none for a series that ended.
        newest: The latest of them; None where there are none.
        fresh_since: A living pod's sample that is older is no measurement of what it does now.
        windowed: A value is the pod's share of the mean over a window, so that a pod that is gone still counts.
        span: Stretch of time before `newest` that the values are the mean of; 0 for gauges.
    """

    values: Mapping[PodName, float] = field(default_factory=dict)
    times: Mapping[PodName, float] = field(default_factory=dict)
    newest: float | None = None
    fresh_since: float = 0.0
    windowed: bool = False
    span: timedelta = timedelta(0)


class PodLoads(Protocol):
    """Where the load of pods is measured."""

    def newest(self, metric: str, namespaces: Collection[str], now: datetime) -> PodSamples:
        """Give the newest value of each pod, of these namespaces at least.

        Raises:
            MetricsUnavailable: No answer, or the metric is not collected here; says what to do.
        """

    def throttled(self, namespaces: Collection[str], now: datetime) -> Mapping[PodName, float]:
        """Share of its CFS periods in which a pod was throttled, of pods above 5 %; empty where nobody counts it.

        Raises:
            MetricsUnavailable: No answer.
        """

    def held(self, namespaces: Collection[str], now: datetime) -> Mapping[PodName, float]:
        """Requests at Knative's activator, by namespace and Configuration; empty where nobody counts them.

        Raises:
            MetricsUnavailable: No answer.
        """


class PodView(PodLookup, Protocol):
    """The cluster's pods, from watches; nothing here waits for the network."""

    def pod(self, namespace: str, name: str) -> PodObject | None:
        """One pod, living, finished, or deleted within the last five minutes."""

    def owner_of_pod(self, namespace: str, name: str) -> str | None:
        """Whose pod this is, `kind/name`; also of one deleted within the last five minutes."""


class LoadSource(Protocol):
    """Who has the past load of workloads."""

    def load_between(
        self, workloads: Sequence[Workload], *, start: datetime, end: datetime, step: timedelta, now: datetime
    ) -> Mapping[TargetKey, FloatArray]:
        """As `MetricsSource.load_between`.

        Raises:
            MetricsUnavailable: Nothing could be seen at all.
        """


@dataclass(frozen=True, slots=True)
class ObserverConfig:
    """When a sample is a lower bound.

    Attributes:
        warm_up: A pod is young for that long after it became Ready; its start is in its rate until then.
        start_up: A pod that is not Ready within that time of its start serves, and is overloaded; until then it starts.
            The HPA's `--horizontal-pod-autoscaler-cpu-initialization-period`.
        young_ratio: More young pods than this, and there are too few others to tell what the young ones would need.
        throttled_ratio: Mean share of throttled periods over the ready pods.
        saturated_ratio: Of the CPU limits of the ready pods.
    """

    warm_up: timedelta = timedelta(seconds=120)
    start_up: timedelta = timedelta(minutes=5)
    young_ratio: float = 0.3
    throttled_ratio: float = THROTTLED_RATIO
    saturated_ratio: float = 0.95


@dataclass(frozen=True, slots=True)
class _Pods:
    """The living pods of one workload.

    Attributes:
        living: All of them, as the cluster showed them.
        mature: Serve, or did and are overloaded.
        young: Serve, and their start is still in their rate.
        starting: Serve nothing yet.
        ready: Those that serve: of the mature and the young.
        names: Of the mature, the young, and those that start.
        cpu_limit: Of the ready ones together, cores; None where one of them has no limit.
    """

    living: Sequence[PodObject]
    mature: tuple[PodObject, ...]
    young: tuple[PodObject, ...]
    starting: tuple[PodObject, ...]
    ready: tuple[PodObject, ...] = field(init=False)
    names: tuple[PodName, ...] = field(init=False)
    cpu_limit: float | None = field(init=False)

    def __post_init__(self) -> None:
        """Work out once what every tick asks for."""
        ready = tuple(pod for pod in (*self.mature, *self.young) if pod.ready)
        limits = [pod.amounts.cpu_limit for pod in ready if pod.amounts.cpu_limit is not None]
        object.__setattr__(self, "ready", ready)
        object.__setattr__(
            self, "names", tuple(pod.meta.full_name for pod in (*self.mature, *self.young, *self.starting))
        )
        object.__setattr__(self, "cpu_limit", sum(limits) if len(limits) == len(ready) else None)

    def still_hold(self, living: Sequence[PodObject]) -> bool:
        """Whether sorting these would come to the same: no pod is another, and none changes with time alone."""
        return not self.young and not self.starting and self.living == living


@dataclass(frozen=True, slots=True)
class _Signals:
    """What the metrics say in this tick."""

    samples: PodSamples
    throttled: Mapping[PodName, float]
    held: Mapping[PodName, float] | None
    at: datetime


class _Load(NamedTuple):
    """Load of one workload; None where no pod that should be measured was."""

    value: float | None = None
    sampled_at: datetime | None = None
    complete: bool = True


@dataclass(slots=True, kw_only=True)
class Observer:
    """`MetricsSource` of a live cluster; `observe` and `load_between` may run in different threads.

    Attributes:
        workload_of: The workload behind a target, as discovery saw it last; None for one that is gone.
        standing_floor: The floor that stands in the API now; None where the lever has none.
        history: Where the past is asked for.
        seen: Takes in every sample, where the past is not kept elsewhere.
    """

    workload_of: Callable[[TargetKey], Workload | None]
    standing_floor: Callable[[Workload], int | None]
    pods: PodView
    loads: PodLoads
    history: LoadSource
    seen: SeenHistory | None = None
    config: ObserverConfig = field(default_factory=ObserverConfig)
    _sorted_before: dict[TargetKey, _Pods] = field(init=False, repr=False, default_factory=dict)

    def observe(self, targets: Sequence[Target], now: datetime) -> Mapping[TargetKey, Observation]:
        """See every target once, with one query per signal for all of them.

        Where a metric cannot be had, its workloads are seen without a load: what the API says of them still counts.
        """
        workloads = self._workloads(targets)
        by_metric: dict[str, list[Workload]] = {}
        for workload in workloads:
            by_metric.setdefault(workload.metric, []).append(workload)
        pods = {workload.key: self._pods_of(workload, now) for workload in workloads}
        self._sorted_before = pods
        observations: dict[TargetKey, Observation] = {}
        samples: dict[TargetKey, Sample] = {}
        for metric, members in by_metric.items():
            signals = self._signals(metric, members, now)
            gone = self._gone(members, pods, signals.samples)
            for workload in members:
                key = workload.key
                observation = self._observation(workload, pods[key], gone.get(key, ()), signals)
                if observation is not None:
                    observations[key] = observation
                    if self.seen is not None:
                        samples |= _sample(observation, key, signals.samples.span, now)
        if self.seen is not None:
            self.seen.keep_only({workload.key for workload in workloads})
            self.seen.record(samples)
        return observations

    def load_between(
        self, targets: Sequence[Target], *, start: datetime, end: datetime, step: timedelta, now: datetime
    ) -> Mapping[TargetKey, FloatArray]:
        """Load at start + step, ..., end, of all targets together.

        Raises:
            MetricsUnavailable: Nothing could be seen at all.
        """
        workloads = self._workloads(targets)
        return self.history.load_between(workloads, start=start, end=end, step=step, now=now)

    def _workloads(self, targets: Sequence[Target]) -> list[Workload]:
        found = (self.workload_of(target.key) for target in targets)
        return [workload for workload in found if workload is not None]

    def _signals(self, metric: str, workloads: Sequence[Workload], now: datetime) -> _Signals:
        """Ask for one metric and what qualifies it; an answer that is missing leaves the others alone."""
        namespaces = {workload.key.namespace for workload in workloads}
        samples, throttled, held = PodSamples(), {}, None
        try:
            samples = self.loads.newest(metric, namespaces, now)
            if metric not in {Metric.MEMORY, Metric.CONCURRENCY}:
                throttled = dict(self.loads.throttled(namespaces, now))
            if metric in _REQUEST_METRICS:
                held = self.loads.held(namespaces, now)
        except MetricsUnavailable as error:
            logger.warning("metric_unavailable", extra={"metric": metric, "error": str(error)})
        return _Signals(samples, throttled, held, now)

    def _gone(
        self, workloads: Sequence[Workload], pods: Mapping[TargetKey, _Pods], samples: PodSamples
    ) -> Mapping[TargetKey, list[PodName]]:
        """Find whose the samples are that no living pod claims: pods that ended within the window."""
        gone: dict[TargetKey, list[PodName]] = {}
        if not samples.windowed:
            return gone
        claimed = {name for workload in workloads for name in pods[workload.key].names}
        whose = _Ownership(workloads)
        for namespace, name in samples.values.keys() - claimed:
            pod = self.pods.pod(namespace, name)
            key = whose.key_of(pod, self.pods.owner_of_pod(namespace, name)) if pod is not None else None
            if key is not None:
                gone.setdefault(key, []).append((namespace, name))
        return gone

    def _pods_of(self, workload: Workload, now: datetime) -> _Pods:
        """Sort the living pods of a workload; where nothing has changed, those of the last tick."""
        living = living_pods(self.pods, workload.pods)
        before = self._sorted_before.get(workload.key)
        return before if before is not None and before.still_hold(living) else self._sorted(living, now)

    def _sorted(self, living: Sequence[PodObject], now: datetime) -> _Pods:
        mature: list[PodObject] = []
        young: list[PodObject] = []
        starting: list[PodObject] = []
        for pod in living:
            if pod.ready_since is not None:
                (young if now - pod.ready_since < self.config.warm_up else mature).append(pod)
                continue
            started = pod.started_at or pod.meta.created
            (starting if started is None or now - started < self.config.start_up else mature).append(pod)
        return _Pods(living, tuple(mature), tuple(young), tuple(starting))

    def _observation(
        self, workload: Workload, pods: _Pods, gone: Sequence[PodName], signals: _Signals
    ) -> Observation | None:
        try:
            floor = self.standing_floor(workload)
        except ScalerError as error:
            logger.warning("floor_unknown", extra={"target": str(workload.key), "error": str(error)})
            return None
        load = _load(workload, pods, gone, signals.samples)
        held = _held(workload, signals.held)
        if held and workload.metric == Metric.CONCURRENCY:
            # A request that the activator passes on is counted in both places, one that it holds only there.
            load = _Load(max(load.value or 0.0, held), load.sampled_at or signals.at, load.complete)
        at_zero = workload.current_replicas == workload.ready_replicas == 0
        waiting = at_zero and load.value is None and (held is None or held > 0)
        return Observation(
            sampled_at=load.sampled_at,
            load=load.value,
            ready_replicas=workload.ready_replicas,
            current_replicas=workload.current_replicas,
            floor=floor,
            censored=waiting or not load.complete or self._is_lower_bound(workload, pods, signals, load.value),
        )

    def _is_lower_bound(self, workload: Workload, pods: _Pods, signals: _Signals, load: float | None) -> bool:
        """Whether the pods could not show all of the demand, or showed more than demand."""
        ready = pods.ready
        if not ready:
            return False
        throttled = signals.throttled
        if throttled:
            ratios = (throttled.get(pod.meta.full_name, 0.0) for pod in ready)
            if sum(ratios) > self.config.throttled_ratio * len(ready):
                return True
        if workload.metric not in _USE_METRICS:
            return False
        young = sum(pod.ready for pod in pods.young)
        if workload.rolling_out or young > self.config.young_ratio * len(ready):
            return True
        if workload.metric != Metric.CPU or load is None or pods.cpu_limit is None:
            return False  # without a limit a pod takes what its node has, and cannot be seen to be saturated
        return load >= self.config.saturated_ratio * pods.cpu_limit


class _Ownership:
    """Finds whose a pod is, among workloads named by the owner of their pods or by labels."""

    def __init__(self, workloads: Sequence[Workload]) -> None:
        self._by_owner = {
            (workload.pods.namespace, owner): workload.key for workload in workloads for owner in workload.pods.owners
        }
        by_label = [workload for workload in workloads if not workload.pods.owners and workload.pods.labels]
        shared = Counter(label for workload in by_label for label in _labels(workload))
        self._by_label: dict[tuple[str, str, str], list[Workload]] = {}
        for workload in by_label:
            # Filed under the label that the fewest share, so that a pod is compared with few.
            self._by_label.setdefault(min(_labels(workload), key=lambda label: shared[label]), []).append(workload)

    def key_of(self, pod: PodObject, owner: str | None) -> TargetKey | None:
        """Give the workload of a pod; None where it is none of these."""
        namespace, labels = pod.meta.namespace, pod.meta.labels
        if owner is not None and (namespace, owner) in self._by_owner:
            return self._by_owner[namespace, owner]
        for label in labels.items():
            for workload in self._by_label.get((namespace, *label), ()):
                if workload.pods.labels.items() <= labels.items():
                    return workload.key
        return None


def _labels(workload: Workload) -> list[tuple[str, str, str]]:
    return [(workload.pods.namespace, *label) for label in workload.pods.labels.items()]


def _load(workload: Workload, pods: _Pods, gone: Sequence[PodName], samples: PodSamples) -> _Load:
    """Sum over the pods; out of CPU is left what is no demand: a start, and what a young pod takes above the others.

    Args:
        workload: Whose load it is.
        pods: Its living pods.
        gone: Names of those that ended within the window.
        samples: Of its metric.
    """
    is_cpu = workload.metric == Metric.CPU
    counted = len(pods.names) - (len(pods.starting) if is_cpu else 0)
    # Lists side by side and names looked up once: this runs over every pod of the cluster in every tick.
    names = pods.names[:counted]
    known = [samples.values.get(name) for name in names]
    times = [samples.times.get(name, 0.0) for name in names]
    fresh = [v is not None and at >= samples.fresh_since for v, at in zip(known, times, strict=True)]
    values = [value or 0.0 for value in known]
    unseen = not all(fresh) and any(
        pod.ready and not seen for pod, seen in zip((*pods.mature, *pods.young), fresh, strict=False)
    )
    if is_cpu and pods.young:
        split = len(pods.mature)
        mature = [value for value, seen in zip(values[:split], fresh[:split], strict=True) if seen]
        # Without a mature one at most what a pod can carry: starts alone then never ask for more pods.
        cap = statistics.median(mature) if mature else workload.target.capacity
        values[split:] = [min(value, cap) for value in values[split:]]
    measured = any(fresh)
    if not measured and (pods.ready or workload.ready_replicas or not gone):
        return _Load(complete=not unseen)
    newest = max((at for at, seen in zip(times, fresh, strict=True) if seen), default=samples.newest)
    sampled_at = _time(newest) if newest is not None else None
    load = sum(values) + sum(samples.values[name] for name in gone)
    return _Load(load, sampled_at, complete=not unseen and (measured or not pods.starting))


def _held(workload: Workload, held: Mapping[PodName, float] | None) -> float | None:
    """Give the requests that wait for a Knative service; None where nobody could say, 0 for all others."""
    if workload.metric not in _REQUEST_METRICS or workload.pods.history_kind != "Revision":
        return 0.0
    return held.get((workload.pods.namespace, workload.pods.history_name), 0.0) if held is not None else None


def _sample(observation: Observation, key: TargetKey, span: timedelta, now: datetime) -> dict[TargetKey, Sample]:
    """Turn an observation into history; pods at zero in the API, with nothing waiting, are an observed zero."""
    if observation.load is not None and observation.sampled_at is not None:
        return {key: Sample(observation.load, observation.sampled_at - max(span, _TICK), observation.sampled_at)}
    if observation.current_replicas == observation.ready_replicas == 0 and not observation.censored:
        return {key: Sample(0.0, now - _TICK, now)}
    return {}


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
