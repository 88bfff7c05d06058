"""Cuts windows out of traces and disturbs them for training; nothing in a window lies after its origin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from predictor_model.config import UNKNOWN_END_TIME
from predictor_model.contract import CONTRACT
from predictor_model.traces import FloatArray, Trace

IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
Shares: TypeAlias = npt.NDArray[np.floating]

HORIZON = CONTRACT.prediction_length


@dataclass(frozen=True, slots=True, eq=False)
class WindowBatch:
    """Windows with what came after them.

    Attributes:
        load, observed: Past, oldest first. Shape (B, T).
        end_time: Unix seconds of the newest sample, -1 without a clock. Shape (B,).
        seasonal_lags, seasonal_lags_observed: Shape (B, 2, H).
        step_seconds: Shape (B,).
        target: Load of the H steps after the origin, NaN is missing. Shape (B, H).
        unit: Typical move of the series over half a horizon, the unit of its errors. Shape (B,).
    """

    load: FloatArray
    observed: BoolArray
    end_time: IntArray
    seasonal_lags: FloatArray
    seasonal_lags_observed: BoolArray
    step_seconds: IntArray
    target: FloatArray
    unit: FloatArray

    def inputs(self) -> dict[str, npt.NDArray[np.generic]]:
        """What the exported graph takes, by name."""
        return {
            "load": self.load,
            "observed": self.observed,
            "end_time": self.end_time,
            "seasonal_lags": self.seasonal_lags,
            "seasonal_lags_observed": self.seasonal_lags_observed,
            "step_seconds": self.step_seconds,
        }


def error_unit(values: FloatArray) -> float:
    """Mean absolute change of a series over half a horizon; what persistence would be wrong by."""
    lag = min(HORIZON // 2, len(values) - 1)
    moves = np.abs(values[lag:] - values[:-lag])
    unit = float(np.nanmean(moves)) if not np.isnan(moves).all() else 0.0
    return max(unit, 1e-6 * float(np.nanmax(np.abs(values), initial=0.0)), 1e-30)


class WindowIndex:
    """Several traces laid end to end, so that one gather cuts a whole batch of windows."""

    def __init__(self, traces: Sequence[Trace], context_length: int) -> None:
        self.traces = tuple(traces)
        self.context_length = context_length
        lengths = np.array([len(trace.values) for trace in traces], dtype=np.int64)
        self.lengths = lengths
        self.bases = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
        self.values = np.concatenate([trace.values for trace in traces])
        self.steps = np.array([trace.step_seconds for trace in traces], dtype=np.int64)
        self.starts = np.array([trace.start for trace in traces], dtype=np.int64)
        self.units = np.array([error_unit(trace.values) for trace in traces], dtype=np.float32)

    def cut(self, which: IntArray, origins: IntArray) -> WindowBatch:
        """Windows whose newest sample is number `origins` of trace number `which`; each of shape (B,)."""
        steps = self.steps[which]
        past = origins[:, None] + np.arange(1 - self.context_length, 1)  # (B, T)
        ahead = origins[:, None] + np.arange(1, HORIZON + 1)  # (B, H)
        load = self._gather(which, past)
        lag_steps = np.array(CONTRACT.seasonal_lag_seconds)[None, :] // steps[:, None]  # (B, 2)
        lagged = ahead[:, None, :] - lag_steps[:, :, None]  # (B, 2, H)
        lags = self._gather(which, lagged)
        lags[lagged > origins[:, None, None]] = np.nan
        starts = self.starts[which]
        return WindowBatch(
            load=load,
            observed=~np.isnan(load),
            end_time=np.where(starts > 0, starts + origins * steps, UNKNOWN_END_TIME),
            seasonal_lags=lags,
            seasonal_lags_observed=~np.isnan(lags),
            step_seconds=steps,
            target=self._gather(which, ahead),
            unit=self.units[which],
        )

    def _gather(self, which: IntArray, positions: IntArray) -> FloatArray:
        shape = (-1,) + (1,) * (positions.ndim - 1)
        lengths, bases = self.lengths[which].reshape(shape), self.bases[which].reshape(shape)
        inside = (positions >= 0) & (positions < lengths)
        values: FloatArray = self.values[np.where(inside, positions, 0) + bases]
        return np.where(inside, values, np.float32(np.nan))


class WindowSampler:
    """Draws training windows: a data set by its weight, a trace of it evenly, an origin of it evenly.

    Balanced by data set and by series, not by points: otherwise the longest series would decide.
    """

    def __init__(self, index: WindowIndex, weights: dict[str, float], *, first: Shares, last: Shares) -> None:
        """Draw origins between the `first` and `last` share of each trace; both of shape (number of traces,)."""
        self.index = index
        datasets = np.array([trace.dataset for trace in index.traces])
        share = np.zeros(len(datasets))
        for dataset, weight in weights.items():
            members = datasets == dataset
            if members.any():
                share[members] = weight / members.sum()
        self.share = share / share.sum()
        # At least eight samples of past and one step of future, wherever the slice begins.
        self.low = np.maximum((first * index.lengths).astype(np.int64), CONTRACT.min_history_length - 1)
        self.high = np.maximum((last * index.lengths).astype(np.int64) - HORIZON, self.low + 1)

    def draw(self, size: int, rng: np.random.Generator) -> WindowBatch:
        """One batch; windows without any observed past or future are drawn again."""
        which = rng.choice(len(self.share), size=size, p=self.share)
        origins = rng.integers(self.low[which], self.high[which])
        batch = self.index.cut(which, origins)
        usable = (batch.observed.sum(1) >= CONTRACT.min_history_length) & ~np.isnan(batch.target).all(1)
        return batch if usable.all() else take(batch, np.flatnonzero(usable))


def take(batch: WindowBatch, rows: IntArray) -> WindowBatch:
    """The named rows of a batch."""
    return WindowBatch(**{name: getattr(batch, name)[rows] for name in WindowBatch.__dataclass_fields__})


class Augmenter:
    """Disturbs windows the way platforms do: short and gappy histories, unknown lags and clocks, other steps."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def __call__(self, batch: WindowBatch) -> WindowBatch:
        """A disturbed copy of the batch."""
        batch = self._mix(batch)
        batch = self._shift_level(batch)
        batch = self._relabel_step(batch)
        return self._hide(batch)

    def _chosen(self, size: int, probability: float) -> BoolArray:
        return self.rng.random(size) < probability

    def _mix(self, batch: WindowBatch) -> WindowBatch:
        """Convex mixes with another window of the same step, each in its own unit (TSMixup, Ansari et al., 2024)."""
        size = len(batch.load)
        partner = self.rng.permutation(size)
        mixed = self._chosen(size, 0.2) & (batch.step_seconds == batch.step_seconds[partner])
        weight = np.where(mixed, self.rng.uniform(0.3, 0.9, size), 1.0).astype(np.float32)
        ratio = (batch.unit / batch.unit[partner]).astype(np.float32)

        def blend(values: FloatArray) -> FloatArray:
            shape = (-1,) + (1,) * (values.ndim - 1)
            w, r = weight.reshape(shape), ratio.reshape(shape)
            return np.where(w < 1, w * values + (1 - w) * r * values[partner], values)

        lags = blend(batch.seasonal_lags)
        load = blend(batch.load)
        return replace(
            batch,
            load=load,
            observed=~np.isnan(load),
            end_time=np.where(mixed, UNKNOWN_END_TIME, batch.end_time),
            seasonal_lags=lags,
            seasonal_lags_observed=~np.isnan(lags),
            target=blend(batch.target),
        )

    def _shift_level(self, batch: WindowBatch) -> WindowBatch:
        """Level shifts inside the past: what lies before a random point, lags included, had another level."""
        size, length = batch.load.shape
        shifted = self._chosen(size, 0.08)
        factor = np.where(shifted, np.exp(self.rng.normal(scale=0.5, size=size)), 1.0).astype(np.float32)
        at = self.rng.integers(0, length, size=size)
        before = np.arange(length)[None, :] < np.expand_dims(at, 1)
        load = np.where(before, batch.load * factor[:, None], batch.load)
        return replace(
            batch,
            load=load,
            seasonal_lags=batch.seasonal_lags * factor[:, None, None],
        )

    def _relabel_step(self, batch: WindowBatch) -> WindowBatch:
        """Some windows are told another step, without lags and clock, so that no step is foreign to the network."""
        size = len(batch.load)
        relabelled = self._chosen(size, 0.08)
        steps = self.rng.choice([15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600], size=size)
        return replace(
            batch,
            end_time=np.where(relabelled, UNKNOWN_END_TIME, batch.end_time),
            seasonal_lags_observed=batch.seasonal_lags_observed & ~relabelled[:, None, None],
            step_seconds=np.where(relabelled, steps, batch.step_seconds),
        )

    def _hide(self, batch: WindowBatch) -> WindowBatch:
        size, length = batch.load.shape
        observed = batch.observed.copy()
        # Cold start: only the newest samples exist.
        short = self._chosen(size, 0.12)
        keep = np.where(short, np.exp(self.rng.uniform(np.log(8), np.log(length), size)).astype(np.int64), length)
        observed &= np.arange(length)[None, :] >= length - keep[:, None]
        # Missed scrapes: single samples, and one gap that may reach the origin.
        loss = np.where(self._chosen(size, 0.1), self.rng.uniform(0, 0.5, size), 0.0)
        observed &= self.rng.random((size, length)) >= loss[:, None]
        gap = self._chosen(size, 0.06)
        begin = self.rng.integers(0, length, size)
        end = np.where(gap, begin + self.rng.integers(1, 60, size), begin)
        position = np.arange(length)[None, :]
        observed &= (position < np.expand_dims(begin, 1)) | (position >= np.expand_dims(end, 1))
        # A window must keep something to look at.
        lost = observed.sum(1) < CONTRACT.min_history_length
        observed[lost] = batch.observed[lost]

        lags_observed = batch.seasonal_lags_observed.copy()
        lags_observed &= ~(short | self._chosen(size, 0.1))[:, None, None]
        lags_observed[:, 1] &= ~self._chosen(size, 0.3)[:, None]  # many services are younger than a week
        return replace(
            batch,
            observed=observed,
            end_time=np.where(self._chosen(size, 0.5), UNKNOWN_END_TIME, batch.end_time),
            seasonal_lags_observed=lags_observed,
        )
