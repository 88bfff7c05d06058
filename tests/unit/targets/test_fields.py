"""Reading one floor field: its number, and who owns it."""

from __future__ import annotations

from typing import Any

import pytest

from scaler.kube.resources import REVISIONS
from scaler.targets.fields import is_newer, read_field
from tests.unit.targets.fake_api import FakeApi
from tests.unit.targets.fake_workloads import MIN_SCALE, NAMESPACE, revision_field


def revision(annotations: dict[str, Any], managed: Any) -> FakeApi:
    """An API server with one Revision in it, its managed fields as given."""
    api = FakeApi()
    body = {"metadata": {"name": "web-1", "namespace": NAMESPACE, "annotations": annotations}, "spec": {}}
    api.put(REVISIONS, body)
    api._objects["Revision", NAMESPACE, "web-1"]["metadata"]["managedFields"] = managed
    return api


OURS: dict[str, Any] = {"f:metadata": {"f:annotations": {f"f:{MIN_SCALE[-1]}": {}}}}


@pytest.mark.parametrize(
    ("managed", "ours"),
    [
        pytest.param([{"manager": "ai-hpa", "fieldsV1": OURS}], True, id="the very field"),
        pytest.param([{"manager": "ai-hpa", "fieldsV1": {"f:metadata": {"f:annotations": {}}}}], True, id="all of it"),
        pytest.param([{"manager": "ai-hpa", "fieldsV1": {"f:metadata": {"f:labels": {}}}}], False, id="another field"),
        pytest.param([{"manager": "kubectl", "fieldsV1": OURS}], False, id="somebody else's"),
        pytest.param([{"manager": "ai-hpa", "fieldsV1": {}}], False, id="nothing"),
        pytest.param([{"manager": "ai-hpa"}], False, id="nothing said"),
        pytest.param([{"manager": "ai-hpa", "fieldsV1": {"f:metadata": "x"}}], False, id="no map"),
        pytest.param([], False, id="nobody"),
        pytest.param(None, False, id="not shown"),
    ],
)
def test_the_owner_of_a_field(managed: Any, ours: bool) -> None:
    api = revision({MIN_SCALE[-1]: "3"}, managed)
    state = read_field(api, api.look(revision_field("web-1")))
    assert state.is_ours is ours
    assert state.value == 3


def test_who_changed_an_object_last_is_neither_us_nor_a_status() -> None:
    managed = [
        {"manager": "argocd", "time": "2026-01-05T12:00:01Z"},
        {"manager": "kubectl", "time": "2026-01-05T12:00:00Z"},
        {"manager": "controller", "time": "2026-01-05T12:00:05Z", "subresource": "status"},
        {"manager": "ai-hpa", "time": "2026-01-05T12:00:06Z"},
        {"manager": "scaled", "subresource": "scale"},  # the API server gives these no time
    ]
    api = revision({}, managed)
    assert read_field(api, api.look(revision_field("web-1"))).last_manager == "argocd"


@pytest.mark.parametrize(
    ("text", "number"),
    [("3", 3), ("0", 0), ("", None), ("many", None), ("inf", None), ("nan", None), (True, None), ([1], None)],
)
def test_an_annotation_that_is_no_number_is_unset(text: Any, number: int | None) -> None:
    api = revision({MIN_SCALE[-1]: "1"}, [])
    seen = api.look(revision_field("web-1"))
    api._objects["Revision", NAMESPACE, "web-1"]["metadata"]["annotations"][MIN_SCALE[-1]] = text
    assert read_field(api, seen).value == number


@pytest.mark.parametrize(
    ("version", "than", "newer"),
    [("10", "9", True), ("9", "10", False), ("9", "9", False), ("b", "a", True), ("a", "a", False)],
)
def test_resource_versions_are_compared_as_numbers_where_they_are_some(version: str, than: str, newer: bool) -> None:
    assert is_newer(version, than) is newer
