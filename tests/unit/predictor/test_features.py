import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictor_model.config import UNKNOWN_END_TIME
from predictor_model.features import HORIZON, Augmenter, WindowIndex, WindowSampler, error_unit
from predictor_model.traces import Trace

CONTEXT = 48
STEP = 3600  # a day is 24 steps: lags of the last six steps of the horizon lie after the origin


def trace(values: np.ndarray, *, start: int = 0, step: int = STEP, dataset: str = "d") -> Trace:
    return Trace(dataset, "s", start, step, values.astype(np.float32))


def ramp(length: int = 400) -> np.ndarray:
    return np.arange(length, dtype=np.float32)


def test_a_window_ends_at_its_origin_and_the_target_follows() -> None:
    index = WindowIndex([trace(ramp()), trace(1000 + ramp())], CONTEXT)
    batch = index.cut(np.array([0, 1]), np.array([200, 300]))
    np.testing.assert_array_equal(batch.load[0], np.arange(153, 201))
    np.testing.assert_array_equal(batch.target[1], 1000 + np.arange(301, 301 + HORIZON))


def test_seasonal_lags_are_the_same_clock_time_a_day_and_a_week_before() -> None:
    batch = WindowIndex([trace(ramp())], CONTEXT).cut(np.array([0]), np.array([200]))
    np.testing.assert_array_equal(batch.seasonal_lags[0, 0, :24], 200 + np.arange(1, 25) - 24)
    np.testing.assert_array_equal(batch.seasonal_lags[0, 1], 200 + np.arange(1, HORIZON + 1) - 168)


def test_a_lag_after_the_origin_is_unobserved() -> None:
    batch = WindowIndex([trace(ramp())], CONTEXT).cut(np.array([0]), np.array([200]))
    assert batch.seasonal_lags_observed[0, 0, :24].all()
    assert not batch.seasonal_lags_observed[0, 0, 24:].any()


def test_what_lies_before_the_series_is_unobserved_and_never_the_neighbour() -> None:
    index = WindowIndex([trace(1000 + ramp()), trace(ramp())], CONTEXT)
    batch = index.cut(np.array([1]), np.array([9]))
    assert batch.observed[0].sum() == 10
    assert np.isnan(batch.load[0, :-10]).all()
    assert not batch.seasonal_lags_observed[0, 0, :14].any()  # 9 + h - 24 < 0 for h = 1..14
    assert not batch.seasonal_lags_observed[0, 1].any()


@pytest.mark.parametrize(
    ("start", "end_time"),
    [
        pytest.param(0, UNKNOWN_END_TIME, id="no-clock"),
        pytest.param(1_000_000_000, 1_000_000_000 + 200 * STEP, id="clock"),
    ],
)
def test_end_time_is_the_newest_samples_own(start: int, end_time: int) -> None:
    batch = WindowIndex([trace(ramp(), start=start)], CONTEXT).cut(np.array([0]), np.array([200]))
    assert batch.end_time[0] == end_time


@settings(max_examples=30)
@given(st.integers(8, 350), st.integers(0, 2**32 - 1))
def test_changing_the_future_changes_no_input(origin: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    past = rng.uniform(1, 10, size=400)
    future = past.copy()
    future[origin + 1 :] = rng.uniform(100, 200, size=400 - origin - 1)
    batches = [
        WindowIndex([trace(values)], CONTEXT).cut(np.array([0]), np.array([origin])) for values in (past, future)
    ]
    for name, values in batches[0].inputs().items():
        np.testing.assert_array_equal(values, batches[1].inputs()[name], err_msg=name)


def test_origins_stay_inside_their_slice_of_time() -> None:
    index = WindowIndex([trace(ramp())], CONTEXT)
    sampler = WindowSampler(index, {"d": 1.0}, first=np.array([0.5]), last=np.array([0.8]))
    origins = sampler.draw(500, np.random.default_rng(0)).load[:, -1]  # the ramp's value is its position
    assert origins.min() >= 200
    assert origins.max() + HORIZON < 320


def test_datasets_are_drawn_by_weight_and_not_by_size() -> None:
    traces = [trace(ramp(), dataset="many") for _ in range(9)] + [trace(1e6 + ramp(), dataset="one")]
    sampler = WindowSampler(
        WindowIndex(traces, CONTEXT), {"many": 0.5, "one": 0.5}, first=np.zeros(10), last=np.ones(10)
    )
    share = np.mean(sampler.draw(2000, np.random.default_rng(0)).load[:, -1] > 1e5)
    assert share == pytest.approx(0.5, abs=0.05)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_a_disturbed_batch_keeps_enough_to_look_at_and_repeats_by_seed(seed: int) -> None:
    index = WindowIndex([trace(1 + ramp()), trace(5 + 2 * ramp(), start=10**9)], CONTEXT)
    sampler = WindowSampler(index, {"d": 1.0}, first=np.zeros(2), last=np.ones(2))

    def draw() -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        return Augmenter(rng)(sampler.draw(64, rng)).inputs()

    first, second = draw(), draw()
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)
    observed = first["observed"]
    assert (observed.sum(1) >= 8).all()
    assert np.isfinite(first["load"][observed.astype(bool)]).all()


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        pytest.param(np.arange(100.0), HORIZON / 2, id="ramp"),
        pytest.param(np.zeros(100), 1e-30, id="zeros-are-not-divided-by"),
        pytest.param(np.full(100, 5.0), 5e-6, id="constant-in-proportion"),
    ],
)
def test_error_unit_is_the_move_over_half_a_horizon(values: np.ndarray, unit: float) -> None:
    assert error_unit(values.astype(np.float32)) == pytest.approx(unit)
