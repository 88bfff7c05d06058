"""The names of pods belong to one workload each, and the queries say what they are meant to."""

from __future__ import annotations

import re
import string
from datetime import timedelta

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from scaler.adapters import promql
from scaler.adapters.promql import Preset, SeriesName, series_names
from scaler.domain import MetricsUnavailable
from scaler.targets.workload import Metric, PodGroup

MINUTE = timedelta(seconds=60)
ALPHANUMS = "bcdfghjklmnpqrstvwxz2456789"

suffixes = st.text(ALPHANUMS, min_size=5, max_size=5)
parts = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
names = st.lists(parts, min_size=1, max_size=4).map("-".join).filter(lambda name: name[0].isalpha())
# k8s.io/apimachinery rand.SafeEncodeString of the decimal digits of a uint32.
hashes = st.integers(0, 2**32 - 1).map(lambda n: "".join(ALPHANUMS[ord(d) % len(ALPHANUMS)] for d in str(n)))


def stem_of(pod: str) -> str:
    """What the two label_replace of the query make of a name; Prometheus anchors its patterns."""
    for pattern, mark in ((promql.GENERATED, ""), (promql.ORDINAL, "#")):
        match = re.fullmatch(pattern, pod)
        if match:
            return match[1] + mark
    return ""


def generated(prefix: str, suffix: str) -> str:
    """Name a pod as the API server does from `generateName`."""
    return prefix[: promql.CUT] + suffix


def read(pod: str, namespace: str = "shop") -> tuple[SeriesName, ...]:
    return series_names({"namespace": namespace, "stem": stem_of(pod)})


def deployment(name: str) -> SeriesName:
    return SeriesName("shop", "Deployment", name)


@given(name=names, pod_hash=hashes, suffix=suffixes)
@example(name="api", pod_hash="5d8f7b9c6d", suffix="24567")
def test_a_pod_of_a_deployment_is_read_as_its_own_and_no_other(name: str, pod_hash: str, suffix: str) -> None:
    read_as = read(generated(f"{name}-{pod_hash}-", suffix))

    assert [series for series in read_as if series.kind == "Deployment"] == [deployment(name)]
    assert all(series.kind in {"Deployment", "Revision"} for series in read_as)


@given(name=names, ordinal=st.integers(0, 9999))
def test_a_pod_of_a_stateful_set_is_read_as_its_own_and_no_other(name: str, ordinal: int) -> None:
    assert read(f"{name}-{ordinal}") == (SeriesName("shop", "StatefulSet", name),)


@given(
    name=names.filter(lambda name: len(name) <= 46), revision=st.integers(1, 99999), pod_hash=hashes, suffix=suffixes
)
def test_a_pod_of_a_revision_counts_for_its_configuration(name: str, revision: int, pod_hash: str, suffix: str) -> None:
    pod = generated(f"{name}-{revision:05}-deployment-{pod_hash}-", suffix)

    assert SeriesName("shop", "Revision", name) in read(pod)


@given(first=names, second=names, hashes_=st.tuples(hashes, hashes), suffix=suffixes, ordinal=st.integers(0, 9999))
@example(first="api", second="api-v2", hashes_=("5d8f7b9c6d", "6c4fd5b"), suffix="b5d7c", ordinal=0)
@example(first="api", second="api-5d8f7b9c6d", hashes_=("5d8f7b9c6d", "6c4fd5b"), suffix="b5d7c", ordinal=0)
def test_two_workloads_never_share_a_pod(
    first: str, second: str, hashes_: tuple[str, str], suffix: str, ordinal: int
) -> None:
    assume(first != second)
    pods = [
        f"{first}-{hashes_[0]}-{suffix}",
        f"{second}-{hashes_[1]}-{suffix}",
        f"{first}-{ordinal}",
        f"{second}-{ordinal}",
        f"{first}-00001-deployment-{hashes_[0]}-{suffix}",
        f"{second}-00001-deployment-{hashes_[1]}-{suffix}",
    ]
    assume(all(len(pod) <= promql.CUT for pod in pods))

    read_as = [set(read(pod)) for pod in pods]

    assert all(not left & right for at, left in enumerate(read_as) for right in read_as[at + 1 :])


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        pytest.param("a" * 47 + "-5d8f7b9c6d-", (deployment("a" * 47),), id="only the last hyphen is cut"),
        pytest.param("a" * 52 + "-5d8f7b9c6d-", (deployment("a" * 52),), id="half of the hash is cut"),
        pytest.param("a" * 57 + "-5d8f7b9c6d-", (deployment("a" * 57),), id="all of the hash is cut"),
        pytest.param("a" * 58 + "-5d8f7b9c6d-", (), id="part of the name is cut: it belongs to nobody"),
        pytest.param(
            "my-sentiment-classifier-predictor-00001-deployment-5d8f7b9c6d-",
            (
                deployment("my-sentiment-classifier-predictor-00001-deployment"),
                SeriesName("shop", "Revision", "my-sentiment-classifier-predictor"),
            ),
            id="a revision whose hash is cut",
        ),
        pytest.param(
            "a" * 45 + "-00001-deployment-5d8f7b9c6d-",
            (SeriesName("shop", "Revision", "a" * 45),),
            id="a revision cut within -deployment",
        ),
    ],
)
def test_a_name_too_long_is_read_as_far_as_it_goes(prefix: str, expected: tuple[SeriesName, ...]) -> None:
    assert read(generated(prefix, "b5d7c")) == expected


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param("api-b5d7c", id="DaemonSet or bare ReplicaSet"),
        pytest.param("api-29612345-b5d7c", id="CronJob"),
        pytest.param("api-v2-b5d7c", id="a bare ReplicaSet with a hyphen"),
        pytest.param("api", id="bare pod"),
    ],
)
def test_pods_of_other_kinds_belong_to_nobody(pod: str) -> None:
    assert read(pod) == ()


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        pytest.param("ReplicaSet", "a" * 60 + "-5d8f7b9c6d", (deployment("a" * 60),), id="a name of any length"),
        pytest.param("StatefulSet", "api", (SeriesName("shop", "StatefulSet", "api"),), id="StatefulSet"),
        pytest.param("DaemonSet", "api", (), id="DaemonSet"),
        pytest.param("ReplicaSet", "api", (), id="a ReplicaSet without a hash"),
        pytest.param("Job", "api-5d8f7b9c6d", (), id="Job"),
    ],
)
def test_an_owner_is_believed_before_a_name(kind: str, name: str, expected: tuple[SeriesName, ...]) -> None:
    labels = {"namespace": "shop", "owner_kind": kind, "owner_name": name, "stem": "other-5d8f7b9c6d-"}

    assert series_names(labels) == expected


def test_the_same_name_in_another_namespace_is_another_workload() -> None:
    assert set(read("api-5d8f7b9c6d-b5d7c", "shop")).isdisjoint(read("api-5d8f7b9c6d-b5d7c", "bank"))


def test_a_group_is_named_as_its_pods_are() -> None:
    group = PodGroup("shop", {}, ("Deployment/api",), "Deployment", "api")

    assert promql.series_of(group) in read("api-5d8f7b9c6d-b5d7c")


@pytest.mark.parametrize("metric", [*Metric, "queue"])
def test_every_text_is_complete(metric: str) -> None:
    presets = {"queue": Preset("queue", "sum by (namespace, pod) (rate(jobs_total[$window]))")}
    signal = promql.signal_of(metric, presets)
    scope = promql.scope_of({"shop"}, {"api.v2"})
    texts = [
        promql.newest_values(signal, MINUTE, scope),
        promql.history(signal, MINUTE, scope=scope, owners=True),
        promql.throttled(MINUTE, scope),
        promql.held_requests(scope),
    ]
    if signal.seen is not None:
        texts += [promql.newest_times(signal.seen, scope), promql.scrape_count(signal.seen, MINUTE)]

    assert all("$window" not in text and "$scope" not in text for text in texts)
    assert all(text.count("(") == text.count(")") and text.count("{") == text.count("}") for text in texts)


def test_a_scope_of_too_many_is_none() -> None:
    many = {f"n{number}" for number in range(promql.MAX_NAMESPACES + 1)}

    assert promql.scope_of(many) == ""
    assert promql.scope_of({"shop", "bank"}, many) == ',namespace=~"bank|shop"'
    assert promql.scope_of({"shop"}, {"api.v2"}) == ',namespace=~"shop",pod=~"(?:api[.]v2-).*"'


def test_an_unknown_metric_is_refused_with_what_there_is() -> None:
    with pytest.raises(MetricsUnavailable, match=r"'gpu' is not known; accepted are cpu, memory, .*, queue"):
        promql.signal_of("gpu", {"queue": Preset("queue", "up")})


@pytest.mark.parametrize(
    ("name", "query"),
    [
        pytest.param("cpu", "up", id="a built-in metric"),
        pytest.param("Queue Length", "up", id="no name"),
        pytest.param("queue", "  ", id="no query"),
    ],
)
def test_a_preset_that_nobody_could_use_is_refused(name: str, query: str) -> None:
    with pytest.raises(ValueError, match="preset"):
        Preset(name, query)
