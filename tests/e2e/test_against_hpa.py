"""The HPA alone against the HPA with AI-HPA over it: the same recorded load, the same pods that start slowly.

Alibaba's recorded load of a whole cluster, every 10 s: the minutes from 0:24 of its sixth day on, in which it rises by
two thirds within a minute; the HPA sees that some 30 s late, and a pod takes half a minute to start. AI-HPA has the
hours before and the day before in Prometheus, as a user's cluster would. Both run at the same time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pytest

from bench.echo_workloads import container, deployment, hpa, predictive_scaler, service
from bench.load_pod import Load, burning
from scaler.domain import FloatArray
from scaler.kube.api import KubeApi, connect
from scaler.kube.resources import DEPLOYMENTS
from scaler.replay.traces import demo_trace
from tests.e2e.backfill import STEP, Backfill, Past, context_start, day_before, run_id
from tests.e2e.timeline import Timeline, timeline, wait_until
from tests.e2e.tools import Json, Kubectl, Report, eventually, now

pytestmark = pytest.mark.usefixtures("installed")

ALONE, ASSISTED = "hpa-alone", "hpa-assisted"
BOTH = (ALONE, ASSISTED)
ROW = timedelta(seconds=10)
FIRST_ROW = 43344  # of the stretch that counts; its rise begins 100 s later
ROWS = 27
WARM_UP_ROWS = 9  # before it: the HPAs settle, and Prometheus takes up the history
PEAK_CORES = 0.3  # the highest row of the stretch
CPU_SECONDS = 0.05  # of one request
# A pod that uses more than 90 % of what it asks for is overloaded; the HPAs keep the mean at 70 %.
REQUEST_MILLICORES = 50
CAPACITY = 0.9 * REQUEST_MILLICORES / 1000
MAXIMUM = 12
SLOW_START_SECONDS = 25
LEAD_TIME = "60s"  # the start, and up to two periods of 15 s until the HPA acts on its floor


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """The recorded load on this cluster's clock, in cores.

    Attributes:
        begin: When the stretch that counts begins.
    """

    begin: datetime
    values: FloatArray

    @classmethod
    def laid_out(cls, begin: datetime) -> Recorded:
        values = demo_trace().values
        return cls(begin, values * (PEAK_CORES / np.max(values[FIRST_ROW : FIRST_ROW + ROWS])))

    @property
    def end(self) -> datetime:
        return self.begin + ROWS * ROW

    def at(self, when: datetime) -> float:
        return float(self.values[FIRST_ROW + (when - self.begin) // ROW])

    def needed(self, when: datetime) -> int:
        return math.ceil(self.at(when) / CAPACITY)

    def means(self, start: datetime, end: datetime) -> list[float]:
        """Mean load of each step."""
        first, count, rows = FIRST_ROW + (start - self.begin) // ROW, (end - start) // STEP, STEP // ROW
        means: list[float] = np.nanmean(self.values[first : first + count * rows].reshape(count, rows), axis=1).tolist()
        return means

    def profile(self, start: datetime) -> list[tuple[float, float]]:
        """Requests a second, by seconds after `start`."""
        times = [self.begin + (i - WARM_UP_ROWS) * ROW for i in range(ROWS + WARM_UP_ROWS)]
        rates = [((at - start).total_seconds(), self.at(at) / CPU_SECONDS) for at in times]
        return [(0.0, rates[0][1]), *rates, ((self.end - start).total_seconds(), 0.0)]

    def past(self, namespace: str, until: datetime) -> list[Past]:
        """What AI-HPA's workload did up to now, and the day before."""
        start, (first, last) = context_start(until), day_before(self.end, until)
        hours = Past(namespace, ASSISTED, "web", self.means(start, until), until)
        # The trace's day before, as it was.
        count = (last - first) // STEP
        day = Past(namespace, ASSISTED, "web", self.means(first, first + count * STEP), first + count * STEP)
        return [hours, day]


@dataclass(frozen=True, slots=True)
class Pods:
    """Of one Deployment."""

    ready: int
    asked_for: int


def look(api: KubeApi, namespace: str) -> Mapping[str, Pods]:
    found = {item["metadata"]["name"]: item for item in api.list(DEPLOYMENTS, namespace).items}
    return {
        name: Pods(int(item.get("status", {}).get("readyReplicas", 0)), int(item["spec"]["replicas"]))
        for name, item in found.items()
    }


def documents(replicas: int, image: str) -> tuple[Json, ...]:
    web = burning(container(cpu=f"{REQUEST_MILLICORES}m", limit="1", slow_start=SLOW_START_SECONDS), image, CPU_SECONDS)
    pods = [deployment(name, web, replicas=replicas) for name in BOTH]
    scalers = [hpa(name, target=name, maximum=MAXIMUM, utilization=70) for name in BOTH]
    return (*pods, *scalers, *(service(name) for name in BOTH))


@dataclass(frozen=True, slots=True)
class Score:
    """How one of them did.

    Attributes:
        short_seconds: Seconds in which it had fewer ready pods than the load needed.
        short_pod_seconds: Sum of the pods that it was short of.
        pod_seconds: Sum of the pods that stood, ready or not.
    """

    short_seconds: float
    short_pod_seconds: float
    pod_seconds: float

    @classmethod
    def of(cls, name: str, seen: Timeline[Mapping[str, Pods]], load: Recorded) -> Score:
        looks = seen.between(load.begin.timestamp(), load.end.timestamp() - 1)
        times = [moment.at for moment in looks]
        lengths = np.diff([*times, load.end.timestamp()])
        assert lengths.max() < 10, "the cluster was not looked at for a while"
        needed = [load.needed(datetime.fromtimestamp(at, tz=load.begin.tzinfo)) for at in times]
        missing = np.array([n - m.seen[name].ready for n, m in zip(needed, looks, strict=True)]).clip(0)
        pods = np.array([moment.seen[name].asked_for for moment in looks])
        return cls(float((missing > 0) @ lengths), float(missing @ lengths), float(pods @ lengths))

    def __str__(self) -> str:
        short = f"{self.short_seconds:.0f} s short of pods ({self.short_pod_seconds:.0f} pod-seconds missing)"
        return f"{short}, {self.pod_seconds:.0f} pod-seconds"


@dataclass(frozen=True, slots=True)
class Run:
    """Both, over the whole stretch."""

    load: Recorded
    seen: Timeline[Mapping[str, Pods]]


@pytest.fixture(scope="module")
def run(kubectl: Kubectl, model_image: str) -> Iterator[Run]:
    backfill, namespace = Backfill(), f"e2e-against-{run_id()}"
    kubectl("create", "namespace", namespace)
    # On a whole minute, as the steps of a forecast are.
    start = now()
    begin = (start + WARM_UP_ROWS * ROW + timedelta(seconds=70)).replace(second=0, microsecond=0)
    load = Recorded.laid_out(begin)
    replicas = math.ceil(load.at(begin) / (0.7 * REQUEST_MILLICORES / 1000))
    kubectl.apply(*documents(replicas, model_image), namespace=namespace)
    api = connect(user_agent="e2e")
    with timeline(lambda: look(api, namespace)) as seen:
        eventually(lambda: _all_ready(seen, replicas), within=90, what=f"both have {replicas} ready pods")
        for name in BOTH:
            # Only now: pods that just started would have to carry all of it one by one.
            profile = load.profile(start)
            pod = Load(f"load-{name}", f"{name}.{namespace}:80", name, "/", start.timestamp(), profile)
            kubectl.apply(pod.pod(model_image), namespace=namespace)
        backfill.write(load.past(namespace, now().replace(second=0, microsecond=0)))
        reference = ("autoscaling/v2", "HorizontalPodAutoscaler", ASSISTED)
        settings: Json = {"mode": "on", "metric": "cpu", "target": f"{CAPACITY * 1000:.0f}m", "leadTime": LEAD_TIME}
        kubectl.apply(predictive_scaler(ASSISTED, reference=reference, **settings), namespace=namespace)
        wait_until(load.end.timestamp())
        yield Run(load, seen)
    kubectl("delete", "namespace", namespace, "--wait=false")


def _all_ready(seen: Timeline[Mapping[str, Pods]], replicas: int) -> bool:
    newest = seen.moments[-1].seen if seen.moments else {}
    return all(name in newest and newest[name].ready >= replicas for name in BOTH)


def test_ai_hpa_is_short_of_pods_for_less_time_than_the_hpa_alone(run: Run, report: Report) -> None:
    alone, assisted = (Score.of(name, run.seen, run.load) for name in BOTH)
    needed = sum(run.load.needed(run.load.begin + i * ROW) for i in range(ROWS)) * ROW.total_seconds()
    report.add(f"recorded load, {ROWS * ROW.total_seconds():.0f} s, {needed:.0f} pod-seconds needed")
    report.add(f"  HPA alone:         {alone}")
    report.add(f"  HPA with AI-HPA:   {assisted}")
    assert assisted.short_seconds <= alone.short_seconds
    assert assisted.short_pod_seconds <= alone.short_pod_seconds
    assert assisted.pod_seconds <= 2 * alone.pod_seconds
