"""In what a workload is measured and how much of it one pod carries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scaler.targets.discovery import Discovery, DiscoveryConfig
from scaler.targets.view import ClusterFacts
from scaler.targets.workload import RefusalReason, Workload
from tests.unit.targets.cluster import (
    TableView,
    external_metric,
    hpa,
    keda,
    ours,
    revision,
    scalable,
    service,
    serving,
)
from tests.unit.targets.test_discovery import T0

QUIET = ClusterFacts((1, 21), "Knative", concurrency_target=80.0)
REPORTING = replace(QUIET, request_metrics=True)
PREFIX = "autoscaling.knative.dev/"


def measured(*items: dict[str, Any], facts: ClusterFacts = REPORTING, presets: tuple[str, ...] = ()) -> Workload:
    discovery = Discovery(TableView(facts).put(*items), config=DiscoveryConfig(presets=frozenset(presets)))
    found = discovery.discover(T0)
    assert found.refusals == ()
    (workload,) = found.workloads.values()
    return workload


def refused(*items: dict[str, Any], facts: ClusterFacts = REPORTING) -> tuple[RefusalReason, str]:
    found = Discovery(TableView(facts).put(*items)).discover(T0)
    assert found.workloads == {}
    (refusal,) = found.refusals
    return refusal.reason, refusal.message


def knative(
    *, concurrency: int = 0, annotations: dict[str, str] | None = None, **settings: str
) -> list[dict[str, Any]]:
    said = ours(max_replicas="5", **settings)
    made = revision("llm-1", concurrency=concurrency, annotations=annotations)
    return [service(annotations=said, status={"predictor": serving("llm-1")}), made]


@pytest.mark.parametrize(
    ("resources", "capacity", "source"),
    [
        pytest.param(
            {"requests": {"cpu": "250m"}, "limits": {"cpu": "500m"}}, 0.45, "90 % of the CPU limit (500m)", id="limit"
        ),
        pytest.param({"requests": {"cpu": "250m"}}, 0.225, "90 % of the CPU request (250m)", id="request"),
    ],
)
def test_cpu_is_nine_tenths_of_the_limit_else_of_the_request(
    resources: dict[str, Any], capacity: float, source: str
) -> None:
    found = measured(scalable(annotations=ours(mode="on"), resources=resources))
    assert found.target.capacity == pytest.approx(capacity)
    assert (found.metric, found.capacity_source) == ("cpu", source)


def test_memory_likewise() -> None:
    found = measured(scalable(annotations=ours(metric="memory")))
    assert found.target.capacity == pytest.approx(0.9 * 2 * 2**30)
    assert found.capacity_source == "90 % of the memory limit (2048Mi)"


@pytest.mark.parametrize(
    ("settings", "capacity"),
    [
        pytest.param({"target": "350m"}, 0.35, id="amount"),
        pytest.param({"target": "2"}, 2.0, id="plain-cores"),
        pytest.param({"target": "70%"}, 0.175, id="of-the-request"),
        pytest.param({"target": "70% of limit"}, 0.35, id="of-the-limit"),
        pytest.param({"target": "512Mi", "metric": "memory"}, 2.0**29, id="memory"),
    ],
)
def test_a_target_overrides(settings: dict[str, str], capacity: float) -> None:
    found = measured(scalable(annotations=ours(**settings)))
    assert found.target.capacity == pytest.approx(capacity)
    assert settings["target"] in found.capacity_source


def test_amounts_that_a_limit_range_gave_the_pods_count_where_the_template_is_silent() -> None:
    pod = {
        "kind": "Pod",
        "metadata": {
            "namespace": "shop",
            "name": "web-1-a",
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-1", "controller": True}],
        },
        "spec": {"containers": [{"resources": {"requests": {"cpu": "1"}}}]},
    }
    found = measured(scalable(annotations=ours(mode="on"), resources={}), pod)
    assert found.target.capacity == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({}, "ai-hpa.dev/target, to 500m say", id="nothing"),
        pytest.param({"metric": "memory"}, "ai-hpa.dev/target, to 1Gi say", id="memory"),
        pytest.param({"target": "70%"}, "set resources.requests.cpu on each", id="share-of-no-request"),
        pytest.param({"target": "70% of limit"}, "set resources.limits.cpu on each", id="share-of-no-limit"),
    ],
)
def test_without_any_basis_it_says_what_to_set(settings: dict[str, str], words: str) -> None:
    reason, message = refused(scalable(annotations=ours(mode="on", **settings), resources={}))
    assert reason is RefusalReason.NO_CAPACITY
    assert words in message


def test_a_request_of_0_is_no_basis() -> None:
    reason, _ = refused(scalable(annotations=ours(mode="on"), resources={"requests": {"cpu": "0"}}))
    assert reason is RefusalReason.NO_CAPACITY


class TestKnative:
    @pytest.mark.parametrize(
        ("concurrency", "annotations", "metric", "capacity"),
        [
            pytest.param(10, {f"{PREFIX}target": "5"}, "concurrency", 10.0, id="hard-limit-before-soft-target"),
            pytest.param(0, {f"{PREFIX}target": "5"}, "concurrency", 5.0, id="soft-target"),
            pytest.param(0, {}, "concurrency", 80.0, id="the-clusters-soft-target"),
            pytest.param(0, {f"{PREFIX}target": "nonsense"}, "concurrency", 80.0, id="a-target-that-is-none"),
            pytest.param(10, {f"{PREFIX}metric": "rps", f"{PREFIX}target": "50"}, "rps", 50.0, id="rps"),
            pytest.param(10, {f"{PREFIX}metric": "rps"}, "rps", 200.0, id="knatives-default-for-rps"),
            pytest.param(0, {f"{PREFIX}class": f"hpa.{PREFIX}"[:-1]}, "cpu", 0.45, id="hpa-class"),
        ],
    )
    def test_what_its_autoscaler_acts_on_is_measured(
        self, concurrency: int, annotations: dict[str, str], metric: str, capacity: float
    ) -> None:
        found = measured(*knative(concurrency=concurrency, annotations=annotations))
        assert found.metric == metric
        assert found.target.capacity == pytest.approx(capacity)

    def test_without_request_metrics_cpu_is_taken_and_said(self) -> None:
        found = measured(*knative(concurrency=10), facts=QUIET)
        assert found.metric == "cpu"
        assert found.target.capacity == pytest.approx(0.45)
        assert any("acts on concurrency, which is not collected: Knative exports" in note for note in found.notes)

    def test_asked_for_without_request_metrics_it_is_refused_with_what_to_set(self) -> None:
        reason, message = refused(*knative(metric="rps"), facts=QUIET)
        assert reason is RefusalReason.NOT_SUPPORTED
        assert "request-metrics-protocol" in message

    def test_another_metric_than_its_autoscalers_needs_a_target(self) -> None:
        reason, message = refused(*knative(metric="rps"))
        assert reason is RefusalReason.NO_CAPACITY
        assert "set ai-hpa.dev/target to a plain number" in message
        assert measured(*knative(metric="rps", target="30")).target.capacity == 30.0

    @pytest.mark.parametrize("target", ["350m", "70%"])
    def test_requests_are_counted_in_plain_numbers(self, target: str) -> None:
        reason, message = refused(*knative(metric="concurrency", target=target))
        assert reason is RefusalReason.INVALID_SETTING
        assert "a plain number such as 10" in message


class TestMetric:
    @pytest.mark.parametrize(
        ("autoscaler", "metric", "noted"),
        [
            pytest.param(hpa(), "cpu", None, id="hpa-on-cpu"),
            pytest.param(
                hpa(metric={"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization",
                "averageUtilization": 70}}}), "memory", None, id="hpa-on-memory",
            ),
            pytest.param(hpa(metric=external_metric()), "cpu", "acts on External metric queue", id="hpa-on-a-queue"),
            pytest.param(keda(triggers=["kafka", "memory"]), "memory", None, id="keda-on-memory"),
            pytest.param(keda(triggers=["kafka"]), "cpu", "acts on KEDA trigger kafka", id="keda-on-a-queue"),
        ],
    )  # fmt: skip
    def test_what_the_autoscaler_acts_on_is_taken_where_it_can_be_collected(
        self, autoscaler: dict[str, Any], metric: str, noted: str | None
    ) -> None:
        found = measured(scalable(annotations=ours(mode="on")), autoscaler)
        assert found.metric == metric
        assert [noted in note for note in found.notes] == [True] if noted else found.notes == ()

    def test_a_preset_of_the_clusters_is_accepted_with_a_target(self) -> None:
        found = measured(scalable(annotations=ours(metric="tokens", target="400")), presets=("tokens",))
        assert (found.metric, found.target.capacity) == ("tokens", 400.0)

    def test_a_metric_that_nobody_knows_is_refused_with_the_one_that_may_be_meant(self) -> None:
        reason, message = refused(scalable(annotations=ours(metric="cpuu")))
        assert reason is RefusalReason.INVALID_SETTING
        assert "did you mean cpu?" in message

    def test_requests_of_what_is_no_knative_service_are_refused(self) -> None:
        reason, message = refused(scalable(annotations=ours(metric="concurrency", target="3")))
        assert reason is RefusalReason.INVALID_SETTING
        assert "accepted here is cpu, memory" in message
