"""The server whose requests cost CPU, as a process, and where it is put."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from typing import Any

import httpx
import pytest

from bench.echo_workloads import container, deployment, hpa, inference_service, knative_service, stateful_set
from bench.load_pod import BURN_SCRIPT, all_burning, burning
from scaler.kube.api import Json
from tests.prometheus_process import eventually, free_address

IMAGE = "scaler:test"


@pytest.mark.parametrize(
    ("document", "path"),
    [
        pytest.param(deployment("web", container()), "spec.template.spec", id="Deployment"),
        pytest.param(stateful_set("web", container(), annotations={}), "spec.template.spec", id="StatefulSet"),
        pytest.param(knative_service("web", container(), annotations={}), "spec.template.spec", id="Knative Service"),
        pytest.param(inference_service("web", maximum=3), "spec.predictor", id="InferenceService"),
    ],
)
def test_the_containers_of_every_kind_burn_and_all_else_stays(document: Json, path: str) -> None:
    changed = all_burning(document, IMAGE, 0.05)
    (before,), (after,) = (_at(one, path)["containers"] for one in (document, changed))
    assert after == burning(before, IMAGE, 0.05)
    assert (after["image"], after["ports"], after["resources"]) == (IMAGE, before["ports"], before["resources"])
    assert {one["name"]: one["value"] for one in after["env"]} == {"BURN_SECONDS": "0.05", "BURN_PORT": "8080"}
    _at(changed, path)["containers"] = [before]
    assert changed == document


def test_what_has_no_container_stays() -> None:
    assert all_burning(hpa("web", target="web"), IMAGE, 0.05) == hpa("web", target="web")


def _at(document: Json, path: str) -> Any:
    found: Any = document
    for part in path.split("."):
        found = found[part]
    return found


def test_a_request_costs_the_cpu_that_was_asked_for_whatever_the_clock_says() -> None:
    address, seconds, requests = free_address(), 0.1, 3
    variables = {"BURN_SECONDS": f"{seconds}", "BURN_PORT": address.partition(":")[2]}
    before = _cpu_of_children()
    with subprocess.Popen([sys.executable, "-c", BURN_SCRIPT], env=os.environ | variables) as server:
        try:
            for _ in range(requests):
                eventually(lambda: httpx.get(f"http://{address}/", trust_env=False).is_success)
        finally:
            server.kill()
    assert _cpu_of_children() - before >= requests * seconds


def _cpu_of_children() -> float:
    """Of those that have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
