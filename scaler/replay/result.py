"""What a replay hands over: every tick of every policy, every decision, every forecast; plain values, no rendering."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from scaler.controller import ControllerConfig
from scaler.domain import Decision, FloatArray, Forecast
from scaler.replay.demand import TICK, IntArray
from scaler.replay.physics import Physics
from scaler.replay.scores import Scores
from scaler.replay.start_up import StartUp


class Policy(StrEnum):
    """Who decides about the pods."""

    HPA = "hpa"
    AI_HPA = "ai-hpa"
    ORACLE = "oracle"


POLICY_NAMES: Final = {
    Policy.HPA: "HPA alone",
    Policy.AI_HPA: "AI-HPA over HPA",
    Policy.ORACLE: "Oracle",
}


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """Everything besides the trace that a replay depends on.

    Attributes:
        capacity: Load of one pod beyond which its service level fails; in the policies and in every score.
        hpa_target_ratio: The HPA's target utilization, as a share of `capacity`.
        start_up: How long pods take to be Ready.
        physics: How load, pods and metrics behave, for every policy.
        forecast_latency: From asking for a forecast to having it, in simulated time.
    """

    capacity: float
    min_replicas: int
    max_replicas: int
    hpa_target_ratio: float = 0.7
    start_up: StartUp = field(default_factory=StartUp)
    physics: Physics = field(default_factory=Physics)
    forecast_latency: timedelta = timedelta(seconds=3)
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what no cluster could run with."""
        if not self.capacity > 0:
            raise ValueError(f"capacity must be above 0, got {self.capacity:g}")
        if not 1 <= self.min_replicas <= self.max_replicas:
            bounds = f"min_replicas={self.min_replicas}, max_replicas={self.max_replicas}"
            raise ValueError(f"{bounds}; accepted is 1 <= min_replicas <= max_replicas")
        if not 0 < self.hpa_target_ratio <= 1:
            raise ValueError(f"hpa_target_ratio must lie above 0 and at most at 1, got {self.hpa_target_ratio:g}")
        if self.start_up.median <= timedelta(0):
            raise ValueError(f"start-up must take more than 0 s, got {self.start_up.median.total_seconds():g} s")


@dataclass(frozen=True, slots=True, eq=False)
class PolicyRun:
    """One policy over the window.

    Attributes:
        ready: Pods that serve, per tick. Shape (n,).
        ordered: Pods ordered, starting ones included, per tick. Shape (n,).
    """

    ready: IntArray
    ordered: IntArray
    scores: Scores


@dataclass(frozen=True, slots=True, eq=False)
class IssuedForecast:
    """A forecast and when it was asked for."""

    asked_at: datetime
    forecast: Forecast


@dataclass(frozen=True, slots=True, eq=False)
class ReplayResult:
    """One trace under every policy.

    Attributes:
        series: Name of the trace.
        has_clock: False where times only count from the trace's start.
        start: When the window begins.
        load: Per tick of the window, NaN is unknown. Shape (n,).
        needed: Pods that the load needs. Shape (n,).
        decisions: AI-HPA's, one per tick.
        forecasts: Those AI-HPA was given, in the order of asking.
        config: The controller's, as it ran: delay and freshness of its metrics fit the trace's step.
        preprocessing: What was done to the trace before, in sentences.
    """

    series: str
    has_clock: bool
    start: datetime
    load: FloatArray
    needed: FloatArray
    runs: Mapping[Policy, PolicyRun]
    decisions: tuple[Decision, ...]
    forecasts: tuple[IssuedForecast, ...]
    settings: ReplaySettings
    config: ControllerConfig
    preprocessing: tuple[str, ...]

    def time_of(self, tick: int) -> datetime:
        """When a tick of the window begins."""
        return self.start + tick * TICK

    @property
    def duration(self) -> timedelta:
        """Length of the window."""
        return len(self.load) * TICK

    def pod_hours_over_oracle(self, policy: Policy) -> float:
        """Pod-hours of a policy, as a ratio to the oracle's."""
        return self.runs[policy].scores.pod_hours / self.runs[Policy.ORACLE].scores.pod_hours

    def forecast_sources(self) -> Mapping[str, float]:
        """Share of decisions that stood on each source of forecasts; `none` where there was no valid one."""
        counts = Counter(decision.forecast_source or "none" for decision in self.decisions)
        return {source: count / len(self.decisions) for source, count in counts.most_common()}
