"""The strongest rival that needs no network: one LightGBM quantile model for all series, on the network's own data.

A row is a window and one step ahead; features and target stand in the window's own scale, as the network's do. Only
`python -m predictor_model.evaluate` asks for it; nothing that ships needs it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import lightgbm
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress

from predictor_model.baselines import DAY_SECONDS
from predictor_model.config import UNKNOWN_END_TIME, ModelConfig, TrainConfig
from predictor_model.features import HORIZON, WindowBatch, WindowSampler
from predictor_model.metrics import LEVELS, Array, pinball
from predictor_model.traces import TraceError
from predictor_model.training_data import load_training_data, training_files

Features: TypeAlias = npt.NDArray[np.float32]

RECENT: Final = 36
SPANS: Final = (6, 12, 24, 48, 96, 144, 288)
STEPS_OF_A_WINDOW: Final = 5
# Chosen on the later slice of the training traces, never on those that are scored.
PARAMETERS: Final = {
    "objective": "quantile",
    "learning_rate": 0.05,
    "num_leaves": 63,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.6,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "max_bin": 127,
    "seed": 0,
    "deterministic": True,
    "verbosity": -1,
}
WINDOWS: Final = 102_000
ROUNDS: Final = 400
MAX_WEIGHT: Final = 20.0  # of a row: how many typical moves of its series one unit of its scale is


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """Windows in their own scale: `asinh((load - newest) / deviation)`.

    Attributes:
        newest, deviation: Shape (B,).
        load: NaN is missing. Shape (B, T).
        lags: NaN is unknown. Shape (B, 2, H).
    """

    newest: Array
    deviation: Array
    load: Array
    lags: Array

    def scale(self, load: Array) -> Array:
        """Load into the windows' scale. Shape (B, ...) in and out."""
        shape = (-1,) + (1,) * (load.ndim - 1)
        scaled: Array = np.arcsinh((load - self.newest.reshape(shape)) / self.deviation.reshape(shape))
        return scaled

    def unscale(self, values: Array) -> Array:
        """Back into load, which is never negative. Shape (B, ...) in and out."""
        shape = (-1,) + (1,) * (values.ndim - 1)
        load = self.newest.reshape(shape) + self.deviation.reshape(shape) * np.sinh(np.clip(values, -12, 12))
        return np.maximum(load, 0)


def scaled_windows(batch: WindowBatch) -> Scaled:
    """Bring windows to their own scale; all of it comes from their past."""
    load = np.where(batch.observed, batch.load, np.nan).astype(np.float64)
    last = load.shape[1] - 1 - np.argmax(batch.observed[:, ::-1], axis=1)
    newest = np.take_along_axis(load, last[:, None], axis=1)[:, 0]
    deviation = np.nanstd(load, axis=1) + 1e-3 * np.abs(np.nanmean(load, axis=1)) + 1e-12
    lags = np.where(batch.seasonal_lags_observed, batch.seasonal_lags, np.nan).astype(np.float64)
    bare = Scaled(newest, deviation, load, lags)
    return Scaled(newest, deviation, bare.scale(load), bare.scale(lags))


def features(batch: WindowBatch, scaled: Scaled, steps: npt.NDArray[np.int64]) -> Features:
    """One row for each window and step.

    Args:
        batch: The windows.
        scaled: The same in their own scale.
        steps: Steps ahead, 1 to H. Shape (B, S).

    Returns:
        Shape (B * S, F).
    """
    load, rows = scaled.load, np.arange(len(scaled.load))[:, None]
    window = [load[:, -RECENT:]]
    for span in SPANS:
        part = load[:, -span:]
        known = ~np.isnan(part)
        filled = np.where(known, part, 0.0)
        count = np.maximum(known.sum(1), 1)
        mean = filled.sum(1) / count
        spread = np.sqrt(np.where(known, (part - mean[:, None]) ** 2, 0).sum(1) / count)
        top = np.where(known, part, -np.inf).max(1)
        bottom = np.where(known, part, np.inf).min(1)
        window.append(np.stack([mean, spread, top, bottom], axis=1))
    window.append(scaled.scale(np.zeros((len(load), 1))))
    window.append(np.log2(batch.step_seconds[:, None] / 60.0))
    window.append(batch.observed.mean(1, keepdims=True))
    shared = np.concatenate(window, axis=1)  # (B, F')
    lags = scaled.lags[rows, :, steps - 1]  # (B, S, 2)
    # What the seasonal pattern did from its counterpart of now to that of the step: the shape of the change to come.
    change = lags - scaled.lags[:, None, :, 0]
    peak = np.fmax.accumulate(scaled.lags, axis=2)[rows, :, steps - 1]
    at = batch.end_time[:, None] + steps * batch.step_seconds[:, None]
    angle = 2 * np.pi * (at % DAY_SECONDS) / DAY_SECONDS
    known_clock = np.broadcast_to((batch.end_time != UNKNOWN_END_TIME)[:, None], steps.shape)
    clock = np.where(known_clock[..., None], np.stack([np.sin(angle), np.cos(angle)], axis=-1), np.nan)
    own = np.concatenate([steps[..., None].astype(np.float64), lags, change, peak, clock], axis=-1)  # (B, S, F'')
    both = np.concatenate([np.repeat(shared[:, None, :], steps.shape[1], axis=1), own], axis=-1)
    finite: Features = np.where(np.isfinite(both), both, np.nan).reshape(-1, both.shape[-1]).astype(np.float32)
    return finite


class GlobalBoosting:
    """One booster for each quantile level."""

    def __init__(self, boosters: Sequence[lightgbm.Booster], context_length: int) -> None:
        self._boosters = tuple(boosters)
        self.context_length = context_length

    def quantiles(self, batch: WindowBatch) -> Array:
        """Forecast, sorted so that levels do not cross. Shape (B, H, Q)."""
        scaled = scaled_windows(batch)
        steps = np.tile(np.arange(1, HORIZON + 1, dtype=np.int64), (len(batch.load), 1))
        rows = features(batch, scaled, steps)
        levels = [np.asarray(booster.predict(rows)).reshape(steps.shape) for booster in self._boosters]
        return scaled.unscale(np.sort(np.stack(levels, axis=-1), axis=-1))

    def save(self, folder: Path) -> None:
        """Write one text file a level."""
        folder.mkdir(parents=True, exist_ok=True)
        for level, booster in zip(LEVELS, self._boosters, strict=True):
            booster.save_model(folder / f"q{level:g}.txt")

    @classmethod
    def load(cls, folder: Path) -> GlobalBoosting:
        """Read what `save` wrote.

        Raises:
            TraceError: A level is missing.
        """
        files = [folder / f"q{level:g}.txt" for level in LEVELS]
        missing = [str(file) for file in files if not file.exists()]
        if missing:
            raise TraceError(f"no {', '.join(missing)}; train it: python -m predictor_model.boosting --out {folder}")
        return cls([lightgbm.Booster(model_file=file) for file in files], ModelConfig().context_length)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What a booster is fitted to. Shapes (N, F), (N,), (N,)."""

    features: Features
    target: Array
    weight: Array


def rows_of(sampler: WindowSampler, windows: int, rng: np.random.Generator) -> Rows:
    """Draw windows, and some steps of each."""
    parts = []
    for start in range(0, windows, 4096):
        batch = sampler.draw(min(4096, windows - start), rng)
        scaled = scaled_windows(batch)
        steps = rng.integers(1, HORIZON + 1, size=(len(batch.load), STEPS_OF_A_WINDOW))
        target = scaled.scale(batch.target.astype(np.float64))[np.arange(len(steps))[:, None], steps - 1].ravel()
        # What WQL measures is an error in load, set against the series' typical move: rows of a wide scale weigh more.
        weight = np.repeat(np.clip(scaled.deviation / batch.unit, 0.05, MAX_WEIGHT), STEPS_OF_A_WINDOW)
        seen = np.isfinite(target)
        parts.append(Rows(features(batch, scaled, steps)[seen], target[seen], weight[seen]))
    return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in Rows.__dataclass_fields__))


def train(sampler: WindowSampler, *, windows: int, rounds: int, seed: int, console: Console) -> GlobalBoosting:
    """Fit one booster for each level."""
    rows = rows_of(sampler, windows, np.random.default_rng(seed))
    console.print(f"{len(rows.target):,} rows of {rows.features.shape[1]} features")
    data = lightgbm.Dataset(rows.features, rows.target, weight=rows.weight, params=PARAMETERS).construct()
    with Progress(console=console) as progress:
        task = progress.add_task("boosting", total=len(LEVELS) * rounds)
        boosters = [
            lightgbm.train(
                {**PARAMETERS, "alpha": level},
                data,
                num_boost_round=rounds,
                callbacks=[lambda _: progress.advance(task)],
            )
            for level in LEVELS.tolist()
        ]
    return GlobalBoosting(boosters, sampler.index.context_length)


def validation_loss(model: GlobalBoosting, batches: Sequence[WindowBatch]) -> float:
    """Mean pinball loss over later windows, each in units of its series' typical move."""
    losses = []
    for batch in batches:
        error = batch.target[..., None].astype(np.float64) - model.quantiles(batch)
        loss = pinball(error, LEVELS) / batch.unit[:, None, None]
        losses.append(np.nanmean(np.minimum(loss, MAX_WEIGHT)))
    return float(np.mean(losses))


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line of `python -m predictor_model.boosting`."""
    parser = argparse.ArgumentParser(prog="python -m predictor_model.boosting", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="CSV files or directories of them")
    parser.add_argument("--out", type=Path, required=True, help="folder for the boosters, a text file a level")
    parser.add_argument("--sets", choices=["all", "shipped"], default="all", help="shipped: only permissive licences")
    parser.add_argument(
        "--windows", type=int, default=WINDOWS, help=f"windows drawn, {STEPS_OF_A_WINDOW} steps of each"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="trees for each level")
    parser.add_argument("--synthetic-traces", type=int, default=TrainConfig().synthetic_traces)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, and leave the boosters in the output folder."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    console = Console(stderr=True)
    try:
        files = training_files(options.data, shipped_only=options.sets == "shipped")
        run = TrainConfig(seed=options.seed, synthetic_traces=options.synthetic_traces)
        data = load_training_data(files, ModelConfig(), run)
    except (TraceError, ValueError) as error:
        console.print(f"[red]error:[/red] {error}")
        return 2
    model = train(data.sampler, windows=options.windows, rounds=options.rounds, seed=options.seed, console=console)
    model.save(options.out)
    loss = validation_loss(model, data.validation)
    console.print(f"wrote {options.out}: validation loss {loss:.4f} of a typical move")
    return 0


if __name__ == "__main__":
    sys.exit(main())
