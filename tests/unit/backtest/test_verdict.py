from datetime import timedelta

import pytest

from scaler.backtest.equal import Spot
from scaler.backtest.verdict import Answer, Verdict, checked, decide, pays

DAY = timedelta(days=1)
LEAST = 1 / 5760  # one tick of a day
MINUTE = 1 / 1440
# HPA targets: less time short costs more
HPA = {0.5: Spot(2.0, 0.001), 0.7: Spot(1.5, 0.01), 0.9: Spot(1.1, 0.1)}


def verdict(ours: dict[float, Spot], hpa: dict[float, Spot] | None = None, length: timedelta = DAY) -> Verdict:
    return decide(ours, hpa if hpa is not None else HPA, user_target=0.7, length=length)


@pytest.mark.parametrize(
    ("ours", "target"),
    [
        pytest.param({0.7: Spot(1.6, 0.002)}, 0.7, id="the user's alone is good"),
        pytest.param({0.7: Spot(1.6, 0.001), 0.9: Spot(1.3, 0.004)}, 0.9, id="the cheapest good one"),
        pytest.param({0.7: Spot(1.6, 0.001), 0.9: Spot(1.2, 0.011)}, 0.7, id="a cheaper one is short for longer"),
        pytest.param({0.7: Spot(1.6, 0.001), 0.9: Spot(1.3, 0.01)}, 0.9, id="as much time short as before is good"),
        pytest.param({0.8: Spot(1.3, 0.001), 0.9: Spot(1.3, 0.001)}, 0.9, id="of equals the highest target"),
        pytest.param({0.8: Spot(1.0, 0.005)}, 0.8, id="cheaper than any HPA"),
        pytest.param({0.8: Spot(3.0, 0.0005)}, 0.8, id="twice as dear"),
    ],
)
def test_the_cheapest_good_target_is_recommended_where_no_hpa_does_as_well(
    ours: dict[float, Spot], target: float
) -> None:
    assert verdict(ours).answer is Answer.ENABLE
    assert verdict(ours).hpa_target == target
    assert verdict(ours).held is None


@pytest.mark.parametrize(
    ("ours", "why"),
    [
        pytest.param(
            {0.7: Spot(1.6, 0.02), 0.9: Spot(1.3, 0.03)},
            "AI-HPA would be short of pods for 29 min a day, the HPA at 70% is for 14 min.",
            id="short for longer, whatever the target",
        ),
        pytest.param(
            {0.7: Spot(1.5, 0.0095)},
            "Over an HPA at 70%, AI-HPA is short of pods for 14 min a day, with 0.0% more pod-hours; the HPA alone at "
            "70% is for 14 min; another HPA target does about as well without forecasts.",
            id="not clearly better than the HPA there is",
        ),
        pytest.param(
            {0.7: Spot(2.4, 0.001)},
            "Over an HPA at 70%, AI-HPA is short of pods for 86 s a day, with 60.0% more pod-hours; the HPA alone at "
            "70% is for 14 min; another HPA target does about as well without forecasts.",
            id="a lower HPA target does it for less",
        ),
        pytest.param(
            {0.7: Spot(3.1, 0.0005), 0.9: Spot(3.05, 0.0005)},
            "Over an HPA at 90%, AI-HPA is short of pods for 43 s a day, with 103.3% more pod-hours; the HPA alone at "
            "70% is for 14 min. More than 2 times the pods is too dear: only pods that stand by meet bursts that "
            "nobody can foresee.",
            id="more than twice as dear",
        ),
    ],
)
def test_otherwise_the_hpa_is_kept_and_it_says_why(ours: dict[float, Spot], why: str) -> None:
    kept = verdict(ours)
    assert (kept.answer, kept.hpa_target, kept.held) == (Answer.KEEP_REACTIVE, None, None)
    assert kept.why == why.replace("86 s", "1.4 min")


def test_the_reason_to_enable_names_both_sides_and_the_price() -> None:
    assert verdict({0.7: Spot(1.6, 0.001), 0.9: Spot(1.2, 0.004)}).why == (
        "Over an HPA at 90%, AI-HPA is short of pods for 5.8 min a day, with 20.0% fewer pod-hours; "
        "the HPA alone at 70% is for 14 min, and no HPA does as well for as little."
    )


@pytest.mark.parametrize(
    ("under_time", "good"), [pytest.param(MINUTE, True, id="a minute"), pytest.param(1.01 * MINUTE, False, id="more")]
)
def test_a_minute_a_day_is_nobodys_reason_even_where_the_hpa_never_was_short(under_time: float, good: bool) -> None:
    hpa = {0.7: Spot(1.5, 0.0), 0.9: Spot(1.4, 0.05)}
    chosen = verdict({0.9: Spot(1.2, under_time)}, hpa)
    assert (chosen.answer is Answer.ENABLE) is good


def test_one_tick_is_told_from_nothing_by_the_length_of_the_part() -> None:
    # Neither is ever short. One tick is all that the front can say, and ours is not clearly below it.
    hpa = {0.7: Spot(1.2, 0.0)}
    assert verdict({0.7: Spot(1.3, 0.0)}, hpa).answer is Answer.KEEP_REACTIVE
    # The HPA misses one tick in two days: that is nothing against a tick a day, and something against a tick a week.
    hpa = {0.7: Spot(1.2, LEAST / 2)}
    assert verdict({0.7: Spot(1.3, 0.0)}, hpa, DAY).answer is Answer.KEEP_REACTIVE
    assert verdict({0.7: Spot(1.3, 0.0)}, hpa, 7 * DAY).answer is Answer.ENABLE


@pytest.mark.parametrize(
    ("ours", "margin", "expected"),
    [
        pytest.param(Spot(1.5, 0.0089), 0.9, True, id="clearly better"),
        pytest.param(Spot(1.5, 0.0091), 0.9, False, id="hardly better"),
        pytest.param(Spot(1.5, 0.0091), 1.0, True, id="better at all"),
        pytest.param(Spot(1.5, 0.01), 1.0, False, id="the same"),
        pytest.param(Spot(1.0, 0.5), 0.9, True, id="no HPA is that cheap"),
    ],
)
def test_a_setting_pays_where_no_hpa_reaches_as_little_for_its_price(ours: Spot, margin: float, expected: bool) -> None:
    assert pays(ours, list(HPA.values()), least=LEAST, margin=margin) is expected


ENABLED, KEPT = Verdict(Answer.ENABLE, "", 0.9), Verdict(Answer.KEEP_REACTIVE, "")


@pytest.mark.parametrize(
    ("given", "ours", "held"),
    [
        pytest.param(ENABLED, Spot(1.5, 0.0099), True, id="enabled, and it was better at all"),
        pytest.param(ENABLED, Spot(1.5, 0.01), False, id="enabled, and it was the same"),
        pytest.param(KEPT, Spot(1.5, 0.01), True, id="kept, and it was the same"),
        pytest.param(KEPT, Spot(1.5, 0.0099), False, id="kept, and it would have been better"),
        pytest.param(ENABLED, Spot(3.0, 0.0005), True, id="enabled, and it was twice as dear as the HPA"),
        pytest.param(ENABLED, Spot(3.1, 0.0005), False, id="enabled, and it was dearer than that"),
        pytest.param(KEPT, Spot(3.1, 0.0005), True, id="kept, and it would have been dearer than that"),
        pytest.param(Verdict(Answer.NOT_ENOUGH_HISTORY, ""), Spot(1.5, 0.002), None, id="nothing was decided"),
    ],
)
def test_the_later_part_tells_whether_the_verdict_held(given: Verdict, ours: Spot, held: bool | None) -> None:
    found = checked(given, ours, list(HPA.values()), HPA[0.7], least=LEAST)
    assert (found.held, found.answer, found.hpa_target) == (held, given.answer, given.hpa_target)


@pytest.mark.parametrize("days", [pytest.param(days, id=f"{days} days") for days in (1, 1.5, 2.5, 5.5, 7)])
@pytest.mark.parametrize("given", [pytest.param(ENABLED, id="enabled"), pytest.param(KEPT, id="kept")])
def test_where_neither_was_short_later_nothing_is_said(given: Verdict, days: float) -> None:
    least = 1 / 5760 / days
    for never in (Spot(1.0, 0.2), Spot(1.3, 0.2)):
        assert checked(given, Spot(1.5, 0.0), [never, Spot(1.4, 0.0)], never, least=least).held is None
    cases = [
        (Spot(1.5, 2 * least), Spot(1.4, 0.0), False),
        (Spot(1.5, 0.0), Spot(1.4, 2 * least), True),
        (Spot(1.3, 0.0), Spot(1.4, 0.0), True),  # no HPA is that cheap
    ]
    for ours, hpa, held in cases:
        assert checked(ENABLED, ours, [hpa], hpa, least=least).held is held
