"""All that the cluster opts in, as workloads and refusals; it reads a view, writes nothing and waits for nothing.

A workload is made anew only when something that it was made from has changed: every question to the view is kept with
its answer, and asked again in the next cycle. One workload that cannot be made never stops the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

from scaler.domain import DEFAULT_MISS_BUDGET_RATIO, Mode, Target, TargetKey
from scaler.kube.objects import (
    ANNOTATION_PREFIX,
    HpaObject,
    InferenceServiceObject,
    PredictiveScalerObject,
    ScaledObjectObject,
)
from scaler.kube.predictive_scaler import RESTORE
from scaler.kube.resources import HPAS, INFERENCE_SERVICES, SCALED_OBJECTS
from scaler.targets.annotations import (
    Settings,
    earlier_values,
    misplaced_settings,
    read_settings,
)
from scaler.targets.bounds import AssumedMaximum, Bounds, settle, with_minima
from scaler.targets.capacity import Measure, measure
from scaler.targets.choose import (
    Restore,
    choose_hpa,
    choose_scalable,
    choose_scaled_object,
    choose_service,
    owner_service,
)
from scaler.targets.found import Found, Refused
from scaler.targets.opt_in import Identity, OptedIn, Subject, opt_ins, scaler_name
from scaler.targets.recorded import RecordingView
from scaler.targets.view import ClusterView
from scaler.targets.workload import Discovered, FloorField, LeverKind, Refusal, RefusalReason, Workload

__all__ = ["Discovery", "DiscoveryConfig", "scaler_name"]

Outcome: TypeAlias = Workload | Refusal

# Of two objects that come to one floor, the lower counts.
_RANK: Final = {HPAS.kind: 0, SCALED_OBJECTS.kind: 0, INFERENCE_SERVICES.kind: 1}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DiscoveryConfig:
    """What holds for every workload of one cluster.

    Attributes:
        presets: Names of the operator's own PromQL presets, accepted as a metric.
        assumed_maximum_ratio: Multiple of the peak replicas of 7 days that is the maximum of a workload without one;
            None refuses such a workload.
    """

    presets: frozenset[str] = frozenset()
    assumed_maximum_ratio: float | None = 3.0


@dataclass(frozen=True, slots=True)
class _Made:
    """What one opted-in object came to, and all that it was made from."""

    opt_in: OptedIn
    record: RecordingView
    outcomes: tuple[Outcome, ...]

    def stands(self, opt_in: OptedIn) -> bool:
        """Whether it would be made the same again."""
        same = opt_in.subject is self.opt_in.subject and _says_the_same(opt_in.scaler, self.opt_in.scaler)
        return same and self.record.unchanged()


class Discovery:
    """Finds what the cluster opts in. Not for several threads."""

    def __init__(
        self,
        view: ClusterView,
        *,
        config: DiscoveryConfig | None = None,
        peak_replicas: Callable[[TargetKey], int | None] = lambda _: None,
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            view: Of the cluster.
            config: None for the defaults.
            peak_replicas: Most replicas of a workload in 7 days, None where that is not known; does no I/O.
        """
        self._view = view
        self._config = config or DiscoveryConfig()
        self._assumed = AssumedMaximum(self._config.assumed_maximum_ratio, peak_replicas)
        self._made: dict[Identity, _Made] = {}
        self._duplicates: tuple[Refusal, ...] = ()
        self._discovered = Discovered()
        self._now = datetime.max.replace(tzinfo=UTC)

    def discover(self, now: datetime) -> Discovered:
        """List all that is opted in; the very same value as before where nothing has changed."""
        self._now = now
        found, duplicates = opt_ins(self._view)
        made = {identity: self._made_of(identity, opt_in) for identity, opt_in in found.items()}
        if duplicates != self._duplicates or not _same_entries(made, self._made):
            self._made, self._duplicates = made, duplicates
            outcomes = [outcome for entry in made.values() for outcome in entry.outcomes]
            self._discovered = _settled([*outcomes, *duplicates])
            self._assumed.keep_only({outcome.key for outcome in outcomes})
        return self._discovered

    def _made_of(self, identity: Identity, opt_in: OptedIn) -> _Made:
        """Give what stands of one opted-in object, made anew where it has to be; never raises."""
        record, before = RecordingView(self._view), self._made.get(identity)
        try:
            if before is not None and before.stands(opt_in):
                return before
            return _Made(opt_in, record, self._make(record, opt_in))
        except Exception as exc:  # a bug that one workload meets must not stop the others
            logger.exception("discovery_failed", extra={"workload": str(opt_in.key)})
            message = f"the scaler failed on it ({exc!r}); its log has the traceback, and other workloads go on"
            return _Made(opt_in, record, (opt_in.refusal(RefusalReason.INTERNAL, message),))

    def _make(self, view: RecordingView, opt_in: OptedIn) -> tuple[Outcome, ...]:
        subject, scaler = opt_in.subject, opt_in.scaler
        settings, problems = read_settings(
            subject.meta.annotations if subject is not None else {}, scaler.spec if scaler is not None else None
        )
        if settings.mode is Mode.OFF or (subject is not None and _is_copy(view, subject)):
            return ()
        kept = scaler.meta.annotations if scaler is not None else {}
        problems += misplaced_settings(kept)
        if problems:
            return (opt_in.refusal(RefusalReason.INVALID_SETTING, "; ".join(problems)),)
        restore = earlier_values(kept)
        if restore is None:
            message = f"{RESTORE} on PredictiveScaler {opt_in.scaler_name} is no JSON object of whole numbers and nulls"
            return (opt_in.refusal(RefusalReason.INVALID_SETTING, message),)
        assembly = _Assembly(view, opt_in, settings, restore)
        return tuple(
            assembly.refusal(key, chosen)
            if isinstance(chosen, Refused)
            else assembly.outcome(chosen, self._config.presets, self._assumed_maximum)
            for key, chosen in _chosen(view, opt_in, restore).items()
        )

    def _assumed_maximum(self, key: TargetKey, current_replicas: int) -> int | None:
        return self._assumed.of(key, current_replicas, self._now)


@dataclass(frozen=True, slots=True)
class _Assembly:
    """Puts the workloads of one opted-in object together."""

    view: RecordingView
    opt_in: OptedIn
    settings: Settings
    restore: Restore

    def refusal(self, key: TargetKey, refused: Refused) -> Refusal:
        """Refuse one component, or the object itself."""
        return self.opt_in.refusal(refused.reason, str(refused), key)

    def outcome(
        self, found: Found, presets: frozenset[str], assumed_maximum: Callable[[TargetKey, int], int | None]
    ) -> Outcome:
        """Give the workload; or one refusal with everything that speaks against it."""

        def assumed(key: TargetKey, current_replicas: int) -> int | None:
            return self.view.ask(assumed_maximum, key, current_replicas)

        refused: list[Refused] = []
        measured: Measure | None = None
        bounds: Bounds | None = None
        try:
            measured = measure(self.settings, found, self.view.facts, presets)
        except Refused as exc:
            refused.append(exc)
        try:
            bounds = settle(self.settings, found, self.restore, assumed)
        except Refused as exc:
            refused.append(exc)
        if measured is None or bounds is None:
            message = "; ".join(str(exc) for exc in refused)
            return self.opt_in.refusal(refused[0].reason, message, found.key)
        return self._workload(found, measured, bounds)

    def _workload(self, found: Found, measured: Measure, bounds: Bounds) -> Workload:
        held, body = self._held(found), found.body
        notes = (*found.notes, *measured.notes, *bounds.notes, *held, *self._copied_annotations())
        return Workload(
            target=self._target(found, measured, bounds, paused=self.settings.paused or bool(held)),
            lever=with_minima(found.lever, bounds.minimum, self.restore),
            pods=body.pods,
            reference=self.opt_in.reference,
            reference_uid=self.opt_in.uid or found.lever.fields[0].uid,
            scaler_name=self.opt_in.scaler_name,
            metric=measured.metric,
            capacity_source=measured.source,
            current_replicas=body.current_replicas,
            ready_replicas=body.ready_replicas,
            rolling_out=body.rolling_out,
            notes=notes,
        )

    def _target(self, found: Found, measured: Measure, bounds: Bounds, *, paused: bool) -> Target:
        settings = self.settings
        budget = settings.miss_budget_ratio
        return Target(
            key=found.key,
            min_replicas=bounds.minimum,
            max_replicas=bounds.maximum,
            capacity=measured.capacity,
            mode=settings.mode or Mode.SHADOW,
            only_scaler=found.only_scaler,
            lead_time=settings.lead_time,
            miss_budget_ratio=DEFAULT_MISS_BUDGET_RATIO if budget is None else budget,
            paused=paused,
            scale_down_paused=settings.scale_down_paused,
            ordered_start=found.body.ordered_start,
        )

    def _held(self, found: Found) -> tuple[str, ...]:
        """Say that somebody switched the workload off by hand; an HPA leaves it alone then, and so do we."""
        switched_off = found.lever.kind is LeverKind.SCALE and found.lever.fields[0].value == 0
        if not switched_off or self.settings.min_replicas == 0:
            return ()
        return ("Its replicas were set to 0 by hand: nothing is done until they are raised again.",)

    def _copied_annotations(self) -> tuple[str, ...]:
        """Warn where changing a setting on an InferenceService restarts its pods."""
        subject = self.opt_in.subject
        if not isinstance(subject, InferenceServiceObject):
            return ()
        ours = {name for name in subject.meta.annotations if name.startswith(ANNOTATION_PREFIX)}
        copied = sorted(ours - self.view.facts.kept_from_pods)
        if not copied:
            return ()
        names = ", ".join(copied)
        return (
            f"KServe copies {names} into its pods, so that a change makes a new revision or a rollout; add the keys to "
            "serviceAnnotationDisallowedList of ConfigMap inferenceservice-config, or use a PredictiveScaler.",
        )


def _chosen(view: RecordingView, opt_in: OptedIn, restore: Restore) -> Mapping[TargetKey, Found | Refused]:
    """Choose a lever for each part of an opted-in object."""
    subject, reference, key = opt_in.subject, opt_in.reference, opt_in.key
    if isinstance(subject, InferenceServiceObject):
        return choose_service(view, subject, restore)
    try:
        if isinstance(subject, HpaObject):
            return {key: choose_hpa(view, key, subject)}
        if isinstance(subject, ScaledObjectObject):
            return {key: choose_scaled_object(view, key, subject)}
        if opt_in.missing:
            return {key: Refused(RefusalReason.NOT_FOUND, f"there is no {reference}, which spec.targetRef names")}
        return {key: choose_scalable(view, key, reference)}
    except Refused as refused:
        return {key: refused}


def _is_copy(view: RecordingView, subject: Subject) -> bool:
    """Whether KServe, Knative or KEDA copied these annotations onto an object of its own making."""
    owner = subject.meta.owner
    if owner is None:
        return False
    if owner.kind == SCALED_OBJECTS.kind and isinstance(subject, HpaObject):
        makers = (so for so in view.scaled_objects_on(subject.scale_target) if so.meta.name == owner.name)
        return any(maker.meta.opted_in or _is_copy(view, maker) for maker in makers)
    service = owner_service(view, subject.meta)
    return service is not None and service.meta.opted_in


def _says_the_same(now: PredictiveScalerObject | None, before: PredictiveScalerObject | None) -> bool:
    """Whether two states of a PredictiveScaler come to the same; its status, which we write, says nothing here."""
    if now is None or before is None:
        return now is before
    return now is before or (now.meta.name, now.meta.annotations, now.spec) == (
        before.meta.name,
        before.meta.annotations,
        before.spec,
    )


def _same_entries(now: Mapping[Identity, _Made], before: Mapping[Identity, _Made]) -> bool:
    return len(now) == len(before) and all(before.get(identity) is made for identity, made in now.items())


def _settled(outcomes: Iterable[Outcome]) -> Discovered:
    """Give each floor to one workload, and sort."""
    outcomes = list(outcomes)
    refusals = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
    workloads: dict[TargetKey, Workload] = {}
    claimed: dict[tuple[str, str, str, tuple[str, ...]], Workload] = {}
    for workload in sorted((o for o in outcomes if isinstance(o, Workload)), key=_precedence):
        claims = {(f.resource.full_name, f.namespace, f.name, f.path): f for f in workload.lever.fields}
        taken = next(((claimed[claim], field) for claim, field in claims.items() if claim in claimed), None)
        if taken is not None:
            refusals.append(_overruled(workload, *taken))
        elif workload.key in workloads:
            refusals.append(_overruled(workload, workloads[workload.key], workload.lever.fields[0]))
        else:
            workloads[workload.key] = workload
            claimed.update(dict.fromkeys(claims, workload))
    refusals.sort(key=lambda refusal: refusal.key)
    return Discovered(dict(sorted(workloads.items())), tuple(refusals))


def _precedence(workload: Workload) -> tuple[int, TargetKey]:
    return _RANK.get(workload.reference.kind, 2), workload.key


def _overruled(workload: Workload, winner: Workload, field: FloorField) -> Refusal:
    return Refusal(
        workload.key,
        workload.reference,
        workload.reference_uid,
        workload.scaler_name,
        RefusalReason.OTHER_OWNER,
        f"{winner.reference} is opted in as well and comes to the same floor ({field.id}); it counts, and its settings "
        "hold. Remove the ai-hpa.dev settings of one of the two",
    )
