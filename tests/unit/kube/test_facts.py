from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field

import pytest

from scaler.kube.api import Forbidden, Json, KubeError, NotFound, Unreachable
from scaler.kube.facts import ClusterFacts, FactsReader
from scaler.kube.resources import Resource

KSERVE = ("ConfigMap", "kserve", "inferenceservice-config")
AUTOSCALER = ("ConfigMap", "knative-serving", "config-autoscaler")
OBSERVABILITY = ("ConfigMap", "knative-serving", "config-observability")
CONTROLLER = ("Deployment", "knative-serving", "controller")


@dataclass
class Shelf:
    """Answers by kind, namespace and name."""

    answers: dict[tuple[str, str, str], Json | KubeError] = field(default_factory=dict)

    def get(self, resource: Resource, namespace: str | None, name: str, subresource: str = "") -> Json:
        answer = self.answers.get((resource.kind, namespace or "", name), NotFound("not there", status=404))
        if isinstance(answer, KubeError):
            raise answer
        return answer


def config_map(**data: str) -> Json:
    return {"data": {key.replace("_", "-") if "_" in key else key: value for key, value in data.items()}}


def controller(version: str) -> Json:
    return {"metadata": {"labels": {"app.kubernetes.io/version": version}}}


def read(**answers: Json | KubeError) -> FactsReader:
    places = {"kserve": KSERVE, "autoscaler": AUTOSCALER, "observability": OBSERVABILITY, "controller": CONTROLLER}
    reader = FactsReader(Shelf({places[name]: answer for name, answer in answers.items()}))
    reader.refresh()
    return reader


def test_an_empty_cluster_has_defaults_and_nothing_to_say() -> None:
    reader = read()
    assert reader.facts == ClusterFacts()
    assert reader.notes == ()
    assert reader.synced


def test_what_stands_is_read() -> None:
    reader = read(
        kserve=config_map(
            deploy=json.dumps({"defaultDeploymentMode": "RawDeployment"}),
            inferenceService=json.dumps({"serviceAnnotationDisallowedList": ["ai-hpa.dev/mode", "other"]}),
        ),
        autoscaler=config_map(container_concurrency_target_default="40", container_concurrency_target_percentage="80"),
        observability=config_map(request_metrics_protocol="prometheus"),
        controller=controller("1.21.0"),
    )
    assert reader.facts == ClusterFacts(
        knative_version=(1, 21),
        default_deployment_mode="Standard",
        kept_from_pods=frozenset({"ai-hpa.dev/mode", "other"}),
        concurrency_target=40.0,
        target_utilization_ratio=0.8,
        request_metrics=True,
    )
    assert reader.notes == ()


@pytest.mark.parametrize(
    ("label", "version"),
    [
        pytest.param("1.21.3", (1, 21), id="release"),
        pytest.param("v1.9.0", (1, 9), id="with a v"),
        pytest.param("1.20", (1, 20), id="no patch"),
        pytest.param("devel", None, id="built from source"),
        pytest.param("20260101-abc", None, id="a date"),
        pytest.param("", None, id="none"),
    ],
)
def test_the_version_of_knative_is_read_or_said_to_be_unknown(label: str, version: tuple[int, int] | None) -> None:
    reader = read(controller=controller(label))
    assert reader.facts.knative_version == version
    assert (reader.notes == ()) == (version is not None)


@pytest.mark.parametrize(
    ("text", "ratio"),
    [("70", 0.7), ("85.5", 0.855), ("0.6", 0.6), ("1", 1.0), ("100", 1.0), ("80%", 0.8)],
)
def test_a_percentage_up_to_one_is_a_ratio(text: str, ratio: float) -> None:
    reader = read(autoscaler=config_map(container_concurrency_target_percentage=text))
    assert reader.facts.target_utilization_ratio == pytest.approx(ratio)


@pytest.mark.parametrize("text", ["", "many", "0", "-3", "nan", "inf"])
def test_a_number_that_is_none_leaves_the_default_and_is_said(text: str) -> None:
    reader = read(autoscaler=config_map(container_concurrency_target_default=text))
    assert reader.facts.concurrency_target == 100.0
    assert "container-concurrency-target-default" in reader.notes[0]


@pytest.mark.parametrize(
    ("data", "version", "exported"),
    [
        pytest.param({}, "1.21.0", False, id="default since 1.19"),
        pytest.param({}, "1.18.0", True, id="default before"),
        pytest.param({}, "devel", False, id="default of a version that is not known"),
        pytest.param({"request-metrics-protocol": "none"}, "1.21.0", False, id="none"),
        pytest.param({"request-metrics-protocol": "http/protobuf"}, "1.21.0", True, id="pushed"),
        pytest.param({"metrics.request-metrics-backend-destination": "none"}, "1.18.0", False, id="off before 1.19"),
    ],
)
def test_request_metrics_depend_on_setting_and_version(data: dict[str, str], version: str, exported: bool) -> None:
    reader = read(observability={"data": data}, controller=controller(version))
    assert reader.facts.request_metrics is exported


@pytest.mark.parametrize(
    "item",
    [
        pytest.param({}, id="no data"),
        pytest.param({"data": None}, id="null"),
        pytest.param({"data": {"deploy": "{", "inferenceService": "[]"}}, id="no json"),
        pytest.param({"data": {"deploy": "[1]", "inferenceService": "null"}}, id="other json"),
        pytest.param(
            {
                "data": {
                    "deploy": '{"defaultDeploymentMode": "ModelMesh"}',
                    "inferenceService": '{"serviceAnnotationDisallowedList": 3}',
                }
            },
            id="other values",
        ),
    ],
)
def test_nonsense_in_kserves_settings_is_no_setting(item: Json) -> None:
    assert read(kserve=item).facts == ClusterFacts()


def test_a_part_that_may_not_be_read_is_said_and_the_others_are_read() -> None:
    reader = read(kserve=Forbidden("not you", status=403), controller=controller("1.21.0"))
    assert reader.facts.knative_version == (1, 21)
    assert reader.facts.default_deployment_mode is None
    assert "kserve/inferenceservice-config may not be read (not you)" in reader.notes[0]
    assert reader.synced


def test_while_the_server_is_away_what_it_said_before_stands() -> None:
    shelf = Shelf({CONTROLLER: controller("1.21.0")})
    reader = FactsReader(shelf)
    reader.refresh()
    shelf.answers = dict.fromkeys((KSERVE, AUTOSCALER, OBSERVABILITY, CONTROLLER), Unreachable("away"))
    assert reader.refresh().knative_version == (1, 21)
    assert len(reader.notes) == 4
    assert reader.synced


def test_it_is_not_synced_before_the_server_answered() -> None:
    reader = read(autoscaler=Unreachable("away"))
    assert not reader.synced


def test_other_namespaces_may_be_named() -> None:
    shelf = Shelf(
        {
            ("ConfigMap", "models", "inferenceservice-config"): config_map(
                deploy='{"defaultDeploymentMode": "Knative"}'
            ),
            ("Deployment", "kn", "controller"): controller("1.21.0"),
        }
    )
    facts = FactsReader(shelf, kserve_namespace="models", knative_namespace="kn").refresh()
    assert (facts.default_deployment_mode, facts.knative_version) == ("Knative", (1, 21))


def test_it_reads_in_the_background_until_it_is_stopped() -> None:
    stop, asked = threading.Event(), threading.Event()

    def uniform(low: float, high: float) -> float:
        asked.set()
        return low

    reader = FactsReader(Shelf(), uniform=uniform)
    thread = reader.start(stop)
    assert asked.wait(5.0)
    stop.set()
    thread.join(5.0)
    assert reader.synced
    assert not thread.is_alive()
