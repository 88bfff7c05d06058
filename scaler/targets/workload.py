"""One opted-in workload as the cluster shows it: its target for the core, its lever, and its pods; it does no I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from scaler.domain import Target, TargetKey
from scaler.kube.objects import ObjectRef
from scaler.kube.resources import Resource


class LeverKind(StrEnum):
    """Which number in the API is the floor; docs/levers.md says when each is chosen."""

    REVISION = "revision"
    POD_AUTOSCALER = "pod-autoscaler"
    INFERENCE_SERVICE = "inference-service"
    HPA = "hpa"
    SCALED_OBJECT = "scaled-object"
    SCALE = "scale"


@dataclass(frozen=True, slots=True)
class FloorField:
    """One number in one object that holds a floor, or a share of it.

    Attributes:
        path: Where it stands in the object, e.g. `("spec", "minReplicas")`.
        value: What stands there now; None where nothing does.
        uid: Of the object as it was seen; another one under the same name is another object.
        resource_version: Of the object as it was seen; the precondition of a write.
        subresource: `scale`, or empty for the object itself.
        share: Of the workload's floor that this field carries (a canary's traffic), in (0, 1].
        maximum: The object's own upper bound, which a floor must not pass; None where it has none.
        text: It is an annotation: written as a string.
        unset_means: The floor that holds where nothing stands there.
        minimum: What a share of a floor never goes below: the object's own minimum, whatever its share of the traffic.
        id: Names the field within its namespace; the key under which its earlier value is kept.
    """

    resource: Resource
    namespace: str
    name: str
    path: tuple[str, ...]
    value: int | None
    uid: str
    resource_version: str
    subresource: str = ""
    share: float = 1.0
    maximum: int | None = None
    text: bool = False
    unset_means: int = 0
    minimum: int = 0
    id: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Put the name together, once: every tick asks for it several times."""
        # The components of an InferenceService are fields of one object: `InferenceService/web/transformer`.
        inner = () if self.text else self.path[1:-1]
        object.__setattr__(self, "id", "/".join((self.resource.kind, self.name, *inner)))

    def value_for(self, floor: int) -> int:
        """Give what has to stand here for a floor of the whole workload: ceil(floor * share), within both bounds."""
        # Guarded, because a share such as 0.1 is no exact float and 0.1 * 30 must not buy a fourth pod.
        value = max(math.ceil(floor * self.share - 1e-9), self.minimum)
        return value if self.maximum is None else min(value, self.maximum)

    @property
    def standing(self) -> int:
        """The floor that holds here now."""
        return self.unset_means if self.value is None else self.value


@dataclass(frozen=True, slots=True)
class Lever:
    """All fields that carry one workload's floor; the first is the one that serves most of the traffic.

    Attributes:
        retired: Fields of objects that carry no traffic any more: their earlier value goes back.
    """

    kind: LeverKind
    fields: tuple[FloorField, ...]
    retired: tuple[FloorField, ...] = ()

    def standing_floor(self, last_written: int | None) -> int:
        """Give the floor of the whole workload that holds now.

        Shares are rounded up, so several floors look the same; the one last written counts where it fits.
        """
        if last_written is not None and all(f.standing == f.value_for(last_written) for f in self.fields):
            return last_written
        first = self.fields[0]
        return math.floor(first.standing / first.share + 1e-9)


@dataclass(frozen=True, slots=True)
class PodGroup:
    """How to find a workload's pods, living and gone.

    Attributes:
        labels: Every living pod of it carries these.
        owners: Or: names of the Deployments and StatefulSets, `kind/name`, whose pods they are; empty to go by labels.
        history_kind: `Deployment`, `StatefulSet` or `Revision`: the form of its pods' names.
        history_name: What their names begin with, up to the part that differs from pod to pod: the Deployment's or
            StatefulSet's name; for a Revision that of its Configuration, so that all its revisions count.
    """

    namespace: str
    labels: Mapping[str, str]
    owners: tuple[str, ...]
    history_kind: str
    history_name: str


class Metric(StrEnum):
    """What a workload's load is measured in; a preset of the cluster's operator has a name of its own."""

    CPU = "cpu"
    MEMORY = "memory"
    CONCURRENCY = "concurrency"
    RPS = "rps"


@dataclass(frozen=True, slots=True)
class Workload:
    """One component of one opted-in workload.

    Attributes:
        target: What the core decides on.
        reference: The annotated object, or the one that a PredictiveScaler by hand names.
        reference_uid: Of that object, for the owner reference.
        scaler_name: Of its PredictiveScaler, which may not exist yet.
        metric: A `Metric` or the name of a preset.
        capacity_source: In words, for status and `ai-hpa explain`: `90 % of the CPU limit (500m)`.
        current_replicas, ready_replicas: As the API says.
        rolling_out: Pods of two templates stand.
        notes: What its user should know, each a sentence: a bound that was assumed, a metric that was not taken.
    """

    target: Target
    lever: Lever
    pods: PodGroup
    reference: ObjectRef
    reference_uid: str
    scaler_name: str
    metric: str
    capacity_source: str
    current_replicas: int
    ready_replicas: int
    rolling_out: bool = False
    notes: tuple[str, ...] = ()

    @property
    def key(self) -> TargetKey:
        """Names it in decisions, logs and metrics."""
        return self.target.key


class RefusalReason(StrEnum):
    """Why an opted-in workload is left alone; the reason of its condition."""

    INVALID_SETTING = "InvalidSetting"
    OTHER_OWNER = "OtherOwner"
    NOT_FOUND = "TargetNotFound"
    NOT_SUPPORTED = "NotSupported"
    NO_CAPACITY = "NoCapacity"
    NO_MAXIMUM = "NoMaximum"
    FORBIDDEN = "Forbidden"
    INTERNAL = "InternalError"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An opted-in workload, or one component of it, that is left alone, and why.

    Attributes:
        message: Names what was found and what would be accepted, so that its user knows what to do.
    """

    key: TargetKey
    reference: ObjectRef
    reference_uid: str
    scaler_name: str
    reason: RefusalReason
    message: str


@dataclass(frozen=True, slots=True)
class Discovered:
    """All that the cluster opted in, at one moment.

    Attributes:
        workloads: Those that are decided on, mode `shadow` or `on`, each key once, in the order of their keys.
        refusals: Those that are left alone and whose user should know.
    """

    workloads: Mapping[TargetKey, Workload] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
