from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import process_time
from typing import Any

import pytest

from scaler.kube.api import Forbidden, Json, KubeApi, KubeError, Listing, NotFound, Unreachable
from scaler.kube.cluster import GONE_POD_SECONDS, Cluster, owner_of
from scaler.kube.foreign import READ_EVERY_SECONDS, TRUSTED_SECONDS, ForeignScales
from scaler.kube.objects import Amounts, ObjectRef, inference_service_object, pod_object, revision_object
from scaler.kube.resources import Resource
from scaler.kube.watch import STALE_AFTER_SECONDS
from scaler.targets.view import ClusterView
from tests.unit.kube.conftest import SteppedClock
from tests.unit.kube.server import FakeKube

APPS = "apps/v1"
ROLLOUT = ObjectRef("argoproj.io/v1alpha1", "Rollout", "a", "web")


def meta(name: str, *, owner: tuple[str, str] | None = None, **more: Any) -> Json:
    owners = [{"apiVersion": APPS, "kind": owner[0], "name": owner[1], "controller": True}] if owner else []
    return {"namespace": "a", "name": name, "uid": f"uid-{name}", "ownerReferences": owners, **more}


def pod(name: str, owner: tuple[str, str] | None = None, *, phase: str = "Running", **labels: str) -> Json:
    named = {key.replace("__", "/").replace("_", "-"): value for key, value in labels.items()}
    spec = {"containers": [{"resources": {"limits": {"cpu": "500m"}}}]}
    return {"metadata": meta(name, owner=owner, labels=named), "spec": spec, "status": {"phase": phase}}


@dataclass
class TableApi:
    """Lists what the table holds, by plural; its watches give what is sent, then wait for the end of the test."""

    table: dict[str, list[Json]] = field(default_factory=dict)
    errors: dict[str, KubeError] = field(default_factory=dict)
    scales: dict[str, Json | KubeError] = field(default_factory=dict)
    documents: dict[str, Json | KubeError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    listed: list[tuple[str, str | None]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def pages(
        self, resource: Resource, namespace: str | None = None, *, metadata_only: bool = False
    ) -> Iterator[Listing]:
        self.listed.append((resource.plural, namespace))
        if resource.plural in self.errors:
            raise self.errors[resource.plural]
        items = self.table.get(resource.plural, [])
        yield Listing(tuple(i for i in items if namespace in {None, i["metadata"]["namespace"]}), "1")

    def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        timeout_seconds: int,
        metadata_only: bool = False,
    ) -> Iterator[Json]:
        self.stop.wait(10.0)
        yield from ()

    def get(self, resource: Resource, namespace: str | None, name: str, subresource: str = "") -> Json:
        self.asked.append(f"{resource.plural}/{name}/{subresource}")
        return self._answer(self.scales, name)

    def get_path(self, path: str) -> Json:
        self.asked.append(path)
        return self._answer(self.documents, path)

    @staticmethod
    def _answer(answers: dict[str, Json | KubeError], key: str) -> Json:
        answer = answers.get(key, NotFound("not there", status=404))
        if isinstance(answer, KubeError):
            raise answer
        return answer


@pytest.fixture
def table() -> Iterator[TableApi]:
    api = TableApi()
    yield api
    api.stop.set()


def started(api: TableApi, **options: Any) -> Cluster:
    cluster = Cluster(api, **options)
    cluster.start(api.stop)
    return cluster


def test_a_cluster_is_what_discovery_asks_for(table: TableApi) -> None:
    view: ClusterView = Cluster(table)
    assert view.hpas() == ()


def test_pods_are_found_by_owner_and_by_labels(table: TableApi) -> None:
    table.table["pods"] = [
        pod("web-1", ("ReplicaSet", "web-7f9c"), pod_template_hash="7f9c", app="web", tier="x"),
        pod("web-2", ("ReplicaSet", "web-8aaa"), pod_template_hash="8aaa", app="web", tier="y"),
        pod("web-a-1", ("ReplicaSet", "web-a-7f9c"), pod_template_hash="7f9c", app="web-a", tier="x"),
        pod("db-0", ("StatefulSet", "db"), app="db"),
        pod("over", ("ReplicaSet", "web-7f9c"), phase="Succeeded", pod_template_hash="7f9c", app="web"),
        pod("isvc-1", None, serving__kserve_io="x"),
    ]
    cluster = started(table)
    assert cluster.wait_synced(5.0)

    def owned(owner: str, namespace: str = "a") -> list[str]:
        return sorted(p.meta.name for p in cluster.pods_owned(namespace, owner))

    def labelled(namespace: str = "a", **labels: str) -> list[str]:
        return sorted(p.meta.name for p in cluster.pods_with(namespace, labels))

    assert owned("Deployment/web") == ["web-1", "web-2"]
    assert owned("Deployment/web-a") == ["web-a-1"]
    assert owned("StatefulSet/db") == ["db-0"]
    assert owned("Deployment/web", "b") == []
    assert labelled(app="web") == ["web-1", "web-2"]
    assert labelled(app="web", tier="x") == ["web-1"]
    assert labelled(app="web-a", tier="y") == []
    assert labelled(app="nobody") == []
    assert labelled("b", app="web") == []
    assert labelled() == []
    assert cluster.owner_of_pod("a", "over") == "Deployment/web"
    assert cluster.owner_of_pod("a", "isvc-1") is None
    assert cluster.owner_of_pod("a", "nobody") is None


@pytest.mark.parametrize(
    ("item", "owner"),
    [
        pytest.param(pod("x", ("ReplicaSet", "r-1-00001-deployment-55d"), pod_template_hash="55d"),
                     "Deployment/r-1-00001-deployment", id="revision"),
        pytest.param(pod("x", ("ReplicaSet", "byhand")), "ReplicaSet/byhand", id="replica set by hand"),
        pytest.param(pod("x", ("ReplicaSet", "byhand"), pod_template_hash=""), "ReplicaSet/byhand", id="empty hash"),
        pytest.param(pod("x", ("ReplicaSet", "w-aa"), pod_template_hash="bb"), "ReplicaSet/w-aa", id="other hash"),
        pytest.param(pod("x", ("Job", "j")), "Job/j", id="job"),
        pytest.param(pod("x"), None, id="no owner"),
    ],
)  # fmt: skip
def test_a_pods_owner_is_told_by_its_references(item: Json, owner: str | None) -> None:
    assert owner_of(pod_object(item)) == owner


def scaling(name: str, reference: str, target: str, kind: str = "Deployment", version: str = APPS) -> Json:
    return {"metadata": meta(name), "spec": {reference: {"apiVersion": version, "kind": kind, "name": target}}}


def test_what_scales_an_object_is_found_by_it(table: TableApi) -> None:
    table.table |= {
        "horizontalpodautoscalers": [
            scaling("h1", "scaleTargetRef", "web"),
            scaling("h2", "scaleTargetRef", "web", "StatefulSet"),
            scaling("h3", "scaleTargetRef", "web", version="other.io/v1"),
            scaling("h4", "scaleTargetRef", "web", version="apps/v1beta2"),
        ],
        "scaledobjects": [{"metadata": meta("s1"), "spec": {"scaleTargetRef": {"name": "web"}}}],
        "verticalpodautoscalers": [scaling("v1", "targetRef", "web")],
    }
    cluster = started(table)
    assert cluster.wait_synced(5.0)
    web = ObjectRef(APPS, "Deployment", "a", "web")
    assert sorted(h.meta.name for h in cluster.hpas_on(web)) == ["h1", "h4"]
    assert [s.meta.name for s in cluster.scaled_objects_on(web)] == ["s1"]
    assert [v.meta.name for v in cluster.vpas_on(web)] == ["v1"]
    assert cluster.hpas_on(ObjectRef(APPS, "Deployment", "b", "web")) == ()
    assert len(cluster.hpas()) == 4


def test_objects_are_found_by_name_and_revisions_by_configuration(table: TableApi) -> None:
    configuration = {"serving.knative.dev/configuration": "m-predictor"}
    table.table |= {
        "deployments": [{"metadata": meta("web")}],
        "statefulsets": [{"metadata": meta("db")}],
        "inferenceservices": [{"metadata": meta("m")}],
        "revisions": [
            {"metadata": meta("m-predictor-00001", labels=configuration)},
            {"metadata": meta("m-predictor-00002", labels=configuration)},
            {"metadata": meta("other-00001")},
        ],
        "predictivescalers": [{"metadata": meta("web")}],
    }
    cluster = started(table)
    assert cluster.wait_synced(5.0)
    deployment, revision = cluster.scalable("Deployment", "a", "web"), cluster.revision("a", "m-predictor-00001")
    assert deployment is not None
    assert deployment.kind == "Deployment"
    assert revision is not None
    assert len(cluster.revisions_of("a", "m-predictor")) == 2
    assert len(cluster.scalables("StatefulSet")) == 1
    assert cluster.inference_service("a", "m") is not None
    assert len(cluster.inference_services()) == 1
    assert cluster.predictive_scaler("a", "web") is not None
    assert len(cluster.predictive_scalers()) == 1
    assert cluster.scalables("Rollout") == ()
    assert cluster.scalable("Rollout", "a", "web") is None
    assert cluster.scalable("StatefulSet", "a", "web") is None


def test_only_the_namespaces_that_are_named_are_looked_at(table: TableApi) -> None:
    table.table["deployments"] = [{"metadata": {**meta("x"), "namespace": name}} for name in "abc"]
    cluster = started(table, namespaces=("a", "b"))
    assert cluster.wait_synced(5.0)
    assert sorted(d.meta.namespace for d in cluster.scalables("Deployment")) == ["a", "b"]
    assert {namespace for _, namespace in table.listed} == {"a", "b"}


def test_a_kind_that_may_not_be_seen_is_said_and_keeps_it_from_being_synced(table: TableApi) -> None:
    table.errors = {
        "horizontalpodautoscalers": Forbidden("not you", status=403),
        "scaledobjects": NotFound("no KEDA", status=404),
        "verticalpodautoscalers": Forbidden("nor here", status=403),
    }
    cluster = started(table)
    assert not cluster.wait_synced(0.3)
    said = cluster.problems()
    assert [text.partition(":")[0] for text in said] == [
        "horizontalpodautoscalers.autoscaling",
        "verticalpodautoscalers.autoscaling.k8s.io",
    ]
    assert cluster.problems({"horizontalpodautoscalers.autoscaling", "deployments.apps"}) == said[:1]
    assert cluster.problems(()) == ()


def test_it_is_blind_to_what_is_forbidden_or_silent(table: TableApi, clock: SteppedClock) -> None:
    table.errors = {
        "scaledobjects": NotFound("no KEDA", status=404),
        "verticalpodautoscalers": Forbidden("not you", status=403),
    }
    cluster = Cluster(table, clock=clock)
    assert len(cluster.blind()) == 9  # nothing was listed yet
    table.stop.set()
    for reflector in cluster._reflectors:
        reflector.turn(table.stop)
    assert cluster.blind() == {"verticalpodautoscalers.autoscaling.k8s.io"}
    clock.sleep(STALE_AFTER_SECONDS + 1.0)
    assert len(cluster.blind()) == 9


def test_facts_that_nobody_answers_for_keep_it_from_being_synced(table: TableApi) -> None:
    table.scales["controller"] = Unreachable("away")
    assert not started(table).wait_synced(0.3)


def test_waiting_ends_with_the_stop(table: TableApi) -> None:
    table.errors["pods"] = Unreachable("away")
    cluster = started(table)
    table.stop.set()
    assert not cluster.wait_synced(60.0)


def test_before_it_has_started_nothing_is_synced(table: TableApi) -> None:
    cluster = Cluster(table)
    assert not cluster.synced()
    assert len(cluster.problems()) == 9


@pytest.mark.parametrize(("version", "watched"), [("1.20.2", True), ("1.21.0", False), ("devel", False)])
def test_pod_autoscalers_are_watched_on_older_knative_only(table: TableApi, version: str, watched: bool) -> None:
    table.table["podautoscalers"] = [{"metadata": meta("m-00001")}]
    table.scales["controller"] = {"metadata": {"labels": {"app.kubernetes.io/version": version}}}
    cluster = started(table)
    assert cluster.wait_synced(5.0)
    assert (cluster.pod_autoscaler("a", "m-00001") is not None) is watched
    cluster._facts.refresh()
    assert table.listed.count(("podautoscalers", None)) == watched


def test_a_pod_that_is_gone_is_known_for_five_minutes(table: TableApi, clock: SteppedClock) -> None:
    cluster = Cluster(table, clock=clock)
    first, second = (
        pod_object(pod(name, ("ReplicaSet", "web-7f9c"), pod_template_hash="7f9c", app="web")) for name in ("p1", "p2")
    )
    for each in (first, second):
        cluster._pods.put(each.meta.full_name, each)
    cluster._pods.delete(("a", "p1"))
    assert cluster.owner_of_pod("a", "p1") == "Deployment/web"
    assert cluster.pod("a", "p1") == first
    assert cluster.pods_owned("a", "Deployment/web") == (second,)
    clock.sleep(GONE_POD_SECONDS)
    assert cluster.owner_of_pod("a", "p1") == "Deployment/web"
    clock.sleep(1.0)
    assert cluster.owner_of_pod("a", "p1") is None
    cluster._pods.delete(("a", "p2"))
    assert list(cluster._gone._pods) == [("a", "p2")]


def test_a_pod_that_came_again_under_its_name_is_the_new_one(table: TableApi, clock: SteppedClock) -> None:
    cluster = Cluster(table, clock=clock)
    old, new = (pod_object(pod("db-0", ("StatefulSet", owner))) for owner in ("old", "new"))
    cluster._pods.put(("a", "db-0"), old)
    cluster._pods.delete(("a", "db-0"))
    cluster._pods.put(("a", "db-0"), new)
    assert cluster.owner_of_pod("a", "db-0") == "StatefulSet/new"


ROLLOUTS = {
    "/apis/argoproj.io/v1alpha1": {
        "resources": [
            {"name": "experiments", "kind": "Experiment"},
            {"name": "rollouts", "kind": "Rollout"},
            {"name": "rollouts/scale", "kind": "Scale"},
            {"name": "rollouts/status", "kind": "Rollout"},
        ]
    }
}


def rollout(selector: str = "app=web", **spec: int) -> Json:
    return {
        "metadata": {**meta("web"), "resourceVersion": "77"},
        "spec": spec,
        "status": {"replicas": 2, "selector": selector},
    }


def test_a_kind_that_is_not_watched_is_read_soon_and_slowly(table: TableApi, clock: SteppedClock) -> None:
    table.documents |= ROLLOUTS
    table.scales["web"] = rollout(replicas=3)
    scales = ForeignScales(table, clock=clock)
    assert scales.get(ROLLOUT) is None
    scales.read_due()
    scale = scales.get(ROLLOUT)
    assert scale is not None
    assert scale.resource == Resource("argoproj.io", "v1alpha1", "rollouts", "Rollout")
    assert (scale.uid, scale.resource_version, scale.replicas, scale.current_replicas, scale.selector) == (
        "uid-web",
        "77",
        3,
        2,
        {"app": "web"},
    )
    asked = len(table.asked)
    clock.sleep(READ_EVERY_SECONDS - 1.0)
    scales.read_due()
    assert len(table.asked) == asked
    clock.sleep(1.0)
    table.scales["web"] = rollout()
    scales.read_due()
    assert table.asked[asked:] == ["rollouts/web/scale"]
    scale = scales.get(ROLLOUT)
    assert scale is not None
    assert scale.replicas == 0  # left out by the API


def test_a_scale_that_cannot_be_read_again_is_trusted_for_a_minute(table: TableApi, clock: SteppedClock) -> None:
    table.documents |= ROLLOUTS
    table.scales["web"] = rollout(replicas=3)
    scales = ForeignScales(table, clock=clock)
    scales.get(ROLLOUT)
    scales.read_due()
    table.scales["web"] = Unreachable("away")
    clock.sleep(TRUSTED_SECONDS)
    scales.read_due()
    assert scales.get(ROLLOUT) is not None
    clock.sleep(1.0)
    assert scales.get(ROLLOUT) is None


@pytest.mark.parametrize(
    ("page", "scale"),
    [
        pytest.param(NotFound("no group", status=404), rollout(), id="no group"),
        pytest.param({"resources": [{"name": "rollouts", "kind": "Rollout"}]}, rollout(), id="no scale"),
        pytest.param({}, rollout(), id="empty group"),
        pytest.param(ROLLOUTS["/apis/argoproj.io/v1alpha1"], NotFound("gone", status=404), id="no object"),
        pytest.param(ROLLOUTS["/apis/argoproj.io/v1alpha1"], Forbidden("not you", status=403), id="forbidden"),
    ],
)
def test_a_scale_that_does_not_stand_is_none(
    table: TableApi, clock: SteppedClock, page: Json | KubeError, scale: Json | KubeError
) -> None:
    scales = ForeignScales(table, clock=clock)
    table.documents["/apis/argoproj.io/v1alpha1"] = page
    table.scales["web"] = scale
    scales.get(ROLLOUT)
    scales.read_due()
    assert scales.get(ROLLOUT) is None


def test_a_scale_that_nobody_asks_for_any_more_is_read_no_more(table: TableApi, clock: SteppedClock) -> None:
    table.documents |= ROLLOUTS
    table.scales["web"] = rollout()
    scales = ForeignScales(table, clock=clock)
    scales.get(ROLLOUT)
    clock.sleep(301.0)
    scales.read_due()
    assert table.asked == []


@pytest.mark.parametrize(
    ("selector", "labels"),
    [
        ("app=web,tier==x", {"app": "web", "tier": "x"}),
        ("app=", {"app": ""}),
        ("", {}),
        ("app!=web", {}),
        ("app=web,!tier", {}),
        ("app=web,tier in (x,y)", {}),
        ("tier", {}),
    ],
)
def test_a_selector_is_read_where_it_asks_for_equality_only(
    table: TableApi, clock: SteppedClock, selector: str, labels: dict[str, str]
) -> None:
    table.documents |= ROLLOUTS
    table.scales["web"] = rollout(selector)
    scales = ForeignScales(table, clock=clock)
    scales.get(ROLLOUT)
    scales.read_due()
    scale = scales.get(ROLLOUT)
    assert scale is not None
    assert scale.selector == labels


def test_the_pods_of_a_foreign_scale_tell_their_amounts(table: TableApi, clock: SteppedClock) -> None:
    table.documents |= ROLLOUTS
    table.scales["web"] = rollout()
    cluster = Cluster(table, clock=clock)
    assert cluster.foreign_scale(ROLLOUT) is None
    cluster._foreign.read_due()
    scale = cluster.foreign_scale(ROLLOUT)
    assert scale is not None
    assert scale.amounts == Amounts()
    web = pod_object(pod("web-1", app="web"))
    cluster._pods.put(web.meta.full_name, web)
    scale = cluster.foreign_scale(ROLLOUT)
    assert scale is not None
    assert scale.amounts.cpu_limit == 0.5


def inference_service(newest: str, *, transformer: str = "llm-transformer-00001") -> Json:
    status = {"predictor": {"latestCreatedRevision": newest}, "transformer": {"latestCreatedRevision": transformer}}
    spec: Json = {"predictor": {}, "transformer": {}}
    return {"metadata": meta("llm"), "spec": spec, "status": {"components": status}}


def revision(name: str, *, minimum: int = 1) -> Json:
    return {
        "metadata": meta(
            name,
            labels={"serving.kserve.io/inferenceservice": "llm"},
            annotations={"autoscaling.knative.dev/min-scale": str(minimum)},
        )
    }


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param([revision("llm-00002"), inference_service("llm-00002")], [2], id="the-revision-first"),
        pytest.param([inference_service("llm-00002"), revision("llm-00002")], [2], id="the-service-first"),
        pytest.param([inference_service("llm-00002")], [], id="not-before-the-revision-is-seen"),
        pytest.param([revision("llm-00002")], [], id="not-before-the-service-names-it"),
        pytest.param([revision("llm-00001", minimum=3)], [], id="a-floor-is-no-news"),
        pytest.param([revision("other-00001"), revision("llm-00000")], [], id="another-or-an-older-revision"),
        pytest.param(
            [revision("t-2"), inference_service("llm-00001", transformer="t-2")], [2], id="of-a-second-component"
        ),
        pytest.param(
            [revision("llm-00002"), inference_service("llm-00002"), revision("llm-00002", minimum=3)], [2], id="once"
        ),
    ],
)
def test_a_new_revision_is_told_once_both_it_and_the_service_that_names_it_are_seen(
    table: TableApi, changes: list[Json], told: list[int]
) -> None:
    cluster = Cluster(table)
    heard: list[int] = []

    def see(item: Json) -> None:
        if "spec" in item:
            service = inference_service_object(item)
            cluster._inference_services.put(service.meta.full_name, service)
        else:
            seen = revision_object(item)
            cluster._revisions.put(seen.meta.full_name, seen)

    see(inference_service("llm-00001"))
    see(revision("llm-00001"))
    cluster.on_new_revision(lambda service: heard.append(len(service.components)))
    for item in changes:
        see(item)
    assert heard == told


def test_an_inference_service_that_goes_is_no_news(table: TableApi) -> None:
    cluster = Cluster(table)
    heard: list[str] = []
    cluster.on_new_revision(lambda service: heard.append(service.meta.name))
    service, first = inference_service_object(inference_service("llm-00001")), revision_object(revision("llm-00001"))
    cluster._revisions.put(first.meta.full_name, first)
    cluster._inference_services.put(service.meta.full_name, service)
    cluster._inference_services.delete(service.meta.full_name)
    cluster._revisions.delete(first.meta.full_name)
    assert heard == ["llm"]


def test_asking_costs_little_and_does_not_grow_with_the_square(table: TableApi) -> None:
    """1,000 workloads with 5,000 pods; the bound is ten times what it takes here, for a busy machine."""
    cluster = Cluster(table)
    for number in range(5000):
        name, owner = f"w{number % 1000}-aa-{number}", f"w{number % 1000}"
        value = pod_object(pod(name, ("ReplicaSet", f"{owner}-aa"), pod_template_hash="aa", app=owner, env="prod"))
        cluster._pods.put(value.meta.full_name, value)
    began = process_time()
    found = 0
    for number in range(1000):
        owner = f"w{number}"
        target = ObjectRef(APPS, "Deployment", "a", owner)
        found += len(cluster.pods_owned("a", f"Deployment/{owner}"))
        found += len(cluster.pods_with("a", {"env": "prod", "app": owner}))
        found += len(cluster.hpas_on(target)) + len(cluster.scaled_objects_on(target)) + len(cluster.vpas_on(target))
        found += cluster.scalable("Deployment", "a", owner) is not None
        found += cluster.predictive_scaler("a", owner) is not None
    assert found == 10_000
    assert process_time() - began < 0.2


def test_it_follows_a_real_server(kube: FakeKube, api: KubeApi) -> None:
    pods = "/api/v1/namespaces/a/pods"
    kube.absent |= {"scaledobjects", "verticalpodautoscalers", "inferenceservices", "revisions"}
    kube.put(pods, pod("web-1", ("ReplicaSet", "web-7f9c"), pod_template_hash="7f9c"))
    cluster, stop, changed = Cluster(api), threading.Event(), threading.Event()
    cluster.start(stop)
    assert cluster.wait_synced(10.0)
    cluster._pods.listen(lambda old, new: changed.set())
    kube.remove(f"{pods}/web-1")
    assert changed.wait(5.0)
    assert cluster.pods_owned("a", "Deployment/web") == ()
    assert cluster.owner_of_pod("a", "web-1") == "Deployment/web"
    stop.set()
    kube.bookmark()
