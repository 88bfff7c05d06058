"""What stands in a PredictiveScaler: restore records, memory and conditions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scaler.calibration import SOURCES, CalibrationState, Issued, Waiting
from scaler.champion import Scores
from scaler.controller import Memory
from scaler.domain import Champion, ChampionReason, Forecast, Source, TargetKey
from scaler.history import PREDICTION_LENGTH
from scaler.kube.objects import ObjectRef
from scaler.kube.predictive_scaler import (
    CREATED_BY,
    OFFSET_KNOTS,
    RELEASED_KEPT,
    RESTORE,
    RESTORE_FIELDS,
    Condition,
    RestoreEntry,
    champion_from_json,
    champion_to_json,
    component_of,
    conditions_to_json,
    memory_from_json,
    memory_to_json,
    new_scaler,
    restore_annotations,
    restore_record,
)
from scaler.kube.resources import HPAS, REVISIONS
from scaler.policy import Trajectory

T0 = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
WEB = ObjectRef("apps/v1", "Deployment", "shop", "web")
HPA_ENTRY = RestoreEntry("HorizontalPodAutoscaler/web", 2, HPAS, "web", ("spec", "minReplicas"), "uid-1")
REVISION_ENTRY = RestoreEntry(
    "Revision/web-00001",
    None,
    REVISIONS,
    "web-00001",
    ("metadata", "annotations", "autoscaling.knative.dev/min-scale"),
    "uid-2",
    text=True,
)

amounts = st.floats(0, 1e12, allow_subnormal=False)
levels = st.floats(0.0001, 0.9999)


@st.composite
def trajectories(draw: st.DrawFn) -> Trajectory:
    peaks = sorted(draw(st.lists(amounts, min_size=1, max_size=30)))
    forecast = Forecast(
        origin=T0 + timedelta(seconds=draw(st.integers(0, 10**8))),
        step=timedelta(seconds=draw(st.sampled_from((60, 120, 300)))),
        quantile_levels=(0.5, 0.9),
        quantiles=np.ones((len(peaks), 2)),
        window_max=np.ones((len(peaks), 2)),
        source=draw(st.sampled_from(Source)),
        model_version="v1",
    )
    offsets = draw(st.lists(amounts, min_size=len(peaks), max_size=len(peaks)))
    return Trajectory(forecast, draw(levels), tuple(peaks), tuple(offsets))


@st.composite
def calibrations(draw: st.DrawFn) -> CalibrationState:
    shape = (len(SOURCES), PREDICTION_LENGTH)
    offsets = draw(arrays(np.float64, shape, elements=st.floats(-20, 20)))
    offsets[draw(st.lists(st.integers(1, len(SOURCES) - 1)))] = np.nan  # not heard of yet
    issued = Issued(T0, timedelta(seconds=60), np.ones((1, *shape)), np.ones(1))
    return CalibrationState(draw(levels), offsets, draw(amounts), Waiting((issued,), (0,), (1.0,)))


@st.composite
def scores(draw: st.DrawFn) -> Scores:
    costs, references, seconds = (
        draw(arrays(np.float64, len(SOURCES), elements=st.integers(0, 10**6))) for _ in range(3)
    )
    times = st.none() | st.integers(0, 10**8).map(lambda s: T0 + timedelta(seconds=s))
    heard = seconds > 0
    return Scores(
        np.where(heard, costs, 0.0), np.where(heard, references, 0.0), seconds, draw(times),
        draw(st.sampled_from(Source)), draw(times),
    )  # fmt: skip


memories = st.builds(
    Memory,
    durations=st.lists(st.integers(1, 80_000).map(lambda s: timedelta(seconds=s)), max_size=64).map(tuple),
    calibration=st.none() | calibrations(),
    scores=scores(),
    trajectory=st.none() | trajectories(),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def assert_close(actual: Sequence[float], desired: Sequence[float]) -> None:
    np.testing.assert_allclose(actual, desired, rtol=5e-4, atol=0.0)


@given(memories)
def test_memory_comes_back_with_four_digits(memory: Memory) -> None:
    back = memory_from_json(json.loads(json.dumps(memory_to_json(memory)))) or Memory()
    assert_close([d.total_seconds() for d in back.durations], [d.total_seconds() for d in memory.durations])
    assert (back.calibration is None) == (memory.calibration is None)
    if back.calibration is not None and memory.calibration is not None:
        at = np.array(OFFSET_KNOTS) - 1
        assert back.calibration.level == memory.calibration.level
        np.testing.assert_allclose(back.calibration.offsets[:, at], memory.calibration.offsets[:, at], rtol=5e-4)
        assert_close([back.calibration.scale], [memory.calibration.scale])
        assert back.calibration.waiting == Waiting()
        ours, theirs = back.scores, memory.scores
        np.testing.assert_allclose(ours.costs, theirs.costs, rtol=5e-4)
        np.testing.assert_allclose(ours.references, theirs.references, rtol=5e-4)
        np.testing.assert_allclose(ours.seconds, theirs.seconds)
        assert (ours.champion, ours.since, ours.scored_at) == (theirs.champion, theirs.since, theirs.scored_at)
    assert (back.trajectory is None) == (memory.trajectory is None)
    if back.trajectory is not None and memory.trajectory is not None:
        made, kept = back.trajectory, memory.trajectory
        assert made.level == kept.level
        assert (made.forecast.origin, made.forecast.step) == (kept.forecast.origin, kept.forecast.step)
        assert made.forecast.source is kept.forecast.source
        assert_close(made.peaks, kept.peaks)
        assert_close(made.offsets, kept.offsets)


@given(memories)
def test_memory_written_again_is_the_same(memory: Memory) -> None:
    once = memory_to_json(memory)
    assert memory_to_json(memory_from_json(once) or Memory()) == once


@pytest.mark.parametrize("since", [None, T0], ids=["from the start", "since a change"])
def test_a_champion_comes_back(since: datetime | None) -> None:
    champion = Champion(Source.PERSISTENCE, ChampionReason.CHEAPEST, since, {"model": 1.25, "persistence": 1.0}, 2.5)
    assert champion_from_json(json.loads(json.dumps(champion_to_json(champion)))) == champion


def test_a_restored_forecast_is_its_peaks_at_its_one_level() -> None:
    forecast = Forecast(T0, timedelta(seconds=60), (0.5, 0.9), np.ones((2, 2)), np.ones((2, 2)), Source.MODEL)
    back = memory_from_json(memory_to_json(Memory(trajectory=Trajectory(forecast, 0.99, (3.0, 4.0), (1.0, 1.0)))))
    assert back is not None
    assert back.trajectory is not None
    restored = back.trajectory.forecast
    assert restored.quantile_levels == (0.99,)
    assert restored.window_max.tolist() == [[3.0], [4.0]]
    assert restored.quantiles.tolist() == [[3.0], [4.0]]
    assert (restored.origin, restored.source) == (T0, "model")


@given(json_values)
def test_foreign_json_is_no_memory_and_no_error(value: Any) -> None:
    memory_from_json(value)
    for name in ("durationsSeconds", "calibration", "scores", "trajectory"):
        memory_from_json({name: value})
    for offsets in (value, {"model": value}, {"nobody": [0] * 6}, {str(value): [0] * 6}):
        memory_from_json({"calibration": {"level": 0.9, "scale": value, "offsets": offsets}})
    for sources in (value, {"model": value}, {"model": {"cost": value, "reference": 1, "seconds": 1}}):
        memory_from_json({"scores": {"champion": "model", "sources": sources}})
    trajectory = {"origin": value, "stepSeconds": value, "level": value, "peaks": value, "offsets": [1]}
    memory_from_json({"trajectory": trajectory | {"source": "model"}})
    champion_from_json(value)
    champion_from_json({"source": "model", "reason": "Cheapest", "costRatios": value, "scoredDays": value})


GOOD_TRAJECTORY: dict[str, Any] = {
    "origin": "2026-01-05T12:00:00Z", "stepSeconds": 60, "level": 0.9, "source": "model", "peaks": [1, 2],
    "offsets": [0, 0],
}  # fmt: skip


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"origin": "yesterday"}, id="no time"),
        pytest.param({"origin": None}, id="no origin"),
        pytest.param({"stepSeconds": 0}, id="step of nothing"),
        pytest.param({"stepSeconds": 1e300}, id="step beyond a day"),
        pytest.param({"level": 1}, id="level of one"),
        pytest.param({"level": True}, id="level that is a boolean"),
        pytest.param({"source": ""}, id="no source"),
        pytest.param({"source": "crystal ball"}, id="unknown source"),
        pytest.param({"peaks": [2, 1]}, id="falling peaks"),
        pytest.param({"peaks": [1]}, id="fewer peaks than offsets"),
        pytest.param({"peaks": [], "offsets": []}, id="no peaks"),
        pytest.param({"peaks": [1, 10**400]}, id="peak beyond a float"),
        pytest.param({"peaks": [-1, 2]}, id="peak below zero"),
    ],
)
def test_a_broken_trajectory_is_missing_and_the_rest_stays(broken: dict[str, Any]) -> None:
    memory = memory_from_json({"durationsSeconds": [30], "trajectory": GOOD_TRAJECTORY | broken})
    assert memory is not None
    assert memory.trajectory is None
    assert memory.durations == (timedelta(seconds=30),)


def test_the_trajectory_that_the_broken_ones_are_made_of_is_good() -> None:
    memory = memory_from_json({"trajectory": GOOD_TRAJECTORY})
    assert memory is not None
    assert memory.trajectory is not None


@pytest.mark.parametrize("durations", [[-1], [1e9], ["30"], [float("nan")], "30", [True]])
def test_durations_that_are_none_are_missing(durations: Any) -> None:
    assert memory_from_json({"durationsSeconds": durations}) is None


def test_an_empty_memory_is_none() -> None:
    assert memory_from_json(memory_to_json(Memory())) is None
    assert memory_from_json(None) is None


def test_a_restore_record_comes_back() -> None:
    annotations = {k: v for k, v in restore_annotations((HPA_ENTRY, REVISION_ENTRY)).items() if v is not None}
    assert json.loads(annotations[RESTORE]) == {"HorizontalPodAutoscaler/web": 2, "Revision/web-00001": None}
    assert restore_record(annotations) == {HPA_ENTRY.field_id: HPA_ENTRY, REVISION_ENTRY.field_id: REVISION_ENTRY}


def test_a_restore_record_that_was_changed_by_its_reader_reads_as_before() -> None:
    annotations = {name: text for name, text in restore_annotations([HPA_ENTRY]).items() if text is not None}
    restore_record(annotations).clear()
    assert restore_record(annotations) == {HPA_ENTRY.field_id: HPA_ENTRY}


def test_an_empty_record_removes_both_annotations() -> None:
    assert restore_annotations(()) == {RESTORE: None, RESTORE_FIELDS: None}


def test_a_released_field_leaves_the_record_and_its_place_stays() -> None:
    released = replace(HPA_ENTRY, released=True)
    annotations = {k: v for k, v in restore_annotations((released,)).items() if v is not None}
    assert RESTORE not in annotations
    assert restore_record(annotations) == {released.field_id: released}


def test_of_released_fields_only_the_newest_stay() -> None:
    many = [
        replace(REVISION_ENTRY, field_id=f"Revision/r{i}", released=True, earlier=1) for i in range(RELEASED_KEPT + 3)
    ]
    annotations = {k: v for k, v in restore_annotations((HPA_ENTRY, *many)).items() if v is not None}
    kept = list(restore_record(annotations))
    assert kept == [HPA_ENTRY.field_id, *(entry.field_id for entry in many[3:])]


@pytest.mark.parametrize(
    "place",
    [
        pytest.param({"name": "../../secrets/x"}, id="name that climbs"),
        pytest.param({"plural": ".."}, id="plural that climbs"),
        pytest.param({"group": "a/b"}, id="group with a slash"),
        pytest.param({"path": []}, id="no path"),
        pytest.param({"path": ["spec", 3]}, id="path with a number"),
        pytest.param({"uid": None}, id="no uid"),
    ],
)
def test_a_forged_place_is_no_entry(place: dict[str, Any]) -> None:
    annotations = {k: v for k, v in restore_annotations((HPA_ENTRY, REVISION_ENTRY)).items() if v is not None}
    places = json.loads(annotations[RESTORE_FIELDS])
    places[HPA_ENTRY.field_id] |= place
    annotations[RESTORE_FIELDS] = json.dumps(places)
    assert list(restore_record(annotations)) == [REVISION_ENTRY.field_id]


@pytest.mark.parametrize("earlier", [-1, True, 1.5, "2", {}])
def test_an_earlier_value_that_is_no_count_is_no_entry(earlier: Any) -> None:
    annotations = {k: v for k, v in restore_annotations((HPA_ENTRY,)).items() if v is not None}
    assert restore_record({**annotations, RESTORE: json.dumps({HPA_ENTRY.field_id: earlier})}) == {}


@given(st.text(max_size=20) | json_values.map(json.dumps), st.text(max_size=20) | json_values.map(json.dumps))
def test_foreign_annotations_are_an_empty_record(restore: str, places: str) -> None:
    assert restore_record({RESTORE: restore, RESTORE_FIELDS: places}) == {}


def test_a_new_object_goes_with_its_workload() -> None:
    made = new_scaler("web", WEB, "uid-9")
    assert made["spec"] == {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}
    assert made["metadata"]["ownerReferences"] == [
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "uid-9", "blockOwnerDeletion": False}
    ]
    assert made["metadata"]["annotations"] == {CREATED_BY: "scaler"}


@pytest.mark.parametrize(
    ("name", "component"),
    [("web", ""), ("web/transformer", "transformer"), ("web-predictor", "predictor"), ("other", "")],
)
def test_a_component_is_named_beyond_its_object(name: str, component: str) -> None:
    assert component_of(TargetKey("shop", "InferenceService", name), WEB) == component


def test_the_time_of_a_transition_moves_only_with_the_status() -> None:
    first = conditions_to_json(None, [Condition("Active", "True", "On")], generation=1, now=T0)
    later = T0 + timedelta(minutes=5)
    same = conditions_to_json(first, [Condition("Active", "True", "Paused", "held")], generation=2, now=later)
    assert same[0]["lastTransitionTime"] == "2026-01-05T12:00:00Z"
    assert (same[0]["reason"], same[0]["message"], same[0]["observedGeneration"]) == ("Paused", "held", 2)
    other = conditions_to_json(same, [Condition("Active", "False", "Off")], generation=2, now=later)
    assert other[0]["lastTransitionTime"] == "2026-01-05T12:05:00Z"


def test_conditions_of_others_are_kept() -> None:
    foreign = {"type": "Audited", "status": "True"}
    written = conditions_to_json([foreign, "junk"], [Condition("Active", "True", "On")], generation=1, now=T0)
    assert [condition["type"] for condition in written] == ["Audited", "Active"]
    assert written[0] == foreign
