"""An evaluation as one HTML file that loads nothing from anywhere: who wins where, how sure, and on what it fails."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from importlib import resources
from string import Template
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from predictor_model.cold_start import HISTORIES, HistoryScore, ratios_of
from predictor_model.examples import Example
from predictor_model.features import HORIZON
from predictor_model.metrics import LEVELS, MEDIAN
from predictor_model.scoring import COVERAGE_LEVELS, COVERAGE_STEPS, REPLICA_KEYS, SHIPPED, SeriesScore, Summary

EXAMPLES: Final = 3  # of the worst series, and of the best
BANDS: Final = ((0.05, 0.95, 0.15), (0.25, 0.75, 0.3))  # lower level, upper level, opacity

BLUE: Final = "#2563eb"
GREY: Final = "#9ca3af"
RED: Final = "#dc2626"
DOTTED: Final = {"color": GREY, "dash": "dot"}
LAYOUT: Final = {
    "template": "plotly_white",
    "margin": {"l": 60, "r": 20, "t": 40, "b": 50},
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "legend": {"orientation": "h", "y": 1.12},
}


def render(
    summaries: Sequence[Summary],
    scores: Sequence[SeriesScore],
    examples: Sequence[Example],
    histories: Sequence[HistoryScore],
) -> str:
    """Build the page."""
    ours = next(summary for summary in summaries if summary.forecaster == SHIPPED)
    return page_of(
        "evaluation.html",
        ours=html.escape(SHIPPED),
        verdict=html.escape(verdict(summaries)),
        overall=figure_html(overall_figure(summaries)),
        table=_table(summaries),
        series=figure_html(series_figure(scores)),
        coverage=figure_html(coverage_figure(ours)),
        replica=figure_html(replica_figure(summaries)),
        cold_start=figure_html(cold_start_figure(histories)),
        examples="".join(figure_html(example_figure(example)) for example in _chosen(examples, scores)),
    )


def verdict(summaries: Sequence[Summary]) -> str:
    """Say in two sentences who wins."""
    ours = next(summary for summary in summaries if summary.forecaster == SHIPPED)
    best = min((s for s in summaries if s.forecaster != SHIPPED), key=lambda summary: summary.overall)
    relation = "ahead of" if ours.overall < best.overall else "behind"
    return (
        f"On {ours.series} series, {SHIPPED} makes {ours.overall:.3f} of the quantile loss of the better naive one "
        f"({ours.interval[0]:.3f} to {ours.interval[1]:.3f}), {relation} the best rival, {best.forecaster}, with "
        f"{best.overall:.3f}. Its worst series is {ours.worst_series} with {ours.worst_ratio:.2f}."
    )


def overall_figure(summaries: Sequence[Summary]) -> go.Figure:
    """A bar for each forecaster, best first, and a dot for each data set."""
    ordered = sorted(summaries, key=lambda summary: summary.overall)
    names = [summary.forecaster for summary in ordered]
    figure = go.Figure()
    figure.add_bar(
        x=names,
        y=[summary.overall for summary in ordered],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [summary.interval[1] - summary.overall for summary in ordered],
            "arrayminus": [summary.overall - summary.interval[0] for summary in ordered],
        },
        marker_color=[BLUE if name == SHIPPED else GREY for name in names],
        name="together",
    )
    for dataset in ordered[0].by_dataset:
        figure.add_scatter(
            x=names, y=[summary.by_dataset.get(dataset) for summary in ordered], mode="markers", name=dataset
        )
    figure.add_hline(y=1.0, line_dash="dot", line_color=RED)
    figure.update_layout(**LAYOUT, yaxis_title="loss / better naive", yaxis_type="log", height=440)
    return figure


def series_figure(scores: Sequence[SeriesScore]) -> go.Figure:
    """Ours against the best rival of each series."""
    figure = go.Figure()
    series = {(score.dataset, score.series) for score in scores}
    points = []
    for dataset, name in sorted(series):
        of_it = [s for s in scores if (s.dataset, s.series) == (dataset, name)]
        rivals = [s for s in of_it if s.forecaster != SHIPPED]
        best = min(rivals, key=lambda s: s.wql_ratio)
        points += [(dataset, name, best, s.wql_ratio) for s in of_it if s.forecaster == SHIPPED]
    for dataset in sorted({point[0] for point in points}):
        own = [point for point in points if point[0] == dataset]
        figure.add_scatter(
            x=[best.wql_ratio for _, _, best, _ in own],
            y=[ratio for _, _, _, ratio in own],
            text=[f"{name}<br>best rival: {best.forecaster}" for _, name, best, _ in own],
            mode="markers",
            marker_size=9,
            name=dataset,
        )
    ends = [min(min(p[3], p[2].wql_ratio) for p in points) * 0.9, max(max(p[3], p[2].wql_ratio) for p in points) * 1.1]
    figure.add_scatter(x=ends, y=ends, mode="lines", line=DOTTED, name="as good", hoverinfo="skip")
    titles = {"xaxis_title": "best rival of the series", "yaxis_title": SHIPPED}
    figure.update_layout(**LAYOUT, **titles, xaxis_type="log", yaxis_type="log", height=460)
    return figure


def coverage_figure(ours: Summary) -> go.Figure:
    """Stated against realised coverage of window maxima, by length of the window."""
    figure = go.Figure()
    figure.add_scatter(x=[0.88, 1.0], y=[0.88, 1.0], mode="lines", line=DOTTED, name="exact", hoverinfo="skip")
    for number, step in enumerate(COVERAGE_STEPS):
        keys = [f"{step}/{level}" for level in COVERAGE_LEVELS]
        means = [ours.covered_mean[key] for key in keys]
        figure.add_scatter(
            x=[level + 0.002 * (number - 1.5) for level in COVERAGE_LEVELS],
            y=means,
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [0.0] * len(keys),
                "arrayminus": [mean - ours.covered_worst[key] for mean, key in zip(means, keys, strict=True)],
                "thickness": 1,
            },
            mode="markers",
            name=f"h = {step}",
        )
    figure.update_layout(**LAYOUT, xaxis_title="stated", yaxis_title="realised", height=420)
    return figure


def replica_figure(summaries: Sequence[Summary]) -> go.Figure:
    """Cost in pods, a group of bars for each window and level."""
    figure = go.Figure()
    labels = [f"h = {key.replace('/', ', ')}" for key in REPLICA_KEYS]
    for summary in sorted(summaries, key=lambda s: s.overall):
        colour = {"marker_color": BLUE} if summary.forecaster == SHIPPED else {}
        figure.add_bar(x=labels, y=[summary.replica[key] for key in REPLICA_KEYS], name=summary.forecaster, **colour)
    figure.add_hline(y=1.0, line_dash="dot", line_color=RED)
    figure.update_layout(**LAYOUT, yaxis_title="pods / better naive", barmode="group", height=420)
    return figure


def cold_start_figure(histories: Sequence[HistoryScore]) -> go.Figure:
    """Loss over that of persistence by length of history, a line for each data set."""
    by_history = {history: ratios_of(histories, history) for history in HISTORIES}
    figure = go.Figure()
    for dataset in dict.fromkeys(score.dataset for score in histories):
        figure.add_scatter(
            x=list(HISTORIES), y=[ratios[dataset] for ratios in by_history.values()], mode="lines+markers", name=dataset
        )
    figure.add_hline(y=1.0, line_dash="dot", line_color=RED)
    figure.update_layout(**LAYOUT, yaxis_title="loss / persistence", height=380)
    return figure


def example_figure(example: Example) -> go.Figure:
    """The past, what was said and what came."""
    minutes = example.step_seconds / 60
    past = minutes * np.arange(1 - len(example.past), 1)
    ahead = minutes * np.arange(1, HORIZON + 1)
    figure = go.Figure()
    for low, high, opacity in BANDS:
        columns = [LEVELS.tolist().index(level) for level in (low, high)]
        figure.add_scatter(
            x=np.concatenate([ahead, ahead[::-1]]),
            y=np.concatenate([example.quantiles[:, columns[1]], example.quantiles[::-1, columns[0]]]),
            fill="toself",
            fillcolor=f"rgba(37, 99, 235, {opacity})",
            line_width=0,
            hoverinfo="skip",
            showlegend=False,
        )
    figure.add_scatter(x=ahead, y=example.quantiles[:, MEDIAN], line={"color": BLUE}, name="median")
    seen, came = {"color": GREY}, {"color": "#111827"}
    figure.add_scatter(x=past, y=example.past, line=seen, name="seen")
    figure.add_scatter(x=ahead, y=example.target, line=came, name="came")
    title = f"{example.series}<br>{example.dataset}"
    layout: dict[str, Any] = {**LAYOUT, "showlegend": False}
    figure.update_layout(**layout, title={"text": title, "font": {"size": 13}}, xaxis_title="minutes", height=320)
    figure.update_layout(margin={"l": 50, "r": 10, "t": 60, "b": 45})
    return figure


def _chosen(examples: Sequence[Example], scores: Sequence[SeriesScore]) -> list[Example]:
    """The worst series, then the best, each once."""
    by_name = {(example.dataset, example.series): example for example in examples}
    ours = sorted((s for s in scores if s.forecaster == SHIPPED), key=lambda score: -score.wql_ratio)
    ends = dict.fromkeys((s.dataset, s.series) for s in (*ours[:EXAMPLES], *reversed(ours[-EXAMPLES:])))
    return [by_name[name] for name in ends]


def _table(summaries: Sequence[Summary]) -> str:
    datasets = list(dict.fromkeys(dataset for summary in summaries for dataset in summary.by_dataset))
    header = ["forecaster", "together", *datasets, "MASE", "worst series"]
    rows = [
        [
            summary.forecaster,
            f"{summary.overall:.3f}",
            *(f"{summary.by_dataset[d]:.3f}" if d in summary.by_dataset else "-" for d in datasets),
            f"{summary.mase:.3f}",
            f"{summary.worst_ratio:.2f}",
        ]
        for summary in sorted(summaries, key=lambda s: s.overall)
    ]
    return html_table(header, rows, ours=SHIPPED)


def page_of(asset: str, **parts: str) -> str:
    """Fill a page of the assets; all of them look alike, and hold plotly themselves."""
    assets = resources.files("predictor_model").joinpath("assets")
    page, style = (assets.joinpath(name).read_text(encoding="utf-8") for name in (asset, "report.css"))
    return Template(page).substitute(style=style, plotly=str(get_plotlyjs()), **parts)


def html_table(header: Sequence[str], rows: Iterable[Sequence[str]], *, ours: str) -> str:
    """A table of text; the row whose first cell is `ours` stands out."""
    lines = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in header) + "</tr>"]
    for row in rows:
        mark = ' class="ours"' if row[0] == ours else ""
        lines.append(f"<tr{mark}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>")
    return f"<table>{''.join(lines)}</table>"


def figure_html(figure: go.Figure) -> str:
    """A figure as part of a page that holds plotly itself."""
    config = {"displayModeBar": False, "responsive": True}
    return str(figure.to_html(full_html=False, include_plotlyjs=False, config=config))
