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
from predictor_model.holdout import History
from predictor_model.synthetic import DATASET as SYNTHETIC
from predictor_model.synthetic import synthetic_trace
from predictor_model.traces import Trace, TraceError, coarsen, dataset_name, read_traces, trace_files

COARSER_FACTORS = (2, 3, 5, 10, 15, 30)
VALIDATION_SEED = 1_000_003
OWN = "own"


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
    return TrainingData(sampler, _drawn(later, train), tuple(data_source(path) for path in files))


def own_training_data(
    histories: Sequence[History], files: Sequence[Path], model: ModelConfig, train: TrainConfig
) -> TrainingData:
    """Windows of a user's own series, each counting alike, beside synthetic ones; only the own ones validate.

    Args:
        histories: The series; nothing of a holdout enters.
        files: Where they came from.
        model: The network.
        train: The run.

    Raises:
        TraceError: No series was recorded in the slice of time that validates.
    """
    context, share = model.context_length, train.coarser_share
    synthetic = [synthetic_trace(number, seed=train.seed) for number in range(train.synthetic_traces)]
    weights = {OWN: 1.0, SYNTHETIC: SYNTHETIC_WEIGHT / (1 - SYNTHETIC_WEIGHT)} if synthetic else {OWN: 1.0}
    fit = [dataclasses.replace(h.trace, dataset=OWN, values=h.trace.values[: h.fit]) for h in histories]
    expanded, weights = _with_coarser_steps([*fit, *synthetic], weights, share, context)
    everything = np.ones(len(expanded))
    sampler = WindowSampler(WindowIndex(expanded, context), weights, first=0 * everything, last=everything)

    seen = [history for history in histories if history.validates]
    if not seen:
        raise TraceError("no series has samples between 70 and 80 % of the time, by which the training is stopped")
    parts = [
        _with_coarser_steps([dataclasses.replace(h.before, dataset=OWN)], {OWN: 1.0}, share, context)[0] for h in seen
    ]
    first = np.repeat([history.fit_share for history in seen], [len(part) for part in parts])
    index = WindowIndex([trace for part in parts for trace in part], context)
    later = WindowSampler(index, weights, first=first, last=np.ones_like(first))
    return TrainingData(sampler, _drawn(later, train), tuple(data_source(path) for path in files))


def _drawn(sampler: WindowSampler, train: TrainConfig) -> tuple[WindowBatch, ...]:
    """The windows that validate: the same whatever the run's seed."""
    rng = np.random.default_rng(VALIDATION_SEED)
    return tuple(sampler.draw(512, rng) for _ in range(-(-train.validation_windows // 512)))


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
