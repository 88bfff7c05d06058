from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from scaler.adapters.forecast_contract import CONTRACT
from scaler.cli.forecast import as_data, choose_trace, draw, forecast_command, forecast_trace
from scaler.domain import Forecast, ForecastRequest, Source, TargetKey
from scaler.replay.traces import EPOCH, Trace, TraceError

H = CONTRACT.prediction_length


class RecordingForecaster:
    """Answers a flat fan and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[ForecastRequest] = []

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        self.asked.extend(requests)
        fan = np.tile(np.arange(10.0, 18.0), (H, 1))
        return {
            request.key: Forecast(request.origin, request.step, CONTRACT.quantile_levels, fan, fan, Source.MODEL, "v1")
            for request in requests
        }

    def wake(self) -> timedelta:
        return timedelta(0)


def make_trace(length: int, *, step: timedelta = timedelta(minutes=5)) -> Trace:
    return Trace(name="web", start=EPOCH, step=step, values=np.arange(float(length)), has_clock=False)


def write(tmp_path: Path, *, step: int = 60, names: Sequence[str] = ("web",)) -> Path:
    path = tmp_path / "load.csv"
    rows = [f"{name},{i * step},{i % 5}" for name in names for i in range(40)]
    path.write_text("\n".join(["series,timestamp,value", *rows]))
    return path


def run(*arguments: str) -> tuple[int, str, str]:
    app = typer.Typer()
    app.command()(forecast_command)
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_the_seasons_are_cut_from_the_trace_itself() -> None:
    forecaster = RecordingForecaster()
    forecast_trace(make_trace(2400), forecaster)
    (request,) = forecaster.asked
    assert request.load.tolist() == list(range(2400 - 288, 2400))
    # At 5 minutes a day is 288 steps and a week 2016; each value of this trace is its own place.
    ahead = np.arange(2400, 2400 + H)
    np.testing.assert_array_equal(request.seasonal_load[0, -H:], ahead - 288)
    np.testing.assert_array_equal(request.seasonal_load[1, -H:], ahead - 2016)


def test_a_season_before_the_trace_is_unknown() -> None:
    forecaster = RecordingForecaster()
    forecast_trace(make_trace(300), forecaster)
    (request,) = forecaster.asked
    assert np.isnan(request.seasonal_load[1]).all()
    assert np.isnan(request.seasonal_load[0]).sum() == 288 - 12


def test_the_origin_is_the_newest_sample() -> None:
    forecaster = RecordingForecaster()
    trace = make_trace(50)
    trace.values[-3:] = np.nan
    assert forecast_trace(trace, forecaster).origin == trace.end - 3 * trace.step


def test_too_few_samples_among_the_newest_are_refused() -> None:
    trace = make_trace(1000)
    trace.values[-281:] = np.nan
    with pytest.raises(TraceError, match="fewer than 8 samples"):
        forecast_trace(trace, RecordingForecaster())


@pytest.mark.parametrize(
    ("step", "taken"),
    [
        pytest.param(5, 15, id="multiple_of_the_finest"),
        pytest.param(10, 20, id="next_above_the_finest"),
        pytest.param(15, 15, id="finest"),
        pytest.param(3600, 3600, id="coarsest"),
    ],
)
def test_a_step_too_fine_is_averaged_up(tmp_path: Path, step: int, taken: int) -> None:
    assert choose_trace(write(tmp_path, step=step), None).step == timedelta(seconds=taken)


def test_a_step_too_coarse_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="at most 1:00:00 is accepted"):
        choose_trace(write(tmp_path, step=3601), None)


def test_data_carries_what_is_needed_to_read_it() -> None:
    trace = make_trace(50)
    data = json.loads(json.dumps(as_data(trace, forecast_trace(trace, RecordingForecaster()))))
    assert (data["series"], data["origin"], data["step_seconds"]) == ("web", 50 * 300, 300)
    assert data["quantile_levels"] == list(CONTRACT.quantile_levels)
    assert np.shape(data["quantiles"]) == np.shape(data["window_max"]) == (H, len(CONTRACT.quantile_levels))
    assert data["quantiles"][0] == [10, 11, 12, 13, 14, 15, 16, 17]


def test_the_picture_shows_history_and_fan() -> None:
    trace = make_trace(50)
    trace.values[20:30] = np.nan
    picture = draw(trace, forecast_trace(trace, RecordingForecaster()), width=100)
    for label in ("load", "median", "50 % band", "90 % band", "highest so far, 99 %"):
        assert label in picture


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--csv", "nowhere.csv"], "nowhere.csv: No such file or directory", id="no_file"),
        pytest.param(["--csv", "load.csv", "--series", "x"], "no series 'x'; accepted are api, web", id="no_series"),
        pytest.param(["--csv", "load.csv"], "name one with --series: web, api", id="several_series"),
        pytest.param(
            ["--csv", "load.csv", "--series", "web", "--endpoint", "forecaster:80"],
            "endpoint must be an http:// or https:// URL",
            id="endpoint",
        ),
    ],
)
def test_bad_input_is_one_line_and_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    write(tmp_path, names=("web", "api"))
    monkeypatch.chdir(tmp_path)
    code, stdout, stderr = run(*arguments)
    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert message in stderr
