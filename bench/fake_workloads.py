"""Annotated Deployments on fake nodes, made fast: a benchmark's cluster of workloads; nothing of it runs anywhere.

The control plane sends 20 requests a second for each of its controllers, so that it takes 12 minutes to bring up 5,000
pods. Here the ReplicaSets and their pods are made together with the Deployments, as the controllers would have made
them; they find all as it should be and look after it from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from scaler.kube.api import Conflict, Json, KubeApi, KubeError
from scaler.kube.objects import ObjectRef
from scaler.kube.predictive_scaler import new_scaler
from scaler.kube.resources import DEPLOYMENTS, HPAS, PODS, PREDICTIVE_SCALERS, Resource
from scaler.targets.opt_in import scaler_name

NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace")
REPLICA_SETS: Final = Resource("apps", "v1", "replicasets", "ReplicaSet")

REPLICAS: Final = 5
TARGET_MILLICORES: Final = 100  # load that one pod carries
HASH: Final = "5d8f7b9c6d"
OLDER_HASH: Final = "6c4fd5b"
SUFFIXES: Final = ("b5d7c", "c6f8d", "d7h9f", "f8j2g", "g9k4h")
FAKE_NODES: Final = 10  # named fake-0, fake-1, ...
CLIENTS: Final = 6


class Kind(StrEnum):
    """How a workload is opted in."""

    SHADOW = "shadow"  # a Deployment: decided and recorded
    SCALE = "scale"  # a Deployment in mode on: its own /scale
    HPA = "hpa"  # an HPA in mode on, over a Deployment


@dataclass(frozen=True, slots=True)
class FakeWorkload:
    """One workload of the benchmark; `number` tells its load from the others'."""

    namespace: str
    number: int
    kind: Kind

    @property
    def name(self) -> str:
        """Of its Deployment and HPA."""
        return f"w{self.number:04d}"

    @property
    def pods(self) -> tuple[str, ...]:
        """Names of the pods that it begins with."""
        return tuple(f"{self.name}-{HASH}-{suffix}" for suffix in SUFFIXES[:REPLICAS])

    @property
    def earlier_pod(self) -> str:
        """Name of a pod that is gone: the rollout before this one."""
        return f"{self.name}-{OLDER_HASH}-{SUFFIXES[0]}"


def workloads_in(namespace: str, count: int, *, on_ratio: float = 0.3) -> tuple[FakeWorkload, ...]:
    """Mix the kinds: half of what is on by HPAs, half by /scale."""
    each = round(count * on_ratio / 2)
    kinds = [Kind.HPA] * each + [Kind.SCALE] * each + [Kind.SHADOW] * (count - 2 * each)
    return tuple(FakeWorkload(namespace, number, kind) for number, kind in enumerate(kinds))


def create(api: KubeApi, workloads: Sequence[FakeWorkload]) -> None:
    """Make namespaces and all that is in them, with few clients side by side."""
    for namespace in sorted({workload.namespace for workload in workloads}):
        _make(api, NAMESPACES, None, {"metadata": {"name": namespace}})
    with ThreadPoolExecutor(CLIENTS) as executor:
        # One after the other: a Deployment whose pods are Ready already is written once by its controller, not thrice.
        for step in (_create_pods, _create_deployment):
            for done in [executor.submit(step, api, workload) for workload in workloads]:
                done.result()


def delete(api: KubeApi, namespaces: Sequence[str]) -> None:
    """Have everything deleted; does not wait for it."""
    for namespace in namespaces:
        with suppress(KubeError):  # must not hide why a benchmark ended early
            api.delete(NAMESPACES, None, namespace)


def _create_pods(api: KubeApi, workload: FakeWorkload) -> None:
    owner = _owner(api.create(REPLICA_SETS, workload.namespace, _replica_set(workload)))
    for pod in workload.pods:
        _make(api, PODS, workload.namespace, _pod(workload, pod, owner))


def _create_deployment(api: KubeApi, workload: FakeWorkload) -> None:
    """Make what adopts the ReplicaSet, and what scales it."""
    deployment = api.create(DEPLOYMENTS, workload.namespace, _deployment(workload))
    status = {"status": _deployment_status(deployment["metadata"]["creationTimestamp"])}
    api.merge_patch(DEPLOYMENTS, workload.namespace, workload.name, status, subresource="status")
    if workload.kind is Kind.HPA:
        api.create(HPAS, workload.namespace, _hpa(workload))
    elif workload.kind is Kind.SHADOW:
        # As an earlier scaler left it: making a thousand would take the first four minutes, and be measured with them.
        reference = ObjectRef(DEPLOYMENTS.api_version, DEPLOYMENTS.kind, workload.namespace, workload.name)
        scaler = new_scaler(scaler_name(reference), reference, deployment["metadata"]["uid"])
        api.create(PREDICTIVE_SCALERS, workload.namespace, scaler)


def _make(api: KubeApi, resource: Resource, namespace: str | None, body: Json) -> None:
    """Create what a run that was cut short may have made already."""
    with suppress(Conflict):
        api.create(resource, namespace, body)


def _deployment(workload: FakeWorkload) -> Json:
    labels = {"app": workload.name}
    return {
        "metadata": {
            "name": workload.name,
            "labels": labels,
            "annotations": _annotations(workload),
        },
        "spec": {
            "replicas": REPLICAS,
            "revisionHistoryLimit": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _pod_spec(workload)},
        },
    }


def _deployment_status(at: str) -> Json:
    """As its controller writes it, so that it has nothing to write: thrice for each, at 20 a second."""
    times = {"lastUpdateTime": at, "lastTransitionTime": at, "status": "True"}
    return {
        "observedGeneration": 1,
        **dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), REPLICAS),
        "conditions": [
            {"type": "Available", "reason": "MinimumReplicasAvailable", **times},
            {"type": "Progressing", "reason": "NewReplicaSetAvailable", **times},
        ],
    }


def _replica_set(workload: FakeWorkload) -> Json:
    labels = {"app": workload.name, "pod-template-hash": HASH}
    return {
        "metadata": {
            "name": f"{workload.name}-{HASH}",
            "labels": labels,
            # What the Deployment's controller would write on it, copies of its own included.
            "annotations": {
                **_annotations(workload),
                "deployment.kubernetes.io/desired-replicas": str(REPLICAS),
                "deployment.kubernetes.io/max-replicas": str(REPLICAS + 2),
            },
        },
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _pod_spec(workload)},
        },
    }


def _pod(workload: FakeWorkload, name: str, owner: Json) -> Json:
    labels = {"app": workload.name, "pod-template-hash": HASH}
    return {
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
        "spec": _pod_spec(workload),
    }


def _pod_spec(workload: FakeWorkload) -> Json:
    """Of a usual size; bound to its node at once, for the scheduler sends 50 requests a second at most."""
    return {
        "nodeName": f"fake-{workload.number % FAKE_NODES}",
        "nodeSelector": {"type": "kwok"},
        "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists", "effect": "NoSchedule"}],
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [
            {
                "name": "app",
                "image": "fake",
                "env": [{"name": f"SETTING_{number}", "value": f"value {number}"} for number in range(10)],
                "resources": {
                    "requests": {"cpu": f"{TARGET_MILLICORES}m", "memory": "64Mi"},
                    "limits": {"cpu": f"{3 * TARGET_MILLICORES}m", "memory": "128Mi"},
                },
            }
        ],
    }


def _hpa(workload: FakeWorkload) -> Json:
    return {
        "metadata": {"name": workload.name, "annotations": _opt_in(workload)},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload.name},
            "minReplicas": 1,
            "maxReplicas": 2 * REPLICAS,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
                }
            ],
        },
    }


def _annotations(workload: FakeWorkload) -> dict[str, str]:
    """Of the Deployment."""
    return {"deployment.kubernetes.io/revision": "1"} | ({} if workload.kind is Kind.HPA else _opt_in(workload))


def _opt_in(workload: FakeWorkload) -> dict[str, str]:
    return {
        "ai-hpa.dev/mode": "shadow" if workload.kind is Kind.SHADOW else "on",
        "ai-hpa.dev/max-replicas": str(2 * REPLICAS),
        "ai-hpa.dev/target": f"{TARGET_MILLICORES}m",
    }


def _owner(replica_set: Json) -> Json:
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": replica_set["metadata"]["name"],
        "uid": replica_set["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
