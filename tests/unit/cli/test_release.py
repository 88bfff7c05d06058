import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from typer.testing import Result

from scaler.cli import release
from scaler.cli.release import Clock, Gave, give_back, release_command
from scaler.kube.api import Forbidden, Invalid, Unreachable
from scaler.kube.objects import PredictiveScalerObject
from scaler.kube.predictive_scaler import RestoreEntry, restore_annotations, restore_record
from scaler.kube.resources import DEPLOYMENTS, PREDICTIVE_SCALERS
from tests.unit.cli.fake_cluster import FakeCluster, run
from tests.unit.targets.fake_api import failing


@dataclass
class Time:
    """Seconds pass only by waiting; `during` is called at each second with the time."""

    at: float = 0.0
    during: Callable[[float], None] = lambda at: None
    waits: list[float] = field(default_factory=list)

    def wait(self, seconds: float) -> None:
        self.at += seconds
        self.waits.append(seconds)
        self.during(self.at)

    def clock(self) -> Clock:
        return Clock(now=lambda: self.at, wait=self.wait)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def floored(cluster: FakeCluster, name: str = "web", *, mode: str = "on") -> PredictiveScalerObject:
    """A Deployment that stood at 2 and that the scaler moved to 7."""
    uid = cluster.deployment(name, replicas=2)["metadata"]["uid"]
    cluster.store.merge_patch(DEPLOYMENTS, "shop", name, {"spec": {"replicas": 7}})
    entry = RestoreEntry(f"Deployment/{name}", 2, DEPLOYMENTS, name, ("spec", "replicas"), uid, "scale")
    annotations = {key: value for key, value in restore_annotations([entry]).items() if value is not None}
    target = ("apps/v1", "Deployment", name)
    return cluster.scaler(
        f"deployment-{name}", spec={"mode": mode}, status={"mode": mode}, annotations=annotations, target=target
    )


def replicas(cluster: FakeCluster, name: str = "web") -> int:
    spec = cluster.store.get(DEPLOYMENTS, "shop", name)["spec"]
    return int(spec["replicas"])


def gave(
    cluster: FakeCluster, *scalers: PredictiveScalerObject, time: Time | None = None, wait: float = 35.0
) -> list[Gave]:
    return list(give_back(cluster, scalers, wait_seconds=wait, clock=(time or Time()).clock()))


def leader(cluster: FakeCluster, name: str = "web", *, at: float) -> Callable[[float], None]:
    """A running scaler that gives one floor back at a time."""

    def during(now: float) -> None:
        scaler = next(s for s in cluster.store.scalers() if s.meta.name == f"deployment-{name}")
        if now >= at and scaler.spec.get("mode") == "off" and restore_record(scaler.meta.annotations):
            cluster.store.merge_patch(DEPLOYMENTS, "shop", name, {"spec": {"replicas": 2}})
            metadata = {"annotations": restore_annotations([])}
            cluster.store.merge_patch(PREDICTIVE_SCALERS, "shop", scaler.meta.name, {"metadata": metadata})

    return during


def test_without_a_scaler_the_command_gives_back_itself_once_the_wait_is_over(cluster: FakeCluster) -> None:
    time = Time()
    (one,) = gave(cluster, floored(cluster), time=time)
    assert (replicas(cluster), one.failed) == (2, False)
    assert one == Gave("shop deploy/web", ("Deployment/web is 2 again, as before AI-HPA",))
    assert time.at == 35.0
    assert cluster.spec()["mode"] == "off"


def test_a_running_scaler_is_left_to_do_it(cluster: FakeCluster) -> None:
    time = Time()
    scaler = floored(cluster)
    time.during = leader(cluster, at=12.0)
    (one,) = gave(cluster, scaler, time=time)
    assert one.lines == ("Deployment/web was given back by the scaler",)
    assert replicas(cluster) == 2
    assert time.at == 12.0


def test_a_floor_that_a_tick_under_way_writes_after_the_switch_off_is_given_back_too(cluster: FakeCluster) -> None:
    uid = cluster.deployment(replicas=2)["metadata"]["uid"]
    scaler = cluster.scaler(spec={"mode": "on"}, status={"mode": "on"})  # no floor of ours yet
    entry = RestoreEntry("Deployment/web", 2, DEPLOYMENTS, "web", ("spec", "replicas"), uid, "scale")

    def during(now: float) -> None:
        if now == 3.0:
            cluster.store.merge_patch(DEPLOYMENTS, "shop", "web", {"spec": {"replicas": 9}})
            metadata = {"annotations": restore_annotations([entry])}
            cluster.store.merge_patch(PREDICTIVE_SCALERS, "shop", "deployment-web", {"metadata": metadata})

    (one,) = gave(cluster, scaler, time=Time(during=during))
    assert one.lines == ("Deployment/web is 2 again, as before AI-HPA",)
    assert replicas(cluster) == 2


def test_what_was_never_on_is_switched_off_without_waiting(cluster: FakeCluster) -> None:
    cluster.deployment()
    time = Time()
    scaler = cluster.scaler(spec={"mode": "shadow"}, status={"mode": "shadow"})
    (one,) = gave(cluster, scaler, time=time)
    assert one.lines == ("nothing to give back",)
    assert time.waits == []
    assert cluster.spec()["mode"] == "off"


def test_a_value_that_somebody_else_set_since_stays(cluster: FakeCluster) -> None:
    scaler = floored(cluster)
    cluster.store.patch_as("kubectl", DEPLOYMENTS, "shop", "web", {"spec": {"replicas": 5}})
    (one,) = gave(cluster, scaler, wait=0.0)
    assert replicas(cluster) == 5
    assert "as kubectl left it" in one.lines[0]
    assert not one.failed


def test_one_that_cannot_be_given_back_is_named_and_stops_no_other(cluster: FakeCluster) -> None:
    scalers = [floored(cluster, "bad"), floored(cluster, "good")]
    fail = failing("patch", "Deployment", Forbidden("no right to patch", status=403), times=1)
    cluster.store.before = fail
    bad, good = gave(cluster, *scalers, wait=0.0)
    assert (bad.failed, good.failed) == (True, False)
    assert "no right to patch" in bad.lines[0]
    assert (replicas(cluster, "bad"), replicas(cluster, "good")) == (7, 2)


def test_one_that_cannot_be_switched_off_keeps_its_floor_and_is_named(cluster: FakeCluster) -> None:
    scalers = [floored(cluster, "bad"), floored(cluster, "good")]
    cluster.store.before = failing("patch", "PredictiveScaler", Invalid("webhook says no", status=422), times=1)
    results = {one.workload: one for one in gave(cluster, *scalers, wait=0.0)}
    assert results["shop deploy/bad"].failed
    assert "webhook says no" in results["shop deploy/bad"].lines[0]
    # Given back without being switched off, a running scaler would set it again.
    assert (replicas(cluster, "bad"), replicas(cluster, "good")) == (7, 2)


def test_one_that_is_deleted_meanwhile_is_fine(cluster: FakeCluster) -> None:
    scaler = floored(cluster)
    cluster.store.drop(PREDICTIVE_SCALERS, "shop", "deployment-web")
    assert gave(cluster, scaler) == [Gave("shop deploy/web", ("was deleted meanwhile",))]


def test_an_api_server_that_goes_away_ends_the_command(cluster: FakeCluster) -> None:
    scaler = floored(cluster)
    cluster.store.before = failing("patch", "PredictiveScaler", Unreachable("GET /x: refused"))
    with pytest.raises(Unreachable):
        gave(cluster, scaler)


def invoke(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.setattr(release, "Clock", lambda: Time().clock())
    return run(release_command, cluster, monkeypatch, *arguments)


def test_one_workload_by_name_leaves_the_others(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    floored(cluster, "web")
    floored(cluster, "api")
    ran = invoke(cluster, monkeypatch, "deploy/web")
    assert ran.exit_code == 0, ran.output
    assert "shop deploy/web: Deployment/web is 2 again" in ran.stdout
    assert (replicas(cluster, "web"), replicas(cluster, "api")) == (2, 7)


def test_all_means_every_namespace_unless_one_is_named(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    floored(cluster)
    assert "nothing to give back" in invoke(cluster, monkeypatch, "--all", "-n", "other").stdout
    assert replicas(cluster) == 7
    monkeypatch.delenv("AI_HPA_NAMESPACES", raising=False)
    assert "is 2 again" in invoke(cluster, monkeypatch, "--all").stdout


def test_a_scaler_of_some_namespaces_gives_back_only_there(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    floored(cluster)
    monkeypatch.setenv("AI_HPA_NAMESPACES", "other, third")
    invoke(cluster, monkeypatch, "--all")
    assert replicas(cluster) == 7
    monkeypatch.setenv("AI_HPA_NAMESPACES", "other,shop")
    invoke(cluster, monkeypatch, "--all")
    assert replicas(cluster) == 2


def test_a_failure_ends_with_1_and_its_name(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    floored(cluster)
    cluster.store.before = failing("patch", "Deployment", Forbidden("no right to patch", status=403))
    ran = invoke(cluster, monkeypatch, "--all")
    assert ran.exit_code == 1
    assert "not everything could be given back: shop deploy/web" in ran.stderr


@pytest.mark.parametrize("arguments", [(), ("deploy/web", "--all")], ids=["neither", "both"])
def test_either_one_workload_or_all_has_to_be_named(
    arguments: tuple[str, ...], cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke(cluster, monkeypatch, *arguments).exit_code == 2


def test_the_record_says_in_the_end_that_nothing_is_left(cluster: FakeCluster) -> None:
    gave(cluster, floored(cluster), wait=0.0)
    annotations = cluster.store.get(PREDICTIVE_SCALERS, "shop", "deployment-web")["metadata"]["annotations"]
    assert "ai-hpa.dev/restore" not in annotations
    assert all("released" in place for place in json.loads(annotations["ai-hpa.dev/restore-fields"]).values())
