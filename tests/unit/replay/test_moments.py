from dataclasses import replace

import numpy as np
import pytest

from scaler.replay.demand import TICK
from scaler.replay.moments import moments
from scaler.replay.result import Policy, PolicyRun, ReplayResult


def with_ready(result: ReplayResult, hpa: dict[int, int], ai_hpa: dict[int, int]) -> ReplayResult:
    """The same replay, in which ten pods were needed and ready, but for the ticks given."""
    ticks = len(result.needed)
    runs = dict(result.runs)
    for policy, changes in ((Policy.HPA, hpa), (Policy.AI_HPA, ai_hpa)):
        ready = np.full(ticks, 10)
        ready[list(changes)] = list(changes.values())
        run = result.runs[policy]
        runs[policy] = PolicyRun(ready, run.ordered, run.scores)
    return replace(result, needed=np.full(ticks, 10.0), runs=runs)


def test_moments_are_joined_ordered_and_cut(result: ReplayResult) -> None:
    hpa = {100: 8, 101: 6, 105: 9, 300: 3, 500: 9}
    found = moments(with_ready(result, hpa, {}), Policy.HPA, Policy.AI_HPA, limit=2)
    # 300 lacks 7 at once; 100 to 105 lack 2 + 4 + 1, less than two minutes apart, so they are one and as bad
    assert [(m.first_tick, m.last_tick, m.worst_tick) for m in found] == [(100, 105, 101), (300, 300, 300)]
    assert [(m.missing_pods, m.short_time) for m in found] == [(4, 3 * TICK), (7, TICK)]
    assert (found[0].needed, found[0].pods) == (10, (6, 10))


def test_a_shortage_of_both_is_no_difference(result: ReplayResult) -> None:
    both = with_ready(result, {100: 8}, {100: 9})
    assert moments(both, Policy.HPA, Policy.AI_HPA, limit=9) == ()
    assert moments(both, Policy.AI_HPA, Policy.HPA, limit=9) == ()


def test_the_moments_where_ai_hpa_was_worse_show_the_last_decision_that_could_have_helped(result: ReplayResult) -> None:
    (moment,) = moments(with_ready(result, {}, {400: 7}), Policy.AI_HPA, Policy.HPA, limit=9)
    lead_time = result.decisions[400].lead_time
    assert lead_time is not None
    assert result.time_of(400) - moment.decision.at == pytest.approx(lead_time, abs=TICK)


def test_where_ai_hpa_had_enough_the_decision_that_set_its_floor_is_shown(result: ReplayResult) -> None:
    raised = tuple(decision._replace(floor=8 if tick < 300 else 12) for tick, decision in enumerate(result.decisions))
    (moment,) = moments(with_ready(replace(result, decisions=raised), {400: 7}, {}), Policy.HPA, Policy.AI_HPA, limit=9)
    assert moment.decision is raised[300]
