"""What choosing a lever comes to: the lever and the pods behind it, or a refusal; it knows no user's settings."""

from __future__ import annotations

from dataclasses import dataclass

from scaler.domain import TargetKey
from scaler.kube.objects import Amounts
from scaler.targets.workload import Lever, PodGroup, RefusalReason


class Refused(Exception):
    """A workload, or one component of it, is left alone; `str()` says why and what to do."""

    def __init__(self, reason: RefusalReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Body:
    """The pods behind a lever, as the API counts them.

    Attributes:
        name: In words, for messages: `Deployment a/web`.
        current_replicas: As the API asks for now.
        ordered_start: Pods start one after another.
        notes: What its user should know, each a sentence.
    """

    name: str
    pods: PodGroup
    amounts: Amounts
    current_replicas: int
    ready_replicas: int
    rolling_out: bool = False
    ordered_start: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Signal:
    """What the workload's own autoscaler acts on.

    Attributes:
        acts_on: `cpu`, `memory`, `concurrency`, `rps`, or what else it is, in words; None where nothing acts.
        requests_seen: It is a Knative service, whose concurrency and request rate can be collected.
        hard_limit: Requests that one pod takes at once.
        soft_target: What the autoscaler aims at for one pod, in the unit of `acts_on`.
    """

    acts_on: str | None = None
    requests_seen: bool = False
    hard_limit: float | None = None
    soft_target: float | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One component of one workload, with its lever.

    Attributes:
        own_maximum: Of the workload's own autoscaler; None where it has none.
        bounded_by: Who that is, for messages: `HorizontalPodAutoscaler a/web`.
        lowest: The smallest floor that its autoscaler takes.
        only_scaler: Nobody else moves its replicas.
    """

    key: TargetKey
    lever: Lever
    body: Body
    signal: Signal
    bounded_by: str
    own_maximum: int | None = None
    lowest: int = 0
    only_scaler: bool = False
    notes: tuple[str, ...] = ()
