"""The page that an evaluation writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from predictor_model.evaluate import main
from predictor_model.evaluation_report import verdict
from predictor_model.examples import example_of
from predictor_model.features import HORIZON
from predictor_model.metrics import LEVELS
from predictor_model.scoring import SHIPPED, Summary, make_case
from predictor_model.traces import Trace
from tests.unit.predictor.loads import daily_load


def summary(forecaster: str, overall: float) -> Summary:
    interval = (0.9 * overall, 1.1 * overall)
    return Summary(forecaster, 3, overall, interval, {"d": overall}, overall, 1.0, "d/s", 1.2, {}, {}, {})


@pytest.mark.parametrize(
    ("rival", "relation"), [pytest.param(0.8, "ahead of", id="won"), pytest.param(0.6, "behind", id="lost")]
)
def test_the_verdict_names_the_best_rival_and_who_won(rival: float, relation: str) -> None:
    said = verdict([summary(SHIPPED, 0.7), summary("persistence", 1.0), summary("lightgbm", rival)])
    assert f"{relation} the best rival, lightgbm, with {rival:.3f}" in said


def test_the_forecast_shown_is_the_one_with_the_median_loss() -> None:
    case = make_case(Trace("d", "s", 0, 300, daily_load()))
    assert case is not None
    exact = np.repeat(case.target[..., None], len(LEVELS), axis=-1)
    # The loss of each forecast is its number.
    quantiles = exact + np.arange(len(case.origins))[:, None, None]
    example = example_of(case, quantiles)
    np.testing.assert_array_equal(example.target, case.target[60])
    assert example.past[-1] == case.values[case.origins[60]]
    assert example.quantiles.shape == (HORIZON, len(LEVELS))


def test_the_page_loads_nothing_and_names_what_it_shows(tmp_path: Path) -> None:
    name = "<web & shop>"
    rows = [f"{name},{number * 300},{value:.3f}" for number, value in enumerate(daily_load())]
    csv, page = tmp_path / "own.csv", tmp_path / "page.html"
    csv.write_text("series,timestamp,value\n" + "\n".join(rows) + "\n", encoding="utf-8")
    assert main(["--csv", str(csv), "--classical", "ses", "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "<title>AI-HPA: how good is the forecast?</title>" in text
    assert "own/&lt;web &amp; shop&gt;" in text
    assert name not in text
    assert "$" + "table" not in text
    outside = text[: text.index("<script>")] + text[text.index("</script>") :]
    assert "src=" not in outside
    assert "href=" not in outside
