import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from predictor_model.baselines import CLASSICAL
from predictor_model.card import model_card, with_block
from predictor_model.cold_start import HISTORIES
from predictor_model.evaluate import main
from predictor_model.features import HORIZON
from predictor_model.graph import MODEL_FILE, SHIPPED_WEIGHTS, Graph, load_graph
from predictor_model.metrics import LEVELS, MEDIAN
from predictor_model.scoring import (
    REPLICA_KEYS,
    SHIPPED,
    Rivals,
    SeriesScore,
    covered_shares,
    forecasts_of,
    make_case,
    model_forecast,
    naive_reference,
    replica_costs,
    score_case,
    summarise,
)
from predictor_model.tables import experiment_table, markdown_table, replica_table
from predictor_model.traces import Trace
from tests.unit.predictor.loads import daily_load


@pytest.fixture(scope="module")
def graph() -> Graph:
    return load_graph(SHIPPED_WEIGHTS / MODEL_FILE)


def trace(values: np.ndarray, *, name: str = "s", step: int = 300) -> Trace:
    return Trace("d", name, 0, step, values.astype(np.float32))


def score(ratio: float, *, dataset: str, forecaster: str = "f", series: str = "s") -> SeriesScore:
    pods = dict.fromkeys(REPLICA_KEYS, 2.0)
    cost = {key: ratio * value for key, value in pods.items()}
    return SeriesScore(dataset, series, forecaster, ratio, ratio, ratio, None, cost, pods)


def test_origins_lie_in_the_last_thirty_percent_and_their_targets_inside_the_series() -> None:
    case = make_case(trace(np.arange(2000.0)))
    assert case is not None
    assert case.origins.min() == 1400
    assert case.origins.max() == 2000 - HORIZON - 1
    assert len(case.origins) == 120
    np.testing.assert_array_equal(case.target[0], 1400 + np.arange(1, HORIZON + 1))


def test_an_origin_without_a_sample_is_left_out() -> None:
    values = daily_load()
    values[int(len(values) * 0.7) + 3 :: 2] = np.nan
    case = make_case(trace(values))
    assert case is not None
    assert not np.isnan(values[case.origins]).any()
    assert len(case.origins) < 120


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(np.ones(190), id="test-part-under-two-horizons"),
        pytest.param(np.concatenate([np.ones(500), np.full(500, np.nan)]), id="nothing-observed-in-the-test-part"),
    ],
)
def test_a_series_that_cannot_be_tested_is_skipped(values: np.ndarray) -> None:
    assert make_case(trace(values)) is None


def test_a_constant_series_tells_nothing_and_gets_no_score(graph: Graph) -> None:
    case = make_case(trace(np.full(1000, 7.0)))
    assert case is not None
    assert score_case(case, forecasts_of(case, Rivals({SHIPPED: graph}))) == []


def test_the_better_naive_forecast_is_the_unit(graph: Graph) -> None:
    case = make_case(trace(daily_load()))
    assert case is not None
    rivals = Rivals({SHIPPED: graph}, classical=("ses", "ridge"))
    scores = {row.forecaster: row for row in score_case(case, forecasts_of(case, rivals))}
    assert set(scores) == {"persistence", "seasonal-naive", "ses", "ridge", SHIPPED}
    assert min(scores["persistence"].wql_ratio, scores["seasonal-naive"].wql_ratio) == pytest.approx(1.0)
    assert scores[SHIPPED].wql_ratio < 0.5 * scores["persistence"].wql_ratio


@pytest.mark.parametrize("trailing", [False, True])
def test_no_forecast_changes_with_what_comes_after_its_origin(graph: Graph, trailing: bool) -> None:
    values = daily_load()
    case = make_case(trace(values))
    assert case is not None
    last = int(case.origins[40])
    changed = values.copy()
    changed[last + 1 :] = 10_000
    other = make_case(trace(changed))
    assert other is not None
    until = case.origins <= last
    for name, quantiles in naive_reference(case, trailing=trailing).items():
        again = naive_reference(other, trailing=trailing)[name]
        np.testing.assert_array_equal(quantiles[until], again[until], err_msg=name)
    for ours, theirs in zip(
        model_forecast(graph, case.trace, case.origins), model_forecast(graph, other.trace, other.origins), strict=True
    ):
        np.testing.assert_allclose(ours[until], theirs[until], rtol=1e-5)


@pytest.mark.parametrize("name", list(CLASSICAL))
def test_no_classical_forecast_changes_with_what_comes_after_its_origin(name: str) -> None:
    values = daily_load()
    case = make_case(trace(values))
    assert case is not None
    origins = case.origins[::12]
    changed = values.copy()
    changed[origins[4] + 1 :] = 10_000

    def forecast(load: np.ndarray) -> np.ndarray:
        quantiles = CLASSICAL[name](load.astype(np.float64), origins[:5], period=case.day, split=case.split)
        assert quantiles is not None
        return quantiles

    np.testing.assert_allclose(forecast(values), forecast(changed), rtol=1e-9)


@pytest.mark.parametrize("name", list(CLASSICAL))
def test_a_classical_forecast_of_a_clean_day_is_ordered_and_close(name: str) -> None:
    case = make_case(trace(daily_load()))
    assert case is not None
    quantiles = CLASSICAL[name](case.values, case.origins[::12], period=case.day, split=case.split)
    assert quantiles is not None
    assert quantiles.shape == (10, HORIZON, len(LEVELS))
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    assert np.abs(quantiles[:, 0, MEDIAN] - case.target[::12][:, 0]).max() < 20  # three sigma of the noise, and more


@pytest.mark.parametrize("name", list(CLASSICAL))
def test_a_series_too_short_for_a_classical_forecast_gets_none(name: str) -> None:
    values = daily_load(days=1)[:70].astype(np.float64)
    assert CLASSICAL[name](values, np.array([60]), period=288, split=40) is None


def test_coverage_of_a_bound_nothing_exceeds_is_one() -> None:
    case = make_case(trace(daily_load()))
    assert case is not None
    shares = covered_shares(case, np.full((len(case.origins), HORIZON, len(LEVELS)), 1e9))
    assert set(shares.values()) == {1.0}


def test_a_bound_costs_the_pods_that_it_misses_and_those_that_it_spares() -> None:
    case = make_case(trace(daily_load()))
    assert case is not None
    pod = float(np.quantile(case.values[: case.split], 0.99)) / 30
    truth = np.repeat(case.target[..., None], len(LEVELS), axis=-1)
    highest = np.maximum.accumulate(truth, axis=1)
    exact = replica_costs(case, truth, highest)
    assert set(exact.values()) == {0.0}
    spare = replica_costs(case, truth, highest + 3 * pod)
    short = replica_costs(case, truth, highest - 3 * pod)
    assert spare["5/0.9"] == pytest.approx(3 * 0.1)
    assert short["5/0.9"] == pytest.approx(3 * 0.9)
    assert replica_costs(case, truth, None) == exact  # the highest step stands in for a missing head


def test_cost_in_pods_is_summed_over_series_before_it_is_compared() -> None:
    scores = [score(0.5, dataset="a", series="one"), score(1.5, dataset="a", series="two")]
    (summary,) = summarise(scores)
    assert summary.replica["15/0.99"] == pytest.approx(1.0)
    assert "| f | 1.000 |" in replica_table([summary])


def test_data_sets_count_alike_whatever_their_number_of_series() -> None:
    scores = [score(0.5, dataset="many", series=str(number)) for number in range(9)] + [score(2.0, dataset="one")]
    (summary,) = summarise(scores)
    assert summary.overall == pytest.approx(1.0)
    assert (summary.series, summary.worst_series, summary.worst_ratio) == (10, "one/s", 2.0)


def test_the_table_has_a_row_for_each_forecaster_and_a_column_for_each_data_set() -> None:
    table = markdown_table(summarise([score(0.5, dataset="a"), score(1.5, dataset="b", forecaster="g")]))
    header, _, first, second = table.splitlines()
    assert header.startswith("| forecaster | series | a | b | together |")
    assert first.startswith("| f | 1 | 0.500 | - | **0.500** |")
    assert second.startswith("| g | 1 | - | 1.500 | **1.500** |")


def test_the_command_scores_a_csv_and_writes_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"web,{number * 300},{value:.3f}" for number, value in enumerate(daily_load())]
    csv, out = tmp_path / "own.csv", tmp_path / "scores.json"
    csv.write_text("series,timestamp,value\n" + "\n".join(rows) + "\n", encoding="utf-8")
    assert main(["--csv", str(csv), "--classical", "--json", str(out)]) == 0
    assert "| bi-lstm | 1 |" in capsys.readouterr().out
    found = json.loads(out.read_text(encoding="utf-8"))
    assert [row["forecaster"] for row in found["summaries"]] == ["persistence", "seasonal-naive", "bi-lstm"]
    assert [row["history"] for row in found["histories"]] == list(HISTORIES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--csv", "nowhere.csv"], "no such file", id="no-file"),
        pytest.param(["--csv", "{short}"], "no series is long enough", id="too-short"),
        pytest.param(["--csv", "{short}", "--model", "mine=nowhere"], "is not there", id="no-model"),
    ],
)
def test_a_command_that_cannot_run_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    short = tmp_path / "short.csv"
    short.write_text(
        "series,timestamp,value\n" + "\n".join(f"a,{n * 60},1" for n in range(20)) + "\n", encoding="utf-8"
    )
    assert main([argument.format(short=short) for argument in arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_the_block_between_the_marks_is_replaced_and_the_rest_kept() -> None:
    marks = ("<!-- measured: written by `make docs` from docs/evaluation.json -->", "<!-- end of measured -->")
    page = with_block(f"before\n{marks[0]}\nold\n{marks[1]}\nafter\n", "measured", "new")
    assert page == f"before\n{marks[0]}\n\nnew\n\n{marks[1]}\nafter\n"
    with pytest.raises(ValueError, match="needs the marks"):
        with_block("no marks", "measured", "new")


def test_the_table_of_choices_compares_with_its_first_row() -> None:
    covered = {"15/0.95": 0.94}
    rows = [
        replace(score(ratio, dataset="d", forecaster=name), covered=covered)
        for name, ratio in (("base", 0.8), ("other", 0.88))
    ]
    _, _, base, other = experiment_table(summarise(rows)).splitlines()
    assert base.startswith("| base | 0.800 | **0.800** | +0.0% |")
    assert other.startswith("| other | 0.880 | **0.880** | +10.0% |")


def test_the_card_names_every_set_its_licence_and_its_hash() -> None:
    record = json.loads((SHIPPED_WEIGHTS / "training.json").read_text(encoding="utf-8"))
    card = model_card(record, summarise([score(0.7, dataset="d", forecaster=SHIPPED)]))
    for source in record["data"]:
        assert f"| {source['dataset']} | {source['licence']} |" in card
        assert source["sha256"][:16] in card
    assert "| together | 0.700" in card
