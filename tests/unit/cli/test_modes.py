from typing import Any

import pytest
from typer.testing import Result

from scaler.cli.modes import disable_command, enable_command, pause_command, resume_command, shadow_command
from scaler.kube.api import Conflict, Json
from scaler.kube.predictive_scaler import CREATED_BY
from scaler.kube.resources import PREDICTIVE_SCALERS
from tests.unit.cli.fake_cluster import FakeCluster, component, condition, run, scaler_json
from tests.unit.targets.fake_api import failing

COMMANDS = {
    "enable": enable_command,
    "shadow": shadow_command,
    "disable": disable_command,
    "pause": pause_command,
    "resume": resume_command,
}
REF = {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}


@pytest.fixture
def cluster() -> FakeCluster:
    made = FakeCluster()
    made.deployment()
    return made


def invoke(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, command: str, *arguments: str) -> Result:
    return run(COMMANDS[command], cluster, monkeypatch, *(arguments or ("deploy/web",)))


@pytest.mark.parametrize(
    ("command", "arguments", "before", "after"),
    [
        pytest.param("enable", (), {"mode": "shadow", "maxReplicas": 7}, {"mode": "on", "maxReplicas": 7}, id="enable"),
        pytest.param("shadow", (), {"mode": "on"}, {"mode": "shadow"}, id="shadow"),
        pytest.param("disable", (), {"mode": "on", "paused": True}, {"mode": "off", "paused": True}, id="disable"),
        pytest.param("pause", (), {"mode": "on"}, {"mode": "on", "paused": True}, id="pause"),
        pytest.param(
            "pause",
            ("--scale-down-only",),
            {"mode": "on", "paused": True},
            {"mode": "on", "scaleDownPaused": True},
            id="pause the way down only",
        ),
        pytest.param(
            "resume", (), {"mode": "on", "paused": True, "scaleDownPaused": True}, {"mode": "on"}, id="resume both"
        ),
        pytest.param(
            "enable",
            ("--min", "1", "--max", "20", "--target", "70%", "--metric", "cpu", "--lead-time", "90s"),
            {},
            {"mode": "on", "minReplicas": 1, "maxReplicas": 20, "target": "70%", "metric": "cpu", "leadTime": "90s"},
            id="options",
        ),
        pytest.param(
            "enable",
            ("--miss-budget", "0.5%"),
            {"costRatio": "19:1"},
            {"mode": "on", "missBudget": "0.5%"},
            id="budget",
        ),
    ],
)
def test_a_command_changes_the_spec_and_nothing_else(
    command: str,
    arguments: tuple[str, ...],
    before: Json,
    after: Json,
    cluster: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster.scaler(spec=before)
    cluster.store.calls.clear()
    ran = invoke(cluster, monkeypatch, command, "deploy/web", *arguments)
    assert ran.exit_code == 0, ran.output
    assert cluster.spec() == REF | after
    written = [call for call in cluster.store.calls if not call.startswith("get")]
    assert written == ["patch PredictiveScaler/deployment-web"]


def test_a_scaler_made_here_is_owned_by_its_workload_and_marked_as_nobodys(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = invoke(cluster, monkeypatch, "shadow", "deploy/web", "--max", "5")
    assert ran.exit_code == 0, ran.output
    made = cluster.store.get(PREDICTIVE_SCALERS, "shop", "deployment-web")
    assert made["spec"] == REF | {"mode": "shadow", "maxReplicas": 5}
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Deployment", "web", "uid-1001")
    assert CREATED_BY not in made["metadata"]["annotations"]


def test_a_scaler_that_appears_between_look_and_create_is_changed_instead(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail = failing("create", "PredictiveScaler", Conflict("already exists", status=409))

    def before(call: Any) -> None:
        if call.verb == "create":
            cluster.scaler()
        fail(call)

    cluster.store.before = before
    assert invoke(cluster, monkeypatch, "enable").exit_code == 0
    assert cluster.spec()["mode"] == "on"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(("--min", "3", "--max", "2"), "--min (spec.minReplicas): 3 is above", id="bounds"),
        pytest.param(("--target", "lots"), "--target (spec.target): 'lots' is not accepted", id="target"),
        pytest.param(("--lead-time", "soon"), "--lead-time (spec.leadTime): 'soon' is not accepted", id="lead time"),
        pytest.param(("--miss-budget", "0"), "--miss-budget (spec.missBudget): '0'", id="miss budget"),
        pytest.param(("--metric", "C P U"), "--metric (spec.metric): 'C P U'", id="metric"),
        pytest.param(("--max", "0"), "--max (spec.maxReplicas): '0'", id="no replicas"),
    ],
)
@pytest.mark.parametrize("command", ["enable", "shadow"])
def test_what_the_scaler_would_refuse_is_never_written(
    command: str, arguments: tuple[str, ...], told: str, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.scaler()
    ran = invoke(cluster, monkeypatch, command, "deploy/web", *arguments)
    assert ran.exit_code == 2
    assert told in ran.stderr
    assert cluster.spec() == REF


def test_a_bound_is_checked_against_the_annotations_it_meets(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.deployment("api", annotations={"ai-hpa.dev/max-replicas": "4"})
    ran = invoke(cluster, monkeypatch, "enable", "deploy/api", "--min", "5")
    assert ran.exit_code == 2
    assert "ai-hpa.dev/max-replicas, 4" in ran.stderr


def test_annotations_count_where_the_scaler_itself_is_named(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.deployment("api", annotations={"ai-hpa.dev/max-replicas": "4"})
    cluster.scaler("mine", target=("apps/v1", "Deployment", "api"))
    assert invoke(cluster, monkeypatch, "enable", "psc/mine", "--min", "5").exit_code == 2
    assert invoke(cluster, monkeypatch, "enable", "psc/mine", "--min", "4").exit_code == 0


@pytest.mark.parametrize(
    ("command", "field", "value"),
    [pytest.param("disable", "mode", "off", id="off"), pytest.param("pause", "paused", True, id="held")],
)
def test_a_workload_with_broken_settings_can_still_be_switched_off_or_held(
    command: str, field: str, *, value: object, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.deployment("api", annotations={"ai-hpa.dev/target": "lots"})
    cluster.scaler("mine", spec={"mode": "on"}, target=("apps/v1", "Deployment", "api"))
    assert invoke(cluster, monkeypatch, command, "deploy/api").exit_code == 0
    assert cluster.spec("mine")[field] == value


def test_a_scaler_whose_workload_is_gone_can_still_be_switched_off(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.scaler("mine", target=("apps/v1", "Deployment", "gone"))
    assert invoke(cluster, monkeypatch, "disable", "psc/mine").exit_code == 0
    assert cluster.spec("mine")["mode"] == "off"


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_what_is_not_opted_in_cannot_be_held(
    command: str, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = invoke(cluster, monkeypatch, command)
    assert ran.exit_code == 2
    assert "ai-hpa shadow deploy/web -n shop" in ran.stderr
    assert cluster.store.scalers() == []


def test_a_workload_opted_in_by_annotation_can_be_held_before_the_scaler_has_seen_it(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.deployment("api", annotations={"ai-hpa.dev/mode": "on"})
    assert invoke(cluster, monkeypatch, "pause", "deploy/api").exit_code == 0
    assert cluster.spec("deployment-api")["paused"] is True


def test_resuming_says_no_to_a_pause_that_an_annotation_asks_for(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.deployment("api", annotations={"ai-hpa.dev/pause": "true"})
    cluster.scaler("mine", spec={"paused": True}, target=("apps/v1", "Deployment", "api"))
    invoke(cluster, monkeypatch, "resume", "deploy/api")
    assert cluster.spec("mine")["paused"] is False
    assert "scaleDownPaused" not in cluster.spec("mine")


@pytest.mark.parametrize(
    ("command", "spec", "status", "told", "untold"),
    [
        pytest.param("enable", {}, {}, "sets its floor", "gives back", id="on"),
        pytest.param("shadow", {}, {"mode": "on"}, "gives back what stood before", "!", id="from on to shadow"),
        pytest.param("shadow", {}, {"mode": "shadow"}, "writes nothing", "gives back", id="stays shadow"),
        pytest.param("disable", {}, {"mode": "on"}, "gives back what stood before", "!", id="off"),
        pytest.param("pause", {"mode": "on"}, {}, "stays where it stands", "!", id="paused"),
        pytest.param(
            "enable", {"paused": True}, {}, "! It is paused: `ai-hpa resume deploy/web -n shop`", "?", id="held"
        ),
    ],
)
def test_what_happens_next_is_said(
    command: str,
    spec: Json,
    status: Json,
    *,
    told: str,
    untold: str,
    cluster: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster.scaler(spec=spec, status=status)
    out = invoke(cluster, monkeypatch, command).stdout
    assert told in out
    assert untold not in out
    assert out.splitlines()[-1] == "Look at it with: ai-hpa explain deploy/web -n shop"


def test_what_stands_in_the_way_as_of_now_is_said(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = condition("Active", "False", "OtherOwner", "HPA web scales it")
    cluster.scaler(status={"mode": "shadow", "conditions": [refused], "components": [component()]})
    out = invoke(cluster, monkeypatch, "enable").stdout
    assert "! As of now, Active is not so: HPA web scales it" in out
    assert "Opt that other owner in instead" in out


def test_of_two_scalers_the_older_is_changed_and_the_other_named(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, created in (("younger", "2026-01-02T00:00:00Z"), ("older", "2026-01-01T00:00:00Z")):
        body = scaler_json(name)
        body["metadata"]["creationTimestamp"] = created
        cluster.store.put(PREDICTIVE_SCALERS, body)
    out = invoke(cluster, monkeypatch, "enable").stdout
    assert cluster.spec("older")["mode"] == "on"
    assert "mode" not in cluster.spec("younger")
    assert "without effect: younger" in out


def test_a_workload_that_does_not_exist_is_bad_input(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = invoke(cluster, monkeypatch, "enable", "deploy/nope")
    assert ran.exit_code == 2
    assert "there is no Deployment nope in namespace shop" in ran.stderr


def test_a_change_that_the_api_server_refuses_is_told(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.scaler()
    cluster.store.before = failing("patch", "PredictiveScaler", Conflict("modified", status=409))
    ran = invoke(cluster, monkeypatch, "enable")
    assert ran.exit_code == 3
    assert "run the command again" in ran.stderr
