"""`ai-hpa enable | shadow | disable | pause | resume`: edits `PredictiveScaler.spec`, never the workload itself.

Changing anything on an InferenceService, even an annotation, makes a new revision; its PredictiveScaler makes none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from scaler.cli import sentences, session
from scaler.cli.kinds import WORKLOAD_HELP, check_stands, known, list_scalers, parse, reference, scalers_of, short_name
from scaler.cli.record import record_of
from scaler.cli.session import (
    BadInput,
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    Session,
    errors_for_a_person,
)
from scaler.cli.status import console
from scaler.domain import Mode
from scaler.kube.api import Conflict, Json, NotFound
from scaler.kube.objects import ANNOTATION_PREFIX, ObjectRef, PredictiveScalerObject, predictive_scaler_object
from scaler.kube.predictive_scaler import CREATED_BY, new_scaler
from scaler.kube.resources import PREDICTIVE_SCALERS, Resource
from scaler.targets.annotations import PAUSE, PAUSE_SCALE_DOWN, read_settings
from scaler.targets.discovery import scaler_name

WorkloadArgument = Annotated[str, typer.Argument(help=WORKLOAD_HELP, metavar="KIND/NAME")]
MinOption = Annotated[int | None, typer.Option("--min", help="The floor never goes below it.", metavar="N")]
MaxOption = Annotated[int | None, typer.Option("--max", help="The floor never goes above it.", metavar="N")]
MetricOption = Annotated[
    str | None, typer.Option("--metric", help="cpu, memory, concurrency, rps, or a preset of your cluster.")
]
TargetOption = Annotated[
    str | None, typer.Option("--target", help="Load of one pod: 350m, 2Gi, 70%, '70% of limit', or a plain number.")
]
LeadTimeOption = Annotated[str | None, typer.Option("--lead-time", help="auto, or a duration such as 90s or 5m.")]
MissBudgetOption = Annotated[
    str | None, typer.Option("--miss-budget", help="Share of time that may be short of pods, such as 1%.")
]

_NEXT: Final[Mapping[Mode, str]] = {
    Mode.ON: "Within about 15 seconds the scaler decides about it and sets its floor whenever that changes.",
    Mode.SHADOW: "Within about 15 seconds the scaler decides about it and records that, and writes nothing to it.",
    Mode.OFF: "The scaler leaves it alone.",
}
_GIVES_BACK: Final = "Within about 15 seconds the scaler gives back what stood before its floors."


@dataclass(frozen=True, slots=True)
class Subject:
    """One workload that a command is about.

    Attributes:
        annotations: Of the workload, as it stands.
        uid: Of the workload; empty where it does not exist (any more).
        scaler: Its PredictiveScaler; None where there is none yet.
        duplicates: Names of further PredictiveScalers of the same workload, which do not count.
    """

    target: ObjectRef
    annotations: Mapping[str, str]
    uid: str
    scaler: PredictiveScalerObject | None
    duplicates: tuple[str, ...] = ()

    @property
    def opted_in(self) -> bool:
        """Whether the scaler has, or will have, something to do with it."""
        return self.scaler is not None or any(name.startswith(ANNOTATION_PREFIX) for name in self.annotations)

    @property
    def typed(self) -> str:
        """How it is named on the command line."""
        return f"{short_name(self.target)} -n {self.target.namespace}"


def enable_command(  # noqa: PLR0913 - one parameter per option is how typer reads them
    workload: WorkloadArgument,
    *,
    minimum: MinOption = None,
    maximum: MaxOption = None,
    metric: MetricOption = None,
    target: TargetOption = None,
    lead_time: LeadTimeOption = None,
    miss_budget: MissBudgetOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Let AI-HPA move a workload's replica floor.

    Examples: `ai-hpa enable deploy/web`, `ai-hpa enable isvc/llm -n models --min 1 --max 20 --miss-budget 0.5%`
    """
    wishes = _wishes(minimum, maximum, metric=metric, target=target, lead_time=lead_time, miss_budget=miss_budget)
    _change(workload, {"mode": Mode.ON.value, **wishes}, (namespace, context, kubeconfig))


def shadow_command(  # noqa: PLR0913 - one parameter per option is how typer reads them
    workload: WorkloadArgument,
    *,
    minimum: MinOption = None,
    maximum: MaxOption = None,
    metric: MetricOption = None,
    target: TargetOption = None,
    lead_time: LeadTimeOption = None,
    miss_budget: MissBudgetOption = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Let AI-HPA decide and record, and change nothing; the way to begin.

    Examples: `ai-hpa shadow deploy/web`, `ai-hpa shadow isvc/llm -n models --max 20`
    """
    wishes = _wishes(minimum, maximum, metric=metric, target=target, lead_time=lead_time, miss_budget=miss_budget)
    _change(workload, {"mode": Mode.SHADOW.value, **wishes}, (namespace, context, kubeconfig))


def disable_command(
    workload: WorkloadArgument,
    *,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Switch AI-HPA off for a workload; the scaler gives back what stood before.

    Example: `ai-hpa disable deploy/web`. Without a running scaler: `ai-hpa release deploy/web`
    """
    _change(workload, {"mode": Mode.OFF.value}, (namespace, context, kubeconfig))


def pause_command(
    workload: WorkloadArgument,
    *,
    scale_down_only: Annotated[
        bool, typer.Option("--scale-down-only", help="Hold only the way down; the floor may still rise.")
    ] = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Hold a workload's floor where it stands.

    Examples: `ai-hpa pause deploy/web`, `ai-hpa pause isvc/llm --scale-down-only`
    """
    changes = {"scaleDownPaused": True, "paused": None} if scale_down_only else {"paused": True}
    _change(workload, changes, (namespace, context, kubeconfig))


def resume_command(
    workload: WorkloadArgument,
    *,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Let a paused workload's floor move again.

    Example: `ai-hpa resume deploy/web`
    """
    _change(workload, {"paused": None, "scaleDownPaused": None}, (namespace, context, kubeconfig))


def subject(opened: Session, text: str) -> Subject:
    """Find a workload and its PredictiveScaler, if there is one.

    Raises:
        BadInput: There is neither; or the workload named does not exist.
        NotInstalled: The cluster knows no PredictiveScalers.
        KubeError: The cluster could not be asked.
    """
    resource, name = parse(opened.api, text)
    scalers = list_scalers(opened.api, opened.namespace)
    found = scalers_of(scalers, resource, name)
    if resource is PREDICTIVE_SCALERS:
        if not found:
            raise BadInput(f"there is no PredictiveScaler {name} in namespace {opened.namespace}; see `ai-hpa status`")
        return Subject(found[0].target, _annotations_of_target(opened, found[0].target), "", found[0])
    item = check_stands(opened.api, resource, opened.namespace, name)
    return Subject(
        target=reference(resource, opened.namespace, name),
        annotations=_annotations(item),
        uid=str((item.get("metadata") or {}).get("uid") or ""),
        scaler=found[0] if found else None,
        duplicates=tuple(s.meta.name for s in found[1:]),
    )


def _annotations_of_target(opened: Session, target: ObjectRef) -> Mapping[str, str]:
    """Read a workload's annotations; none where it is gone, which must keep nobody from switching it off."""
    resource = known(target)
    try:
        return _annotations(opened.api.get(resource, target.namespace, target.name)) if resource is not None else {}
    except NotFound:
        return {}


def _annotations(item: Json) -> Mapping[str, str]:
    annotations = (item.get("metadata") or {}).get("annotations") or {}
    return {key: str(value) for key, value in annotations.items()}


def write(opened: Session, about: Subject, changes: Json) -> PredictiveScalerObject:
    """Change the spec of a workload's PredictiveScaler, and create that first where there is none.

    Args:
        opened: The cluster.
        about: The workload.
        changes: Fields of the spec; None removes one.

    Raises:
        KubeError: It could not be written.
    """
    if about.scaler is not None:
        return _patch(opened, about.scaler, changes)
    body = new_scaler(scaler_name(about.target), about.target, about.uid)
    del body["metadata"]["annotations"][CREATED_BY]  # so that the scaler keeps what a person made
    body["spec"] |= {field: value for field, value in changes.items() if value is not None}
    try:
        return predictive_scaler_object(opened.api.create(PREDICTIVE_SCALERS, about.target.namespace, body))
    except Conflict:  # the scaler made it between the two calls
        resource = Resource(about.target.group, "", "", about.target.kind)
        made = scalers_of(list_scalers(opened.api, about.target.namespace), resource, about.target.name)
        if not made:
            raise
        return _patch(opened, made[0], changes)


def _patch(opened: Session, scaler: PredictiveScalerObject, changes: Json) -> PredictiveScalerObject:
    """Patch the spec alone, without a precondition: the scaler writes status and annotations at any time."""
    named = scaler.meta.namespace, scaler.meta.name
    return predictive_scaler_object(opened.api.merge_patch(PREDICTIVE_SCALERS, *named, {"spec": dict(changes)}))


def check(about: Subject, changes: Json) -> None:
    """Refuse changes that the scaler would refuse.

    Raises:
        BadInput: Names every problem and what is accepted.
    """
    spec = dict(about.scaler.spec) if about.scaler is not None else {}
    spec.update(changes)
    _, problems = read_settings(about.annotations, spec)
    if problems:
        raise BadInput("; ".join(_as_option(problem) for problem in problems))


def _change(workload: str, changes: Json, where: tuple[str | None, str | None, Path | None]) -> None:
    """Do what all five commands do: look, check, write, and say what comes of it."""
    with errors_for_a_person():
        opened = session.open_session(*where)
        about = subject(opened, workload)
        if "mode" not in changes and not about.opted_in:
            raise BadInput(
                f"{about.target.kind} {about.target.name} is not under AI-HPA, so there is nothing to hold; "
                f"opt it in with `ai-hpa shadow {about.typed}`"
            )
        changes = _complete(about, changes)
        if changes.get("mode") in {Mode.ON, Mode.SHADOW}:
            check(about, changes)
        after = write(opened, about, changes)
        screen = console()
        for line in outcome(about, after, changes):
            screen.print(line, style="yellow" if line.startswith("! ") else None, markup=False, soft_wrap=True)


def outcome(before: Subject, after: PredictiveScalerObject, changes: Json) -> Iterator[str]:
    """Say what was written, what comes next, and what stands in the way; a line that starts with `! ` is a warning."""
    record = record_of(after)
    done = "changed" if before.scaler is not None else "created"
    told = ", ".join(f"{name} {_said(value)}" for name, value in changes.items())
    yield f"PredictiveScaler {after.meta.namespace}/{after.meta.name} {done}: {told}."
    earlier = before.scaler.status.get("mode") if before.scaler is not None else None
    mode = Mode(changes["mode"]) if "mode" in changes else None
    if mode is not None:
        yield _NEXT[mode]
        if mode is not Mode.ON and earlier == Mode.ON:
            yield _GIVES_BACK
    else:
        yield _pause_next(after.spec)
    if mode is not Mode.OFF:
        if mode is not None and (record.paused or record.scale_down_paused):
            held = "paused" if record.paused else "paused on the way down"
            yield f"! It is {held}: `ai-hpa resume {before.typed}`"
        for condition in record.bad_conditions:
            yield f"! As of now, {condition.type} is not so: {condition.message or condition.reason}"
            if what := sentences.advice(condition):
                yield f"    {what}"
    if before.duplicates:
        yield f"! Also for this workload, and without effect: {', '.join(before.duplicates)}; delete them."
    yield f"Look at it with: ai-hpa explain {before.typed}"


def _complete(about: Subject, changes: Json) -> Json:
    """Add what follows from a change.

    A pause that an annotation asks for has to be said no to; and of miss budget and cost ratio only one may stand.
    """
    full = dict(changes)
    for setting in (PAUSE, PAUSE_SCALE_DOWN):
        if setting.field in full and full[setting.field] is None and setting.annotation in about.annotations:
            full[setting.field] = False
    if full.get("missBudget") is not None and about.scaler is not None and "costRatio" in about.scaler.spec:
        full["costRatio"] = None
    return full


def _wishes(
    minimum: int | None,
    maximum: int | None,
    *,
    metric: str | None,
    target: str | None,
    lead_time: str | None,
    miss_budget: str | None,
) -> dict[str, Any]:
    """Give the options that were used, as fields of the spec."""
    given = {
        "minReplicas": minimum,
        "maxReplicas": maximum,
        "metric": metric,
        "target": target,
        "leadTime": lead_time,
        "missBudget": miss_budget,
    }
    return {name: value for name, value in given.items() if value is not None}


def _pause_next(spec: Json) -> str:
    if spec.get("paused"):
        return "The floor stays where it stands until `ai-hpa resume`."
    if spec.get("scaleDownPaused"):
        return "The floor may rise and does not fall until `ai-hpa resume`."
    return "The floor moves again within about 15 seconds."


_OPTIONS: Final[Sequence[tuple[str, str]]] = (
    ("spec.minReplicas", "--min"),
    ("spec.maxReplicas", "--max"),
    ("spec.metric", "--metric"),
    ("spec.target", "--target"),
    ("spec.leadTime", "--lead-time"),
    ("spec.missBudget", "--miss-budget"),
)


def _as_option(problem: str) -> str:
    """Name the option beside the field."""
    for field, option in _OPTIONS:
        if problem.startswith(f"{field}:"):
            return problem.replace(field, f"{option} ({field})", 1)
    return problem


def _said(value: Any) -> str:
    if value is None:
        return "unset"
    return str(value).lower() if isinstance(value, bool) else str(value)
