from __future__ import annotations

from pathlib import Path

import pytest
from kubernetes import client

from scaler.kube.api import (
    BUDGET_SECONDS,
    LIST_CHUNK,
    TOKEN_SECONDS,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    KubeApi,
    KubeError,
    NoCluster,
    NotFound,
    ServerBusy,
    Unreachable,
    connect,
)
from scaler.kube.resources import DEPLOYMENTS, LEASES, PODS
from tests.unit.kube.conftest import SteppedClock
from tests.unit.kube.server import FakeKube, Fault

PODS_PATH = "/api/v1/namespaces/a/pods"
LEASES_PATH = "/apis/coordination.k8s.io/v1/namespaces/a/leases"


def named(name: str, **more: object) -> dict[str, object]:
    return {"metadata": {"name": name}, **more}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        pytest.param(400, Invalid, id="bad request"),
        pytest.param(401, Forbidden, id="unauthorised"),
        pytest.param(403, Forbidden, id="forbidden"),
        pytest.param(404, NotFound, id="not found"),
        pytest.param(409, Conflict, id="conflict"),
        pytest.param(410, Gone, id="gone"),
        pytest.param(418, KubeError, id="anything else"),
        pytest.param(422, Invalid, id="unprocessable"),
        pytest.param(429, ServerBusy, id="too many requests"),
        pytest.param(500, ServerBusy, id="server error"),
        pytest.param(503, ServerBusy, id="unavailable"),
        pytest.param(0, Unreachable, id="connection broken off"),
    ],
)
def test_each_failure_has_its_own_error(kube: FakeKube, api: KubeApi, status: int, kind: type[KubeError]) -> None:
    kube.fail(Fault(status, message="says the server"), times=1000)
    with pytest.raises(kind) as caught:
        api.get(PODS, "a", "x")
    assert type(caught.value) is kind or status == 429
    assert caught.value.status == status
    assert status == 0 or "says the server" in str(caught.value)


@pytest.mark.parametrize("raw", [b"<html>", b'{"metadata": ', b"\xff\xfe"], ids=["html", "cut short", "no text"])
def test_an_answer_that_is_no_json_is_none(kube: FakeKube, api: KubeApi, raw: bytes) -> None:
    kube.fail(Fault(200, raw=raw), times=1000)
    with pytest.raises(Unreachable):
        api.get(PODS, "a", "x")


def test_a_failure_that_passes_is_not_noticed(kube: FakeKube, api: KubeApi) -> None:
    kube.put(PODS_PATH, named("x"))
    kube.fail(Fault(503))
    kube.fail(Fault(0))
    assert api.get(PODS, "a", "x")["metadata"]["name"] == "x"
    assert kube.count("GET") == 3


def test_retries_end_with_their_budget(kube: FakeKube, api: KubeApi, clock: SteppedClock) -> None:
    kube.fail(Fault(500), times=1000)
    began = clock.now
    with pytest.raises(ServerBusy):
        api.get(PODS, "a", "x")
    assert clock.now - began <= BUDGET_SECONDS
    assert 2 <= kube.count() < 40


def test_the_wait_that_a_busy_server_asks_for_is_kept(kube: FakeKube, api: KubeApi, clock: SteppedClock) -> None:
    kube.put(PODS_PATH, named("x"))
    kube.fail(Fault(429, headers=(("Retry-After", "3"),)))
    began = clock.now
    api.get(PODS, "a", "x")
    assert clock.now - began >= 3.0


@pytest.mark.parametrize(
    ("guard", "tries"), [pytest.param({}, 1, id="no precondition"), pytest.param({"resourceVersion": "1"}, 4, id="one")]
)
def test_a_patch_is_repeated_only_under_a_precondition(
    kube: FakeKube, api: KubeApi, guard: dict[str, str], tries: int
) -> None:
    kube.put(PODS_PATH, named("x"))
    kube.fail(Fault(503), times=3)
    with pytest.raises(KubeError):
        api.merge_patch(PODS, "a", "x", {"metadata": guard})
    assert kube.count("PATCH") == tries


def test_what_was_not_admitted_is_always_sent_again(kube: FakeKube, api: KubeApi) -> None:
    kube.fail(Fault(429))
    api.create(LEASES, "a", named("l"))
    assert kube.count("POST") == 2


def test_a_create_whose_answer_is_lost_is_not_repeated(kube: FakeKube, api: KubeApi) -> None:
    kube.fail(Fault(0, after=True))
    with pytest.raises(Unreachable):
        api.create(LEASES, "a", named("l"))
    assert f"{LEASES_PATH}/l" in kube.objects
    assert kube.count("POST") == 1


def test_a_patch_names_its_manager_and_its_kind(kube: FakeKube, api: KubeApi) -> None:
    kube.put(PODS_PATH, named("x", spec={"a": 1, "b": 2}))
    answer = api.merge_patch(PODS, "a", "x", {"spec": {"a": None, "c": 3}})
    assert answer["spec"] == {"b": 2, "c": 3}
    sent = kube.requests[-1]
    assert sent.query == {"fieldManager": "ai-hpa"}
    assert sent.headers["Content-Type"] == "application/merge-patch+json"
    assert sent.headers["User-Agent"] == "ai-hpa"


def test_a_patch_whose_answer_nobody_reads_asks_for_the_metadata(kube: FakeKube, api: KubeApi) -> None:
    kube.put(PODS_PATH, named("x"))
    api.merge_patch(PODS, "a", "x", {"spec": {"a": 1}}, metadata_only=True)
    sent = kube.requests[-1]
    assert sent.headers["Accept"].startswith("application/json;as=PartialObjectMetadata;")
    assert sent.headers["Content-Type"] == "application/merge-patch+json"


def test_a_subresource_has_a_path_of_its_own(kube: FakeKube, api: KubeApi) -> None:
    with pytest.raises(NotFound):
        api.merge_patch(DEPLOYMENTS, "a", "x", {"spec": {"replicas": 2}}, subresource="scale")
    assert kube.requests[-1].path == "/apis/apps/v1/namespaces/a/deployments/x/scale"


def test_a_replace_of_an_older_version_is_a_conflict(kube: FakeKube, api: KubeApi) -> None:
    lease = api.create(LEASES, "a", named("l"))
    kube.put(LEASES_PATH, named("l", spec={"holderIdentity": "other"}))
    with pytest.raises(Conflict):
        api.replace(LEASES, "a", "l", lease)


def test_what_is_gone_already_is_deleted(kube: FakeKube, api: KubeApi) -> None:
    api.delete(PODS, "a", "x")
    assert kube.count("DELETE") == 1


def test_a_long_list_comes_in_chunks(kube: FakeKube, api: KubeApi) -> None:
    for number in range(LIST_CHUNK + 1):
        kube.put(PODS_PATH, named(f"p{number}"))
    listing = api.list(PODS)
    assert len({item["metadata"]["name"] for item in listing.items}) == LIST_CHUNK + 1
    assert listing.resource_version == str(kube.version)
    assert kube.count("GET") == 2


def test_a_list_may_ask_for_metadata_and_labels(kube: FakeKube, api: KubeApi) -> None:
    api.list(PODS, "a", label_selector="a=b", metadata_only=True)
    sent = kube.requests[-1]
    assert sent.query["labelSelector"] == "a=b"
    assert "PartialObjectMetadataList" in sent.headers["Accept"]


def test_a_list_whose_chunks_came_too_late_is_gone(kube: FakeKube, api: KubeApi) -> None:
    kube.fail(Fault(410))
    with pytest.raises(Gone):
        api.list(PODS)


def test_a_watch_tells_what_changed_since(kube: FakeKube, api: KubeApi) -> None:
    kube.put(PODS_PATH, named("before"))
    seen = str(kube.version)
    kube.put(PODS_PATH, named("x"))
    kube.put(PODS_PATH, named("x", spec={}))
    kube.bookmark()
    kube.remove(f"{PODS_PATH}/x")
    events = api.watch(PODS, resource_version=seen, timeout_seconds=30)
    assert [next(events)["type"] for _ in range(4)] == ["ADDED", "MODIFIED", "BOOKMARK", "DELETED"]
    events.close()  # type: ignore[attr-defined] # a generator


def test_a_watch_from_too_old_a_version_is_gone(kube: FakeKube, api: KubeApi) -> None:
    kube.compact()
    with pytest.raises(Gone):
        next(api.watch(PODS, resource_version="100", timeout_seconds=30))


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param(Fault(200, raw=b"<html>\n"), Unreachable, id="no json"),
        pytest.param(Fault(0), Unreachable, id="broken off"),
        pytest.param(Fault(500), ServerBusy, id="server error"),
        pytest.param(Fault(403), Forbidden, id="forbidden"),
    ],
)
def test_a_watch_that_fails_is_not_repeated(kube: FakeKube, api: KubeApi, fault: Fault, kind: type[KubeError]) -> None:
    kube.fail(fault, times=1000)
    with pytest.raises(kind):
        list(api.watch(PODS, resource_version="100", timeout_seconds=1))
    assert kube.count() == 1


def test_nobody_there_is_unreachable(clock: SteppedClock) -> None:
    configuration = client.Configuration(host="http://127.0.0.1:1")
    configuration.retries = False
    api = KubeApi(client.ApiClient(configuration), clock=clock, sleep=clock.sleep)
    with pytest.raises(Unreachable):
        api.get_path("/version")


def test_a_caller_may_name_itself_for_the_audit_log(kube: FakeKube, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(
        f"""
clusters: [{{name: fake, cluster: {{server: "{kube.address}"}}}}]
contexts: [{{name: fake, context: {{cluster: fake, user: nobody}}}}]
users: [{{name: nobody, user: {{}}}}]
current-context: fake
"""
    )
    connect(kubeconfig=str(kubeconfig), user_agent="ai-hpa/scaler-0").list(PODS)
    assert kube.requests[-1].headers["User-Agent"] == "ai-hpa/scaler-0"


def test_without_any_cluster_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(NoCluster, match="KUBECONFIG"):
        connect(kubeconfig=f"{tmp_path}/none")


def test_the_token_is_sent_and_a_new_one_is_found_soon(kube: FakeKube, clock: SteppedClock) -> None:
    configuration = client.Configuration(host=kube.address, api_key={"BearerToken": "first"})
    configuration.api_key_prefix["BearerToken"] = "Bearer"
    api_client = client.ApiClient(configuration)
    api = KubeApi(api_client, clock=clock, sleep=clock.sleep)
    sent = []
    for token in ("first", "second", "third"):
        configuration.api_key["BearerToken"] = token
        api.list(PODS, "a")
        sent.append(kube.requests[-1].headers["authorization"])
        clock.sleep(TOKEN_SECONDS / 2)
    assert sent == ["Bearer first", "Bearer first", "Bearer third"]
    api_client.rest_client.pool_manager.clear()
