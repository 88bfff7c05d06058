"""In what a workload's load is measured, and how much of it one pod carries; it refuses rather than invents a number.

Capacity is the load of one pod beyond which its service level fails. Without a word of the user's it is
containerConcurrency, else the soft target, for concurrency; 90 % of the limit, else of the request, for cpu and memory.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from scaler.kube.objects import Amounts
from scaler.targets.annotations import METRIC, TARGET, Settings, TargetAmount, TargetKind
from scaler.targets.found import Found, Refused, Signal
from scaler.targets.view import ClusterFacts
from scaler.targets.workload import Metric, RefusalReason

SHARE_OF_RESOURCE: Final = 0.9  # a pod at its whole limit is throttled, or killed, already

_RESOURCES: Final = frozenset({Metric.CPU, Metric.MEMORY})
_REQUESTS: Final = frozenset({Metric.CONCURRENCY, Metric.RPS})
_NO_REQUEST_METRICS: Final = (
    "Knative exports no request metrics (config-observability: set metrics-protocol and request-metrics-protocol to "
    "prometheus, and scrape queue-proxy and the activator)"
)


@dataclass(frozen=True, slots=True)
class Measure:
    """How a workload's load is counted.

    Attributes:
        metric: A `Metric` or the name of a preset.
        capacity: Cores, bytes, requests at once, requests per second, or the preset's unit.
        source: Where the capacity comes from, in words.
        notes: What its user should know, each a sentence.
    """

    metric: str
    capacity: float
    source: str
    notes: tuple[str, ...] = ()


def measure(settings: Settings, found: Found, facts: ClusterFacts, presets: Collection[str]) -> Measure:
    """Settle metric and capacity of one workload.

    Args:
        settings: What its user said.
        found: Its lever and pods.
        facts: Of the cluster.
        presets: Names of the cluster's own PromQL presets.

    Raises:
        Refused: The metric cannot be collected here, or nothing says what one pod carries.
    """
    metric, notes = _metric(settings, found.signal, facts, presets)
    if settings.target is not None:
        capacity, source = _said(settings.target, metric, found.body.amounts)
    elif metric in _RESOURCES:
        capacity, source = _of_resource(metric, found.body.amounts)
    else:
        capacity, source = _of_requests(metric, found.signal)
    return Measure(metric, capacity, source, notes)


def _metric(
    settings: Settings, signal: Signal, facts: ClusterFacts, presets: Collection[str]
) -> tuple[str, tuple[str, ...]]:
    if settings.metric is not None:
        _refuse_metric(settings.metric, signal, facts, presets)
        return settings.metric, ()
    own = signal.acts_on
    if own is None or own in _RESOURCES:
        return own or Metric.CPU, ()
    if own in _REQUESTS and facts.request_metrics:
        return own, ()
    why = f": {_NO_REQUEST_METRICS}" if own in _REQUESTS else ""
    return Metric.CPU, (f"Its autoscaler acts on {own}, which is not collected{why}; cpu is forecast in its place.",)


def _refuse_metric(metric: str, signal: Signal, facts: ClusterFacts, presets: Collection[str]) -> None:
    """Refuse a metric that was asked for and cannot be had."""
    if metric in _RESOURCES or metric in presets:
        return
    if metric not in _REQUESTS:
        known = sorted({*Metric, *presets})
        close = difflib.get_close_matches(metric, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise Refused(
            RefusalReason.INVALID_SETTING,
            f"{METRIC.annotation}: there is no metric {metric!r}; accepted is {', '.join(known)}{hint}",
        )
    if not signal.requests_seen:
        raise Refused(
            RefusalReason.INVALID_SETTING,
            f"{METRIC.annotation}: {metric} is measured on InferenceServices in Knative mode only; accepted here is "
            f"{', '.join(sorted({*_RESOURCES, *presets}))}",
        )
    if not facts.request_metrics:
        raise Refused(
            RefusalReason.NOT_SUPPORTED, f"{METRIC.annotation}: {metric} cannot be measured: {_NO_REQUEST_METRICS}"
        )


def _said(target: TargetAmount, metric: str, amounts: Amounts) -> tuple[float, str]:
    """Give the capacity that the user named."""
    if target.kind is TargetKind.AMOUNT:
        if metric not in _RESOURCES and not target.plain:
            raise Refused(
                RefusalReason.INVALID_SETTING,
                f"{TARGET.annotation}: {target.text!r} has a unit; accepted for {metric} is a plain number such as 10",
            )
        return target.value, f"{TARGET.annotation} {target.text}"
    if metric not in _RESOURCES:
        raise Refused(
            RefusalReason.INVALID_SETTING,
            f"{TARGET.annotation}: {target.text!r} is a share; accepted for {metric} is a plain number such as 10",
        )
    section = target.kind.value
    whole = _amount(amounts, metric, section)
    if whole is None:
        raise Refused(
            RefusalReason.NO_CAPACITY,
            f"{TARGET.annotation}: {target.text!r} of a {metric} {section} that not every container has; set "
            f"resources.{section}s.{metric} on each, or {TARGET.annotation} to an amount such as {_example(metric)}",
        )
    return target.value * whole, f"{TARGET.annotation} {target.text}: the {metric} {section} is {_text(metric, whole)}"


def _of_resource(metric: str, amounts: Amounts) -> tuple[float, str]:
    for section in ("limit", "request"):
        whole = _amount(amounts, metric, section)
        if whole is not None:
            source = f"{SHARE_OF_RESOURCE:.0%}".replace("%", " %")
            label = metric.upper() if metric == Metric.CPU else metric
            return SHARE_OF_RESOURCE * whole, f"{source} of the {label} {section} ({_text(metric, whole)})"
    raise Refused(
        RefusalReason.NO_CAPACITY,
        f"not every container has a {metric} limit or request, so nothing says what one pod carries; set them, or "
        f"{TARGET.annotation}, to {_example(metric)} say",
    )


def _of_requests(metric: str, signal: Signal) -> tuple[float, str]:
    """Take the hard limit before the soft target; the latter only where it is counted in this very metric."""
    if metric == Metric.CONCURRENCY and signal.hard_limit is not None:
        return signal.hard_limit, f"containerConcurrency ({signal.hard_limit:g})"
    if metric == signal.acts_on and signal.soft_target is not None:
        return signal.soft_target, f"soft target of {metric} ({signal.soft_target:g})"
    raise Refused(
        RefusalReason.NO_CAPACITY,
        f"nothing says how much {metric} one pod carries; set {TARGET.annotation} to a plain number, 10 say",
    )


def _amount(amounts: Amounts, metric: str, section: str) -> float | None:
    """Cores or bytes of one pod; None where a container does not say, or says 0, which carries nothing."""
    value = {
        (Metric.CPU, "limit"): amounts.cpu_limit,
        (Metric.CPU, "request"): amounts.cpu_request,
        (Metric.MEMORY, "limit"): amounts.memory_limit,
        (Metric.MEMORY, "request"): amounts.memory_request,
    }[Metric(metric), section]
    return value or None


def _example(metric: str) -> str:
    return "500m" if metric == Metric.CPU else "1Gi"


def _text(metric: str, value: float) -> str:
    """Write cores as `500m`, bytes as `512Mi`."""
    return f"{value * 1000:.6g}m" if metric == Metric.CPU else f"{value / 2**20:.6g}Mi"
