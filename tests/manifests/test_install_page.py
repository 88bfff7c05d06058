from __future__ import annotations

import json
import os
import re
from pathlib import Path

import yaml

from scaler.checks.kserve import ALWAYS_DISALLOWED
from scaler.targets.annotations import SETTINGS
from tests.manifests.rendering import CHART, KUSTOMIZE, ROOT, containers, kustomized, version

PAGE = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_pages_list_for_kserve_holds_every_annotation_and_kserves_own() -> None:
    (block,) = blocks("json")
    listed = json.loads(f"{{{block}}}")["serviceAnnotationDisallowedList"]
    assert listed == [*ALWAYS_DISALLOWED, *(setting.annotation for setting in SETTINGS)]


def test_the_pages_overlay_sets_the_image_and_prometheus(tmp_path: Path) -> None:
    (block,) = [block for block in blocks("yaml") if "kind: Kustomization" in block]
    assert "[ai-hpa/deploy/kustomize]" in block
    overlay = block.replace("ai-hpa/deploy/kustomize]", f"{os.path.relpath(KUSTOMIZE, tmp_path)}]")
    (tmp_path / "kustomization.yaml").write_text(overlay, encoding="utf-8")
    (deployment,) = [m for m in kustomized(tmp_path) if m.kind == "Deployment"]
    (container,) = containers(deployment)
    assert container["image"] == f"REGISTRY/ai-hpa/scaler:{version()}"
    values = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert values["AI_HPA_PROMETHEUS_URL"] == "http://prometheus.monitoring:9090"
    assert "AI_HPA_FORECASTER_URL" in values


def test_every_value_of_the_chart_that_the_page_names_is_one() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    for name in re.findall(r"`((?:prometheus|monitoring|forecaster)\.[A-Za-z.-]+)[`=]", PAGE):
        part = values
        for step in name.split("."):
            if part == {}:
                break  # a free map
            assert step in part, name
            part = part[step]


def test_the_page_speaks_of_this_release() -> None:
    assert set(re.findall(r"ai-hpa/(?:model|scaler):(\S+)", PAGE)) == {version()}
