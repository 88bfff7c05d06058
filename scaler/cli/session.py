"""How every command reaches its cluster and says what went wrong; it knows nothing of what a command does there."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from kubernetes import config
from kubernetes.config import ConfigException

from scaler.cli.exits import EXIT_BAD_INPUT, EXIT_NO_CLUSTER, fail
from scaler.domain import ScalerError
from scaler.kube.api import (
    Conflict,
    Forbidden,
    Invalid,
    KubeApi,
    KubeError,
    NoCluster,
    NotFound,
    ServerBusy,
    Unreachable,
    connect,
)

# What a person should know is printed; the log is the scaler's.
logging.getLogger("scaler").addHandler(logging.NullHandler())

NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Namespace; without it that of the kubeconfig's context.", metavar="NAME"),
]
ContextOption = Annotated[
    str | None, typer.Option("--context", help="Context of the kubeconfig; without it the current one.", metavar="NAME")
]
KubeconfigOption = Annotated[
    Path | None,
    typer.Option("--kubeconfig", help="File to read in place of KUBECONFIG or ~/.kube/config.", metavar="FILE"),
]


# Looked up in this order, so a kind stands before those that it derives from.
_ADVICE: Final[Mapping[type[KubeError], str]] = {
    NoCluster: "{told}",
    Unreachable: "the API server does not answer ({told}); try `kubectl version` with the same context",
    Forbidden: "you may not do this: {told}; ask whoever runs the cluster for that permission",
    ServerBusy: "the API server is too busy ({told}); try again in a minute",
    Conflict: "the object was changed by someone else at the same time ({told}); run the command again",
    Invalid: "the API server refuses the change: {told}",
    NotFound: "not found: {told}; check the name and the namespace (-n)",
    KubeError: "the API server did not do it: {told}",
}


class Output(StrEnum):
    """How a command prints."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="For a person, or for a program.")]


class BadInput(ScalerError):
    """What was typed cannot be used; the message says what is accepted."""


class NotInstalled(ScalerError):
    """The cluster has no PredictiveScalers; the message says how to install them."""


@dataclass(frozen=True, slots=True)
class Session:
    """One cluster, and the namespace that is meant where none is named."""

    api: KubeApi
    namespace: str


def open_session(namespace: str | None, context: str | None, kubeconfig: Path | None) -> Session:
    """Find the cluster and the namespace as kubectl does.

    Raises:
        NoCluster: No cluster is configured, or the context does not exist.
    """
    path = str(kubeconfig) if kubeconfig is not None else None
    api = connect(context=context, kubeconfig=path, pool_size=8)
    return Session(api, namespace or _usual_namespace(context, path))


def _usual_namespace(context: str | None, kubeconfig: str | None) -> str:
    """Give the namespace of the context, or of the pod that this runs in; `default` where neither says."""
    if context is None and kubeconfig is None and NAMESPACE_FILE.exists():
        return NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    try:
        contexts, active = config.list_kube_config_contexts(config_file=kubeconfig)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError):
        return "default"
    meant = next((c for c in contexts if c["name"] == context), active)
    return str((meant.get("context") or {}).get("namespace") or "default")


def now() -> datetime:
    """Read the clock; a command is where time enters."""
    return datetime.now(tz=UTC)  # noqa: TID251 - the one clock of the command line


@contextmanager
def errors_for_a_person() -> Iterator[None]:
    """Turn what an adapter raises into one line on stderr and an exit code."""
    try:
        yield
    except BadInput as exc:
        fail(str(exc), EXIT_BAD_INPUT)
    except ScalerError as exc:
        fail(explained(exc), EXIT_BAD_INPUT if isinstance(exc, Invalid) else EXIT_NO_CLUSTER)


def explained(error: ScalerError) -> str:
    """Say in one line what went wrong and what to do next."""
    told = " ".join(str(error).split())
    if isinstance(error, Unreachable):
        told = told.split(": ", 1)[-1]  # drops the request line in front of the cause
    if isinstance(error, Forbidden) and error.status == 401:
        return f"the API server does not accept your credentials ({told}); log in again"
    sentence = next((text for kind, text in _ADVICE.items() if isinstance(error, kind)), "{told}")
    return sentence.format(told=told)
