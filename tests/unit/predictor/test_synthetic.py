import numpy as np
import pytest

from predictor_model.synthetic import synthetic_trace


@pytest.mark.parametrize("index", range(12))
def test_synthetic_load_is_finite_and_never_negative(index: int) -> None:
    values = synthetic_trace(index, seed=0).values
    assert np.isfinite(values).all()
    assert values.min() >= 0
    assert values.std() > 0


def test_a_synthetic_trace_repeats_by_seed_and_differs_by_index() -> None:
    first, again, other = synthetic_trace(3, seed=1), synthetic_trace(3, seed=1), synthetic_trace(4, seed=1)
    np.testing.assert_array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)
