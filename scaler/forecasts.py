"""What is known of one workload's forecasts: what each source's were wrong by, and cost, and whose serves; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from scaler import absence, baselines, calibration, champion, policy
from scaler.absence import AbsenceConfig
from scaler.alike import answer_alike
from scaler.baselines import Baselines
from scaler.calibration import SOURCES, CalibrationConfig, CalibrationState, Issued
from scaler.champion import ChampionConfig, Scores
from scaler.domain import Champion, FloatArray, Forecast, ForecastRequest, Source, Target
from scaler.history import PREDICTION_LENGTH
from scaler.policy import PolicyConfig, Trajectory


@dataclass(frozen=True, slots=True)
class ForecastsConfig:
    """How forecasts are learned from and chosen between.

    Attributes:
        period: Longest time between two of them.
    """

    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    champion: ChampionConfig = field(default_factory=ChampionConfig)
    absence: AbsenceConfig = field(default_factory=AbsenceConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    period: timedelta = timedelta(minutes=5)


class Forecasts(NamedTuple):
    """One workload's forecasts; a named tuple, as one is made with each of them, and compared by identity alone.

    Attributes:
        calibration: What they were wrong by; None before the first.
        scores: What they have cost.
        champion: Whose serves; None before the first.
        newest: The champion's newest at the workload's level.
        stand_in: The next best source's, from when the champion had none; speaks once `newest` no longer covers.
    """

    calibration: CalibrationState | None = None
    scores: Scores = Scores()
    champion: Champion | None = None
    newest: Trajectory | None = None
    stand_in: Trajectory | None = None

    @property
    def trajectories(self) -> tuple[Trajectory, ...]:
        """What there is, the best first."""
        return tuple(t for t in (self.newest, self.stand_in) if t is not None)


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """What came of one request.

    Attributes:
        request: The workload's past.
        model: The model's forecast; None where it gave none.
        without_model: Those of the other sources.
        judged_steps: Length of the window that decisions on these forecasts look at.
    """

    request: ForecastRequest
    model: Forecast | None
    without_model: Baselines
    judged_steps: int


def censor(forecasts: Forecasts, sampled_at: datetime) -> Forecasts:
    """Mark that the sample at this time was a lower bound."""
    if forecasts.calibration is None:
        return forecasts
    return forecasts._replace(calibration=calibration.censor(forecasts.calibration, sampled_at))


def take(
    known: Sequence[Forecasts],
    arrivals: Sequence[Arrival],
    *,
    targets: Sequence[Target],
    config: ForecastsConfig,
    now: datetime,
) -> list[Forecasts]:
    """Learn from what came true by now, remember what every source expects next, and let the champions' serve.

    Where a champion has none, its newest one goes on serving while it covers, and then the next best's.

    Args:
        known: Of each workload. Length N.
        arrivals: The pasts, and what follows from them. Length N.
        targets: The workloads' settings. Length N.
        config: How forecasts are learned from.
        now: Time of the tick.
    """

    def some(rows: Sequence[int]) -> Iterator[Forecasts]:
        own, news, those = [known[n] for n in rows], [arrivals[n] for n in rows], [targets[n] for n in rows]
        return _take_alike(own, news, those, config, now)

    requests = (arrival.request for arrival in arrivals)
    return answer_alike(((request.origin, request.step, len(request.load)) for request in requests), some)


def _take_alike(
    known: Sequence[Forecasts],
    arrivals: Sequence[Arrival],
    targets: Sequence[Target],
    config: ForecastsConfig,
    now: datetime,
) -> Iterator[Forecasts]:
    """Do as `take` for workloads whose pasts have the same steps."""
    loads = np.stack([arrival.request.load for arrival in arrivals])
    learned = _learn(known, arrivals, targets, loads, config)
    crowned = champion.crown([scores for _, scores in learned], config.champion, now)
    bounds = bounds_of(arrivals, [target.level for target in targets])
    states = [
        calibration.begin(state, level=target.level, length=PREDICTION_LENGTH, scale=scale)
        for (state, _), target, scale in zip(learned, targets, calibration.load_scales(loads).tolist(), strict=True)
    ]
    available = np.isfinite(bounds[:, :, 0])  # (N, S)
    unheard = np.isnan(np.stack([state.offsets[:, 0] for state in states]))
    for n in np.flatnonzero((unheard & available).any(axis=1)).tolist():
        margins = partial(_margins, arrivals[n], targets[n].level)
        states[n] = calibration.introduce(states[n], bounds[n], margins, config.calibration)
    scales = np.array([state.scale for state in states])
    offsets = np.stack([state.offsets for state in states]) * scales[:, np.newaxis, np.newaxis]
    peaks = policy.peaks_of(bounds, offsets)
    request = arrivals[0].request
    issued = Issued(
        origin=request.origin,
        step=request.step,
        bounds=bounds,
        scales=scales,
        judged_steps=np.array([arrival.judged_steps for arrival in arrivals]),
        peaks=expected(arrivals, peaks),
    )
    remembered = calibration.issue(states, issued)
    for n, (state, (scores, crown)) in enumerate(zip(remembered, crowned, strict=True)):
        waiting = Forecasts(state, scores, crown, known[n].newest, known[n].stand_in)
        told = _Told(bounds[n], peaks[n], offsets[n], available[n])
        yield _serve(waiting, arrivals[n], targets[n].level, told, config)


class _Told(NamedTuple):
    """What the sources say of one workload.

    Attributes:
        bounds: Window max without offset. Shape (S, H).
        peaks: With it. Shape (S, H).
        offsets: Unit of the load. Shape (S, H).
        available: Who says anything. Shape (S,).
    """

    bounds: FloatArray
    peaks: FloatArray
    offsets: FloatArray
    available: npt.NDArray[np.bool_]


def _serve(known: Forecasts, arrival: Arrival, level: float, told: _Told, config: ForecastsConfig) -> Forecasts:
    """Put the champion's forecast, or the next best's, in place."""
    request, serving = arrival.request, known.scores.champion
    if not told.available[SOURCES.index(serving)]:
        stand_in = champion.next_best(known.scores, told.available, config.champion)
        if stand_in is None:
            return known
        serving = stand_in
    row = SOURCES.index(serving)
    forecast = arrival.model if serving is Source.MODEL else None
    if forecast is None:
        values = told.bounds[row][:, np.newaxis]  # (H, 1)
        forecast = Forecast(request.origin, request.step, (level,), values, values, serving)
    returning = absence.returning(request, config.absence)
    trajectory = policy.with_peaks(forecast, level, told.peaks[row], told.offsets[row], returning)
    if serving is known.scores.champion:
        return known._replace(newest=trajectory)
    return known._replace(stand_in=trajectory)


def expected(arrivals: Sequence[Arrival], peaks: FloatArray) -> FloatArray:
    """Give the highest load that each source expects in the judged window; as in a decision, no less than is seen.

    Args:
        arrivals: The pasts, and the windows. Length N.
        peaks: Of each source, what was learned included, unit of the load. Shape (N, S, H).

    Returns:
        Unit of the load; NaN where a source has nothing to say. Shape (N, S).
    """
    judged = np.array([arrival.judged_steps for arrival in arrivals]) - 1
    seen = np.array([arrival.request.load[-1] for arrival in arrivals])
    highest: FloatArray = np.maximum(peaks[np.arange(len(arrivals)), :, judged], seen[:, np.newaxis])
    return highest


def _learn(
    known: Sequence[Forecasts],
    arrivals: Sequence[Arrival],
    targets: Sequence[Target],
    loads: FloatArray,
    config: ForecastsConfig,
) -> list[tuple[CalibrationState | None, Scores]]:
    """Hold earlier forecasts against the past that came with a request; what was learned at another level is void.

    Args:
        known: Of each workload. Length N.
        arrivals: Whose pasts have the same steps. Length N.
        targets: The workloads' settings. Length N.
        loads: The pasts. Shape (N, T).
        config: How is learned.
    """
    learned: list[tuple[CalibrationState | None, Scores]] = []
    rows, states = [], []
    for n, (one, target) in enumerate(zip(known, targets, strict=True)):
        if one.calibration is None:
            learned.append((None, one.scores))
        elif one.calibration.level != target.level:
            learned.append((None, Scores()))
        else:
            learned.append((one.calibration, one.scores))
            rows.append(n)
            states.append(one.calibration)
    request = arrivals[0].request
    resolved = calibration.resolve(
        states, loads[rows], end=request.origin, step=request.step, config=config.calibration
    )
    scores = champion.score(
        [known[n].scores for n in rows],
        [outcomes for _, outcomes in resolved],
        targets=[targets[n] for n in rows],
        config=config.champion,
        policy=config.policy,
        period=config.period,
    )
    for n, (state, _), score in zip(rows, resolved, scores, strict=True):
        learned[n] = state, score
    return learned


def bounds_of(arrivals: Sequence[Arrival], levels: Sequence[float]) -> FloatArray:
    """Window max of every source at each workload's level, NaN where it has none. Shape (N, S, H)."""
    bounds = np.full((len(arrivals), len(SOURCES), PREDICTION_LENGTH), np.nan)
    for own, arrival, level in zip(bounds, arrivals, levels, strict=True):
        if arrival.model is not None:
            own[0] = policy.window_max_at(arrival.model, level)
        own[1:] = arrival.without_model.window_max
    return bounds


def _margins(arrival: Arrival, level: float) -> FloatArray:
    """What every source begins with; the model says its own spread. Shape (S, H)."""
    without_model = baselines.margins(arrival.request, arrival.without_model, level)
    return np.vstack([np.zeros(PREDICTION_LENGTH), without_model])
