from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scaler.settings import load_settings
from tests.manifests.rendering import (
    CHART,
    KUSTOMIZE,
    ROOT,
    Json,
    Manifest,
    containers,
    kustomized,
    templated,
    tool,
    version,
)

# What Helm alone says of an object, and what only it brings: the job runs as a hook, the namespace is the user's.
HELMS_LABELS = {"app.kubernetes.io/managed-by", "helm.sh/chart"}
HELMS_OWN = {"Job ai-hpa-system/ai-hpa-release"}
KUSTOMIZES_OWN = {"Namespace /ai-hpa-system"}
DOCKERFILES = ("Dockerfile.model", "Dockerfile.scaler", "Dockerfile.train")
CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace"}


def by_key(manifests: Iterable[Manifest]) -> dict[str, Json]:
    return {manifest.key: without_helms_labels(manifest.body) for manifest in manifests}


def without_helms_labels(body: Json) -> Json:
    plain = copy.deepcopy(body)
    labels = plain["metadata"].get("labels", {})
    for name in HELMS_LABELS:
        labels.pop(name, None)
    return plain


def one(manifests: Iterable[Manifest], kind: str) -> Json:
    (body,) = [manifest.body for manifest in manifests if manifest.kind == kind]
    return body


def environment(manifests: Iterable[Manifest]) -> dict[str, Any]:
    (deployment,) = [manifest for manifest in manifests if manifest.kind == "Deployment"]
    (container,) = containers(deployment)
    return {variable["name"]: variable.get("value") for variable in container["env"]}


def test_the_chart_with_its_defaults_installs_what_kustomize_installs() -> None:
    chart, base = by_key(templated()), by_key(kustomized(KUSTOMIZE))
    assert set(chart) - set(base) == HELMS_OWN
    assert set(base) - set(chart) == KUSTOMIZES_OWN
    for key in set(chart) & set(base) - {"CustomResourceDefinition /predictivescalers.ai-hpa.dev"}:
        assert chart[key] == base[key], key


def test_both_install_the_same_kind() -> None:
    chart, base = (one(m, "CustomResourceDefinition")["spec"] for m in (templated(), kustomized(KUSTOMIZE)))
    assert chart == base


def test_the_release_job_is_the_same_from_both() -> None:
    chart, kustomize = (one(m, "Job") for m in (templated(), kustomized(KUSTOMIZE / "release")))
    assert chart["spec"] == kustomize["spec"]


def test_uninstalling_the_chart_gives_every_floor_back_first() -> None:
    annotations = one(templated(), "Job")["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "pre-delete"


@pytest.mark.parametrize("way", ["kustomize", "chart"])
def test_the_namespaced_variant_asks_for_nothing_outside_its_namespace(way: str) -> None:
    if way == "kustomize":
        manifests = kustomized(KUSTOMIZE / "overlays" / "namespaced")
    else:
        manifests = [
            m for m in templated("--set", "namespaces={my-team}", namespace="my-team") if "Custom" not in m.kind
        ]
    assert not {manifest.kind for manifest in manifests} & CLUSTER_WIDE
    assert {manifest.body["metadata"]["namespace"] for manifest in manifests} == {"my-team"}
    subjects = [s for m in manifests if m.kind == "RoleBinding" for s in m.body["subjects"]]
    assert subjects
    assert all(subject["namespace"] == "my-team" for subject in subjects)
    assert environment(manifests)["AI_HPA_NAMESPACES"] in {"my-team", "$(AI_HPA_POD_NAMESPACE)"}


def test_both_namespaced_variants_give_the_same_rights() -> None:
    roles = [
        {m.name: m.body["rules"] for m in manifests if m.kind == "Role"}
        for manifests in (
            kustomized(KUSTOMIZE / "overlays" / "namespaced"),
            templated("--set", "namespaces={my-team}", namespace="my-team"),
        )
    ]
    assert roles[0] == roles[1]


def test_the_chart_gives_each_of_several_namespaces_a_role_and_a_release() -> None:
    manifests = templated("--set", "namespaces={one,two}", "--set", "clusterFacts=true")
    roles = {manifest.key for manifest in manifests if manifest.kind == "Role"}
    assert roles >= {"Role one/ai-hpa-scaler", "Role two/ai-hpa-scaler"}
    assert roles >= {"Role kserve/ai-hpa-facts", "Role knative-serving/ai-hpa-facts"}
    released = [container["args"][-1] for container in one(manifests, "Job")["spec"]["template"]["spec"]["containers"]]
    assert released == ["one", "two"]


def test_what_the_chart_is_told_reaches_the_scaler(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {
        "prometheus.url": "https://mimir.monitoring/prometheus",
        "prometheus.bearerTokenSecret.name": "token",
        "prometheus.caSecret.name": "ca",
        "prometheus.headers.X-Scope-OrgID": "team",
        "prometheus.presets.queue": "sum by (namespace\\, pod) (queue_length)",
        "forecaster.host": "forecaster.example.com",
        "settings.AI_HPA_TICK_SECONDS": "30",
        "kserveNamespace": "opendatahub",
        "knativeNamespace": "serving",
    }
    manifests = templated("--set-string", ",".join(f"{name}={value}" for name, value in told.items()))
    for name, value in environment(manifests).items():
        if value is not None:
            monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.live.headers() == {"X-Scope-OrgID": "team"}
    assert settings.live.presets() == {"queue": "sum by (namespace, pod) (queue_length)"}
    assert settings.controller.policy.tick.total_seconds() == 30
    assert (settings.live.kserve_namespace, settings.live.knative_namespace) == ("opendatahub", "serving")
    spec = one(manifests, "Deployment")["spec"]["template"]["spec"]
    mounts = {m["mountPath"] for m in spec["containers"][0]["volumeMounts"]}
    files = (settings.live.prometheus_token_file, settings.live.prometheus_ca_file)
    assert {file.rpartition("/")[0] for file in files} == mounts
    assert {volume["secret"]["secretName"] for volume in spec["volumes"]} == {"token", "ca"}


def test_the_charts_alerts_are_those_of_the_rule_file() -> None:
    rule = one(templated("--set", "monitoring.rules=true"), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((CHART / "alerts.yaml").read_text(encoding="utf-8"))


def test_the_chart_refuses_a_value_that_it_does_not_know() -> None:
    with pytest.raises(AssertionError, match="promethius"):
        templated("--set", "promethius.url=http://prometheus")


def test_the_schema_knows_every_value_of_the_chart_and_no_other() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert set(schema["properties"]) - {"global"} == set(values)


@pytest.mark.parametrize("folder", ["inferenceservices", "inferenceservices/samples"])
def test_an_images_transformer_reaches_every_image(folder: str) -> None:
    rendered = [container["image"] for m in kustomized(ROOT / folder) for container in containers(m)]
    assert set(rendered) == {f"ai-hpa/model:{version()}"}


@pytest.mark.parametrize("program", ["kubectl", "helm"])
def test_rendering_is_skipped_with_a_reason_where_a_program_is_missing(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.skip.Exception, match=program):
        tool(program)


def test_all_images_are_built_alike() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    pinned = re.search(r"^UV_VERSION := (.+)$", makefile, flags=re.MULTILINE)
    assert pinned is not None
    for name in DOCKERFILES:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert f"ARG UV_VERSION={pinned[1]}\n" in text
        assert re.findall(r"^FROM (.+)$", text, flags=re.MULTILINE) == ["${BASE_IMAGE} AS build", "${BASE_IMAGE}"]
        assert re.findall(r"^USER (.+)$", text, flags=re.MULTILINE) == ["65532:65532"]
        assert f":{version()}" in text.partition("ARG")[0]


def test_the_builder_is_sent_all_that_an_image_copies() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").split() if line.startswith("!")}
    for name in DOCKERFILES:
        copies = re.findall(r"^COPY (?!--)(.+) \S+$", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert {source for copy_ in copies for source in copy_.split()} == sent


def test_the_components_of_prometheus_join_an_overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.path.relpath(KUSTOMIZE, tmp_path)
    parts = [f"{here}/components/{name}" for name in ("prometheus-operator", "prometheus-token")]
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"resources": [here], "components": parts}))
    manifests = kustomized(tmp_path)
    assert {"PodMonitor", "PrometheusRule"} <= {manifest.kind for manifest in manifests}
    monkeypatch.setenv("AI_HPA_PROMETHEUS_TOKEN_FILE", environment(manifests)["AI_HPA_PROMETHEUS_TOKEN_FILE"])
    (mount,) = one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert load_settings().live.prometheus_token_file.startswith(f"{mount['mountPath']}/")
