"""The charts of a replay as plotly figures; numbers only, the page around them is the report's."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from scaler.domain import FloatArray
from scaler.replay.demand import TICK
from scaler.replay.result import POLICY_NAMES, IssuedForecast, Policy, ReplayResult

COLOURS: Final = {Policy.HPA: "#d9730d", Policy.AI_HPA: "#2456d6", Policy.ORACLE: "#7c8798"}
NEED_COLOUR: Final = "#111827"
FAN_RGB: Final = "36, 86, 214"
BANDS: Final = ((0.05, 0.95, 0.12), (0.25, 0.75, 0.20))  # lower level, upper level, opacity
ISSUED_RGB: Final = "157, 23, 77"
SINGLE_FAN: Final = "single-fan"  # marks the curves of one forecast as it was issued
FAN_CURVES: Final = ("as issued, 5%", "as issued, 90% band", "as issued, median", "as issued, peak so far, 99%")
MAX_POINTS: Final = 15_000  # of the load and of each level of the fan
PANELS: Final = {"Load and its forecast": (0.6, 1.0), "Ready pods": (0.17, 0.545), "Short of pods": (0.0, 0.11)}
_SHORTED: Final = (Policy.AI_HPA, Policy.HPA)  # the oracle never is, unless its maximum is
_SHORTAGE_ROWS: Final = [POLICY_NAMES[policy] for policy in _SHORTED]
_FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_GRID: Final = "#e8ebf0"


def timeline(result: ReplayResult) -> go.Figure:
    """Draw load and forecast, pods of each policy, and who was short when, over one time axis."""
    figure = go.Figure()
    _add_fan(figure, result)
    _add_single_fan(figure)
    _add_load(figure, result)
    _add_pods(figure, result)
    _add_shortages(figure, result)
    style(figure, height=836)
    figure.update_layout(
        hovermode="x unified",
        hoversubplots="axis",
        legend={"orientation": "h", "y": 1.05, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        dragmode="zoom",
        margin={"l": 124, "r": 16, "t": 112, "b": 40},
    )
    # A trace without a clock begins in 1970, so its day of the year is the day of the trace.
    date = "%d %b" if result.has_clock else "day %-j"
    figure.update_layout(
        xaxis={
            "type": "date",
            "anchor": "y3",
            "range": (milliseconds(result.start), milliseconds(result.start + result.duration)),
            "hoverformat": f"{date} %H:%M",
            "tickformat": f"{date}<br>%H:%M",
        },
        yaxis={"domain": PANELS["Load and its forecast"], "rangemode": "tozero"},
        yaxis2={"domain": PANELS["Ready pods"], "rangemode": "tozero"},
        yaxis3={"domain": PANELS["Short of pods"], "categoryarray": _SHORTAGE_ROWS, "range": (-0.6, 1.6)},
    )
    for title, (_, top) in PANELS.items():
        place = {"xref": "paper", "yref": "paper", "x": 0, "xanchor": "left", "y": top, "yanchor": "bottom"}
        figure.add_annotation(text=title, showarrow=False, font={"size": 14, "weight": 600}, **place)
    return figure


def cost_against_misses(result: ReplayResult) -> go.Figure:
    """Draw what each policy cost against the time it was short."""
    figure = go.Figure()
    for policy in result.runs:
        scores = result.runs[policy].scores
        figure.add_scatter(
            x=[result.pod_hours_over_oracle(policy)],
            y=[scores.under_time * 100],
            mode="markers+text",
            text=[POLICY_NAMES[policy]],
            textposition="top center",
            marker={"size": 16, "color": COLOURS[policy]},
            hovertemplate="%{x:.2f} x the oracle's pod-hours<br>short %{y:.2f} % of the time<extra></extra>",
        )
    style(figure, height=320)
    highest = max(run.scores.under_time for run in result.runs.values()) * 100
    widest = max(result.pod_hours_over_oracle(policy) for policy in result.runs)
    figure.update_layout(showlegend=False, margin={"l": 64, "r": 16, "t": 16, "b": 56})
    figure.update_xaxes(title_text="pod-hours, as a ratio to the oracle's", range=[0.9, widest + 0.25])
    figure.update_yaxes(title_text="time short of pods, %", range=[-0.12 * max(highest, 0.1), 1.35 * max(highest, 0.1)])
    return figure


def shown_load(result: ReplayResult) -> tuple[FloatArray, timedelta]:
    """Average the load to as many points as a chart carries; NaN where nothing is known. Returns it and its step."""
    ticks = result.load.shape[0]
    group = max(timedelta(minutes=1) // TICK, -(-ticks // MAX_POINTS))
    whole = ticks // group * group
    grouped = result.load[:whole].reshape(-1, group)
    known = ~np.isnan(grouped)
    count = known.sum(axis=1)
    load = np.divide(np.nansum(grouped, axis=1), count, out=np.full(count.shape, np.nan), where=count > 0)
    return load, group * TICK


def fan_ahead(forecasts: tuple[IssuedForecast, ...]) -> tuple[FloatArray, FloatArray]:
    """Join the steps that each forecast was relied on for: from the next one's time on, until the one after it.

    Step h of a forecast from origin o covers the time up to o + h * step, and is drawn where that time begins.

    Returns:
        Milliseconds since 1970, shape (n,), and quantiles, shape (n, Q); both empty without two forecasts.
    """
    times: list[float] = []
    rows: list[FloatArray] = []
    for issued, successor in pairwise(forecasts):
        forecast = issued.forecast
        first = max(-(-(successor.asked_at - forecast.origin) // forecast.step), 0)
        per_period = max((successor.asked_at - issued.asked_at) // forecast.step, 1)
        for step in range(first, min(first + per_period, forecast.prediction_length)):
            times.append(milliseconds(forecast.origin + step * forecast.step))
            rows.append(forecast.quantiles[step])
    stride = -(-len(times) // MAX_POINTS) or 1
    return np.array(times[::stride]), np.array(rows[::stride])


def changes(values: npt.NDArray[np.int64] | FloatArray) -> npt.NDArray[np.int64]:
    """Ticks at which a stepwise line needs a point: the first, each change, the last."""
    at = np.flatnonzero(np.diff(values)) + 1
    return np.unique(np.concatenate(([0], at, [values.shape[0] - 1])))


def milliseconds(at: datetime) -> float:
    """Milliseconds since 1970, as plotly's date axes take them."""
    return at.timestamp() * 1000.0


def _tick_times(result: ReplayResult, ticks: npt.NDArray[np.int64]) -> FloatArray:
    return milliseconds(result.start) + ticks.astype(np.float64) * (TICK / timedelta(milliseconds=1))


def _add_fan(figure: go.Figure, result: ReplayResult) -> None:
    times, quantiles = fan_ahead(result.forecasts)
    if not times.size:
        return
    levels = result.forecasts[0].forecast.quantile_levels
    for lower, upper, opacity in BANDS:
        edges = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "legendgroup": f"band-{lower}"}
        figure.add_scatter(x=times, y=_at_level(quantiles, levels, lower), showlegend=False, **edges)
        figure.add_scatter(
            x=times,
            y=_at_level(quantiles, levels, upper),
            fill="tonexty",
            fillcolor=f"rgba({FAN_RGB}, {opacity})",
            name=f"forecast, {upper - lower:.0%} band",
            **edges,
        )
    figure.add_scatter(
        x=times,
        y=_at_level(quantiles, levels, 0.5),
        mode="lines",
        line={"width": 1, "color": f"rgba({FAN_RGB}, 0.75)"},
        name="forecast, median",
        hovertemplate="%{y:.4g}",
    )


def _add_single_fan(figure: go.Figure) -> None:
    """Add the empty curves that the page fills with one forecast as it was issued, in the order of `FAN_CURVES`."""
    strong = {"mode": "lines", "visible": False, "meta": SINGLE_FAN, "hovertemplate": "%{y:.4g}"}
    looks: tuple[dict[str, object], ...] = (
        {"line": {"width": 0}, "showlegend": False},
        {"line": {"width": 0}, "fill": "tonexty", "fillcolor": f"rgba({ISSUED_RGB}, 0.25)"},
        {"line": {"width": 2, "color": f"rgb({ISSUED_RGB})"}},
        {"line": {"width": 2, "color": f"rgb({ISSUED_RGB})", "dash": "dash"}},
    )
    for name, look in zip(FAN_CURVES, looks, strict=True):
        figure.add_scatter(x=[], y=[], name=name, **strong, **look)


def _at_level(quantiles: FloatArray, levels: tuple[float, ...], level: float) -> npt.NDArray[np.float32]:
    return quantiles[:, levels.index(level)].astype(np.float32)


def _add_load(figure: go.Figure, result: ReplayResult) -> None:
    load, step = shown_load(result)
    figure.add_scatter(
        x0=milliseconds(result.start),
        dx=step / timedelta(milliseconds=1),
        y=load.astype(np.float32),
        mode="lines",
        line={"width": 1.2, "color": NEED_COLOUR},
        name="load",
        hovertemplate="%{y:.4g}",
    )


def _add_pods(figure: go.Figure, result: ReplayResult) -> None:
    lines: list[tuple[str, npt.NDArray[np.int64] | FloatArray, dict[str, object]]] = [
        ("pods needed", result.needed, {"width": 1, "color": NEED_COLOUR}),
        (f"{POLICY_NAMES[Policy.ORACLE]}, ready", result.runs[Policy.ORACLE].ready, _line(Policy.ORACLE, 1)),
        (f"{POLICY_NAMES[Policy.HPA]}, ready", result.runs[Policy.HPA].ready, _line(Policy.HPA, 1.6)),
        (f"{POLICY_NAMES[Policy.AI_HPA]}, ready", result.runs[Policy.AI_HPA].ready, _line(Policy.AI_HPA, 1.6)),
    ]
    floors = np.array([decision.floor for decision in result.decisions], dtype=np.int64)
    if floors.size:
        dotted = {"width": 1, "dash": "dot", "color": COLOURS[Policy.AI_HPA]}
        lines.append((f"{POLICY_NAMES[Policy.AI_HPA]}, floor", floors, dotted))
    for name, values, line in lines:
        at = changes(values)
        figure.add_scatter(
            x=_tick_times(result, at),
            y=values[at].astype(np.float32),
            mode="lines",
            line={"shape": "hv", **line},
            name=name,
            visible="legendonly" if name.startswith(POLICY_NAMES[Policy.ORACLE]) or name.endswith("floor") else True,
            hovertemplate="%{y:.0f}",
            yaxis="y2",
        )


def _line(policy: Policy, width: float) -> dict[str, object]:
    return {"width": width, "color": COLOURS[policy]}


def _add_shortages(figure: go.Figure, result: ReplayResult) -> None:
    for policy in _SHORTED:
        short = np.flatnonzero(result.runs[policy].ready < result.needed)
        missing = result.needed[short] - result.runs[policy].ready[short]
        figure.add_scatter(
            x=_tick_times(result, short),
            y=[POLICY_NAMES[policy]] * short.size,
            mode="markers",
            marker={
                "symbol": "line-ns",
                "size": 20,
                "line": {"width": 2, "color": COLOURS[policy]},
            },
            customdata=missing.astype(np.float32),
            hovertemplate="%{customdata:.0f} missing",
            name=f"{POLICY_NAMES[policy]}, short",
            showlegend=False,
            yaxis="y3",
        )


def style(figure: go.Figure, *, height: int) -> None:
    """Give a figure the look of our pages; `height` is in pixels."""
    figure.update_layout(
        height=height,
        template="plotly_white",
        font={"family": _FONT, "size": 13, "color": "#1f2937"},
        hoverlabel={"font": {"family": _FONT, "size": 12}},
        paper_bgcolor="rgba(0,0,0,0)",
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": "#9aa3b2", "activecolor": NEED_COLOUR},
        plot_bgcolor="#ffffff",
    )
    figure.update_xaxes(gridcolor=_GRID, zeroline=False)
    figure.update_yaxes(gridcolor=_GRID, zeroline=False)
