import json
import shlex
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from typer.testing import Result

from scaler.checks import access, knative, kserve, reader, sources, workloads
from scaler.checks.access import PERMISSIONS, AccessFacts, CrdFacts, Permission
from scaler.checks.finding import Finding, Level
from scaler.checks.knative import KnativeFacts
from scaler.checks.kserve import KServeFacts
from scaler.checks.reader import WorkloadFacts
from scaler.checks.sources import ForecasterFacts, PrometheusFacts
from scaler.checks.workloads import OptedIn
from scaler.cli.check import check_command
from scaler.domain import ForecastFailure
from scaler.kube.api import Forbidden, Json, Unreachable
from scaler.kube.facts import AUTOSCALER_MAP, DISALLOWED, KSERVE_MAP, OBSERVABILITY_MAP, SERVICE_ENTRY
from scaler.kube.objects import ObjectRef, hpa_object, scalable_object, scaled_object
from scaler.kube.resources import CONFIG_MAPS, DEPLOYMENTS, PODS
from scaler.targets.annotations import SETTINGS
from scaler.targets.workload import RefusalReason
from tests.unit.cli.fake_cluster import FakeCluster, run
from tests.unit.test_docs import ROOT

OURS = [setting.annotation for setting in SETTINGS]
WEB = ObjectRef("apps/v1", "Deployment", "shop", "web")


def only(findings: tuple[Finding, ...]) -> Finding:
    (finding,) = findings
    return finding


def crd(**changes: Any) -> CrdFacts:
    facts: dict[str, Any] = {
        "served": ("v1alpha1",),
        "spec_fields": frozenset(access.SPEC_FIELDS),
        "status_fields": frozenset(access.STATUS_FIELDS),
        "release": "0.1.0",
    }
    return CrdFacts(**facts | changes)


@pytest.mark.parametrize(
    ("facts", "level", "told"),
    [
        pytest.param(crd(), Level.OK, "is served", id="fine"),
        pytest.param(None, Level.PROBLEM, "not installed", id="absent"),
        pytest.param(crd(served=("v1",)), Level.PROBLEM, "served: v1", id="other version"),
        pytest.param(
            crd(spec_fields=frozenset(access.SPEC_FIELDS) - {"costRatio"}),
            Level.PROBLEM,
            "spec.costRatio",
            id="old spec",
        ),
        pytest.param(
            crd(status_fields=frozenset({"mode"})),
            Level.PROBLEM,
            "status.components, status.conditions",
            id="old status",
        ),
        pytest.param(crd(release="0.0.9"), Level.WARNING, "of release 0.0.9", id="other release"),
        pytest.param(crd(release=""), Level.OK, "is served", id="release not said"),
    ],
)
def test_the_crd_has_to_be_that_of_this_release(facts: CrdFacts | None, level: Level, told: str) -> None:
    finding = only(access.check_crd(facts, "0.1.0"))
    assert (finding.level, bool(finding.mend)) == (level, level is not Level.OK)
    assert told in finding.message


def test_the_shipped_crd_has_every_field_that_is_looked_for() -> None:
    shipped = yaml.safe_load((ROOT / "deploy/crd/predictivescalers.yaml").read_text(encoding="utf-8"))
    cluster = FakeCluster()
    cluster.store.put(reader.CRDS, shipped)
    assert only(access.check_crd(reader.read_crd(cluster), "0.1.0")).level is Level.OK


@pytest.mark.parametrize(
    ("version", "level"),
    [
        pytest.param((1, 26), Level.WARNING, id="old"),
        pytest.param((1, 27), Level.OK, id="oldest read"),
        pytest.param((1, 34), Level.OK, id="new"),
        pytest.param(None, Level.OK, id="not a number"),
    ],
)
def test_an_old_kubernetes_is_said(version: tuple[int, int] | None, level: Level) -> None:
    assert only(access.check_kubernetes("v1.x", version)).level is level


@pytest.mark.parametrize(
    ("namespace", "ready", "level"),
    [
        pytest.param(None, 0, Level.WARNING, id="not installed"),
        pytest.param("ai-hpa-system", 0, Level.PROBLEM, id="none ready"),
        pytest.param("ai-hpa-system", 1, Level.WARNING, id="nobody takes over"),
        pytest.param("ai-hpa-system", 2, Level.OK, id="two"),
    ],
)
def test_the_scaler_has_to_run_twice(namespace: str | None, ready: int, level: Level) -> None:
    assert only(access.check_scaler(namespace, "ai-hpa-scaler", ready)).level is level


def test_each_kind_that_lacks_a_permission_is_a_problem_of_its_own() -> None:
    allowed = dict.fromkeys(PERMISSIONS, True) | {
        Permission(PODS, "watch"): False,
        Permission(PODS, "list"): False,
        Permission(DEPLOYMENTS, "patch", "scale"): False,
    }
    findings = access.check_permissions(AccessFacts("system:serviceaccount:a:b", allowed), installed=True)
    assert [(f.level, f.message.split(";")[0]) for f in findings] == [
        (Level.PROBLEM, "system:serviceaccount:a:b may not patch deployments.apps/scale"),
        (Level.PROBLEM, "system:serviceaccount:a:b may not list, watch pods"),
    ]


def test_what_you_yourself_may_not_do_is_only_a_warning_before_the_scaler_is_installed() -> None:
    finding = only(access.check_permissions(AccessFacts("you", {Permission(PODS, "list"): False}), installed=False))
    assert finding.level is Level.WARNING
    assert "you may not list pods" in finding.message


def isvc_config(**config: Any) -> KServeFacts:
    return KServeFacts("kserve", "kserve/kserve-controller:v0.17.0", "Knative", json.dumps(config) if config else "")


@pytest.mark.parametrize(
    ("image", "level", "told"),
    [
        pytest.param("kserve/kserve-controller:v0.17.0", Level.OK, "0.17.0", id="release"),
        pytest.param("registry:5000/kserve/kserve-controller:v0.14.1", Level.WARNING, "0.14.1", id="old"),
        pytest.param("kserve/kserve-controller:latest", Level.OK, "unknown version", id="no version"),
        pytest.param("registry:5000/kserve-controller", Level.OK, "unknown version", id="no tag"),
        pytest.param("kserve-controller:v0.16.2@sha256:ab", Level.OK, "0.16.2", id="digest"),
    ],
)
def test_the_version_of_kserve_is_read_from_its_image(image: str, level: Level, told: str) -> None:
    finding = only(kserve.check_kserve(KServeFacts("kserve", image, "Knative", "")))
    assert finding.level is level
    assert told in finding.message


def test_without_kserve_or_knative_there_is_nothing_to_mend() -> None:
    assert only(kserve.check_kserve(None)).level is Level.OK
    assert only(knative.check_knative(None)).level is Level.OK
    assert kserve.check_annotation_list(None, OURS) == ()
    assert knative.check_scale_to_zero(None) == knative.check_request_metrics(None) == ()


def patched(mend: str) -> Mapping[str, str]:
    """What the printed command would put into the ConfigMap."""
    words = shlex.split(mend)
    assert words[:3] == ["kubectl", "patch", "configmap"]
    body: Json = json.loads(words[words.index("--patch") + 1])
    data: Mapping[str, str] = body["data"]
    return data


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({}, id="no entry"),
        pytest.param({"resource": {"cpuLimit": "1"}}, id="other keys"),
        pytest.param({DISALLOWED: ["my/own", OURS[0]], "resource": {"note": "it's"}}, id="a list of its own"),
    ],
)
def test_the_command_for_the_annotation_list_keeps_all_that_stands_and_mends_it(config: Json) -> None:
    finding = only(kserve.check_annotation_list(isvc_config(**config), OURS))
    assert finding.level is Level.WARNING
    after = json.loads(patched(finding.mend)[SERVICE_ENTRY])
    listed = after.pop(DISALLOWED)
    assert after == {key: value for key, value in config.items() if key != DISALLOWED}
    assert set(listed) >= {*OURS, *kserve.ALWAYS_DISALLOWED, *config.get(DISALLOWED, ())}
    assert len(listed) == len(set(listed))
    again = kserve.check_annotation_list(isvc_config(**after, **{DISALLOWED: listed}), OURS)
    assert only(again).level is Level.OK


@pytest.mark.parametrize("text", ["{", "[]", '{"serviceAnnotationDisallowedList": 3}'])
def test_a_config_that_kserve_cannot_read_is_not_overwritten(text: str) -> None:
    finding = only(kserve.check_annotation_list(KServeFacts("kserve", "", None, text), OURS))
    assert finding.level is Level.WARNING
    assert "kubectl edit" in finding.mend


def knative_facts(
    version: tuple[int, int] | None = (1, 21),
    *,
    scale_to_zero: str | None = None,
    observability: Mapping[str, str] | None = None,
) -> KnativeFacts:
    autoscaler = {} if scale_to_zero is None else {"enable-scale-to-zero": scale_to_zero}
    return KnativeFacts("knative-serving", version, autoscaler, observability or {})


@pytest.mark.parametrize(
    ("version", "level"),
    [
        pytest.param((1, 20), Level.WARNING, id="pod autoscaler"),
        pytest.param((1, 21), Level.OK, id="revision"),
        pytest.param((2, 0), Level.OK, id="newer"),
        pytest.param(None, Level.WARNING, id="not said"),
    ],
)
def test_the_version_of_knative_chooses_the_lever(version: tuple[int, int] | None, level: Level) -> None:
    assert only(knative.check_knative(knative_facts(version))).level is level


@pytest.mark.parametrize(
    ("value", "level"),
    [
        pytest.param(None, Level.OK, id="default"),
        pytest.param("TRUE", Level.OK, id="on"),
        pytest.param("false", Level.WARNING, id="off"),
        pytest.param("yes", Level.WARNING, id="what Knative takes for false"),
    ],
)
def test_scale_to_zero_is_read_as_knative_reads_it(value: str | None, level: Level) -> None:
    finding = only(knative.check_scale_to_zero(knative_facts(scale_to_zero=value)))
    assert finding.level is level
    if level is Level.WARNING:
        assert patched(finding.mend) == {"enable-scale-to-zero": "true"}


@pytest.mark.parametrize(
    ("protocols", "level", "mends"),
    [
        pytest.param({}, Level.WARNING, True, id="default"),
        pytest.param({"metrics-protocol": "prometheus"}, Level.WARNING, True, id="half"),
        pytest.param(
            {"metrics-protocol": "prometheus", "request-metrics-protocol": "prometheus"}, Level.OK, False, id="both"
        ),
        pytest.param({"request-metrics-protocol": "http/protobuf"}, Level.WARNING, False, id="otlp"),
    ],
)
def test_request_metrics_need_both_protocols(protocols: dict[str, str], level: Level, *, mends: bool) -> None:
    finding = only(knative.check_request_metrics(knative_facts(observability=protocols)))
    assert (finding.level, bool(finding.mend)) == (level, mends)


@pytest.mark.parametrize(
    ("present", "prometheus", "level"),
    [
        pytest.param(True, None, Level.OK, id="there"),
        pytest.param(False, True, Level.OK, id="not needed"),
        pytest.param(False, None, Level.WARNING, id="maybe needed"),
        pytest.param(False, False, Level.PROBLEM, id="needed"),
    ],
)
def test_one_source_of_load_has_to_be_there(*, present: bool, prometheus: bool | None, level: Level) -> None:
    assert only(sources.check_metrics_server(present=present, prometheus_usable=prometheus)).level is level


@pytest.mark.parametrize(
    ("facts", "levels"),
    [
        pytest.param(None, [Level.WARNING], id="not named"),
        pytest.param(PrometheusFacts("http://p"), [Level.OK], id="fine"),
        pytest.param(PrometheusFacts("http://p", error="refused"), [Level.PROBLEM], id="away"),
        pytest.param(PrometheusFacts("http://p", troubles=("no owners",)), [Level.OK, Level.WARNING], id="lesser"),
        pytest.param(
            PrometheusFacts("http://p", has_cpu=False, troubles=("no CPU",)), [Level.OK, Level.PROBLEM], id="blind"
        ),
    ],
)
def test_prometheus_is_a_problem_only_where_nothing_is_seen(facts: PrometheusFacts | None, levels: list[Level]) -> None:
    assert [finding.level for finding in sources.check_prometheus(facts)] == levels


@pytest.mark.parametrize(
    ("facts", "level", "told"),
    [
        pytest.param(None, Level.WARNING, "not looked at", id="not named"),
        pytest.param(ForecasterFacts("http://f"), Level.OK, "as the contract says", id="fine"),
        pytest.param(
            ForecasterFacts("http://f", ForecastFailure.UNREACHABLE, "refused"), Level.PROBLEM, "refused", id="away"
        ),
        pytest.param(
            ForecasterFacts("http://f", ForecastFailure.MALFORMED, "load is FP64"),
            Level.PROBLEM,
            "another model",
            id="other contract",
        ),
    ],
)
def test_the_forecaster_has_to_keep_the_contract(facts: ForecasterFacts | None, level: Level, told: str) -> None:
    finding = only(sources.check_forecaster(facts, model="forecaster"))
    assert finding.level is level
    assert told in finding.message


@pytest.mark.parametrize("reason", list(RefusalReason))
def test_every_refused_workload_is_a_problem_with_a_command_to_begin_with(reason: RefusalReason) -> None:
    fine, refused = OptedIn(ObjectRef("apps/v1", "Deployment", "shop", "fine")), OptedIn(WEB, reason, "because of it")
    finding = only(workloads.check_opted_in([fine, refused]))
    assert (finding.level, finding.check) == (Level.PROBLEM, "workloads: Deployment shop/web")
    assert "because of it" in finding.message
    assert "shop" in finding.mend


def test_opted_in_workloads_that_are_fine_are_counted() -> None:
    assert only(workloads.check_opted_in([OptedIn(WEB)])).message == "1 opted in, none refused"
    assert "ai-hpa shadow" in only(workloads.check_opted_in([])).message


def hpa(name: str = "web", *, target: int = 80, metric: str = "cpu", scales: str = "web") -> Json:
    resource = {"name": metric, "target": {"type": "Utilization", "averageUtilization": target}}
    return {
        "metadata": {"namespace": "shop", "name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": scales},
            "maxReplicas": 9,
            "metrics": [{"type": "Resource", "resource": resource}],
        },
    }


@pytest.mark.parametrize(
    ("target", "level"),
    [pytest.param(90, Level.OK, id="at the edge"), pytest.param(91, Level.WARNING, id="above")],
)
def test_an_hpa_that_acts_on_full_pods_is_unwise(target: int, level: Level) -> None:
    assert only(workloads.check_hpa_targets([hpa_object(hpa(target=target))])).level is level


@pytest.mark.parametrize(
    ("resources", "metric", "level"),
    [
        pytest.param({"requests": {"cpu": "1"}}, "cpu", Level.OK, id="requested"),
        pytest.param({"limits": {"cpu": "1"}}, "cpu", Level.OK, id="defaulted from the limit"),
        pytest.param({"requests": {"cpu": "1"}}, "memory", Level.PROBLEM, id="another resource"),
        pytest.param({}, "cpu", Level.PROBLEM, id="none"),
    ],
)
def test_a_share_of_a_request_needs_a_request(resources: Json, metric: str, level: Level) -> None:
    pod = {"containers": [{"name": "app", "resources": resources}]}
    item = {"metadata": {"namespace": "shop", "name": "web"}, "spec": {"template": {"spec": pod}}}
    pair = (hpa_object(hpa(metric=metric)), scalable_object("Deployment", item))
    finding = only(workloads.check_requests([pair]))
    assert finding.level is level
    if level is Level.PROBLEM:
        assert finding.mend.startswith("kubectl set resources deployment web --namespace shop --requests=")


def keda(name: str, scales: str = "web") -> Json:
    return {"metadata": {"namespace": "shop", "name": name}, "spec": {"scaleTargetRef": {"name": scales}}}


@pytest.mark.parametrize(
    ("hpas", "scaled", "named", "owners"),
    [
        pytest.param([hpa("a")], [], [], None, id="one HPA"),
        pytest.param([hpa("a"), hpa("b")], [], [], "HPA a and HPA b", id="two HPAs"),
        pytest.param([hpa("a"), hpa("b", scales="api")], [], [], None, id="of two workloads"),
        pytest.param([hpa("keda-hpa-so")], [keda("so")], [], None, id="the HPA that KEDA made"),
        pytest.param([hpa("a")], [keda("so")], [], "HPA a and ScaledObject so", id="HPA and KEDA"),
        pytest.param([], [], [("p", WEB), ("q", WEB)], "PredictiveScaler p and PredictiveScaler q", id="two of ours"),
        pytest.param([hpa("a")], [], [("p", WEB)], None, id="ours above an HPA is how it works"),
    ],
)
def test_two_owners_of_one_workload_are_named(
    hpas: list[Json], scaled: list[Json], named: list[tuple[str, ObjectRef]], owners: str | None
) -> None:
    finding = only(workloads.check_owners(map(hpa_object, hpas), list(map(scaled_object, scaled)), named))
    assert finding.level is (Level.OK if owners is None else Level.PROBLEM)
    assert owners is None or owners in finding.message


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """A cluster with KServe and Knative on which all is well, but for what is not named on the command line."""
    made = FakeCluster()
    made.paths["/version"] = {"gitVersion": "v1.34.4"}
    groups = sorted({p.resource.group for p in PERMISSIONS} - {"", "metrics.k8s.io", "keda.sh"})
    made.paths["/apis"] = {"groups": [{"name": name} for name in groups]}
    made.store.put(
        reader.CRDS, yaml.safe_load((ROOT / "deploy/crd/predictivescalers.yaml").read_text(encoding="utf-8"))
    )
    for namespace, name, data in (
        ("kserve", KSERVE_MAP, {"deploy": '{"defaultDeploymentMode": "Standard"}'}),
        ("knative-serving", AUTOSCALER_MAP, {}),
        ("knative-serving", OBSERVABILITY_MAP, {}),
    ):
        made.store.put(CONFIG_MAPS, {"metadata": {"namespace": namespace, "name": name}, "data": data})
    labels = {"app.kubernetes.io/version": "1.21.0"}
    made.store.put(
        DEPLOYMENTS,
        {"metadata": {"namespace": "knative-serving", "name": "controller", "labels": labels}, "spec": {}},
    )
    nothing = WorkloadFacts((), (), (), (), ())
    monkeypatch.setattr(reader, "read_workloads", lambda *_: (nothing, ()))
    for name in ("AI_HPA_PROMETHEUS_URL", "AI_HPA_FORECASTER_URL", "AI_HPA_NAMESPACES"):
        monkeypatch.delenv(name, raising=False)
    return made


def scaler_deployment(ready: int = 2) -> Json:
    labels = {"app.kubernetes.io/name": "ai-hpa", "app.kubernetes.io/component": "scaler"}
    return {
        "metadata": {"namespace": "ai-hpa-system", "name": "ai-hpa-scaler", "labels": labels},
        "spec": {"template": {"spec": {"serviceAccountName": "robot"}}},
        "status": {"readyReplicas": ready},
    }


def invoke(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    return run(check_command, cluster, monkeypatch, *arguments)


def found(ran: Result) -> dict[str, Json]:
    return {finding["check"]: finding for finding in json.loads(ran.stdout)}


def test_warnings_alone_end_with_0_and_the_table_prints_each_command_once(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = invoke(cluster, monkeypatch)
    assert ran.exit_code == 0, ran.output
    assert "0 problem" in ran.stdout
    assert ran.stdout.count("  kubectl apply --server-side -k deploy/kustomize") == 1
    assert "1.21, floors are set on Revisions" in ran.stdout
    assert "mode Standard" in ran.stdout


def test_a_problem_ends_with_1(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.store.put(DEPLOYMENTS, scaler_deployment(ready=0))
    ran = invoke(cluster, monkeypatch, "-o", "json")
    assert ran.exit_code == 1
    assert found(ran)["scaler"]["level"] == "problem"


def test_the_permissions_are_those_of_the_scalers_account(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.store.put(DEPLOYMENTS, scaler_deployment())
    asked = []

    def review(spec: Json) -> bool:
        asked.append(spec)
        return bool(spec["resourceAttributes"]["resource"] != "revisions")

    cluster.reviews = review
    findings = found(invoke(cluster, monkeypatch, "-o", "json"))
    missing = findings["permissions: revisions.serving.knative.dev"]
    assert missing["level"] == "problem"
    assert "system:serviceaccount:ai-hpa-system:robot may not get, list, patch, watch" in missing["message"]
    assert {spec["user"] for spec in asked} == {"system:serviceaccount:ai-hpa-system:robot"}
    leases = [s["resourceAttributes"] for s in asked if s["resourceAttributes"]["resource"] == "leases"]
    assert {attributes["namespace"] for attributes in leases} == {"ai-hpa-system"}


@pytest.mark.parametrize("denied", ["shop", "other"])
def test_a_permission_is_missing_where_one_namespace_of_several_lacks_it(
    denied: str, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AI_HPA_NAMESPACES", "shop,other")
    cluster.reviews = lambda spec: spec["resourceAttributes"]["namespace"] != denied
    assert found(invoke(cluster, monkeypatch, "-o", "json"))["permissions"]["level"] == "warning"


def test_permissions_on_kinds_that_the_cluster_lacks_are_not_asked_for(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.reviews = lambda spec: spec["resourceAttributes"]["group"] != "keda.sh"
    assert found(invoke(cluster, monkeypatch, "-o", "json"))["permissions"]["level"] == "ok"


def test_a_scaler_that_may_only_be_looked_for_in_one_namespace_is_found_there(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = scaler_deployment()
    mine["metadata"]["namespace"] = "shop"
    cluster.store.put(DEPLOYMENTS, mine)
    everything = cluster.list

    def refuse(resource: Any, namespace: str | None = None, **options: Any) -> Any:
        if namespace is None:
            raise Forbidden("not cluster-wide", status=403)
        return everything(resource, namespace, **options)

    monkeypatch.setattr(cluster, "list", refuse)
    assert "shop/ai-hpa-scaler" in found(invoke(cluster, monkeypatch, "-n", "shop", "-o", "json"))["scaler"]["message"]
    assert found(invoke(cluster, monkeypatch, "-o", "json"))["scaler"]["level"] == "warning"


def test_without_the_right_to_ask_for_others_your_own_permissions_are_told(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.store.put(DEPLOYMENTS, scaler_deployment())
    create = cluster.create

    def refuse(resource: Any, namespace: str | None, body: Json) -> Json:
        if resource.kind == "SubjectAccessReview":
            raise Forbidden("not yours to ask", status=403)
        return create(resource, namespace, body)

    monkeypatch.setattr(cluster, "create", refuse)
    assert "you may do all" in found(invoke(cluster, monkeypatch, "-o", "json"))["permissions"]["message"]


def test_what_may_not_be_read_is_a_warning_and_stops_no_other_check(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = cluster.get

    def refuse(resource: Any, namespace: str | None, name: str, subresource: str = "") -> Json:
        if name == KSERVE_MAP:
            raise Forbidden("secret", status=403)
        return get(resource, namespace, name, subresource)

    monkeypatch.setattr(cluster, "get", refuse)
    findings = found(invoke(cluster, monkeypatch, "-o", "json"))
    assert findings["KServe"]["level"] == "warning"
    assert "secret" in findings["KServe"]["message"]
    assert findings["Knative"]["level"] == "ok"


def test_a_cluster_that_does_not_answer_ends_with_3(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.error = Unreachable("GET /version: refused")
    assert invoke(cluster, monkeypatch).exit_code == 3


@pytest.mark.parametrize(
    "arguments",
    [("--prometheus-url", "ftp://x"), ("--forecaster-url", "nonsense")],
    ids=["prometheus", "forecaster"],
)
def test_a_url_that_is_none_is_bad_input(
    arguments: tuple[str, str], cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = invoke(cluster, monkeypatch, *arguments)
    assert ran.exit_code == 2
    assert arguments[1] in ran.stderr


def test_only_the_namespace_that_is_named_is_looked_at(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def look(*arguments: Any) -> tuple[WorkloadFacts, tuple[str, ...]]:
        seen.append(arguments[1])
        return WorkloadFacts((), (), (), (), ()), ("pods were not listed",)

    monkeypatch.setattr(reader, "read_workloads", look)
    ran = invoke(cluster, monkeypatch, "-n", "shop", "-o", "json")
    assert seen == [("shop",)]
    assert "pods were not listed" in found(ran)["workloads"]["message"]
    assert "owners" not in found(ran)  # nobody can say that all is well with what was not seen


def role_rules() -> set[tuple[str, str, str]]:
    """Group, resource and verb of every rule that is installed."""
    rules: list[Json] = []
    for name in ("cluster_role", "lease_role"):
        text = (ROOT / f"deploy/kustomize/base/{name}.yaml").read_text(encoding="utf-8")
        rules += [rule for document in yaml.safe_load_all(text) for rule in document.get("rules") or ()]
    return {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_installed_roles_are_what_the_check_asks_for_in_both_directions() -> None:
    asked = {
        (p.resource.group, "/".join(filter(None, (p.resource.plural, p.subresource))), p.verb) for p in PERMISSIONS
    }
    assert asked == role_rules()
