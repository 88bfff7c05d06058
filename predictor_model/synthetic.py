"""Makes load like a platform's, from Gaussian-process kernel compositions and events; it reads no real trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from predictor_model.traces import Trace

Array: TypeAlias = npt.NDArray[np.float64]
Kernel: TypeAlias = Callable[[Array, np.random.Generator], Array]

DATASET = "synthetic"
PERIODS_SECONDS = (86_400, 86_400, 86_400, 604_800, 43_200, 21_600, 3_600, 7_200, 1_800, 900)
STEPS_SECONDS = (60, 60, 60, 300)
POINTS = 16_384
# A clock for half of the series: the first Monday of 2024, so that weekly patterns fall on real weekdays.
CLOCK_START = 1_704_067_200


def periodic(seconds: Array, rng: np.random.Generator) -> Array:
    """A path of a periodic kernel: a random Fourier series with decaying coefficients."""
    period = rng.choice(PERIODS_SECONDS)
    harmonics = np.arange(1, 9)
    amplitude = rng.normal(size=(2, 8)) * np.exp(-harmonics / rng.uniform(0.5, 4.0))
    angle = 2 * np.pi * np.outer(harmonics, seconds / period)
    path: Array = amplitude[0] @ np.sin(angle) + amplitude[1] @ np.cos(angle)
    return path


def smooth(seconds: Array, rng: np.random.Generator) -> Array:
    """A path of a rational quadratic kernel by random Fourier features (Rahimi and Recht, 2007)."""
    length = np.exp(rng.uniform(np.log(600), np.log(2 * 86_400)))
    shape = rng.choice([0.5, 1.0, 2.0, 50.0])  # 50 is as good as the squared exponential
    frequency = rng.normal(size=48) * np.sqrt(rng.gamma(shape, 1 / shape, size=48)) / length
    phase = rng.uniform(0, 2 * np.pi, size=48)
    path: Array = np.sqrt(2 / 48) * np.cos(np.outer(frequency, seconds) + phase[:, None]).sum(0)
    return path


def trend(seconds: Array, rng: np.random.Generator) -> Array:
    """A path of a linear kernel."""
    path: Array = rng.normal() * (seconds - seconds.mean()) / max(float(np.ptp(seconds)), 1.0) * 2
    return path


def random_walk(seconds: Array, rng: np.random.Generator) -> Array:
    """An autoregressive path of order one with a time constant of minutes to hours."""
    decay = np.exp(-(seconds[1] - seconds[0]) / np.exp(rng.uniform(np.log(300), np.log(20_000))))
    noise = rng.normal(size=len(seconds)) * np.sqrt(1 - decay**2)
    powers = np.arange(2048)
    weights = decay**powers
    return np.convolve(noise, weights)[: len(seconds)]


KERNELS: tuple[Kernel, ...] = (periodic, periodic, periodic, smooth, random_walk, trend)


def composition(seconds: Array, rng: np.random.Generator) -> Array:
    """One to five kernel paths joined by random sums and products; mean 0, deviation 1."""
    path = periodic(seconds, rng) if rng.random() < 0.7 else smooth(seconds, rng)
    for _ in range(rng.integers(0, 4)):
        other = KERNELS[rng.integers(len(KERNELS))](seconds, rng)
        other = (other - other.mean()) / (other.std() + 1e-9)
        path = path * (1 + 0.5 * other) if rng.random() < 0.35 else path + rng.uniform(0.2, 1.0) * other
    normal: Array = (path - path.mean()) / (path.std() + 1e-9)
    return normal


def level_shifts(load: Array, rng: np.random.Generator) -> Array:
    """A few lasting changes of level: a release, a moved tenant."""
    for at in rng.integers(0, len(load), size=rng.poisson(1.5)):
        load[at:] *= np.exp(rng.normal(scale=0.5))
    return load


def bursts(load: Array, rng: np.random.Generator) -> Array:
    """Flash crowds: a rise over minutes to an hour, then a decay."""
    base = np.median(load) + 1e-9
    for at in rng.integers(0, len(load) - 2, size=rng.poisson(rng.choice([1, 6, 40]))):
        rise, decay = rng.integers(1, 40), rng.integers(2, 120)
        shape = np.concatenate([np.linspace(0, 1, rise), np.exp(-np.arange(4 * decay) / decay)])
        end = min(len(load), at + len(shape))
        load[at:end] += base * rng.pareto(2.0) * 2 * shape[: end - at]
    return load


def jobs(load: Array, rng: np.random.Generator) -> Array:
    """On/off work on a schedule with jitter, such as a batch every hour."""
    period, width = rng.integers(10, 400), rng.integers(1, 40)
    height = np.median(load) * rng.uniform(0.2, 5)
    for at in range(int(rng.integers(0, period)), len(load), int(period)):
        start = max(0, at + int(rng.normal(scale=1 + period * rng.choice([0, 0, 0.03]))))
        load[start : start + width] += height * rng.uniform(0.8, 1.2)
    return load


def ramps(load: Array, rng: np.random.Generator) -> Array:
    """Steep climbs to a plateau and back: the opening of a market, a match."""
    for at in rng.integers(0, len(load) - 2, size=rng.poisson(4)):
        rise, hold, fall = rng.integers(2, 60), rng.integers(5, 240), rng.integers(2, 120)
        shape = np.concatenate([np.linspace(0, 1, rise), np.ones(hold), np.linspace(1, 0, fall)])
        end = min(len(load), at + len(shape))
        load[at:end] *= 1 + rng.uniform(0.3, 4) * shape[: end - at]
    return load


def outages(load: Array, rng: np.random.Generator) -> Array:
    """Drops to nothing for minutes to hours."""
    for at in rng.integers(0, len(load), size=rng.poisson(1)):
        load[at : at + rng.integers(3, 300)] *= rng.choice([0.0, 0.0, 0.1])
    return load


EVENTS: tuple[tuple[float, Callable[[Array, np.random.Generator], Array]], ...] = (
    (0.3, level_shifts),
    (0.35, bursts),
    (0.2, jobs),
    (0.25, ramps),
    (0.2, outages),
)


def observation_noise(load: Array, rng: np.random.Generator) -> Array:
    """What measuring adds: arrivals are Poisson, utilisation has multiplicative noise, some signals have hardly any."""
    kind = rng.random()
    if kind < 0.4:
        arrivals = np.exp(rng.uniform(np.log(3), np.log(3e4)))  # mean count per step
        rate = load / (load.mean() + 1e-9) * arrivals
        # Over-dispersed in half of the series: clients are not independent.
        shape = rng.choice([np.inf, 5.0, 30.0])
        if np.isfinite(shape):
            rate = rate * rng.gamma(shape, 1 / shape, size=len(load))
        counts: Array = rng.poisson(rate).astype(np.float64)
        return counts
    noise = rng.normal(size=len(load)) * np.exp(rng.uniform(np.log(0.003), np.log(0.3)))
    spikes = (rng.random(len(load)) < 0.002) * rng.exponential(1.0, size=len(load)) * (kind > 0.8)
    noisy: Array = load * np.exp(noise + spikes)
    return noisy


def synthetic_trace(index: int, *, seed: int) -> Trace:
    """The `index`-th synthetic trace of a seed; the same every time."""
    rng = np.random.default_rng((seed, index))
    step = int(rng.choice(STEPS_SECONDS))
    seconds = np.arange(POINTS, dtype=np.float64) * step
    load = np.exp(rng.uniform(0.1, 1.1) * composition(seconds, rng))
    if rng.random() < 0.3:  # weekends are quieter
        weekend = (seconds // 86_400) % 7 >= 5
        load *= np.where(weekend, rng.uniform(0.2, 0.8), 1.0)
    for probability, event in EVENTS:
        if rng.random() < probability:
            load = event(load, rng)
    load = observation_noise(np.clip(load, 0, None), rng)
    if rng.random() < 0.2:  # an idle share or a cap on what is measured
        load = np.minimum(load, np.quantile(load, rng.uniform(0.9, 0.999)))
    start = CLOCK_START if rng.random() < 0.5 else 0
    return Trace(DATASET, f"synthetic-{seed}-{index}", start, step, load.astype(np.float32))
