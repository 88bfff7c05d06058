"""Three hours around a jump in load that yesterday had as well, small enough to replay in every test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from scaler.replay.plan import ReplayPlan
from scaler.replay.result import ReplayResult, ReplaySettings
from scaler.replay.run import replay
from scaler.replay.traces import Trace
from tests.replay.golden import Yesterday

T0 = datetime(2026, 1, 5, tzinfo=UTC)
STEP = timedelta(seconds=300)
WINDOW = timedelta(hours=3)


def daily_jump() -> Trace:
    """A day and ten hours; at nine o'clock the load triples."""
    at = np.arange(34 * 12) / 12.0 % 24.0  # hours
    values = 100.0 + 40.0 * np.sin(2 * np.pi * at / 24.0) + np.where((at >= 9.0) & (at < 12.0), 200.0, 0.0)
    return Trace(name="daily <b>jump</b>", start=T0, step=STEP, values=values, has_clock=True)


def plan_of(trace: Trace) -> ReplayPlan:
    """The last three hours, seven to ten o'clock."""
    return ReplayPlan(trace=trace, window_start=trace.end - WINDOW, notes=("A note & a half.",))


@pytest.fixture
def plan() -> ReplayPlan:
    return plan_of(daily_jump())


@pytest.fixture(scope="session")
def settings() -> ReplaySettings:
    return ReplaySettings(capacity=10.0, min_replicas=1, max_replicas=100)


@pytest.fixture(scope="session")
def result(settings: ReplaySettings) -> ReplayResult:
    """One replay, read by many tests and changed by none."""
    return replay(plan_of(daily_jump()), settings, Yesterday())
