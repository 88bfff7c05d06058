"""Whose forecasts serve, and when another's take over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.calibration import SOURCES
from scaler.champion import (
    ChampionConfig,
    Judged,
    Outcome,
    Pending,
    Scores,
    await_outcome,
    crown,
    next_best,
    resolve,
    score,
)
from scaler.domain import Champion, ChampionReason, Source, Target, TargetKey
from scaler.policy import PolicyConfig

T0 = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
PERIOD = timedelta(minutes=5)
DAY = timedelta(days=1)
NAN = float("nan")
CONFIG = ChampionConfig()
TARGET = Target(TargetKey("shop", "Deployment", "web"), 1, 50, capacity=10.0, miss_budget_ratio=0.1)


def per_source(others: float = NAN, **values: float) -> np.ndarray:
    named = {name.replace("_", "-"): value for name, value in values.items()}
    return np.array([named.get(source.value, others) for source in SOURCES])


def outcome(highest: float, *, at: datetime = T0, **peaks: float) -> Outcome:
    return Outcome(at, highest, per_source(**peaks))


def scored(scores: Scores, *outcomes: Outcome, target: Target = TARGET) -> Scores:
    (after,) = score([scores], [outcomes], targets=[target], config=CONFIG, policy=PolicyConfig(), period=PERIOD)
    return after


def crowned(scores: Scores, now: datetime = T0) -> tuple[Scores, Champion]:
    (after,) = crown([scores], CONFIG, now)
    return after


def scores_of(*, days: float = 2.0, **ratios: float) -> Scores:
    """Scores after some days, at a cost of 100 for persistence."""
    costs = 100.0 * per_source(persistence=1.0, **ratios)
    known = np.isfinite(costs)
    return Scores(
        np.where(known, costs, 0.0), np.where(known, 100.0, 0.0), np.where(known, days * 86_400.0, 0.0), T0
    )  # fmt: skip


def ratios_of(scores: Scores) -> dict[str, float]:
    return crowned(scores)[1].cost_ratios


STEP = timedelta(minutes=1)


def pending(*, steps: int = 2, origin: datetime = T0) -> tuple[Pending, ...]:
    """A forecast of 10 by the model, held against the load of its first steps."""
    judged = Judged(origin, STEP, (9, steps), np.stack([per_source(99.0), per_source(model=10.0)]))
    return (Pending(judged, 1),)


class TestResolve:
    @pytest.mark.parametrize(
        ("realised", "end_step", "highest"),
        [
            pytest.param([7.0, 8.0], 2, [8.0], id="over just now"),
            pytest.param([7.0, 8.0, 99.0], 3, [8.0], id="what came later is left out"),
            pytest.param([7.0], 1, [], id="not over yet"),
            pytest.param([NAN, 8.0], 2, [], id="a gap may hide anything"),
            pytest.param([8.0, NAN, 8.0], 3, [], id="a gap at its end"),
            pytest.param([8.0, 7.0, NAN], 3, [8.0], id="a gap after it"),
        ],
    )
    def test_a_judged_window_is_told_once_it_was_seen_whole(
        self, realised: list[float], end_step: int, highest: list[float]
    ) -> None:
        left, outcomes = resolve(pending(), np.array([1.0, *realised]), end=T0 + end_step * STEP, step=STEP)
        assert [outcome.highest for outcome in outcomes] == highest
        assert all(outcome.origin == T0 and outcome.peaks[0] == 10.0 for outcome in outcomes)
        assert len(left) == (end_step < 2)

    @pytest.mark.parametrize(
        ("censored", "told"),
        [
            pytest.param(0 * STEP, 1, id="at the origin: context, not outcome"),
            pytest.param(0.5 * STEP, 0, id="inside the first step"),
            pytest.param(2 * STEP, 0, id="at its end"),
            pytest.param(2.5 * STEP, 1, id="after it"),
        ],
    )
    def test_a_window_of_which_a_sample_was_only_a_lower_bound_is_not_told(
        self, censored: timedelta, told: int
    ) -> None:
        left, outcomes = resolve(
            pending(), np.array([7.0, 8.0]), end=T0 + 2 * STEP, step=STEP, censored=(T0 + censored,)
        )
        assert (len(left), len(outcomes)) == (0, told)

    @pytest.mark.parametrize(
        ("history", "end", "step"),
        [
            pytest.param(1, T0 + 3 * STEP, STEP, id="the history does not reach back to it"),
            pytest.param(9, T0 + 3.5 * STEP, STEP, id="the history lies between its steps"),
            pytest.param(9, T0 + 3 * STEP, 3 * STEP, id="the step has changed"),
        ],
    )
    def test_a_window_that_cannot_be_compared_is_forgotten(self, history: int, end: datetime, step: timedelta) -> None:
        assert resolve(pending(), np.full(history, 9.0), end=end, step=step) == ((), [])

    def test_a_late_answer_takes_the_place_of_the_earlier_one_of_its_origin(self) -> None:
        first, (late,) = pending(), pending(steps=3)
        assert await_outcome(first, late.judged, late.row) == (late,)

    def test_windows_are_told_in_the_order_of_their_origins(self) -> None:
        (later,) = pending(origin=T0 + STEP)
        both = await_outcome(pending(steps=3), later.judged, later.row)
        left, outcomes = resolve(both, np.array([1.0, 2.0, 3.0]), end=T0 + 3 * STEP, step=STEP)
        assert (left, [(told.origin, told.highest) for told in outcomes]) == ((), [(T0, 3.0), (T0 + STEP, 3.0)])


class TestScore:
    @pytest.mark.parametrize(
        ("peak", "cost"),
        [
            pytest.param(39.0, 0.0, id="as many pods as were needed"),
            pytest.param(31.0, 0.0, id="another load, the same pods"),
            pytest.param(20.0, 2 * 0.9, id="two pods short"),
            pytest.param(65.0, 3 * 0.1, id="three to spare"),
            pytest.param(0.0, 3 * 0.9, id="one pod stands in any case"),
            pytest.param(9e9, 46 * 0.1, id="no more than the user allows"),
        ],
    )
    def test_a_window_costs_the_pods_that_were_missing_or_spare(self, peak: float, cost: float) -> None:
        scores = scored(Scores(), outcome(35.0, model=peak, persistence=35.0))
        assert scores.costs[SOURCES.index(Source.MODEL)] == pytest.approx(cost)

    def test_below_the_activation_threshold_no_pod_is_needed(self) -> None:
        asleep = replace(TARGET, min_replicas=0)
        scores = scored(Scores(), outcome(0.4, model=0.4, persistence=5.0), target=asleep)
        assert scores.costs == pytest.approx(per_source(0.0, persistence=0.1))

    def test_each_is_held_against_persistence_in_the_windows_it_spoke_on(self) -> None:
        first = outcome(35.0, model=20.0, persistence=30.0)
        second = outcome(35.0, at=T0 + PERIOD, seasonal_day=45.0, persistence=10.0)
        ratios = scored(
            scored(Scores(), outcome(1.0, at=T0 - PERIOD, model=1, seasonal_day=1, persistence=1)), first, second
        )
        assert ratios_of(ratios) == pytest.approx(
            {"model": 2.0, "seasonal-day": 0.1 / 2.7, "persistence": 1.0}, rel=1e-3
        )

    def test_a_cost_counts_half_after_the_half_life(self) -> None:
        scores = scored(Scores(), outcome(35.0, model=20.0, persistence=20.0))
        later = scored(scores, outcome(35.0, at=T0 + CONFIG.champion_half_life, model=35.0, persistence=35.0))
        assert later.costs == pytest.approx(scores.costs / 2)
        assert later.references == pytest.approx(scores.references / 2)

    def test_a_window_speaks_for_the_time_to_the_next_forecast_and_no_longer(self) -> None:
        scores = Scores()
        for minutes in (0, 5, 9, 600):
            scores = scored(scores, outcome(1.0, at=T0 + timedelta(minutes=minutes), persistence=1.0, model=1.0))
        assert scores.seconds == pytest.approx(per_source(0.0, persistence=840.0, model=840.0), rel=0.1)
        assert scores.seconds[0] <= 840.0

    def test_without_persistence_a_window_is_left_out(self) -> None:
        before = Scores()
        assert scored(before, outcome(35.0, model=20.0)) is before


class TestCrown:
    @pytest.mark.parametrize(
        ("ratios", "source", "reason"),
        [
            pytest.param({"model": 0.7}, Source.MODEL, ChampionReason.CHEAPEST, id="the model is cheapest"),
            pytest.param({"model": 1.02}, Source.MODEL, ChampionReason.WITHIN_MARGIN, id="cheaper by two percent"),
            pytest.param({"model": 1.04}, Source.PERSISTENCE, ChampionReason.CHEAPEST, id="cheaper by four"),
            pytest.param(
                {"model": 1.3, "seasonal_week": 0.8, "seasonal_day": 0.9}, Source.SEASONAL_WEEK,
                ChampionReason.CHEAPEST, id="the cheapest of several",
            ),
        ],
    )  # fmt: skip
    def test_another_takes_over_where_it_is_clearly_cheaper(
        self, ratios: dict[str, float], source: Source, reason: ChampionReason
    ) -> None:
        scores, champion = crowned(scores_of(**ratios))
        assert (champion.source, champion.reason, scores.champion) == (source, reason, source)
        assert (champion.since == T0) == (source is not Source.MODEL)

    @pytest.mark.parametrize(
        "scores",
        [
            pytest.param(Scores(), id="nothing scored"),
            pytest.param(scores_of(days=0.9, model=5.0), id="not for a day"),
            pytest.param(
                scores_of(model=5.0)._replace(seconds=per_source(0.0, model=9e4, persistence=8e4)), id="the other not"
            ),
            pytest.param(
                scores_of(model=5.0)._replace(seconds=per_source(0.0, model=8e4, persistence=9e4)), id="itself not"
            ),
        ],
    )
    def test_before_a_day_nobody_takes_over(self, scores: Scores) -> None:
        after, champion = crowned(scores)
        assert after is scores
        assert (champion.source, champion.reason) == (Source.MODEL, ChampionReason.TOO_FEW_SCORES)

    def test_a_load_that_costs_nothing_changes_nobody(self) -> None:
        free = scores_of(model=1.0)
        _, champion = crowned(free._replace(costs=np.zeros(len(SOURCES)), references=np.zeros(len(SOURCES))))
        assert (champion.source, champion.reason) == (Source.MODEL, ChampionReason.CHEAPEST)

    def test_the_champion_says_for_how_long_it_was_scored(self) -> None:
        assert crowned(scores_of(days=2.5, model=0.7))[1].scored_days == pytest.approx(2.5)

    def test_the_time_of_the_change_stays(self) -> None:
        scores, _ = crowned(scores_of(model=2.0))
        _, later = crowned(scores, T0 + DAY)
        assert later.since == T0

    @given(st.lists(st.floats(0.1, 10.0), min_size=len(SOURCES), max_size=len(SOURCES)), st.sampled_from(Source))
    def test_once_crowned_it_stays_until_the_scores_change(self, costs: list[float], champion: Source) -> None:
        every = np.ones(len(SOURCES))
        scores = Scores(np.array(costs), every, every * 9e4, T0, champion)
        first, told = crowned(scores)
        second, again = crowned(first)
        assert (second, again) == (first, told)
        ratios = dict(zip(SOURCES, costs, strict=True))
        assert ratios[told.source] <= min(ratios.values()) / (1 - CONFIG.champion_margin_ratio) + 1e-6


class TestNextBest:
    @pytest.mark.parametrize(
        ("ratios", "days", "available", "source"),
        [
            pytest.param(
                {"seasonal_day": 1.2}, 2.0, {"seasonal-day", "persistence"}, Source.PERSISTENCE, id="cheapest"
            ),
            pytest.param({"seasonal_day": 0.8}, 2.0, {"persistence"}, Source.PERSISTENCE, id="cheapest that is there"),
            pytest.param(
                {"seasonal_day": 1.2}, 0.1, {"seasonal-day", "persistence"}, Source.SEASONAL_DAY, id="unproven"
            ),
            pytest.param({}, 2.0, {"damped-trend", "persistence"}, Source.PERSISTENCE, id="proven before unproven"),
            pytest.param({}, 2.0, set(), None, id="nobody"),
        ],
    )
    def test_it_is_the_cheapest_proven_one_that_has_a_forecast(
        self, ratios: dict[str, float], days: float, available: set[str], source: Source | None
    ) -> None:
        there = np.array([candidate.value in available for candidate in SOURCES])
        assert next_best(scores_of(days=days, model=0.5, **ratios), there, CONFIG) is source


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="champion_margin_ratio must lie from 0"):
        ChampionConfig(champion_margin_ratio=-0.1)
