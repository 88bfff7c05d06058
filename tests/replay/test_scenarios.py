"""Tiny scenarios of each kind with the real model server: what `python -m bench.scenarios` runs, in hours of load."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from bench.scenarios.run import Draw, play
from bench.scenarios.setups import Fault, Kind, Scenario, Setup, Stretch
from scaler.adapters.kserve_forecaster import KServeForecaster
from scaler.backtest.forecaster import CountedForecaster
from scaler.replay.model_server import running_model_server
from tests.unit.backtest.small import BY_LUCK, HOUR, NOISY, case, hourly_jump

MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with running_model_server() as url:
        yield url


@pytest.mark.parametrize("fault", [None, *Fault])
def test_a_fault_leaves_ai_hpa_no_worse_than_the_hpa_under_it(endpoint: str, fault: Fault | None) -> None:
    tiny = Setup(
        Scenario("tiny", "Tiny", "A jump in each hour.", fault=fault),
        case(hourly_jump(6), decided=5 * HOUR, checked=5 * HOUR, start_up=BY_LUCK),
        Stretch(15 * MINUTE, 35 * MINUTE) if fault is not None else None,
    )
    with KServeForecaster(endpoint, deadline=timedelta(seconds=30)) as forecaster:
        counted = CountedForecaster(forecaster)
        found = play([Draw(tiny, 0, 60.0)], NOISY, counted)[0]
    counted.check()
    for target in (70, 90):
        ours, alone = found[f"ai-hpa-{target}"].scores, found[f"hpa-{target}"].scores
        assert alone.under_time > 0
        assert ours.under_time <= alone.under_time


def test_zero_is_left_and_reached_with_the_real_model(endpoint: str) -> None:
    asleep = Setup(
        Scenario("tiny", "Tiny", "A quarter of an hour of load in each.", kind=Kind.ZERO),
        case(hourly_jump(6, low=0.0, high=9.0), decided=5 * HOUR, checked=5 * HOUR, bounds=(0, 50), start_up=BY_LUCK),
    )
    with KServeForecaster(endpoint, deadline=timedelta(seconds=30)) as forecaster:
        found = play([Draw(asleep, 0, 60.0)], NOISY, forecaster)[0]
    kpa, ours = found["kpa"].zero, found["ai-hpa-kpa"].zero
    assert kpa is not None
    assert ours is not None
    assert kpa.waits == 1
    assert ours.waited <= kpa.waited
