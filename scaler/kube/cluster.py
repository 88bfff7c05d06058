"""The cluster as its watches show it, found by what discovery and levers ask for; it never waits for the network."""

from __future__ import annotations

import functools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator
from dataclasses import replace
from typing import Any, Final, Protocol, TypeVar

from scaler.kube.api import Json
from scaler.kube.facts import MUTABLE_REVISIONS_SINCE, ClusterFacts, FactsReader, ForeignScale
from scaler.kube.foreign import ForeignScales
from scaler.kube.objects import (
    CONFIGURATION_LABEL,
    SERVICE_LABEL,
    HpaObject,
    InferenceServiceObject,
    Meta,
    MetadataObject,
    ObjectRef,
    PodObject,
    PredictiveScalerObject,
    RevisionObject,
    ScalableObject,
    ScaledObjectObject,
    VpaObject,
    hpa_object,
    inference_service_object,
    metadata_object,
    pod_object,
    predictive_scaler_object,
    revision_object,
    scalable_object,
    scaled_object,
    vpa_object,
)
from scaler.kube.resources import (
    DEPLOYMENTS,
    HPAS,
    INFERENCE_SERVICES,
    POD_AUTOSCALERS,
    PODS,
    PREDICTIVE_SCALERS,
    REVISIONS,
    SCALED_OBJECTS,
    STATEFUL_SETS,
    VPAS,
    Resource,
)
from scaler.kube.watch import Cache, FullName, Index, Reflector, WatchApi

GONE_POD_SECONDS: Final = 300.0  # the longest window over which a rate of the CPU of a pod is taken
POLL_SECONDS: Final = 0.1

POD_TEMPLATE_HASH_LABEL: Final = "pod-template-hash"


class ClusterApi(WatchApi, Protocol):
    """What a cluster needs of `KubeApi`."""

    def get(self, resource: Resource, namespace: str | None, name: str, subresource: str = "") -> Json:
        """Read one object."""

    def get_path(self, path: str) -> Json:
        """Read any path."""


class _HasMeta(Protocol):
    @property
    def meta(self) -> Meta: ...


class _Scaling(_HasMeta, Protocol):
    @property
    def scale_target(self) -> ObjectRef: ...


_S = TypeVar("_S", bound=_Scaling)
_T = TypeVar("_T", bound=_HasMeta)


class Cluster:
    """All that is watched. Safe to use from several threads."""

    def __init__(
        self,
        api: ClusterApi,
        *,
        namespaces: tuple[str, ...] = (),
        facts: FactsReader | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is read before `start`.

        Args:
            api: To list and watch.
            namespaces: The only ones to look at; empty for the whole cluster.
            facts: Reads what holds for the whole cluster; by default from the usual namespaces.
            clock: Monotonic seconds.
        """
        self._clock = clock
        self._stop = threading.Event()
        self._facts = facts if facts is not None else FactsReader(api)
        self._facts.on_read = self._facts_read
        self._reflectors: tuple[Reflector[Any], ...] = ()

        def watched(resource: Resource, read: Callable[[Json], _T], *, optional: bool = False) -> Cache[_T]:
            reflector = Reflector(
                api=api, resource=resource, read=read, namespaces=namespaces, optional=optional, clock=clock
            )
            self._reflectors = (*self._reflectors, reflector)
            return reflector.cache

        self._pods = watched(PODS, pod_object)
        self._scalables = {
            "Deployment": watched(DEPLOYMENTS, functools.partial(scalable_object, "Deployment")),
            "StatefulSet": watched(STATEFUL_SETS, functools.partial(scalable_object, "StatefulSet")),
        }
        self._hpas = watched(HPAS, hpa_object)
        self._vpas = watched(VPAS, vpa_object, optional=True)
        self._scaled_objects = watched(SCALED_OBJECTS, scaled_object, optional=True)
        self._inference_services = watched(INFERENCE_SERVICES, inference_service_object, optional=True)
        self._revisions = watched(REVISIONS, revision_object, optional=True)
        self._predictive_scalers = watched(PREDICTIVE_SCALERS, predictive_scaler_object)
        self._pod_autoscalers = Reflector(
            api=api,
            resource=POD_AUTOSCALERS,
            read=metadata_object,
            namespaces=namespaces,
            optional=True,
            metadata_only=True,
            clock=clock,
        )

        self._hpas_by_target = _by_target(self._hpas)
        self._scaled_objects_by_target = _by_target(self._scaled_objects)
        self._vpas_by_target = _by_target(self._vpas)
        self._revisions_by_configuration = Index(self._revisions, _name, _configuration)
        self._pods_by_owner = Index(self._pods, _name, _owner_key)
        self._pods_by_label = Index(self._pods, _name, _label_keys)
        self._gone = _GonePods(self._pods, clock)
        self._foreign = ForeignScales(api, clock=clock)
        self._on_new_revision: Callable[[InferenceServiceObject], None] = lambda service: None
        self._inference_services.listen(self._service_changed)
        self._revisions.listen(self._revision_changed)

    def on_new_revision(self, listener: Callable[[InferenceServiceObject], None]) -> None:
        """Have `listener` called once the newest Revision of an InferenceService is seen.

        It is called by a watch's thread, in which it must not wait, and during the first list for every service.
        """
        self._on_new_revision = listener

    def start(self, stop: threading.Event) -> None:
        """Begin to watch, in daemon threads, until `stop`."""
        self._stop = stop
        for reflector in self._reflectors:
            reflector.start(stop)
        self._facts.start(stop)
        self._foreign.start(stop)

    def synced(self) -> bool:
        """Whether every kind was listed once, so that what is not here is not there."""
        return self._facts.synced and all(reflector.synced for reflector in self._reflectors)

    def wait_synced(self, timeout: float) -> bool:
        """Wait until `synced`, for `timeout` seconds at most or until `stop`; whether it is."""
        deadline = self._clock() + timeout
        while not self.synced() and self._clock() < deadline and not self._stop.is_set():
            self._stop.wait(POLL_SECONDS)
        return self.synced()

    def blind(self) -> frozenset[str]:
        """Full names of the resources whose watch is stale, forbidden or not synced now."""
        now = self._clock()
        return frozenset(r.resource.full_name for r in self._reflectors if r.blind(now))

    def problems(self, only: Collection[str] | None = None) -> tuple[str, ...]:
        """Say which watches are not synced, stale or forbidden, each in a sentence.

        Args:
            only: Full names of the resources to speak of; None for all.
        """
        now = self._clock()
        asked = (r for r in self._reflectors if only is None or r.resource.full_name in only)
        return tuple(problem for reflector in asked if (problem := reflector.problem(now)))

    @property
    def facts(self) -> ClusterFacts:
        """What holds for the whole cluster."""
        return self._facts.facts

    def scalables(self, kind: str) -> Collection[ScalableObject]:
        """All Deployments or StatefulSets."""
        cache = self._scalables.get(kind)
        return cache.values() if cache is not None else ()

    def scalable(self, kind: str, namespace: str, name: str) -> ScalableObject | None:
        """One Deployment or StatefulSet."""
        cache = self._scalables.get(kind)
        return cache.get(namespace, name) if cache is not None else None

    def hpas(self) -> Collection[HpaObject]:
        """All HPAs."""
        return self._hpas.values()

    def hpas_on(self, target: ObjectRef) -> Collection[HpaObject]:
        """HPAs that scale this object; compared by group, kind and name."""
        return self._hpas_by_target.get(_target_key(target))

    def scaled_objects(self) -> Collection[ScaledObjectObject]:
        """All ScaledObjects; none where KEDA is absent."""
        return self._scaled_objects.values()

    def scaled_objects_on(self, target: ObjectRef) -> Collection[ScaledObjectObject]:
        """ScaledObjects that scale this object."""
        return self._scaled_objects_by_target.get(_target_key(target))

    def vpas_on(self, target: ObjectRef) -> Collection[VpaObject]:
        """VerticalPodAutoscalers on this object; none where VPA is absent."""
        return self._vpas_by_target.get(_target_key(target))

    def inference_services(self) -> Collection[InferenceServiceObject]:
        """All InferenceServices; none where KServe is absent."""
        return self._inference_services.values()

    def inference_service(self, namespace: str, name: str) -> InferenceServiceObject | None:
        """One InferenceService."""
        return self._inference_services.get(namespace, name)

    def revision(self, namespace: str, name: str) -> RevisionObject | None:
        """One Knative Revision."""
        return self._revisions.get(namespace, name)

    def revisions_of(self, namespace: str, configuration: str) -> Collection[RevisionObject]:
        """All Revisions of a Configuration."""
        return self._revisions_by_configuration.get((namespace, configuration))

    def pod_autoscaler(self, namespace: str, name: str) -> MetadataObject | None:
        """One Knative PodAutoscaler, named as its Revision; watched on Knative 1.20 and older only."""
        return self._pod_autoscalers.cache.get(namespace, name)

    def predictive_scalers(self) -> Collection[PredictiveScalerObject]:
        """All PredictiveScalers."""
        return self._predictive_scalers.values()

    def predictive_scaler(self, namespace: str, name: str) -> PredictiveScalerObject | None:
        """One PredictiveScaler."""
        return self._predictive_scalers.get(namespace, name)

    def pods_with(self, namespace: str, labels: dict[str, str]) -> Collection[PodObject]:
        """Living pods that carry all these labels; no label names no pod, as in a Service."""
        keys = [(namespace, label, value) for label, value in labels.items()]
        if not keys:
            return ()
        rarest = min(keys, key=self._pods_by_label.count)
        pods = self._pods_by_label.get(rarest)
        return pods if len(keys) == 1 else tuple(pod for pod in pods if labels.items() <= pod.meta.labels.items())

    def pods_owned(self, namespace: str, owner: str) -> Collection[PodObject]:
        """Living pods of a Deployment or StatefulSet, named `kind/name`."""
        return self._pods_by_owner.get((namespace, owner))

    def pod(self, namespace: str, name: str) -> PodObject | None:
        """One pod, living, finished, or deleted within the last five minutes."""
        return self._pods.get(namespace, name) or self._gone.get(namespace, name)

    def owner_of_pod(self, namespace: str, name: str) -> str | None:
        """Whose pod this is, `kind/name`; also of one deleted within the last five minutes, whose use still counts."""
        pod = self.pod(namespace, name)
        return owner_of(pod) if pod is not None else None

    def foreign_scale(self, target: ObjectRef) -> ForeignScale | None:
        """The /scale of a kind that is not watched, as last read; asking for it the first time has it read soon."""
        scale = self._foreign.get(target)
        if scale is None or not scale.selector:
            return scale
        pod = next(iter(self.pods_with(target.namespace, scale.selector)), None)
        return scale if pod is None else replace(scale, amounts=pod.amounts)

    def _service_changed(self, old: InferenceServiceObject | None, new: InferenceServiceObject | None) -> None:
        if new is None:
            return
        fresh = _newest_revisions(new) - (_newest_revisions(old) if old is not None else frozenset())
        if any(self.revision(new.meta.namespace, name) is not None for name in fresh):
            self._on_new_revision(new)

    def _revision_changed(self, old: RevisionObject | None, new: RevisionObject | None) -> None:
        """Two watches tell of one rollout, and either may be first: whichever comes second finds the other's news."""
        if new is None or old is not None:
            return
        service = self.inference_service(new.meta.namespace, new.meta.labels.get(SERVICE_LABEL, ""))
        if service is not None and new.meta.name in _newest_revisions(service):
            self._on_new_revision(service)

    def _facts_read(self, facts: ClusterFacts) -> None:
        """Begin to watch PodAutoscalers where they carry the floor; they change too often to be watched for nothing."""
        version = facts.knative_version
        needed = version is not None and version < MUTABLE_REVISIONS_SINCE
        if needed and self._pod_autoscalers not in self._reflectors:
            self._reflectors = (*self._reflectors, self._pod_autoscalers)
            self._pod_autoscalers.start(self._stop)


class _GonePods:
    """Pods deleted within the last minutes."""

    def __init__(self, cache: Cache[PodObject], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pods: OrderedDict[FullName, tuple[float, PodObject]] = OrderedDict()
        self._lock = threading.Lock()
        cache.listen(self._changed)

    def get(self, namespace: str, name: str) -> PodObject | None:
        """Give one, unless it is gone for too long."""
        with self._lock:
            at, pod = self._pods.get((namespace, name), (0.0, None))
        return pod if self._clock() - at <= GONE_POD_SECONDS else None

    def _changed(self, old: PodObject | None, new: PodObject | None) -> None:
        if old is None or new is not None:
            return
        now = self._clock()
        with self._lock:
            self._pods.pop(old.meta.full_name, None)
            self._pods[old.meta.full_name] = (now, old)
            while now - next(iter(self._pods.values()))[0] > GONE_POD_SECONDS:
                self._pods.popitem(last=False)


def owner_of(pod: PodObject) -> str | None:
    """Name what a pod belongs to, `kind/name`; a Deployment's pods name their ReplicaSet, which bears its hash."""
    owner = pod.meta.owner
    if owner is None:
        return None
    suffix = f"-{pod.meta.labels.get(POD_TEMPLATE_HASH_LABEL, '')}"
    if owner.kind == "ReplicaSet" and len(suffix) > 1 and owner.name.endswith(suffix):
        return f"Deployment/{owner.name.removesuffix(suffix)}"
    return f"{owner.kind}/{owner.name}"


def _by_target(cache: Cache[_S]) -> Index[_S]:
    return Index(cache, _name, lambda value: (_target_key(value.scale_target),))


def _name(value: _HasMeta) -> FullName:
    return value.meta.full_name


def _target_key(target: ObjectRef) -> Hashable:
    return target.group, target.kind, target.namespace, target.name


def _newest_revisions(service: InferenceServiceObject) -> frozenset[str]:
    return frozenset(component.status.latest_created_revision for component in service.components.values())


def _configuration(revision: RevisionObject) -> Iterator[Hashable]:
    name = revision.meta.labels.get(CONFIGURATION_LABEL)
    if name is not None:
        yield revision.meta.namespace, name


def _owner_key(pod: PodObject) -> Iterator[Hashable]:
    owner = owner_of(pod)
    if owner is not None and not pod.finished:
        yield pod.meta.namespace, owner


def _label_keys(pod: PodObject) -> Iterator[Hashable]:
    if not pod.finished:
        for label, value in pod.meta.labels.items():
            yield pod.meta.namespace, label, value
