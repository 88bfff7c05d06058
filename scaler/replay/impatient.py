"""A forecaster that is not asked again once it is clearly away; a replay cannot wait out each of its calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from scaler.controller import Forecaster
from scaler.domain import Forecast, ForecastRequest, ForecastUnavailable, TargetKey

MAX_FAILURES = 3  # in a row: one may be a hiccup, and the calls of days of load would wait for hours in all


@dataclass(slots=True)
class ImpatientForecaster:
    """The `Forecaster` port over another one; after three failures in a row it fails at once, with the last cause."""

    forecaster: Forecaster
    _failures: list[ForecastUnavailable] = field(default_factory=list)

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        """Answer all requests together, or give up.

        Raises:
            ForecastUnavailable: The forecaster behind failed now, or three times in a row before.
        """
        if len(self._failures) >= MAX_FAILURES:
            last = self._failures[-1]
            raise ForecastUnavailable(last.cause, f"given up after {MAX_FAILURES} failures in a row: {last}")
        try:
            forecasts = self.forecaster.forecast(requests)
        except ForecastUnavailable as exc:
            self._failures.append(exc)
            raise
        self._failures.clear()
        return forecasts

    def wake(self) -> timedelta:
        """Wake the forecaster behind while it is still asked."""
        return self.forecaster.wake() if len(self._failures) < MAX_FAILURES else timedelta(0)
