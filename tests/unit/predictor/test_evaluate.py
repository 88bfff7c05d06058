import json
from pathlib import Path

import numpy as np
import pytest

from predictor_model.card import BEGIN, END, model_card, with_block
from predictor_model.evaluate import (
    SHIPPED,
    SeriesScore,
    covered_shares,
    main,
    make_case,
    markdown_table,
    model_forecast,
    naive_reference,
    score_case,
    summarise,
)
from predictor_model.features import HORIZON
from predictor_model.graph import MODEL_FILE, SHIPPED_WEIGHTS, Graph, load_graph
from predictor_model.metrics import LEVELS
from predictor_model.traces import Trace


@pytest.fixture(scope="module")
def graph() -> Graph:
    return load_graph(SHIPPED_WEIGHTS / MODEL_FILE)


def daily_load(days: int = 6, step: int = 300, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    at = np.arange(days * 86_400 // step) * step / 86_400
    return (100 + 60 * np.sin(2 * np.pi * at) + rng.normal(scale=4, size=at.size)).clip(0).astype(np.float32)


def trace(values: np.ndarray, *, name: str = "s", step: int = 300) -> Trace:
    return Trace("d", name, 0, step, values.astype(np.float32))


def score(ratio: float, *, dataset: str, forecaster: str = "f", series: str = "s") -> SeriesScore:
    return SeriesScore(dataset, series, forecaster, ratio, ratio, ratio, None)


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
    assert score_case(case, {SHIPPED: graph}, holt_winters=False) == []


def test_the_better_naive_forecast_is_the_unit(graph: Graph) -> None:
    case = make_case(trace(daily_load()))
    assert case is not None
    scores = {row.forecaster: row for row in score_case(case, {SHIPPED: graph}, holt_winters=True)}
    assert set(scores) == {"persistence", "seasonal-naive", "holt-winters", SHIPPED}
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
    for ours, theirs in zip(model_forecast(graph, case), model_forecast(graph, other), strict=True):
        np.testing.assert_allclose(ours[until], theirs[until], rtol=1e-5)


def test_coverage_of_a_bound_nothing_exceeds_is_one() -> None:
    case = make_case(trace(daily_load()))
    assert case is not None
    shares = covered_shares(case, np.full((len(case.origins), HORIZON, len(LEVELS)), 1e9))
    assert set(shares.values()) == {1.0}


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
    assert main(["--csv", str(csv), "--no-holt-winters", "--json", str(out)]) == 0
    assert "| bi-lstm | 1 |" in capsys.readouterr().out
    found = json.loads(out.read_text(encoding="utf-8"))
    assert [row["forecaster"] for row in found["summaries"]] == ["persistence", "seasonal-naive", "bi-lstm"]


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
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert with_block(page, "new") == "before\nnew\nafter\n"
    with pytest.raises(ValueError, match="needs the marks"):
        with_block("no marks", "new")


def test_the_card_names_every_set_its_licence_and_its_hash() -> None:
    record = json.loads((SHIPPED_WEIGHTS / "training.json").read_text(encoding="utf-8"))
    card = model_card(record, summarise([score(0.7, dataset="d", forecaster=SHIPPED)]))
    for source in record["data"]:
        assert f"| {source['dataset']} | {source['licence']} |" in card
        assert source["sha256"][:16] in card
    assert "| together | 0.700" in card
