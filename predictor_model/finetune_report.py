"""A fine-tuning as one HTML file that loads nothing from anywhere: the verdict, series by series, and what it means."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from predictor_model.evaluation_report import (
    BLUE,
    DOTTED,
    EXAMPLES,
    GREY,
    LAYOUT,
    RED,
    example_figure,
    figure_html,
    html_table,
    page_of,
)
from predictor_model.features import HORIZON
from predictor_model.finetune_outcome import HEADER, Outcome, next_steps, rows, sentence
from predictor_model.traces import Skipped
from predictor_model.verdict import CANDIDATE, SHIPPED, Comparison, Judged


def to_page(outcome: Outcome) -> str:
    """Build the page."""
    return page_of(
        "finetune.html",
        verdict=html.escape(sentence(outcome)),
        next=html.escape(next_steps(outcome)),
        table=html_table(HEADER, rows(outcome.summaries()), ours=CANDIDATE),
        comparisons=figure_html(comparison_figure(outcome.verdict.comparisons)),
        series=figure_html(series_figure(outcome.judged)),
        examples="".join(figure_html(forecast_figure(series)) for series in chosen(outcome.judged)),
        skipped=_skipped(outcome.skipped),
    )


def ratio(series: Judged) -> float:
    """Loss of the fine-tuned model over that of the shipped one."""
    return series.scores[CANDIDATE].wql_ratio / series.scores[SHIPPED].wql_ratio


def comparison_figure(comparisons: Sequence[Comparison]) -> go.Figure:
    """Each comparison with its interval, and where it would have to lie to be clear."""
    figure = go.Figure()
    figure.add_scatter(
        x=[comparison.loss for comparison in comparisons],
        y=[f"{comparison.ours} / {comparison.theirs}" for comparison in comparisons],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [comparison.interval[1] - comparison.loss for comparison in comparisons],
            "arrayminus": [comparison.loss - comparison.interval[0] for comparison in comparisons],
        },
        mode="markers",
        marker={"size": 11, "color": [BLUE if comparison.better else GREY for comparison in comparisons]},
        showlegend=False,
    )
    figure.add_vline(x=1.0, line_dash="dot", line_color=RED)
    figure.update_layout(**LAYOUT, xaxis_title="ratio of losses", height=130 + 45 * len(comparisons))
    figure.update_yaxes(automargin=True, autorange="reversed")
    return figure


def series_figure(judged: Sequence[Judged]) -> go.Figure:
    """The ratio on every series, smallest first."""
    ordered = sorted(judged, key=ratio)
    figure = go.Figure()
    figure.add_scatter(
        x=list(range(1, len(ordered) + 1)),
        y=[ratio(series) for series in ordered],
        text=[html.escape(series.name) for series in ordered],
        mode="markers",
        marker={"size": 7, "color": [BLUE if ratio(series) < 1 else GREY for series in ordered]},
        showlegend=False,
    )
    figure.add_hline(y=1.0, line_dash="dot", line_color=RED)
    figure.update_xaxes(dtick=max(1, len(ordered) // 10))  # a series is whole
    figure.update_layout(
        **LAYOUT, xaxis_title="series, in order", yaxis_title="loss, fine-tuned / shipped", yaxis_type="log", height=380
    )
    return figure


def forecast_figure(series: Judged) -> go.Figure:
    """One forecast of the fine-tuned model, with the shipped one's median."""
    figure = example_figure(series.example)
    minutes = series.example.step_seconds / 60 * np.arange(1, HORIZON + 1)
    figure.add_scatter(x=minutes, y=series.shipped_median, line=DOTTED, name="shipped")
    figure.update_layout(title={"text": f"{html.escape(series.name)}<br>ratio {ratio(series):.2f}"})
    return figure


def chosen(judged: Sequence[Judged]) -> list[Judged]:
    """The series that gained most and those that gained least, each once."""
    ordered = sorted(judged, key=ratio)
    return [*ordered[:EXAMPLES], *ordered[max(EXAMPLES, len(ordered) - EXAMPLES) :]]


def _skipped(skipped: Sequence[Skipped]) -> str:
    if not skipped:
        return '<p class="note">None: every series was judged.</p>'
    items = (f"<li><b>{html.escape(series.series)}</b> {html.escape(series.why)}</li>" for series in skipped)
    return f"<ul>{''.join(items)}</ul>"
