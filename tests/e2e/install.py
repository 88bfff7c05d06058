"""AI-HPA on the cluster from the manifests that ship, with the images and settings of a test."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
SYSTEM = "ai-hpa-system"
# Short times, so that the suite is over in minutes; the shipped ones are seconds to minutes longer.
FAST = {
    "AI_HPA_TICK_SECONDS": "3",
    "AI_HPA_FORECAST_PERIOD_SECONDS": "30",
    "AI_HPA_FORECAST_PERIOD_MAX_SECONDS": "30",
    "AI_HPA_FORECAST_RETRY_SECONDS": "5",
    "AI_HPA_METRIC_DELAY_SECONDS": "15",
    "AI_HPA_METRIC_FRESHNESS_SECONDS": "60",
    "AI_HPA_RATE_WINDOW_SECONDS": "20",
    "AI_HPA_SCALE_DOWN_STABILIZATION_WINDOW_SECONDS": "30",
    "AI_HPA_LEAD_TIME_PRIOR_SECONDS": "30",
}


def overlay(folder: Path, images: dict[str, str], env: dict[str, str]) -> None:
    """Write a kustomization that takes the shipped base with other images and settings, as a user's would."""
    base = os.path.relpath(ROOT / "deploy" / "kustomize", folder)
    names = [{"name": name, "newName": new.rpartition(":")[0], "newTag": new.rpartition(":")[2]}
             for name, new in images.items()]  # fmt: skip
    patch = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "ai-hpa-scaler", "namespace": SYSTEM},
        "spec": {
            "template": {
                "spec": {
                    "containers": [
                        {"name": "scaler", "env": [{"name": name, "value": value} for name, value in env.items()]}
                    ]
                }
            }
        },
    }
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [base],
        "images": names,
        "patches": [{"path": "env.yaml"}],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    (folder / "env.yaml").write_text(yaml.safe_dump(patch))


def forecaster(model_image: str) -> str:
    """The shipped manifest with another image."""
    text = (ROOT / "inferenceservices" / "forecaster.yaml").read_text()
    assert "ai-hpa/model:" in text
    before, _, after = text.partition("image: ai-hpa/model:")
    return f"{before}image: {model_image}\n{after.partition(chr(10))[2]}"
