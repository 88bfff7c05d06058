"""The newest CPU and memory of pods from metrics-server, for clusters without a Prometheus; it keeps no past."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from scaler.adapters.observer import PodName, PodSamples
from scaler.adapters.promql import SIDECARS
from scaler.domain import MetricsUnavailable
from scaler.kube.api import Forbidden, Json, KubeError, Listing, NotFound
from scaler.kube.objects import quantity, time_of
from scaler.kube.resources import POD_METRICS, Resource
from scaler.targets.workload import Metric

FEW_NAMESPACES: Final = 5  # up to here one call each is cheaper than one for the whole cluster
STALE_AFTER: Final = timedelta(seconds=60)  # behind the newest of all: metrics-server scrapes every 15 to 60 s

_WINDOW: Final = re.compile(r"(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")


class PodMetricsApi(Protocol):
    """The part of the API client that is needed here."""

    def list(self, resource: Resource, namespace: str | None = None) -> Listing:
        """Read all objects of a kind.

        Raises:
            KubeError: It could not be read.
        """


class MetricsServerLoads:
    """`PodLoads` from `metrics.k8s.io`; CPU is the mean over the window that each answer names."""

    def __init__(self, api: PodMetricsApi) -> None:
        """Take an API client."""
        self._api = api
        self._at: datetime | None = None
        self._items: list[Json] = []
        self._namespaces: frozenset[str] = frozenset()

    def newest(self, metric: str, namespaces: Collection[str], now: datetime) -> PodSamples:
        """Read all pods in one call; a second metric in the same tick is read from the same answer.

        Raises:
            MetricsUnavailable: No answer, or a metric that metrics-server does not have.
        """
        if metric not in {Metric.CPU, Metric.MEMORY}:
            raise MetricsUnavailable(
                f"metric {metric!r} is not in metrics-server, which has cpu and memory; connect a Prometheus for it"
            )
        values: dict[PodName, float] = {}
        times: dict[PodName, float] = {}
        windows = []
        for item in self._read(frozenset(namespaces), now):
            metadata, at = item.get("metadata") or {}, time_of(item.get("timestamp"))
            value = _total(item, metric)
            if value is None or at is None:
                continue
            name = (str(metadata.get("namespace") or ""), str(metadata.get("name") or ""))
            values[name], times[name] = value, at.timestamp()
            windows.append(window_of(item.get("window")))
        if not values:
            return PodSamples()
        newest = min(now.timestamp(), max(times.values()))
        return PodSamples(
            values=values,
            times=times,
            newest=newest,
            fresh_since=newest - STALE_AFTER.total_seconds(),
            span=sorted(windows)[len(windows) // 2],
        )

    def throttled(self, namespaces: Collection[str], now: datetime) -> Mapping[PodName, float]:
        """Nobody counts it."""
        return {}

    def held(self, namespaces: Collection[str], now: datetime) -> Mapping[PodName, float]:
        """Nobody counts them."""
        return {}

    def _read(self, namespaces: frozenset[str], now: datetime) -> list[Json]:
        if self._at == now and namespaces <= self._namespaces:
            return self._items
        asked: list[str | None] = [None] if len(namespaces) > FEW_NAMESPACES else [*sorted(namespaces)]
        try:
            self._items = [item for namespace in asked for item in self._api.list(POD_METRICS, namespace).items]
        except NotFound as exc:
            raise MetricsUnavailable("metrics-server is not installed; install it, or connect a Prometheus") from exc
        except Forbidden as exc:
            raise MetricsUnavailable(f"metrics-server: {exc}; grant get and list on pods.metrics.k8s.io") from exc
        except KubeError as exc:
            raise MetricsUnavailable(
                f"metrics-server: {exc}; see `kubectl get apiservice v1beta1.metrics.k8s.io`"
            ) from exc
        self._at, self._namespaces = now, namespaces
        return self._items


def _total(item: Json, metric: str) -> float | None:
    """Sum over a pod's own containers; None where one of them has no value."""
    containers = [c for c in item.get("containers") or () if c.get("name") not in SIDECARS]
    values = [quantity((container.get("usage") or {}).get(metric)) for container in containers]
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def window_of(text: Any) -> timedelta:
    """Read Go's durations as metrics-server writes them: `15.041s`, `1m0s`; 0 for anything else."""
    match = _WINDOW.fullmatch(text) if isinstance(text, str) else None
    return timedelta(minutes=int(match[1] or 0), seconds=float(match[2] or 0)) if match else timedelta(0)
