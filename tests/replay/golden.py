"""Golden decisions of three short replays; `python -m tests.replay.golden` renews them, and their diff is reviewed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from scaler.domain import Decision, Forecast, ForecastFailure, ForecastRequest, ForecastUnavailable, Source, TargetKey
from scaler.replay.plan import ReplayPlan
from scaler.replay.result import ReplaySettings
from scaler.replay.run import replay
from scaler.replay.traces import Trace, demo_trace, resample
from scaler.telemetry import decision_row

FOLDER: Final = Path(__file__).parent / "golden"
T0: Final = datetime(2026, 1, 5, tzinfo=UTC)
DAY: Final = timedelta(days=1)
MINUTE: Final = timedelta(minutes=1)
LEVELS: Final = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
SIGNIFICANT_DIGITS: Final = 6  # what no platform's rounding reaches
STORY: Final = ("floor", "reasons", "forecast_source", "forecast_failure", "n_predicted", "n_combined", "n_limited")


@dataclass(slots=True)
class Yesterday:
    """The load of one day before with a band around it; it fails once it has answered `answers` times."""

    answers: int = 10**6

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        if not self.answers:
            raise ForecastUnavailable(ForecastFailure.TIMEOUT, "recorded outage")
        self.answers -= 1
        return {request.key: _forecast(request) for request in requests}

    def wake(self) -> timedelta:
        return timedelta(0)


def _forecast(request: ForecastRequest) -> Forecast:
    ahead = request.seasonal_load[0, len(request.load) :]
    quantiles = ahead[:, None] * (0.8 + 0.4 * np.array(LEVELS))  # (H, Q)
    return Forecast(
        origin=request.origin,
        step=request.step,
        quantile_levels=LEVELS,
        quantiles=quantiles,
        window_max=np.maximum.accumulate(quantiles, axis=0),
        source=Source.MODEL,
    )


def jump() -> Iterator[Decision]:
    """Load triples at the same minute as the day before, and falls again an hour later."""
    return _decisions(_daily_jump(), timedelta(hours=2), capacity=10.0)


def outage() -> Iterator[Decision]:
    """The same jump, but the forecaster stops answering before it, and metrics are missing for ten minutes."""
    trace = _daily_jump()
    trace.values[-100:-90] = np.nan
    return _decisions(trace, timedelta(hours=2), capacity=10.0, forecaster=Yesterday(answers=2))


def morning() -> Iterator[Decision]:
    """Two hours of a real cluster, up to its daily peak."""
    recorded = resample(demo_trace(), MINUTE)
    until = (4 * DAY + timedelta(hours=1)) // MINUTE
    values = recorded.values[until - 2 * DAY // MINUTE : until]
    trace = Trace(name=recorded.name, start=T0, step=MINUTE, values=values, has_clock=False)
    return _decisions(trace, timedelta(hours=2), capacity=2.0)


REPLAYS: Final[Mapping[str, Callable[[], Iterator[Decision]]]] = {
    "jump": jump,
    "outage": outage,
    "morning": morning,
}


def rows(decisions: Iterator[Decision]) -> Iterator[dict[str, Any]]:
    """Give the first decision and each that tells something new, numbers cut to six significant digits."""
    told = None
    for decision in decisions:
        row = decision_row(decision)
        story = [row[name] for name in STORY]
        if story != told:
            told = story
            yield {name: _cut(value) for name, value in row.items()}


def _cut(value: Any) -> Any:
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value


def _daily_jump() -> Trace:
    minutes = np.arange(DAY // MINUTE + 600)
    in_jump = (minutes % 1440 >= 520) & (minutes % 1440 < 580)
    values = 100.0 + 5.0 * np.sin(minutes / 7.0) + np.where(in_jump, 200.0, 0.0)
    return Trace(name="jump", start=T0, step=MINUTE, values=values, has_clock=True)


def _decisions(
    trace: Trace, window: timedelta, *, capacity: float, forecaster: Yesterday | None = None
) -> Iterator[Decision]:
    plan = ReplayPlan(trace=trace, window_start=trace.end - window, notes=())
    settings = ReplaySettings(capacity=capacity, min_replicas=1, max_replicas=100)
    return iter(replay(plan, settings, forecaster if forecaster is not None else Yesterday()).decisions)


def main() -> None:
    """Write every golden file anew."""
    FOLDER.mkdir(exist_ok=True)
    for name, run in REPLAYS.items():
        lines = [json.dumps(row) for row in rows(run())]
        (FOLDER / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
