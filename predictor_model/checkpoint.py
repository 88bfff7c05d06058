"""What a training run begins with and leaves behind: a kill loses minutes, and a file says what it was made of."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import TypeAdapter

from predictor_model.config import ModelConfig, TrainConfig
from predictor_model.graph import MODEL_FILE, RECORD_FILE, WEIGHTS_FILE
from predictor_model.traces import TraceError
from predictor_model.training_data import DataSource

CHECKPOINT_FILE = "checkpoint.pt"

# Plain values: such a file loads without unpickling classes of ours, and JSON takes them as they are.
_MODEL: Final = TypeAdapter(ModelConfig)
_TRAIN: Final = TypeAdapter(TrainConfig)


@dataclass(slots=True)
class Checkpoint:
    """A run at one step.

    Attributes:
        step: Optimiser steps done.
        best_loss: Lowest validation loss so far.
        best_step: Step of it.
        state: Network, average, optimiser and schedule, by name.
        best_weights: Averaged weights at `best_step`.
    """

    model: ModelConfig
    train: TrainConfig
    data: tuple[DataSource, ...]
    step: int
    best_loss: float
    best_step: int
    state: dict[str, Any]
    best_weights: dict[str, torch.Tensor]

    def save(self, folder: Path) -> None:
        """Write it so that a kill at any moment leaves a whole file."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["model"] = _MODEL.dump_python(self.model, mode="json")
        fields["train"] = _TRAIN.dump_python(self.train, mode="json")
        fields["data"] = [dataclasses.asdict(source) for source in self.data]
        temporary = folder / f"{CHECKPOINT_FILE}.part"
        torch.save(fields, temporary)
        temporary.replace(folder / CHECKPOINT_FILE)

    @classmethod
    def load(cls, folder: Path) -> Checkpoint | None:
        """The run in `folder`, or None where there is none."""
        path = folder / CHECKPOINT_FILE
        if not path.exists():
            return None
        fields = torch.load(path, weights_only=True)
        return cls(
            model=_MODEL.validate_python(fields.pop("model")),
            train=_TRAIN.validate_python(fields.pop("train")),
            data=tuple(DataSource(**source) for source in fields.pop("data")),
            **fields,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Weights that a run begins with, in place of random ones.

    Attributes:
        model: Shape of their network.
        model_version: As their model reports it.
        sha256: Of their file.
        weights: By name.
    """

    model: ModelConfig
    model_version: str
    sha256: str
    weights: dict[str, torch.Tensor]


def load_start(folder: Path) -> Start:
    """Read what an exported run left in `folder`.

    Raises:
        TraceError: The weights or their record are not there, or are not what they should be.
    """
    path = folder / WEIGHTS_FILE
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        weights = torch.load(path, weights_only=True)
        model, version = _MODEL.validate_python(record["model"]), str(record["model_version"])
    except Exception as exc:  # a file that is no such file fails in as many ways as there are layers in torch.load
        wanted = f"accepted is the folder of an exported run, with {WEIGHTS_FILE} and {RECORD_FILE}"
        raise TraceError(f"{folder} cannot be started from ({type(exc).__name__}: {exc}); {wanted}") from exc
    return Start(model, version, hashlib.sha256(path.read_bytes()).hexdigest(), weights)


def write_weights(weights: dict[str, torch.Tensor], folder: Path) -> None:
    """Leave the network's own weights, from which another run can start."""
    torch.save({name: weight.detach().float().clone() for name, weight in weights.items()}, folder / WEIGHTS_FILE)


def write_record(checkpoint: Checkpoint, folder: Path, *, model_version: str) -> None:
    """Put what a model was made of beside it, in plain JSON; the model card is written from it."""
    record = {
        "model_version": model_version,
        "model_sha256": hashlib.sha256((folder / MODEL_FILE).read_bytes()).hexdigest(),
        "parameters": sum(weight.numel() for weight in checkpoint.best_weights.values()),
        "model": _MODEL.dump_python(checkpoint.model, mode="json"),
        "train": _TRAIN.dump_python(checkpoint.train, mode="json"),
        "data": [dataclasses.asdict(source) for source in checkpoint.data],
        "best_step": checkpoint.best_step,
        "validation_loss": round(checkpoint.best_loss, 4),
    }
    (folder / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
