"""A network and a trace small enough for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from predictor_model.config import ModelConfig

SMALL = ModelConfig(
    context_length=48,
    patch_length=6,
    hidden_size=8,
    encoder_size=12,
    decoder_size=10,
    recent_length=6,
    span_lengths=(6, 48),
)


def write_waves(path: Path, names: Sequence[str]) -> Path:
    """Write three days of noisy waves at steps of five minutes, a series for each name."""
    rng = np.random.default_rng(0)
    rows = ["series,timestamp,value"]
    for name in names:
        load = 10 + 5 * np.sin(np.arange(900) / 20) + rng.random(900)
        rows += [f"{name},{number * 300},{value:.4f}" for number, value in enumerate(load)]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path
