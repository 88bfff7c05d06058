"""The forecaster's network, whole: scaling, Bi-LSTM, quantile heads, inverse and ordering in one exportable graph."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from predictor_model.config import Encoder, ModelConfig, Scaling
from predictor_model.contract import CONTRACT

MEDIAN = CONTRACT.quantile_levels.index(0.5)
N_LEVELS = len(CONTRACT.quantile_levels)
N_LAGS = len(CONTRACT.seasonal_lag_seconds)
# sinh(9.9) = 1e4 standard deviations: beyond what any load does, far from float32's limits.
MAX_SCALED = math.asinh(1e4)
# A flat window has no spread of its own; 2 % of its level keeps the scaled values finite and the answer in proportion.
FLAT_SCALE_RATIO = 0.02
DAY_SECONDS = 86_400
WEEK_SECONDS = 604_800


class Window(NamedTuple):
    """A batch of inputs, as the exported graph takes them.

    Attributes:
        load: Past load, oldest first; what is unobserved may hold anything, NaN too. Shape (B, T).
        observed: Which of it was seen. Shape (B, T).
        end_time: Unix seconds of the newest sample, -1 where unknown. Shape (B,).
        seasonal_lags: Load one day and one week before each forecast step. Shape (B, 2, H).
        seasonal_lags_observed: Which of it is known. Shape (B, 2, H).
        step_seconds: Spacing of samples. Shape (B,).
    """

    load: Tensor
    observed: Tensor
    end_time: Tensor
    seasonal_lags: Tensor
    seasonal_lags_observed: Tensor
    step_seconds: Tensor


class Scale(NamedTuple):
    """What brings one window to the network's range and back; each of shape (B, 1).

    Attributes:
        magnitude: Largest absolute value seen; taken out first, so that squares neither overflow nor vanish.
        loc: Centre, in units of `magnitude`.
        scale: Spread, in units of `magnitude`; 0 only where everything seen is zero.
    """

    magnitude: Tensor
    loc: Tensor
    scale: Tensor


class QuantileForecast(NamedTuple):
    """Quantiles of each step and of the highest load within the first h steps; each of shape (B, H, Q)."""

    quantiles: Tensor
    window_max: Tensor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the last axis of what `mask` marks, 0 where it marks nothing. Shape (..., 1)."""
    return (values * mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)


def span_statistics(past: Tensor, mask: Tensor, lengths: Sequence[int]) -> Tensor:
    """Mean, deviation, highest and lowest of the newest samples, 0 where none is seen. Shape (B, 4 * len(lengths))."""
    parts = [past[:, :0]]
    for length in lengths:
        values, seen = past[:, -length:], mask[:, -length:]
        mean = masked_mean(values, seen)
        deviation = (masked_mean((values - mean).square(), seen) + 1e-6).sqrt()  # no infinite slope at zero
        known = (seen.sum(-1, keepdim=True) > 0).to(values)
        highest = torch.where(seen > 0, values, torch.full_like(values, -MAX_SCALED)).amax(-1, keepdim=True)
        lowest = torch.where(seen > 0, values, torch.full_like(values, MAX_SCALED)).amin(-1, keepdim=True)
        parts += [mean, deviation * known, highest * known, lowest * known]
    return torch.cat(parts, dim=-1)


def running_max(values: Tensor) -> Tensor:
    """Highest value so far along axis 1.

    A scan of doubling shifts, because ONNX has no cumulative maximum. Shape (B, H, Q) in and out.
    """
    shift = 1
    while shift < values.shape[1]:
        shifted = torch.cat([values[:, :shift], values[:, :-shift]], dim=1)
        values = torch.maximum(values, shifted)
        shift *= 2
    return values


def ordered_quantiles(raw: Tensor) -> Tensor:
    """Quantiles that cannot cross: the median, and softplus increments away from it. Shape (..., Q) in and out."""
    median = raw[..., MEDIAN : MEDIAN + 1]
    above = functional.softplus(raw[..., MEDIAN + 1 :]).cumsum(-1)
    below = functional.softplus(raw[..., :MEDIAN]).flip(-1).cumsum(-1).flip(-1)
    return torch.cat([median - below, median, median + above], dim=-1)


class Encoded(NamedTuple):
    """The inputs in the network's range.

    Attributes:
        past: Scaled history, 0 where unobserved. Shape (B, T).
        past_mask: 1 where observed. Shape (B, T).
        lags: Scaled seasonal lags, 0 where unknown. Shape (B, 2, H).
        lags_mask: 1 where known and not after the newest sample. Shape (B, 2, H).
        calendar: Sine and cosine of time of day and of week at each forecast step, and whether they are known.
            Shape (B, H, 5).
        window: Step length and the window's own statistics. Shape (B, 4).
    """

    past: Tensor
    past_mask: Tensor
    lags: Tensor
    lags_mask: Tensor
    calendar: Tensor
    window: Tensor


class WindowScaler(nn.Module):
    """Per-window scaling from the past only; one implementation for training, export and serving."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.scaling = config.scaling
        self.seasonal_lags = config.seasonal_lags
        lag_seconds = torch.tensor(CONTRACT.seasonal_lag_seconds, dtype=torch.int64).view(1, N_LAGS, 1)
        steps = torch.arange(1, CONTRACT.prediction_length + 1, dtype=torch.int64)
        self.register_buffer("positions", torch.arange(config.context_length, dtype=torch.float32), persistent=False)
        self.register_buffer("lag_seconds", lag_seconds, persistent=False)
        self.register_buffer("steps", steps, persistent=False)
        self.positions: Tensor
        self.lag_seconds: Tensor
        self.steps: Tensor

    def forward(self, window: Window) -> tuple[Encoded, Scale]:
        """Bring a window to the network's range."""
        past_mask = window.observed.float()  # (B, T)
        past = torch.where(window.observed, window.load, torch.zeros_like(window.load))
        # A lag is known only where it lies at or before the newest sample, whatever the caller's mask says.
        ahead = self.steps.view(1, 1, -1) * window.step_seconds.view(-1, 1, 1)  # (B, 1, H)
        lags_known = window.seasonal_lags_observed & (ahead <= self.lag_seconds)  # (B, 2, H)
        if not self.seasonal_lags:
            lags_known = torch.zeros_like(lags_known)
        lags_mask = lags_known.float()
        lags = torch.where(lags_known, window.seasonal_lags, torch.zeros_like(window.seasonal_lags))

        magnitude = torch.maximum(past.amax(-1, keepdim=True), lags.flatten(1).amax(-1, keepdim=True))  # (B, 1)
        divisor = torch.where(magnitude > 0, magnitude, torch.ones_like(magnitude))
        past = past / divisor
        lags = lags / divisor.unsqueeze(-1)
        scale = self._fit(past, past_mask, lags, lags_mask, magnitude)
        encoded = Encoded(
            past=self.scale(past, scale) * past_mask,
            past_mask=past_mask,
            lags=self.scale(lags.flatten(1), scale).view_as(lags) * lags_mask,
            lags_mask=lags_mask,
            calendar=self._calendar(window),
            window=self._statistics(past, past_mask, scale, window.step_seconds),
        )
        return encoded, scale

    def _fit(self, past: Tensor, past_mask: Tensor, lags: Tensor, lags_mask: Tensor, magnitude: Tensor) -> Scale:
        mean = masked_mean(past, past_mask)  # (B, 1)
        if self.scaling is Scaling.MIN_MAX:
            low = torch.where(past_mask > 0, past, torch.ones_like(past)).amin(-1, keepdim=True)
            spread = past.amax(-1, keepdim=True) - low
            return Scale(magnitude, low, torch.maximum(spread, FLAT_SCALE_RATIO * mean))
        newest = (self.positions * past_mask).amax(-1, keepdim=True)  # (B, 1)
        is_newest = (self.positions == newest).float() * past_mask
        deviation = masked_mean((past - mean).square(), past_mask).sqrt()
        level = torch.maximum(mean, masked_mean(lags.flatten(1), lags_mask.flatten(1)))
        return Scale(magnitude, (past * is_newest).sum(-1, keepdim=True), deviation + FLAT_SCALE_RATIO * level)

    def scale(self, values: Tensor, scale: Scale) -> Tensor:
        """Values in units of the magnitude to the network's range. Shape (B, N) in and out."""
        divisor = torch.where(scale.scale > 0, scale.scale, torch.ones_like(scale.scale))
        centred = (values - scale.loc) / divisor
        return centred if self.scaling is Scaling.MIN_MAX else torch.asinh(centred)

    def unscale(self, values: Tensor, scale: Scale) -> Tensor:
        """The network's range to load, never negative. Shape (B, H, Q) in and out."""
        spread = values.clamp(-MAX_SCALED, MAX_SCALED)
        if self.scaling is Scaling.ASINH:
            spread = torch.sinh(spread)
        load = scale.loc.unsqueeze(-1) + scale.scale.unsqueeze(-1) * spread
        return torch.relu(load) * scale.magnitude.unsqueeze(-1)

    def _calendar(self, window: Window) -> Tensor:
        known = (window.end_time >= 0).view(-1, 1)  # (B, 1)
        at = window.end_time.view(-1, 1) + self.steps.view(1, -1) * window.step_seconds.view(-1, 1)  # (B, H)
        # The remainder is taken in integers: float32 holds Unix seconds only to about two minutes.
        day = (at % DAY_SECONDS).float() * (2 * math.pi / DAY_SECONDS)
        week = (at % WEEK_SECONDS).float() * (2 * math.pi / WEEK_SECONDS)
        waves = torch.stack([day.sin(), day.cos(), week.sin(), week.cos(), torch.ones_like(day)], dim=-1)
        return waves * known.float().unsqueeze(-1)  # (B, H, 5)

    def _statistics(self, past: Tensor, past_mask: Tensor, scale: Scale, step_seconds: Tensor) -> Tensor:
        mean = masked_mean(past, past_mask)
        step = torch.log2(step_seconds.float().view(-1, 1) / 60) / 6
        zero = torch.zeros_like(mean)
        # How high the window stands above zero, in spreads: tells noise on a level from bursts out of nothing.
        height = self.scale(zero, scale)
        return torch.cat([step, height, self.scale(mean, scale), past_mask.mean(-1, keepdim=True)], dim=-1)


class _Recurrent(nn.Module):
    """Reads the patches in order, or in both; gives the newest state and the mean of all. Shape (B, N, D) to (B, S)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        both = config.encoder is Encoder.BI_LSTM
        kind = nn.GRU if config.encoder is Encoder.GRU else nn.LSTM
        self.cell = kind(config.hidden_size, config.hidden_size, config.layers, batch_first=True, bidirectional=both)
        self.summary_size = 2 * (2 if both else 1) * config.hidden_size

    def forward(self, patches: Tensor) -> Tensor:
        states, _ = self.cell(patches)  # (B, N, directions * hidden)
        return torch.cat([states[:, -1], states.mean(1)], dim=-1)


class _Perceptron(nn.Module):
    """Reads all patches at once. Shape (B, N, D) to (B, S)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        size = config.context_length // config.patch_length * config.hidden_size
        layers: list[nn.Module] = [nn.Flatten()]
        for _ in range(config.layers):
            layers += [nn.Linear(size, config.hidden_size), nn.GELU()]
            size = config.hidden_size
        self.layers = nn.Sequential(*layers)
        self.summary_size = size

    def forward(self, patches: Tensor) -> Tensor:
        summary: Tensor = self.layers(patches)
        return summary


_ENCODERS: Final[Mapping[Encoder, type[_Recurrent] | type[_Perceptron]]] = {
    Encoder.BI_LSTM: _Recurrent, Encoder.LSTM: _Recurrent, Encoder.GRU: _Recurrent, Encoder.MLP: _Perceptron,
}  # fmt: skip


def _known_ahead(encoded: Encoded) -> Tensor:
    """What is known of each step: the lags, how they move from the first step on, their peak so far, the calendar.

    Shape (B, H, 4 * lags + 5).
    """
    lags, known = encoded.lags.transpose(1, 2), encoded.lags_mask.transpose(1, 2)  # (B, H, lags)
    change = (lags - lags[:, :1]) * known * known[:, :1]
    peak = running_max(torch.where(known > 0, lags, torch.full_like(lags, -MAX_SCALED))) * known
    return torch.cat([lags, known, change, peak, encoded.calendar], dim=-1)


class BiLSTMForecaster(nn.Module):
    """Load history in, quantiles of the load to come out, for any step from 15 s to 1 h.

    Patches of the scaled window pass the encoder; its summary, the newest samples, statistics of spans and the seasonal
    lags make a context vector, which a decoder shared by all steps combines with what is known of each step. Both heads
    are direct, not autoregressive.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        horizon = CONTRACT.prediction_length
        self.scaler = WindowScaler(config)
        self.patch = nn.Linear(2 * config.patch_length, config.hidden_size)
        self.encoder = _ENCODERS[config.encoder](config)
        summary = self.encoder.summary_size + 2 * config.recent_length + 4 * len(config.span_lengths)
        summary += 2 * N_LAGS * horizon + 4
        self.context = nn.Linear(summary, config.encoder_size)
        self.dropout = nn.Dropout(config.dropout)
        self.to_decoder = nn.Linear(config.encoder_size, config.decoder_size)
        self.step_features = nn.Linear(4 * N_LAGS + 5, config.decoder_size)
        self.step_embedding = nn.Parameter(0.1 * torch.randn(horizon, config.decoder_size))
        self.decoder = nn.Linear(config.decoder_size, config.decoder_size)
        self.heads = nn.Linear(config.decoder_size, 2 * N_LEVELS)
        self.medians = nn.Linear(config.encoder_size, 2 * horizon)

    def forward(self, window: Window) -> QuantileForecast:
        """Forecast in the unit of the load; never NaN, never negative, ordered as the contract says."""
        scaled, scale = self.forecast_scaled(window)
        return QuantileForecast(*(self.scaler.unscale(values, scale) for values in scaled))

    def forecast_scaled(self, window: Window, *, spread_alone: bool = False) -> tuple[QuantileForecast, Scale]:
        """Forecast in the network's range, with what brings it back; where the loss is taken.

        Args:
            window: What is known.
            spread_alone: Let the levels beside the median teach nothing but their own rows of the head.
        """
        encoded, scale = self.scaler(window)
        context = self._encode(encoded)  # (B, E)
        step = self.to_decoder(context).unsqueeze(1) + self.step_features(_known_ahead(encoded)) + self.step_embedding
        step = functional.gelu(self.decoder(functional.gelu(step)))  # (B, H, D)
        raw = self.heads(step).unflatten(-1, (2, N_LEVELS))  # (B, H, 2, Q)
        medians = self.medians(context).unflatten(-1, (-1, 2))  # (B, H, 2)
        is_median = functional.one_hot(torch.tensor(MEDIAN), N_LEVELS).to(raw)
        if spread_alone:
            detached = self.heads(step.detach()).unflatten(-1, (2, N_LEVELS))
            raw = raw * is_median + detached * (1 - is_median)
        raw = raw + medians.unsqueeze(-1) * is_median
        quantiles = ordered_quantiles(raw[:, :, 0])  # (B, H, Q)
        if not self.config.window_max_head:
            return QuantileForecast(quantiles, running_max(quantiles)), scale
        direct_max = ordered_quantiles(raw[:, :, 1])  # (B, H, Q)
        # The window of one step is that step; a longer one is never below any step in it or any shorter window.
        direct_max = torch.cat([quantiles[:, :1], direct_max[:, 1:]], dim=1)
        window_max = running_max(torch.maximum(quantiles, direct_max))
        return QuantileForecast(quantiles, window_max), scale

    def _encode(self, encoded: Encoded) -> Tensor:
        batch = encoded.past.shape[0]
        patches = torch.cat(
            [
                encoded.past.view(batch, -1, self.config.patch_length),
                encoded.past_mask.view(batch, -1, self.config.patch_length),
            ],
            dim=-1,
        )  # (B, N, 2 * patch)
        recent = slice(-self.config.recent_length, None)
        summary = torch.cat(
            [
                self.encoder(functional.gelu(self.patch(patches))),
                encoded.past[:, recent],
                encoded.past_mask[:, recent],
                span_statistics(encoded.past, encoded.past_mask, self.config.span_lengths),
                encoded.lags.flatten(1),
                encoded.lags_mask.flatten(1),
                encoded.window,
            ],
            dim=-1,
        )
        context: Tensor = self.dropout(functional.gelu(self.context(summary)))
        return context
