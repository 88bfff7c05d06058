"""The distance of two curves of replicas."""

from __future__ import annotations

import numpy as np
import pytest

from bench.curves import LONGEST_LAG, Distance, distance, mean_distance

SECONDS = 600


def step(at: int, low: float = 2.0, high: float = 6.0) -> np.ndarray:
    """Replicas that go up at a second."""
    return np.where(np.arange(SECONDS) < at, low, high)


def test_a_curve_is_nowhere_away_from_itself() -> None:
    assert distance(step(300), step(300)) == Distance(0.0, 0.0, 0.0, 0.0, 1.0)


def test_the_mean_difference_is_a_share_of_the_mean_replicas() -> None:
    found = distance(step(300) + 1, step(300))  # of 4 on the mean
    assert found.mean_ratio == pytest.approx(0.25)
    assert found.largest == 1.0
    assert found.pod_hours_ratio == pytest.approx(1.25)


@pytest.mark.parametrize("late", [20, -45])
def test_a_curve_that_is_late_is_exact_once_it_is_shifted(late: int) -> None:
    found = distance(step(300 + late), step(300))
    assert found.lag_seconds == late
    assert found.mean_ratio == pytest.approx(abs(late) * 4 / SECONDS / 4)
    assert found.mean_ratio_shifted == 0.0


def test_a_flat_curve_has_no_lag() -> None:
    assert distance(np.full(SECONDS, 3.0), np.full(SECONDS, 4.0)).lag_seconds == 0.0


def test_the_mean_of_distances_keeps_the_largest_difference() -> None:
    found = mean_distance([Distance(0.1, 1.0, 10.0, 0.0, 0.9), Distance(0.3, 4.0, 20.0, 0.2, 1.1)])
    assert found.mean_ratio == pytest.approx(0.2)
    assert (found.largest, found.lag_seconds) == (4.0, 15.0)


@pytest.mark.parametrize(
    ("simulated", "real"),
    [
        pytest.param(step(300), step(300)[1:], id="lengths differ"),
        pytest.param(np.ones(2 * LONGEST_LAG), np.ones(2 * LONGEST_LAG), id="too short"),
        pytest.param(step(300), np.zeros(SECONDS), id="nothing to compare with"),
    ],
)
def test_curves_that_cannot_be_compared_are_refused(simulated: np.ndarray, real: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"curves must|throughout"):
        distance(simulated, real)
