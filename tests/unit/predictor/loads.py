"""Load as the tests of the model make it."""

from __future__ import annotations

import numpy as np


def daily_load(days: int = 6, step: int = 300, seed: int = 0) -> np.ndarray:
    """A day's wave with noise, in float32."""
    rng = np.random.default_rng(seed)
    at = np.arange(days * 86_400 // step) * step / 86_400
    return (100 + 60 * np.sin(2 * np.pi * at) + rng.normal(scale=4, size=at.size)).clip(0).astype(np.float32)
