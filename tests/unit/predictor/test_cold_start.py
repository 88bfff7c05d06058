"""Little history: what is hidden from the network, and what that costs."""

from __future__ import annotations

import numpy as np
import pytest

from predictor_model.cold_start import HISTORIES, history_scores, ratios_of, with_history
from predictor_model.features import HORIZON
from predictor_model.graph import MODEL_FILE, SHIPPED_WEIGHTS, load_graph
from predictor_model.scoring import make_case, windows_of
from predictor_model.tables import cold_start_table
from predictor_model.traces import Trace
from tests.unit.predictor.loads import daily_load

DAY = 288


@pytest.mark.parametrize(
    ("samples", "seen", "day_lags", "week_lags"),
    [
        pytest.param(8, 8, 0, 0, id="eight samples"),
        pytest.param(DAY - HORIZON, DAY - HORIZON, 0, 0, id="a horizon short of a day"),
        pytest.param(DAY, DAY, HORIZON, 0, id="a day"),
        pytest.param(DAY - 10, DAY - 10, 20, 0, id="the lags of the later steps"),
        pytest.param(7 * DAY, DAY, HORIZON, HORIZON, id="a week"),
    ],
)
def test_nothing_before_the_newest_samples_is_seen(samples: int, seen: int, day_lags: int, week_lags: int) -> None:
    trace = Trace("d", "s", 0, 300, daily_load(days=12))
    windows = windows_of(trace, np.array([10 * DAY]), DAY)
    limited = with_history(windows, samples)
    assert limited.observed.sum() == seen
    assert limited.observed[0, -1]
    assert limited.seasonal_lags_observed.sum(axis=2).tolist() == [[day_lags, week_lags]]


def test_more_history_of_a_clean_day_forecasts_better() -> None:
    case = make_case(Trace("d", "s", 0, 300, daily_load(days=14)))
    assert case is not None
    scores = history_scores(case, load_graph(SHIPPED_WEIGHTS / MODEL_FILE))
    assert [score.history for score in scores] == list(HISTORIES)
    assert scores[-1].ratio < 0.8 * scores[0].ratio
    assert ratios_of(scores, "1 week") == {"d": pytest.approx(scores[-1].ratio)}
    assert f"| 1 week | {scores[-1].ratio:.3f} |" in cold_start_table(scores)


def test_a_series_that_persistence_forecasts_exactly_tells_nothing() -> None:
    case = make_case(Trace("d", "s", 0, 300, np.full(4000, 5.0, dtype=np.float32)))
    assert case is not None
    assert history_scores(case, load_graph(SHIPPED_WEIGHTS / MODEL_FILE)) == []
