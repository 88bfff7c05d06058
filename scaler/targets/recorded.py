"""A view that keeps every question with its answer, so that one can tell later whether any answer has changed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

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
from scaler.targets.view import ClusterFacts, ClusterView, ForeignScale

_T = TypeVar("_T")


class RecordingView:
    """Answers as the view behind it does, one question after another. Not for several threads."""

    def __init__(self, view: ClusterView) -> None:
        self._view = view
        self._single: list[tuple[Callable[..., object], tuple[object, ...], object]] = []
        self._several: list[tuple[Callable[..., Collection[object]], tuple[object, ...], tuple[object, ...]]] = []

    def unchanged(self) -> bool:
        """Whether every question has the same answer now; objects that were not replaced are not looked into."""
        for question, args, answer in self._single:
            now = question(*args)
            if now is not answer and now != answer:
                return False
        return not any(tuple(question(*args)) != answer for question, args, answer in self._several)

    def ask(self, question: Callable[..., _T], *args: object) -> _T:
        """Ask anything that answers with one value, beside the view itself."""
        answer = question(*args)
        # Several steps of a discovery ask for the same object; one of them tells later whether it has changed.
        if not any(known is answer and (asked, given) == (question, args) for asked, given, known in self._single):
            self._single.append((question, args, answer))
        return answer

    def _ask_all(self, question: Callable[..., Collection[_T]], *args: object) -> Collection[_T]:
        answer = tuple(question(*args))
        self._several.append((question, args, answer))
        return answer

    @property
    def facts(self) -> ClusterFacts:
        """What holds for the whole cluster."""
        return self.ask(_facts, self._view)

    def scalables(self, kind: str) -> Collection[ScalableObject]:
        """All Deployments or StatefulSets."""
        return self._ask_all(self._view.scalables, kind)

    def scalable(self, kind: str, namespace: str, name: str) -> ScalableObject | None:
        """One Deployment or StatefulSet."""
        return self.ask(self._view.scalable, kind, namespace, name)

    def hpas(self) -> Collection[HpaObject]:
        """All HPAs."""
        return self._ask_all(self._view.hpas)

    def hpas_on(self, target: ObjectRef) -> Collection[HpaObject]:
        """HPAs that scale this object."""
        return self._ask_all(self._view.hpas_on, target)

    def scaled_objects(self) -> Collection[ScaledObjectObject]:
        """All ScaledObjects."""
        return self._ask_all(self._view.scaled_objects)

    def scaled_objects_on(self, target: ObjectRef) -> Collection[ScaledObjectObject]:
        """ScaledObjects that scale this object."""
        return self._ask_all(self._view.scaled_objects_on, target)

    def vpas_on(self, target: ObjectRef) -> Collection[VpaObject]:
        """VerticalPodAutoscalers on this object."""
        return self._ask_all(self._view.vpas_on, target)

    def inference_services(self) -> Collection[InferenceServiceObject]:
        """All InferenceServices."""
        return self._ask_all(self._view.inference_services)

    def inference_service(self, namespace: str, name: str) -> InferenceServiceObject | None:
        """One InferenceService."""
        return self.ask(self._view.inference_service, namespace, name)

    def revision(self, namespace: str, name: str) -> RevisionObject | None:
        """One Knative Revision."""
        return self.ask(self._view.revision, namespace, name)

    def revisions_of(self, namespace: str, configuration: str) -> Collection[RevisionObject]:
        """All Revisions of a Configuration."""
        return self._ask_all(self._view.revisions_of, namespace, configuration)

    def pod_autoscaler(self, namespace: str, name: str) -> MetadataObject | None:
        """One Knative PodAutoscaler."""
        return self.ask(self._view.pod_autoscaler, namespace, name)

    def predictive_scalers(self) -> Collection[PredictiveScalerObject]:
        """All PredictiveScalers."""
        return self._ask_all(self._view.predictive_scalers)

    def predictive_scaler(self, namespace: str, name: str) -> PredictiveScalerObject | None:
        """One PredictiveScaler."""
        return self.ask(self._view.predictive_scaler, namespace, name)

    def pods_with(self, namespace: str, labels: dict[str, str]) -> Collection[PodObject]:
        """Living pods that carry all these labels."""
        return self._ask_all(self._view.pods_with, namespace, labels)

    def pods_owned(self, namespace: str, owner: str) -> Collection[PodObject]:
        """Living pods of a Deployment or StatefulSet."""
        return self._ask_all(self._view.pods_owned, namespace, owner)

    def foreign_scale(self, target: ObjectRef) -> ForeignScale | None:
        """The /scale of a kind that is not watched."""
        return self.ask(self._view.foreign_scale, target)


def _facts(view: ClusterView) -> ClusterFacts:
    return view.facts
