"""The exported graph in onnxruntime, held against the contract when it is opened; it knows no torch and no server."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import onnxruntime

from predictor_model.contract import CONTRACT

Array: TypeAlias = npt.NDArray[np.float32]
Signature: TypeAlias = dict[str, tuple[str, tuple[int | str, ...]]]

MODEL_FILE = "model.onnx"
WEIGHTS_FILE = "weights.pt"
RECORD_FILE = "training.json"
SHIPPED_WEIGHTS = Path(str(importlib.resources.files("predictor_model"))) / "weights"
# On two cores, 1,000 windows take 84 ms in chunks of 64 on two workers of one thread each, 87 to 144 ms in one
# session of two threads, 127 ms and more on one thread: workers scale, threads inside the graph do not.
CHUNK_ROWS = 64
GRAPH_OUTPUTS = ("quantiles", "window_max")


class ModelUnusable(Exception):
    """The model file is not there, is no ONNX graph, or does not fit the contract."""


class GraphInputs(Protocol):
    """A batch of windows of the graph's own context length."""

    @property
    def load(self) -> Array:
        """Past load. Shape (B, context)."""

    @property
    def observed(self) -> npt.NDArray[np.bool_]:
        """Which of it was seen. Shape (B, context)."""

    @property
    def end_time(self) -> npt.NDArray[np.int64]:
        """Unix seconds of the newest sample, -1 where unknown. Shape (B,)."""

    @property
    def seasonal_lags(self) -> Array:
        """Load a day and a week before each step. Shape (B, 2, H)."""

    @property
    def seasonal_lags_observed(self) -> npt.NDArray[np.bool_]:
        """Which of it is known. Shape (B, 2, H)."""

    @property
    def step_seconds(self) -> npt.NDArray[np.int64]:
        """Spacing of samples. Shape (B,)."""


GRAPH_INPUTS = ("load", "observed", "end_time", "seasonal_lags", "seasonal_lags_observed", "step_seconds")


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A loaded graph that fits the contract."""

    session: onnxruntime.InferenceSession
    context_length: int
    model_version: str

    def run(self, windows: GraphInputs) -> tuple[Array, Array]:
        """Compute `quantiles` and `window_max`, each of shape (B, H, Q)."""
        feed = {name: getattr(windows, name) for name in GRAPH_INPUTS}
        quantiles, window_max = self.session.run(list(GRAPH_OUTPUTS), feed)
        return quantiles, window_max


def load_graph(path: Path) -> Graph:
    """Open an exported graph and hold it against the contract.

    Raises:
        ModelUnusable: Says what about the file is wrong.
    """
    if not path.is_file():
        raise ModelUnusable(f"{path} is not there; accepted is a directory that holds {MODEL_FILE}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        metadata = session.get_modelmeta().custom_metadata_map
        graph = Graph(session, int(metadata["context_length"]), metadata["model_version"])
        levels = tuple(json.loads(metadata["quantile_levels"]))
    except Exception as exc:  # onnxruntime's own errors share no other base
        raise ModelUnusable(f"{path} is no forecaster's graph: {type(exc).__name__}: {exc}") from exc
    if levels != CONTRACT.quantile_levels:
        raise ModelUnusable(f"{path} has quantile_levels {levels}; the contract has {CONTRACT.quantile_levels}")
    found = _signature([*session.get_inputs(), *session.get_outputs()])
    expected = _expected_signature(graph.context_length)
    if found != expected:
        wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        described = "; ".join(f"{name} is {found.get(name)}, the contract has {expected.get(name)}" for name in wrong)
        raise ModelUnusable(f"{path} does not fit the contract: {described}")
    return graph


def _signature(values: Iterable[Any]) -> Signature:
    """Type and shape of one row, by name; the batch in front is free."""
    return {value.name: (value.type, tuple(value.shape[1:])) for value in values}


def _expected_signature(context_length: int) -> Signature:
    horizon = CONTRACT.prediction_length
    lags, levels = len(CONTRACT.seasonal_lag_seconds), len(CONTRACT.quantile_levels)
    return {
        "load": ("tensor(float)", (context_length,)),
        "observed": ("tensor(bool)", (context_length,)),
        "end_time": ("tensor(int64)", ()),
        "seasonal_lags": ("tensor(float)", (lags, horizon)),
        "seasonal_lags_observed": ("tensor(bool)", (lags, horizon)),
        "step_seconds": ("tensor(int64)", ()),
        **dict.fromkeys(GRAPH_OUTPUTS, ("tensor(float)", (horizon, levels))),
    }
