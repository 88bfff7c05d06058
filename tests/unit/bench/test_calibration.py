"""What the measurement of calibration may know, and how it counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.calibration import (
    ChampionScore,
    Issued,
    Learned,
    Score,
    champion_score_of,
    champion_summary_of,
    forecasts_of,
    learn,
    main,
    request_of,
    score_of,
    summary_of,
)
from predictor_model.features import HORIZON
from predictor_model.graph import MODEL_FILE, SHIPPED_WEIGHTS, Graph, load_graph
from predictor_model.metrics import LEVELS
from predictor_model.scoring import COVERAGE_LEVELS, REPLICA_STEPS
from predictor_model.traces import Trace
from scaler import baselines
from scaler.calibration import SOURCES, CalibrationConfig
from scaler.domain import Source
from scaler.forecasts import ForecastsConfig
from tests.unit.predictor.loads import daily_load

CONFIG = ForecastsConfig()
CONTEXT = 8
MODEL, PERSISTENCE = SOURCES.index(Source.MODEL), SOURCES.index(Source.PERSISTENCE)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return load_graph(SHIPPED_WEIGHTS / MODEL_FILE)


def trace(values: np.ndarray) -> Trace:
    return Trace("d", "s", 0, 300, values.astype(np.float32))


def issued_at(origins: int, bound: float, truth: float) -> Issued:
    """Forecasts of one bound, for every window, of a load that is always the same."""
    load = trace(np.full(origins + 2 * HORIZON, truth))
    numbers = np.arange(HORIZON, HORIZON + origins)
    requests = tuple(request_of(load, load.values.astype(np.float64), number, CONTEXT) for number in numbers.tolist())
    return Issued(
        trace=load,
        origins=numbers,
        requests=requests,
        without_model=baselines.forecast(requests),
        highest=np.full((origins, HORIZON, len(LEVELS)), bound),
        truth=np.full((origins, HORIZON), truth),
        busy=np.arange(origins) < origins // 2,
        capacity=1.0,
    )


def test_no_bound_changes_with_what_comes_after_it(graph: Graph) -> None:
    values = daily_load(days=8)
    cut = 1800
    changed = values.copy()
    changed[cut + 1 :] = 10_000
    bounds = []
    for load in (values, changed):
        issued = forecasts_of(trace(load), graph)
        assert issued is not None
        learned = learn(issued, 0.9, 5, CONFIG)
        bounds.append(np.column_stack([learned.bounds, learned.peaks, learned.champions])[issued.origins <= cut])
    # Capacity is a share of the whole series, and decides who is champion.
    np.testing.assert_allclose(bounds[0][:, :-1], bounds[1][:, :-1], rtol=1e-5)


def test_a_bound_that_is_always_missed_rises_and_one_that_never_is_falls() -> None:
    low, high = issued_at(60, 9.0, 10.0), issued_at(60, 12.0, 10.0)
    assert learn(low, 0.9, 5, CONFIG).bounds[0] == 9.0
    assert learn(low, 0.9, 5, CONFIG).bounds[-1] > 9.1
    assert learn(high, 0.9, 5, CONFIG).bounds[-1] < 12.0
    still = replace(CONFIG, calibration=CalibrationConfig(calibration_rate=0.0))
    np.testing.assert_array_equal(learn(low, 0.9, 5, still).bounds, 9.0)


def test_bounds_are_scored_in_windows_busy_windows_and_pods() -> None:
    issued = issued_at(8, 0.0, 10.0)
    bounds = np.full(8, 8.0)  # two pods short
    bounds[:4] = 13.0  # three pods spare, in the busy half
    first = score_of(issued, 0.9, 5, bounds)
    assert (first.step, first.covered, first.covered_busy) == (5, 0.5, 1.0)
    assert first.cost == pytest.approx((4 * 3 * 0.1 + 4 * 2 * 0.9) / 8)


def test_who_served_is_scored_after_the_first_day_against_everybody_alone() -> None:
    issued = issued_at(400, 12.0, 10.0)  # at 300 s a day is 288 of them, of which the first 30 are context
    later = issued.origins >= 288
    peaks = np.full((400, len(SOURCES)), np.nan)
    peaks[:, MODEL], peaks[:, PERSISTENCE] = 12.0, 9.0
    champions = np.where(np.arange(400) % 2, MODEL, PERSISTENCE)
    score = champion_score_of(issued, 0.9, 5, Learned(peaks[:, MODEL], peaks, champions))
    assert score.costs["persistence"] == pytest.approx(0.9)
    assert score.costs["model"] == score.costs["seasonal-day"] == score.best == pytest.approx(0.2)
    share = champions[later].tolist().count(MODEL) / later.sum()
    assert score.cost == pytest.approx(share * 0.2 + (1 - share) * 0.9)
    assert score.served["model"] == pytest.approx(share)


def test_the_champions_summary_holds_cost_against_the_best_in_hindsight_and_the_model() -> None:
    sources = {source.value: 4.0 for source in SOURCES}
    scores = [
        ChampionScore(name, step, level, cost, sources | {"model": model, "persistence": 2.0}, sources)
        for step in REPLICA_STEPS
        for level in COVERAGE_LEVELS
        for name, cost, model in (("steady", 2.0, 4.0), ("wild", 8.0, 4.0))
    ]
    row = champion_summary_of(scores)[0]
    assert (row["over_best"], row["over_best_worst"], row["worst_series"]) == (pytest.approx(2.0), 4.0, "wild")
    assert (row["over_model"], row["over_model_worst"]) == (pytest.approx(1.0), 2.0)
    assert row["best"] == {"persistence": 2} | {s.value: 0 for s in SOURCES if s is not Source.PERSISTENCE}


def test_the_summary_names_the_lowest_series_and_what_learning_costs() -> None:
    def scores(covered: list[float], cost: float) -> list[Score]:
        return [
            Score(str(number), step, level, share, share, cost)
            for step in REPLICA_STEPS
            for level in COVERAGE_LEVELS
            for number, share in enumerate(covered)
        ]

    row = summary_of(scores([0.6, 0.8], 2.0), scores([0.88, 0.92], 1.0))[0]
    assert (row["lowest_before"], row["lowest"], row["highest"]) == (0.6, 0.88, 0.92)
    assert row["covered"] == pytest.approx(0.9)
    assert row["cost_ratio"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("days", "status", "said"),
    [pytest.param(8, 0, "| 5, 0.90 |", id="a week"), pytest.param(3, 2, "no series is a week long", id="too short")],
)
def test_the_command_measures_series_of_a_week(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], days: int, status: int, said: str
) -> None:
    rows = [f"web,{number * 300},{value:.3f}" for number, value in enumerate(daily_load(days=days))]
    csv, out = tmp_path / "own.csv", tmp_path / "calibration.json"
    csv.write_text("series,timestamp,value\n" + "\n".join(rows) + "\n", encoding="utf-8")
    assert main(["--csv", str(csv), "--json", str(out)]) == status
    captured = capsys.readouterr()
    assert said in captured.out + captured.err
    assert out.exists() == (status == 0)
    if status == 0:
        written = json.loads(out.read_text())
        assert len(written["summary"]) == len(written["champion"]) == len(REPLICA_STEPS) * len(COVERAGE_LEVELS)
