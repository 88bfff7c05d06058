"""The forecaster in Knative mode: asleep, woken by a call, more pods under load, asleep again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.e2e.install import forecaster
from tests.e2e.tools import Kubectl, Report, eventually, value_at

CONTRACT = json.loads((Path(__file__).parents[2] / "contracts" / "forecast_v2.json").read_text())
PODS = "serving.kserve.io/inferenceservice=forecaster"
WINDOW = {
    "parameters": {"step_seconds": 60},
    "inputs": [
        {"name": "load", "shape": [1, 12], "datatype": "FP32", "data": [3, 3, 4, 4, 5, 6, 6, 7, 8, 8, 9, 10]},
    ],
}


class Service:
    """The forecaster of one namespace, through the ingress."""

    def __init__(self, kubectl: Kubectl, namespace: str, ingress: str, host: str) -> None:
        self.kubectl, self.namespace = kubectl, namespace
        self.client = httpx.Client(base_url=f"http://{ingress}", headers={"Host": host}, timeout=60, trust_env=False)

    def ask(self, rows: int = 1) -> httpx.Response:
        body = json.loads(json.dumps(WINDOW))
        body["inputs"][0]["shape"][0] = rows
        body["inputs"][0]["data"] *= rows
        return self.client.post("/v2/models/forecaster/infer", json=body)

    def pods(self) -> int:
        return len(self.kubectl.items("pods", self.namespace, PODS))

    def ready(self) -> int:
        return len(self.kubectl.ready_pods(self.namespace, PODS))

    def sleeps(self, within: float) -> None:
        eventually(lambda: self.pods() == 0, within=within, what="the forecaster went back to zero")


@pytest.fixture(scope="module")
def service(kubectl: Kubectl, model_image: str, ingress: str) -> Iterator[Service]:
    namespace = "e2e-forecaster"
    kubectl("create", "namespace", namespace)
    kubectl("apply", "-n", namespace, "-f", "-", stdin=forecaster(model_image))

    def url() -> str | None:
        found = kubectl.get("isvc", "forecaster", namespace)
        ready = [c["status"] for c in value_at(found, "status", "conditions") or () if c["type"] == "Ready"]
        address = value_at(found, "status", "components", "predictor", "url")
        return str(address) if ready == ["True"] and address else None

    host = httpx.URL(eventually(url, within=180, what="the forecaster is Ready")).host
    service = Service(kubectl, namespace, ingress, host)
    yield service
    service.client.close()
    kubectl("delete", "namespace", namespace, "--wait=false")


def test_a_call_wakes_it_and_it_answers_by_the_contract_and_sleeps_again(service: Service, report: Report) -> None:
    service.sleeps(within=180)
    begin = time.monotonic()
    response = service.ask()
    woken = time.monotonic() - begin
    assert response.status_code == 200, response.text
    answer = response.json()
    outputs = {tensor["name"]: tensor for tensor in answer["outputs"]}
    assert {name: tensor["shape"] for name, tensor in outputs.items()} == {
        "quantiles": [1, 30, 8],
        "window_max": [1, 30, 8],
        "quantile_levels": [8],
    }
    assert outputs["quantile_levels"]["data"] == pytest.approx(CONTRACT["quantile_levels"])
    assert answer["parameters"]["step_seconds"] == 60
    awake = time.monotonic()
    service.sleeps(within=180)
    report.add(
        f"forecaster: first answer from zero after {woken:.1f} s, zero pods {time.monotonic() - awake:.0f} s later"
    )


def test_a_wrong_request_is_refused_through_the_ingress_too(service: Service) -> None:
    body = json.loads(json.dumps(WINDOW))
    body["inputs"][0]["shape"] = [1, 11]
    response = service.client.post("/v2/models/forecaster/infer", json=body)
    assert response.status_code == 400
    assert "load" in response.json()["error"]


def test_many_calls_at_once_make_it_scale_out(service: Service, report: Report) -> None:
    begin = time.monotonic()
    with ThreadPoolExecutor(max_workers=16) as callers:
        stop = begin + 90
        seen: list[int] = []
        answers: list[int] = []

        def call() -> None:
            while time.monotonic() < stop and not seen:
                try:
                    answers.append(service.ask(rows=400).status_code)
                except httpx.TransportError:
                    answers.append(0)  # a Go proxy on the way may break an answer off; the scaler's client asks again

        calls = [callers.submit(call) for _ in range(12)]
        try:
            pods = eventually(lambda: (n := service.ready()) > 1 and n, within=85, what="a second pod is Ready")
            took = time.monotonic() - begin
        finally:
            seen.append(1)
        for done in calls:
            done.result()
    assert answers.count(200) >= 0.95 * len(answers), answers
    report.add(f"forecaster: {pods} pods Ready {took:.0f} s after 12 calls at a time began")
