"""What holds for the whole cluster, read from its ConfigMaps every few minutes; what is missing raises nothing."""

from __future__ import annotations

import json
import logging
import random
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from scaler.kube.api import Forbidden, Json, KubeError, NotFound
from scaler.kube.objects import Amounts, deployment_mode
from scaler.kube.resources import CONFIG_MAPS, DEPLOYMENTS, Resource
from scaler.live_config import KNATIVE_NAMESPACE, KSERVE_NAMESPACE

REFRESH_SECONDS: Final = 300.0
RETRY_SECONDS: Final = 15.0  # until every part was read, or is known to be missing, once
KSERVE_MAP: Final = "inferenceservice-config"
AUTOSCALER_MAP: Final = "config-autoscaler"
OBSERVABILITY_MAP: Final = "config-observability"
SERVICE_ENTRY: Final = "inferenceService"  # of KSERVE_MAP, JSON
DISALLOWED: Final = "serviceAnnotationDisallowedList"  # in that entry
MUTABLE_REVISIONS_SINCE: Final = (1, 21)  # the first Knative whose Revisions hand a changed floor on; serving #16186

_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)(\.|$)")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What holds for the whole cluster; read from its ConfigMaps and API groups every few minutes.

    Attributes:
        knative_version: Of Knative Serving, e.g. `(1, 21)`; None where it is absent or does not say.
        default_deployment_mode: KServe's, `Knative` or `Standard`; None without KServe.
        kept_from_pods: Annotation keys that KServe does not copy into a service's pods
            (`serviceAnnotationDisallowedList`), so that changing them makes no revision.
        concurrency_target: Knative's soft target of one pod where a revision names none.
        target_utilization_ratio: Share of that target that Knative aims at.
        request_metrics: Knative's queue-proxy exports request metrics.
    """

    knative_version: tuple[int, int] | None = None
    default_deployment_mode: str | None = None
    kept_from_pods: frozenset[str] = frozenset()
    concurrency_target: float = 100.0
    target_utilization_ratio: float = 0.7
    request_metrics: bool = False


@dataclass(frozen=True, slots=True)
class ForeignScale:
    """The /scale of a kind that is not watched (an Argo Rollout, say), as it was read last.

    Attributes:
        resource: Of the object, so that its /scale can be written.
        selector: Labels of its pods, equality only; empty where the object does not say.
        amounts: Of its pods, where one of them stands.
    """

    resource: Resource
    uid: str
    resource_version: str
    replicas: int
    current_replicas: int
    selector: dict[str, str]
    amounts: Amounts = field(default_factory=Amounts)


class ReadApi(Protocol):
    """What reading facts needs of `KubeApi`."""

    def get(self, resource: Resource, namespace: str | None, name: str, subresource: str = "") -> Json:
        """Read one object."""


class FactsReader:
    """Reads the facts and keeps the newest. Safe to use from several threads."""

    def __init__(
        self,
        api: ReadApi,
        *,
        kserve_namespace: str = KSERVE_NAMESPACE,
        knative_namespace: str = KNATIVE_NAMESPACE,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            api: To read from.
            kserve_namespace: Where KServe's `inferenceservice-config` stands.
            knative_namespace: Where Knative Serving runs.
            uniform: A random number between two.
        """
        self._api = api
        self._kserve = kserve_namespace
        self._knative = knative_namespace
        self._uniform = uniform
        self._seen: dict[tuple[str, str, str], Json | None] = {}
        self._facts = ClusterFacts()
        self._notes: tuple[str, ...] = ()
        self._synced = False
        self.on_read: Callable[[ClusterFacts], None] = _nothing

    @property
    def facts(self) -> ClusterFacts:
        """The newest facts; defaults before the first reading."""
        return self._facts

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be read or understood, each a sentence."""
        return self._notes

    @property
    def synced(self) -> bool:
        """Whether each part was read, or is known to be missing or out of reach, once."""
        return self._synced

    def start(self, stop: threading.Event) -> threading.Thread:
        """Keep reading in a daemon thread until `stop`."""
        thread = threading.Thread(target=self._run, args=(stop,), name="facts", daemon=True)
        thread.start()
        return thread

    def refresh(self) -> ClusterFacts:
        """Read everything once; a part that the server did not answer for keeps what it said before."""
        notes: list[str] = []
        answered = [
            self._load(CONFIG_MAPS, self._kserve, KSERVE_MAP, notes),
            self._load(CONFIG_MAPS, self._knative, AUTOSCALER_MAP, notes),
            self._load(CONFIG_MAPS, self._knative, OBSERVABILITY_MAP, notes),
            self._load(DEPLOYMENTS, self._knative, "controller", notes),
        ]
        version = self._knative_version(notes)
        target, ratio = self._autoscaler(notes)
        self._facts = ClusterFacts(
            knative_version=version,
            default_deployment_mode=self._deployment_mode(notes),
            kept_from_pods=self._kept_from_pods(notes),
            concurrency_target=target,
            target_utilization_ratio=ratio,
            request_metrics=self._request_metrics(version),
        )
        self._notes = tuple(notes)
        self.on_read(self._facts)
        self._synced = self._synced or all(answered)
        return self._facts

    def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self.refresh()
            except Exception:
                # The facts as they were serve better than none, and the next round may well read them.
                logger.exception("facts_failed")
            stop.wait((REFRESH_SECONDS if self._synced else RETRY_SECONDS) * self._uniform(0.8, 1.2))

    def _load(self, resource: Resource, namespace: str, name: str, notes: list[str]) -> bool:
        """Read one object into `_seen`; whether the server answered for it."""
        key = (resource.plural, namespace, name)
        try:
            self._seen[key] = self._api.get(resource, namespace, name)
        except NotFound:
            self._seen[key] = None
        except Forbidden as exc:
            self._seen[key] = None
            notes.append(f"{resource.kind} {namespace}/{name} may not be read ({exc}); grant `get` on it.")
        except KubeError as exc:
            notes.append(f"{resource.kind} {namespace}/{name} could not be read ({exc}); what it said before stands.")
            return False
        return True

    def _data(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Give the entries of a ConfigMap; None where it does not stand."""
        item = self._seen.get((CONFIG_MAPS.plural, namespace, name))
        if item is None:
            return None
        data = item.get("data")
        return {key: str(value) for key, value in data.items()} if isinstance(data, dict) else {}

    def _kserve_section(self, key: str, notes: list[str]) -> Json:
        """Give one JSON entry of KServe's ConfigMap; empty where there is none."""
        text = (self._data(self._kserve, KSERVE_MAP) or {}).get(key)
        if text is None:
            return {}
        try:
            section = json.loads(text)
        except ValueError as exc:
            notes.append(f"ConfigMap {self._kserve}/{KSERVE_MAP}, key {key}: must be JSON ({exc}).")
            return {}
        return section if isinstance(section, dict) else {}

    def _deployment_mode(self, notes: list[str]) -> str | None:
        named = self._kserve_section("deploy", notes).get("defaultDeploymentMode")
        mode = deployment_mode(named)
        if named is not None and mode is None:
            notes.append(
                f"ConfigMap {self._kserve}/{KSERVE_MAP}: defaultDeploymentMode is {named!r}; "
                "Knative and Standard are known here."
            )
        return mode

    def _kept_from_pods(self, notes: list[str]) -> frozenset[str]:
        keys = self._kserve_section(SERVICE_ENTRY, notes).get(DISALLOWED)
        return frozenset(str(key) for key in keys) if isinstance(keys, list) else frozenset()

    def _autoscaler(self, notes: list[str]) -> tuple[float, float]:
        """Read the soft target and its ratio; a percentage up to 1 is a ratio already (autoscaler/config/config.go)."""
        defaults = ClusterFacts()
        target = self._number("container-concurrency-target-default", notes) or defaults.concurrency_target
        percent = self._number("container-concurrency-target-percentage", notes)
        if percent is None:
            return target, defaults.target_utilization_ratio
        return target, percent / 100.0 if percent > 1.0 else percent

    def _number(self, key: str, notes: list[str]) -> float | None:
        """Read a positive number of config-autoscaler; None where Knative takes its default."""
        text = (self._data(self._knative, AUTOSCALER_MAP) or {}).get(key)
        if text is None:
            return None
        try:
            value = float(text.strip().removesuffix("%"))
        except ValueError:
            value = 0.0
        if not 0.0 < value < float("inf"):
            notes.append(f"ConfigMap {self._knative}/{AUTOSCALER_MAP}: {key} must be a positive number, is {text!r}.")
            return None
        return value

    def _request_metrics(self, version: tuple[int, int] | None) -> bool:
        """Tell whether queue-proxy exports them: by default from OpenCensus' time, up to 1.18, and not since."""
        data = self._data(self._knative, OBSERVABILITY_MAP)
        if data is None:
            return False
        protocol = data.get("request-metrics-protocol", "")
        if protocol:
            return protocol != "none"
        destination = data.get("metrics.request-metrics-backend-destination", "prometheus")
        return version is not None and version < (1, 19) and destination == "prometheus"

    def _knative_version(self, notes: list[str]) -> tuple[int, int] | None:
        controller = self._seen.get((DEPLOYMENTS.plural, self._knative, "controller"))
        if controller is None:
            return None
        labels = (controller.get("metadata") or {}).get("labels") or {}
        named = str(labels.get("app.kubernetes.io/version") or "")
        found = _VERSION.match(named)
        if found is None:
            notes.append(
                f"Deployment {self._knative}/controller: the label app.kubernetes.io/version is {named!r}; "
                "a release such as 1.21.0 was expected, so the version of Knative is not known."
            )
            return None
        return int(found[1]), int(found[2])


def _nothing(facts: ClusterFacts) -> None:
    """Do nothing."""
