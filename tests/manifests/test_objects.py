from __future__ import annotations

import threading
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from scaler.exposition import Exposition, serve
from scaler.forecast_cycle import ForecastCycleConfig
from scaler.live_config import LiveConfig
from scaler.settings import PREFIX, load_settings
from scaler.targets.annotations import read_settings
from tests.manifests.rendering import (
    CHART,
    DEPLOY,
    KUSTOMIZE,
    ROOT,
    SERVICES,
    Manifest,
    containers,
    manifest_files,
    pod_specs,
    read,
    version,
    written,
)

WRITTEN = written()
WITH_PODS = [manifest for manifest in WRITTEN if any(pod_specs(manifest))]
KUSTOMIZATIONS = [manifest for manifest in WRITTEN if manifest.kind in {"Kustomization", "Component"}]
OBJECTS = [manifest for manifest in WRITTEN if manifest not in KUSTOMIZATIONS]
(SCALER,) = read(KUSTOMIZE / "base" / "deployment.yaml")
RULES = DEPLOY / "alerts" / "ai-hpa.rules.yaml"


def the_container(manifest: Manifest) -> dict[str, Any]:
    (container,) = containers(manifest)
    return container


@pytest.mark.parametrize("path", manifest_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_manifest_is_read_as_objects_of_kubernetes(path: Path) -> None:
    manifests = read(path)
    assert manifests
    for manifest in manifests:
        assert manifest.body.get("apiVersion"), manifest
        assert manifest.kind != "None", path
        assert manifest in KUSTOMIZATIONS or manifest.name != "None", manifest


@pytest.mark.parametrize("manifest", WITH_PODS, ids=str)
def test_every_pod_may_do_as_little_as_the_restricted_profile_allows(manifest: Manifest) -> None:
    for spec in pod_specs(manifest):
        of_pod = spec.get("securityContext", {})
        assert spec["enableServiceLinks"] is False
        for container in spec["containers"]:
            security = {**of_pod, **container["securityContext"]}
            assert security["runAsNonRoot"] is True
            assert security["runAsUser"] > 0
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("manifest", WITH_PODS, ids=str)
def test_every_container_says_what_it_needs_and_what_memory_it_may_take(manifest: Manifest) -> None:
    for container in containers(manifest):
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("manifest", WITH_PODS, ids=str)
def test_every_pod_but_the_scalers_own_goes_without_an_account_of_the_cluster(manifest: Manifest) -> None:
    for spec in pod_specs(manifest):
        assert spec.get("serviceAccountName") == "ai-hpa-scaler" or spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize("manifest", WITH_PODS, ids=str)
def test_every_image_is_that_of_this_release(manifest: Manifest) -> None:
    images = {container["image"] for container in containers(manifest)}
    assert images <= {f"ai-hpa/{name}:{version()}" for name in ("model", "scaler", "train")}


@pytest.mark.parametrize("manifest", KUSTOMIZATIONS, ids=str)
def test_every_kustomization_names_the_tag_of_this_release(manifest: Manifest) -> None:
    assert all(image["newTag"] == version() for image in manifest.body.get("images", ()))


def test_the_chart_is_that_of_this_release() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert (chart["version"], chart["appVersion"]) == (version(), version())


@pytest.mark.parametrize("manifest", WITH_PODS, ids=str)
def test_every_probe_asks_a_port_that_the_container_has(manifest: Manifest) -> None:
    for container in containers(manifest):
        ports = {p["containerPort"] for p in container.get("ports", ())} | {
            p["name"] for p in container.get("ports", ())
        }
        probes = [probe for name, probe in container.items() if name.endswith("Probe")]
        assert {probe["httpGet"]["port"] for probe in probes} <= ports


@pytest.mark.parametrize("manifest", [m for m in WITH_PODS if m.kind not in {"Job", "CronJob"}], ids=str)
def test_every_server_is_asked_whether_it_is_ready(manifest: Manifest) -> None:
    assert all("readinessProbe" in container for container in containers(manifest))


@pytest.fixture
def scaler_port() -> Iterator[int]:
    server: ThreadingHTTPServer = serve(0, CollectorRegistry(), healthy=lambda: None, ready=lambda: None)
    yield server.server_address[1]
    threading.Thread(target=server.shutdown).start()
    server.server_close()


def test_the_scaler_serves_what_its_probes_and_its_scrape_annotations_ask_for(scaler_port: int) -> None:
    container = the_container(SCALER)
    annotations = SCALER.body["spec"]["template"]["metadata"]["annotations"]
    paths = [container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("liveness", "readiness")]
    for path in [*paths, annotations["prometheus.io/path"]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{scaler_port}{path}", timeout=5) as answer:
            assert answer.status == 200


def test_the_scaler_listens_on_the_port_that_is_scraped() -> None:
    (port,) = the_container(SCALER)["ports"]
    annotations = SCALER.body["spec"]["template"]["metadata"]["annotations"]
    assert port == {"name": "metrics", "containerPort": LiveConfig().http_port, "protocol": "TCP"}
    assert annotations["prometheus.io/port"] == str(LiveConfig().http_port)


def test_the_scaler_takes_every_setting_of_its_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"metadata.name": "ai-hpa-scaler-0", "metadata.namespace": "ai-hpa-system"}
    for variable in the_container(SCALER)["env"]:
        assert variable["name"].startswith(PREFIX)
        value = variable.get("value")
        monkeypatch.setenv(
            variable["name"], given[variable["valueFrom"]["fieldRef"]["fieldPath"]] if value is None else value
        )
    live = load_settings().live
    assert (live.pod_name, live.pod_namespace) == ("ai-hpa-scaler-0", "ai-hpa-system")


def test_the_scaler_asks_the_forecaster_that_is_applied_beside_it() -> None:
    (forecaster,) = read(SERVICES / "forecaster.yaml")
    by_name = {variable["name"]: variable.get("value") for variable in the_container(SCALER)["env"]}
    assert by_name["AI_HPA_FORECASTER_URL"] == LiveConfig().forecaster_url.replace(
        "ai-hpa-system", "$(AI_HPA_POD_NAMESPACE)"
    )
    assert LiveConfig().forecaster_url.startswith(f"http://{forecaster.name}-predictor.ai-hpa-system.svc")


@pytest.mark.parametrize("manifest", OBJECTS, ids=str)
def test_every_annotation_of_ours_is_accepted(manifest: Manifest) -> None:
    ours = {name: value for name, value in manifest.annotations.items() if name.startswith("ai-hpa.dev/")}
    assert all(isinstance(value, str) for value in manifest.annotations.values())
    assert read_settings(ours)[1] == ()


@pytest.mark.parametrize("path", sorted((SERVICES / "samples").glob("*-*.yaml")), ids=lambda path: path.stem)
def test_every_sample_opts_in_and_writes_nothing_yet(path: Path) -> None:
    assert [m.annotations["ai-hpa.dev/mode"] for m in read(path) if "ai-hpa.dev/mode" in m.annotations] == ["shadow"]


@pytest.mark.parametrize("name", ["forecaster", "forecaster-finetuned"])
def test_the_forecaster_stays_from_one_call_to_the_next_and_sleeps_where_they_are_rare(name: str) -> None:
    (manifest,) = read(SERVICES / f"{name}.yaml")
    predictor = manifest.body["spec"]["predictor"]
    cycle = ForecastCycleConfig()
    assert predictor["minReplicas"] == 0
    assert predictor["scaleMetric"] == "concurrency"
    assert predictor["scaleTarget"] < predictor["containerConcurrency"]
    assert predictor["annotations"]["autoscaling.knative.dev/window"] == "6s"
    kept = predictor["annotations"]["autoscaling.knative.dev/scale-to-zero-pod-retention-period"]
    stays = timedelta(seconds=int(kept.removesuffix("s")))
    assert cycle.forecast_period < stays < cycle.longest_period / 2


def test_the_operators_alerts_are_those_of_the_rule_file() -> None:
    (rule,) = read(KUSTOMIZE / "components" / "prometheus-operator" / "prometheus_rule.yaml")
    assert rule.body["spec"] == yaml.safe_load(RULES.read_text(encoding="utf-8"))


def test_every_alert_asks_for_metrics_that_the_scaler_has() -> None:
    exposition = Exposition()
    exported = {family.name for family in exposition.registry.collect()}
    exported |= {f"{name}_total" for name in exported} | {f"{name}_bucket" for name in exported}
    known = exported | set((ROOT / "docs" / "metrics.md").read_text(encoding="utf-8").split("`"))
    for rule in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]:
        words = rule["expr"].replace("(", " ").replace(")", " ").replace("[", " ").split()
        asked = {word for word in words if word.startswith("ai_hpa_")}
        assert asked, rule["alert"]
        assert asked <= known, rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]


@pytest.mark.parametrize(
    ("link", "source"),
    [
        pytest.param(CHART / "crds" / "predictivescalers.yaml", DEPLOY / "crd" / "predictivescalers.yaml", id="crd"),
        pytest.param(CHART / "alerts.yaml", RULES, id="alerts"),
    ],
)
def test_the_chart_holds_no_copy_of_what_stands_elsewhere(link: Path, source: Path) -> None:
    assert link.is_symlink()
    assert link.resolve() == source
