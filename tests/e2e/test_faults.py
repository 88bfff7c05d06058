"""Prometheus and the model fail in every way they can: no floor falls for it, and all goes on.

The real scaler on the real cluster, with a proxy before Prometheus and before the real model server.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from tests.e2e.processes import STABILIZATION, Stage, Wave, seconds_between, staged, wave_set
from tests.e2e.proxy import Fault, nan_quantiles, status_fault
from tests.e2e.tools import Json, Kubectl, Report, eventually, now, throughout

NAMESPACE = "e2e-faults"
TICK = 1.0
STEP = 60.0
REACH = 30 * STEP  # of a forecast
# A forecast for this lead time runs out when it is 84 s old, and a new one has an origin up to 60 s old.
LONG_LEAD = 1715.0
HIGH, LOW = Wave(5.5), Wave(1.5)
RISING_TARGET = 1.0
OUTAGE = 600.0  # of Prometheus: forty times as long as a sample stays fresh


@pytest.fixture(scope="module")
def stage(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """All but one need 3 pods for the high load and 1 for the low one; `rising` needs more every minute."""
    start = time.time()  # noqa: TID251 - the load is a function of real time
    # Uphill for as long as the outage lasts: 4.1 at the start, 6 four minutes later, 10 after a quarter of an hour.
    rising = Wave(6.0, 4.0, start + 240, 3000.0)
    documents = [
        wave_set("unseen", metric="high", target=2.0),
        wave_set("steady", metric="high", target=2.0),
        wave_set("late", metric="high", target=2.0, lead_time=f"{LONG_LEAD:.0f}s"),
        wave_set("rising", metric="rising", target=RISING_TARGET, max_replicas="14"),
    ]
    waves = {"high": HIGH, "low": LOW, "rising": rising}
    with staged(kubectl, tmp_path_factory.mktemp("faults"), NAMESPACE, documents, waves) as stage:
        for name in ("unseen", "steady", "late"):
            stage.stands_at(name, 3, within=90)
        yield stage


@pytest.fixture(autouse=True)
def one_process(stage: Stage) -> Iterator[None]:
    """Nothing ever ends it, or surprises it."""
    yield
    assert stage.scaler.alive, stage.scaler.tail()
    bugs = [row for row in stage.scaler.rows() if row["event"] in {"tick_failed", "discovery_failed"}]
    assert not bugs, bugs[0]


def _forecast_of(peak: float) -> Callable[[Json], bool]:
    """A decision on a fresh forecast of the model, of so much load."""
    return lambda row: (
        row["forecast_source"] == "model"
        and row["forecast_failure"] is None
        and row["forecast_peak"] == pytest.approx(peak, rel=0.2)
    )


def _failed_by(cause: str) -> Callable[[Json], bool]:
    return lambda row: row["forecast_failure"] == cause


def _is_blind(row: Json) -> bool:
    return "NoMetrics" in row["reasons"]


def _is_seen(row: Json) -> bool:
    return not _is_blind(row)


def _alone(stage: Stage, at: datetime) -> int:
    """Pods that a reactive autoscaler, one that sees, would hold for the rising load."""
    return math.ceil(stage.waves["rising"].at(at.timestamp()) / RISING_TARGET)


def test_without_prometheus_floors_hold_or_follow_the_forecast_up(stage: Stage, report: Report) -> None:
    stage.scaler.decided("unseen", _forecast_of(HIGH.mean), since=now(), within=60)
    recorder = stage.recorder
    eventually(
        lambda: recorder.ready("rising") == recorder.floor("rising") > _alone(stage, now()),
        within=60,
        what="the pods of the rising load are ahead of it",
    )
    begin, before = now(), recorder.floor("rising")
    with stage.prometheus.away():
        stage.annotate("unseen", metric="low")  # it would fall now, if anybody could see
        throughout(lambda: stage.scaler.answers("/healthz"), seconds=OUTAGE, what="the health probe is content")
        blind = stage.scaler.decided("rising", _is_blind, since=begin, within=5)
        assert stage.condition("unseen", "MetricsAvailable")["status"] == "False"
    end = now()
    stage.never_below("unseen", 3, begin, end)
    floors = recorder.floors("rising", begin, end)
    assert max(floors) > before, "the load to come was forecast, and nobody had to see it"
    assert floors == sorted(floors), "nothing falls while nothing is seen"
    short = [look for look in recorder.between(begin, end) if look.ready["rising"] < _alone(stage, look.at)]
    assert not short, "a reactive autoscaler that sees would hold more"
    ticks = [datetime.fromisoformat(row["time"]) for row in stage.scaler.decisions("rising", begin)]
    longest = max((later - earlier).total_seconds() for earlier, later in pairwise(ticks))
    assert longest < 8, "one query's budget for all of them in a tick"

    seen = stage.scaler.decided("rising", _is_seen, since=end, within=15)
    stage.stands_at("unseen", 1, within=STABILIZATION + 45)
    took = f"blind after {seconds_between(begin, blind):.0f} s, seen again after {seconds_between(end, seen):.0f} s"
    report.add(
        f"Prometheus away for {(end - begin).total_seconds():.0f} s: {took}, longest tick {longest:.1f} s, "
        f"floor of a rising load {before} -> {max(floors)}"
    )


FAULTS: list[tuple[str, Callable[[Stage], AbstractContextManager[object]], str]] = [
    ("garbage", lambda stage: stage.model.fault(Fault("POST", status=200, body=b"<html>hello</html>")), "malformed"),
    ("NaN", lambda stage: stage.model.fault(Fault("POST", rewrite=nan_quantiles)), "not_finite"),
    ("500", lambda stage: stage.model.fault(status_fault(500)), "server_error"),
    ("refused", lambda stage: stage.model.away(), "unreachable"),
    ("slow", lambda stage: stage.model.fault(Fault(delay=30.0, status=503)), "timeout"),
]


def test_a_model_that_fails_in_any_way_leaves_the_last_forecast_standing(stage: Stage, report: Report) -> None:
    """The load that is seen falls as the model begins to fail: only the forecast holds the floors up."""
    for name in ("steady", "late"):
        stage.scaler.decided(name, _forecast_of(HIGH.mean), since=now(), within=60)
    seen = []
    begin = now()
    with stage.model.fault(status_fault(503)):
        for name in ("steady", "late"):
            stage.annotate(name, metric="low")
        for name, fault, cause in FAULTS:
            with fault(stage):
                row = stage.scaler.decided("steady", _failed_by(cause), since=now(), within=45)
            seen.append(f"{name} -> {cause}")
            assert row["forecast_source"] == "model", "the cached forecast serves on"
            assert row["load"] == pytest.approx(LOW.mean), "the load that is seen has fallen"
        stand_in = stage.scaler.decided(
            "late", lambda row: row["forecast_source"] not in (None, "model"), since=begin, within=60
        )
        end = now()
        stage.never_below("steady", 3, begin, end)
        stage.never_below("late", 3, begin, _runs_out(stage, "late", begin))
    stage.scaler.decided("steady", _forecast_of(LOW.mean), since=end, within=45)
    stage.stands_at("steady", 1, within=STABILIZATION + 30)
    report.add(
        f"model: {', '.join(seen)}; floor held for {(end - begin).total_seconds():.0f} s by the last forecast; "
        f"where that had run out, {stand_in['forecast_source']} took over after "
        f"{seconds_between(begin, stand_in):.0f} s"
    )


def _runs_out(stage: Stage, workload: str, begin: datetime) -> datetime:
    """When the last forecast of the model no longer covers the lead time of a workload."""
    last = [row for row in stage.scaler.decisions(workload, begin) if row["forecast_source"] == "model"][-1]
    origin = datetime.fromisoformat(last["at"]) - timedelta(seconds=last["forecast_age_seconds"])
    return origin + timedelta(seconds=REACH - LONG_LEAD - TICK)
