"""The API server refuses, forgets, hangs and forbids, and a user mistypes: floors arrive, once, and others go on.

The real scaler on the real cluster, with a proxy before the API server.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from bench.echo_workloads import container, hpa
from tests.e2e.install import ROOT
from tests.e2e.processes import (
    STABILIZATION,
    Recorder,
    Stage,
    Wave,
    presets,
    running_scaler,
    seconds_between,
    staged,
    wave_set,
)
from tests.e2e.proxy import Call, Fault, Upstream, proxy_before, status_fault, write_kubeconfig
from tests.e2e.tools import AuditEvent, AuditLog, Json, Kubectl, Report, eventually, now, throughout

NAMESPACE = "e2e-api-faults"
OTHER = "e2e-api-rights"
LOAD, LOW = Wave(5.5), Wave(1.5)
SCALE = "/statefulsets/{}/scale"


def _documents(*names: str) -> list[Json]:
    return [wave_set(name, metric="high", target=2.0) for name in names]


@pytest.fixture(scope="module")
def stage(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Workloads that need 3 pods each."""
    documents = _documents("web", "shop", "doomed", "typo")
    with staged(kubectl, tmp_path_factory.mktemp("api"), NAMESPACE, documents, {"high": LOAD, "low": LOW}) as stage:
        for document in documents:
            stage.stands_at(document["metadata"]["name"], 3, within=90)
        yield stage


@pytest.fixture(autouse=True)
def one_process(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing ever ends it, or surprises it."""
    stage: Stage = request.getfixturevalue("stage")
    yield
    assert stage.scaler.alive, stage.scaler.tail()
    bugs = [row for row in stage.scaler.rows() if row["event"] in {"tick_failed", "watch_failed", "lease_failed"}]
    assert not bugs, bugs[0]


FAULTS = [
    pytest.param(status_fault(409, "the object has been modified", times=2), id="409 twice"),
    pytest.param(status_fault(429, "later", times=2, headers={"Retry-After": "1"}), id="429"),
    pytest.param(status_fault(503, "starting", times=3), id="503"),
    pytest.param(Fault(status=0, times=2), id="broken off"),
    # Longer than the client waits: the write that nobody waits for any more still comes in, and finds itself too old.
    pytest.param(Fault(delay=7.0, times=1), id="too slow"),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_write_that_fails_arrives_all_the_same_and_once(
    stage: Stage, audit: AuditLog, fault: Fault, report: Report, request: pytest.FixtureRequest
) -> None:
    fault.method, fault.path = "PATCH", SCALE.format("web")
    wanted, since = stage.recorder.floor("web") + 1, audit.size()
    with stage.api.fault(fault):
        took = _raised(stage, "web", wanted)
        assert fault.caught.is_set()
        last = stage.api.calls("PATCH", fault.path)[-1]
        eventually(lambda: _settled(stage, fault), within=10, what="every write has come to its end")
    writes = [e for e in _ours(stage, audit, since) if e.name == "web" and e.subresource == "scale"]
    assert len([e for e in writes if e.status < 300]) == 1, writes
    assert last.status == 200
    assert stage.recorder.floor("web") == wanted
    report.add(f"API server, {request.node.callspec.id}: a floor stood {took:.1f} s after it was asked for")


def _raised(stage: Stage, workload: str, floor: int) -> float:
    """Ask for a higher floor; give the seconds until it stands."""
    begin = stage.annotate(workload, min_replicas=str(floor))
    eventually(
        lambda: stage.recorder.floor(workload) == floor,
        within=40,
        what=f"{workload} is raised to {floor}\n{stage.scaler.tail()}",
    )
    return (now() - begin).total_seconds()


def _settled(stage: Stage, fault: Fault) -> bool:
    """Whether what the fault caught is over, however late."""
    return any(call.spoiled for call in stage.api.calls("PATCH", fault.path))


def _ours(stage: Stage, audit: AuditLog, since: int) -> list[AuditEvent]:
    return [e for e in audit.events(since) if e.agent == stage.scaler.agent and e.namespace == stage.namespace]


ERROR_EVENT = json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired"}})


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(status_fault(410, "too old resource version"), id="as a status"),
        pytest.param(Fault(status=200, body=ERROR_EVENT.encode() + b"\n"), id="as an event"),
    ],
)
def test_watches_that_are_told_to_list_anew_do_and_go_on(stage: Stage, fault: Fault) -> None:
    fault.path = "watch=true"
    begin, cut = now(), time.monotonic()
    with stage.api.fault(fault):
        stage.api.cut_streams()
        eventually(lambda: len(_listed(stage, cut)) >= 1, within=15, what="StatefulSets are listed anew")
    _raised(stage, "shop", stage.recorder.floor("shop") + 1)
    stage.never_below("web", 3, begin)
    assert len(_listed(stage, cut)) <= 6, "it waits between two lists"


def _listed(stage: Stage, since: float) -> list[Call]:
    return stage.api.calls("GET", r"/statefulsets\?limit", since=since)


def test_an_api_server_that_is_away_past_the_lease_changes_nothing(stage: Stage, report: Report) -> None:
    standing = stage.recorder.floor("web")
    begin = now()
    with stage.api.away():
        lost = eventually(lambda: stage.scaler.rows("lease_lost", begin), within=15, what="the lease ran out")
    back = now()
    took = _raised(stage, "web", standing + 1)
    stage.never_below("shop", 3, begin)
    report.add(
        f"API server away for {(back - begin).total_seconds():.0f} s: lease given up after "
        f"{seconds_between(begin, lost[0]):.1f} s, a floor stood {took:.1f} s after its return"
    )


def test_a_target_deleted_before_the_write_arrives_stops_nobody(stage: Stage) -> None:
    release = threading.Event()
    begin = now()
    with stage.api.fault(Fault("PATCH", SCALE.format("doomed"), hold=release)) as fault:
        stage.annotate("doomed", min_replicas="5")
        assert fault.caught.wait(15), "the write is under way"
        stage.kubectl("delete", "statefulset", "doomed", "-n", NAMESPACE)
        release.set()
        said = eventually(lambda: stage.scaler.rows("apply_failed", begin), within=10, what="the write failed")
    assert "was deleted" in said[0]["error"]
    _raised(stage, "shop", stage.recorder.floor("shop") + 1)
    eventually(
        lambda: not stage.scaler.decisions("doomed", now() - timedelta(seconds=3)), within=15, what="it is forgotten"
    )
    stage.never_below("web", 3, begin)


def test_a_setting_that_becomes_nonsense_holds_the_floor_until_it_is_mended(stage: Stage) -> None:
    stage.stands_at("typo", 3, within=45)
    begin = stage.annotate("typo", target="a lot", metric="low")
    eventually(
        lambda: stage.condition("typo", "Active").get("reason") == "InvalidSetting",
        within=15,
        what="the condition says which setting is wrong",
    )
    said = stage.condition("typo", "Active")
    assert said["status"] == "False"
    assert "a lot" in said["message"]
    throughout(
        lambda: stage.recorder.floor("typo") == 3, seconds=STABILIZATION + 5, what="the floor of what is refused stands"
    )
    mended = stage.annotate("typo", target="0.6", metric="low")
    eventually(lambda: stage.condition("typo", "Active").get("status") == "True", within=15, what="it goes on")
    stage.scaler.decided("typo", lambda row: row["load"] == pytest.approx(LOW.mean), since=mended, within=15)
    stage.never_below("typo", 3, begin)
    others = stage.scaler.decisions("web", begin)
    gaps = [(b - a).total_seconds() for a, b in pairwise(datetime.fromisoformat(row["time"]) for row in others)]
    assert max(gaps) < 5, "the others went on"


def _roles() -> list[Json]:
    """The rules that ship, in one namespace, those on HPAs apart from the others."""
    base = ROOT / "deploy" / "kustomize" / "base"
    shipped = [*yaml.safe_load_all((base / "cluster_role.yaml").read_text())]
    shipped += yaml.safe_load_all((base / "lease_role.yaml").read_text())
    rules = [rule for document in shipped for rule in document.get("rules", ())]
    on_hpas = [rule for rule in rules if "horizontalpodautoscalers" in rule["resources"]]
    others = [rule for rule in rules if rule not in on_hpas]
    documents: list[Json] = [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "scaler"}}]
    for name, chosen in (("hpas", on_hpas), ("others", others)):
        documents.append({"apiVersion": RBAC, "kind": "Role", "metadata": {"name": name}, "rules": chosen})
        documents.append(_binding(name))
    return documents


RBAC = "rbac.authorization.k8s.io/v1"


def _binding(role: str) -> Json:
    return {
        "apiVersion": RBAC,
        "kind": "RoleBinding",
        "metadata": {"name": role},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "scaler", "namespace": OTHER}],
    }


@pytest.fixture
def limited(stage: Stage, kubectl: Kubectl, tmp_path: Path) -> Iterator[Stage]:
    """A scaler with the rights of a service account, and no more; `guarded` stands under an HPA."""
    admin = Path(os.environ["KUBECONFIG"])
    names = ("plain", "guarded")
    kubectl("create", "namespace", OTHER)
    with ExitStack() as stack:
        stack.callback(kubectl, "delete", "namespace", OTHER, "--wait=false")
        documents = [wave_set(name, metric="high", target=2.0) for name in names]
        documents[1]["spec"]["template"]["spec"]["containers"] = [container(cpu="30m")]
        scaling = hpa("guarded", target="guarded", maximum=10)
        scaling["spec"]["scaleTargetRef"]["kind"] = "StatefulSet"
        kubectl.apply(*_roles(), *documents, scaling, namespace=OTHER)
        token = kubectl("create", "token", "scaler", "-n", OTHER).strip()
        api = stack.enter_context(proxy_before(Upstream.of_kubeconfig(admin, tmp_path, credentials=False)))
        kubeconfig = write_kubeconfig(tmp_path / "limited", server=api.url, token=token)
        settings = {**stage.settings, "PROMETHEUS_PRESETS": presets({"high": LOAD}, workloads=names, namespace=OTHER)}
        recorder = stack.enter_context(Recorder(admin, OTHER))
        scaler = stack.enter_context(
            running_scaler(tmp_path, "limited", kubeconfig=kubeconfig, namespace=OTHER, settings=settings)
        )
        limited = replace(stage, namespace=OTHER, folder=tmp_path, api=api, scaler=scaler, recorder=recorder)
        for name in names:
            limited.stands_at(name, 3, within=60)
        yield limited


def test_a_permission_that_is_revoked_is_said_where_it_is_missed_and_the_others_go_on(
    limited: Stage, report: Report
) -> None:
    kubectl = limited.kubectl
    begin = now()
    kubectl("delete", "rolebinding", "hpas", "-n", OTHER)
    limited.annotate("guarded", min_replicas="4")
    limited.annotate("plain", min_replicas="4")
    limited.stands_at("plain", 4, within=30)
    said = _dishonoured(limited, "guarded", "Forbidden")
    assert "horizontalpodautoscalers" in said["message"]
    assert "ai-hpa check" in said["message"]
    assert limited.condition("plain", "FloorHonoured")["status"] == "True"
    report.add(f"permission revoked: {said['reason']}: {said['message'][:150]}")

    kubectl.apply(_binding("hpas"), namespace=OTHER)
    limited.stands_at("guarded", 4, within=45)
    eventually(
        lambda: limited.condition("guarded", "FloorHonoured").get("status") == "True", within=30, what="all is well"
    )
    kubectl("delete", "rolebinding", "hpas", "-n", OTHER)
    limited.api.cut_streams()
    said = _dishonoured(limited, "guarded", "NotWatched")
    assert "horizontalpodautoscalers.autoscaling: may not be listed and watched" in said["message"]
    limited.annotate("plain", min_replicas="5")
    limited.stands_at("plain", 5, within=30)
    limited.never_below("guarded", 3, begin)
    assert limited.scaler.alive


def _dishonoured(stage: Stage, workload: str, reason: str) -> Json:
    eventually(
        lambda: stage.condition(workload, "FloorHonoured").get("reason") == reason,
        within=30,
        what=f"the condition of {workload} says {reason}",
    )
    return stage.condition(workload, "FloorHonoured")
