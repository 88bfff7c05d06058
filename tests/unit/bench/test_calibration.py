"""What the measurement of calibration may know, and how it counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.calibration import Issued, Score, calibrated, forecasts_of, main, scores_of, summary_of
from predictor_model.features import HORIZON
from predictor_model.graph import MODEL_FILE, SHIPPED_WEIGHTS, Graph, load_graph
from predictor_model.metrics import LEVELS
from predictor_model.scoring import COVERAGE_LEVELS, REPLICA_STEPS
from predictor_model.traces import Trace
from scaler.calibration import CalibrationConfig
from tests.unit.predictor.loads import daily_load

CONFIG = CalibrationConfig()


@pytest.fixture(scope="module")
def graph() -> Graph:
    return load_graph(SHIPPED_WEIGHTS / MODEL_FILE)


def trace(values: np.ndarray) -> Trace:
    return Trace("d", "s", 0, 300, values.astype(np.float32))


def issued_at(origins: int, bound: float, truth: float) -> Issued:
    """Forecasts of one bound, for every window, of a load that is always the same."""
    return Issued(
        trace=trace(np.full(origins + 2 * HORIZON, truth)),
        origins=np.arange(HORIZON, HORIZON + origins),
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
        bounds.append(calibrated(issued, 0.9, CONFIG, graph.context_length)[issued.origins <= cut])
    np.testing.assert_allclose(bounds[0], bounds[1], rtol=1e-5)


def test_a_bound_that_is_always_missed_rises_and_one_that_never_is_falls() -> None:
    low, high = issued_at(60, 9.0, 10.0), issued_at(60, 12.0, 10.0)
    assert calibrated(low, 0.9, CONFIG, 8)[0, 4] == 9.0
    assert calibrated(low, 0.9, CONFIG, 8)[-1, 4] > 9.1
    assert calibrated(high, 0.9, CONFIG, 8)[-1, 4] < 12.0
    np.testing.assert_array_equal(calibrated(low, 0.9, replace(CONFIG, calibration_rate=0.0), 8), 9.0)


def test_bounds_are_scored_in_windows_busy_windows_and_pods() -> None:
    issued = issued_at(8, 0.0, 10.0)
    bounds = np.full((8, HORIZON), 8.0)  # two pods short
    bounds[:4] = 13.0  # three pods spare, in the busy half
    first = scores_of(issued, 0.9, bounds)[0]
    assert (first.step, first.covered, first.covered_busy) == (REPLICA_STEPS[0], 0.5, 1.0)
    assert first.cost == pytest.approx((4 * 3 * 0.1 + 4 * 2 * 0.9) / 8)


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
        assert len(json.loads(out.read_text())["summary"]) == len(REPLICA_STEPS) * len(COVERAGE_LEVELS)
