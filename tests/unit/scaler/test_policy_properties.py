"""What holds for every decision, whatever came in."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.domain import Forecast, Mode, Observation, Source, Target, TargetKey
from scaler.policy import Outlook, PolicyConfig, PolicyState, decide, peaks_of, prepare, usable_load, window_max_at

T0 = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
LEVELS = (0.5, 0.9, 0.99)
CONFIG = PolicyConfig()

# A deadline would measure the machine, not the code.
unhurried = settings(deadline=None)

loads = st.floats(min_value=0.0, max_value=1e4, allow_subnormal=False)
replicas = st.integers(min_value=0, max_value=60)


@st.composite
def targets(draw: st.DrawFn) -> Target:
    low, high = sorted((draw(replicas), draw(replicas)))
    return Target(
        TargetKey("shop", "Deployment", "web"),
        min_replicas=low,
        max_replicas=high,
        capacity=draw(st.floats(min_value=0.01, max_value=1e3)),
        mode=draw(st.sampled_from((Mode.SHADOW, Mode.ON))),
        only_scaler=draw(st.booleans()),
        paused=draw(st.booleans()),
        scale_down_paused=draw(st.booleans()),
    )


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    return Observation(
        sampled_at=draw(st.none() | st.integers(0, 600).map(lambda age: T0 - timedelta(seconds=age))),
        load=draw(st.none() | loads),
        ready_replicas=draw(replicas),
        current_replicas=draw(replicas),
        floor=draw(st.none() | replicas),
        censored=draw(st.booleans()),
    )


@st.composite
def outlooks(draw: st.DrawFn) -> Outlook:
    lead = timedelta(seconds=draw(st.integers(1, 900)))
    if not draw(st.booleans()):
        return Outlook(lead)
    values = np.maximum.accumulate(
        np.maximum.accumulate(
            np.array(draw(st.lists(st.tuples(loads, loads, loads), min_size=1, max_size=30))), axis=0
        ),
        axis=1,
    )
    origin = T0 + timedelta(seconds=draw(st.integers(-2400, 120)))
    forecast = Forecast(origin, timedelta(seconds=60), LEVELS, values, values, Source.MODEL)
    level, offsets = draw(st.floats(0.5, 0.999)), np.full(len(values), draw(loads))
    peaks = peaks_of(window_max_at(forecast, level), offsets)
    return Outlook(lead, (prepare(forecast, level, peaks=peaks, offsets=offsets),))


@st.composite
def states(draw: st.DrawFn) -> PolicyState:
    """States as the policy itself makes them, from a few decisions in the last minutes."""
    state = PolicyState.start(draw(replicas), T0 - timedelta(seconds=draw(st.integers(400, 900))))
    target = Target(TargetKey("shop", "Deployment", "web"), min_replicas=0, max_replicas=60, capacity=1.0)
    for age in sorted(draw(st.lists(st.integers(1, 400), max_size=4)), reverse=True):
        now = T0 - timedelta(seconds=age)
        seen = Observation(now, draw(st.floats(0, 60)), draw(replicas), draw(replicas), state.floor)
        _, state = decide(seen, Outlook(timedelta(seconds=90)), state, target=target, config=CONFIG, now=now)
    return state


def floor_of(observation: Observation, outlook: Outlook, state: PolicyState, target: Target) -> int:
    return decide(observation, outlook, state, target=target, config=CONFIG, now=T0)[0].floor


@unhurried
@given(observations(), outlooks(), states(), targets())
def test_the_floor_keeps_its_bounds(o: Observation, ahead: Outlook, state: PolicyState, target: Target) -> None:
    assert target.min_replicas <= floor_of(o, ahead, state, target) <= target.max_replicas


@unhurried
@given(observations(), outlooks(), states(), targets())
def test_the_same_input_gives_the_same_decision(
    o: Observation, ahead: Outlook, state: PolicyState, target: Target
) -> None:
    first = decide(o, ahead, state, target=target, config=CONFIG, now=T0)
    assert decide(o, ahead, state, target=target, config=CONFIG, now=T0) == first


@unhurried
@given(observations(), outlooks(), states(), targets())
def test_a_forecast_never_lowers_the_decision_below_the_reactive_one(
    o: Observation, ahead: Outlook, state: PolicyState, target: Target
) -> None:
    assert floor_of(o, ahead, state, target) >= floor_of(o, Outlook(ahead.lead_time), state, target)


@unhurried
@given(observations(), outlooks(), states(), targets(), loads, loads)
def test_more_load_never_means_fewer_replicas(
    o: Observation, ahead: Outlook, state: PolicyState, target: Target, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    assert floor_of(replace(o, load=low), ahead, state, target) <= floor_of(replace(o, load=high), ahead, state, target)


@unhurried
@given(observations(), outlooks(), states(), targets(), loads)
def test_a_higher_forecast_never_means_a_lower_floor(
    o: Observation, ahead: Outlook, state: PolicyState, target: Target, more: float
) -> None:
    higher = ahead._replace(
        trajectories=tuple(t._replace(peaks=tuple(p + more for p in t.peaks)) for t in ahead.trajectories)
    )
    assert floor_of(o, ahead, state, target) <= floor_of(o, higher, state, target)


@unhurried
@given(observations(), outlooks(), states(), targets())
def test_blind_never_goes_down(o: Observation, ahead: Outlook, state: PolicyState, target: Target) -> None:
    blind = replace(o, sampled_at=T0 - CONFIG.metric_freshness - timedelta(seconds=1))
    if usable_load(blind, CONFIG.metric_freshness, T0) is None:
        decision, _ = decide(blind, ahead, state, target=target, config=CONFIG, now=T0)
        assert decision.floor >= min(decision.previous_floor, target.max_replicas)


@unhurried
@given(observations(), outlooks(), targets(), st.integers(0, 299))
def test_a_restart_never_goes_down_within_the_stabilization_window(
    o: Observation, ahead: Outlook, target: Target, age: int
) -> None:
    seen = replace(o, floor=o.floor or 0)
    state = PolicyState.start(o.floor or 0, T0 - timedelta(seconds=age))
    decision, _ = decide(seen, ahead, state, target=target, config=CONFIG, now=T0)
    assert decision.floor >= min(decision.previous_floor, target.max_replicas)


@unhurried
@given(observations(), outlooks(), states(), targets())
def test_recommendations_are_kept_from_the_highest_to_the_lowest(
    o: Observation, ahead: Outlook, state: PolicyState, target: Target
) -> None:
    _, after = decide(o, ahead, state, target=target, config=CONFIG, now=T0)
    kept = [r.replicas for r in after.recommendations]
    assert kept == sorted(set(kept), reverse=True)
    assert [r.at for r in after.recommendations] == sorted(r.at for r in after.recommendations)
