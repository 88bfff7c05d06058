"""Whether load can be measured and forecast: metrics-server, Prometheus, the forecaster; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scaler.checks.finding import Finding, ok, problem, warning
from scaler.domain import ForecastFailure

INSTALL_METRICS_SERVER: Final = (
    "kubectl apply -f https://github.com/kubernetes-sigs/metrics-server/releases/latest/download/components.yaml"
)


@dataclass(frozen=True, slots=True)
class PrometheusFacts:
    """What Prometheus said.

    Attributes:
        url: That was asked.
        error: Why it could not be asked; empty where it could.
        has_cpu: It has the CPU usage of containers, without which nothing is seen.
        troubles: What it lacks, each a sentence.
        notes: What else was found.
    """

    url: str
    error: str = ""
    has_cpu: bool = True
    troubles: Sequence[str] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ForecasterFacts:
    """What the forecaster said.

    Attributes:
        failure: None where its tensors are those of the contract.
        error: The failure in words.
    """

    url: str
    failure: ForecastFailure | None = None
    error: str = ""


def check_metrics_server(*, present: bool, prometheus_usable: bool | None) -> tuple[Finding, ...]:
    """See that one source of CPU usage is there; `prometheus_usable` is None where none was named."""
    check = "metrics-server"
    if present:
        return (ok(check, "its API answers"),)
    if prometheus_usable:
        return (ok(check, "absent, and not needed beside Prometheus; HPAs on CPU need it"),)
    message = "absent, and no Prometheus was looked at: without either no load is seen"
    if prometheus_usable is None:
        return (warning(check, f"{message}; name one with --prometheus-url", INSTALL_METRICS_SERVER),)
    return (problem(check, "absent, and Prometheus cannot be used either: no load is seen", INSTALL_METRICS_SERVER),)


def check_prometheus(facts: PrometheusFacts | None) -> tuple[Finding, ...]:
    """See that Prometheus has what is asked of it."""
    check = "Prometheus"
    if facts is None:
        message = "not looked at; with metrics-server alone history starts anew whenever the scaler does"
        return (warning(check, message, "ai-hpa check --prometheus-url http://prometheus.monitoring:9090"),)
    if facts.error:
        return (
            problem(
                check, f"{facts.url} cannot be used: {facts.error}", f"curl -sS '{facts.url}/api/v1/status/buildinfo'"
            ),
        )
    level = warning if facts.has_cpu else problem
    told = ["has CPU usage of containers"] if facts.has_cpu else []
    return (
        ok(check, ", ".join([f"{facts.url} answers", *told, *facts.notes])),
        *(level(check, trouble) for trouble in facts.troubles),
    )


def check_forecaster(facts: ForecasterFacts | None, *, model: str) -> tuple[Finding, ...]:
    """See that the forecaster keeps the contract.

    Args:
        facts: None where no forecaster was named.
        model: Name of the model that is asked.
    """
    check = "forecaster"
    if facts is None:
        message = "not looked at; name it with --forecaster-url. Without one floors follow yesterday's load and today's"
        return (warning(check, message, "ai-hpa check --forecaster-url http://forecaster.ai-hpa"),)
    if facts.failure is None:
        return (ok(check, f"{facts.url} serves {model} as the contract says"),)
    curl = f"curl -sS '{facts.url.rstrip('/')}/v2/models/{model}'"
    if facts.failure is ForecastFailure.MALFORMED:
        message = f"{facts.url} serves another model than this release expects: {facts.error}"
        return (problem(check, message, curl),)
    return (problem(check, f"{facts.url} does not answer: {facts.error}", curl),)
