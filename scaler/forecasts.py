"""What is known of one workload's forecasts: what each source's were wrong by, and cost, and whose serves; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from scaler import absence, baselines, calibration, champion, policy
from scaler.absence import AbsenceConfig
from scaler.alike import answer_alike, answer_once
from scaler.baselines import Baselines
from scaler.calibration import SOURCES, CalibrationConfig, CalibrationState, Issued
from scaler.champion import ChampionConfig, Judged, Outcome, Pending, Scores
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
        pending: Those that are still to be scored.
        newest: The champion's newest at the workload's level.
        stand_in: The next best source's, from when the champion had none; speaks once `newest` no longer covers.
    """

    calibration: CalibrationState | None = None
    scores: Scores = Scores()
    champion: Champion | None = None
    pending: tuple[Pending, ...] = ()
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
    request = arrivals[0].request
    scores, pending = _judge(known, arrivals, targets, config)
    crowned = champion.crown(scores, config.champion, now)
    # Lanes of a simulation are many of one workload: what they learn of one load at one level is the same.
    same = (
        (id(one.calibration), id(arrival.request.load), id(arrival.model), target.level)
        for one, arrival, target in zip(known, arrivals, targets, strict=True)
    )
    told = answer_once(
        same,
        lambda rows: _tell(
            [known[n].calibration for n in rows],
            [arrivals[n] for n in rows],
            [targets[n].level for n in rows],
            config.calibration,
        ),
    )
    judged = Judged(
        origin=request.origin,
        step=request.step,
        steps=tuple([arrival.judged_steps for arrival in arrivals]),
        peaks=expected(arrivals, np.array([own.peaks for own in told])),
    )
    served: dict[tuple[int, Source], Trajectory] = {}
    for n, (arrival, own, (score, crown)) in enumerate(zip(arrivals, told, crowned, strict=True)):
        waiting = champion.await_outcome(pending[n], judged, n) if own.has_unit else pending[n]
        newest, stand_in = known[n].newest, known[n].stand_in
        serving = _serving(score, own.available, config.champion)
        if serving is not None:
            trajectory = served.get((id(own), serving))
            if trajectory is None:
                trajectory = _trajectory(arrival, serving, targets[n].level, own, config.absence)
                served[id(own), serving] = trajectory
            newest, stand_in = (trajectory, stand_in) if serving is score.champion else (newest, trajectory)
        yield Forecasts(own.state, score, crown, waiting, newest, stand_in)


class _Told(NamedTuple):
    """What the sources say of one load at one level.

    Attributes:
        state: What was learned of them.
        bounds: Window max without offset. Shape (S, H).
        peaks: With it. Shape (S, H).
        offsets: Unit of the load. Shape (S, H).
        available: Who says anything. Shape (S,).
    """

    state: CalibrationState
    bounds: FloatArray
    peaks: FloatArray
    offsets: FloatArray
    available: npt.NDArray[np.bool_]

    @property
    def has_unit(self) -> bool:
        """Whether any load was ever seen; without, there is no unit to learn in, and nothing to be right about."""
        return self.state.scale > 0


def _tell(
    known: Sequence[CalibrationState | None],
    arrivals: Sequence[Arrival],
    levels: Sequence[float],
    config: CalibrationConfig,
) -> Iterator[_Told]:
    """Learn from what came true, and say what every source expects next.

    Args:
        known: Of each workload; what was learned at another level is void. Length N.
        arrivals: Whose pasts have the same steps. Length N.
        levels: Of each. Length N.
        config: How is learned.
    """
    request = arrivals[0].request
    loads = np.array([arrival.request.load for arrival in arrivals])
    learned = dict[int, CalibrationState]()
    states = {n: state for n, state in enumerate(known) if state is not None and state.level == levels[n]}
    if states:
        resolved = calibration.resolve(
            list(states.values()), loads[list(states)], end=request.origin, step=request.step, config=config
        )
        learned = dict(zip(states, resolved, strict=True))
    begun = [
        calibration.begin(learned.get(n), level=level, length=PREDICTION_LENGTH, scale=scale)
        for n, (level, scale) in enumerate(zip(levels, calibration.load_scales(loads).tolist(), strict=True))
    ]
    bounds = bounds_of(arrivals, levels)
    available = np.isfinite(bounds[:, :, 0])  # (N, S)
    begun = calibration.introduce(begun, bounds, lambda n: _margins(arrivals[n], levels[n]), config)
    scales = np.array([state.scale for state in begun])
    offsets = np.array([state.offsets for state in begun]) * scales[:, np.newaxis, np.newaxis]
    remembered = calibration.issue(begun, Issued(request.origin, request.step, bounds, scales))
    for row in zip(remembered, bounds, policy.peaks_of(bounds, offsets), offsets, available, strict=True):
        yield _Told(*row)


def _serving(scores: Scores, available: npt.NDArray[np.bool_], config: ChampionConfig) -> Source | None:
    """Say whose forecast is put in place: the champion's, or the next best's; None where nobody has one."""
    if available[SOURCES.index(scores.champion)]:
        return scores.champion
    return champion.next_best(scores, available, config)


def _trajectory(arrival: Arrival, serving: Source, level: float, told: _Told, config: AbsenceConfig) -> Trajectory:
    request, row = arrival.request, SOURCES.index(serving)
    forecast = arrival.model if serving is Source.MODEL else None
    if forecast is None:
        values = told.bounds[row][:, np.newaxis]  # (H, 1)
        forecast = Forecast(request.origin, request.step, (level,), values, values, serving)
    returning = absence.returning(request, config)
    return policy.prepare(forecast, level, peaks=told.peaks[row], offsets=told.offsets[row], returning=returning)


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


def _judge(
    known: Sequence[Forecasts], arrivals: Sequence[Arrival], targets: Sequence[Target], config: ForecastsConfig
) -> tuple[list[Scores], list[tuple[Pending, ...]]]:
    """Score what came of the windows that decisions looked at; scores of another level are void.

    Returns:
        Of each workload its scores, and the windows that are not over yet. Length N each.
    """
    scores: list[Scores] = []
    pending: list[tuple[Pending, ...]] = []
    outcomes: list[list[Outcome]] = []
    for one, arrival, target in zip(known, arrivals, targets, strict=True):
        state, request = one.calibration, arrival.request
        own_scores, left, came = one.scores, one.pending, list[Outcome]()
        if state is not None and state.level != target.level:
            own_scores, left = Scores(), ()
        elif state is not None:
            left, came = champion.resolve(
                left, request.load, end=request.origin, step=request.step, censored=state.censored
            )
        scores.append(own_scores)
        pending.append(left)
        outcomes.append(came)
    scored = champion.score(
        scores, outcomes, targets=targets, config=config.champion, policy=config.policy, period=config.period
    )
    return scored, pending


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
