"""Whether Knative lets floors be set without revisions and shows its request metrics; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from scaler.checks.finding import Finding, config_map_patch, ok, warning
from scaler.kube.facts import AUTOSCALER_MAP, MUTABLE_REVISIONS_SINCE, OBSERVABILITY_MAP

PROTOCOL_KEYS: Final = ("metrics-protocol", "request-metrics-protocol")


@dataclass(frozen=True, slots=True)
class KnativeFacts:
    """Knative Serving as it is installed.

    Attributes:
        namespace: Of its ConfigMaps.
        version: None where it does not say.
        autoscaler: Data of ConfigMap config-autoscaler.
        observability: Data of ConfigMap config-observability.
    """

    namespace: str
    version: tuple[int, int] | None
    autoscaler: Mapping[str, str]
    observability: Mapping[str, str]


def check_knative(facts: KnativeFacts | None) -> tuple[Finding, ...]:
    """Say which lever a Knative service gets."""
    check = "Knative"
    if facts is None:
        return (ok(check, "not installed; InferenceServices in Standard mode work without it"),)
    if facts.version is None:
        message = (
            f"the label app.kubernetes.io/version of Deployment {facts.namespace}/controller names no release; 1.21 or "
            "later is assumed, where floors are set on Revisions"
        )
        return (warning(check, message),)
    told = ".".join(map(str, facts.version))
    if facts.version < MUTABLE_REVISIONS_SINCE:
        message = (
            f"{told} is older than 1.21: Revisions cannot be changed, so floors go to their PodAutoscalers, and a new "
            "revision starts without one until the scaler has seen it; upgrade Knative Serving to 1.21 or later"
        )
        return (warning(check, message),)
    return (ok(check, f"{told}, floors are set on Revisions and make no new ones"),)


def check_scale_to_zero(facts: KnativeFacts | None) -> tuple[Finding, ...]:
    """See that a floor of 0 has an effect."""
    check = "Knative scale to zero"
    if facts is None:
        return ()
    if facts.autoscaler.get("enable-scale-to-zero", "true").lower() != "true":  # as Knative reads it
        mend = config_map_patch(facts.namespace, AUTOSCALER_MAP, {"enable-scale-to-zero": "true"})
        message = "switched off: a floor of 0 leaves one pod standing, and the forecaster never sleeps"
        return (warning(check, message, mend),)
    return (ok(check, "switched on"),)


def check_request_metrics(facts: KnativeFacts | None) -> tuple[Finding, ...]:
    """See that concurrency and requests per second can be collected."""
    check = "Knative request metrics"
    if facts is None:
        return ()
    told = {key: facts.observability.get(key) or "none" for key in PROTOCOL_KEYS}
    if all(protocol == "prometheus" for protocol in told.values()):
        return (ok(check, "exported to Prometheus, so workloads may be scaled on concurrency and rps"),)
    if "http/protobuf" in told.values() or "grpc" in told.values():
        message = (
            "sent by OTLP; workloads can be scaled on concurrency and rps only if your Prometheus receives them: "
            + ", ".join(f"{key} is {protocol}" for key, protocol in told.items())
        )
        return (warning(check, message),)
    mend = config_map_patch(facts.namespace, OBSERVABILITY_MAP, dict.fromkeys(PROTOCOL_KEYS, "prometheus"))
    message = (
        "not exported: Knative services are scaled on CPU, which cannot see requests that wait at zero; concurrency "
        "and rps need both protocols on prometheus and a scrape of port http-usermetric of the pods"
    )
    return (warning(check, message, mend),)
