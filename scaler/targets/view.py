"""What discovery and the levers ask of a cluster: answered from watches when live, from a table in tests."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from scaler.kube.facts import ClusterFacts, ForeignScale
from scaler.kube.objects import (
    HpaObject,
    InferenceServiceObject,
    MetadataObject,
    ObjectRef,
    PodObject,
    PredictiveScalerObject,
    RevisionObject,
    ScalableObject,
    ScaledObjectObject,
    VpaObject,
)
from scaler.targets.workload import PodGroup

__all__ = ["ClusterFacts", "ClusterView", "ForeignScale", "PodLookup", "living_pods"]


class PodLookup(Protocol):
    """Who finds living pods."""

    def pods_with(self, namespace: str, labels: dict[str, str]) -> Collection[PodObject]:
        """Living pods that carry all these labels."""

    def pods_owned(self, namespace: str, owner: str) -> Collection[PodObject]:
        """Living pods of a Deployment or StatefulSet, named `kind/name`."""


def living_pods(pods: PodLookup, group: PodGroup) -> list[PodObject]:
    """Find the living pods of a workload: by their owners where it names some, else by labels."""
    if group.owners:
        return [pod for owner in group.owners for pod in pods.pods_owned(group.namespace, owner)]
    return list(pods.pods_with(group.namespace, dict(group.labels)))


class ClusterView(PodLookup, Protocol):
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

    def pod_autoscaler(self, namespace: str, name: str) -> MetadataObject | None:
        """One Knative PodAutoscaler, named as its Revision; asked for on Knative 1.20 and older only."""

    def predictive_scalers(self) -> Collection[PredictiveScalerObject]:
        """All PredictiveScalers."""

    def predictive_scaler(self, namespace: str, name: str) -> PredictiveScalerObject | None:
        """One PredictiveScaler."""

    def foreign_scale(self, target: ObjectRef) -> ForeignScale | None:
        """The /scale of a kind that is not watched, as last read; asking for it the first time has it read soon."""
