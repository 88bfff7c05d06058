"""`ai-hpa check`: what a cluster lacks, or has set unwisely, and the command that mends it; it changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from importlib import metadata
from typing import Annotated, Final

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from scaler.adapters.forecast_contract import CONTRACT
from scaler.adapters.kserve_forecaster import KServeForecaster
from scaler.adapters.prometheus import Connection, PrometheusClient, connection_of
from scaler.adapters.v2_client import InvalidEndpoint
from scaler.checks import access, knative, kserve, reader, sources, workloads
from scaler.checks.finding import Finding, Level, warning
from scaler.checks.reader import Namespaces
from scaler.cli import session
from scaler.cli.exits import EXIT_FAILED
from scaler.cli.session import (
    BadInput,
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
    Output,
    OutputOption,
    errors_for_a_person,
)
from scaler.cli.status import console
from scaler.domain import ScalerError
from scaler.kube.api import KubeApi
from scaler.kube.facts import FactsReader
from scaler.settings import SettingsError, load_settings
from scaler.targets.annotations import SETTINGS

FORECASTER_DEADLINE: Final = timedelta(seconds=20)  # it may have to wake from zero
DISTRIBUTION: Final = "ai-hpa"

_MARKS: Final = {Level.OK: ("ok", "green"), Level.WARNING: ("warning", "yellow"), Level.PROBLEM: ("PROBLEM", "red")}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What to look at.

    Attributes:
        namespaces: The only ones to look at; empty for the whole cluster.
        prometheus: None where none was named.
        forecaster: None where none was named.
    """

    namespaces: tuple[str, ...]
    places: Namespaces
    prometheus: Connection | None = None
    forecaster: KServeForecaster | None = None
    forecaster_url: str = ""


def check_command(
    *,
    prometheus_url: Annotated[
        str, typer.Option("--prometheus-url", envvar="AI_HPA_PROMETHEUS_URL", help="Base URL, as seen from here.")
    ] = "",
    forecaster_url: Annotated[
        str, typer.Option("--forecaster-url", envvar="AI_HPA_FORECASTER_URL", help="Base URL, as seen from here.")
    ] = "",
    output: OutputOption = Output.TABLE,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Look at a cluster, or at one namespace of it, and say what is missing or unwise and how to mend it.

    Ends with 1 where there is a problem. In the scaler's pod it takes the scaler's own settings.

    Examples: `ai-hpa check`, `ai-hpa check --prometheus-url http://localhost:9090`,
    `kubectl exec -n ai-hpa-system deploy/ai-hpa-scaler -- ai-hpa check`
    """
    with errors_for_a_person():
        wishes = _wishes(namespace, prometheus_url, forecaster_url)
        opened = session.open_session(namespace, context, kubeconfig)
        with Console(stderr=True).status("Looking at the cluster"):
            findings = tuple(look(opened.api, wishes))
    if output is Output.JSON:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        show(findings, console())
    if any(finding.level is Level.PROBLEM for finding in findings):
        raise typer.Exit(EXIT_FAILED)


def look(api: KubeApi, wishes: Wishes) -> Iterator[Finding]:
    """Do all checks; one whose facts may not be read becomes a warning.

    Raises:
        KubeError: The API server does not answer at all.
    """
    yield from access.check_kubernetes(*reader.read_version(api))
    groups = reader.read_groups(api)
    facts = FactsReader(api, kserve_namespace=wishes.places.kserve, knative_namespace=wishes.places.knative)
    facts.refresh()
    yield from _tried("PredictiveScaler CRD", lambda: access.check_crd(reader.read_crd(api), _release()))
    yield from _tried("scaler", lambda: _scaler(api, wishes, groups))
    yield from _tried("KServe", lambda: _kserve(api, facts, wishes, groups))
    yield from _tried("Knative", lambda: _knative(api, facts, wishes, groups))
    yield from _sources(api, wishes, groups)
    yield from _tried("workloads", lambda: _workloads(api, wishes, facts))


def show(findings: Iterable[Finding], screen: Console) -> None:
    """Print all findings, and below them each command that mends one, on a line of its own."""
    findings = tuple(findings)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("", "check", "found"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        mark, style = _MARKS[finding.level]
        table.add_row(mark, finding.check, finding.message, style=style if finding.level is not Level.OK else None)
    screen.print(table)
    mends: dict[str, list[str]] = {}
    for finding in findings:
        if finding.mend:
            mends.setdefault(finding.mend, []).append(finding.check)
    for mend, checks in mends.items():
        screen.print(f"{', '.join(checks)}:", style="bold", markup=False, soft_wrap=True)
        screen.print(f"  {mend}", markup=False, soft_wrap=True)
    counts = {level: sum(f.level is level for f in findings) for level in Level}
    screen.print(", ".join(f"{number} {level.value}" for level, number in counts.items()))


def _scaler(api: KubeApi, wishes: Wishes, groups: frozenset[str]) -> tuple[Finding, ...]:
    installed = reader.read_installed(api, wishes.namespaces)
    asked = reader.read_access(api, installed, wishes.namespaces, places=wishes.places, groups=groups)
    if installed is None:
        return (*access.check_scaler(None, "", 0), *access.check_permissions(asked, installed=False))
    return (
        *access.check_scaler(installed.namespace, installed.name, installed.ready),
        *access.check_permissions(asked, installed=True),
    )


def _kserve(api: KubeApi, facts: FactsReader, wishes: Wishes, groups: frozenset[str]) -> tuple[Finding, ...]:
    read = reader.read_kserve(api, facts, wishes.places.kserve, groups)
    ours = [setting.annotation for setting in SETTINGS]
    return (*kserve.check_kserve(read), *kserve.check_annotation_list(read, ours))


def _knative(api: KubeApi, facts: FactsReader, wishes: Wishes, groups: frozenset[str]) -> tuple[Finding, ...]:
    read = reader.read_knative(api, facts, wishes.places.knative, groups)
    return (*knative.check_knative(read), *knative.check_scale_to_zero(read), *knative.check_request_metrics(read))


def _sources(api: KubeApi, wishes: Wishes, groups: frozenset[str]) -> Iterator[Finding]:
    prometheus = None
    if wishes.prometheus is not None:
        client = PrometheusClient(wishes.prometheus)
        prometheus = reader.read_prometheus(wishes.prometheus.url, client, session.now())
    usable = None if prometheus is None else prometheus.has_cpu and not prometheus.error
    yield from sources.check_prometheus(prometheus)
    yield from _tried(
        "metrics-server",
        lambda: sources.check_metrics_server(present=reader.read_metrics_server(api, groups), prometheus_usable=usable),
    )
    forecaster = None
    if wishes.forecaster is not None:
        with wishes.forecaster as opened:
            forecaster = reader.read_forecaster(wishes.forecaster_url, opened)
    yield from sources.check_forecaster(forecaster, model=CONTRACT.model_name)


def _workloads(api: KubeApi, wishes: Wishes, facts: FactsReader) -> tuple[Finding, ...]:
    read, troubles = reader.read_workloads(api, wishes.namespaces, facts, session.now())
    findings = (
        *workloads.check_opted_in(read.opted_in),
        *workloads.check_owners(read.hpas, read.scaled_objects, read.records),
        *workloads.check_hpa_targets(read.hpas),
        *workloads.check_requests(read.scaled),
    )
    if not troubles:
        return findings
    # Of what was not seen nobody can say that all is well with it.
    told = "; ".join(trouble.partition(" (")[0] for trouble in troubles)  # without the API server's own words
    unseen = warning("workloads", f"not all could be looked at: {told}")
    return (unseen, *(finding for finding in findings if finding.level is not Level.OK))


def _tried(check: str, look_at: Callable[[], tuple[Finding, ...]]) -> tuple[Finding, ...]:
    try:
        return look_at()
    except ScalerError as exc:
        return (warning(check, f"could not be looked at: {session.explained(exc)}"),)


def _wishes(namespace: str | None, prometheus_url: str, forecaster_url: str) -> Wishes:
    """Put options and environment together.

    Raises:
        BadInput: One of them cannot be used.
    """
    try:
        live = load_settings().live
        prometheus = connection_of(live, prometheus_url) if prometheus_url else None
        forecaster = None
        if forecaster_url:
            forecaster = KServeForecaster(forecaster_url, host=live.forecaster_host, deadline=FORECASTER_DEADLINE)
    except (SettingsError, ValueError, InvalidEndpoint) as exc:
        raise BadInput(" ".join(str(exc).split())) from exc
    return Wishes(
        namespaces=(namespace,) if namespace is not None else live.namespace_list(),
        places=Namespaces(live.kserve_namespace, live.knative_namespace),
        prometheus=prometheus,
        forecaster=forecaster,
        forecaster_url=forecaster_url,
    )


def _release() -> str:
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return ""
