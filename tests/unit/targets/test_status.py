"""When two accounts of a workload are the same to its user."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.domain import Action, Decision, ForecastFailure, Mode, Reason, Source, TargetKey
from scaler.targets.actuator import Trouble
from scaler.targets.status import Account, Part, outline, visible
from scaler.targets.workload import Workload
from tests.unit.targets.fake_api import T0, FakeApi
from tests.unit.targets.fake_workloads import NAMESPACE, Cluster, hpa_field, put_hpa

KEY = TargetKey(NAMESPACE, "Deployment", "web")
DECISION = Decision(
    key=KEY,
    at=T0,
    mode=Mode.ON,
    previous_floor=2,
    floor=2,
    action=Action.NONE,
    reason=Reason.DESIRED_WITHIN_RANGE,
    reasons=(Reason.DESIRED_WITHIN_RANGE,),
    current_replicas=2,
    ready_replicas=2,
    forecast_source=Source.MODEL,
)
TROUBLE = Trouble("Reverted", "somebody sets it back", T0)


def made(**changes: Any) -> Workload:
    api = FakeApi()
    put_hpa(api)
    cluster = Cluster(api)
    workload = cluster.workload(cluster.add(hpa_field()))
    assert workload is not None
    return replace(workload, target=replace(workload.target, **changes))


WORKLOADS = (made(), made(mode=Mode.SHADOW), made(paused=True), made(max_replicas=9))
REASONS = st.sampled_from(list(Reason))
# What a decision may hold; the first two show nowhere.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "at": st.sampled_from([T0, T0 + timedelta(seconds=15)]),
    "load": st.sampled_from([None, 1.0, 2.0]),
    "floor": st.integers(1, 3),
    "reason": REASONS,
    "reasons": st.lists(REASONS, max_size=2).map(tuple),
    "forecast_source": st.sampled_from([None, Source.MODEL, Source.PERSISTENCE]),
    "forecast_failure": st.sampled_from([None, ForecastFailure.TIMEOUT]),
}


@given(st.data(), st.sampled_from(sorted(VALUES)), st.sampled_from(WORKLOADS))
def test_what_has_the_same_outline_shows_the_same(data: st.DataObject, changed: str, workload: Workload) -> None:
    before = data.draw(st.builds(DECISION._replace, **VALUES))
    after = before._replace(**{changed: data.draw(VALUES[changed])})
    if outline(workload, before, None) == outline(workload, after, None):
        account, other = (Account((Part(workload, decision),)) for decision in (before, after))
        assert visible(account, {}) == visible(other, {})


@given(st.sampled_from(WORKLOADS), st.sampled_from(WORKLOADS))
def test_another_workload_has_another_outline(one: Workload, other: Workload) -> None:
    assert (outline(one, DECISION, None) == outline(other, DECISION, None)) is (one is other)


@pytest.mark.parametrize(
    ("change", "alike"),
    [
        pytest.param({"load": 7.0, "at": T0 + timedelta(seconds=15), "peak": 9.0}, True, id="numbers of the tick"),
        pytest.param({"floor": 3}, False, id="floor"),
        pytest.param({"reason": Reason.PAUSED}, False, id="reason"),
        pytest.param({"reasons": (Reason.NO_METRICS,)}, False, id="a reason on the way"),
        pytest.param({"forecast_source": Source.PERSISTENCE}, False, id="source of the forecast"),
        pytest.param({"forecast_failure": ForecastFailure.TIMEOUT}, False, id="failure of the forecaster"),
    ],
)
def test_what_changes_the_outline_of_a_decision(change: dict[str, Any], alike: bool) -> None:
    before, after = (outline(WORKLOADS[0], made, None) for made in (DECISION, DECISION._replace(**change)))
    assert (before == after) is alike


def test_trouble_and_a_first_decision_change_the_outline() -> None:
    plain = outline(WORKLOADS[0], DECISION, None)
    assert outline(WORKLOADS[0], DECISION, TROUBLE) != plain
    assert outline(WORKLOADS[0], None, None) != plain
