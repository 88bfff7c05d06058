"""What is kept of one workload's forecasts from one answer to the next."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from scaler import baselines
from scaler.calibration import SOURCES, CalibrationConfig
from scaler.champion import Scores
from scaler.domain import Forecast, ForecastRequest, Source, Target, TargetKey
from scaler.forecasts import Arrival, Forecasts, ForecastsConfig, censor, take
from scaler.history import PREDICTION_LENGTH as H

T0 = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
STEP = timedelta(minutes=1)
PERIOD = timedelta(minutes=5)
KEY = TargetKey("shop", "Deployment", "web")
TARGET = Target(KEY, 0, 100, capacity=10.0, miss_budget_ratio=0.1)
CONFIG = ForecastsConfig()
NAN = float("nan")
JUDGED = 5


def arrival(
    load: list[float], *, model: float | None, at: datetime = T0, day: float = NAN, length: int = 60
) -> Arrival:
    values = np.array([*[load[0]] * (length - len(load)), *load])
    seasons = np.full((2, length + H), NAN)
    seasons[0] = day
    request = ForecastRequest(KEY, at, STEP, values, seasons)
    forecast = None
    if model is not None:
        bounds = np.full((H, 2), model)
        forecast = Forecast(at, STEP, (0.5, 0.9), bounds, bounds, Source.MODEL, "v1")
    (without_model,) = baselines.forecast([request])
    return Arrival(request, forecast, without_model, JUDGED)


def took(known: Forecasts, news: Arrival, *, target: Target = TARGET, config: ForecastsConfig = CONFIG) -> Forecasts:
    (taken,) = take([known], [news], targets=[target], config=config, now=news.request.origin)
    return taken


def serving(known: Forecasts) -> tuple[Source, float]:
    newest = known.trajectories[0]
    return newest.forecast.source, newest.peaks[JUDGED - 1]


def test_the_models_forecast_serves_as_it_arrived() -> None:
    known = took(Forecasts(), arrival([20.0], model=50.0))
    assert serving(known) == (Source.MODEL, 50.0)
    assert known.newest is not None
    assert known.newest.forecast.model_version == "v1"
    assert known.stand_in is None


def test_without_the_models_answer_its_last_one_comes_first_and_the_next_best_behind_it() -> None:
    known = took(took(Forecasts(), arrival([20.0], model=50.0)), arrival([20.0], model=None, at=T0 + PERIOD, day=20.0))
    assert [(t.forecast.source, t.forecast.origin) for t in known.trajectories] == [
        (Source.MODEL, T0), (Source.SEASONAL_DAY, T0 + PERIOD),
    ]  # fmt: skip


def test_a_champion_without_the_model_serves_its_own_bounds_with_its_own_offset() -> None:
    known = Forecasts(scores=Scores(champion=Source.PERSISTENCE))
    known = took(known, arrival([10.0, 20.0] * 30, model=90.0))
    source, peak = serving(known)
    # The newest load is 20, and half of the loads of the context were followed by one 10 higher.
    assert source is Source.PERSISTENCE
    assert peak == pytest.approx(20.0 + 10.0)


def test_what_came_true_is_scored_by_the_pods_that_each_source_asked_for() -> None:
    known = took(Forecasts(), arrival([20.0], model=90.0))
    for minutes in (5, 10):
        at = T0 + timedelta(minutes=minutes)
        known = took(known, arrival([20.0], model=90.0, at=at))
    assert known.champion is not None
    row = SOURCES.index(Source.MODEL)
    assert known.scores.costs[row] == pytest.approx(2 * 7 * 0.1, rel=0.01)
    assert known.scores.scored_at == T0 + PERIOD


def test_a_source_is_judged_by_no_less_than_the_load_that_was_seen() -> None:
    known = took(Forecasts(), arrival([20.0, 60.0], model=5.0))
    (pending,) = known.pending
    assert pending.judged.peaks[0, SOURCES.index(Source.MODEL)] == 60.0


def test_a_censored_window_is_not_scored() -> None:
    known = censor(took(Forecasts(), arrival([20.0], model=90.0)), T0 + 2 * STEP)
    known = took(known, arrival([20.0], model=90.0, at=T0 + PERIOD))
    assert known.scores.scored_at is None


def test_nothing_is_censored_before_the_first_forecast() -> None:
    empty = Forecasts()
    assert censor(empty, T0) is empty


def test_at_another_level_scores_begin_anew() -> None:
    known = took(Forecasts(), arrival([20.0], model=90.0))
    known = known._replace(scores=Scores(champion=Source.PERSISTENCE, scored_at=T0))
    known = took(known, arrival([20.0], model=90.0, at=T0 + PERIOD), target=replace(TARGET, miss_budget_ratio=0.05))
    assert (known.scores.champion, known.calibration and known.calibration.level) == (Source.MODEL, 0.95)


def test_a_load_of_zero_teaches_nothing_and_stops_nothing() -> None:
    known = Forecasts()
    for minutes in range(0, 60, 5):
        known = took(known, arrival([0.0], model=0.0, at=T0 + timedelta(minutes=minutes), day=0.0))
    assert serving(known) == (Source.MODEL, 0.0)
    assert known.calibration is not None
    assert (known.calibration.waiting.issued, known.pending) == ((), ())


def test_a_rate_of_zero_keeps_what_each_source_began_with() -> None:
    config = ForecastsConfig(calibration=CalibrationConfig(calibration_rate=0.0))
    known = Forecasts()
    for minutes in range(0, 60, 5):
        at = T0 + timedelta(minutes=minutes)
        known = took(known, arrival([20.0 + minutes], model=10.0, at=at), config=config)
    assert known.newest is not None
    assert set(known.newest.offsets) == {0.0}


def test_many_workloads_are_taken_together_as_each_alone() -> None:
    """One is new, one has another level, one another step, one no model, one a short past, one a gap."""
    targets = [TARGET, TARGET, replace(TARGET, miss_budget_ratio=0.01), TARGET, TARGET, TARGET, TARGET]
    together = [Forecasts() for _ in targets]
    alone = list(together)
    for minutes in range(0, 40, 5):
        at = T0 + timedelta(minutes=minutes)
        news = [
            arrival([20.0 + n, 30.0 + minutes * n], model=25.0 + 7 * n if n != 4 else None, at=at, day=20.0 + n)
            for n in range(len(targets))
        ]
        short = arrival([20.0, 50.0], model=10.0, at=at, length=40)
        slow = replace(news[3].request, step=2 * STEP)
        gap = replace(news[6].request, load=np.where(np.arange(60) == 58, NAN, news[6].request.load))
        news[3] = replace(news[3], request=slow)
        news[5], news[6] = short, replace(news[6], request=gap)
        if minutes == 20:
            together[0] = alone[0] = Forecasts()
        alone = [took(known, own, target=target) for known, own, target in zip(alone, news, targets, strict=True)]
        together = take(together, news, targets=targets, config=CONFIG, now=at)
        for one, other in zip(together, alone, strict=True):
            assert one.newest is not None or one.stand_in is not None
            assert [(t.peaks, t.offsets) for t in one.trajectories] == [
                (t.peaks, t.offsets) for t in other.trajectories
            ]
            assert one.scores.costs.tolist() == other.scores.costs.tolist()
            assert one.champion == other.champion
            assert one.calibration is not None
            assert other.calibration is not None
            np.testing.assert_array_equal(one.calibration.offsets, other.calibration.offsets)
            assert len(one.calibration.waiting.issued) == len(other.calibration.waiting.issued)
    assert len({one.scores.scored_at for one in together}) > 1
    assert take([], [], targets=[], config=CONFIG, now=T0) == []


def test_workloads_of_one_load_learn_once_and_are_judged_apart() -> None:
    """Lanes of one load: slow pods, another level, another champion, no model, and a late beginning."""
    targets = [TARGET, TARGET, replace(TARGET, miss_budget_ratio=0.01), TARGET, TARGET, TARGET]
    together = [Forecasts() for _ in targets]
    together[3] = Forecasts(scores=Scores(champion=Source.PERSISTENCE))
    alone = list(together)
    for minutes in range(0, 60, 5):
        at = T0 + timedelta(minutes=minutes)
        one = arrival([20.0, 30.0 + minutes % 25], model=25.0 + minutes % 10, at=at, day=20.0)
        news = [one, replace(one, judged_steps=JUDGED + 4), one, one, replace(one, model=None), one]
        if minutes == 30:
            together[5] = alone[5] = Forecasts()
        alone = [took(known, own, target=target) for known, own, target in zip(alone, news, targets, strict=True)]
        together = take(together, news, targets=targets, config=CONFIG, now=at)
        for lane, other in zip(together, alone, strict=True):
            assert [t.peaks for t in lane.trajectories] == [t.peaks for t in other.trajectories]
            assert (lane.scores.costs.tolist(), lane.champion) == (other.scores.costs.tolist(), other.champion)
    first, slow, other_level, crowned, without_model, late = together
    assert first.calibration is slow.calibration is crowned.calibration
    assert first.newest is slow.newest is not crowned.newest
    assert first.scores.costs.tolist() != slow.scores.costs.tolist()
    assert first.calibration is not other_level.calibration
    assert first.calibration is not without_model.calibration
    assert first.calibration is not late.calibration


def test_pods_are_held_for_load_that_is_absent() -> None:
    here = [40.0] * 60
    gone = [*here[:-5], *[0.0] * 5]
    assert serving(took(Forecasts(), arrival(here, model=5.0, day=40.0))) == (Source.MODEL, 5.0)
    known = took(Forecasts(), arrival(gone, model=5.0, day=40.0))
    assert serving(known) == (Source.MODEL, 40.0)
    assert known.trajectories[0].returning == pytest.approx((40.0,) * H)
    assert serving(took(Forecasts(), arrival(gone, model=55.0, day=40.0))) == (Source.MODEL, 55.0)
