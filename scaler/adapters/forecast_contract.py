"""The scaler's own frozen view of the v2 contract with the forecaster; it never talks to one."""

from __future__ import annotations

import importlib.resources
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

# A trace without a time of day starts at Unix second 0, and the forecaster must not read a calendar into it. Real
# recordings of load start in the nineties, and no trace without a clock is twenty years long.
EARLIEST_CLOCK: Final = datetime(1990, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TensorContract:
    """One tensor on the wire.

    Attributes:
        shape: Axis lengths as v2 metadata tells them; -1 is any.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ForecastContract:
    """What both sides promised.

    Attributes:
        prediction_length: H, steps of a forecast.
        quantile_levels: Ascending. Length Q.
        min_history_length, max_history_length: T, samples of `load`.
    """

    model_name: str
    prediction_length: int
    quantile_levels: tuple[float, ...]
    min_history_length: int
    max_history_length: int
    min_step: timedelta
    max_step: timedelta
    inputs: tuple[TensorContract, ...]
    outputs: tuple[TensorContract, ...]


def _tensors(specs: list[dict[str, Any]], axes: dict[str, int]) -> tuple[TensorContract, ...]:
    return tuple(
        TensorContract(
            name=spec["name"],
            datatype=spec["datatype"],
            shape=tuple(axis if isinstance(axis, int) else axes[axis] for axis in spec["shape"]),
        )
        for spec in specs
    )


def _read() -> ForecastContract:
    text = importlib.resources.files("contracts").joinpath("forecast_v2.json").read_text(encoding="utf-8")
    raw = json.loads(text)
    axes = {"B": -1, "T": -1, "H": raw["prediction_length"], "Q": len(raw["quantile_levels"])}
    return ForecastContract(
        model_name=raw["model_name"],
        prediction_length=raw["prediction_length"],
        quantile_levels=tuple(raw["quantile_levels"]),
        min_history_length=raw["history_length"]["min"],
        max_history_length=raw["history_length"]["max"],
        min_step=timedelta(seconds=raw["step_seconds"]["min"]),
        max_step=timedelta(seconds=raw["step_seconds"]["max"]),
        inputs=_tensors(raw["inputs"], axes),
        outputs=_tensors(raw["outputs"], axes),
    )


CONTRACT: Final = _read()
