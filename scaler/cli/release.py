"""`ai-hpa release`: gives back what stood before AI-HPA's floors and keeps the scaler from setting them again.

Two scalers may run while it works, and the one that leads may be about to write a floor. So each workload is switched
off first; then the scaler is given the time of a tick or two to give the floors back itself; what stands after that is
given back here. Whoever does it, the restore record says in the end that nothing is left.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final

import typer
from rich.console import Console

from scaler.cli import session
from scaler.cli.exits import EXIT_FAILED, fail
from scaler.cli.kinds import WORKLOAD_HELP, find, list_scalers, short_name
from scaler.cli.session import (
    BadInput,
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    errors_for_a_person,
)
from scaler.cli.status import console
from scaler.domain import Mode
from scaler.kube.api import KubeApi, KubeError, NotFound, ServerBusy, Unreachable
from scaler.kube.objects import PredictiveScalerObject, predictive_scaler_object
from scaler.kube.predictive_scaler import RestoreEntry, restore_record
from scaler.kube.resources import PREDICTIVE_SCALERS
from scaler.settings import SettingsError, load_settings
from scaler.targets.release import Outcome, release

POLL_SECONDS: Final = 1.0
SETTLE_SECONDS: Final = 10.0  # a tick that began before the switch-off has written all its floors by then
DEFAULT_WAIT_SECONDS: Final = 35.0  # two ticks, and the time to write


@dataclass(frozen=True, slots=True)
class Gave:
    """What became of one workload.

    Attributes:
        lines: A sentence for each field.
        failed: Something of it could not be given back.
    """

    workload: str
    lines: tuple[str, ...]
    failed: bool = False


@dataclass(slots=True)
class Clock:
    """How time passes: seconds that only grow, and a way to wait."""

    now: Callable[[], float] = time.monotonic
    wait: Callable[[float], object] = field(default_factory=lambda: threading.Event().wait)


def release_command(
    workload: Annotated[str | None, typer.Argument(help=WORKLOAD_HELP, metavar="[KIND/NAME]")] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Every workload of the cluster, or of the namespace that -n names.")
    ] = False,
    wait_seconds: Annotated[
        float,
        typer.Option(
            "--wait", min=0.0, help="Seconds that a running scaler is given to do it itself.", metavar="SECONDS"
        ),
    ] = DEFAULT_WAIT_SECONDS,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Give back what stood before AI-HPA's floors, whether or not a scaler runs, and switch AI-HPA off there.

    Values that somebody else set since are left as they are. `ai-hpa enable` begins again.

    Examples: `ai-hpa release deploy/web`, `ai-hpa release --all`, `ai-hpa release --all -n models`
    """
    with errors_for_a_person():
        if (workload is None) is not everything:
            raise BadInput("name one workload as KIND/NAME, or give --all; not both")
        opened = session.open_session(namespace, context, kubeconfig)
        if workload is not None:
            scalers = [find(opened.api, opened.namespace, workload)]
        else:
            scalers = [s for where in _namespaces(namespace) for s in list_scalers(opened.api, where)]
        screen = console()
        if not scalers:
            screen.print("No workload is under AI-HPA; nothing to give back.")
            return
        with Console(stderr=True).status("Waiting for the scaler to give the floors back"):
            gave = tuple(give_back(opened.api, scalers, wait_seconds=wait_seconds, clock=Clock()))
    _print(gave, screen)
    failed = [g.workload for g in gave if g.failed]
    if failed:
        fail(f"not everything could be given back: {', '.join(failed)}; run the command again", EXIT_FAILED)


def _namespaces(named: str | None) -> tuple[str | None, ...]:
    """Give those to look at; in the pod of a scaler that looks after some only, those; None for all.

    Raises:
        BadInput: The environment says something that is not accepted.
    """
    if named is not None:
        return (named,)
    try:
        return load_settings().live.namespace_list() or (None,)
    except SettingsError as exc:
        raise BadInput(" ".join(str(exc).split())) from exc


def give_back(
    api: KubeApi, scalers: Iterable[PredictiveScalerObject], *, wait_seconds: float, clock: Clock
) -> Iterator[Gave]:
    """Switch workloads off and give back what stood before, one bad one not stopping the others.

    Args:
        api: The API server.
        scalers: As they were read; several of one workload are fine.
        wait_seconds: How long a running scaler is given to do it itself.
        clock: How time passes.

    Raises:
        ServerBusy, Unreachable: The API server does not answer.
        KubeError: The PredictiveScalers could not be read again.
    """
    switched: dict[tuple[str, str], PredictiveScalerObject] = {}
    was_on = False
    for scaler in scalers:
        try:
            was_on |= _switch_off(api, scaler)
        except (ServerBusy, Unreachable):
            raise
        except NotFound:
            yield Gave(_name(scaler), ("was deleted meanwhile",))
        except KubeError as exc:
            yield Gave(_name(scaler), (f"could not be switched off: {session.explained(exc)}",), failed=True)
        else:
            switched[scaler.meta.full_name] = scaler
    standing = _await_scaler(api, switched, wait_seconds=wait_seconds, settle=was_on, clock=clock)
    for name, before in switched.items():
        yield _finish(api, before, standing.get(name))


def _switch_off(api: KubeApi, scaler: PredictiveScalerObject) -> bool:
    """Set mode off; whether the scaler may have been about to write a floor."""
    if scaler.spec.get("mode") != Mode.OFF:
        api.merge_patch(PREDICTIVE_SCALERS, *scaler.meta.full_name, {"spec": {"mode": Mode.OFF.value}})
    return scaler.status.get("mode") == Mode.ON or scaler.spec.get("mode") == Mode.ON or bool(_entries(scaler))


def _await_scaler(
    api: KubeApi,
    switched: Mapping[tuple[str, str], PredictiveScalerObject],
    *,
    wait_seconds: float,
    settle: bool,
    clock: Clock,
) -> Mapping[tuple[str, str], PredictiveScalerObject]:
    """Wait until no floor of ours stands, or the time is up; read every PredictiveScaler as it is then."""
    start = clock.now()
    while True:
        current = _read(api, switched)
        passed = clock.now() - start
        settled = not settle or passed >= SETTLE_SECONDS
        if passed >= wait_seconds or (settled and not any(map(_entries, current.values()))):
            return current
        clock.wait(POLL_SECONDS)


def _read(
    api: KubeApi, switched: Mapping[tuple[str, str], PredictiveScalerObject]
) -> Mapping[tuple[str, str], PredictiveScalerObject]:
    """Read one PredictiveScaler by name, or many with one list."""
    if len(switched) > 1:
        # By namespace, because a namespaced role may not list all of them.
        lists = [api.list(PREDICTIVE_SCALERS, namespace) for namespace in sorted({name[0] for name in switched})]
        read = (predictive_scaler_object(item) for listing in lists for item in listing.items)
        return {scaler.meta.full_name: scaler for scaler in read if scaler.meta.full_name in switched}
    current = {}
    for name in switched:
        try:
            current[name] = predictive_scaler_object(api.get(PREDICTIVE_SCALERS, *name))
        except NotFound:
            continue
    return current


def _finish(api: KubeApi, before: PredictiveScalerObject, current: PredictiveScalerObject | None) -> Gave:
    """Give back what still stands of one workload, and tell what the scaler gave back."""
    name = _name(before)
    if current is None:
        return Gave(name, ("was deleted meanwhile",))
    left = _entries(current)
    told = [
        f"{entry.field_id} was given back by the scaler"
        for field_id, entry in _entries(before).items()
        if field_id not in left
    ]
    try:
        done = release(api, current)
    except (ServerBusy, Unreachable):
        raise
    except KubeError as exc:
        return Gave(name, (*told, f"could not be given back: {session.explained(exc)}"), failed=True)
    told += [entry.message for entry in done]
    failed = any(entry.outcome is Outcome.FAILED for entry in done)
    return Gave(name, tuple(told) or ("nothing to give back",), failed=failed)


def _entries(scaler: PredictiveScalerObject) -> Mapping[str, RestoreEntry]:
    """Give the fields that hold a floor of ours."""
    record = restore_record(scaler.meta.annotations)
    return {field_id: entry for field_id, entry in record.items() if not entry.released}


def _name(scaler: PredictiveScalerObject) -> str:
    return f"{scaler.meta.namespace} {short_name(scaler.target)}"


def _print(gave: Iterable[Gave], screen: Console) -> None:
    for one in gave:
        for line in one.lines:
            style = "yellow" if one.failed else None
            screen.print(f"{one.workload}: {line}", style=style, markup=False, soft_wrap=True)
