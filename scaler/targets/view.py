"""What discovery and the levers ask of a cluster: answered from watches when live, from a table in tests."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from scaler.kube.objects import (
    Amounts,
    HpaObject,
    InferenceServiceObject,
    ObjectRef,
    PodObject,
    PredictiveScalerObject,
    RevisionObject,
    ScalableObject,
    ScaledObjectObject,
    VpaObject,
)
from scaler.kube.resources import Resource


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What holds for the whole cluster; read from its ConfigMaps and API groups every few minutes.

    Attributes:
        knative_version: Of Knative Serving, e.g. `(1, 21)`; None where it is absent or does not say.
        default_deployment_mode: KServe's, `Knative` or `Standard`; None without KServe.
        kept_from_pods: Annotation keys that KServe does not copy into a service's pods
            (`serviceAnnotationDisallowedList`), so that changing them makes no revision.
        concurrency_target: Knative's soft target of one pod where a revision names none.
        target_utilization_ratio: Share of that target that Knative aims at.
        request_metrics: Knative's queue-proxy exports request metrics.
    """

    knative_version: tuple[int, int] | None = None
    default_deployment_mode: str | None = None
    kept_from_pods: frozenset[str] = frozenset()
    concurrency_target: float = 100.0
    target_utilization_ratio: float = 0.7
    request_metrics: bool = False


@dataclass(frozen=True, slots=True)
class ForeignScale:
    """The /scale of a kind that is not watched (an Argo Rollout, say), as it was read last.

    Attributes:
        resource: Of the object, so that its /scale can be written.
        selector: Labels of its pods, equality only; empty where the object does not say.
        amounts: Of its pods, where one of them stands.
    """

    resource: Resource
    uid: str
    resource_version: str
    replicas: int
    current_replicas: int
    selector: dict[str, str]
    amounts: Amounts = field(default_factory=Amounts)


class ClusterView(Protocol):
    """One consistent enough look at the cluster; nothing here waits for the network."""

    @property
    def facts(self) -> ClusterFacts:
        """What holds for the whole cluster."""

    def scalables(self, kind: str) -> Collection[ScalableObject]:
        """All Deployments or StatefulSets."""

    def scalable(self, kind: str, namespace: str, name: str) -> ScalableObject | None:
        """One Deployment or StatefulSet."""

    def hpas(self) -> Collection[HpaObject]:
        """All HPAs."""

    def hpas_on(self, target: ObjectRef) -> Collection[HpaObject]:
        """HPAs that scale this object; compared by group, kind and name."""

    def scaled_objects(self) -> Collection[ScaledObjectObject]:
        """All ScaledObjects; none where KEDA is absent."""

    def scaled_objects_on(self, target: ObjectRef) -> Collection[ScaledObjectObject]:
        """ScaledObjects that scale this object."""

    def vpas_on(self, target: ObjectRef) -> Collection[VpaObject]:
        """VerticalPodAutoscalers on this object; none where VPA is absent."""

    def inference_services(self) -> Collection[InferenceServiceObject]:
        """All InferenceServices; none where KServe is absent."""

    def inference_service(self, namespace: str, name: str) -> InferenceServiceObject | None:
        """One InferenceService."""

    def revision(self, namespace: str, name: str) -> RevisionObject | None:
        """One Knative Revision."""

    def revisions_of(self, namespace: str, configuration: str) -> Collection[RevisionObject]:
        """All Revisions of a Configuration (label `serving.knative.dev/configuration`)."""

    def predictive_scalers(self) -> Collection[PredictiveScalerObject]:
        """All PredictiveScalers."""

    def predictive_scaler(self, namespace: str, name: str) -> PredictiveScalerObject | None:
        """One PredictiveScaler."""

    def pods_with(self, namespace: str, labels: dict[str, str]) -> Collection[PodObject]:
        """Living pods that carry all these labels."""

    def pods_owned(self, namespace: str, owner: str) -> Collection[PodObject]:
        """Living pods of a Deployment or StatefulSet, named `kind/name`."""

    def foreign_scale(self, target: ObjectRef) -> ForeignScale | None:
        """The /scale of a kind that is not watched, as last read; asking for it the first time has it read soon."""
