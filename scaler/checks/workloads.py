"""Whether the opted-in workloads, and the autoscalers above them, can be worked with; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from scaler.checks.finding import Finding, ok, problem, warning
from scaler.kube.objects import HpaObject, ObjectRef, ScalableObject, ScaledObjectObject
from scaler.targets.workload import RefusalReason

HIGHEST_UTILIZATION: Final = 90.0  # percent of the request; the pods that an HPA adds above it come when all are full
_EXAMPLES: Final = {"cpu": "250m", "memory": "256Mi"}


@dataclass(frozen=True, slots=True)
class OptedIn:
    """One opted-in workload.

    Attributes:
        reference: What carries the annotations, or what a PredictiveScaler names.
        reason: Why it is left alone; None where it is not.
        message: The same in a sentence.
    """

    reference: ObjectRef
    reason: RefusalReason | None = None
    message: str = ""


def check_opted_in(workloads: Collection[OptedIn]) -> tuple[Finding, ...]:
    """Name the opted-in workloads that are left alone, and why."""
    check = "workloads"
    if not workloads:
        message = "none is opted in; begin with one in shadow mode, which changes nothing"
        return (ok(check, f"{message}: ai-hpa shadow deploy/NAME -n NAMESPACE"),)
    refused = sorted((w for w in workloads if w.reason is not None), key=lambda w: str(w.reference))
    if not refused:
        return (ok(check, f"{len(workloads)} opted in, none refused"),)
    return tuple(problem(f"{check}: {w.reference}", f"left alone: {w.message}", _mend(w)) for w in refused)


def check_hpa_targets(hpas: Iterable[HpaObject]) -> tuple[Finding, ...]:
    """Find HPAs that act when their pods are full already."""
    check = "HPA targets"
    unwise = [
        warning(
            f"{check}: {hpa.meta.namespace}/{hpa.meta.name}",
            f"adds pods above {metric.value:g} % of the {metric.name} request: load that no forecast saw meets full "
            "pods, and 10 % of tolerance come on top; 60 to 80 is usual",
            f"kubectl edit hpa {hpa.meta.name} --namespace {hpa.meta.namespace}",
        )
        for hpa in hpas
        for metric in hpa.metrics
        if metric.kind == "Utilization" and metric.value > HIGHEST_UTILIZATION
    ]
    return tuple(unwise) or (ok(check, f"none aims above {HIGHEST_UTILIZATION:g} % of the request"),)


def check_requests(scaled: Iterable[tuple[HpaObject, ScalableObject]]) -> tuple[Finding, ...]:
    """Find HPAs that aim at a share of a request that their pods do not have.

    Args:
        scaled: Each HPA with the Deployment or StatefulSet that it scales.
    """
    check = "requests"
    silent = [
        (hpa, scalable, metric.name)
        for hpa, scalable in scaled
        for metric in hpa.metrics
        if metric.kind == "Utilization" and metric.source == "Resource" and _request(scalable, metric.name) is None
    ]
    return tuple(
        problem(
            f"{check}: {s.kind} {s.meta.namespace}/{s.meta.name}",
            f"a container has no {name} request, so HPA {hpa.meta.name} cannot tell what a share of it is",
            f"kubectl set resources {s.kind.lower()} {s.meta.name} --namespace {s.meta.namespace} "
            f"--requests={name}={_EXAMPLES.get(name, '1')}",
        )
        for hpa, s, name in silent
    ) or (ok(check, "every HPA that aims at a share of the requests finds them"),)


def check_owners(
    hpas: Iterable[HpaObject], scaled_objects: Iterable[ScaledObjectObject], named: Iterable[tuple[str, ObjectRef]]
) -> tuple[Finding, ...]:
    """Find objects that two controllers scale at once.

    Args:
        hpas: All; those that KEDA made for a ScaledObject count as that.
        scaled_objects: All.
        named: Name and target of every PredictiveScaler.
    """
    check = "owners"
    by_keda = {(s.meta.namespace, s.hpa_name) for s in scaled_objects}
    autoscalers = _grouped(
        [
            *((f"HPA {h.meta.name}", h.scale_target) for h in hpas if h.meta.full_name not in by_keda),
            *((f"ScaledObject {s.meta.name}", s.scale_target) for s in scaled_objects),
        ]
    )
    records = _grouped((f"PredictiveScaler {name}", target) for name, target in named)
    return tuple(
        problem(
            f"{check}: {kind} {namespace}/{name}",
            f"scaled by {' and '.join(sorted(owners))} at once: they undo each other; delete all but one",
        )
        for (namespace, _, kind, name), owners in (*autoscalers, *records)
    ) or (ok(check, "no workload has two"),)


def _request(scalable: ScalableObject, name: str) -> float | None:
    amounts = scalable.amounts
    return {"cpu": amounts.cpu_request, "memory": amounts.memory_request}.get(name, 0.0)


def _mend(refused: OptedIn) -> str:
    """Give the command to begin with."""
    reference = refused.reference
    where = f"--namespace {reference.namespace}"
    if refused.reason is RefusalReason.NO_CAPACITY and reference.kind in {"Deployment", "StatefulSet"}:
        return f"kubectl set resources {reference.kind.lower()} {reference.name} {where} --requests=cpu=250m"
    if refused.reason is RefusalReason.NOT_FOUND:
        return f"kubectl get {reference.kind.lower()} {where}"
    group = f".{reference.group}" if reference.group else ""
    return f"ai-hpa explain {reference.kind.lower()}{group}/{reference.name} -n {reference.namespace}"


def _grouped(
    owned: Iterable[tuple[str, ObjectRef]],
) -> Iterator[tuple[tuple[str, str, str, str], list[str]]]:
    """Group owners by what they scale, whatever version of its group they name; only those with several."""
    groups: defaultdict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for owner, target in owned:
        groups[target.namespace, target.group, target.kind, target.name].append(owner)
    return ((target, owners) for target, owners in sorted(groups.items()) if len(owners) > 1)
