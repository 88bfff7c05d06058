"""The values that pass between the parts of the scaler; it holds no behaviour beyond checking them and does no I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]

DEFAULT_MISS_BUDGET_RATIO: Final = 0.01


class ScalerError(Exception):
    """Base of every error that an adapter raises on purpose.

    MetricsUnavailable     no usable or fresh sample: hold, or follow a forecast up
    ForecastUnavailable    transport, status, shape, NaN, too old: act on load alone
    TargetUnavailable      API or conflict: skip this tick, nothing changed
    """


class MetricsUnavailable(ScalerError):
    """No usable or fresh sample; hold, or follow a valid forecast up, never down."""


class ForecastUnavailable(ScalerError):
    """The forecaster could not answer, or its answer cannot be trusted; act on load alone.

    Attributes:
        cause: A closed set of words for metrics and decisions.
    """

    def __init__(self, cause: ForecastFailure, message: str) -> None:
        super().__init__(message)
        self.cause = cause


class TargetUnavailable(ScalerError):
    """The scale target could not be read or written; nothing changed."""


class ForecastFailure(StrEnum):
    """Why a forecast is missing."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    SERVER_ERROR = "server_error"
    REJECTED = "rejected"
    MALFORMED = "malformed"
    NOT_FINITE = "not_finite"
    STALE = "stale"
    INTERNAL = "internal"


class Source(StrEnum):
    """Who made a forecast; the first that is there serves while nothing is known of how well each does."""

    MODEL = "model"
    SEASONAL_DAY = "seasonal-day"
    SEASONAL_WEEK = "seasonal-week"
    DAMPED_TREND = "damped-trend"
    PERSISTENCE = "persistence"


SOURCE_NAMES: Final[Mapping[Source, str]] = {
    Source.MODEL: "the model",
    Source.SEASONAL_DAY: "yesterday's load",
    Source.SEASONAL_WEEK: "last week's load",
    Source.DAMPED_TREND: "a damped trend",
    Source.PERSISTENCE: "the load as it is",
}
"""How each is called in a sentence."""


class ChampionReason(StrEnum):
    """Why the champion is who it is."""

    TOO_FEW_SCORES = "TooFewScores"
    WITHIN_MARGIN = "WithinMargin"
    CHEAPEST = "Cheapest"


class Mode(StrEnum):
    """What AI-HPA does with a workload; `SHADOW` decides and records, and writes nothing."""

    OFF = "off"
    SHADOW = "shadow"
    ON = "on"


class Action(StrEnum):
    """What a decision does to the floor."""

    SCALE_UP = "scale_up"
    SCALE_DOWN = "scale_down"
    NONE = "none"


class Reason(StrEnum):
    """Why the floor is what it is, in the HPA's words where it has one."""

    DESIRED_WITHIN_RANGE = "DesiredWithinRange"
    TOO_FEW_REPLICAS = "TooFewReplicas"
    TOO_MANY_REPLICAS = "TooManyReplicas"
    SCALE_UP_LIMIT = "ScaleUpLimit"
    SCALE_DOWN_LIMIT = "ScaleDownLimit"
    SCALE_DOWN_STABILIZED = "ScaleDownStabilized"
    WITHIN_TOLERANCE = "WithinTolerance"
    NO_METRICS = "NoMetrics"
    NO_FORECAST = "NoForecast"
    PAUSED = "Paused"
    SCALE_DOWN_PAUSED = "ScaleDownPaused"
    BELOW_ACTIVATION = "BelowActivation"
    CENSORED_METRICS = "CensoredMetrics"
    LEAD_TIME_TOO_LONG = "LeadTimeTooLong"
    LOAD_ABSENT = "LoadAbsent"
    CLUSTER_LIMIT = "ClusterLimit"
    TARGET_UNAVAILABLE = "TargetUnavailable"


class TargetKey(NamedTuple):
    """What names a workload in its cluster; a tuple, because it is looked up more often than anything else."""

    namespace: str
    kind: str
    name: str

    def __str__(self) -> str:
        """Render as `namespace/kind/name`, the form of logs and metrics."""
        return f"{self.namespace}/{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Target:
    """One workload under AI-HPA, with everything its user decided.

    Attributes:
        capacity: Load of one pod beyond which its service level fails; unit of the load.
        only_scaler: No reactive autoscaler stands above the floor, so the decision carries a reactive term of its own.
        lead_time: Fixed by the user; None means learned.
        miss_budget_ratio: Share of time that may be short of pods.
        ordered_start: Pods start one after another, so that the lead time grows with the number of pods added.
    """

    key: TargetKey
    min_replicas: int
    max_replicas: int
    capacity: float
    mode: Mode = Mode.SHADOW
    only_scaler: bool = False
    lead_time: timedelta | None = None
    miss_budget_ratio: float = DEFAULT_MISS_BUDGET_RATIO
    paused: bool = False
    scale_down_paused: bool = False
    ordered_start: bool = False

    def __post_init__(self) -> None:
        """Refuse bounds that no decision could keep."""
        if not 0 <= self.min_replicas <= self.max_replicas:
            bounds = f"min_replicas={self.min_replicas}, max_replicas={self.max_replicas}"
            raise ValueError(f"{self.key}: {bounds}; accepted is 0 <= min_replicas <= max_replicas")
        if not self.capacity > 0:
            raise ValueError(f"{self.key}: capacity must be above 0, got {self.capacity}")
        if not 0 < self.miss_budget_ratio < 1:
            raise ValueError(f"{self.key}: miss_budget_ratio must lie between 0 and 1, got {self.miss_budget_ratio}")
        if self.lead_time is not None and self.lead_time <= timedelta(0):
            raise ValueError(f"{self.key}: lead_time must be above 0, got {self.lead_time}")

    @property
    def level(self) -> float:
        """Quantile level of the peak that keeps the miss budget, before anything is learned."""
        return 1.0 - self.miss_budget_ratio


@dataclass(frozen=True, slots=True)
class Observation:
    """What one tick sees of one workload.

    Attributes:
        sampled_at: Time of the newest sample; None where there never was one.
        load: Load of the whole service, newest sample; None where there is no fresh one. Missing is never 0.
        ready_replicas: Pods that serve.
        current_replicas: Replicas the API asks for now (`spec.replicas`).
        floor: The replica floor that stands in the API now; None where the lever has none yet.
        censored: The sample is a lower bound on demand (saturated, throttled, rollout, many young pods).
    """

    sampled_at: datetime | None
    load: float | None
    ready_replicas: int
    current_replicas: int
    floor: int | None = None
    censored: bool = False

    def __post_init__(self) -> None:
        """Refuse a load that is neither a measurement nor plainly missing."""
        if self.load is not None and not (math.isfinite(self.load) and self.load >= 0):
            raise ValueError(f"load must be finite and at least 0, or None where it is missing; got {self.load}")


@dataclass(frozen=True, slots=True, eq=False)
class ForecastRequest:
    """One workload's past, as the forecaster needs it.

    Attributes:
        origin: Time of the newest sample of `load`.
        step: Spacing of the samples.
        load: Oldest first, NaN is missing. Shape (T,).
        seasonal_load: Load one day (row 0) and one week (row 1) before each step of `load` and of the H steps after it;
            NaN where unknown. Shape (2, T + H).
    """

    key: TargetKey
    origin: datetime
    step: timedelta
    load: FloatArray
    seasonal_load: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Quantiles of the load to come.

    Attributes:
        origin: Time of the newest sample it was made from.
        step: Spacing of its steps; step h (from 1) covers the time up to origin + h * step.
        quantile_levels: Ascending, in (0, 1). Length Q.
        quantiles: Load at each step. Shape (H, Q), non-decreasing in Q.
        window_max: Highest load within the first h steps. Shape (H, Q), non-decreasing in H and Q.
        source: Who made it.
    """

    origin: datetime
    step: timedelta
    quantile_levels: tuple[float, ...]
    quantiles: FloatArray
    window_max: FloatArray
    source: Source
    model_version: str = ""

    def __post_init__(self) -> None:
        """Refuse what no decision may stand on."""
        if self.step <= timedelta(0):
            raise ValueError(f"step must be above 0, got {self.step}")
        for name, values in (("quantiles", self.quantiles), ("window_max", self.window_max)):
            if values.ndim != 2 or values.shape[1] != len(self.quantile_levels) or not values.size:
                raise ValueError(f"{name} must have shape (H, {len(self.quantile_levels)}), got {values.shape}")
            if not (np.isfinite(values).all() and (values >= 0).all()):
                raise ValueError(f"{name} must be finite and at least 0")
        if self.quantiles.shape != self.window_max.shape:
            shapes = f"quantiles {self.quantiles.shape}, window_max {self.window_max.shape}"
            raise ValueError(f"quantiles and window_max must agree in shape, got {shapes}")

    @property
    def prediction_length(self) -> int:
        """Number of steps H."""
        return int(self.window_max.shape[0])


class Champion(NamedTuple):
    """Whose forecasts serve a workload, as of its newest forecast.

    Attributes:
        since: When it last took over; None where it has served from the start.
        cost_ratios: What each source's forecasts cost this workload in pods over what persistence's cost in the same
            windows, by source; without those that no window was scored for yet.
        scored_days: Time behind the champion's own score, discounted like it.
    """

    source: Source
    reason: ChampionReason
    since: datetime | None
    cost_ratios: dict[str, float]
    scored_days: float


class Decision(NamedTuple):
    """The record of one decision: the floor, every intermediate on the way to it, and all reasons.

    A named tuple, because a large cluster makes a thousand of these in every tick and a frozen dataclass of so many
    fields takes four times as long to make. As JSON it is the log line and a row of a replay: one format for all three.

    Attributes:
        previous_floor: The floor that stood before.
        floor: The floor that should stand now.
        reason: The step of the decision that settled it.
        reasons: All that applied, in the order of the steps.
        load: Newest observed load; None where there was none.
        peak: Highest load to cover until the lead time is over, at `level`, offset included; None without any basis.
        forecast_peak: The forecast's part of `peak`, before the observed load raised it; None without a valid forecast.
        offset: Learned calibration offset inside `forecast_peak`.
        forecast_source: Whose forecast stood behind the decision; None where no valid one did. The champion's, unless
            that had none to give.
        forecast_age: Now minus the forecast's origin.
        forecast_steps: h, how many steps of the forecast mattered.
        forecast_failure: Why the newest call of the forecaster gave nothing for this workload; None after a good one.
        champion: Whose forecasts serve, and what each source's have cost; None before the first.
        n_predicted, n_reactive: Replicas that the forecast and the newest sample ask for; None where they had no say.
        n_combined, n_stabilized, n_limited: Replicas after each step that followed.
    """

    key: TargetKey
    at: datetime
    mode: Mode
    previous_floor: int
    floor: int
    action: Action
    reason: Reason
    reasons: tuple[Reason, ...]
    current_replicas: int
    ready_replicas: int
    load: float | None = None
    peak: float | None = None
    forecast_peak: float | None = None
    offset: float | None = None
    level: float | None = None
    capacity: float | None = None
    lead_time: timedelta | None = None
    forecast_source: Source | None = None
    forecast_age: timedelta | None = None
    forecast_steps: int | None = None
    forecast_failure: ForecastFailure | None = None
    champion: Champion | None = None
    n_predicted: int | None = None
    n_reactive: int | None = None
    n_combined: int | None = None
    n_stabilized: int | None = None
    n_limited: int | None = None
