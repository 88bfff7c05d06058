"""Forecasters around another one: lanes with the same load share it, and its failures are counted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from scaler.controller import Forecaster
from scaler.domain import Forecast, ForecastRequest, ForecastUnavailable, Source, TargetKey
from scaler.replay.model_server import ModelServerFailed

MAX_FAILED_RATIO: Final = 0.001  # a hiccup is what a cluster has too


class KeptForecast(NamedTuple):
    """A forecast as a model's server sends it: weeks of a forecast a minute are gigabytes otherwise.

    Attributes:
        values: Quantiles and window maxima. Shape (2, H, Q).
    """

    origin: datetime
    step: timedelta
    quantile_levels: tuple[float, ...]
    values: npt.NDArray[np.float32]
    source: Source
    model_version: str

    @classmethod
    def of(cls, forecast: Forecast) -> KeptForecast:
        """Keep a forecast."""
        values = np.stack([forecast.quantiles, forecast.window_max]).astype(np.float32)
        return cls(
            forecast.origin, forecast.step, forecast.quantile_levels, values, forecast.source, forecast.model_version
        )

    def forecast(self, *, ahead: timedelta) -> Forecast:
        """Give it again, its origin moved back by as much as the true time is ahead of the simulation's."""
        quantiles, window_max = self.values.astype(np.float64)
        return Forecast(
            self.origin - ahead, self.step, self.quantile_levels, quantiles, window_max, self.source, self.model_version
        )


Answers: TypeAlias = MutableMapping[bytes, KeptForecast]
"""What the model said, by all that it was asked."""


@dataclass(frozen=True, slots=True)
class SharedForecaster:
    """The `Forecaster` port over another one; requests for one load, origin and step are one request.

    What was answered once is not asked again, whichever policy asks next: the model always says the same.

    An odd number of requests is made even: onnxruntime computes rows in pairs, and the last of an odd batch comes out
    differently in its last digits. With pairs alone, results do not depend on how a backtest was cut into jobs.

    Attributes:
        load_of: Tells which workloads have the same load.
        ahead: How far the true time of each load is ahead of the simulation's, which is the same for all.
        answers: Those of earlier forecasters over the same one; grows.
    """

    forecaster: Forecaster
    load_of: Callable[[TargetKey], int]
    ahead: Sequence[timedelta]
    answers: Answers

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
        meant = [replace(first, origin=first.origin + self._ahead(first.key)) for first in leader.values()]
        digests = {request.key: _digest(request) for request in meant}
        self._ask([request for request in meant if digests[request.key] not in self.answers], digests)
        simulated = {
            key: answer.forecast(ahead=self._ahead(key))
            for key, digest in digests.items()
            if (answer := self.answers.get(digest)) is not None
        }
        return {key: simulated[first] for key, first in asked.items() if first in simulated}

    def _ask(self, batch: Sequence[ForecastRequest], digests: Mapping[TargetKey, bytes]) -> None:
        if not batch:
            return
        even = [*batch, replace(batch[-1], key=TargetKey("", "", "even"))] if len(batch) % 2 else batch
        answered = self.forecaster.forecast(even)
        self.answers.update((digests[key], KeptForecast.of(said)) for key, said in answered.items() if key in digests)

    def wake(self) -> timedelta:
        """Find it awake: how long an answer takes is simulated, and asking costs as much as a forecast."""
        return timedelta(0)

    def _ahead(self, key: TargetKey) -> timedelta:
        return self.ahead[self.load_of(key)]


def _digest(request: ForecastRequest) -> bytes:
    """Tell a request from every other one, whoever asks."""
    whole = hashlib.blake2b(repr((request.origin, request.step)).encode(), digest_size=16)
    whole.update(request.load.tobytes())
    whole.update(request.seasonal_load.tobytes())
    return whole.digest()


@dataclass(slots=True)
class CountedForecaster:
    """The `Forecaster` port over another one; counts what fails."""

    forecaster: Forecaster
    calls: int = 0
    failures: list[ForecastUnavailable] = field(default_factory=list)

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        """Answer all requests together.

        Raises:
            ForecastUnavailable: As the forecaster behind.
        """
        self.calls += 1
        try:
            return self.forecaster.forecast(requests)
        except ForecastUnavailable as error:
            self.failures.append(error)
            raise

    def wake(self) -> timedelta:
        """Wake the forecaster behind."""
        return self.forecaster.wake()

    def check(self) -> None:
        """Refuse what a forecaster that was hardly there has led to: it would be said of AI-HPA without a model.

        Raises:
            ModelServerFailed: More than `MAX_FAILED_RATIO` of the calls failed.
        """
        if len(self.failures) > MAX_FAILED_RATIO * self.calls:
            share = f"{len(self.failures)} of {self.calls} calls of the forecaster failed"
            raise ModelServerFailed(f"{share}: {self.failures[-1]}")
