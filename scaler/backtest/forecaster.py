"""A forecaster that lanes with the same load share; what a lane is told does not depend on who else is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from scaler.controller import Forecaster
from scaler.domain import Forecast, ForecastRequest, TargetKey


@dataclass(frozen=True, slots=True)
class SharedForecaster:
    """The `Forecaster` port over another one; requests for one load, origin and step are one request.

    An odd number of requests is made even: onnxruntime computes rows in pairs, and the last of an odd batch comes out
    differently in its last digits. With pairs alone, results do not depend on how a backtest was cut into jobs.

    Attributes:
        load_of: Tells which workloads have the same load.
        ahead: How far the true time of each load is ahead of the simulation's, which is the same for all.
    """

    forecaster: Forecaster
    load_of: Callable[[TargetKey], int]
    ahead: Sequence[timedelta]

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        """Ask once for each load.

        Raises:
            ForecastUnavailable: The forecaster behind gave nothing.
        """
        leader: dict[tuple[object, ...], ForecastRequest] = {}
        asked: dict[TargetKey, TargetKey] = {}
        for request in requests:
            same = (self.load_of(request.key), request.origin, request.step)
            asked[request.key] = leader.setdefault(same, request).key
        batch = [replace(first, origin=first.origin + self._ahead(first.key)) for first in leader.values()]
        if len(batch) % 2:
            batch.append(replace(batch[-1], key=TargetKey("", "", "even")))
        answered = self.forecaster.forecast(batch)
        simulated = {
            key: replace(forecast, origin=forecast.origin - self._ahead(key))
            for key, forecast in answered.items()
            if key in asked
        }
        return {key: simulated[first] for key, first in asked.items() if first in simulated}

    def wake(self) -> timedelta:
        """Wake the forecaster behind."""
        return self.forecaster.wake()

    def _ahead(self, key: TargetKey) -> timedelta:
        return self.ahead[self.load_of(key)]
