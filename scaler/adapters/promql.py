"""The text of every PromQL query, and how its series are named after workloads; it sends nothing.

A pod's value is summed over its own containers. The pause container, rows of whole pods and nodes, and the sidecars
that no pod template names (`queue-proxy`, `istio-proxy`) are left out, because the capacity that the load is divided by
is that of the template. Two jobs that scrape the same container, or two servers behind one Thanos, count once.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple

from scaler.domain import MetricsUnavailable
from scaler.targets.workload import Metric, PodGroup

WINDOW: Final = "$window"  # stands for the range in the texts below, and in those of presets
COVERAGE: Final = "!"  # the `stem` of the row that says how often a step was sampled; no pod's name holds it
OWNER_METRIC: Final = "kube_pod_owner"
THROTTLED_RATIO: Final = 0.05
MAX_NAMESPACES: Final = 40  # named in a query; the text has to fit into a URL
MAX_NAMES: Final = 40

# No pod template names them, so its capacity leaves them out.
SIDECARS: Final = ("queue-proxy", "istio-proxy")
_SIDECARS: Final = "|".join(SIDECARS)
_CPU: Final = "container_cpu_usage_seconds_total"
_MEMORY: Final = "container_memory_working_set_bytes"
_REQUESTS: Final = "kn_serving_invocation_duration_seconds"  # Knative >= 1.19, OpenTelemetry

# k8s.io/apimachinery/pkg/util/rand: the letters of a pod's suffix, and those that a pod template hash can come to:
# SafeEncodeString maps each decimal digit of the hash to one of ten of them.
_RANDOM: Final = "[bcdfghjklmnpqrstvwxz2456789]"
_HASH: Final = "[bcdf456789]{1,10}"
# k8s.io/apiserver/pkg/storage/names: a generated name is cut here before its five random characters.
CUT: Final = 58

# What the server makes of a pod's name, its `stem`: the part that the pods of one ReplicaSet or StatefulSet share.
ORDINAL: Final = "(.+-)[0-9]+"
GENERATED: Final = f"(.+){_RANDOM}{{5}}"

_WHOLE: Final = re.compile(rf"(?P<base>.+)-{_HASH}-")
_CUT: Final = re.compile(rf"(?P<base>.+)-(?:{_HASH})?")
_REPLICA_SET: Final = re.compile(rf"(?P<base>.+)-{_HASH}")
_REVISION: Final = re.compile(r"(?P<base>.+)-[0-9]{5}-deployment")
_CUT_REVISION: Final = re.compile(r"(?P<base>.+)-[0-9]{5}(?P<rest>-[a-z]*)?")
_PRESET_NAME: Final = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


class SeriesName(NamedTuple):
    """Names a workload in history, as `PodGroup` does."""

    namespace: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Signal:
    """How one metric is asked for; every text holds `$window` for the range and `$scope` for more label matchers.

    Attributes:
        newest: Value of each pod now, by namespace and pod.
        mean: The same as the mean over the range.
        seen: Selector of the series whose sample times say how old a value is; None where nothing says it.
        windowed: A pod's value is its share of the mean over the range, so a pod that is gone still counts.
        smoothed: The range of `mean` is at least the rate window.
        alive: Selector of series that are sampled together with `seen`, also while no pod of any workload stands.
    """

    name: str
    newest: str
    mean: str
    seen: str | None
    windowed: bool
    smoothed: bool = True
    alive: str | None = None


@dataclass(frozen=True, slots=True)
class Preset:
    """A query of the cluster's operator, offered to its users as a metric.

    Attributes:
        query: Gives one value per pod with labels `namespace` and `pod`; `$window` in it becomes the range.
    """

    name: str
    query: str

    def __post_init__(self) -> None:
        """Refuse a name that cannot be told from a built-in metric, or that no annotation could hold."""
        if self.name in set(Metric) or not _PRESET_NAME.fullmatch(self.name):
            taken = ", ".join(Metric)
            raise ValueError(
                f"preset name {self.name!r}: accepted are lower-case letters, digits and '-', and none of {taken}"
            )
        if not self.query.strip():
            raise ValueError(f"preset {self.name}: the query is empty; it must give a value by (namespace, pod)")


def _containers(metric: str) -> str:
    return f'{metric}{{container!~"|POD|{_SIDECARS}",pod!=""$scope}}'


def _by_container(expression: str) -> str:
    return f"sum by (namespace, pod) (max by (namespace, pod, container) ({expression}))"


def _requests(part: str) -> str:
    """Rate of a part of the histogram; a queue-proxy that is scraped and answered nothing yet has no series: zero."""
    rate = f'sum by (namespace, pod) (rate({_REQUESTS}_{part}{{pod!=""$scope}}[{WINDOW}]))'
    return f"{rate} or on (namespace, pod) 0 * max by (namespace, pod) (count_over_time({_QUEUE_PROXY}[{WINDOW}]))"


_QUEUE_PROXY: Final = 'target_info{container_name="queue-proxy",pod!=""$scope}'
_ACTIVATOR: Final = 'target_info{service_name="activator"}'
_CPU_RATE: Final = _by_container(f"rate({_containers(_CPU)}[{WINDOW}])")
_MEMORY_SEEN: Final = _containers(_MEMORY)
_SIGNALS: Final[Mapping[str, Signal]] = {
    Metric.CPU: Signal(Metric.CPU, _CPU_RATE, _CPU_RATE, _containers(_CPU), windowed=True),
    Metric.MEMORY: Signal(
        Metric.MEMORY,
        _by_container(_MEMORY_SEEN),
        # Not avg_over_time: a pod that stood for half of the range counts half.
        _by_container(f"sum_over_time({_MEMORY_SEEN}[{WINDOW}])")
        + f" / scalar(max(count_over_time({_MEMORY_SEEN}[{WINDOW}])))",
        _MEMORY_SEEN,
        windowed=False,
        smoothed=False,
    ),
    # Little's law: seconds of requests per second are the requests in flight, those in queue-proxy's queue included.
    Metric.CONCURRENCY: Signal(
        Metric.CONCURRENCY, _requests("sum"), _requests("sum"), _QUEUE_PROXY, windowed=True, alive=_ACTIVATOR
    ),
    Metric.RPS: Signal(
        Metric.RPS, _requests("count"), _requests("count"), _QUEUE_PROXY, windowed=True, alive=_ACTIVATOR
    ),
}


def signal_of(metric: str, presets: Mapping[str, Preset]) -> Signal:
    """Find how a metric is asked for.

    Raises:
        MetricsUnavailable: It is neither built in nor a preset.
    """
    known = _SIGNALS.get(metric)
    if known is not None:
        return known
    preset = presets.get(metric)
    if preset is None:
        names = ", ".join((*Metric, *sorted(presets)))
        raise MetricsUnavailable(f"metric {metric!r} is not known; accepted are {names}")
    query = f"sum by (namespace, pod) ({preset.query})"
    return Signal(metric, query, query, None, windowed=False)


def scope_of(namespaces: Collection[str], names: Collection[str] = ()) -> str:
    """Matchers that keep a query to these namespaces and beginnings of pod names; empty where they are too many."""
    scope = ""
    if 0 < len(namespaces) <= MAX_NAMESPACES:
        scope += f',namespace=~"{"|".join(map(_literal, sorted(namespaces)))}"'
    if 0 < len(names) <= MAX_NAMES:
        beginnings = "|".join(_literal(f"{name}-"[:CUT]) for name in sorted(names))
        scope += f',pod=~"(?:{beginnings}).*"'
    return scope


def newest_values(signal: Signal, window: timedelta, scope: str = "") -> str:
    """Value of each pod, by (namespace, pod)."""
    return _filled(signal.newest, window, scope)


def newest_times(seen: str, scope: str = "") -> str:
    """Unix time of the newest sample of each pod, by (namespace, pod).

    `timestamp` says when a sample was taken; an instant query repeats a value that is up to five minutes old.
    """
    return f"max by (namespace, pod) (timestamp({_filled(seen, timedelta(0), scope)}))"


def newest_time(signal: Signal) -> str:
    """Unix time of the newest sample of all."""
    times = (
        f"timestamp({_filled(selector, timedelta(0), '')})" for selector in (signal.seen, signal.alive) if selector
    )
    return f"max({' or '.join(times)})"


def throttled(window: timedelta, scope: str = "") -> str:
    """Share of CFS periods in which a pod was throttled, of pods above 5 %, by (namespace, pod).

    The row of the whole pod is kept: on some nodes it is the only one.
    """
    selector = f'{{container!~"POD|{_SIDECARS}",pod!=""$scope}}[{WINDOW}]'
    ratio = (
        f"rate(container_cpu_cfs_throttled_periods_total{selector}) / rate(container_cpu_cfs_periods_total{selector})"
    )
    return _filled(f"max by (namespace, pod) ({ratio}) > {THROTTLED_RATIO}", window, scope)


def held_requests(scope: str = "") -> str:
    """Requests at Knative's activator, by (k8s_namespace_name, kn_configuration_name); also while no pod stands."""
    # One activator reports for each replica of it, and the same request is at one of them.
    matchers = scope.replace(",namespace=", "k8s_namespace_name=")
    return f"sum by (k8s_namespace_name, kn_configuration_name) (kn_revision_request_concurrency{{{matchers}}})"


def scrape_count(seen: str, window: timedelta) -> str:
    """Samples that a usual series has within the window."""
    return f"quantile(0.9, count_over_time({_filled(seen, window, '')}[{_seconds(window)}]))"


def history(signal: Signal, window: timedelta, *, scope: str = "", owners: bool = False) -> str:
    """Mean load over the window, by (namespace, stem) or, with owners, by (namespace, owner_kind, owner_name, stem).

    One more row, of stem `!`, counts the samples of the series that was sampled best: few of them mean a gap.

    Args:
        signal: What to ask for.
        window: Range of the mean, which ends at the time of evaluation.
        scope: Further label matchers, see `scope_of`.
        owners: `kube_pod_owner` is there: a pod is named after its owner, and after its own name only without one.
    """
    value, by = signal.mean, "namespace, stem"
    if owners:
        # Over the range, because a pod may have had its share and be gone by its end. topk: one owner for each pod.
        owner = f'max_over_time({OWNER_METRIC}{{owner_is_controller="true"$scope}}[{WINDOW}])'
        joined = (
            f"({value}) * on (namespace, pod) group_left (owner_kind, owner_name) topk by (namespace, pod) (1, {owner})"
        )
        value, by = f"({joined}) or on (namespace, pod) ({value})", "namespace, owner_kind, owner_name, stem"
    ordinal = f'label_replace({value}, "stem", "$1#", "pod", "{ORDINAL}")'
    stem = f'label_replace({ordinal}, "stem", "$1", "pod", "{GENERATED}")'
    loads = _filled(f"sum by ({by}) ({stem})", window, scope)
    # Over all namespaces: where no pod of the scope stands, the others say whether anything was sampled at all.
    seen = [_filled(selector, window, "") for selector in (signal.seen, signal.alive) if selector]
    counts = " or ".join(f"count_over_time({selector}[{_seconds(window)}])" for selector in seen)
    count = f"max({counts})" if counts else "vector(1)"
    return f'{loads} or label_replace({count}, "stem", "{COVERAGE}", "", "")'


def series_names(labels: Mapping[str, str]) -> tuple[SeriesName, ...]:
    """Name the workloads that a row of `history` may belong to: none for a pod of another kind.

    A Deployment that Knative made names its Configuration as well, so that all its Revisions count.
    """
    namespace = labels.get("namespace", "")
    owner_kind, owner = labels.get("owner_kind", ""), labels.get("owner_name", "")
    if owner_kind == "StatefulSet":
        return (SeriesName(namespace, owner_kind, owner),)
    if owner_kind:
        match = _REPLICA_SET.fullmatch(owner) if owner_kind == "ReplicaSet" else None
        return _deployment(namespace, match["base"]) if match else ()
    stem = labels.get("stem", "")
    if stem.endswith("-#"):
        return (SeriesName(namespace, "StatefulSet", stem[:-2]),)
    match = _WHOLE.fullmatch(stem)
    if match and len(stem) <= CUT:
        return _deployment(namespace, match["base"])
    return _cut_deployment(namespace, stem) if len(stem) == CUT else ()


def series_of(group: PodGroup) -> SeriesName:
    """Name a workload's history."""
    return SeriesName(group.namespace, group.history_kind, group.history_name)


def names_of(groups: Iterable[PodGroup]) -> frozenset[str]:
    """What the names of their pods begin with."""
    return frozenset(group.history_name for group in groups)


def _deployment(namespace: str, base: str) -> tuple[SeriesName, ...]:
    match = _REVISION.fullmatch(base)
    deployment = SeriesName(namespace, "Deployment", base)
    return (deployment, SeriesName(namespace, "Revision", match["base"])) if match else (deployment,)


def _cut_deployment(namespace: str, stem: str) -> tuple[SeriesName, ...]:
    """Read a name that was too long, as far as what was cut off is not part of the workload's own name."""
    match = _CUT.fullmatch(stem)
    if match:
        return _deployment(namespace, match["base"])
    revision = _CUT_REVISION.fullmatch(stem)
    if revision and "-deployment".startswith(revision["rest"] or ""):
        return (SeriesName(namespace, "Revision", revision["base"]),)
    return ()


def _filled(text: str, window: timedelta, scope: str) -> str:
    return text.replace(WINDOW, _seconds(window)).replace("$scope", scope)


def _seconds(window: timedelta) -> str:
    return f"{max(1, round(window.total_seconds()))}s"


def _literal(name: str) -> str:
    """Names of Kubernetes hold no other character that means something in a pattern."""
    return name.replace(".", "[.]")
