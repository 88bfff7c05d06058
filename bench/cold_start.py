"""Measures how a forecaster that scales to zero wakes, answers and falls asleep again on a real cluster.

Run: python -m bench.cold_start --namespace NS [--ingress URL] [--cycles N] [--window 6s] [--json OUT]

The InferenceService must stand in that namespace, in Knative mode, its image on the node. `--window` writes the
annotation first, on the InferenceService: that makes a new revision.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from scaler.kube.api import Json, KubeApi, connect
from scaler.kube.resources import DEPLOYMENTS, INFERENCE_SERVICES, PODS

WINDOW = "autoscaling.knative.dev/window"
PERIOD_SECONDS = 300.0  # one call each, as the scaler makes them
LIMIT_SECONDS = 180.0
REQUEST = {
    "parameters": {"step_seconds": 300},
    "inputs": [{"name": "load", "shape": [1, 12], "datatype": "FP32", "data": [3, 3, 4, 4, 5, 6, 6, 7, 8, 8, 9, 10]}],
    "outputs": [{"name": "window_max"}],
}


@dataclass(frozen=True, slots=True)
class Cycle:
    """Seconds since the call was sent."""

    pod_ready: float
    answered: float
    asked_to_sleep: float
    pod_gone: float


class Service:
    """One InferenceService in Knative mode."""

    def __init__(self, api: KubeApi, namespace: str, name: str, ingress: str) -> None:
        self._api, self._namespace, self._name = api, namespace, name
        self._selector = f"serving.knative.dev/service={name}-predictor"
        self._http = httpx.Client(base_url=ingress, timeout=LIMIT_SECONDS)
        self._pause = threading.Event()

    def set_window(self, window: str) -> None:
        """Change the stable window and wait for the revision that this makes."""
        before = self._revision()
        change: Json = {"spec": {"predictor": {"annotations": {WINDOW: window}}}}
        self._api.merge_patch(INFERENCE_SERVICES, self._namespace, self._name, change)
        self._wait(lambda: self._revision() != before, "a new revision")

    def call(self) -> None:
        """Ask for one forecast.

        Raises:
            httpx.HTTPError: No answer, or none with status 200.
        """
        url = self._read()["status"]["url"]
        answer = self._http.post(
            f"/v2/models/{self._name}/infer", json=REQUEST, headers={"Host": url.removeprefix("http://")}
        )
        answer.raise_for_status()

    def cycle(self) -> Cycle:
        """Wake it by a call, and follow it until its pod is gone."""
        self._wait(lambda: not self._pods(), "the service to sleep")
        began = time.perf_counter()
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(self._timed_call, began)
            ready = self._wait(self._has_ready_pod, "a ready pod") - began
            answered = call.result()
        asked = self._wait(lambda: self._replicas() == 0, "replicas to be 0") - began
        gone = self._wait(lambda: not self._pods(), "the pod to end") - began
        return Cycle(ready, answered, asked, gone)

    def _timed_call(self, began: float) -> float:
        self.call()
        return time.perf_counter() - began

    def _wait(self, condition: Callable[[], bool], what: str) -> float:
        """Poll; returns when it became so."""
        end = time.perf_counter() + LIMIT_SECONDS
        while not condition():
            if time.perf_counter() > end:
                raise TimeoutError(f"waited {LIMIT_SECONDS:.0f} s for {what}")
            self._pause.wait(0.05)
        return time.perf_counter()

    def _read(self) -> Json:
        return self._api.get(INFERENCE_SERVICES, self._namespace, self._name)

    def _revision(self) -> str:
        return str(self._read()["status"]["components"]["predictor"]["latestReadyRevision"])

    def _pods(self) -> tuple[Json, ...]:
        return self._api.list(PODS, self._namespace, label_selector=self._selector).items

    def _has_ready_pod(self) -> bool:
        conditions = (c for pod in self._pods() for c in pod.get("status", {}).get("conditions", ()))
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def _replicas(self) -> int:
        deployments = self._api.list(DEPLOYMENTS, self._namespace, label_selector=self._selector).items
        return sum(int(deployment["spec"]["replicas"]) for deployment in deployments)


def main() -> int:
    """Print each cycle, their medians and the share of time awake."""
    parser = argparse.ArgumentParser("python -m bench.cold_start", description=__doc__)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--name", default="forecaster")
    parser.add_argument("--ingress", default="http://127.0.0.1:8080", help="where the cluster's ingress answers")
    parser.add_argument("--cycles", type=int, default=5)
    parser.add_argument("--window", help="stable window to set before, e.g. 10s")
    parser.add_argument("--json", type=Path, help="also write the cycles here")
    args = parser.parse_args()
    service = Service(connect(), args.namespace, args.name, args.ingress)
    if args.window:
        service.set_window(args.window)
    cycles = []
    for _ in range(args.cycles):
        cycles.append(service.cycle())
        print(_row(cycles[-1]), flush=True)
    for name in ("pod_ready", "answered", "asked_to_sleep", "pod_gone"):
        values = [getattr(cycle, name) for cycle in cycles]
        print(f"{name}: median {statistics.median(values):.1f} s, {min(values):.1f} to {max(values):.1f}")
    asleep, gone = (statistics.fmean(getattr(c, name) for c in cycles) for name in ("asked_to_sleep", "pod_gone"))
    print(f"awake at one call per {PERIOD_SECONDS:.0f} s: {asleep / PERIOD_SECONDS:.1%}", end="; ")
    print(f"until the pod has ended: {gone / PERIOD_SECONDS:.1%}")
    if args.json:
        args.json.write_text(json.dumps([_row(cycle) for cycle in cycles], indent=2) + "\n", encoding="utf-8")
    return 0


def _row(cycle: Cycle) -> dict[str, float]:
    return {name: round(seconds, 2) for name, seconds in asdict(cycle).items()}


if __name__ == "__main__":
    sys.exit(main())
