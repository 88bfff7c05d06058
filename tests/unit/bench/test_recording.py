"""A recording as data."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from bench.recorder import LEAD_SECONDS, requests_per_second, sent_by
from bench.recording import MetricsLook, Recorded, Recording, by_second, by_whole_seconds, changes, read, value_at


def recorded(**other: object) -> Recorded:
    fields = {
        "sent": (1.0, 2.0),
        "in_flight": (1.0, 1.0),
        "failed": 0,
        "slow": 1,
        "per_request": 0.025,
        "capacity": 0.06,
        "target_utilization": 0.7,
        "min_replicas": 1,
        "max_replicas": 12,
        "desired": ((0.0, 1.0),),
        "ready": ((0.0, 1.0), (3.5, 2.0)),
        "pods": ((1.0, 20.0), (2.0, 30.0), (3.0, 25.0)),
        "metrics": (MetricsLook(5.0, 3.0, 15.0, 0.1, 1, 1),),
    }
    return Recorded(**(fields | other))  # type: ignore[arg-type]


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = Recording("2026-11-27T21:00:00+00:00", {"Kubernetes": "v1"}, 1, 1, recorded(), recorded(), ((0.0, 1.5),))
    made.write(tmp_path / "recorded.json")
    assert read(tmp_path / "recorded.json") == made


def test_only_changes_are_kept() -> None:
    assert changes([(0.04, 1), (1.0, 1), (2.0, 3), (3.0, 3), (4.0, 1)]) == ((0.0, 1), (2.0, 3), (4.0, 1))


def test_a_curve_holds_its_value_until_the_next_change() -> None:
    assert by_second(((-3.0, 2.0), (1.5, 4.0), (3.0, 1.0)), 5).tolist() == [2, 2, 4, 1, 1]


def test_a_curve_has_a_value_at_any_time() -> None:
    assert [value_at(((-3.0, 2.0), (1.5, 4.0)), second) for second in (-9.0, -1.0, 1.5, 7.2)] == [2, 2, 4, 4]


def test_before_its_first_change_a_curve_is_what_it_becomes() -> None:
    assert by_second(((2.0, 4.0), (3.0, 1.0)), 4).tolist() == [4, 4, 4, 1]


def test_a_counter_that_is_read_late_is_spread_over_the_seconds_it_counted() -> None:
    counted = by_whole_seconds([(-1.0, 0), (0.5, 3), (2.5, 7), (3.0, 7)], 0, 3)
    assert np.allclose(counted, [2.0, 2.0, 1.0])  # 2 a second, from 2.5 on nothing


def test_starts_are_summed_up_by_median_and_spread() -> None:
    found = recorded(pods=((0.0, 10.0), (1.0, 10.0), (2.0, 10.0)))
    assert found.start_median == timedelta(seconds=10)
    assert found.start_spread_ratio == pytest.approx(0.0)


def test_the_time_of_a_request_is_that_of_one_that_does_not_wait() -> None:
    # Ten a second for 1.5 s each; for a tenth of the time they wait.
    found = recorded(sent=(10.0,) * 100, in_flight=(*(15.0,) * 90, *(60.0,) * 10))
    assert found.request_seconds == pytest.approx(1.5)


def test_the_log_of_a_load_generator_says_what_is_sent_and_what_is_in_flight() -> None:
    rows = [
        {"at": -LEAD_SECONDS + second, "begun": 2 * second, "sent": max(2 * second - 3, 0), "failed": 1, "slow": 4}
        for second in range(1, LEAD_SECONDS + 4)
    ]
    found = sent_by("\n".join(json.dumps(row) for row in rows), 3)
    assert set(found.begun) == {2.0}
    assert len(found.begun) == len(found.in_flight) == LEAD_SECONDS + 3
    assert found.in_flight[-1] == 3.0
    assert (found.failed, found.slow) == (1, 4)


def test_a_profile_begins_with_the_lead_and_ends_at_nothing() -> None:
    profile = requests_per_second(((0, 1.0), (60, 2.0), (90, 3.0)), 10.0, 80)
    assert profile == ((-LEAD_SECONDS, 10.0), (0, 10.0), (60, 20.0), (80, 0.0))
