"""What a user says of a workload: every accepted form, every refusal, and the page that documents them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.domain import Mode
from scaler.targets.annotations import (
    SETTINGS,
    Settings,
    TargetKind,
    earlier_values,
    overrides,
    read_settings,
    to_markdown,
)
from tests.unit.targets.cluster import ours

PAGE = Path(__file__).parents[3] / "docs" / "annotations.md"


def accepted(spec: dict[str, Any] | None = None, **annotations: str) -> Settings:
    settings, problems = read_settings(ours(**annotations), spec)
    assert problems == ()
    return settings


def problem(spec: dict[str, Any] | None = None, **annotations: str) -> str:
    (text,) = read_settings(ours(**annotations), spec)[1]
    return text


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == to_markdown()


def test_nothing_said_is_nothing_known() -> None:
    assert accepted() == Settings()


@pytest.mark.parametrize("word", list(Mode))
def test_a_mode_is_read(word: Mode) -> None:
    assert accepted(mode=word.value).mode is word


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("90s", 90, id="seconds"),
        pytest.param("5m", 300, id="minutes"),
        pytest.param("1h30m", 5400, id="hours-and-minutes"),
        pytest.param("1m30s", 90, id="minutes-and-seconds"),
        pytest.param("90", 90, id="a-number-is-seconds"),
        pytest.param("2.5", 2.5, id="a-fraction"),
        pytest.param("6h", 21600, id="longest"),
    ],
)
def test_a_lead_time_is_read(text: str, seconds: float) -> None:
    assert accepted(lead_time=text).lead_time == timedelta(seconds=seconds)


def test_a_lead_time_of_auto_overrides_a_fixed_one() -> None:
    assert accepted({"leadTime": "auto"}, lead_time="5m").lead_time is None


@pytest.mark.parametrize(
    ("annotations", "ratio"),
    [
        pytest.param({"miss_budget": "1%"}, 0.01, id="percent"),
        pytest.param({"miss_budget": "0.01"}, 0.01, id="ratio"),
        pytest.param({"miss_budget": "0.01%"}, 0.0001, id="smallest"),
        pytest.param({"miss_budget": "50%"}, 0.5, id="largest"),
        pytest.param({"cost_ratio": "19:1"}, 0.05, id="cost-ratio"),
        pytest.param({"cost_ratio": "4.5:0.5"}, 0.1, id="cost-ratio-of-fractions"),
    ],
)
def test_a_miss_budget_is_read(annotations: dict[str, str], ratio: float) -> None:
    assert accepted({}, **annotations).miss_budget_ratio == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        pytest.param("350m", TargetKind.AMOUNT, 0.35, id="millicores"),
        pytest.param("2Gi", TargetKind.AMOUNT, 2 * 2**30, id="memory"),
        pytest.param("12.5", TargetKind.AMOUNT, 12.5, id="plain"),
        pytest.param("70%", TargetKind.SHARE_OF_REQUEST, 0.7, id="share-of-the-request"),
        pytest.param("70 % of request", TargetKind.SHARE_OF_REQUEST, 0.7, id="share-of-the-request-in-words"),
        pytest.param("70% of limit", TargetKind.SHARE_OF_LIMIT, 0.7, id="share-of-the-limit"),
        pytest.param("70% of the limit", TargetKind.SHARE_OF_LIMIT, 0.7, id="share-of-the-limit-in-words"),
    ],
)
def test_a_target_is_read(text: str, kind: TargetKind, value: float) -> None:
    target = accepted(target=text).target
    assert target is not None
    assert target.kind is kind
    assert target.value == pytest.approx(value)


@pytest.mark.parametrize(
    "annotations",
    [
        pytest.param({"mode": "On"}, id="mode-in-capitals"),
        pytest.param({"mode": "true"}, id="mode-as-yaml-mangles-it"),
        pytest.param({"min_replicas": "-1"}, id="negative"),
        pytest.param({"min_replicas": "2.0"}, id="not-whole"),
        pytest.param({"min_replicas": "٣"}, id="digits-of-another-script"),
        pytest.param({"min_replicas": "100001"}, id="too-many"),
        pytest.param({"max_replicas": "0"}, id="no-replicas-at-most"),
        pytest.param({"pause": "yes"}, id="not-a-boolean"),
        pytest.param({"metric": "CPU load"}, id="no-name"),
        pytest.param({"target": "0"}, id="target-of-nothing"),
        pytest.param({"target": "0%"}, id="target-of-no-share"),
        pytest.param({"target": "-5m"}, id="negative-target"),
        pytest.param({"target": "70% of node"}, id="share-of-something-else"),
        pytest.param({"target": "NaN"}, id="target-not-a-number"),
        pytest.param({"lead_time": "0s"}, id="no-time"),
        pytest.param({"lead_time": ""}, id="no-duration"),
        pytest.param({"lead_time": "5 m"}, id="blank-in-a-duration"),
        pytest.param({"lead_time": "7h"}, id="too-long"),
        pytest.param({"lead_time": "30s5m"}, id="wrong-order"),
        pytest.param({"miss_budget": "1"}, id="all-of-the-time"),
        pytest.param({"miss_budget": "0"}, id="none-of-the-time"),
        pytest.param({"miss_budget": "51%"}, id="most-of-the-time"),
        pytest.param({"miss_budget": "%"}, id="percent-of-nothing"),
        pytest.param({"cost_ratio": "1:2"}, id="a-spare-pod-dearer-than-a-miss"),
        pytest.param({"cost_ratio": "19"}, id="half-a-ratio"),
        pytest.param({"cost_ratio": "1:0"}, id="free-pods"),
        pytest.param({"cost_ratio": "a:b"}, id="ratio-of-letters"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_accepted(annotations: dict[str, str]) -> None:
    ((name, value),) = ours(**annotations).items()
    text = problem({}, **annotations)
    (setting,) = [s for s in SETTINGS if s.annotation == name]
    assert text == f"{name}: {value!r} is not accepted; accepted is {setting.accepted.replace('`', '')}"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        pytest.param("ai-hpa.dev/min-replica", "did you mean ai-hpa.dev/min-replicas?", id="close"),
        pytest.param("ai-hpa.dev/xyzzy", "there are ai-hpa.dev/mode, ai-hpa.dev/min-replicas", id="far"),
    ],
)
def test_an_unknown_annotation_is_refused_with_the_one_that_may_be_meant(name: str, hint: str) -> None:
    (text,) = read_settings({name: "1"})[1]
    assert name in text
    assert hint in text


def test_an_unknown_field_is_refused_with_the_one_that_may_be_meant() -> None:
    assert "spec.maxReplica: there is no such setting; did you mean spec.maxReplicas?" in problem({"maxReplica": 3})


def test_annotations_of_others_are_passed_over() -> None:
    assert read_settings({"autoscaling.knative.dev/min-scale": "nonsense"}) == (Settings(), ())


def test_what_the_scaler_keeps_for_itself_is_no_setting() -> None:
    assert "is the scaler's own" in problem(restore="{}")


def test_all_problems_are_listed_at_once() -> None:
    _, problems = read_settings(ours(min_replicas="x", target="y", nonsense="z"), {"leadTime": "w"})
    assert len(problems) == 4


def test_bounds_that_cross_are_refused() -> None:
    text = problem({"maxReplicas": 3}, min_replicas="4")
    assert text == "ai-hpa.dev/min-replicas: 4 is above spec.maxReplicas, 3; accepted is at most that"


def test_a_budget_said_twice_is_refused() -> None:
    assert "say the same thing twice" in problem(miss_budget="1%", cost_ratio="19:1")


def test_off_has_no_problems() -> None:
    assert accepted(mode="off", min_replicas="nonsense") == Settings(mode=Mode.OFF)


@pytest.mark.parametrize(
    ("annotations", "spec", "field", "value"),
    [
        pytest.param({"min_replicas": "2"}, {"minReplicas": 4}, "min_replicas", 4, id="a-number"),
        pytest.param({"pause": "true"}, {"paused": False}, "paused", False, id="a-boolean"),
        pytest.param({"mode": "off"}, {"mode": "on"}, "mode", Mode.ON, id="a-word"),
        pytest.param({"min_replicas": "nonsense"}, {"minReplicas": 4}, "min_replicas", 4, id="a-wrong-value"),
        pytest.param({"cost_ratio": "19:1"}, {"missBudget": "2%"}, "miss_budget_ratio", 0.02, id="the-other-name"),
        pytest.param({"miss_budget": "2%"}, {"costRatio": "19:1"}, "miss_budget_ratio", 0.05, id="and-back"),
        pytest.param({"min_replicas": "2"}, {"minReplicas": None}, "min_replicas", 2, id="null-overrides-nothing"),
    ],
)
def test_a_field_of_the_spec_overrides_its_annotation(
    annotations: dict[str, str], spec: dict[str, Any], field: str, value: object
) -> None:
    assert getattr(accepted(spec, **annotations), field) == value


def test_a_field_that_is_no_single_value_is_refused() -> None:
    assert "spec.minReplicas: [1] is not accepted" in problem({"minReplicas": [1]})


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        pytest.param({"targetRef": {"kind": "Deployment", "name": "web"}}, False, id="a-name-alone"),
        pytest.param({"targetRef": {}, "mode": None}, False, id="null"),
        pytest.param({"targetRef": {}, "paused": False}, True, id="a-false"),
    ],
)
def test_a_spec_that_only_names_its_target_overrides_nothing(spec: dict[str, Any], says: bool) -> None:
    assert overrides(spec) is says


@pytest.mark.parametrize(
    ("text", "record"),
    [
        pytest.param(None, {}, id="none"),
        pytest.param('{"Deployment/web": 3, "Revision/a": null}', {"Deployment/web": 3, "Revision/a": None}, id="both"),
        pytest.param("{", None, id="not-json"),
        pytest.param("[]", None, id="not-an-object"),
        pytest.param('{"a": "3"}', None, id="not-a-number"),
        pytest.param('{"a": true}', None, id="a-boolean"),
    ],
)
def test_the_record_of_earlier_values_is_read_or_known_to_be_unreadable(
    text: str | None, record: dict[str, int | None] | None
) -> None:
    assert earlier_values({} if text is None else ours(restore=text)) == record


@given(st.dictionaries(st.sampled_from([s.annotation for s in SETTINGS]), st.text(max_size=12)))
def test_no_text_makes_reading_fail(annotations: dict[str, str]) -> None:
    settings, _ = read_settings(annotations)
    budget = settings.miss_budget_ratio
    assert budget is None or 0 < budget < 1
    assert settings.lead_time is None or settings.lead_time > timedelta(0)
    assert settings.target is None or settings.target.value > 0
