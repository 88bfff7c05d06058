import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.backtest.policies import RIVALS, Point, Policy
from scaler.backtest.result import PolicyResult, SeriesResult, WorstHour, from_json, to_json
from scaler.backtest.verdict import Answer, Verdict
from scaler.replay.scores import Scores
from tests.unit.backtest.small import SCORES

share = st.floats(0, 1)
knob = st.none() | st.floats(0, 3)
scores = st.builds(
    Scores,
    **{f.name: share for f in fields(Scores)} | {"pod_hours": st.floats(0.1, 1e4), "scale_actions": st.floats(0, 99)},
)
points = st.builds(Point, knob, scores, knob)
results = st.builds(PolicyResult, main=points, sweep=st.lists(points, max_size=3).map(tuple))
hours = st.builds(
    WorstHour,
    start=st.text(max_size=9),
    needed=st.lists(st.none() | st.integers(0, 99), max_size=5).map(tuple),
    ready=st.dictionaries(st.sampled_from(Policy), st.lists(st.integers(0, 99), max_size=5).map(tuple), max_size=3),
)
series = st.builds(
    SeriesResult,
    name=st.text(max_size=9),
    start=st.text(max_size=9),
    days=st.floats(1, 7),
    decided_days=st.floats(0, 7),
    capacity=st.floats(0.1, 99),
    min_replicas=st.integers(1, 9),
    max_replicas=st.integers(9, 99),
    needed_pod_hours=st.floats(1, 1e4),
    policies=st.dictionaries(st.sampled_from(Policy), results, max_size=4),
    verdict=st.builds(
        Verdict,
        st.sampled_from(Answer),
        st.text(max_size=9),
        st.none() | st.floats(0.4, 0.95),
        st.none() | st.booleans(),
    ),
    worst_hours=st.dictionaries(st.sampled_from(Policy), hours, max_size=2),
    notes=st.lists(st.text(max_size=9), max_size=2).map(tuple),
)


@settings(max_examples=50)
@given(found=st.lists(series, max_size=2), told=st.dictionaries(st.text(max_size=5), st.integers(), max_size=2))
def test_what_is_written_is_read_again(found: list[SeriesResult], told: dict[str, int]) -> None:
    assert from_json(json.loads(json.dumps(to_json(found, told)))) == (found, told)


def scored(pod_hours: float, under_time: float) -> Scores:
    return Scores(
        under_time=under_time,
        under_volume=0.01,
        over_time=0.9,
        over_volume=0.2,
        late_requests=0.03,
        dropped_requests=0.01,
        pod_hours=pod_hours,
        scale_actions=17.5,
        reversals=3,
        scored_hours=168,
    )


def swept(*spots: tuple[float, float], main: tuple[float, float] = (130.0, 0.01)) -> PolicyResult:
    """A sweep of pod-hours and time short; knobs count up from 1."""
    points = tuple(Point(float(number), scored(*spot)) for number, spot in enumerate(spots, start=1))
    return PolicyResult(Point(0.7, scored(*main)), points)


def a_week() -> SeriesResult:
    """A hundred pod-hours needed; AI-HPA at half the time short of an HPA, KPA never affordable."""
    policies = {policy: swept((110.0, 0.04), (140.0, 0.01)) for policy in Policy}
    policies[Policy.AI_HPA_TUNED] = swept((110.0, 0.02), (140.0, 0.005))
    policies[Policy.LAST_WEEK] = swept((115.0, 0.025), (140.0, 0.02))
    policies[Policy.KPA] = swept((300.0, 0.0), (400.0, 0.0))
    policies[Policy.AI_HPA] = swept((120.0, 0.01))
    policies[Policy.ORACLE] = PolicyResult(Point(None, scored(104.0, 0.0)), (Point(None, scored(104.0, 0.0)),))
    return SeriesResult(
        name="web",
        start="05 Jan 2026 00:00:00 UTC",
        days=7.0,
        decided_days=6.0,
        capacity=2.5,
        min_replicas=1,
        max_replicas=90,
        needed_pod_hours=100.0,
        policies=policies,
        verdict=Verdict(Answer.ENABLE, "It pays.", 0.85, held=True),
        worst_hours={Policy.HPA: WorstHour("then", (3, None), {Policy.HPA: (2, 2), Policy.ORACLE: (3, 3)})},
        notes=("Averaged.",),
    )


def test_the_json_has_the_shape_that_the_project_publishes() -> None:
    written = to_json([a_week()], {"seeds": [0, 1]})
    assert set(written) == {"series", "settings"}
    assert written["settings"] == {"seeds": [0, 1]}
    (one,) = written["series"]
    assert {name: one[name] for name in ("name", "verdict", "why", "recommended_hpa_target", "verdict_held")} == {
        "name": "web",
        "verdict": "enable",
        "why": "It pays.",
        "recommended_hpa_target": 0.85,
        "verdict_held": True,
    }
    assert set(one["policies"]) == {
        "hpa",
        "kpa",
        "phpa-linear",
        "phpa-holt-winters",
        "last-week",
        "fixed",
        "ai-hpa",
        "ai-hpa-tuned",
        "ai-hpa+kpa",
        "oracle",
    }
    for policy in one["policies"].values():
        assert set(policy) >= SCORES
        assert all({"knob", "under_time", "pod_hours"} <= set(point) for point in policy["sweep"])
    hpa = one["policies"]["hpa"]
    assert (hpa["knob"], hpa["pod_hours"], hpa["under_time"]) == (0.7, 130.0, 0.01)
    assert hpa["pod_hours_over_oracle"] == 1.25
    assert [point["knob"] for point in hpa["sweep"]] == [1.0, 2.0]


@pytest.mark.parametrize(
    "answer", [pytest.param(answer, id=answer) for answer in ("enable", "keep-reactive", "not-enough-history")]
)
def test_every_answer_is_written_in_its_own_word(answer: str) -> None:
    found = replace(a_week(), verdict=Verdict(Answer(answer), ""))
    assert to_json([found], {})["series"][0]["verdict"] == answer


def test_without_an_oracle_nothing_is_held_against_it() -> None:
    found = replace(a_week(), policies={Policy.HPA: swept((110.0, 0.04))})
    assert to_json([found], {})["series"][0]["policies"]["hpa"]["pod_hours_over_oracle"] is None


def test_equal_pod_hours_are_read_off_the_sweeps_of_those_that_have_a_knob() -> None:
    reached = a_week().at_equal_pod_hours()
    assert list(reached) == ["1.15", "1.25", "1.4"]
    assert set(reached["1.15"]) == {policy.value for policy in Policy} - {"oracle", "ai-hpa"}
    assert reached["1.25"]["hpa"] == pytest.approx(0.02)  # halfway from 0.04 to 0.01
    assert reached["1.4"]["kpa"] is None
    assert to_json([a_week()], {})["series"][0]["equal_pod_hours"] == reached


def test_ratios_are_against_a_rival_or_the_best_one_at_each_price() -> None:
    found = a_week()
    assert found.ratios(Policy.HPA) == pytest.approx([0.5, 0.5, 0.5])
    assert found.ratios(Policy.KPA) == [1.0, 1.0, 1.0]  # it cannot be had
    # Last week's floor reaches 0.025 at 1.15, where the HPA reaches 0.04 / 2^(1/3); after that the HPA is better.
    assert found.ratios(None) == pytest.approx([0.02 / 2 ** (1 / 3) / 0.025, 0.5, 0.5])
    nobody = dict.fromkeys(RIVALS, found.policies[Policy.KPA])
    assert replace(found, policies={**found.policies, **nobody}).ratios(None) == [1.0, 1.0, 1.0]


def test_one_tick_of_a_week_is_the_least_that_counts() -> None:
    assert a_week().least == pytest.approx(1 / (7 * 5760))
    never = replace(a_week(), policies={Policy.HPA: swept((110.0, 0.0), (120.0, 0.0))})
    assert never.at_equal_pod_hours()["1.15"]["hpa"] == never.least


READ = [name for name in to_json([a_week()], {})["series"][0] if name != "equal_pod_hours"]


def without(name: str) -> dict[str, Any]:
    written = to_json([a_week()], {})
    del written["series"][0][name]
    return written


def changed(name: str, value: object) -> dict[str, Any]:
    written = to_json([a_week()], {})
    written["series"][0][name] = value
    return written


def in_hpa(name: str, value: object) -> dict[str, Any]:
    written = to_json([a_week()], {})
    written["series"][0]["policies"]["hpa"][name] = value
    return written


@pytest.mark.parametrize(
    "other",
    [
        pytest.param([], id="a list"),
        pytest.param(None, id="nothing"),
        pytest.param("series", id="text"),
        pytest.param({}, id="empty"),
        pytest.param({"series": []}, id="no settings"),
        pytest.param({"series": None, "settings": {}}, id="no series"),
        pytest.param({"series": ["web"], "settings": {}}, id="names alone"),
        pytest.param({"series": [], "settings": 3}, id="settings of another kind"),
        pytest.param({"series": [{"name": "web", "policies": {}, "why": ""}], "settings": {}}, id="that of a replay"),
        *(pytest.param(without(name), id=f"without {name}") for name in READ),
        pytest.param(changed("verdict", "maybe"), id="an unknown answer"),
        pytest.param(changed("recommended_hpa_target", "much"), id="a target that is no number"),
        pytest.param(changed("days", None), id="no length"),
        pytest.param(changed("policies", []), id="policies without names"),
        pytest.param(changed("policies", {"vpa": {}}), id="an unknown policy"),
        pytest.param(changed("worst_hours", {"hpa": {"start": "", "needed": ["x"], "ready": {}}}), id="no number"),
        pytest.param(changed("notes", None), id="no notes"),
        pytest.param(in_hpa("under_time", None), id="a score that is missing"),
        pytest.param(in_hpa("knob", "x"), id="a knob that is no number"),
        pytest.param(in_hpa("sweep", None), id="no sweep"),
    ],
)
def test_other_json_is_refused(other: Any) -> None:
    with pytest.raises(ValueError, match="not the JSON of a backtest"):
        from_json(other)
