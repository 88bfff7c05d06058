"""The scenarios themselves, what is counted at zero, and the page from what a run left behind."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.scenarios.__main__ import main
from bench.scenarios.page import losses, must_hold, to_markdown
from bench.scenarios.run import AtZero, Draw, Row, at_zero, play, published, stage_of_draws, summed
from bench.scenarios.setups import (
    BERLIN,
    SCENARIOS,
    STRESS_GROUPS,
    Fault,
    Kind,
    Scenario,
    Setup,
    Stretch,
    groups,
    setups,
)
from scaler.backtest.case import KNOWN
from scaler.domain import FloatArray
from scaler.replay.scores import Scores
from scaler.replay.traces import EPOCH
from tests.unit.backtest.small import BY_LUCK, HOUR, NOISY, HourBefore, case, hourly_jump

MINUTE = timedelta(minutes=1)
SYNTHETIC = groups(None)


@cache  # a load takes a tenth of a second, and no test changes one
def of_group(group: str, seed: int = 0) -> dict[str, Setup]:
    return {setup.scenario.key: setup for setup in setups(group, seed, None)}


def scored(setup: Setup) -> FloatArray:
    return setup.case.values[(setup.case.checked - setup.case.start) // setup.case.step :]


def test_every_scenario_has_one_setup_in_its_group() -> None:
    made = [key for group in SYNTHETIC for key in of_group(group)]
    wanted = [scenario.key for scenario in SCENARIOS if scenario.group not in STRESS_GROUPS]
    assert sorted(made) == sorted(wanted)
    assert len({scenario.key for scenario in SCENARIOS}) == len({scenario.title for scenario in SCENARIOS})
    assert groups(Path("there"))[-len(STRESS_GROUPS) :] == STRESS_GROUPS


def test_a_group_can_be_simulated_together_and_one_that_breaks_ports_is_alone() -> None:
    for group in SYNTHETIC:
        own = list(of_group(group).values())
        assert len({setup.case.shape for setup in own}) == 1
        assert len({setup.scenario.kind for setup in own}) == 1
        if {setup.scenario.fault for setup in own} & {Fault.SOURCE, Fault.FORECASTER} or own[0].case.min_replicas == 0:
            assert len(own) == 1


def test_what_happens_on_the_day_begins_on_the_day_and_nothing_tells_of_it() -> None:
    days = of_group("days")
    ordinary = days["ordinary"].case
    for key in ("crowd-3", "crowd-10", "shift-up", "shift-down", "upstream"):
        known = KNOWN // ordinary.step
        changed = days[key].case
        assert np.array_equal(changed.values[:known], ordinary.values[:known])
        assert not np.array_equal(scored(days[key]), scored(days["ordinary"]))
        assert (changed.capacity, changed.max_replicas) == (ordinary.capacity, ordinary.max_replicas)
    for key in ("metrics-10", "metrics-60"):
        assert np.array_equal(days[key].case.values, ordinary.values)
    ratio = scored(days["crowd-10"]) / scored(days["ordinary"])
    assert ratio.max() == pytest.approx(10.0)
    assert np.diff(ratio).max() == pytest.approx(9.0, rel=0.01)  # within a minute
    outage = scored(days["upstream"]) / scored(days["ordinary"])
    assert np.count_nonzero(outage < 0.02) == 40


def test_faults_lie_on_the_ramp_of_the_day() -> None:
    for setup in (*of_group("days").values(), *of_group("source").values(), *of_group("forecaster").values()):
        assert (setup.broken is None) is (setup.scenario.fault is None)
        if setup.broken is None:
            continue
        load, (start, end) = scored(setup), setup.broken
        assert load[int(end / MINUTE)] > 1.2 * load[int(start / MINUTE)]


def test_the_scored_day_of_a_changed_clock_begins_with_the_change() -> None:
    days = of_group("days")
    for key in ("autumn", "spring"):
        changed, without = days[key].case, days[f"{key}-without"].case
        before, after = ((changed.checked + MINUTE * at).astimezone(BERLIN).utcoffset() for at in (-1, 0))
        assert before != after
        known = KNOWN // changed.step
        assert np.array_equal(changed.values[:known], without.values[:known])
        assert not np.array_equal(changed.values[known:], without.values[known:])


def test_seeds_move_what_nobody_can_know() -> None:
    crowds = {int(np.argmax(scored(of_group("days", seed)["crowd-10"]))) for seed in range(3)}
    assert len(crowds) == 3


def test_a_recorded_group_needs_its_folder() -> None:
    with pytest.raises(ValueError, match="needs the folder"):
        setups("lora", 0, None)


def test_waits_at_zero_are_counted_and_timed() -> None:
    load = np.array([0, 0, 5, 5, 5, 0, 0, 5, np.nan, 5, 5])
    ready = np.array([0, 0, 0, 0, 1, 1, 0, 0, 0, 2, 0])
    assert at_zero(load, ready) == AtZero(
        starts=2,
        waits=3,  # two ticks, then one before nobody knows, then the last one
        waited=timedelta(seconds=60),
        longest=timedelta(seconds=30),
        at_zero=timedelta(seconds=8 * 15),
    )


def test_nothing_waits_where_there_is_a_pod_or_no_load() -> None:
    none = at_zero(np.array([0.0, 5.0, 5.0]), np.array([0, 1, 1]))
    assert (none.waits, none.waited, none.longest, none.starts) == (0, timedelta(0), timedelta(0), 1)


def scores(short: float = 0.0, pod_hours: float = 48.0) -> Scores:
    """Of a day."""
    return Scores(short, 0.0, 0.5, 0.1, 0.01, 0.005, pod_hours, 40.0, 4.0, 24.0)


def row(short: float = 0.0, pod_hours: float = 48.0, waits: int | None = None) -> Row:
    zero = None if waits is None else AtZero(waits + 1, waits, waits * 2 * MINUTE, 3 * MINUTE, 4 * HOUR)
    return Row(scores(short, pod_hours), 24.0, zero)


def rows_of(scenario: Scenario, *, ours: float = 0.01, floored: float = 50.0) -> dict[str, Row]:
    """AI-HPA is short for a share of the day, and its autoscaler for twice as much, of 1 %."""
    if scenario.kind is Kind.ZERO:
        return {
            "kpa": row(0.02, waits=4),
            "kpa-one": row(0.0, 60.0, waits=0),
            "ai-hpa-kpa": row(ours, floored, waits=2),
            "oracle": row(0.0, 30.0, waits=0),
        }
    alone = {"hpa-70": row(0.02), "hpa-90": row(0.02)}
    return alone | {"ai-hpa-70": row(ours, floored), "ai-hpa-90": row(ours, floored), "kpa": row(), "oracle": row()}


def summary(ours: float = 0.01, floored: float = 50.0) -> dict[str, Any]:
    rows = {
        (scenario.key, start, seed): rows_of(scenario, ours=ours, floored=floored)
        for scenario in SCENARIOS
        if scenario.group in SYNTHETIC
        for start in (30.0, 90.0)
        for seed in (0, 1)
    }
    made: dict[str, Any] = json.loads(json.dumps(published(rows, (0, 1))))
    return made


def test_seeds_are_put_together_and_their_times_short_are_kept_apart() -> None:
    both = summed([row(0.01, 48.0, waits=1), row(0.03, 24.0, waits=3)])
    assert both["short_seconds"] == pytest.approx([864.0, 2592.0])
    assert both["pod_hours_over_needed"] == 1.5
    assert both["zero"]["waits"] == [1, 3]
    assert both["zero"]["mean_wait_seconds"] == 120.0
    assert both["zero"]["longest_wait_seconds"] == 180.0
    assert summed([row(waits=0)])["zero"]["mean_wait_seconds"] is None
    assert "zero" not in summed([row()])


def test_the_page_has_a_row_for_each_scenario_and_policy() -> None:
    page = to_markdown(summary())
    for scenario in SCENARIOS:
        if scenario.group in STRESS_GROUPS:
            assert scenario.title not in page
            continue
        assert f"## {scenario.title}\n\n{scenario.what}\n" in page
    synthetic = [scenario for scenario in SCENARIOS if scenario.group not in STRESS_GROUPS]
    with_pods = sum(scenario.kind is Kind.PODS for scenario in synthetic)
    assert page.count("\n| HPA alone, 70 % | 29 min | 29 min | 1.00% |") == with_pods
    assert page.count("\n| AI-HPA over the HPA, 70 % | 14 min | 14 min |") == with_pods
    assert page.count("\n| AI-HPA over the KPA |") == len(synthetic) - with_pods
    assert page.count("\n| Oracle |") == len(synthetic)
    assert "Recorded traces were not run." in page


def test_losses_are_listed_with_those_that_only_cost_more() -> None:
    # Half of the time short for 4.2 % of the pod-hours.
    assert losses(summary(ours=0.01)) == []
    dearer = losses(summary(ours=0.02))
    assert all(loss.short == loss.short_alone and loss.dearer == pytest.approx(50 / 48 - 1) for loss in dearer)
    assert losses(summary(ours=0.02, floored=48.1)) == []  # as short, for the same
    assert losses(summary(ours=0.01, floored=71.0)) == []
    assert len(losses(summary(ours=0.01, floored=73.0))) == len(dearer)  # half of the time for more than half as much
    worse = losses(summary(ours=0.03, floored=40.0))
    assert {loss.short - loss.short_alone for loss in worse} == {timedelta(days=0.01)}
    assert {loss.over for loss in worse} == {"hpa-70", "hpa-90", "kpa"}
    synthetic = [scenario for scenario in SCENARIOS if scenario.group not in STRESS_GROUPS]
    assert {loss.scenario for loss in worse} == set(synthetic)
    page = to_markdown(summary(ours=0.03))
    assert "| An ordinary day | 30 s | HPA alone, 70 % | 29 min | 43 min (more) | +4.2% |" in page


def test_what_must_hold_is_counted_by_seed() -> None:
    assert all(rule.held == rule.of for rule in must_hold(summary()))
    broken = {rule.what: (rule.held, rule.of) for rule in must_hold(summary(ours=0.03))}
    # Two seeds, two start-up times, two targets; two scenarios without metrics.
    assert [counts for what, counts in broken.items() if "HPA alone" in what] == [(0, 16), (0, 8), (0, 8)]
    assert broken["The oracle is never short: every scenario can be met with these pods"][0] > 0


def test_the_page_is_written_and_checked_without_a_run(tmp_path: Path) -> None:
    rows, page = tmp_path / "rows.json", tmp_path / "page.md"
    rows.write_text(json.dumps(summary()), encoding="utf-8")
    named = ["--json", str(rows), "--page", str(page)]
    assert main([*named, "--no-run"]) == 0
    assert main([*named, "--check"]) == 0
    page.write_text("another page", encoding="utf-8")
    assert main([*named, "--check"]) == 1


def test_the_start_up_of_the_page_must_be_run() -> None:
    with pytest.raises(SystemExit):
        main(["--start-seconds", "30"])


def test_a_run_that_breaks_a_promise_ends_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for ours, code in ((0.01, 0), (0.03, 1)):
        left = summary(ours=ours)
        monkeypatch.setattr("bench.scenarios.__main__.run_all", lambda *told, left=left: left)
        named = ["--json", str(tmp_path / "rows.json"), "--page", str(tmp_path / "page.md")]
        assert main([*named, "--endpoint", "http://127.0.0.1:9"]) == code
        assert json.loads((tmp_path / "rows.json").read_text(encoding="utf-8")) == left


def tiny(fault: Fault | None, kind: Kind = Kind.PODS) -> Setup:
    """Four hours with a jump in each; what is broken lies around the jump of the last one."""
    bounds = (0 if kind is Kind.ZERO else 1, 50)
    made = case(hourly_jump(4), decided=3 * HOUR, checked=3 * HOUR, bounds=bounds, start_up=BY_LUCK)
    broken = Stretch(15 * MINUTE, 35 * MINUTE) if fault is not None else None
    return Setup(Scenario("tiny", "Tiny", "A jump.", kind=kind, fault=fault), made, broken)


def played(setup: Setup, *others: Draw) -> dict[str, Row]:
    return play([Draw(setup, 0, 60.0), *others], NOISY, HourBefore())[0]


@pytest.mark.parametrize("fault", [None, *Fault])
def test_each_fault_is_put_in_and_every_policy_is_played(fault: Fault | None) -> None:
    found, well = played(tiny(fault)), played(tiny(None))
    assert list(found) == ["hpa-70", "ai-hpa-70", "hpa-90", "ai-hpa-90", "kpa", "oracle"]
    blind = fault in (Fault.METRICS, Fault.SOURCE)
    assert (found["hpa-70"].scores != well["hpa-70"].scores) is blind
    assert (found["ai-hpa-70"].scores != well["ai-hpa-70"].scores) is (fault is not None)
    assert found["kpa"].scores == well["kpa"].scores
    assert found["oracle"].scores == well["oracle"].scores


def test_a_draw_comes_out_alone_as_it_does_among_other_seeds_and_start_ups() -> None:
    setup = tiny(None)
    draws = [Draw(setup, seed, start) for seed in (0, 1) for start in (60.0, 300.0)]
    together = play(draws, NOISY, HourBefore())
    for draw, found in zip(draws, together, strict=True):
        (alone,) = play([draw], NOISY, HourBefore())
        assert found == alone
    assert len({found["hpa-70"].scores for found in together}) == 4


def test_draws_of_one_scenario_and_seed_share_a_load_and_its_forecasts() -> None:
    setup = tiny(None)
    draws = [Draw(setup, seed, start) for seed in (0, 1) for start in (60.0, 90.0)]
    plan = stage_of_draws(draws, NOISY).plan([["a", "b"]] * 4)
    assert [lane.load for lane in plan.lanes.lanes] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [lane.seed for lane in plan.lanes.lanes] == [0, 0, 0, 0, 1, 1, 1, 1]
    starts = [lane.start_up.median.total_seconds() for lane in plan.lanes.lanes]
    assert starts == [60, 60, 90, 90, 60, 60, 90, 90]
    assert plan.of == ("a", "b") * 4


def test_a_scenario_at_zero_is_played_with_and_without_its_last_pod() -> None:
    asleep = tiny(None, Kind.ZERO)
    asleep.case.values[:] = np.where(asleep.case.values > 100, 9.0, 0.0)
    found = played(asleep)
    assert list(found) == ["kpa", "kpa-one", "ai-hpa-kpa", "oracle"]
    waits = {name: rows.zero.waits for name, rows in found.items() if rows.zero is not None}
    assert waits == {"kpa": 1, "kpa-one": 0, "ai-hpa-kpa": 0, "oracle": 0}
    empty = {name: rows.zero.at_zero for name, rows in found.items() if rows.zero is not None}
    assert empty["kpa-one"] == timedelta(0)
    assert empty["kpa"] > HOUR / 2


def test_recorded_traces_are_cut_to_their_end(tmp_path: Path) -> None:
    minutes = 12 * 24 * 60
    lines = ["series,timestamp,value", *(f"s,{300 * i},{i % 7 if i % 3 else 0}" for i in range(minutes // 5))]
    (tmp_path / "alibaba_genai_lora.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (setup,) = setups("lora", 0, tmp_path)
    assert setup.case.min_replicas == 0
    assert setup.case.end - setup.case.checked == timedelta(days=2)
    assert setup.case.checked - setup.case.start == KNOWN
    assert setup.case.end == EPOCH + timedelta(days=12)
