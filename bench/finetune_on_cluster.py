"""The weekly fine-tuning on a cluster, from the manifests that ship: what it takes, and a forecast by its weights.

Run: python -m bench.finetune_on_cluster --csv load.csv.gz [--train-image NAME] [--model-image NAME] [--ingress URL]

The load becomes the CPU of Deployments and Knative Services that never were, in a Prometheus of this machine. It needs
KUBECONFIG of a cluster whose one node this machine is, with KServe and Knative, and both images on the node.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TextIO

import httpx
import numpy as np

from bench import fake_load
from bench.fake_process import ROOT, unix_now
from predictor_model.traces import Trace, read_usable_traces
from scaler.adapters.forecast_contract import CONTRACT
from scaler.domain import FloatArray
from tests.e2e.tools import Json, Kubectl, eventually, value_at
from tests.prometheus_binary import prometheus_folder

NAMESPACE: Final = "bench-finetune"
CLAIM: Final = "forecaster-weights"
CRON_JOB: Final = "forecaster-finetune"
FORECASTER: Final = "forecaster-finetuned"
USER: Final = 65532  # of the images
DAYS: Final = 14  # that the manifest asks for
SCRAPE_SECONDS: Final = 30.0
KNATIVE: Final = 3  # every third workload is a Knative Service
POD_HASHES: Final = ("5d8f7b9c6d", "6c4fd5b8", "7bcd95f4c", "58f4d9c7b8")  # of four rollouts in the fourteen days
LIMIT_SECONDS: Final = 7200.0  # the manifest's own
LOOK_SECONDS: Final = 5.0
REQUEST: Final = {
    "parameters": {"step_seconds": 60},
    "inputs": [{"name": "load", "shape": [1, 12], "datatype": "FP32", "data": [3, 3, 4, 4, 5, 6, 6, 7, 8, 8, 9, 10]}],
}


@dataclass(frozen=True, slots=True)
class Past:
    """CPU of one workload until now, by one pod after another.

    Attributes:
        times: Unix times of the samples, rising. Shape (samples,).
        used: Core-seconds used until then. Shape (samples,).
    """

    pods: tuple[str, ...]
    times: FloatArray
    used: FloatArray

    def write(self, file: TextIO, begin: float, end: float) -> None:
        """Write the samples from `begin` to before `end`; each pod has its share of all days."""
        shares = zip(self.pods, np.array_split(np.arange(len(self.times)), len(self.pods)), strict=True)
        for pod, share in shares:
            mine = share[(self.times[share] >= begin) & (self.times[share] < end)]
            since = self.used[share[0]]
            fake_load.write_series(file, NAMESPACE, pod, self.times[mine], self.used[mine] - since)


def past_of(number: int, trace: Trace, now: float) -> Past:
    """The newest days of a trace, as if its last sample were of now; a missing sample is no load."""
    values = np.nan_to_num(trace.values[-DAYS * 86_400 // trace.step_seconds :].astype(float))
    steps = now - trace.step_seconds * np.arange(len(values), -1.0, -1.0)
    used = np.concatenate([[0.0], np.cumsum(values * trace.step_seconds)])
    times = np.arange(steps[0], now + 1, SCRAPE_SECONDS)
    base = f"w{number:03}"
    names = [base] * len(POD_HASHES)
    if number % KNATIVE == 0:
        names = [f"{base}-predictor-{revision:05}-deployment" for revision in range(1, len(POD_HASHES) + 1)]
    pods = tuple(f"{name}-{pod_hash}-b5d7c" for name, pod_hash in zip(names, POD_HASHES, strict=True))
    return Past(pods, times, np.interp(times, steps, used))


@contextmanager
def remembering(csv: Path, address: str) -> Iterator[tuple[str, int]]:
    """A Prometheus with the load of a file, at an address of this machine; gives its URL and how many workloads."""
    now, programs = unix_now() // 60 * 60, prometheus_folder()
    pasts = [past_of(number, trace, now) for number, trace in enumerate(read_usable_traces(csv)[0])]
    with tempfile.TemporaryDirectory(prefix="ai-hpa-") as name:
        # A few hours at a time: promtool reads the whole file again for every block of two hours.
        for begin in np.arange(pasts[0].times[0], now + 1, 6 * 3600.0):
            fake_load.backfill(programs, Path(name), partial(_write, pasts=pasts, begin=begin))
        with fake_load.prometheus(programs, Path(name), host=address) as url:
            yield url, len(pasts)


def _write(file: TextIO, pasts: Sequence[Past], begin: float) -> float:
    file.write(f"# TYPE {fake_load.METRIC} unknown\n")
    for past in pasts:
        past.write(file, begin, begin + 6 * 3600.0)
    file.write("# EOF\n")
    return begin


def node(kubectl: Kubectl) -> tuple[str, str]:
    """Name and address of the one node that is no fake."""
    nodes = [item for item in kubectl.items("nodes") if value_at(item, "metadata", "labels", "type") != "kwok"]
    (found,) = nodes
    addresses = {entry["type"]: entry["address"] for entry in found["status"]["addresses"]}
    return found["metadata"]["name"], addresses["InternalIP"]


def volume(node_name: str, folder: Path) -> Json:
    """A volume of the node for the claim; unlike hostPath, a local one gets the group that the pod asks for."""
    on_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node_name]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": NAMESPACE},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": NAMESPACE, "name": CLAIM},
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [on_node]}]}},
        },
    }


def service_for(url: httpx.URL) -> list[Json]:
    """The manifest's `prometheus`, in the benchmark's namespace, for a server outside of the cluster."""
    ports = [{"name": "http", "port": 9090, "targetPort": url.port}]
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "prometheus"}, "spec": {"ports": ports}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "prometheus", "labels": {"kubernetes.io/service-name": "prometheus"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": url.port}],
            "endpoints": [{"addresses": [url.host]}],
        },
    ]


def manifest(name: str, images: dict[str, str]) -> str:
    """A shipped manifest, edited as its own comments say: images and the address of Prometheus."""
    text = (ROOT / "inferenceservices" / name).read_text(encoding="utf-8")
    for image, own in images.items():
        text = re.sub(rf"image: ai-hpa/{image}:\S+", f"image: {own}", text)
    return text.replace("prometheus.monitoring:", f"prometheus.{NAMESPACE}:")


@dataclass(slots=True)
class Job:
    """One run of the CronJob, followed to its end."""

    kubectl: Kubectl
    node_name: str
    name: str = f"{CRON_JOB}-now"
    peaks: dict[str, int] = field(default_factory=lambda: {"workingSetBytes": 0, "rssBytes": 0})

    def run(self) -> float:
        """Start it, wait for its end; gives the seconds that Kubernetes says it took.

        Raises:
            AssertionError: It failed.
        """
        self.kubectl("create", "job", "-n", NAMESPACE, f"--from=cronjob/{CRON_JOB}", self.name)
        began = time.monotonic()
        while not (ended := self._condition()):
            if time.monotonic() - began > LIMIT_SECONDS:
                raise AssertionError("the job has not ended")
            self._look_at_memory()
            time.sleep(LOOK_SECONDS)  # noqa: TID251 - nothing tells when it ends but the API server
        if ended != "Complete":
            raise AssertionError(f"the job ended as {ended}:\n{self.log()}")
        status = self.kubectl.get("job", self.name, NAMESPACE)["status"]
        times = [np.datetime64(status[key].rstrip("Z")) for key in ("startTime", "completionTime")]
        return float((times[1] - times[0]) / np.timedelta64(1, "s"))

    def log(self) -> str:
        """What the trainer said."""
        return self.kubectl("logs", "-n", NAMESPACE, f"job/{self.name}", "--tail=-1", check=False)

    def _condition(self) -> str:
        conditions = self.kubectl.get("job", self.name, NAMESPACE)["status"].get("conditions", ())
        return next(
            (c["type"] for c in conditions if c["type"] in {"Complete", "Failed"} and c["status"] == "True"), ""
        )

    def _look_at_memory(self) -> None:
        summary = json.loads(self.kubectl("get", "--raw", f"/api/v1/nodes/{self.node_name}/proxy/stats/summary"))
        for pod in summary["pods"]:
            if pod["podRef"]["namespace"] == NAMESPACE and pod["podRef"]["name"].startswith(self.name):
                for container in pod.get("containers", ()):
                    for key in self.peaks:
                        self.peaks[key] = max(self.peaks[key], container.get("memory", {}).get(key, 0))


def asked(kubectl: Kubectl, ingress: str) -> dict[str, Any]:
    """One forecast of the forecaster with the new weights, after it got ready.

    Raises:
        AssertionError: It gets not ready, or its answer breaks the contract.
    """

    def host() -> str:
        status = kubectl.get("isvc", FORECASTER, NAMESPACE).get("status", {})
        ready = {c["type"]: c["status"] for c in status.get("conditions", ())}.get("Ready") == "True"
        return httpx.URL(status["components"]["predictor"]["url"]).host if ready else ""

    headers = {"Host": eventually(host, within=180, what=f"{FORECASTER} is Ready")}
    with httpx.Client(base_url=ingress, headers=headers, timeout=60, trust_env=False) as client:
        response = client.post(f"/v2/models/{CONTRACT.model_name}/infer", json=REQUEST)
        response.raise_for_status()
        metadata = client.get(f"/v2/models/{CONTRACT.model_name}").raise_for_status().json()
    answer: dict[str, Any] = response.json()
    shapes = {tensor["name"]: tensor["shape"] for tensor in answer["outputs"]}
    steps, levels = CONTRACT.prediction_length, len(CONTRACT.quantile_levels)
    expected = {"quantiles": [1, steps, levels], "window_max": [1, steps, levels], "quantile_levels": [levels]}
    if shapes != expected:
        raise AssertionError(f"the contract has {expected}, the answer {shapes}")
    return {"version": answer["parameters"]["model_version"], "metadata": metadata["versions"]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it all, print what it took, and take everything away again."""
    parser = argparse.ArgumentParser(prog="python -m bench.finetune_on_cluster", description=__doc__)
    parser.add_argument("--csv", type=Path, required=True, help="load of fourteen days (bench.finetune_load makes one)")
    parser.add_argument("--train-image", default="dev.local/train:lab")
    parser.add_argument("--model-image", default="dev.local/model:lab")
    parser.add_argument("--ingress", default="http://127.0.0.1:8080", help="where the cluster's ingress answers")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    options = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    kubectl = Kubectl()
    node_name, address = node(kubectl)
    images = {"train": options.train_image, "model": options.model_image}
    with ExitStack() as stack:
        url, workloads = stack.enter_context(remembering(options.csv, address))
        print(f"{url} remembers {workloads} workloads", flush=True)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ai-hpa-")))
        folder.chmod(0o755)
        stack.callback(kubectl, "delete", "pv", NAMESPACE, "--ignore-not-found", "--timeout=60s")
        stack.callback(kubectl, "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=110s")
        kubectl("create", "namespace", NAMESPACE)
        kubectl.apply(volume(node_name, folder), *service_for(httpx.URL(url)), namespace=NAMESPACE)
        kubectl.apply(manifest("finetune-cronjob.yaml", images), namespace=NAMESPACE)
        job = Job(kubectl, node_name)
        seconds = job.run()
        print(job.log(), flush=True)
        row: dict[str, Any] = {"workloads": workloads, "seconds": seconds, **job.peaks}
        verdict = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
        row |= {key: verdict[key] for key in ("verdict", "model_version")}
        if (folder / "v1").exists():
            kubectl.apply(manifest("forecaster-finetuned.yaml", images), namespace=NAMESPACE)
            row["served"] = asked(kubectl, options.ingress)
            if row["served"]["version"] != verdict["model_version"]:
                raise AssertionError(f"not the weights of this run are served: {row}")
    print(json.dumps(row, indent=1))
    if options.json:
        options.json.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
