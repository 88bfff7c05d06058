"""Knative services whose history foretells a jump: the floor and the pods are there before it, and no revision is made.

The day before and the hours before are written into Prometheus; the load itself is real, and so is the model. The jump
of the day before was half as high again, as no day is like the other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from bench.echo_workloads import inference_service, predictive_scaler
from bench.load_pod import Load
from scaler.kube.api import KubeApi, connect
from scaler.kube.resources import PODS, REVISIONS, Resource
from tests.e2e.backfill import DAY, STEP, Backfill, Past, context_start, day_before, run_id
from tests.e2e.timeline import Timeline, timeline, wait_until
from tests.e2e.tools import Json, Kubectl, Report, eventually, is_ready, now, value_at

pytestmark = pytest.mark.usefixtures("installed")

ISVC_API = "serving.kserve.io/v1beta1"
ROUTES = Resource("serving.knative.dev", "v1", "routes", "Route")
JUMPS, SLEEPS = "jumps", "sleeps"
MIN_SCALE = "autoscaling.knative.dev/min-scale"

# A request takes half a second, uses 50 ms of CPU, and has its pod for itself: a pod carries 2 a second at the most,
# and 1.2 at its target of 60m. Four a second need four pods.
REQUEST = "/?wait=450ms&burn=50ms"
CORES_PER_REQUEST = 0.05
CAPACITY = 0.06
HIGH = 4.0
NEEDED = math.ceil(HIGH * CORES_PER_REQUEST / CAPACITY)
SLOW_SECONDS = 2.0
# Knative moves the traffic to a new revision once the floor is up that it knows of by then: a pod that is Ready before
# the floor is written gets the traffic alone. No model starts that fast, but the echo server does.
START_SECONDS = 4
SETTINGS: Json = {"mode": "on", "metric": "cpu", "leadTime": "60s"}

AHEAD = timedelta(seconds=180)  # from the start of the stage to the jump: a minute for Prometheus, and one to look on
PLATEAU = timedelta(seconds=150)
ROLLOUT_AFTER = timedelta(seconds=40)  # of the jump
AFTERWARDS = timedelta(seconds=240)


def usual_rate(at: datetime) -> float:
    """Requests a second on any day without the jump: a wave of half an hour."""
    return 1.0 + 0.4 * math.sin(2 * math.pi * at.timestamp() / 1800)


@dataclass(frozen=True, slots=True)
class Seen:
    """What stands, by revision.

    Attributes:
        serving: Revision with the traffic, by service.
    """

    floors: Mapping[str, int]
    ready: Mapping[str, int]
    serving: Mapping[str, str]

    def of(self, service: str) -> tuple[str, ...]:
        return tuple(name for name in self.floors if name.startswith(f"{service}-predictor-"))

    def floor(self, service: str) -> int:
        return self.floors.get(self.serving.get(service, ""), 0)

    def pods(self, service: str) -> int:
        """Ready pods of the revision with the traffic."""
        return self.ready.get(self.serving.get(service, ""), 0)


@dataclass(frozen=True, slots=True)
class Stage:
    """Both services, on their way through one jump.

    Attributes:
        jump: Unix time of it.
    """

    namespace: str
    jump: float
    timeline: Timeline[Seen]

    @property
    def over(self) -> float:
        return self.jump + PLATEAU.total_seconds()


def look(api: KubeApi, namespace: str) -> Seen:
    # Who has the traffic is read before whose pods are Ready, and from the Route: the InferenceService hears of a
    # switch only after Knative has begun to take pods from the revision that lost it.
    serving = {}
    for route in api.list(ROUTES, namespace).items:
        traffic = value_at(route, "status", "traffic") or ()
        serving[route["metadata"]["name"].removesuffix("-predictor")] = max(
            traffic, key=lambda share: share.get("percent", 0), default={"revisionName": ""}
        )["revisionName"]
    revisions = api.list(REVISIONS, namespace).items
    floors = {r["metadata"]["name"]: int(r["metadata"]["annotations"].get(MIN_SCALE, 0)) for r in revisions}
    ready = dict.fromkeys(floors, 0)
    for pod in api.list(PODS, namespace).items:
        revision = pod["metadata"].get("labels", {}).get("serving.knative.dev/revision")
        if revision in ready and is_ready(pod):
            ready[revision] += 1
    return Seen(floors, ready, serving)


def services() -> tuple[Json, ...]:
    jumps = inference_service(JUMPS, minimum=1, maximum=8, cpu="20m", slow_start=START_SECONDS, containerConcurrency=1)
    sleeps = inference_service(
        SLEEPS,
        minimum=0,
        maximum=2,
        cpu="20m",
        annotations=None,
    )
    # It starts with a pod, which nobody asks for anything; it is at zero soon.
    sleeps["spec"]["predictor"]["annotations"] = {
        "autoscaling.knative.dev/window": "6s",
        "autoscaling.knative.dev/scale-to-zero-pod-retention-period": "0s",
    }
    return jumps, sleeps


def scalers() -> tuple[Json, ...]:
    return (
        predictive_scaler(
            JUMPS,
            reference=(ISVC_API, "InferenceService", JUMPS),
            **SETTINGS,
            target=f"{CAPACITY * 1000:.0f}m",
            maxReplicas=7,
        ),
        # Uncertainty alone wakes nobody: a pod is worth starting from 5 % of its capacity on.
        predictive_scaler(
            SLEEPS, reference=(ISVC_API, "InferenceService", SLEEPS), **SETTINGS, target="1000m", maxReplicas=2
        ),
    )


def profile(start: datetime, jump: datetime) -> list[tuple[float, float]]:
    """Requests a second, by seconds after the start."""
    end = jump + PLATEAU
    usual = [start + i * timedelta(seconds=10) for i in range((end + AFTERWARDS - start) // timedelta(seconds=10))]
    rates = [(at, usual_rate(at)) for at in usual if not jump <= at < end]
    rates += [(jump, HIGH), (end, usual_rate(end)), (end + AFTERWARDS, 0.0)]
    return [((at - start).total_seconds(), rate) for at, rate in sorted(rates)]


def past(namespace: str, jump: datetime, until: datetime) -> list[Past]:
    """Yesterday, with the jump, and today up to now."""
    today = _minutes(context_start(jump), until)
    first, last = day_before(jump + PLATEAU + AFTERWARDS, jump - AHEAD)
    yesterday = [at + DAY for at in _minutes(first, last)]  # as if it were today

    def usual(at: datetime) -> float:
        return usual_rate(at) * CORES_PER_REQUEST

    def asleep(at: datetime) -> float:
        return usual(at) if at < jump - timedelta(minutes=15) else 0.0

    def jumping(at: datetime, other: float) -> float:
        # Twice as high: a busy machine makes the CPU of today's requests, which burn by the clock, up to half as much.
        return 2.0 * HIGH * CORES_PER_REQUEST if jump <= at < jump + PLATEAU else other

    return [
        Past(namespace, f"{name}-predictor-00001-deployment", "kserve-container", loads, end)
        for name, load in ((JUMPS, usual), (SLEEPS, asleep))
        for loads, end in (
            ([load(at) for at in today], today[-1] + STEP),
            ([jumping(at, load(at)) for at in yesterday], yesterday[-1] + STEP - DAY),
        )
    ]


def _minutes(start: datetime, end: datetime) -> list[datetime]:
    return [start + i * STEP for i in range((end - start) // STEP)]


def next_minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0) + timedelta(minutes=1)


@pytest.fixture(scope="module")
def stage(kubectl: Kubectl, model_image: str, inner_ingress: str) -> Iterator[Stage]:
    backfill, namespace = Backfill(), f"e2e-floor-{run_id()}"
    kubectl("create", "namespace", namespace)
    start = now()
    jump = next_minute(start + AHEAD)
    kubectl.apply(*services(), namespace=namespace)
    load = Load(
        "load",
        inner_ingress,
        f"{JUMPS}-predictor.{namespace}.example.com",
        REQUEST,
        start.timestamp(),
        profile(start, jump),
        slow=SLOW_SECONDS,
    )
    eventually(lambda: _serves(kubectl, namespace), within=90, what="both services are Ready")
    kubectl.apply(load.pod(model_image), namespace=namespace)
    backfill.write(past(namespace, jump, start.replace(second=0, microsecond=0)))
    api = connect(user_agent="e2e")
    with timeline(lambda: look(api, namespace)) as seen:
        stage = Stage(namespace, jump.timestamp(), seen)
        seen.first(lambda s: bool(s.ready) and s.pods(SLEEPS) == 0, within=60, what=f"{SLEEPS} is at zero")
        kubectl.apply(*scalers(), namespace=namespace)
        yield stage
    kubectl("delete", "namespace", namespace, "--wait=false")


def _serves(kubectl: Kubectl, namespace: str) -> bool:
    conditions = [value_at(item, "status", "conditions") or () for item in kubectl.items("isvc", namespace)]
    return all({c["type"]: c["status"] for c in found}.get("Ready") == "True" for found in conditions)


def counts(kubectl: Kubectl, namespace: str) -> Json:
    """What the load generator last said."""
    lines = kubectl("logs", "load", "-n", namespace, "--tail=1").splitlines()
    said: Json = json.loads(lines[-1]) if lines else {"sent": 0, "failed": 0, "slow": 0}
    return said


def clock(at: float) -> str:
    return datetime.fromtimestamp(at, tz=UTC).strftime("%H:%M:%S")


def test_floor_and_pods_are_there_before_the_jump(stage: Stage, kubectl: Kubectl, report: Report) -> None:
    seen, jump = stage.timeline, stage.jump
    raised = seen.first(
        lambda s: s.floor(JUMPS) >= NEEDED,
        within=jump - now().timestamp(),
        what=f"the floor is {NEEDED} before the jump",
    )
    ready = seen.first(
        lambda s: s.pods(JUMPS) >= NEEDED,
        within=jump - now().timestamp() + 2,
        what=f"{NEEDED} pods are Ready before the jump at {clock(jump)}",
    )
    assert ready.at <= jump
    wait_until(jump)
    before = counts(kubectl, stage.namespace)
    wait_until(jump + 0.8 * ROLLOUT_AFTER.total_seconds())
    during = seen.between(ready.at, now().timestamp())
    assert min(m.seen.pods(JUMPS) for m in during) >= NEEDED
    assert {m.seen.of(JUMPS) for m in during} == {(f"{JUMPS}-predictor-00001",)}
    after = counts(kubectl, stage.namespace)
    sent, failed, slow = (after[name] - before[name] for name in ("sent", "failed", "slow"))
    report.add(
        f"Knative floor: {raised.seen.floor(JUMPS)} written {jump - raised.at:.0f} s and {NEEDED} pods Ready "
        f"{jump - ready.at:.0f} s before the load went from {usual_rate(_at(jump)):.1f} to {HIGH:g} requests a second; "
        f"of {sent} requests then {failed} failed and {slow} took over {SLOW_SECONDS:g} s"
    )
    assert sent >= HIGH * 10
    assert failed + slow <= 0.05 * sent, after


def test_a_service_at_zero_is_woken_without_a_request(stage: Stage, report: Report) -> None:
    seen = stage.timeline
    # Its jump is the same.
    raised = seen.first(lambda s: s.floor(SLEEPS) >= 1, within=30, what="the floor of a service at zero rose")
    ready = seen.first(lambda s: s.pods(SLEEPS) >= 1, within=60, after=raised.at, what="it has a pod")
    assert raised.at < stage.jump
    assert max(len(m.seen.of(SLEEPS)) for m in seen.moments) == 1
    report.add(
        f"from zero, without a request: floor {raised.seen.floor(SLEEPS)} written {stage.jump - raised.at:.0f} s "
        f"before the load, the pod Ready {ready.at - raised.at:.0f} s later"
    )


def test_a_new_revision_inherits_the_floor(stage: Stage, kubectl: Kubectl, report: Report) -> None:
    seen, second = stage.timeline, f"{JUMPS}-predictor-00002"
    wait_until(stage.jump + ROLLOUT_AFTER.total_seconds())
    before = counts(kubectl, stage.namespace)
    changed = now().timestamp()
    variable = {"op": "add", "path": "/spec/predictor/containers/0/env", "value": [{"name": "MODEL", "value": "2"}]}
    kubectl("patch", "isvc", JUMPS, "-n", stage.namespace, "--type=json", "-p", json.dumps([variable]))
    made = seen.first(lambda s: second in s.floors, within=30, what="there is a second revision")
    inherited = seen.first(lambda s: s.floors.get(second, 0) >= NEEDED, within=15, what="it has the floor")
    served = seen.first(lambda s: s.serving[JUMPS] == second, within=60, what="it has the traffic")
    wait_until(served.at + 10)
    during = seen.between(changed, now().timestamp())
    after = counts(kubectl, stage.namespace)
    sent, failed, slow = (after[name] - before[name] for name in ("sent", "failed", "slow"))
    fewest = min(m.seen.pods(JUMPS) for m in during)
    report.add(
        f"new revision: the floor of {inherited.seen.floors[second]} {inherited.at - made.at:.1f} s after it was seen, "
        f"traffic after {served.at - made.at:.1f} s, at least {fewest} pods Ready all the time; of {sent} requests "
        f"{failed} failed and {slow} took over {SLOW_SECONDS:g} s"
    )
    assert inherited.at <= served.at
    assert fewest >= NEEDED
    assert failed + slow <= 0.05 * sent, after


def test_floors_come_down_by_themselves(stage: Stage, report: Report) -> None:
    seen = stage.timeline
    wait_until(stage.over)
    high = seen.moments[-1].seen.floor(JUMPS)
    assert high >= NEEDED
    down = seen.first(
        lambda s: s.floor(JUMPS) <= NEEDED - 2,
        within=AFTERWARDS.total_seconds(),
        after=stage.over,
        what="the floor came down",
    )
    fewer = seen.first(lambda s: s.pods(JUMPS) < NEEDED, within=120, after=down.at, what="the pods followed")
    report.add(
        f"Knative floor: from {high} to {down.seen.floor(JUMPS)} {down.at - stage.over:.0f} s after the jump was over, "
        f"{fewer.seen.pods(JUMPS)} pods Ready {fewer.at - stage.over:.0f} s after"
    )
    seen.first(lambda s: s.floor(SLEEPS) == 0, within=60, what="the other floor came down to zero", after=stage.jump)
    assert {len(m.seen.of(JUMPS)) for m in seen.between(down.at, now().timestamp())} == {2}


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
