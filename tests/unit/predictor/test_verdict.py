from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictor_model.examples import Example
from predictor_model.graph import MODEL_FILE, SHIPPED_WEIGHTS, Graph, load_graph
from predictor_model.holdout import BLOCKS, split_history
from predictor_model.metrics import MEDIAN, Array, paired_interval, pinball_by_origin, pinball_sum
from predictor_model.scoring import REPLICA_KEYS, SeriesScore, case_from, model_forecast
from predictor_model.traces import Trace
from predictor_model.verdict import (
    CANDIDATE,
    INCUMBENT,
    SHIPPED,
    Action,
    Comparison,
    Judged,
    compare,
    judge,
    judge_series,
    pods_over,
)
from tests.unit.predictor.loads import daily_load

EXAMPLE = Example("own", "s", 300, 0, np.ones(5), np.ones(30), np.ones((30, 8)))


def score(name: str, loss: float, pods: float) -> SeriesScore:
    cost, reference = dict.fromkeys(REPLICA_KEYS, pods), dict.fromkeys(REPLICA_KEYS, 1.0)
    return SeriesScore("own", "s", name, loss, None, loss, None, cost, reference)


def series(losses: dict[str, Array], pods: dict[str, float] | None = None) -> Judged:
    scores = {name: score(name, float(loss.sum()), (pods or {}).get(name, 1.0)) for name, loss in losses.items()}
    return Judged("s", 1, EXAMPLE, np.ones(30), scores, losses)


def estate(number: int, *, seed: int = 0, **gains: float) -> list[Judged]:
    """Series on which each model makes `gain` of a common loss, with noise of its own in every block of time."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        common = rng.lognormal(sigma=1.0, size=BLOCKS)
        noise = {name: rng.lognormal(sigma=0.05, size=BLOCKS) for name in gains}
        found.append(series({_NAMES[name]: gain * common * noise[name] for name, gain in gains.items()}))
    return found


_NAMES = {"candidate": CANDIDATE, "shipped": SHIPPED, "incumbent": INCUMBENT}


@pytest.mark.parametrize("number", [1, 5, 100])
@pytest.mark.parametrize(
    ("gain", "better"),
    [
        pytest.param(0.85, True, id="clear-gain"),
        pytest.param(1.0, False, id="as-good"),
        pytest.param(0.995, False, id="not-worth-it"),
        pytest.param(1.1, False, id="worse"),
    ],
)
def test_a_clear_gain_is_better_with_one_series_and_with_a_hundred(number: int, gain: float, better: bool) -> None:
    verdict = judge(estate(number, candidate=gain, shipped=1.0), [CANDIDATE, SHIPPED])
    assert verdict.better is better
    assert verdict.action is (Action.PUT_IN_PLACE if better else Action.KEPT)


def test_models_that_are_alike_are_seldom_called_better() -> None:
    for number in (1, 20):
        clear = [
            compare(estate(number, seed=seed, candidate=1.0, shipped=1.0), CANDIDATE, SHIPPED).interval[1] < 1
            for seed in range(200)
        ]
        assert np.mean(clear) < 0.07  # 2.5 % nominal; twelve blocks of one series are few for a bootstrap


def test_one_bad_afternoon_of_all_series_at_once_makes_the_gain_unclear() -> None:
    gain = np.full(BLOCKS, 0.95)
    gain[3] = 1.4
    same_time = [series({CANDIDATE: gain, SHIPPED: np.ones(BLOCKS)}) for _ in range(100)]
    own_time = [series({CANDIDATE: np.roll(gain, shift), SHIPPED: np.ones(BLOCKS)}) for shift in range(100)]
    together, apart = (compare(found, CANDIDATE, SHIPPED) for found in (same_time, own_time))
    assert together.loss == pytest.approx(apart.loss)
    assert together.interval[1] > 1 > apart.interval[1]


def test_a_gain_that_is_paid_for_in_pods_is_none() -> None:
    ones = np.ones(BLOCKS)
    found = [series({CANDIDATE: 0.8 * ones, SHIPPED: ones}, {CANDIDATE: 1.01, SHIPPED: 1.0})]
    verdict = judge(found, [CANDIDATE, SHIPPED])
    assert verdict.comparisons[0].interval[1] < 1
    assert not verdict.better


@pytest.mark.parametrize(
    ("candidate", "incumbent", "action"),
    [
        pytest.param(0.8, 0.9, Action.PUT_IN_PLACE, id="better-than-both"),
        pytest.param(0.9, 0.8, Action.KEPT, id="what-stands-in-place-is-better"),
        pytest.param(0.9, 0.9, Action.KEPT, id="no-better-than-what-stands-in-place"),
        pytest.param(1.0, 1.2, Action.WENT_BACK, id="what-stands-in-place-has-gone-bad"),
        pytest.param(0.8, 1.2, Action.PUT_IN_PLACE, id="better-than-one-gone-bad"),
        pytest.param(1.0, 1.001, Action.KEPT, id="hardly-worse-stays"),
    ],
)
def test_what_stands_in_place_is_judged_too(candidate: float, incumbent: float, action: Action) -> None:
    found = estate(30, candidate=candidate, shipped=1.0, incumbent=incumbent)
    assert judge(found, [CANDIDATE, SHIPPED, INCUMBENT]).action is action


def test_pods_are_summed_over_the_series_before_they_are_compared() -> None:
    ones = np.ones(BLOCKS)
    found = [
        series({CANDIDATE: ones, SHIPPED: ones}, {CANDIDATE: 1.0, SHIPPED: 3.0}),
        series({CANDIDATE: ones, SHIPPED: ones}, {CANDIDATE: 2.0, SHIPPED: 1.0}),
    ]
    assert pods_over(found, CANDIDATE, SHIPPED) == pytest.approx(3 / 4)


def test_where_nothing_costs_pods_they_do_not_decide() -> None:
    ones = np.ones(BLOCKS)
    assert (
        pods_over([series({CANDIDATE: ones, SHIPPED: ones}, {CANDIDATE: 0.0, SHIPPED: 0.0})], CANDIDATE, SHIPPED) == 1.0
    )


@settings(max_examples=25, deadline=None)
@given(n_series=st.integers(1, 6), seed=st.integers(0, 2**31), factor=st.floats(0.1, 10))
def test_the_ratio_of_two_losses_has_no_unit_and_turns_around(n_series: int, seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = rng.lognormal(size=(2, n_series, BLOCKS))
    ratio, (low, high) = paired_interval(ours, theirs, draws=200)
    assert low <= ratio * 1.0001
    assert ratio <= high * 1.0001
    again, _ = paired_interval(factor * ours, factor * theirs, draws=200)
    assert again == pytest.approx(ratio)
    turned, _ = paired_interval(theirs, ours, draws=200)
    assert turned == pytest.approx(1 / ratio)


def test_a_series_without_loss_in_either_counts_for_nothing() -> None:
    ours, theirs = np.ones((2, 4)), np.full((2, 4), 2.0)
    ours[1] = theirs[1] = 0.0
    assert paired_interval(ours, theirs)[0] == pytest.approx(0.5)
    assert np.isnan(paired_interval(np.zeros((1, 4)), np.zeros((1, 4)))[0])


def test_losses_by_origin_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(0)
    target, quantiles = rng.random((5, 30)), rng.random((5, 30, 8))
    target[2] = np.nan
    by_origin = pinball_by_origin(target, quantiles)
    assert by_origin[2] == 0.0
    assert by_origin.sum() == pytest.approx(pinball_sum(target, quantiles))


@pytest.fixture(scope="module")
def graph() -> Graph:
    return load_graph(SHIPPED_WEIGHTS / MODEL_FILE)


def test_a_model_against_itself_is_no_gain(graph: Graph) -> None:
    (history,) = split_history([Trace("own", "s", 0, 300, daily_load(days=10))]).histories
    judged = judge_series(history, {CANDIDATE: graph, SHIPPED: graph})
    assert judged is not None
    comparison = compare([judged], CANDIDATE, SHIPPED)
    assert (comparison.loss, comparison.interval, comparison.pods) == (1.0, (1.0, 1.0), 1.0)
    assert not comparison.better
    case = case_from(history.trace, history.holdout)
    assert case is not None
    assert case.origins.min() >= history.holdout
    quantiles, _ = model_forecast(graph, history.trace, case.origins)
    assert (judged.losses[CANDIDATE] > 0).all()
    assert judged.losses[CANDIDATE].sum() == pytest.approx(pinball_sum(case.target, quantiles))
    np.testing.assert_allclose(judged.shipped_median, judged.example.quantiles[:, MEDIAN])


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.full(2880, 7.0), id="constant"),
        pytest.param(np.concatenate([daily_load(days=8), np.full(576, np.nan)]), id="gone-in-the-holdout"),
    ],
)
def test_a_series_that_tells_nothing_is_not_judged(graph: Graph, values: np.ndarray) -> None:
    (history,) = split_history([Trace("own", "s", 0, 300, values.astype(np.float32))]).histories
    assert judge_series(history, {CANDIDATE: graph, SHIPPED: graph}) is None


def test_only_a_whole_interval_below_one_is_better() -> None:
    clear = Comparison(CANDIDATE, SHIPPED, 0.9, (0.8, 0.99), 0.9, 3, 3)
    assert clear.better
    assert not replace(clear, interval=(0.8, 1.01)).better
    assert not replace(clear, interval=(float("nan"), float("nan"))).better
