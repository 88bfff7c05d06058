"""The lever of a Knative service under KServe: `min-scale` on its Revisions; it never touches the InferenceService.

A change of the InferenceService would make a new Revision. On Knative 1.21 and later the annotation of the Revision is
the source of truth; before, that of its PodAutoscaler is, and the Revision's is read once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from scaler.domain import TargetKey
from scaler.kube.facts import MUTABLE_REVISIONS_SINCE
from scaler.kube.objects import CONFIGURATION_LABEL, ComponentObject, Meta, RevisionObject
from scaler.kube.resources import POD_AUTOSCALERS, REVISIONS
from scaler.targets.found import Body, Found, Refused, Signal
from scaler.targets.view import ClusterView
from scaler.targets.workload import FloorField, Lever, LeverKind, PodGroup, RefusalReason

DEFAULT_RPS_TARGET: Final = 200.0  # Knative's requests-per-second-target-default

_PREFIX: Final = "autoscaling.knative.dev/"
_MIN_SCALE: Final = ("metadata", "annotations", f"{_PREFIX}min-scale")
_HPA_CLASS: Final = f"hpa.{_PREFIX}".removesuffix("/")


def revision_found(
    view: ClusterView, key: TargetKey, component: ComponentObject, restore: Mapping[str, int | None]
) -> Found:
    """Give the lever of one component in Knative mode.

    `restore` is what stood before our floors, by `FloorField.id`; a retired Revision that it names still holds one.

    Raises:
        Refused: Knative has made no Revision yet, or its PodAutoscaler is not seen.
    """
    shares = _shares(view, key.namespace, component)
    if not shares:
        name = component.status.latest_created_revision
        what = f"Revision {name} is not seen" if name else "Knative has made no Revision yet"
        raise Refused(RefusalReason.NOT_FOUND, f"{key.name}: {what}; it is looked for in every tick")
    first = shares[0][0]
    version = view.facts.knative_version
    kind = LeverKind.POD_AUTOSCALER if version is not None and version < MUTABLE_REVISIONS_SINCE else LeverKind.REVISION
    siblings = _siblings(view, first)
    idle = [r for r in siblings if r.meta.name not in {revision.meta.name for revision, _ in shares}]
    return Found(
        key=key,
        lever=Lever(
            kind,
            fields=tuple(_field(view, kind, revision, share) for revision, share in shares),
            retired=_retired(view, kind, idle, restore),
        ),
        body=_body(view, key, [revision for revision, _ in shares], idle),
        signal=_signal(first, view.facts.concurrency_target),
        bounded_by=f"Revision {key.namespace}/{first.meta.name}",
        own_maximum=first.max_scale or None,
        notes=() if version is not None else ("Knative does not say its version; 1.21 or later is assumed.",),
    )


def _shares(view: ClusterView, namespace: str, component: ComponentObject) -> list[tuple[RevisionObject, float]]:
    """List the Revisions that carry a floor with their share of it, most traffic first.

    The newest Revision gets its floor before it gets traffic: Knative then moves the traffic once all its pods stand.
    """
    status = component.status
    shares: dict[str, float] = {}
    for name, percent in status.traffic:
        shares[name] = min(1.0, shares.get(name, 0.0) + percent / 100)
    canary = component.canary_traffic_percent
    coming = 1.0 if canary is None else canary / 100
    ready, created = status.latest_ready_revision, status.latest_created_revision
    if coming > 0:
        shares.setdefault(ready, coming)
        shares.setdefault(created, coming)
    served = [name for name, _ in status.traffic]
    order = sorted(shares, key=lambda name: (name not in served, -shares[name], name != ready))
    revisions = [(view.revision(namespace, name), shares[name]) for name in order if name]
    return [(revision, share) for revision, share in revisions if revision is not None]


def _siblings(view: ClusterView, revision: RevisionObject) -> Collection[RevisionObject]:
    configuration = revision.meta.labels.get(CONFIGURATION_LABEL)
    return view.revisions_of(revision.meta.namespace, configuration) if configuration else ()


def _retired(
    view: ClusterView, kind: LeverKind, idle: list[RevisionObject], restore: Mapping[str, int | None]
) -> tuple[FloorField, ...]:
    resource = REVISIONS if kind is LeverKind.REVISION else POD_AUTOSCALERS
    ours = [r for r in idle if f"{resource.kind}/{r.meta.name}" in restore]
    if kind is LeverKind.POD_AUTOSCALER:
        ours = [r for r in ours if view.pod_autoscaler(r.meta.namespace, r.meta.name) is not None]
    return tuple(_field(view, kind, revision, 1.0) for revision in sorted(ours, key=lambda r: r.meta.name))


def _field(view: ClusterView, kind: LeverKind, revision: RevisionObject, share: float) -> FloorField:
    meta, value = revision.meta, revision.min_scale
    if kind is LeverKind.POD_AUTOSCALER:
        meta, value = _pod_autoscaler(view, revision)
    return FloorField(
        resource=REVISIONS if kind is LeverKind.REVISION else POD_AUTOSCALERS,
        namespace=meta.namespace,
        name=meta.name,
        path=_MIN_SCALE,
        value=value,
        uid=meta.uid,
        resource_version=meta.resource_version,
        share=share,
        maximum=revision.max_scale or None,  # 0 is Knative's word for unlimited
        text=True,
    )


def _pod_autoscaler(view: ClusterView, revision: RevisionObject) -> tuple[Meta, int | None]:
    name = revision.meta.name
    pod_autoscaler = view.pod_autoscaler(revision.meta.namespace, name)
    if pod_autoscaler is None:
        raise Refused(
            RefusalReason.NOT_FOUND,
            f"PodAutoscaler {revision.meta.namespace}/{name} is not seen, and before Knative 1.21 it holds the floor",
        )
    value = pod_autoscaler.meta.annotations.get(_MIN_SCALE[-1], "")
    return pod_autoscaler.meta, int(value) if value.isascii() and value.isdigit() else None


def _body(view: ClusterView, key: TargetKey, active: list[RevisionObject], idle: list[RevisionObject]) -> Body:
    first = active[0]
    configuration = first.meta.labels.get(CONFIGURATION_LABEL, "")
    counts = [_replicas(view, revision) for revision in active]
    # A canary is two templates for as long as its user likes, and no rollout: both have traffic.
    waiting = any(not revision.reachable and asked > 0 for revision, (asked, _) in zip(active, counts, strict=True))
    return Body(
        name=f"InferenceService {key.namespace}/{key.name}",
        pods=PodGroup(key.namespace, {CONFIGURATION_LABEL: configuration}, (), "Revision", configuration),
        amounts=first.amounts,
        current_replicas=sum(asked for asked, _ in counts),
        ready_replicas=sum(ready for _, ready in counts),
        rolling_out=waiting or any(revision.actual_replicas > 0 for revision in idle),
    )


def _replicas(view: ClusterView, revision: RevisionObject) -> tuple[int, int]:
    """Replicas asked for and ready: of the Revision's Deployment, which is ahead of the Revision's own status."""
    deployment = view.scalable("Deployment", revision.meta.namespace, f"{revision.meta.name}-deployment")
    if deployment is None:
        return revision.desired_replicas, revision.actual_replicas
    return deployment.replicas, deployment.ready_replicas


def _signal(revision: RevisionObject, concurrency_target: float) -> Signal:
    annotations = revision.meta.annotations
    default = "cpu" if revision.autoscaler_class == _HPA_CLASS else "concurrency"
    acts_on = annotations.get(f"{_PREFIX}metric") or default
    target = _number(annotations.get(f"{_PREFIX}target"))
    if target is None:
        target = {"concurrency": concurrency_target, "rps": DEFAULT_RPS_TARGET}.get(acts_on)
    return Signal(acts_on, requests_seen=True, hard_limit=revision.container_concurrency, soft_target=target)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None
