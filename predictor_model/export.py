"""Writes a network as the one ONNX file that serving loads; the file says itself what it was made for."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn
from torch.onnx import utils as onnx_utils

from predictor_model.config import UNKNOWN_END_TIME, ModelConfig
from predictor_model.contract import CONTRACT
from predictor_model.network import N_LAGS, BiLSTMForecaster, QuantileForecast, Window

OPSET = 17


def _register_hyperbolics() -> None:
    """Teach the exporter two operators that ONNX has had since opset 9 and that it does not know."""
    for name, operator in (("asinh", "Asinh"), ("sinh", "Sinh")):

        def symbolic(graph: Any, value: Any, operator: str = operator) -> Any:
            return graph.op(operator, value)

        onnx_utils.register_custom_op_symbolic(f"aten::{name}", symbolic, OPSET)


class _Positional(nn.Module):
    """The network with its inputs one by one, because an exported graph has no named tuples."""

    def __init__(self, network: BiLSTMForecaster) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: torch.Tensor) -> QuantileForecast:
        forecast: QuantileForecast = self.network(Window(*inputs))
        return forecast


def example_window(config: ModelConfig, batch: int = 2) -> Window:
    """A window of the right shapes and types, for tracing and warming up."""
    horizon = CONTRACT.prediction_length
    return Window(
        load=torch.rand(batch, config.context_length),
        observed=torch.ones(batch, config.context_length, dtype=torch.bool),
        end_time=torch.full((batch,), UNKNOWN_END_TIME, dtype=torch.int64),
        seasonal_lags=torch.rand(batch, N_LAGS, horizon),
        seasonal_lags_observed=torch.ones(batch, N_LAGS, horizon, dtype=torch.bool),
        step_seconds=torch.full((batch,), CONTRACT.default_step_seconds, dtype=torch.int64),
    )


def export_onnx(network: BiLSTMForecaster, path: Path, *, model_version: str) -> None:
    """Write the network with its weights, its version and its shapes to `path`."""
    _register_hyperbolics()
    window = example_window(network.config)
    inputs, outputs = list(Window._fields), list(QuantileForecast._fields)
    with warnings.catch_warnings():
        # The TorchScript exporter makes one small file in 0.3 s; its successor takes 13 s and splits the weights off.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Positional(network).eval(),
            tuple(window),
            str(path),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in (*inputs, *outputs)},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(str(path))
    metadata = {
        "model_version": model_version,
        "context_length": str(network.config.context_length),
        "prediction_length": str(CONTRACT.prediction_length),
        "quantile_levels": json.dumps(list(CONTRACT.quantile_levels)),
    }
    onnx.helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
