"""One workload's history, cut into what is only known, what a verdict is decided on, and what it is checked on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import numpy as np

from scaler.domain import DEFAULT_MISS_BUDGET_RATIO, FloatArray
from scaler.forecast_cycle import ForecastCycleConfig
from scaler.replay.demand import TICK, Demand, demand_from
from scaler.replay.physics import Physics
from scaler.replay.plan import MAX_STEP, averaged
from scaler.replay.start_up import StartUp
from scaler.replay.summary import in_days
from scaler.replay.traces import Trace

KNOWN: Final = timedelta(days=8)  # before the first decision: a week's lag of a whole context
MIN_KNOWN: Final = timedelta(days=1)  # the forecaster's day lag, and a p99 worth the name
PART: Final = timedelta(days=7)  # at most, of each of the two parts that are simulated
LEARNED: Final = timedelta(days=4)  # at most, before each of them: in shadow mode
MIN_PART: Final = timedelta(days=1)
PODS_AT_P99: Final = 30

_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class BacktestSettings:
    """Everything besides a trace that a backtest depends on.

    Attributes:
        start_up: How long pods take to be Ready.
        hpa_target: The user's HPA target utilization, as a share of capacity.
        miss_budget_ratio: Share of time that may be short of pods under AI-HPA.
        seeds: Of the noise and the start-up delays; scores are means over them.
        pods_at_p99: Pods that the p99 of the earlier load needs, where no capacity is given.
        capacity: Load of one pod; None follows from `pods_at_p99`.
        max_replicas: None is three times what the earlier load's peak needs.
        forecast_period: Between two forecasts of AI-HPA.
        forecast_latency: From asking for a forecast to having it, in simulated time.
    """

    start_up: StartUp = field(default_factory=StartUp)
    hpa_target: float = 0.7
    miss_budget_ratio: float = DEFAULT_MISS_BUDGET_RATIO
    seeds: tuple[int, ...] = (0,)
    pods_at_p99: int = PODS_AT_P99
    capacity: float | None = None
    min_replicas: int = 1
    max_replicas: int | None = None
    physics: Physics = field(default_factory=Physics)
    forecast_period: timedelta = field(default_factory=lambda: ForecastCycleConfig().forecast_period)
    forecast_latency: timedelta = timedelta(seconds=3)

    def __post_init__(self) -> None:
        """Refuse what no cluster could run with."""
        if self.capacity is not None and not self.capacity > 0:
            raise ValueError(f"capacity must be above 0, got {self.capacity:g}")
        if self.min_replicas < 1:
            raise ValueError(f"min_replicas must be at least 1, got {self.min_replicas}")
        if self.max_replicas is not None and self.max_replicas < self.min_replicas:
            raise ValueError(
                f"max_replicas must be at least min_replicas ({self.min_replicas}), got {self.max_replicas}"
            )
        if not 0 < self.hpa_target <= 1:
            raise ValueError(f"hpa_target must lie above 0 and at most at 1, got {self.hpa_target:g}")
        if not 0 < self.miss_budget_ratio < 1:
            raise ValueError(f"miss_budget_ratio must lie between 0 and 1, got {self.miss_budget_ratio:g}")
        if self.start_up.median <= timedelta(0):
            raise ValueError(f"start-up must take more than 0 s, got {self.start_up.median.total_seconds():g} s")
        if not self.seeds:
            raise ValueError("at least one seed is needed")

    @property
    def level(self) -> float:
        """Quantile level of the floor that keeps the miss budget."""
        return 1.0 - self.miss_budget_ratio


class Unfit(NamedTuple):
    """A trace that nothing can be simulated of.

    Attributes:
        why: In a sentence.
    """

    name: str
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A trace made ready, and the workload that meets it.

    Attributes:
        name: Of the series.
        has_clock: False where its times only count from its start.
        step: Between two values.
        values: From `KNOWN` before `decided` on, NaN where the trace has none. Shape (m,).
        start: Of the first value.
        decided: When the part begins that the verdict is decided on; `checked` where there is too little for one.
        checked: When the part begins that is scored; it ends with the trace.
        start_up: How long its pods take to be Ready.
        notes: What was done to the trace, in sentences.
    """

    name: str
    has_clock: bool
    step: timedelta
    values: FloatArray
    start: datetime
    decided: datetime
    checked: datetime
    capacity: float
    min_replicas: int
    max_replicas: int
    start_up: StartUp
    notes: tuple[str, ...]

    @property
    def end(self) -> datetime:
        """When the newest value is complete."""
        return self.start + len(self.values) * self.step

    @property
    def can_decide(self) -> bool:
        """Whether there is enough before the scored part for a verdict."""
        return self.decided < self.checked

    @property
    def shape(self) -> tuple[timedelta, ...]:
        """Cases alike in this can be simulated together: step, what can be learned from, and both parts' length."""
        first = self.start + int(np.isfinite(self.values).argmax()) * self.step
        known = min(self.decided - first, LEARNED + self.step)
        return self.step, known, self.checked - self.decided, self.end - self.checked

    @property
    def load_key(self) -> tuple[object, ...]:
        """What tells its load from those of other cases; one workload in several ways is several cases of one load."""
        return self.start, self.has_clock, self.step, self.values.tobytes()

    def demand(self, seed: int, physics: Physics, *, start: datetime | None = None) -> Demand:
        """Give the load at tick resolution; `start` puts it on another clock."""
        begin = self.start if start is None else start
        return demand_from(self.values, start=begin, step=self.step, noise_ratio=physics.noise_ratio, seed=seed)


def case_of(trace: Trace, settings: BacktestSettings) -> Case | Unfit:
    """Cut a trace; where nothing can be simulated, say why.

    The scored part is the last seven days, half of what there is where that is less than fourteen. The part before it,
    at most seven days and after at least one day that is only known, decides; none does where it is shorter than a day,
    no load is known in it, or nothing before it. Capacity and bounds come from what lies before the scored part.
    """
    name = trace.name
    if trace.step > MAX_STEP:
        return Unfit(
            name,
            f"the step is {trace.step.total_seconds():g} s; at most {MAX_STEP.total_seconds():g} s tell of lead times",
        )
    coarse = averaged(trace)
    notes = [] if coarse is trace else [f"Averaged from {trace.step.total_seconds():g} s to {_seconds(coarse.step)}."]
    coarse = _in_whole_hours(coarse)
    length = coarse.end - coarse.start
    scored_steps = min(PART, length / 2) // coarse.step
    scored = scored_steps * coarse.step
    if scored < MIN_PART:
        return Unfit(name, f"{in_days(trace.end - trace.start)} of load; at least {in_days(2 * MIN_PART)} are needed")
    earlier, later = coarse.values[:-scored_steps], coarse.values[-scored_steps:]
    if not (later > 0).any():
        return Unfit(name, f"no load above 0 is known in the last {in_days(scored)}")
    known_steps = KNOWN // coarse.step
    if not np.isfinite(earlier[-known_steps:]).any():
        return Unfit(name, f"no value is known in the {in_days(KNOWN)} before the last {in_days(scored)}")
    decide_steps = min(PART, length - scored - MIN_KNOWN) // coarse.step
    if decide_steps * coarse.step < MIN_PART or not _can_decide(earlier, decide_steps, known_steps):
        decide_steps = 0
    missing = known_steps + decide_steps + scored_steps - len(coarse.values)
    values = coarse.values[-min(len(coarse.values), known_steps + decide_steps + scored_steps) :]
    values = np.concatenate((np.full(max(missing, 0), np.nan), values))
    capacity = settings.capacity
    if capacity is None:
        p99 = float(np.nanpercentile(earlier, 99)) if np.isfinite(earlier).any() else 0.0
        if p99 <= 0:
            return Unfit(name, "no load above 0 before the part that is scored; give the capacity")
        capacity = p99 / settings.pods_at_p99
    peak = math.ceil(float(np.nanmax(earlier, initial=0.0)) / capacity)
    max_replicas = (
        settings.max_replicas if settings.max_replicas is not None else max(3 * peak, 3, settings.min_replicas)
    )
    gaps = int(np.isnan(later).sum())
    if gaps:
        notes.append(
            f"{gaps} of {scored_steps} scored values are missing: no metrics then, and left out of every score."
        )
    if not trace.has_clock:
        notes.append("The trace has no time of day; days count from its start, and the model gets no calendar.")
    checked = coarse.end - scored
    return Case(
        name=name,
        has_clock=trace.has_clock,
        step=coarse.step,
        values=values,
        start=coarse.end - len(values) * coarse.step,
        decided=checked - decide_steps * coarse.step,
        checked=checked,
        capacity=capacity,
        min_replicas=settings.min_replicas,
        max_replicas=max_replicas,
        start_up=settings.start_up,
        notes=tuple(notes),
    )


def ticks_of(demand: Demand, start: datetime, end: datetime) -> range:
    """The ticks that lie between two times, whole."""
    return range(demand.tick_of(start + TICK - timedelta(microseconds=1)), demand.tick_of(end))


def _in_whole_hours(trace: Trace) -> Trace:
    """Leave out the earliest values beyond whole hours, so that traces of about one length are simulated together."""
    beyond = len(trace.values) % (_HOUR // trace.step)
    return replace(trace, start=trace.start + beyond * trace.step, values=trace.values[beyond:])


def _can_decide(earlier: FloatArray, decide_steps: int, known_steps: int) -> bool:
    """Whether pods are needed in the part that would decide, and something is known before it."""
    before = earlier[:-decide_steps][-known_steps:]
    return bool((earlier[-decide_steps:] > 0).any() and np.isfinite(before).any())


def _seconds(step: timedelta) -> str:
    return f"{step.total_seconds():g} s"
