"""What a scaler on a live cluster is told beyond the controller: where things are, and how to reach them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final

from scaler.bounded import Bounded, Described, check_bounds

KSERVE_NAMESPACE: Final = "kserve"
KNATIVE_NAMESPACE: Final = "knative-serving"

_URL = r"(https?://[^\s]+)?"
_NAMES = r"([a-z0-9]([-a-z0-9]*[a-z0-9])?(\s*,\s*[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?"
_NAME = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"


@dataclass(frozen=True, slots=True)
class LiveConfig:
    """Where a live scaler finds its cluster, its metrics and its model."""

    namespaces: Annotated[
        str,
        Described(
            "names of namespaces, separated by commas",
            "Namespaces that are looked after; empty for all of the cluster. With a Role instead of a ClusterRole, "
            "name those that it covers.",
            _NAMES,
        ),
    ] = ""
    prometheus_url: Annotated[
        str,
        Described(
            "an http or https URL",
            "Base URL of Prometheus, Thanos or Mimir. Empty takes the CPU and memory that metrics-server reports, "
            "without any history from before the start.",
            _URL,
        ),
    ] = ""
    prometheus_token_file: Annotated[
        str, Described("a path", "File with the bearer token for it; read again when it changes. Empty sends none.")
    ] = ""
    prometheus_ca_file: Annotated[
        str, Described("a path", "Certificates to trust for it. Empty trusts the image's own.")
    ] = ""
    prometheus_headers: Annotated[
        str,
        Described(
            "a JSON object of strings",
            'Headers sent with each query, e.g. `{"X-Scope-OrgID": "team"}` for a tenant of Mimir.',
        ),
    ] = "{}"
    prometheus_insecure: Annotated[
        bool, Described("true or false", "Take any certificate of Prometheus. For trials only.")
    ] = False
    prometheus_presets: Annotated[
        str,
        Described(
            "a JSON object of PromQL texts",
            "Metrics of your own for `ai-hpa.dev/metric`, by name; each query yields one series per pod, with the "
            "labels `namespace` and `pod`.",
        ),
    ] = "{}"
    prometheus_timeout: Annotated[
        timedelta,
        Bounded(
            timedelta(seconds=0.5),
            timedelta(seconds=5),
            "Time for one query. All tries of a tick together stay under a third of it.",
        ),
    ] = timedelta(seconds=4)
    rate_window: Annotated[
        timedelta,
        Bounded(
            timedelta(seconds=15),
            timedelta(seconds=600),
            "What the newest CPU sample averages over. Four scrapes of 30 s, the interval of the usual Prometheus "
            "charts; `ai-hpa check` says what yours needs. Shorter sees a rise sooner.",
        ),
    ] = timedelta(seconds=120)
    forecaster_url: Annotated[
        str,
        Described(
            "an http or https URL",
            "Base URL of the forecaster's InferenceService; in the cluster that of its predictor.",
            r"https?://[^\s]+",
        ),
    ] = "http://forecaster-predictor.ai-hpa-system.svc.cluster.local"
    forecaster_host: Annotated[
        str,
        Described(
            "a host name",
            "Host header for it, where the URL is that of a gateway that routes by host. Empty takes the URL's.",
            r"[A-Za-z0-9.:-]*",
        ),
    ] = ""
    pod_name: Annotated[str, Described("a pod's name", "Names this replica in the Lease and in events.", _NAME)] = (
        "ai-hpa"
    )
    pod_namespace: Annotated[str, Described("a namespace", "Where the Lease stands.", _NAME)] = "ai-hpa-system"
    lease_name: Annotated[str, Described("a name", "Of the Lease that elects the one replica that acts.", _NAME)] = (
        "ai-hpa-scaler"
    )
    http_port: Annotated[int, Bounded(0, 65535, "Port of /metrics, /healthz and /readyz. 0 serves none of them.")] = (
        9090
    )
    status_writes: Annotated[
        int,
        Bounded(
            1,
            1000,
            "Most PredictiveScalers whose status one tick writes. At most a sixth go to what touches no workload: what "
            "shadow mode would do, and numbers brought up to date once per longest forecast period (1,000 take 25 "
            "minutes).",
        ),
    ] = 60
    assumed_maximum_ratio: Annotated[
        float,
        Bounded(
            0,
            100,
            "A workload without any maximum gets this many times its peak replicas of the last seven days, as far as "
            "they were seen. 0 refuses such a workload until it names one.",
        ),
    ] = 3.0
    kserve_namespace: Annotated[
        str, Described("a namespace", "Where KServe's ConfigMap `inferenceservice-config` stands.", _NAME)
    ] = KSERVE_NAMESPACE
    knative_namespace: Annotated[str, Described("a namespace", "Where Knative Serving's ConfigMaps stand.", _NAME)] = (
        KNATIVE_NAMESPACE
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        check_bounds(self)
        self.headers()
        self.presets()

    def namespace_list(self) -> tuple[str, ...]:
        """Namespaces that are looked after; empty for all."""
        return tuple(name.strip() for name in self.namespaces.split(",") if name.strip())

    def headers(self) -> Mapping[str, str]:
        """Headers for Prometheus.

        Raises:
            ValueError: They are no JSON object of strings.
        """
        return _strings("prometheus_headers", self.prometheus_headers)

    def presets(self) -> Mapping[str, str]:
        """PromQL by name.

        Raises:
            ValueError: They are no JSON object of strings.
        """
        return _strings("prometheus_presets", self.prometheus_presets)


def _strings(name: str, text: str) -> Mapping[str, str]:
    try:
        values = json.loads(text)
    except ValueError as exc:
        raise ValueError(f"{name} must be a JSON object of strings, got {text!r}: {exc}") from exc
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise ValueError(f"{name} must be a JSON object of strings, got {text!r}")
    return values
