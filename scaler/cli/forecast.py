"""`ai-hpa forecast`: the load to come of one CSV series, as a picture or as data; it never scales anything."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scaler import history
from scaler.adapters.forecast_contract import CONTRACT
from scaler.adapters.kserve_forecaster import KServeForecaster
from scaler.adapters.v2_client import InvalidEndpoint
from scaler.cli.exits import EXIT_BAD_INPUT, EXIT_FAILED, fail
from scaler.controller import Forecaster
from scaler.domain import FloatArray, Forecast, ScalerError, TargetKey
from scaler.replay.model_server import model_endpoint
from scaler.replay.traces import Trace, TraceError, read_csv, resample

HISTORY_STEPS: Final = 60  # twice the forecast, which so keeps a third of the width
TABLE_STEPS: Final = (5, 15, 30)
PLOT_LINES: Final = 20


def forecast_command(
    *,
    csv: Annotated[Path, typer.Option(help="Load as series,timestamp,value; plain or .gz; an empty value is missing.")],
    series: Annotated[str | None, typer.Option(help="Which series, where the file holds several.")] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Base URL of a running model server; without it one is started.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print data instead of a picture.")] = False,
) -> None:
    """Forecast the load of one series."""
    try:
        trace = choose_trace(csv, series)
    except TraceError as exc:
        fail(str(exc), EXIT_BAD_INPUT)
    except OSError as exc:
        fail(f"{csv}: {exc.strerror or exc}", EXIT_BAD_INPUT)
    try:
        with model_endpoint(endpoint) as url, KServeForecaster(url) as forecaster:
            forecast = forecast_trace(trace, forecaster)
    except (TraceError, InvalidEndpoint) as exc:
        fail(str(exc), EXIT_BAD_INPUT)
    except ScalerError as exc:
        fail(str(exc), EXIT_FAILED)
    if as_json:
        typer.echo(json.dumps(as_data(trace, forecast)))
    else:
        _show(trace, forecast, Console())


def choose_trace(path: Path, series: str | None) -> Trace:
    """Read the one series that is meant, at a step that the forecaster accepts.

    A finer step is averaged up to the nearest accepted one.

    Raises:
        TraceError: The file is unusable, holds several series and none was named, or its step is too coarse.
        OSError: The file cannot be read.
    """
    traces = read_csv(path, series=series)
    if len(traces) > 1:
        names = ", ".join(trace.name for trace in traces)
        raise TraceError(f"{path}: several series; name one with --series: {names}")
    (trace,) = traces
    if trace.step > CONTRACT.max_step:
        raise TraceError(f"{path}: the step of {trace.name!r} is {trace.step}; at most {CONTRACT.max_step} is accepted")
    return resample(trace, -(-CONTRACT.min_step // trace.step) * trace.step)


def forecast_trace(trace: Trace, forecaster: Forecaster) -> Forecast:
    """Forecast what follows the newest sample of a trace.

    Raises:
        TraceError: Too few samples among the newest.
        ForecastUnavailable: The forecaster could not answer.
    """
    key = TargetKey(namespace="csv", kind="Trace", name=trace.name)
    newest = trace.values[-history.CONTEXT_LENGTH :]
    seasonal = np.stack([_lagged(trace, len(newest), season) for season in history.SEASONS])  # (2, T + H)
    request = history.forecast_request(key, newest, seasonal, end=trace.end, step=trace.step)
    if request is None:
        among = f"among the newest {len(newest)} steps of {trace.step}"
        raise TraceError(f"{trace.name}: fewer than {history.MIN_SAMPLES} samples {among}")
    return forecaster.forecast([request])[key]


def as_data(trace: Trace, forecast: Forecast) -> dict[str, Any]:
    """The forecast as JSON data; `origin` in Unix seconds, as in the CSV file."""
    return {
        "series": trace.name,
        "origin": forecast.origin.timestamp(),
        "step_seconds": forecast.step.total_seconds(),
        "quantile_levels": list(forecast.quantile_levels),
        "quantiles": forecast.quantiles.tolist(),
        "window_max": forecast.window_max.tolist(),
        "model_version": forecast.model_version,
    }


def draw(trace: Trace, forecast: Forecast, *, width: int) -> str:
    """The newest history and the forecast as lines of text with ANSI colours.

    Raises:
        ModuleNotFoundError: plotext is not installed.
    """
    import plotext  # noqa: PLC0415  only the picture needs it, and the scaler's image does without

    minutes = trace.step / timedelta(minutes=1)
    passed = int((trace.end - forecast.origin) / trace.step)  # steps without a sample after the origin
    recent = trace.values[: len(trace.values) - passed][-HISTORY_STEPS:]
    known = np.flatnonzero(np.isfinite(recent))
    ahead = (minutes * np.arange(1, forecast.prediction_length + 1)).tolist()
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(width, PLOT_LINES)
    plotext.plot((minutes * (known - len(recent) + 1)).tolist(), recent[known].tolist(), label="load", color="default")
    for name, color, line in _lines(forecast):
        plotext.plot(ahead, line.tolist(), label=name, color=color)
    plotext.title(f"{trace.name}: load, {CONTRACT.prediction_length} steps of {_in_minutes(trace.step)} ahead")
    plotext.xlabel("minutes from the newest sample")
    return str(plotext.build())


def _lines(forecast: Forecast) -> list[tuple[str | None, str, FloatArray]]:
    """Label, colour and values of each line of the fan; the two ends of a band share one label."""
    return [
        ("90 % band", "blue", _at(forecast, forecast.quantiles, 0.05)),
        (None, "blue", _at(forecast, forecast.quantiles, 0.95)),
        ("50 % band", "cyan", _at(forecast, forecast.quantiles, 0.25)),
        (None, "cyan", _at(forecast, forecast.quantiles, 0.75)),
        ("median", "green", _at(forecast, forecast.quantiles, 0.5)),
        ("highest so far, 99 %", "red", _at(forecast, forecast.window_max, 0.99)),
    ]


def _at(forecast: Forecast, values: FloatArray, level: float) -> FloatArray:
    return values[:, forecast.quantile_levels.index(level)]


def _lagged(trace: Trace, context_length: int, season: timedelta) -> FloatArray:
    """Load one season before each step of the context and of the forecast, NaN where unknown. Shape (T + H,)."""
    steps, rest = divmod(season, trace.step)
    length = context_length + history.PREDICTION_LENGTH
    lagged = np.full(length, np.nan)
    if rest:
        return lagged
    places = np.arange(length) + len(trace.values) - context_length - steps
    inside = (places >= 0) & (places < len(trace.values))
    lagged[inside] = trace.values[places[inside]]
    return lagged


def _show(trace: Trace, forecast: Forecast, console: Console) -> None:
    try:
        picture = draw(trace, forecast, width=console.width)
    except ModuleNotFoundError as exc:
        fail(f"the picture needs plotext: pip install 'ai-hpa[demo]', or take --json ({exc})", EXIT_BAD_INPUT)
    console.print(Text.from_ansi(picture))
    table = Table(title=f"origin {_when(trace, forecast)}, model {forecast.model_version or 'unknown'}")
    for column in ("ahead", "median", "90 %", "99 %", "highest so far, 99 %"):
        table.add_column(column, justify="right")
    for step in TABLE_STEPS:
        cells = [_at(forecast, forecast.quantiles, level)[step - 1] for level in (0.5, 0.9, 0.99)]
        cells.append(_at(forecast, forecast.window_max, 0.99)[step - 1])
        table.add_row(_in_minutes(step * forecast.step), *(f"{cell:.4g}" for cell in cells))
    console.print(table)


def _in_minutes(duration: timedelta) -> str:
    return f"{duration / timedelta(minutes=1):g} min"


def _when(trace: Trace, forecast: Forecast) -> str:
    return (
        f"{forecast.origin:%Y-%m-%d %H:%M:%S} UTC"
        if trace.has_clock
        else f"{forecast.origin - trace.start} after the start"
    )
