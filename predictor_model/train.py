"""Trains the forecaster on CSV traces and synthetic load, and exports it; the only entry point that needs torch."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from predictor_model.checkpoint import Checkpoint, Start, load_start, write_record, write_weights
from predictor_model.config import Encoder, Loss, ModelConfig, Scaling, TrainConfig
from predictor_model.contract import CONTRACT
from predictor_model.export import export_onnx
from predictor_model.features import Augmenter, WindowBatch
from predictor_model.graph import MODEL_FILE, SHIPPED_WEIGHTS
from predictor_model.metrics import window_max
from predictor_model.network import MEDIAN, BiLSTMForecaster, Scale, Window
from predictor_model.ranks import Ranks, joined_ranks
from predictor_model.traces import TraceError
from predictor_model.training_data import TrainingData, load_training_data, training_files

# Two standard deviations of a window may be hundreds of typical moves of its series; without a bound, a few such
# windows would be the whole loss.
MAX_UNIT_RATIO = 20.0
# Where |scaled| > 6 (200 standard deviations) the loss in load units would explode; the scaled loss still pulls.
MAX_SCALED_IN_LOSS = 6.0

ALONE: Final = Ranks()
SHIPPED: Final = "shipped"


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
    """One run: resumes where its folder left off, keeps the best averaged weights, stops when they stay the same.

    Of several processes each draws its own windows, and all step along the mean of their gradients.
    """

    def __init__(
        self,
        data: TrainingData,
        model: ModelConfig,
        train: TrainConfig,
        folder: Path,
        *,
        start: Start | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        """Begin at `start`, at random weights without it, or where `folder` left off."""
        torch.manual_seed(train.seed)
        self.data, self.folder, self.ranks = data, folder, ranks
        self.train_config = train if start is None else dataclasses.replace(train, start_sha256=start.sha256)
        self.network = BiLSTMForecaster(model)
        self.start_weights = start.weights if start is not None else {}
        if start is not None:
            self.network.load_state_dict(start.weights)
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
        """Train until the steps are done or validation has stopped improving.

        Weights that the run was given are the first to be beaten.
        """
        if self.step == 0 and self.train_config.start_sha256:
            self._validate()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("training", total=self.train_config.steps, completed=self.step)
            while self.step < self.train_config.steps and not self._out_of_patience():
                training_loss = self._train_step()
                progress.update(task, completed=self.step)
                if self.step % self.train_config.validate_every == 0 or self.step == self.train_config.steps:
                    self._validate()
                    if self.ranks.writes:
                        self.checkpoint().save(self.folder)
                    console.print(
                        f"step {self.step}: training loss {training_loss:.4f}, validation best {self.best_loss:.4f}"
                        f" at step {self.best_step}"
                    )

    def best_network(self) -> BiLSTMForecaster:
        """The network with the best averaged weights, taken back by `start_share` towards those it began with."""
        share = self.train_config.start_share
        network = BiLSTMForecaster(self.network.config)
        network.load_state_dict(
            {
                name: torch.lerp(weight, self.start_weights.get(name, weight), share)
                for name, weight in self.best_weights.items()
            }
        )
        return network.eval()

    def export(self, *, model_version: str) -> None:
        """Leave the best network and what it was made of in the run's folder."""
        network = self.best_network()
        export_onnx(network, self.folder / MODEL_FILE, model_version=model_version)
        write_weights(network.state_dict(), self.folder)
        write_record(self.checkpoint(), self.folder, model_version=model_version)

    def _train_step(self) -> float:
        self.network.train()
        # Seeded by step, not carried on: a resumed run draws what an unbroken one would have.
        rng = np.random.default_rng((self.train_config.seed, self.step, self.ranks.rank))
        torch.manual_seed(self.train_config.seed + self.step)
        batch = Augmenter(rng)(self.data.sampler.draw(self.train_config.batch_size, rng))
        loss = self.loss(self.network, batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._average_gradients()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.train_config.gradient_clip)
        self.optimizer.step()
        self.schedule.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return float(loss.detach())

    def _average_gradients(self) -> None:
        gradients = [weight.grad for weight in self.network.parameters() if weight.grad is not None]
        self.ranks.sum(gradients)
        for gradient in gradients:
            gradient.div_(self.ranks.world)

    def _validate(self) -> None:
        network = self._averaged().eval()
        ours = self.data.validation[self.ranks.rank :: self.ranks.world]
        with torch.no_grad():
            total = torch.tensor(sum(float(self.loss(network, batch)) for batch in ours), dtype=torch.float64)
        self.ranks.sum([total])  # one number for all: whether to stop is never a matter of rounding
        loss = float(total) / len(self.data.validation)
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
    """The command line of `python -m predictor_model.train`; what of the shape was not given is not there."""
    defaults = TrainConfig()
    parser = argparse.ArgumentParser(prog="python -m predictor_model.train", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="CSV files or directories of them")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint and model; a run there resumes")
    parser.add_argument("--sets", choices=["all", "shipped"], default="all", help="shipped: only permissive licences")
    parser.add_argument("--model-version", default="0.0.0", help="version that the model will report")
    parser.add_argument(
        "--start-from",
        metavar="DIR",
        help=f"weights to begin with: the folder of an exported run, or `{SHIPPED}`; the network has their shape",
    )
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--steps", type=int, default=defaults.steps, help="optimiser steps at most")
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size, help="windows per step, of each process")
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument("--loss", type=Loss, choices=list(Loss), default=defaults.loss)
    parser.add_argument("--raw-loss-weight", type=float, default=defaults.raw_loss_weight)
    parser.add_argument("--synthetic-traces", type=int, default=defaults.synthetic_traces)
    shape = parser.add_argument_group("shape of the network", argument_default=argparse.SUPPRESS)
    shape.add_argument("--scaling", type=Scaling, choices=list(Scaling))
    shape.add_argument("--encoder", type=Encoder, choices=list(Encoder))
    shape.add_argument("--hidden-size", type=int, help="units per direction")
    shape.add_argument("--encoder-size", type=int, help="width of the context vector")
    shape.add_argument("--decoder-size", type=int, help="width of the per-step decoder")
    shape.add_argument("--layers", type=int, help="of the encoder")
    shape.add_argument("--patch-length", type=int, help="samples per token")
    return parser.parse_args(arguments)


def configs(options: argparse.Namespace, start: Start | None) -> tuple[ModelConfig, TrainConfig]:
    """Network and run as the command line asks for them.

    Raises:
        ValueError: A shape that cannot be built, or another than that of the weights to start from.
    """
    if start is None:
        return ModelConfig(**_given(ModelConfig, options)), TrainConfig(**_given(TrainConfig, options))
    for name, asked in _given(ModelConfig, options).items():
        theirs = getattr(start.model, name)
        if asked != theirs:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} {asked}: the weights in {options.start_from} have {theirs}; leave it out")
    return start.model, TrainConfig(**_given(TrainConfig, options))


def _given(kind: type[ModelConfig] | type[TrainConfig], options: argparse.Namespace) -> dict[str, Any]:
    """The options that bear names of the config's fields."""
    asked = vars(options)
    return {field.name: asked[field.name] for field in dataclasses.fields(kind) if field.name in asked}


def start_of(text: str | None) -> Start | None:
    """Read the weights that `--start-from` names.

    Raises:
        TraceError: They are not there, or not what they should be.
    """
    if text is None:
        return None
    return load_start(SHIPPED_WEIGHTS if text == SHIPPED else Path(text))


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, and leave checkpoint, model and weights in the output folder; `torchrun` may start it several times."""
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.WARNING)
    with joined_ranks(os.environ) as ranks:
        console = Console(stderr=True, quiet=not ranks.writes)
        try:
            files = training_files(options.data, shipped_only=options.sets == "shipped")
            start = start_of(options.start_from)
            model, train = configs(options, start)
            options.out.mkdir(parents=True, exist_ok=True)
            console.print(f"reading {len(files)} files")
            data = load_training_data(files, model, train)
            trainer = Trainer(data, model, train, options.out, start=start, ranks=ranks)
        except (TraceError, ValueError) as error:
            console.print(f"[red]error:[/red] {error}")
            return 2
        trainer.run(console)
        if ranks.writes:
            trainer.export(model_version=options.model_version)
    console.print(f"wrote {options.out / MODEL_FILE}: validation loss {trainer.best_loss:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
