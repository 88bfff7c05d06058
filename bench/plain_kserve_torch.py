"""A plain KServe model that loads the same network in torch: what most people would write, and what we compare with."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer, model_server

from predictor_model.config import ModelConfig
from predictor_model.contract import CONTRACT
from predictor_model.network import N_LAGS, BiLSTMForecaster, Window


class PlainModel(Model):  # type: ignore[misc]  # the SDK ships no types
    """Loads a state dict, and answers whole windows on the event loop, as the SDK's examples do."""

    def __init__(self, name: str, weights: Path) -> None:
        super().__init__(name)
        self._weights = weights
        self._network = BiLSTMForecaster(ModelConfig())

    def load(self) -> bool:
        """Load the weights and answer once."""
        self._network.load_state_dict(torch.load(self._weights, weights_only=True))
        self._network.eval()
        self._run(torch.ones(1, ModelConfig().context_length))
        self.ready = True
        return True

    def predict(self, payload: InferRequest, headers: Mapping[str, str] | None = None) -> InferResponse:
        """Answer a request of whole windows."""
        quantiles = self._run(torch.from_numpy(payload.inputs[0].as_numpy().copy())).numpy()
        output = InferOutput("quantiles", list(quantiles.shape), "FP32")
        output.set_data_from_numpy(quantiles, binary_data=True)
        return InferResponse(payload.id or "plain", self.name, [output], use_binary_outputs=True)

    def _run(self, load: torch.Tensor) -> torch.Tensor:
        batch = len(load)
        lags = torch.zeros(batch, N_LAGS, CONTRACT.prediction_length)
        window = Window(
            load=load,
            observed=torch.ones_like(load, dtype=torch.bool),
            end_time=torch.full((batch,), -1),
            seasonal_lags=lags,
            seasonal_lags_observed=torch.zeros_like(lags, dtype=torch.bool),
            step_seconds=torch.full((batch,), CONTRACT.default_step_seconds),
        )
        with torch.inference_mode():
            quantiles: torch.Tensor = self._network(window).quantiles
        return quantiles


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, parents=[model_server.parser])
    parser.add_argument("--weights", type=Path, required=True, help="state dict of the network")
    parser.add_argument("--create", action="store_true", help="write an untrained state dict there, and end")
    args = parser.parse_args()
    if args.create:
        torch.save(BiLSTMForecaster(ModelConfig()).state_dict(), args.weights)
    else:
        model = PlainModel(CONTRACT.model_name, args.weights)
        model.load()
        ModelServer().start([model])
