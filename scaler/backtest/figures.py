"""The charts of a backtest as plotly figures; numbers only, the page around them is the report's."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from scaler.backtest.equal import GRID, Spot, front
from scaler.backtest.policies import Point, Policy
from scaler.backtest.result import SeriesResult, WorstHour
from scaler.backtest.summary import LABELS, ROWS, a_day, knob_text
from scaler.replay.figures import COLOURS as DEMO_COLOURS
from scaler.replay.figures import NEED_COLOUR, style
from scaler.replay.result import Policy as DemoPolicy
from scaler.replay.scores import Scores
from scaler.replay.summary import short_time

MISSING_COLOUR: Final = "#c2185b"
BEST_RIVAL_COLOUR: Final = "#374151"
NAME_LENGTH: Final = 44  # of a series at an axis; the front of a longer one is left out
_SOFT: Final = "#5b6472"
_VIEW: Final = (0.97, 2.6)  # pod-hours over needed: what lies outside is a zoom away
_SHARES: Final = {10.0**power: f"{100 * 10.0**power:g}%" for power in range(-6, 1)}
_PRICES: Final = {price: f"{price:.2f}" for price in (*GRID, 0.8, 1.0, 1.7, 2.0, 2.5, 3.0, 4.0)}
_RATIOS: Final = (0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100)


class Look(NamedTuple):
    """How a policy is drawn; symbol and dash tell it from others where colour does not.

    Attributes:
        width: Of its line in pixels.
    """

    colour: str
    symbol: str
    dash: str = "solid"
    width: float = 1.3


# Blues for what is ours, thick; the HPA in the demo's orange; the other rivals muted.
LOOKS: Final = {
    Policy.AI_HPA_TUNED: Look(DEMO_COLOURS[DemoPolicy.AI_HPA], "circle", width=3),
    Policy.AI_HPA: Look("#0b2a7a", "diamond", width=3),
    Policy.AI_HPA_KPA: Look("#38a3e0", "square", width=2.2),
    Policy.HPA: Look(DEMO_COLOURS[DemoPolicy.HPA], "circle", width=2),
    Policy.KPA: Look("#a58a52", "square", "dash"),
    Policy.PHPA_LINEAR: Look("#9c7f9c", "triangle-up", "dot"),
    Policy.PHPA_HOLT_WINTERS: Look("#7d9a86", "triangle-down", "dashdot"),
    Policy.LAST_WEEK: Look("#b58a86", "cross", "dash"),
    Policy.FIXED: Look("#9aa3b2", "x", "dot"),
    Policy.ORACLE: Look("#4b5563", "star"),
}


class View(NamedTuple):
    """What a Pareto curve is drawn of."""

    title: str
    share: Callable[[Scores], float]


VIEWS: Final = (
    View("time short of pods", lambda scores: scores.under_time),
    View("late or dropped requests", lambda scores: scores.late_requests),
)


def pareto(one: SeriesResult) -> go.Figure:
    """Draw what each policy cost against what it missed, in time and in requests, under every setting of its knob.

    A line joins the settings that no other one of the policy beats on both counts; the large marker is the policy as
    one would run it. A share below that of one tick is drawn there, hollow.
    """
    figure = make_subplots(rows=1, cols=len(VIEWS), horizontal_spacing=0.085)
    style(figure, height=520)
    for column, view in enumerate(VIEWS, start=1):
        for policy in reversed(LOOKS):  # ours last, on top
            if policy in one.policies:
                for trace in _curve(one, policy, view):
                    figure.add_trace(trace.update(showlegend=trace.showlegend and column == 1), row=1, col=column)
        figure.update_yaxes(
            type="log",
            title_text=f"{view.title}, share",
            range=_reach(one, view),
            tickvals=list(_SHARES),
            ticktext=list(_SHARES.values()),
            row=1,
            col=column,
        )
        figure.add_hline(y=one.least, line={"width": 1, "dash": "dot", "color": _SOFT}, row=1, col=column)
        figure.add_annotation(
            text="one tick",
            showarrow=False,
            x=1,
            xref=f"x{column if column > 1 else ''} domain",
            xanchor="right",
            y=math.log10(one.least),  # an annotation takes a logarithmic axis's own unit, a line the value
            yanchor="bottom",
            font={"size": 11, "color": _SOFT},
            row=1,
            col=column,
        )
    for price in GRID:
        figure.add_vline(x=price, line={"width": 1.2, "color": "#9aa3b2"}, layer="below")
    figure.update_xaxes(
        type="log",
        showgrid=False,
        title_text="pod-hours, as a ratio to those needed",
        range=[math.log10(end) for end in _VIEW],
        tickvals=list(_PRICES),
        ticktext=list(_PRICES.values()),
    )
    figure.update_layout(
        legend={"orientation": "h", "y": 1.02, "x": 0, "yanchor": "bottom", "traceorder": "reversed", "font_size": 12},
        margin={"l": 70, "r": 12, "t": 84, "b": 50},
        hovermode="closest",
    )
    figure.update_xaxes(title_font_size=13)
    figure.update_yaxes(title_font_size=13)
    return figure


def equal_pod_hours(series: Sequence[SeriesResult]) -> go.Figure:
    """Draw AI-HPA's time short over the HPA's and over the best rival's at equal pod-hours, a line per series."""
    titles = [f"at {price:.2f} x the pod-hours needed" for price in GRID]
    figure = make_subplots(rows=1, cols=len(GRID), shared_yaxes=True, horizontal_spacing=0.02, subplot_titles=titles)
    style(figure, height=140 + 24 * len(series))
    names, lines = [_axis_name(one.name) for one in series], list(range(len(series)))
    for rival, told, colour, symbol in (
        (None, "the best rival", BEST_RIVAL_COLOUR, "diamond-open"),
        (Policy.HPA, "the HPA alone", LOOKS[Policy.HPA].colour, "circle"),
    ):
        ratios = [one.ratios(rival) for one in series]
        for column in range(len(GRID)):
            figure.add_scatter(
                x=[own[column] for own in ratios],
                y=lines,
                mode="markers",
                marker={"size": 9, "color": colour, "symbol": symbol, "line": {"width": 2}},
                name=f"over {told}",
                legendgroup=told,
                showlegend=column == 0,
                customdata=names,
                hovertemplate=f"%{{customdata}}<br>%{{x:.2f}} times {told}'s time short<extra></extra>",
                row=1,
                col=column + 1,
            )
    figure.add_vline(x=1, line={"color": NEED_COLOUR, "width": 1}, layer="below")
    figure.update_xaxes(type="log", tickvals=_RATIOS, ticktext=[f"{ratio:g}" for ratio in _RATIOS])
    figure.update_xaxes(
        title_text="← AI-HPA better      ratio      AI-HPA worse →", title_font_size=13, row=1, col=len(GRID) // 2 + 1
    )
    figure.update_yaxes(
        tickvals=lines, ticktext=names, range=(len(series) - 0.5, -0.5), automargin="width", ticklabelstandoff=6
    )
    figure.update_annotations(font={"size": 13, "color": NEED_COLOUR})
    figure.update_layout(
        legend={"orientation": "h", "yref": "container", "y": 1, "yanchor": "top", "x": 0},
        margin={"l": 16, "r": 12, "t": 64, "b": 52},
    )
    return figure


def worst_hour(hour: WorstHour, policies: Sequence[Policy], titles: Sequence[str]) -> go.Figure:
    """Draw one hour side by side for several policies: pods needed and ready in each minute, and what was missing.

    Args:
        hour: With the ready pods of each policy.
        policies: From left to right, at least one.
        titles: One for each policy, HTML as plotly takes it.
    """
    count = len(policies)
    figure = make_subplots(rows=1, cols=count, shared_yaxes=True, horizontal_spacing=0.018, subplot_titles=list(titles))
    style(figure, height=250)
    minutes = list(range(len(hour.needed)))
    for column, policy in enumerate(policies, start=1):
        place, ready = {"row": 1, "col": column}, hour.ready[policy]
        lacking = [max((needed or 0) - have, 0) for needed, have in zip(hour.needed, ready, strict=True)]
        figure.add_bar(
            x=minutes,
            y=lacking,
            base=list(ready),
            offset=0,
            width=1,
            marker={"color": MISSING_COLOUR, "line": {"width": 0}},
            opacity=0.4,
            name="missing",
            customdata=lacking,
            hovertemplate="%{customdata}",
            **place,
        )
        for name, values, width, colour in (
            ("needed", hour.needed, 1.3, NEED_COLOUR),
            ("ready", ready, 2.4, LOOKS[policy].colour),
        ):
            line = {"shape": "hv", "width": width, "color": colour}
            figure.add_scatter(
                x=minutes, y=list(values), mode="lines", line=line, name=name, hovertemplate="%{y}", **place
            )
    # A rival that orders many more pods than anybody needs would press the others flat.
    bounding = [policy for policy in policies if policy in (Policy.HPA, *ROWS)]
    highest = max((1, *filter(None, hour.needed), *(pods for policy in bounding for pods in hour.ready[policy])))
    figure.update_xaxes(
        tickvals=[0, 15, 30, 45], range=(0, len(minutes)), title_text="minute", title_standoff=4, title_font_size=12
    )
    figure.update_yaxes(range=(0, 1.15 * highest), nticks=5)
    figure.update_annotations(font={"size": 13, "color": NEED_COLOUR})
    figure.update_layout(showlegend=False, hovermode="x unified", bargap=0, margin={"l": 40, "r": 12, "t": 52, "b": 44})
    return figure


def _curve(one: SeriesResult, policy: Policy, view: View) -> Iterator[go.Scatter]:
    look, result = LOOKS[policy], one.policies[policy]
    common: dict[str, Any] = {"legendgroup": policy.value, "name": LABELS[policy]}
    unbeaten = front(_spot(one, point, view) for point in result.sweep)
    if len(unbeaten) > 1:
        yield go.Scatter(
            x=[spot.pod_hours_ratio for spot in unbeaten],
            y=[max(spot.under_time, one.least) for spot in unbeaten],
            mode="lines",
            line={"color": look.colour, "dash": look.dash, "width": look.width},
            hoverinfo="skip",
            showlegend=False,
            **common,
        )
    swept = {point: knob_text(policy, point) for point in result.sweep if point != result.main}
    if swept:
        yield _markers(one, policy, view, swept).update(
            marker={"size": 7, "line": {"width": 0.8}}, opacity=0.7, showlegend=False, **common
        )
    yield _markers(one, policy, view, {result.main: f"as one would run it: {knob_text(policy, result.main)}"}).update(
        marker={"size": 14, "line": {"width": 1.6}}, showlegend=True, **common
    )


def _markers(one: SeriesResult, policy: Policy, view: View, told: dict[Point, str]) -> go.Scatter:
    look = LOOKS[policy]
    spots = [_spot(one, point, view) for point in told]
    return go.Scatter(
        x=[spot.pod_hours_ratio for spot in spots],
        y=[max(spot.under_time, one.least) for spot in spots],
        mode="markers",
        marker={
            "symbol": [look.symbol + ("-open" if spot.under_time < one.least else "") for spot in spots],
            "color": look.colour,
            "line": {"color": "#ffffff"},
        },
        customdata=[
            [text, spot.under_time, short_time(a_day(point.scores))]
            for (point, text), spot in zip(told.items(), spots, strict=True)
        ],
        hovertemplate=f"<b>{LABELS[policy]}</b><br>%{{customdata[0]}}<br>%{{x:.3f}} x the pod-hours needed<br>"
        f"{view.title} %{{customdata[1]:.4%}}<br>short for %{{customdata[2]}} a day<extra></extra>",
    )


def _spot(one: SeriesResult, point: Point, view: View) -> Spot:
    return one.spot(point)._replace(under_time=view.share(point.scores))


def _reach(one: SeriesResult, view: View) -> tuple[float, float]:
    """Logarithms of the ends of a share's axis: from below one tick to above what anybody reaches in view.

    A fixed count below the need is short nearly always; it goes out of the top rather than pressing the others flat.
    """
    shares = [
        max(spot.under_time, one.least)
        for policy, result in one.policies.items()
        if policy is not Policy.FIXED
        for spot in (_spot(one, point, view) for point in (result.main, *result.sweep))
        if _VIEW[0] <= spot.pod_hours_ratio <= _VIEW[1]
    ]
    top = max(shares, default=1.0)
    return math.log10(one.least / 1.6), math.log10(min(max(1.6 * top, 30 * one.least), 1.2))


def _axis_name(name: str) -> str:
    kept = name if len(name) <= NAME_LENGTH else f"…{name[1 - NAME_LENGTH :]}"
    return html.escape(kept, quote=False)
