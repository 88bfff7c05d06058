"""What a network and a training run are made of; stored in the checkpoint, never read from the environment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

UNKNOWN_END_TIME = -1
"""What the graph takes for `end_time` where there is no clock."""


class Scaling(StrEnum):
    """How a window is brought to the network's range; everything comes from the window's own past."""

    ASINH = "asinh"
    """Centre on the newest level, divide by the standard deviation, compress with asinh."""
    MIN_MAX = "min-max"
    """Map the window's minimum and maximum to 0 and 1; kept as the comparison in docs/evaluation.md."""


class Encoder(StrEnum):
    """What reads the past window."""

    BI_LSTM = "bi-lstm"
    LSTM = "lstm"
    GRU = "gru"
    MLP = "mlp"


class Loss(StrEnum):
    """What the network learns by.

    All but the first teach it the centre alone; the spread around it is then learned by the pinball loss, which reaches
    no other weight.
    """

    PINBALL = "pinball"
    MAE = "mae"
    MSE = "mse"
    HUBER = "huber"


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Shape of the network.

    Attributes:
        context_length: Samples of history the network sees; a multiple of `patch_length`.
        patch_length: Samples per token of the encoder.
        encoder: What reads the window; in both directions it still never sees the future.
        hidden_size: Units of the encoder, per direction.
        layers: Of the encoder.
        encoder_size: Width of the context vector.
        decoder_size: Width of the per-step decoder.
        recent_length: Newest scaled samples that bypass the encoder.
        span_lengths: Newest samples whose mean, deviation, highest and lowest bypass the encoder too.
        seasonal_lags: Use the load of a day and of a week before, where it is known.
        window_max_head: Forecast window maxima themselves; without, they are the highest of the steps' quantiles.
        scaling: How a window is scaled.
        dropout: Share of the context vector dropped in training.
    """

    context_length: int = 288
    patch_length: int = 12
    encoder: Encoder = Encoder.BI_LSTM
    hidden_size: int = 96
    layers: int = 1
    encoder_size: int = 128
    decoder_size: int = 96
    recent_length: int = 24
    span_lengths: tuple[int, ...] = (6, 12, 24, 48, 96, 144, 288)
    seasonal_lags: bool = True
    window_max_head: bool = True
    scaling: Scaling = Scaling.ASINH
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Refuse a shape that cannot be built."""
        if self.context_length % self.patch_length:
            raise ValueError(
                f"context_length ({self.context_length}) must be a multiple of patch_length ({self.patch_length})"
            )
        for name, lengths in (("recent_length", (self.recent_length,)), ("span_lengths", self.span_lengths)):
            for length in lengths:
                if not 0 < length <= self.context_length:
                    raise ValueError(f"{name} must lie in 1..{self.context_length}, got {length}")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One training run.

    Attributes:
        seed: Settles the weights' start, every batch and every disturbance.
        steps: Optimiser steps at most.
        batch_size: Windows per step.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: Of AdamW.
        gradient_clip: Norm that gradients are cut to.
        loss: What is minimised.
        raw_loss_weight: Weight of the loss in load units beside the one in the network's range.
        average_decay: Of the moving average of weights, which is what gets exported.
        synthetic_traces: Synthetic traces beside the real ones.
        validation_share: Later share of each trace's time that only validates.
        validation_windows: Windows in the validation set.
        validate_every: Steps between validations.
        patience: Validations without a better one before the run stops.
        coarser_share: Share of windows at a coarser step than the trace's own.
        start_sha256: Of the weights file that the run begins with; empty where the seed draws them.
        start_share: Share of these first weights in those that are exported; the rest is what training made of them
            (WiSE-FT, Wortsman et al., 2022). It costs a part of the gain and most of what is forgotten.
    """

    seed: int = 0
    steps: int = 12_000
    batch_size: int = 256
    learning_rate: float = 2.5e-3
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    loss: Loss = Loss.PINBALL
    raw_loss_weight: float = 0.5
    average_decay: float = 0.998
    synthetic_traces: int = 480
    validation_share: float = 0.15
    validation_windows: int = 4_096
    validate_every: int = 250
    patience: int = 12
    coarser_share: float = 0.35
    start_sha256: str = ""
    start_share: float = 0.0
