from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from predictor_model.finetune_outcome import HEADER, Outcome, next_steps, rows, sentence, to_json, to_table
from predictor_model.finetune_report import chosen, comparison_figure, ratio, series_figure, to_page
from predictor_model.graph import MODEL_FILE, SHIPPED_WEIGHTS, load_graph
from predictor_model.holdout import split_history
from predictor_model.scoring import SeriesScore
from predictor_model.traces import Skipped, Trace
from predictor_model.verdict import CANDIDATE, INCUMBENT, SHIPPED, Action, Comparison, Judged, Verdict, judge_series
from tests.unit.predictor.loads import daily_load

PLACE = Path("out/v1")
GAIN = Comparison(CANDIDATE, SHIPPED, 0.9, (0.85, 0.95), 0.8, 8, 8)
BETTER = Verdict(better=True, action=Action.PUT_IN_PLACE, comparisons=(GAIN,))
NO_GAIN = Comparison(CANDIDATE, SHIPPED, 1.0, (0.98, 1.02), 1.0, 8, 4)


@pytest.fixture(scope="module")
def judged() -> tuple[Judged, ...]:
    """Eight series on which the fine-tuned model stands at 0.6, 0.7, ... 1.3 of the shipped one's loss."""
    graph = load_graph(SHIPPED_WEIGHTS / MODEL_FILE)
    traces = [Trace("own", f"web-{number}", 0, 300, daily_load(days=6, seed=number)) for number in range(8)]
    found = [judge_series(history, {CANDIDATE: graph, SHIPPED: graph}) for history in split_history(traces).histories]
    return tuple(_at(series, 0.6 + 0.1 * number) for number, series in enumerate(found) if series is not None)


def _at(series: Judged, share: float) -> Judged:
    ours: SeriesScore = series.scores[SHIPPED]
    better = replace(ours, forecaster=CANDIDATE, wql_ratio=share * ours.wql_ratio)
    return replace(series, scores={**series.scores, CANDIDATE: better})


def outcome(
    judged: tuple[Judged, ...],
    verdict: Verdict = BETTER,
    *,
    trouble: str = "",
    **more: str,
) -> Outcome:
    versions = {CANDIDATE: "0.2.0+ft.1", SHIPPED: "0.2.0", **more}
    return Outcome(verdict, judged, (Skipped("own", "<b>bad", "is bad"),), versions, PLACE, trouble)


WORSE_IN_PLACE = Comparison(SHIPPED, INCUMBENT, 0.7, (0.6, 0.8), 0.9, 8, 8)


@pytest.mark.parametrize(
    ("verdict", "trouble", "said"),
    [
        pytest.param(
            Verdict(True, Action.PUT_IN_PLACE, (GAIN,)),
            "",
            "Better: on the newest load of 8 series the fine-tuned weights make 0.900 of the loss of those shipped "
            "(95 %: 0.850 to 0.950) at 0.800 of their cost in pods. Version 0.2.0+ft.1 now stands in out/v1.",
            id="better",
        ),
        pytest.param(
            Verdict(False, Action.KEPT, (NO_GAIN,)),
            "",
            "Keep the shipped ones; nothing was changed.",
            id="kept-shipped",
        ),
        pytest.param(
            Verdict(False, Action.WENT_BACK, (NO_GAIN, WORSE_IN_PLACE)),
            "",
            "The shipped weights now stand in out/v1, because the shipped ones make 0.700 of the loss of those in",
            id="went-back",
        ),
        pytest.param(
            Verdict(False, Action.WENT_BACK, (NO_GAIN,)),
            "out/v1/model.onnx is no forecaster's graph",
            "now stand in out/v1, because out/v1/model.onnx is no forecaster's graph.",
            id="broken",
        ),
    ],
)
def test_the_verdict_is_a_sentence_with_its_numbers(
    judged: tuple[Judged, ...], verdict: Verdict, trouble: str, said: str
) -> None:
    assert said in sentence(outcome(judged, verdict, trouble=trouble))


def test_what_stands_in_place_is_what_is_kept(judged: tuple[Judged, ...]) -> None:
    against = replace(NO_GAIN, theirs=INCUMBENT)
    verdict = Verdict(False, Action.KEPT, (NO_GAIN, against, replace(WORSE_IN_PLACE, interval=(0.9, 1.1))))
    said = sentence(outcome(judged, verdict, **{INCUMBENT: "0.2.0+ft.0"}))
    assert "of those shipped" in said
    assert "and 1.000 of the loss of those in place" in said
    assert said.endswith("Keep those in out/v1; nothing was changed.")


@pytest.mark.parametrize(
    ("action", "said"),
    [
        pytest.param(Action.PUT_IN_PLACE, "python -m predictor_model --model_dir out/v1", id="placed"),
        pytest.param(Action.KEPT, "There is nothing to do.", id="kept"),
    ],
)
def test_what_to_do_next_is_said(judged: tuple[Judged, ...], action: Action, said: str) -> None:
    assert said in next_steps(outcome(judged, Verdict(action is not Action.KEPT, action, (GAIN,))))


def test_the_data_is_json_with_every_number_and_no_nan(judged: tuple[Judged, ...]) -> None:
    data = json.loads(json.dumps(to_json(outcome(judged)), allow_nan=False))
    assert (data["verdict"], data["action"], data["model_version"]) == ("better", "put in place", "0.2.0+ft.1")
    assert data["comparisons"][0]["interval"] == [0.85, 0.95]
    assert {row["forecaster"] for row in data["series"]} == {CANDIDATE, SHIPPED, "persistence", "seasonal-naive"}
    assert [row["forecaster"] for row in data["summaries"]] == [CANDIDATE, SHIPPED]
    assert data["skipped"] == [{"dataset": "own", "series": "<b>bad", "why": "is bad"}]


def test_the_table_has_a_row_for_each_model(judged: tuple[Judged, ...]) -> None:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(to_table(outcome(judged)))
    assert CANDIDATE in captured.get()
    cells = rows(outcome(judged).summaries())
    assert [row[0] for row in cells] == [CANDIDATE, SHIPPED]
    assert all(len(row) == len(HEADER) for row in cells)


def test_the_page_is_whole_and_loads_nothing(judged: tuple[Judged, ...]) -> None:
    page = to_page(outcome(judged))
    assert "0.900 of the loss of those shipped" in page
    assert "&lt;b&gt;bad" in page
    assert "<b>bad<" not in page
    assert "$" + "verdict" not in page
    assert 'src="http' not in page
    assert page.count("web-0") >= 2  # in the series' picture and among the examples


def test_a_page_without_anything_left_out_says_so(judged: tuple[Judged, ...]) -> None:
    assert "None: every series was judged." in to_page(replace(outcome(judged), skipped=()))


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        pytest.param(8, [0.6, 0.7, 0.8, 1.1, 1.2, 1.3], id="both-ends"),
        pytest.param(4, [0.6, 0.7, 0.8, 0.9], id="each-once"),
        pytest.param(1, [0.6], id="one"),
    ],
)
def test_examples_are_the_most_and_the_least_improved(
    judged: tuple[Judged, ...], number: int, shown: list[float]
) -> None:
    assert [ratio(series) for series in chosen(judged[:number])] == pytest.approx(shown)


def test_series_are_shown_in_order(judged: tuple[Judged, ...]) -> None:
    (dots, *_) = series_figure(tuple(reversed(judged))).data
    assert list(dots.y) == pytest.approx([0.6 + 0.1 * number for number in range(8)])


def test_a_comparison_that_is_clear_has_the_colour_of_ours() -> None:
    (dots, *_) = comparison_figure([GAIN, NO_GAIN]).data
    assert len(set(dots.marker.color)) == 2
    assert list(dots.error_x.array) == pytest.approx([0.05, 0.02])
