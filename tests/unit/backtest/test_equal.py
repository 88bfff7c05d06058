import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.backtest.equal import Spot, best_of, geometric_mean, ratio, under_time_at

LEAST = 1e-4


@pytest.mark.parametrize(
    ("price", "reached"),
    [
        pytest.param(0.99, None, id="below the cheapest"),
        pytest.param(1.0, 0.16, id="the cheapest"),
        pytest.param(1.1, 0.08, id="halfway in the logarithm"),
        pytest.param(1.2, 0.04, id="one that was tried"),
        pytest.param(1.4, 0.02, id="a quarter of the way to the floor"),
        pytest.param(2.0, 0.0025, id="the dearest"),
        pytest.param(9.0, 0.0025, id="above the dearest"),
    ],
)
def test_a_price_is_read_off_the_settings_beside_it(price: float, reached: float | None) -> None:
    # 1.2 to 2.0 goes from 0.04 to 0.0025 in four halvings
    spots = [Spot(2.0, 0.0025), Spot(1.2, 0.04), Spot(1.0, 0.16)]
    expected = reached if reached is None else pytest.approx(reached)
    assert under_time_at(spots, price, least=LEAST) == expected


@pytest.mark.parametrize(
    "beaten",
    [
        pytest.param(Spot(1.3, 0.2), id="dearer and worse"),
        pytest.param(Spot(1.3, 0.1), id="dearer and no better"),
        pytest.param(Spot(1.0, 0.3), id="as dear and worse"),
    ],
)
def test_a_setting_that_is_beaten_on_both_counts_is_not_counted(beaten: Spot) -> None:
    spots = [Spot(1.0, 0.1), Spot(1.6, 0.05)]
    for price in (1.0, 1.3, 1.5, 1.7):
        assert under_time_at([beaten, *spots], price, least=LEAST) == under_time_at(spots, price, least=LEAST)


def test_less_than_a_tick_is_a_tick() -> None:
    spots = [Spot(1.0, 0.01), Spot(1.2, 0.0), Spot(1.5, 0.0)]
    assert under_time_at(spots, 1.1, least=LEAST) == pytest.approx(0.001)  # halfway to the tick, not to nothing
    assert under_time_at(spots, 1.2, least=LEAST) == under_time_at(spots, 2.0, least=LEAST) == LEAST


def test_a_knob_without_settings_reaches_nothing() -> None:
    assert under_time_at([], 1.2, least=LEAST) is None


spot_lists = st.lists(st.builds(Spot, st.floats(0.5, 3.0), st.floats(0.0, 1.0)), min_size=1, max_size=12)


@given(spots=spot_lists, prices=st.tuples(st.floats(0.4, 4.0), st.floats(0.4, 4.0)))
def test_more_money_never_means_more_time_short(spots: list[Spot], prices: tuple[float, float]) -> None:
    cheap, dear = (under_time_at(spots, price, least=LEAST) for price in sorted(prices))
    if cheap is not None:
        assert dear is not None
        assert LEAST * (1 - 1e-9) <= dear <= cheap * (1 + 1e-9)


@given(spots=spot_lists, more=st.builds(Spot, st.floats(0.5, 3.0), st.floats(0.0, 1.0)))
def test_a_price_that_was_tried_gives_exactly_what_it_reached_or_better(spots: list[Spot], more: Spot) -> None:
    own = max(more.under_time, LEAST)
    cheaper = [max(spot.under_time, LEAST) for spot in spots if spot.pod_hours_ratio <= more.pod_hours_ratio]
    reached = under_time_at([*spots, more], more.pod_hours_ratio, least=LEAST)
    assert reached is not None
    if own < min(cheaper, default=2.0):
        assert reached == own
    else:
        assert reached <= min(cheaper) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        pytest.param(0.1, 0.4, 0.25, id="both"),
        pytest.param(None, 0.4, 1.0, id="ours cannot be had"),
        pytest.param(0.1, None, 1.0, id="theirs cannot be had"),
        pytest.param(None, None, 1.0, id="neither"),
    ],
)
def test_a_price_that_one_cannot_pay_counts_as_no_difference(
    ours: float | None, theirs: float | None, expected: float
) -> None:
    assert ratio(ours, theirs) == expected


def test_the_best_rival_is_named_and_those_out_of_reach_are_not() -> None:
    assert best_of({"hpa": 0.2, "kpa": 0.1, "fixed": None}) == ("kpa", 0.1)
    assert best_of({"fixed": None}) is None
    assert best_of({}) is None


def test_twice_as_good_and_half_as_good_cancel_out() -> None:
    assert geometric_mean([2.0, 0.5]) == pytest.approx(1.0)
    assert geometric_mean([0.1, 0.4]) == pytest.approx(0.2)
    assert math.isnan(geometric_mean([]))
