import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor_model.metrics import (
    LEVELS,
    bootstrap_interval,
    coverage,
    geometric_mean,
    median_absolute_error,
    pinball_sum,
    window_max,
)


def test_pinball_of_a_hand_computed_case() -> None:
    target = np.array([[10.0]])
    quantiles = np.full((1, 1, len(LEVELS)), 8.0)
    # every level is 2 too low: 2 * q summed over the levels
    assert pinball_sum(target, quantiles) == pytest.approx(2 * LEVELS.sum())
    # 3 too high: 3 * (1 - q)
    assert pinball_sum(target, quantiles + 5) == pytest.approx(3 * (1 - LEVELS).sum())


def test_a_missing_target_is_left_out_of_every_score() -> None:
    target = np.array([[1.0, np.nan]])
    quantiles = np.stack([np.full((1, len(LEVELS)), 1.0), np.full((1, len(LEVELS)), 1e9)], axis=1)
    assert pinball_sum(target, quantiles) == 0
    assert median_absolute_error(target, quantiles) == 0


def test_nothing_observed_cannot_be_scored() -> None:
    with pytest.raises(ValueError, match="every target is missing"):
        pinball_sum(np.full((1, 2), np.nan), np.zeros((1, 2, len(LEVELS))))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30), st.floats(0, 1e6))
def test_pinball_is_never_negative_and_zero_only_when_exact(values: list[float], guess: float) -> None:
    target = np.array([values])
    loss = pinball_sum(target, np.full((1, len(values), len(LEVELS)), guess))
    assert loss >= 0
    assert pinball_sum(target, np.repeat(target[..., None], len(LEVELS), axis=2)) == 0


def test_window_max_stops_at_the_first_missing_step() -> None:
    highest = window_max(np.array([[2.0, 1.0, np.nan, 5.0]]))
    np.testing.assert_array_equal(highest, np.array([[2.0, 2.0, np.nan, np.nan]]))


def test_coverage_counts_known_targets_only() -> None:
    assert coverage(np.array([1.0, 2.0, np.nan]), np.array([1.0, 1.0, 0.0])) == 0.5
    assert np.isnan(coverage(np.array([np.nan]), np.array([1.0])))


def test_geometric_mean_weighs_a_halving_like_a_doubling() -> None:
    assert geometric_mean(np.array([0.5, 2.0])) == pytest.approx(1.0)


def test_bootstrap_interval_holds_the_mean_and_repeats() -> None:
    groups = [np.array([0.5, 0.7, 0.9]), np.array([0.8])]
    low, high = bootstrap_interval(groups, draws=200)
    assert low < geometric_mean(np.array([geometric_mean(group) for group in groups])) < high
    assert (low, high) == bootstrap_interval(groups, draws=200)
