"""Which windows a model is trained on, and which later ones it is chosen by; the network and its rivals share them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from predictor_model.config import ModelConfig, TrainConfig
from predictor_model.contract import CONTRACT
from predictor_model.datasets import SHIPPED_SETS, SYNTHETIC_WEIGHT, training_set
from predictor_model.features import WindowBatch, WindowIndex, WindowSampler
from predictor_model.synthetic import DATASET as SYNTHETIC
from predictor_model.synthetic import synthetic_trace
from predictor_model.traces import Trace, TraceError, coarsen, dataset_name, read_traces, trace_files

COARSER_FACTORS = (2, 3, 5, 10, 15, 30)
VALIDATION_SEED = 1_000_003


@dataclass(frozen=True, slots=True)
class DataSource:
    """One file the weights were trained on."""

    dataset: str
    sha256: str
    licence: str


def data_source(path: Path) -> DataSource:
    """Hash and licence of a trace file."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    name = dataset_name(path)
    return DataSource(name, digest, training_set(name).licence)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Traces at every step they train at, and how to draw from them."""

    sampler: WindowSampler
    validation: tuple[WindowBatch, ...]
    sources: tuple[DataSource, ...]


def load_training_data(files: Sequence[Path], model: ModelConfig, train: TrainConfig) -> TrainingData:
    """Read the traces, add the synthetic ones and the coarser steps, and set the later slice of time aside."""
    traces = [trace for path in files for trace in read_traces(path)]
    weights = {dataset_name(path): training_set(dataset_name(path)).weight for path in files}
    traces += [synthetic_trace(number, seed=train.seed) for number in range(train.synthetic_traces)]
    if train.synthetic_traces:
        weights[SYNTHETIC] = SYNTHETIC_WEIGHT
    expanded, expanded_weights = _with_coarser_steps(traces, weights, train.coarser_share, model.context_length)
    index = WindowIndex(expanded, model.context_length)
    split = np.full(len(expanded), 1 - train.validation_share, dtype=np.float32)
    sampler = WindowSampler(index, expanded_weights, first=np.zeros_like(split), last=split)
    later = WindowSampler(index, expanded_weights, first=split, last=np.ones_like(split))
    rng = np.random.default_rng(VALIDATION_SEED)
    batches = -(-train.validation_windows // 512)
    validation = tuple(later.draw(512, rng) for _ in range(batches))
    return TrainingData(sampler, validation, tuple(data_source(path) for path in files))


def _with_coarser_steps(
    traces: Sequence[Trace], weights: dict[str, float], share: float, context_length: int
) -> tuple[list[Trace], dict[str, float]]:
    expanded, expanded_weights = list(traces), {name: weight * (1 - share) for name, weight in weights.items()}
    for trace in traces:
        for factor in COARSER_FACTORS:
            coarse = coarsen(trace, factor)
            if coarse.step_seconds > CONTRACT.max_step_seconds or len(coarse.values) < 2 * context_length:
                continue
            name = f"{trace.dataset}/x{factor}"
            expanded.append(dataclasses.replace(coarse, dataset=name))
            expanded_weights[name] = weights[trace.dataset] * share / len(COARSER_FACTORS)
    return expanded, expanded_weights


def training_files(paths: Sequence[Path], *, shipped_only: bool) -> tuple[Path, ...]:
    """The trace files to train on.

    Raises:
        TraceError: There are none.
    """
    files = trace_files(paths)
    if shipped_only:
        files = tuple(path for path in files if dataset_name(path) in SHIPPED_SETS)
    if not files:
        raise TraceError(f"none of the sets that may ship is in --data; they are {', '.join(SHIPPED_SETS)}")
    return files
