"""What is known of one workload's forecasts: what each source's were wrong by, and cost, and whose serves; pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np

from scaler import absence, baselines, calibration, champion, policy
from scaler.absence import AbsenceConfig
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
        period: Time between two of them.
    """

    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    champion: ChampionConfig = field(default_factory=ChampionConfig)
    absence: AbsenceConfig = field(default_factory=AbsenceConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    period: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, eq=False)
class Forecasts:
    """One workload's forecasts.

    Attributes:
        calibration: What they were wrong by; None before the first.
        scores: What they have cost.
        champion: Whose serves; None before the first.
        newest: The champion's newest at the workload's level.
        stand_in: The next best source's, from when the champion had none; speaks once `newest` no longer covers.
    """

    calibration: CalibrationState | None = None
    scores: Scores = field(default_factory=Scores)
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
    return replace(forecasts, calibration=calibration.censor(forecasts.calibration, sampled_at))


def take(
    forecasts: Forecasts, arrival: Arrival, *, target: Target, config: ForecastsConfig, now: datetime
) -> Forecasts:
    """Learn from what came true by now, remember what every source expects next, and let the champion's serve.

    Where the champion has none, its newest one goes on serving while it covers, and then the next best's.

    Args:
        forecasts: What was known.
        arrival: The workload's past, and what follows from it.
        target: The workload's settings.
        config: How forecasts are learned from.
        now: Time of the tick.
    """
    request, level = arrival.request, target.level
    learned, scores = _learn(forecasts, request, target, config)
    bounds = bounds_of(arrival, level)
    state = calibration.begin(
        learned, level=level, length=PREDICTION_LENGTH, scale=calibration.load_scale(request.load)
    )
    state = calibration.introduce(state, bounds, lambda: _margins(arrival, level), config.calibration)
    offsets = state.offsets * state.scale
    issued = Issued(
        origin=request.origin,
        step=request.step,
        bounds=bounds,
        scale=state.scale,
        judged_steps=arrival.judged_steps,
        peaks=expected(arrival, bounds, offsets),
        certain_steps=PREDICTION_LENGTH,
    )
    scores, crowned = champion.crown(scores, config.champion, now)
    taken = replace(forecasts, calibration=calibration.issue(state, issued), scores=scores, champion=crowned)
    available = np.isfinite(bounds[:, 0])
    serving = crowned.source
    if not available[SOURCES.index(serving)]:
        stand_in = champion.next_best(scores, available, config.champion)
        if stand_in is None:
            return taken
        serving = stand_in
    row = SOURCES.index(serving)
    forecast = arrival.model if serving is Source.MODEL else None
    if forecast is None:
        values = bounds[row][:, np.newaxis]  # (H, 1)
        forecast = Forecast(request.origin, request.step, (level,), values, values, serving)
    trajectory = policy.prepare(forecast, level, offsets[row], returning=absence.returning(request, config.absence))
    if serving is crowned.source:
        return replace(taken, newest=trajectory)
    return replace(taken, stand_in=trajectory)


def expected(arrival: Arrival, bounds: FloatArray, offsets: FloatArray) -> FloatArray:
    """Give the highest load that each source expects in the judged window; as in a decision, no less than is seen.

    Args:
        arrival: The workload's past, and the window.
        bounds: As `bounds_of` gives them. Shape (S, H).
        offsets: What was learned of each, unit of the load. Shape (S, H).

    Returns:
        Unit of the load; NaN where a source has nothing to say. Shape (S,).
    """
    peaks: FloatArray = np.maximum(
        policy.peaks_of(bounds, offsets)[:, arrival.judged_steps - 1], arrival.request.load[-1]
    )
    return peaks


def _learn(
    forecasts: Forecasts, request: ForecastRequest, target: Target, config: ForecastsConfig
) -> tuple[CalibrationState | None, Scores]:
    """Hold earlier forecasts against the past that came with a request; what was learned at another level is void."""
    if forecasts.calibration is None:
        return None, forecasts.scores
    if forecasts.calibration.level != target.level:
        return None, Scores()
    state, outcomes = calibration.resolve(
        forecasts.calibration, request.load, end=request.origin, step=request.step, config=config.calibration
    )
    scores = champion.score(
        forecasts.scores, outcomes, target=target, config=config.champion, policy=config.policy, period=config.period
    )
    return state, scores


def bounds_of(arrival: Arrival, level: float) -> FloatArray:
    """Window max of every source at the level, NaN where it has none. Shape (S, H)."""
    model = arrival.model
    first = policy.window_max_at(model, level) if model is not None else np.full(PREDICTION_LENGTH, np.nan)
    return np.vstack([first, arrival.without_model.window_max])


def _margins(arrival: Arrival, level: float) -> FloatArray:
    """What every source begins with; the model says its own spread. Shape (S, H)."""
    without_model = baselines.margins(arrival.request, arrival.without_model, level)
    return np.vstack([np.zeros(PREDICTION_LENGTH), without_model])
