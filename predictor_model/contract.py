"""The model's frozen view of the wire contract; it must never hold a fact that the contract file does not."""

from __future__ import annotations

import importlib.resources
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of the contract; `shape` holds fixed sizes and the names of variable ones."""

    name: str
    datatype: str
    shape: tuple[str | int, ...]
    optional: bool


@dataclass(frozen=True, slots=True)
class Contract:
    """contracts/forecast_v2.json, typed."""

    model_name: str
    platform: str
    prediction_length: int
    quantile_levels: tuple[float, ...]
    min_history_length: int
    max_history_length: int
    max_batch_size: int
    default_step_seconds: int
    min_step_seconds: int
    max_step_seconds: int
    seasonal_lag_seconds: tuple[int, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def load_contract() -> Contract:
    """Read the contract that ships with the distribution."""
    text = (importlib.resources.files("contracts") / "forecast_v2.json").read_text(encoding="utf-8")
    data = json.loads(text)
    return Contract(
        model_name=data["model_name"],
        platform=data["platform"],
        prediction_length=data["prediction_length"],
        quantile_levels=tuple(data["quantile_levels"]),
        min_history_length=data["history_length"]["min"],
        max_history_length=data["history_length"]["max"],
        max_batch_size=data["batch_size"]["max"],
        default_step_seconds=data["step_seconds"]["default"],
        min_step_seconds=data["step_seconds"]["min"],
        max_step_seconds=data["step_seconds"]["max"],
        seasonal_lag_seconds=tuple(data["seasonal_lag_seconds"]),
        inputs=tuple(_tensor(spec) for spec in data["inputs"]),
        outputs=tuple(_tensor(spec) for spec in data["outputs"]),
    )


def _tensor(spec: dict[str, Any]) -> TensorSpec:
    return TensorSpec(spec["name"], spec["datatype"], tuple(spec["shape"]), spec.get("optional", False))


CONTRACT = load_contract()
