"""One workload of every kind under the installed scaler: the right number moves, stays, and is given back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from bench.echo_workloads import (
    container,
    deployment,
    hpa,
    inference_service,
    opt_in,
    predictive_scaler,
    scaled_object,
    service,
    standard,
    stateful_set,
)
from bench.load_pod import Load, all_burning
from tests.e2e.tools import AuditLog, Json, Kubectl, Report, environment, eventually, throughout, value_at

pytestmark = pytest.mark.usefixtures("installed")

NAMESPACE = f"e2e-levers{environment('AI_HPA_E2E_RUN', '')}"
ISVC_API = "serving.kserve.io/v1beta1"
# One request a second that takes 50 ms of CPU is 50m; with 15m to a pod, four pods carry it.
CPU_SECONDS = 0.05
SETTINGS = {"mode": "on", "target": "15m", "max_replicas": "4", "lead_time": "20s"}
SPEC: Json = {"mode": "on", "target": "15m", "maxReplicas": 4, "leadTime": "20s"}
FLOOR = 3  # what every one of them reaches at least: rounding and start-up left room for


@dataclass(frozen=True, slots=True)
class Case:
    """One workload and the number that has to move.

    Attributes:
        documents: What is applied; Services are added.
        scaler: Name of its PredictiveScaler.
        floor: Reads the number.
        lever: As the status names it.
        before: What stood there before, and stands there again afterwards.
    """

    name: str
    documents: tuple[Json, ...]
    scaler: str
    floor: Callable[[Kubectl], int | None]
    lever: str
    before: int | None
    standard_service: bool = False


def _number(kind: str, name: str, *path: str) -> Callable[[Kubectl], int | None]:
    def read(kubectl: Kubectl) -> int | None:
        value = value_at(kubectl.get(kind, name, NAMESPACE), *path)
        return None if value is None else int(value)

    return read


def _min_scale(name: str) -> Callable[[Kubectl], int | None]:
    def read(kubectl: Kubectl) -> int | None:
        service = kubectl.get("isvc", name, NAMESPACE)
        revision = value_at(service, "status", "components", "predictor", "latestReadyRevision")
        if not revision:
            return None
        annotations = kubectl.get("revision", revision, NAMESPACE)["metadata"]["annotations"]
        value = annotations.get("autoscaling.knative.dev/min-scale")
        return None if value is None else int(value)

    return read


def _scaling(autoscaler_class: str) -> Json:
    """KServe makes a ScaledObject only of metrics that are named."""
    if autoscaler_class != "keda":
        return {}
    target = {"type": "Utilization", "averageUtilization": 100}
    return {"autoScaling": {"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]}}


def _standard(name: str, autoscaler_class: str, floor: Callable[[Kubectl], int | None], lever: str) -> Case:
    return Case(
        name,
        (
            inference_service(name, annotations=standard(autoscaler_class), maximum=4, **_scaling(autoscaler_class)),
            predictive_scaler(f"{name}-psc", reference=(ISVC_API, "InferenceService", name), **SPEC),
        ),
        f"{name}-psc",
        floor,
        lever,
        1,
        standard_service=True,
    )


CASES = (
    Case(
        "alone",
        (deployment("alone", container(), annotations=opt_in(**SETTINGS)),),
        "deployment-alone",
        _number("deployment", "alone", "spec", "replicas"),
        "scale",
        1,
    ),
    Case(
        "under-hpa",
        (deployment("under-hpa", container(), annotations=opt_in(**SETTINGS)), hpa("under-hpa", target="under-hpa")),
        "deployment-under-hpa",
        _number("hpa", "under-hpa", "spec", "minReplicas"),
        "hpa",
        1,
    ),
    Case(
        "hpa",
        (deployment("hpa", container()), hpa("hpa", target="hpa", annotations=opt_in(**SETTINGS))),
        "horizontalpodautoscaler-hpa",
        _number("hpa", "hpa", "spec", "minReplicas"),
        "hpa",
        1,
    ),
    Case(
        "keda",
        (
            deployment("keda", container()),
            scaled_object("keda", target="keda", annotations=opt_in(**SETTINGS)),
        ),
        "scaledobject-keda",
        _number("scaledobject", "keda", "spec", "minReplicaCount"),
        "scaled-object",
        1,
    ),
    Case(
        "stateful",
        (stateful_set("stateful", container(), annotations=opt_in(**SETTINGS)),),
        "statefulset-stateful",
        _number("statefulset", "stateful", "spec", "replicas"),
        "scale",
        1,
    ),
    _standard("raw-hpa", "hpa", _number("isvc", "raw-hpa", "spec", "predictor", "minReplicas"), "inference-service"),
    _standard("raw-keda", "keda", _number("isvc", "raw-keda", "spec", "predictor", "minReplicas"), "inference-service"),
    _standard("raw-none", "none", _number("isvc", "raw-none", "spec", "predictor", "minReplicas"), "inference-service"),
    _standard("raw-external", "external", _number("deployment", "raw-external-predictor", "spec", "replicas"), "scale"),
    Case(
        "knative",
        (
            inference_service("knative", minimum=1, maximum=4),
            predictive_scaler("knative-psc", reference=(ISVC_API, "InferenceService", "knative"), **SPEC),
        ),
        "knative-psc",
        _min_scale("knative"),
        "revision",
        1,
    ),
)
SHADOW = deployment("shadow", container(), annotations=opt_in(**(SETTINGS | {"mode": "shadow"})))
NONSENSE = deployment("nonsense", container(), annotations=opt_in(mode="on", target="a lot", max_repliccas="5"))


def _address(case: Case, inner_ingress: str) -> tuple[str, str]:
    if case.name == "knative":
        return inner_ingress, f"knative-predictor.{NAMESPACE}.example.com"
    name = f"{case.name}-predictor" if case.standard_service else case.name
    return f"{name}.{NAMESPACE}:80", name


@pytest.fixture(scope="module")
def stage(kubectl: Kubectl, model_image: str, inner_ingress: str) -> Iterator[None]:
    """All of them at once, each with its load, in one namespace."""
    kubectl("create", "namespace", NAMESPACE)
    documents = [all_burning(document, model_image, CPU_SECONDS) for case in CASES for document in case.documents]
    services = [service(case.name) for case in CASES if not case.standard_service and case.name != "knative"]
    shadow = all_burning(SHADOW, model_image, CPU_SECONDS)
    kubectl.apply(*documents, *services, shadow, service("shadow"), NONSENSE, namespace=NAMESPACE)
    start = time.time()  # noqa: TID251 - the profile of the load is in real time
    loads = [(case.name, *_address(case, inner_ingress)) for case in CASES]
    loads.append(("shadow", f"shadow.{NAMESPACE}:80", "shadow"))
    for name, address, host in loads:
        load = Load(f"load-{name}", address, host, "/", start, [(0, 1.0), (1800, 0.0)])
        kubectl.apply(load.pod(model_image), namespace=NAMESPACE)
    yield
    kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def _templates(kubectl: Kubectl) -> set[str]:
    """Every revision and ReplicaSet there is: what a changed pod template would add to."""
    kinds = ("revisions.serving.knative.dev", "replicasets", "controllerrevisions")
    return {f"{kind}/{item['metadata']['name']}" for kind in kinds for item in kubectl.items(kind, NAMESPACE)}


def _has_pods(kubectl: Kubectl, case: Case) -> bool:
    return bool(_component(kubectl, case.scaler).get("readyReplicas", 0) >= FLOOR)


def _stands_as_before(kubectl: Kubectl, case: Case) -> bool:
    return case.floor(kubectl) == case.before


def _is_in_mode(kubectl: Kubectl, scaler: str, mode: str) -> bool:
    return bool(value_at(kubectl.get("predictivescaler", scaler, NAMESPACE), "status", "mode") == mode)


def _component(kubectl: Kubectl, scaler: str) -> Json:
    found = kubectl.find("predictivescaler", scaler, NAMESPACE) or {}
    components = value_at(found, "status", "components") or [{}]
    first: Json = components[0]
    return first


def _condition(kubectl: Kubectl, scaler: str, kind: str) -> Json:
    found = kubectl.find("predictivescaler", scaler, NAMESPACE) or {}
    conditions: list[Json] = value_at(found, "status", "conditions") or []
    return next((c for c in conditions if c["type"] == kind), {})


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
@pytest.mark.usefixtures("stage")
def test_the_floor_of_each_kind_rises_with_its_load(kubectl: Kubectl, case: Case, report: Report) -> None:
    begin = time.monotonic()

    def raised() -> int | None:
        floor = case.floor(kubectl)
        return floor if floor is not None and floor >= FLOOR else None

    floor = eventually(raised, within=300, what=f"the floor of {case.name} is at least {FLOOR}")
    eventually(
        lambda: _component(kubectl, case.scaler).get("floor"),
        within=60,
        what=f"the status of {case.scaler} tells the floor",
    )
    component = _component(kubectl, case.scaler)
    assert component["lever"].lower().startswith(case.lever.split("-")[0]), component["lever"]
    report.add(f"lever {case.name}: floor {floor} (seen after {time.monotonic() - begin:.0f} s), {component['lever']}")


@pytest.mark.usefixtures("stage")
def test_pods_follow_and_no_template_was_touched(kubectl: Kubectl) -> None:
    before = _templates(kubectl)
    for case in CASES:
        eventually(
            partial(_has_pods, kubectl, case),
            within=240,
            what=f"{case.name} has {FLOOR} ready pods",
        )
    assert _templates(kubectl) == before


@pytest.mark.usefixtures("stage")
def test_shadow_decides_and_writes_nothing(kubectl: Kubectl, audit: AuditLog) -> None:
    eventually(
        lambda: _component(kubectl, "deployment-shadow").get("floor", 0) >= FLOOR,
        within=240,
        what="shadow mode follows a floor of its own",
    )
    assert kubectl.get("deployment", "shadow", NAMESPACE)["spec"]["replicas"] == 1
    ours = [e for e in audit.events() if e.ours and e.namespace == NAMESPACE and e.name == "shadow"]
    assert not ours, ours


@pytest.mark.usefixtures("stage")
def test_a_workload_with_nonsense_is_refused_by_name_and_stops_nobody(kubectl: Kubectl) -> None:
    condition = eventually(
        lambda: (c := _condition(kubectl, "deployment-nonsense", "Active")).get("status") == "False" and c,
        within=60,
        what="the refusal stands in the status",
    )
    assert condition["reason"] == "InvalidSetting"
    assert "a lot" in condition["message"]
    assert "ai-hpa.dev/max-replicas" in condition["message"], "a mistyped name is told the right one"


@pytest.mark.usefixtures("stage")
def test_nobody_takes_our_floors_back(kubectl: Kubectl) -> None:
    def honoured() -> bool:
        return all(_condition(kubectl, case.scaler, "FloorHonoured").get("status") == "True" for case in CASES)

    eventually(honoured, within=60, what="all floors stand")
    throughout(honoured, seconds=30, what="all floors stand")


@pytest.mark.usefixtures("stage")
def test_the_manifests_apply_again_as_on_an_upgrade_and_the_role_keeps_its_rules(
    kubectl: Kubectl, installed: Path
) -> None:
    kubectl("apply", "--server-side", "-k", str(installed))
    assert kubectl.get("clusterrole", "ai-hpa-scaler")["rules"]


def test_the_templates_stay_as_they_are_through_every_mode(kubectl: Kubectl) -> None:
    before = _templates(kubectl)
    changes: tuple[Json, ...] = (
        {"mode": "off"},
        {"mode": "shadow"},
        {"mode": "on"},
        {"paused": True},
        {"paused": False},
    )
    for spec in changes:
        for name in ("knative-psc", "raw-hpa-psc"):
            kubectl.patch("predictivescaler", name, NAMESPACE, {"spec": spec})
        mode = spec.get("mode")
        if mode is not None:
            for name in ("knative-psc", "raw-hpa-psc"):
                eventually(partial(_is_in_mode, kubectl, name, mode), within=60, what=f"{name} is in mode {mode}")
    assert _templates(kubectl) == before


@pytest.mark.usefixtures("stage")
def test_off_gives_every_number_back(kubectl: Kubectl) -> None:
    for case in CASES:
        kubectl.patch("predictivescaler", case.scaler, NAMESPACE, {"spec": {"mode": "off"}})
    for case in CASES:
        eventually(
            partial(_stands_as_before, kubectl, case),
            within=60,
            what=f"{case.name} stands at {case.before} again",
        )
