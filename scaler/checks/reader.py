"""Gathers the facts that the checks look at; it judges nothing and changes nothing.

What may not be read is told by the error that the API gives; what is absent is None.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scaler.adapters.kserve_forecaster import KServeForecaster
from scaler.adapters.prometheus import PrometheusClient
from scaler.checks import kserve
from scaler.checks.access import OWN_NAMESPACE, PERMISSIONS, AccessFacts, CrdFacts, Permission
from scaler.checks.knative import KnativeFacts
from scaler.checks.kserve import KServeFacts
from scaler.checks.sources import ForecasterFacts, PrometheusFacts
from scaler.checks.workloads import OptedIn
from scaler.domain import ForecastUnavailable, MetricsUnavailable
from scaler.kube.api import Forbidden, Json, KubeApi, NotFound, json_map
from scaler.kube.cluster import Cluster
from scaler.kube.facts import AUTOSCALER_MAP, KSERVE_MAP, OBSERVABILITY_MAP, SERVICE_ENTRY, FactsReader
from scaler.kube.objects import HpaObject, ObjectRef, ScalableObject, ScaledObjectObject
from scaler.kube.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    POD_METRICS,
    PREDICTIVE_SCALERS,
    SELF_SUBJECT_ACCESS_REVIEWS,
    STATEFUL_SETS,
    Resource,
)
from scaler.live_config import KNATIVE_NAMESPACE, KSERVE_NAMESPACE, LiveConfig
from scaler.targets.discovery import Discovery

SYNC_SECONDS: Final = 20.0
INSTALLED_LABELS: Final = "app.kubernetes.io/name=ai-hpa,app.kubernetes.io/component=scaler"
CRDS: Final = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition")
SUBJECT_ACCESS_REVIEWS: Final = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview")
KSERVE_DEPLOYMENT: Final = "kserve-controller-manager"


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Where KServe and Knative Serving are installed."""

    kserve: str
    knative: str


@dataclass(frozen=True, slots=True)
class Installed:
    """The scaler as it is installed.

    Attributes:
        ready: Its pods that are ready.
    """

    namespace: str
    name: str
    service_account: str
    ready: int


@dataclass(frozen=True, slots=True)
class WorkloadFacts:
    """What is opted in, and the autoscalers beside it.

    Attributes:
        scaled: Each HPA with the Deployment or StatefulSet that it scales.
        records: Name and target of every PredictiveScaler.
    """

    opted_in: tuple[OptedIn, ...]
    scaled: tuple[tuple[HpaObject, ScalableObject], ...]
    hpas: tuple[HpaObject, ...]
    scaled_objects: tuple[ScaledObjectObject, ...]
    records: tuple[tuple[str, ObjectRef], ...]


def read_version(api: KubeApi) -> tuple[str, tuple[int, int] | None]:
    """Read the API server's version, as it says it and as numbers.

    Raises:
        KubeError: It does not answer.
    """
    version = api.get_path("/version")
    told = str(version.get("gitVersion") or "")
    parts = kserve.image_version(f"kubernetes:{told}")
    return told, (parts[0], parts[1]) if parts is not None else None


def read_crd(api: KubeApi) -> CrdFacts | None:
    """Read our CRD.

    Raises:
        KubeError: It could not be read.
    """
    try:
        crd = api.get(CRDS, None, PREDICTIVE_SCALERS.full_name)
    except NotFound:
        return None
    versions = [v for v in json_map(crd.get("spec")).get("versions") or () if isinstance(v, dict)]
    ours = next((v for v in versions if v.get("name") == PREDICTIVE_SCALERS.version), {})
    schema = json_map(json_map(json_map(ours.get("schema")).get("openAPIV3Schema")).get("properties"))
    labels = json_map(json_map(crd.get("metadata")).get("labels"))
    return CrdFacts(
        served=tuple(str(v.get("name")) for v in versions if v.get("served")),
        spec_fields=frozenset(json_map(json_map(schema.get("spec")).get("properties"))),
        status_fields=frozenset(json_map(json_map(schema.get("status")).get("properties"))),
        release=str(labels.get("app.kubernetes.io/version") or ""),
    )


def read_installed(api: KubeApi, where: Collection[str]) -> Installed | None:
    """Find the scaler's Deployment: in these namespaces first, else anywhere.

    Raises:
        KubeError: It could not be looked for.
    """
    try:
        found = list(api.list(DEPLOYMENTS, label_selector=INSTALLED_LABELS).items)
    except Forbidden:
        lists = [api.list(DEPLOYMENTS, namespace, label_selector=INSTALLED_LABELS) for namespace in where]
        if not lists:
            raise
        found = [item for listing in lists for item in listing.items]
    if not found:
        return None
    item = next((i for i in found if json_map(i.get("metadata")).get("namespace") in where), found[0])
    metadata, template = json_map(item.get("metadata")), json_map(json_map(item.get("spec")).get("template"))
    pod = json_map(template.get("spec"))
    return Installed(
        namespace=str(metadata.get("namespace")),
        name=str(metadata.get("name")),
        service_account=str(pod.get("serviceAccountName") or "default"),
        ready=int(json_map(item.get("status")).get("readyReplicas") or 0),
    )


def read_access(
    api: KubeApi, installed: Installed | None, where: Collection[str], *, places: Namespaces, groups: Collection[str]
) -> AccessFacts:
    """Ask for each permission: the scaler's where it is installed and you may ask for others, else your own.

    Args:
        api: The API server.
        installed: The scaler.
        where: The namespaces that it looks after; empty for all.
        places: Of KServe and Knative.
        groups: API groups that the cluster has; permissions on others are left out.

    Raises:
        KubeError: The API server does not answer.
    """
    own = installed.namespace if installed is not None else LiveConfig().pod_namespace
    wanted = [p for p in PERMISSIONS if not p.resource.group or p.resource.group in groups]
    questions = [
        (permission, _attributes(permission, namespace, own, places))
        for permission in wanted
        for namespace in where or ("",)
    ]
    subject: Json | None = None
    if installed is not None:
        subject = _subject(installed.namespace, installed.service_account)
        try:
            _ask(api, questions[0][1], subject)
        except Forbidden:
            subject = None
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(lambda question: _ask(api, question[1], subject), questions))
    allowed: dict[Permission, bool] = {}
    for (permission, _), answer in zip(questions, answers, strict=True):
        allowed[permission] = allowed.get(permission, True) and answer
    return AccessFacts(subject=str(subject["user"]) if subject is not None else "you", allowed=allowed)


def read_groups(api: KubeApi) -> frozenset[str]:
    """List the API groups of the cluster.

    Raises:
        KubeError: They could not be listed.
    """
    return frozenset(str(group.get("name")) for group in api.get_path("/apis").get("groups") or ())


def read_kserve(api: KubeApi, facts: FactsReader, namespace: str, groups: Collection[str]) -> KServeFacts | None:
    """Read how KServe is set up.

    Raises:
        KubeError: Its ConfigMap or its controller could not be read.
    """
    if "serving.kserve.io" not in groups:
        return None
    data = json_map(_get(api, CONFIG_MAPS, namespace, KSERVE_MAP).get("data"))
    controller = _get(api, DEPLOYMENTS, namespace, KSERVE_DEPLOYMENT)
    return KServeFacts(
        namespace=namespace,
        image=_image(controller),
        default_mode=facts.facts.default_deployment_mode,
        service_config=str(data.get(SERVICE_ENTRY) or ""),
    )


def read_knative(api: KubeApi, facts: FactsReader, namespace: str, groups: Collection[str]) -> KnativeFacts | None:
    """Read how Knative Serving is set up.

    Raises:
        KubeError: Its ConfigMaps could not be read.
    """
    if "serving.knative.dev" not in groups:
        return None
    return KnativeFacts(
        namespace=namespace,
        version=facts.facts.knative_version,
        autoscaler=json_map(_get(api, CONFIG_MAPS, namespace, AUTOSCALER_MAP).get("data")),
        observability=json_map(_get(api, CONFIG_MAPS, namespace, OBSERVABILITY_MAP).get("data")),
    )


def read_metrics_server(api: KubeApi, groups: Collection[str]) -> bool:
    """Tell whether metrics-server answers.

    Raises:
        KubeError: The API server does not answer.
    """
    if POD_METRICS.group not in groups:
        return False
    try:
        api.get_path(f"/apis/{POD_METRICS.api_version}")
    except NotFound:
        return False
    return True


def read_prometheus(url: str, client: PrometheusClient, now: datetime) -> PrometheusFacts:
    """Ask Prometheus what it has."""
    try:
        report = client.check(now)
    except MetricsUnavailable as exc:
        return PrometheusFacts(url, error=str(exc))
    finally:
        client.close()
    notes = [f"version {report.version}"] if report.version else []
    if report.scrape_interval is not None:
        notes.append(f"scraped every {report.scrape_interval.total_seconds():.0f} s")
    return PrometheusFacts(url, has_cpu=report.has_container_cpu, troubles=report.problems, notes=tuple(notes))


def read_forecaster(url: str, forecaster: KServeForecaster) -> ForecasterFacts:
    """Ask the forecaster what it serves; one that sleeps wakes for it."""
    try:
        forecaster.check_metadata()
    except ForecastUnavailable as exc:
        return ForecasterFacts(url, exc.cause, str(exc))
    return ForecasterFacts(url)


def read_workloads(
    api: KubeApi, namespaces: Sequence[str], facts: FactsReader, now: datetime
) -> tuple[WorkloadFacts, tuple[str, ...]]:
    """Look at the cluster as the scaler does, once.

    Returns:
        What is there, and what could not be read, each a sentence.
    """
    stop = threading.Event()
    cluster = Cluster(api, namespaces=tuple(namespaces), facts=facts)
    cluster.start(stop)
    try:
        cluster.wait_synced(SYNC_SECONDS)
        found = Discovery(cluster).discover(now)
        troubles = cluster.problems()
    finally:
        stop.set()
    hpas = tuple(cluster.hpas())
    scaled = [(hpa, _scaled_by(hpa, cluster)) for hpa in hpas]
    return (
        WorkloadFacts(
            opted_in=(
                *(OptedIn(w.reference) for w in found.workloads.values()),
                *(OptedIn(r.reference, r.reason, r.message) for r in found.refusals),
            ),
            scaled=tuple((hpa, scalable) for hpa, scalable in scaled if scalable is not None),
            hpas=hpas,
            scaled_objects=tuple(cluster.scaled_objects()),
            records=tuple((s.meta.name, s.target) for s in cluster.predictive_scalers()),
        ),
        troubles,
    )


def _scaled_by(hpa: HpaObject, cluster: Cluster) -> ScalableObject | None:
    target = hpa.scale_target
    if target.kind not in {DEPLOYMENTS.kind, STATEFUL_SETS.kind}:
        return None
    return cluster.scalable(target.kind, target.namespace, target.name)


def _attributes(permission: Permission, namespace: str, own: str, places: Namespaces) -> Json:
    named = {
        "": namespace,
        OWN_NAMESPACE: own,
        KSERVE_NAMESPACE: places.kserve,
        KNATIVE_NAMESPACE: places.knative,
    }
    return {
        "group": permission.resource.group,
        "resource": permission.resource.plural,
        "subresource": permission.subresource,
        "verb": permission.verb,
        "namespace": named[permission.namespace],
        "name": permission.name,
    }


def _subject(namespace: str, service_account: str) -> Json:
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
    return {"user": f"system:serviceaccount:{namespace}:{service_account}", "groups": groups}


def _ask(api: KubeApi, attributes: Json, subject: Json | None) -> bool:
    """Ask whether a subject, or you where there is none, may do something."""
    resource = SUBJECT_ACCESS_REVIEWS if subject is not None else SELF_SUBJECT_ACCESS_REVIEWS
    review = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "spec": {"resourceAttributes": attributes, **(subject or {})},
    }
    return json_map(api.create(resource, None, review).get("status")).get("allowed") is True


def _get(api: KubeApi, resource: Resource, namespace: str, name: str) -> Json:
    """Read one object; empty where it does not exist."""
    try:
        return api.get(resource, namespace, name)
    except NotFound:
        return {}


def _image(deployment: Json) -> str:
    pod = json_map(json_map(json_map(deployment.get("spec")).get("template")).get("spec"))
    return next((str(json_map(container).get("image") or "") for container in pod.get("containers") or ()), "")
