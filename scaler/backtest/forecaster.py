"""Forecasters around others: lanes with the same load share them, and failures are counted."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from scaler import baselines
from scaler.adapters.kserve_forecaster import call_key
from scaler.alike import answer_once
from scaler.baselines import Baselines
from scaler.controller import Forecaster
from scaler.domain import Forecast, ForecastRequest, ForecastUnavailable, Source, TargetKey
from scaler.replay.model_server import ModelServerFailed

logger = logging.getLogger(__name__)

MAX_FAILED_RATIO: Final = 0.001  # a hiccup is what a cluster has too
EVEN: Final = "even"
"""Kind of those requests that only make a call even."""


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

    What goes out in one call is made even: onnxruntime computes rows in pairs, and the last of an odd batch comes out
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
        meant = [self._meant(first) for first in leader.values()]
        digests = {request.key: _digest(request) for request in meant}
        self._ask({digests[request.key]: request for request in meant})
        simulated = {
            key: answer.forecast(ahead=self._ahead(key))
            for key, digest in digests.items()
            if (answer := self.answers.get(digest)) is not None
        }
        return {key: simulated[first] for key, first in asked.items() if first in simulated}

    def ask_ahead(self, requests: Iterable[ForecastRequest]) -> None:
        """Ask for what will be asked for later, many in one call; where that fails, it is asked for in its turn."""
        meant = (self._meant(request) for request in requests)
        try:
            self._ask({_digest(request): request for request in meant})
        except ForecastUnavailable as error:
            logger.debug("not_asked_ahead", extra={"error": str(error)})

    def _meant(self, request: ForecastRequest) -> ForecastRequest:
        """Put a request on the true time of its load."""
        return replace(request, origin=request.origin + self._ahead(request.key))

    def _ask(self, requests: Mapping[bytes, ForecastRequest]) -> None:
        unknown = [(digest, request) for digest, request in requests.items() if digest not in self.answers]
        if not unknown:
            return
        # A key for each, as one load may be asked for at many times.
        keys = {TargetKey("", "", str(number)): digest for number, (digest, _) in enumerate(unknown)}
        calls: dict[tuple[object, ...], list[ForecastRequest]] = {}
        for key, (_, request) in zip(keys, unknown, strict=True):
            calls.setdefault(call_key(request), []).append(replace(request, key=key))
        for number, call in enumerate(calls.values()):
            if len(call) % 2:
                call.append(replace(call[-1], key=TargetKey("", EVEN, str(number))))
        answered = self.forecaster.forecast(list(chain.from_iterable(calls.values())))
        self.answers.update((keys[key], KeptForecast.of(said)) for key, said in answered.items() if key in keys)

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
class SharedBaselines:
    """`WithoutModel` over the shipped one: what is asked for in many periods to come is forecast in one piece."""

    _ahead: dict[bytes, Baselines] = field(default_factory=dict)

    def ask_ahead(self, requests: Iterable[ForecastRequest]) -> None:
        """Forecast what will be asked for next; what was asked for ahead before is forgotten."""
        asked = {_digest(request): request for request in requests}
        self._ahead = dict(zip(asked, baselines.forecast(list(asked.values())), strict=True))

    def __call__(self, requests: Sequence[ForecastRequest]) -> list[Baselines]:
        """Give one forecast for each request."""
        return answer_once(
            (id(request.load) for request in requests), lambda rows: self._forecast([requests[row] for row in rows])
        )

    def _forecast(self, requests: Sequence[ForecastRequest]) -> Iterator[Baselines]:
        known = [self._ahead.get(_digest(request)) for request in requests]
        unknown = [request for request, found in zip(requests, known, strict=True) if found is None]
        forecasts = iter(baselines.forecast(unknown))
        for found in known:
            yield found if found is not None else next(forecasts)


@dataclass(slots=True)
class CountedForecaster:
    """The `Forecaster` port over another one; counts what fails."""

    forecaster: Forecaster
    asked: int = 0
    failed: int = 0
    failures: list[ForecastUnavailable] = field(default_factory=list)

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        """Answer all requests together.

        Raises:
            ForecastUnavailable: As the forecaster behind.
        """
        self.asked += len(requests)
        try:
            return self.forecaster.forecast(requests)
        except ForecastUnavailable as error:
            self.failed += len(requests)
            self.failures.append(error)
            raise

    def wake(self) -> timedelta:
        """Wake the forecaster behind."""
        return self.forecaster.wake()

    def check(self) -> None:
        """Refuse what a forecaster that was hardly there has led to: it would be said of AI-HPA without a model.

        Raises:
            ModelServerFailed: More than `MAX_FAILED_RATIO` of the requests failed.
        """
        if self.failed > MAX_FAILED_RATIO * self.asked:
            share = f"{self.failed} of {self.asked} requests to the forecaster failed"
            raise ModelServerFailed(f"{share}: {self.failures[-1]}")
