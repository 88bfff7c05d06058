"""Whether the API server, our kind and our permissions are there; pure.

`PERMISSIONS` is what the scaler asks of a cluster; a test holds the installed ClusterRole against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from scaler.checks.finding import Finding, ok, problem, warning
from scaler.kube.facts import AUTOSCALER_MAP, KSERVE_MAP, OBSERVABILITY_MAP
from scaler.kube.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    HPAS,
    INFERENCE_SERVICES,
    LEASES,
    POD_AUTOSCALERS,
    POD_METRICS,
    PODS,
    PREDICTIVE_SCALERS,
    REVISIONS,
    SCALED_OBJECTS,
    STATEFUL_SETS,
    VPAS,
    Resource,
)
from scaler.live_config import KNATIVE_NAMESPACE, KSERVE_NAMESPACE, LiveConfig
from scaler.targets.annotations import SETTINGS

# autoscaling/v2 since 1.23; sidecar containers and ContainerResource by default later
OLDEST_KUBERNETES: Final = (1, 27)
INSTALL: Final = "kubectl apply --server-side -k deploy/kustomize"
INSTALL_CRD: Final = "kubectl apply --server-side -f deploy/crd/predictivescalers.yaml"
OWN_NAMESPACE: Final = "."
LEASE: Final = LiveConfig().lease_name
SPEC_FIELDS: Final = ("targetRef", *(setting.field for setting in SETTINGS))
STATUS_FIELDS: Final = ("observedGeneration", "mode", "conditions", "components")


@dataclass(frozen=True, slots=True)
class Permission:
    """One verb on one kind of object.

    Attributes:
        subresource: `scale` or `status`; empty for the object itself.
        namespace: The only one where it is needed, `OWN_NAMESPACE` for the scaler's; empty for every one.
        name: The only object that it is needed for; empty for all.
    """

    resource: Resource
    verb: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def noun(self) -> str:
        """The kind as RBAC and `kubectl auth can-i` name it."""
        kind = self.resource.full_name + (f"/{self.subresource}" if self.subresource else "")
        return f"{kind} {self.name}".rstrip()


def _permissions() -> Iterable[Permission]:
    wanted: tuple[tuple[Resource, str, str], ...] = (
        (PODS, "list watch", ""),
        (EVENTS, "create patch", ""),
        (DEPLOYMENTS, "get list watch", ""),
        (DEPLOYMENTS, "get patch", "scale"),
        (STATEFUL_SETS, "get list watch", ""),
        (STATEFUL_SETS, "get patch", "scale"),
        (HPAS, "get list watch patch", ""),
        (VPAS, "list watch", ""),
        (SCALED_OBJECTS, "get list watch patch", ""),
        (INFERENCE_SERVICES, "get list watch patch", ""),
        (REVISIONS, "get list watch patch", ""),
        (POD_AUTOSCALERS, "get list watch patch", ""),
        (PREDICTIVE_SCALERS, "get list watch create patch", ""),
        (PREDICTIVE_SCALERS, "patch", "status"),
        (POD_METRICS, "list", ""),
    )
    for resource, verbs, subresource in wanted:
        for verb in verbs.split():
            yield Permission(resource, verb, subresource)
    yield Permission(LEASES, "create", namespace=OWN_NAMESPACE)
    for verb in ("get", "update"):
        yield Permission(LEASES, verb, namespace=OWN_NAMESPACE, name=LEASE)
    for namespace, name in (
        (KSERVE_NAMESPACE, KSERVE_MAP),
        (KNATIVE_NAMESPACE, AUTOSCALER_MAP),
        (KNATIVE_NAMESPACE, OBSERVABILITY_MAP),
    ):
        yield Permission(CONFIG_MAPS, "get", namespace=namespace, name=name)


PERMISSIONS: Final = tuple(_permissions())


@dataclass(frozen=True, slots=True)
class CrdFacts:
    """Our kind as the cluster knows it.

    Attributes:
        served: Versions that the API server answers for.
        spec_fields, status_fields: Of the served version; the API server drops all others silently.
        release: Label `app.kubernetes.io/version`; empty where there is none.
    """

    served: tuple[str, ...]
    spec_fields: frozenset[str]
    status_fields: frozenset[str]
    release: str


@dataclass(frozen=True, slots=True)
class AccessFacts:
    """What the API server said when asked about each permission.

    Attributes:
        subject: Whose permissions these are: a service account, or `you`.
        allowed: The answer to each question.
    """

    subject: str
    allowed: Mapping[Permission, bool]


def check_kubernetes(version: str, parsed: tuple[int, int] | None) -> tuple[Finding, ...]:
    """Say which Kubernetes this is."""
    if parsed is not None and parsed < OLDEST_KUBERNETES:
        oldest = ".".join(map(str, OLDEST_KUBERNETES))
        return (warning("Kubernetes", f"{version} is older than {oldest}, the oldest that AI-HPA was written for"),)
    return (ok("Kubernetes", f"{version} answers"),)


def check_crd(facts: CrdFacts | None, release: str) -> tuple[Finding, ...]:
    """See that our kind is there in the form that this release reads and writes.

    Args:
        facts: As the cluster has it; None where it does not.
        release: Of this program; empty where it is not known.
    """
    check = "PredictiveScaler CRD"
    if facts is None:
        return (problem(check, "not installed: nothing can be opted in or shown", INSTALL_CRD),)
    version = PREDICTIVE_SCALERS.version
    if version not in facts.served:
        served = ", ".join(facts.served) or "none"
        return (problem(check, f"version {version} is not served (served: {served})", INSTALL_CRD),)
    lacking = [f"spec.{f}" for f in SPEC_FIELDS if f not in facts.spec_fields]
    lacking += [f"status.{f}" for f in STATUS_FIELDS if f not in facts.status_fields]
    if lacking:
        message = f"of another release: lacks {', '.join(sorted(lacking))}, which the API server would drop silently"
        return (problem(check, message, INSTALL_CRD),)
    if facts.release and release and facts.release != release:
        message = f"of release {facts.release}, this program is {release}; every field it needs is there"
        return (warning(check, message, INSTALL_CRD),)
    return (ok(check, f"{version} is served with every field that is needed"),)


def check_scaler(namespace: str | None, name: str, ready: int) -> tuple[Finding, ...]:
    """See that the scaler runs.

    Args:
        namespace: Of its Deployment; None where there is none.
        name: Of its Deployment.
        ready: Its pods that are ready.
    """
    check = "scaler"
    if namespace is None:
        return (warning(check, "not installed here: nothing is decided", INSTALL),)
    if not ready:
        mend = f"kubectl logs --namespace {namespace} deployment/{name} --tail 50"
        return (problem(check, f"no pod of Deployment {namespace}/{name} is ready: nothing is decided", mend),)
    if ready == 1:
        message = f"one pod of Deployment {namespace}/{name} is ready: if it fails, nobody takes over"
        return (warning(check, message, f"kubectl scale --namespace {namespace} deployment/{name} --replicas 2"),)
    return (ok(check, f"{ready} pods of Deployment {namespace}/{name} are ready; one acts"),)


def check_permissions(facts: AccessFacts, *, installed: bool) -> tuple[Finding, ...]:
    """Name each permission that is missing.

    Args:
        facts: Without the permissions on kinds that the cluster does not have.
        installed: The scaler is installed, so that `facts` speak of its service account.
    """
    check = "permissions"
    missing = sorted((p for p, allowed in facts.allowed.items() if not allowed), key=lambda p: (p.noun, p.verb))
    if not missing:
        return (ok(check, f"{facts.subject} may do all {len(facts.allowed)} things that the scaler does"),)
    if not installed:
        nouns = ", ".join(f"{p.verb} {p.noun}" for p in missing[:4])
        more = f" and {len(missing) - 4} more" if len(missing) > 4 else ""
        message = f"{facts.subject} may not {nouns}{more}; the scaler brings a ClusterRole of its own with it"
        return (warning(check, message, INSTALL),)
    return tuple(
        problem(
            f"{check}: {noun}",
            f"{facts.subject} may not {', '.join(p.verb for p in group)} {noun}; what needs it is skipped",
            INSTALL,
        )
        for noun, permissions in groupby(missing, key=lambda p: p.noun)
        if (group := tuple(permissions))
    )
