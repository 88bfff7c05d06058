"""Trains the forecaster on CSV traces and synthetic load, and exports it; the only entry point that needs torch."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from predictor_model.checkpoint import Checkpoint, write_record
from predictor_model.config import Encoder, Loss, ModelConfig, Scaling, TrainConfig
from predictor_model.contract import CONTRACT
from predictor_model.export import export_onnx
from predictor_model.features import Augmenter, WindowBatch
from predictor_model.graph import MODEL_FILE
from predictor_model.metrics import window_max
from predictor_model.network import MEDIAN, BiLSTMForecaster, Scale, Window
from predictor_model.traces import TraceError
from predictor_model.training_data import TrainingData, load_training_data, training_files

# Two standard deviations of a window may be hundreds of typical moves of its series; without a bound, a few such
# windows would be the whole loss.
MAX_UNIT_RATIO = 20.0
# Where |scaled| > 6 (200 standard deviations) the loss in load units would explode; the scaled loss still pulls.
MAX_SCALED_IN_LOSS = 6.0

_Config = TypeVar("_Config", ModelConfig, TrainConfig)


def pinball(error: Tensor, levels: Tensor) -> Tensor:
    """Pinball loss of `error` = observed - forecast at each level (Koenker and Bassett, 1978). Shape (..., Q)."""
    return torch.maximum(levels * error, (levels - 1) * error)


def window_max_target(target: Tensor) -> tuple[Tensor, Tensor]:
    """Highest load so far, and where it is known: up to the first missing sample. Shapes (B, H)."""
    highest = torch.from_numpy(window_max(target.numpy()))
    return highest.nan_to_num(), ~torch.isnan(highest)


class ForecastLoss:
    """Loss of both heads, in the network's range and in load units.

    The first treats every window alike; the second, in units of the series' typical move, is what WQL measures. Of the
    losses of a point only the first is taken: squares of load would be those of a few windows.
    """

    def __init__(self, kind: Loss, raw_weight: float) -> None:
        self.kind = kind
        self.raw_weight = raw_weight
        self.levels = torch.tensor(CONTRACT.quantile_levels)

    def __call__(self, network: BiLSTMForecaster, batch: WindowBatch) -> Tensor:
        """Mean loss over the observed targets of a batch."""
        window = Window(*(torch.from_numpy(values) for values in batch.inputs().values()))
        forecast, scale = network.forecast_scaled(window, spread_alone=self.kind is not Loss.PINBALL)
        target = torch.from_numpy(batch.target)  # (B, H)
        seen = ~torch.isnan(target)
        unit = torch.from_numpy(batch.unit).unsqueeze(1)
        loss = self._head(network, forecast.quantiles, scale, (target.nan_to_num(), seen, unit))
        if network.config.window_max_head:
            highest, highest_seen = window_max_target(target)
            loss = loss + self._head(network, forecast.window_max, scale, (highest, highest_seen, unit))
        return loss

    def _head(
        self, network: BiLSTMForecaster, scaled: Tensor, scale: Scale, truth: tuple[Tensor, Tensor, Tensor]
    ) -> Tensor:
        target, seen, unit = truth
        divisor = torch.where(scale.magnitude > 0, scale.magnitude, torch.ones_like(scale.magnitude))
        known = seen & (scale.scale > 0)  # an all-zero window has no range to be wrong in
        scaled_target = network.scaler.scale(target / divisor, scale).unsqueeze(-1)  # (B, H, 1)
        if self.kind is not Loss.PINBALL:
            loss = self._of_point(scaled_target, scaled)
        else:
            loss = pinball(scaled_target - scaled, self.levels).mean(-1)
            if self.raw_weight:
                ratio = (scale.scale * scale.magnitude / unit).clamp(max=MAX_UNIT_RATIO)
                error = _spread(scaled_target, network) - _spread(scaled, network)
                loss = loss + self.raw_weight * ratio * pinball(error, self.levels).mean(-1)
        return (loss * known).sum() / known.sum().clamp(min=1)

    def _of_point(self, target: Tensor, scaled: Tensor) -> Tensor:
        centre = scaled[..., MEDIAN : MEDIAN + 1]
        around = scaled - centre + centre.detach()
        is_centre = functional.one_hot(torch.tensor(MEDIAN), len(self.levels)).to(scaled)
        spread = (pinball(target - around, self.levels) * (1 - is_centre)).mean(-1)
        return spread + _POINT_LOSSES[self.kind](centre, target, reduction="none").squeeze(-1)


_POINT_LOSSES: Final[Mapping[Loss, Callable[..., Tensor]]] = {
    Loss.MAE: functional.l1_loss, Loss.MSE: functional.mse_loss, Loss.HUBER: functional.huber_loss,
}  # fmt: skip


def _spread(scaled: Tensor, network: BiLSTMForecaster) -> Tensor:
    bounded = scaled.clamp(-MAX_SCALED_IN_LOSS, MAX_SCALED_IN_LOSS)
    return torch.sinh(bounded) if network.config.scaling is Scaling.ASINH else bounded


class Trainer:
    """One run: resumes where its folder left off, keeps the best averaged weights, stops when they stay the same."""

    def __init__(self, data: TrainingData, model: ModelConfig, train: TrainConfig, folder: Path) -> None:
        torch.manual_seed(train.seed)
        self.data, self.train_config, self.folder = data, train, folder
        self.network = BiLSTMForecaster(model)
        average = get_ema_multi_avg_fn(train.average_decay)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(self.network, multi_avg_fn=average)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=train.learning_rate, weight_decay=train.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=train.learning_rate, total_steps=train.steps, pct_start=0.1
        )
        self.loss = ForecastLoss(train.loss, train.raw_loss_weight)
        self.step, self.best_loss, self.best_step = 0, float("inf"), 0
        self.best_weights = self._averaged_weights()
        self._resume()

    def run(self, console: Console) -> None:
        """Train until the steps are done or validation has stopped improving."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("training", total=self.train_config.steps, completed=self.step)
            while self.step < self.train_config.steps and not self._out_of_patience():
                training_loss = self._train_step()
                progress.update(task, completed=self.step)
                if self.step % self.train_config.validate_every == 0 or self.step == self.train_config.steps:
                    self._validate()
                    self.checkpoint().save(self.folder)
                    console.print(
                        f"step {self.step}: training loss {training_loss:.4f}, validation best {self.best_loss:.4f}"
                        f" at step {self.best_step}"
                    )

    def best_network(self) -> BiLSTMForecaster:
        """The network with the best averaged weights."""
        network = BiLSTMForecaster(self.network.config)
        network.load_state_dict(self.best_weights)
        return network.eval()

    def export(self, *, model_version: str) -> None:
        """Leave the best network and what it was made of in the run's folder."""
        export_onnx(self.best_network(), self.folder / MODEL_FILE, model_version=model_version)
        write_record(self.checkpoint(), self.folder, model_version=model_version)

    def _train_step(self) -> float:
        self.network.train()
        # Seeded by step, not carried on: a resumed run draws what an unbroken one would have.
        rng = np.random.default_rng((self.train_config.seed, self.step))
        torch.manual_seed(self.train_config.seed + self.step)
        batch = Augmenter(rng)(self.data.sampler.draw(self.train_config.batch_size, rng))
        loss = self.loss(self.network, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.train_config.gradient_clip)
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return float(loss.detach())

    def _validate(self) -> None:
        network = self._averaged().eval()
        with torch.no_grad():
            loss = float(np.mean([float(self.loss(network, batch)) for batch in self.data.validation]))
        if loss < self.best_loss:
            self.best_loss, self.best_step, self.best_weights = loss, self.step, self._averaged_weights()

    def _out_of_patience(self) -> bool:
        return self.step - self.best_step > self.train_config.patience * self.train_config.validate_every

    def _averaged_weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self._averaged().state_dict().items()}

    def _averaged(self) -> BiLSTMForecaster:
        network = self.average.module
        if not isinstance(network, BiLSTMForecaster):
            raise TypeError(f"the average is over a {type(network).__name__}")
        return network

    def checkpoint(self) -> Checkpoint:
        """The run as it stands."""
        return Checkpoint(
            model=self.network.config,
            train=self.train_config,
            data=self.data.sources,
            step=self.step,
            best_loss=self.best_loss,
            best_step=self.best_step,
            state={name: part.state_dict() for name, part in self._stateful().items()},
            best_weights=self.best_weights,
        )

    def _resume(self) -> None:
        checkpoint = Checkpoint.load(self.folder)
        if checkpoint is None:
            return
        ours = (self.network.config, self.train_config, self.data.sources)
        if ours != (checkpoint.model, checkpoint.train, checkpoint.data):
            raise TraceError(f"{self.folder} holds a run with other settings or data; give an empty --out")
        for name, part in self._stateful().items():
            part.load_state_dict(checkpoint.state[name])
        self.step, self.best_loss, self.best_step = checkpoint.step, checkpoint.best_loss, checkpoint.best_step
        self.best_weights = checkpoint.best_weights

    def _stateful(self) -> dict[str, torch.nn.Module | torch.optim.Optimizer | torch.optim.lr_scheduler.OneCycleLR]:
        return {
            "network": self.network,
            "average": self.average,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line of `python -m predictor_model.train`."""
    defaults, model = TrainConfig(), ModelConfig()
    parser = argparse.ArgumentParser(prog="python -m predictor_model.train", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="CSV files or directories of them")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint and model; a run there resumes")
    parser.add_argument("--sets", choices=["all", "shipped"], default="all", help="shipped: only permissive licences")
    parser.add_argument("--model-version", default="0.0.0", help="version that the model will report")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--steps", type=int, default=defaults.steps, help="optimiser steps at most")
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size, help="windows per step")
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument("--loss", type=Loss, choices=list(Loss), default=defaults.loss)
    parser.add_argument("--raw-loss-weight", type=float, default=defaults.raw_loss_weight)
    parser.add_argument("--synthetic-traces", type=int, default=defaults.synthetic_traces)
    parser.add_argument("--scaling", type=Scaling, choices=list(Scaling), default=model.scaling)
    parser.add_argument("--encoder", type=Encoder, choices=list(Encoder), default=model.encoder)
    parser.add_argument("--hidden-size", type=int, default=model.hidden_size, help="units per direction")
    parser.add_argument("--encoder-size", type=int, default=model.encoder_size, help="width of the context vector")
    parser.add_argument("--decoder-size", type=int, default=model.decoder_size, help="width of the per-step decoder")
    parser.add_argument("--layers", type=int, default=model.layers, help="of the encoder")
    parser.add_argument("--patch-length", type=int, default=model.patch_length, help="samples per token")
    return parser.parse_args(arguments)


def configs(options: argparse.Namespace) -> tuple[ModelConfig, TrainConfig]:
    """Network and run as the command line asks for them."""
    return _fields(ModelConfig, options), _fields(TrainConfig, options)


def _fields(kind: type[_Config], options: argparse.Namespace) -> _Config:
    """Build a config from the options that bear its fields' names."""
    asked = vars(options)
    return kind(**{field.name: asked[field.name] for field in dataclasses.fields(kind) if field.name in asked})


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, and leave checkpoint and model.onnx in the output folder."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.WARNING)
    console = Console(stderr=True)
    try:
        files = training_files(options.data, shipped_only=options.sets == "shipped")
        model, train = configs(options)
        options.out.mkdir(parents=True, exist_ok=True)
        console.print(f"reading {len(files)} files")
        trainer = Trainer(load_training_data(files, model, train), model, train, options.out)
    except (TraceError, ValueError) as error:
        console.print(f"[red]error:[/red] {error}")
        return 2
    trainer.run(console)
    trainer.export(model_version=options.model_version)
    console.print(f"wrote {options.out / MODEL_FILE}: validation loss {trainer.best_loss:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
