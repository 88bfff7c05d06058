"""Reads and renders what is applied to a cluster; it reaches none."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "ai-hpa"
KUSTOMIZE = DEPLOY / "kustomize"
SERVICES = ROOT / "inferenceservices"
KUBERNETES = "1.34.0"  # what the chart is rendered for

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object of a file, or of what was rendered."""

    source: str
    body: Json

    @property
    def kind(self) -> str:
        return str(self.body.get("kind"))

    @property
    def name(self) -> str:
        return str(self.body.get("metadata", {}).get("name"))

    @property
    def annotations(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.body.get("metadata", {}).get("annotations") or {}
        return found

    @property
    def key(self) -> str:
        """Where the object stands in a cluster."""
        return f"{self.kind} {self.body['metadata'].get('namespace', '')}/{self.name}"

    def __str__(self) -> str:
        return f"{self.source}:{self.kind}/{self.name}"


def version() -> str:
    """Version of this release."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def manifest_files() -> list[Path]:
    """Every file with objects of Kubernetes in it."""
    found = [*DEPLOY.rglob("*.yaml"), *SERVICES.rglob("*.yaml")]
    return sorted(path for path in found if CHART not in path.parents and "alerts" not in path.parts)


def read(path: Path) -> list[Manifest]:
    """Read the objects of one file; a kustomization is one, its patches are not."""
    source = str(path.relative_to(ROOT))
    return [Manifest(source, body) for body in yaml.safe_load_all(path.read_text(encoding="utf-8")) if body]


def written() -> list[Manifest]:
    """Every object that stands in a file."""
    return [manifest for path in manifest_files() for manifest in read(path)]


def kustomized(folder: Path) -> list[Manifest]:
    """Render a kustomization with kubectl; skips where that is not there."""
    return _rendered(folder.name, "kubectl", "kustomize", str(folder))


def templated(*arguments: str, namespace: str = "ai-hpa-system") -> list[Manifest]:
    """Render the chart; skips where helm is not there."""
    command = ["template", "ai-hpa", str(CHART), "--namespace", namespace, "--kube-version", KUBERNETES]
    return _rendered("chart", "helm", *command, "--include-crds", *arguments)


def pod_specs(manifest: Manifest) -> Iterator[Json]:
    """Find every pod that an object makes."""
    spec = manifest.body.get("spec") or {}
    if manifest.kind == "InferenceService":
        yield from (spec[part] for part in ("predictor", "transformer", "explainer") if part in spec)
    elif manifest.kind in {"Deployment", "StatefulSet", "Job"}:
        yield spec["template"]["spec"]
    elif manifest.kind == "CronJob":
        yield spec["jobTemplate"]["spec"]["template"]["spec"]


def containers(manifest: Manifest) -> Iterator[Json]:
    """Find every container of every pod that an object makes."""
    for spec in pod_specs(manifest):
        yield from spec["containers"]


def tool(name: str) -> str:
    """Path of a program; skips the test where it is not there."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not in PATH: what it renders is not compared")
    return path


def _rendered(source: str, program: str, *arguments: str) -> list[Manifest]:
    done = subprocess.run([tool(program), *arguments], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return [Manifest(source, body) for body in yaml.safe_load_all(done.stdout) if body]
