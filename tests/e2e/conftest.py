"""The cluster of KUBECONFIG with AI-HPA installed as a user would: CRD, scaler and forecaster from the manifests.

Asked for without a cluster that answers, these tests fail; they are never skipped. What needs more than Kubernetes and
the images says what it needs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.install import FAST, SYSTEM, forecaster, overlay
from tests.e2e.tools import AuditLog, Kubectl, Report, environment

REPORT = Report()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.e2e)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured."""
    if REPORT.lines:
        terminalreporter.section("measured on the cluster")
        for line in REPORT.lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def report() -> Report:
    return REPORT


@pytest.fixture(scope="session")
def scaler_image() -> str:
    return environment("AI_HPA_SCALER_IMAGE", "dev.local/scaler:lab")


@pytest.fixture(scope="session")
def model_image() -> str:
    return environment("AI_HPA_MODEL_IMAGE", "dev.local/model:lab")


@pytest.fixture(scope="session")
def prometheus_url() -> str:
    """As pods reach it."""
    return environment("AI_HPA_E2E_PROMETHEUS_URL", "http://prometheus.lab-system:9090")


@pytest.fixture(scope="session")
def ingress() -> str:
    """`host:port` of the gateway, as this process reaches it."""
    return environment("AI_HPA_E2E_INGRESS", "127.0.0.1:8080")


@pytest.fixture(scope="session")
def inner_ingress() -> str:
    """`host:port` of the gateway, as pods reach it."""
    return environment("AI_HPA_E2E_INNER_INGRESS", "10.203.0.80:80")


@pytest.fixture(scope="session")
def kubectl() -> Kubectl:
    assert os.environ.get("KUBECONFIG"), "KUBECONFIG names no cluster; `make e2e` brings one up where LAB is given"
    kubectl = Kubectl()
    kubectl("get", "--raw", "/readyz", timeout=20)
    return kubectl


@pytest.fixture(scope="session")
def audit() -> AuditLog:
    """The API server's audit log: says who wrote what."""
    home = Path(os.environ.get("LAB_HOME") or Path.home() / ".cache" / "lab")
    path = Path(environment("AI_HPA_E2E_AUDIT_LOG", str(home / "log" / "audit.log")))
    if not path.is_file():
        pytest.skip(f"the audit log of the API server is not at {path}; AI_HPA_E2E_AUDIT_LOG says where it is")
    return AuditLog(path)


@pytest.fixture
def namespace(request: pytest.FixtureRequest, kubectl: Kubectl) -> Iterator[str]:
    """A namespace of the test's own."""
    name = "e2e-" + request.node.originalname.removeprefix("test_").replace("_", "-")[:50].strip("-")
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def installed(
    kubectl: Kubectl,
    tmp_path_factory: pytest.TempPathFactory,
    scaler_image: str,
    model_image: str,
    prometheus_url: str,
) -> Iterator[Path]:
    """CRD, scaler and forecaster, from the manifests that ship; the kustomization they were applied with."""
    folder = tmp_path_factory.mktemp("overlay")
    overlay(
        folder,
        {"ai-hpa/scaler": scaler_image},
        FAST | {"AI_HPA_PROMETHEUS_URL": prometheus_url} | json.loads(environment("AI_HPA_E2E_SETTINGS", "{}")),
    )
    kubectl("apply", "--server-side", "-k", str(folder))
    kubectl("apply", "-n", SYSTEM, "-f", "-", stdin=forecaster(model_image))
    kubectl("rollout", "status", "deployment/ai-hpa-scaler", "-n", SYSTEM, "--timeout=120s", timeout=130)
    # Ready, or what stands in for a model that is still starting is measured in its place.
    wait = ("wait", "--for=condition=Ready", "inferenceservice/forecaster", "-n", SYSTEM, "--timeout=180s")
    kubectl(*wait, timeout=190)
    yield folder
    # Waited for: a run that follows cannot install into a namespace that is still going.
    kubectl("delete", "-k", str(folder), "--ignore-not-found", timeout=300)
