"""The folder that is served from: what stands there, and how another model takes its place; it does not judge."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from predictor_model.graph import MODEL_FILE, RECORD_FILE, WEIGHTS_FILE, Graph, load_graph

IN_PLACE: Final = "v1"  # inferenceservices/forecaster-finetuned.yaml serves from there


def same_model(one: Path, other: Path) -> bool:
    """Whether two folders hold the same model."""
    models = [folder / MODEL_FILE for folder in (one, other)]
    return all(model.is_file() for model in models) and models[0].read_bytes() == models[1].read_bytes()


def model_in(folder: Path) -> Graph | None:
    """The model of a folder; None where there is none.

    Raises:
        ModelUnusable: There is one, and it does not fit the contract.
    """
    return load_graph(folder / MODEL_FILE) if (folder / MODEL_FILE).exists() else None


def put_in_place(source: Path, folder: Path) -> None:
    """Let the model of `source` be the one in `folder`.

    A server that starts at any moment, even after a kill in the middle, finds the whole model, the old one or the new:
    the file it reads is exchanged in one step, and last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (WEIGHTS_FILE, RECORD_FILE, MODEL_FILE):
        part = folder / f"{name}.part"
        with part.open("wb") as file:
            file.write((source / name).read_bytes())
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder / name)
