"""The `Forecaster` port on a KServe model server; it never lets an answer through that breaks the contract."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

import numpy as np
from tenacity import nap

from scaler.adapters.forecast_contract import CONTRACT, EARLIEST_CLOCK, TensorContract
from scaler.adapters.v2_client import RequestRefused, V2Client
from scaler.adapters.v2_tensors import InferResponse, Tensor
from scaler.domain import (
    FloatArray,
    Forecast,
    ForecastFailure,
    ForecastRequest,
    ForecastUnavailable,
    Source,
    TargetKey,
)

MAX_ROWS_PER_CALL: Final = 1000  # 10 MB with the longest history
MAX_SPLITS: Final = 32  # finds three bad workloads in a thousand; a server that refuses all gets 64 small calls more
TOLERANCE_RATIO: Final = 1e-5  # FP32 rounding, as a share of the row's highest value

_OUTPUTS: Final = tuple(tensor.name for tensor in CONTRACT.outputs)

logger = logging.getLogger(__name__)


class KServeForecaster:
    """Forecasts over HTTP, all workloads together.

    Workloads that share a step go out in one call of binary tensors, at most 1,000 rows each. Where the server refuses
    a batch, it is halved until the workload that the server stumbles over stands alone, and all others are answered.

    `end_time` is sent for origins from 1990 on only: earlier ones come from traces that have no time of day and
    therefore start at Unix second 0.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        host: str = "",
        deadline: timedelta = timedelta(seconds=60),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = nap.sleep,
    ) -> None:
        """Prepare the client; nothing is sent yet.

        Args:
            endpoint: Base URL of the model server, e.g. `http://forecaster.ai-hpa`.
            host: Host header, where a gateway at `endpoint` routes by it; empty takes the endpoint's.
            deadline: For one `forecast` in all, retries included; the model may have to wake from zero first.
            clock: Monotonic seconds.
            sleep: Waits that many seconds between two tries.

        Raises:
            InvalidEndpoint: `endpoint` is no http or https URL.
        """
        self._client = V2Client(endpoint, host=host, clock=clock, sleep=sleep)
        self._deadline_seconds = deadline.total_seconds()
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def wake(self) -> timedelta:
        """Touch the model, which makes a server at zero start, until it is ready; never raises for one that is away.

        Returns:
            How long that took; 0 where it did not get ready within the deadline.
        """
        begin = self._clock()
        try:
            self._client.touch(CONTRACT.model_name, deadline=begin + self._deadline_seconds)
        except ForecastUnavailable as exc:
            logger.info("forecaster_not_awake", extra={"cause": exc.cause.value, "error": str(exc)})
            return timedelta(0)
        return timedelta(seconds=self._clock() - begin)

    def check_metadata(self) -> None:
        """Compare what the model says of itself with the contract.

        Raises:
            ForecastUnavailable: The server is away, or promises other tensors; the message lists every difference.
        """
        metadata = self._client.metadata(CONTRACT.model_name, deadline=self._clock() + self._deadline_seconds)
        differences = [
            f"{side} {name!r} is {told}, the contract says {expected}"
            for side, tensors in (("inputs", CONTRACT.inputs), ("outputs", CONTRACT.outputs))
            for name, told, expected in _differences(metadata.get(side), tensors)
        ]
        if differences:
            raise ForecastUnavailable(ForecastFailure.MALFORMED, "; ".join(differences))

    def forecast(self, requests: Sequence[ForecastRequest]) -> Mapping[TargetKey, Forecast]:
        """Answer all requests together; a key without an entry could not be answered.

        Raises:
            ForecastUnavailable: None could be answered; carries the cause of the first failure.
        """
        deadline = self._clock() + self._deadline_seconds
        forecasts: dict[TargetKey, Forecast] = {}
        failures: list[ForecastUnavailable] = []
        pending = list(_batches(requests))
        splits_left = MAX_SPLITS
        while pending:
            batch = pending.pop()
            try:
                answered, faults = _check(self._infer(batch, deadline), batch)
            except ForecastUnavailable as exc:
                if isinstance(exc, RequestRefused) and len(batch) > 1 and splits_left:
                    splits_left -= 1
                    half = len(batch) // 2
                    pending += [batch[half:], batch[:half]]
                else:
                    failures.append(exc)
            else:
                forecasts |= answered
                failures += faults
        if requests and not forecasts:
            raise failures[0] if failures else ForecastUnavailable(ForecastFailure.REJECTED, "no load was observed")
        for failure in failures:
            logger.warning("forecast_incomplete", extra={"cause": failure.cause.value, "error": str(failure)})
        return forecasts

    def _infer(self, batch: Sequence[ForecastRequest], deadline: float) -> InferResponse:
        step_seconds = batch[0].step.total_seconds()
        response = self._client.infer(
            CONTRACT.model_name,
            _tensors(batch),
            parameters={"step_seconds": int(step_seconds) if step_seconds.is_integer() else step_seconds},
            outputs=_OUTPUTS,
            deadline=deadline,
        )
        answered = response.parameters.get("step_seconds", step_seconds)
        if answered != step_seconds:
            message = f"the answer is for steps of {answered} s, asked were {step_seconds:g} s"
            raise ForecastUnavailable(ForecastFailure.MALFORMED, message)
        return response


def _batches(requests: Sequence[ForecastRequest]) -> Iterator[list[ForecastRequest]]:
    """Group what can share one call; a workload whose load was never observed is left out."""
    groups: defaultdict[tuple[object, ...], list[ForecastRequest]] = defaultdict(list)
    for request in requests:
        if not np.isnan(_recent(request)).all():
            groups[call_key(request)].append(request)
    for group in groups.values():
        for first in range(0, len(group), MAX_ROWS_PER_CALL):
            yield group[first : first + MAX_ROWS_PER_CALL]


def call_key(request: ForecastRequest) -> tuple[object, ...]:
    """What requests share that go out in one call."""
    return request.step, _has_clock(request)


def _has_clock(request: ForecastRequest) -> bool:
    return request.origin >= EARLIEST_CLOCK


def _recent(request: ForecastRequest) -> FloatArray:
    return request.load[-CONTRACT.max_history_length :]


def _tensors(batch: Sequence[ForecastRequest]) -> dict[str, Tensor]:
    """Stack a batch; shorter histories get unobserved samples in front."""
    length = max(CONTRACT.min_history_length, *(len(_recent(request)) for request in batch))
    load = np.full((len(batch), length), np.nan)  # (B, T)
    for row, request in zip(load, batch, strict=True):
        recent = _recent(request)
        row[length - len(recent) :] = recent
    lags = np.stack([request.seasonal_load[:, -CONTRACT.prediction_length :] for request in batch])  # (B, 2, H)
    tensors = {
        "load": _float32(load),
        "observed": ~np.isnan(load),
        "seasonal_lags": _float32(lags),
        "seasonal_lags_observed": ~np.isnan(lags),
    }
    if _has_clock(batch[0]):
        # The contract stamps a sample at the start of its step, as the CSV does; an origin is the end of one.
        starts = [int((request.origin - request.step).timestamp()) for request in batch]
        tensors["end_time"] = np.array(starts, dtype=np.int64)
    return tensors


def _float32(values: FloatArray) -> Tensor:
    """Missing becomes 0 behind its mask; what does not fit becomes infinite, and the server refuses it."""
    with np.errstate(over="ignore"):
        return np.where(np.isnan(values), 0.0, values).astype(np.float32)


def _check(
    response: InferResponse, batch: Sequence[ForecastRequest]
) -> tuple[dict[TargetKey, Forecast], list[ForecastUnavailable]]:
    """The forecasts that keep the contract, and why the others do not.

    Raises:
        ForecastUnavailable: The answer as a whole is not what was asked for.
    """
    for tensor in CONTRACT.outputs:
        _check_tensor(tensor, response.outputs.get(tensor.name), len(batch))
    levels = response.outputs["quantile_levels"]
    if not np.allclose(levels, CONTRACT.quantile_levels, rtol=0, atol=1e-6):
        raise ForecastUnavailable(ForecastFailure.MALFORMED, f"quantile_levels are {levels.tolist()}")
    quantiles = response.outputs["quantiles"].astype(np.float64)  # (B, H, Q)
    window_max = response.outputs["window_max"].astype(np.float64)  # (B, H, Q)
    faults = _row_faults(quantiles, window_max)
    # The tolerance lets FP32 rounding through; from here on the order holds exactly.
    quantiles = np.maximum.accumulate(np.maximum(quantiles, 0), axis=2)
    window_max = np.maximum.accumulate(np.maximum.accumulate(np.maximum(window_max, quantiles), axis=2), axis=1)
    forecasts = {
        request.key: Forecast(
            origin=request.origin,
            step=request.step,
            quantile_levels=CONTRACT.quantile_levels,
            quantiles=quantiles[row],
            window_max=window_max[row],
            source=Source.MODEL,
            model_version=str(response.parameters.get("model_version") or ""),
        )
        for row, request in enumerate(batch)
        if row not in faults
    }
    failures = [ForecastUnavailable(cause, f"{batch[row].key}: {what}") for row, (cause, what) in faults.items()]
    return forecasts, failures


def _check_tensor(tensor: TensorContract, values: Tensor | None, rows: int) -> None:
    shape = tuple(rows if axis == -1 else axis for axis in tensor.shape)
    if values is None:
        raise ForecastUnavailable(ForecastFailure.MALFORMED, f"the answer has no tensor {tensor.name!r}")
    if values.shape != shape or values.dtype != np.float32:
        got = f"{values.dtype} {values.shape}"
        raise ForecastUnavailable(ForecastFailure.MALFORMED, f"{tensor.name!r} is {got}, expected float32 {shape}")


def _row_faults(quantiles: FloatArray, window_max: FloatArray) -> dict[int, tuple[ForecastFailure, str]]:
    """The first fault of each row that has one."""
    with np.errstate(invalid="ignore"):  # differences of infinities; those rows are caught as not finite
        slack = TOLERANCE_RATIO * np.abs(window_max).max(axis=(1, 2), keepdims=True)  # (B, 1, 1)
        checks = (
            (ForecastFailure.NOT_FINITE, "not finite", ~(np.isfinite(quantiles) & np.isfinite(window_max))),
            (ForecastFailure.MALFORMED, "negative", np.minimum(quantiles, window_max) < -slack),
            (ForecastFailure.MALFORMED, "quantiles out of order", np.diff(quantiles, axis=2) < -slack),
            (ForecastFailure.MALFORMED, "window_max out of order", np.diff(window_max, axis=2) < -slack),
            (ForecastFailure.MALFORMED, "window_max falls over the steps", np.diff(window_max, axis=1) < -slack),
            (ForecastFailure.MALFORMED, "window_max below quantiles", window_max < quantiles - slack),
        )
    faults: dict[int, tuple[ForecastFailure, str]] = {}
    for cause, what, broken in checks:
        for row in np.flatnonzero(broken.any(axis=(1, 2))):
            faults.setdefault(int(row), (cause, what))
    return faults


def _differences(told: object, tensors: Sequence[TensorContract]) -> Iterator[tuple[str, object, object]]:
    """Name, what the metadata says, what the contract says, for each tensor that differs."""
    specs = [spec for spec in told if isinstance(spec, dict)] if isinstance(told, list) else []
    by_name = {spec.get("name"): (spec.get("datatype"), spec.get("shape")) for spec in specs}
    for tensor in tensors:
        expected = (tensor.datatype, list(tensor.shape))
        if by_name.get(tensor.name) != expected:
            yield tensor.name, by_name.get(tensor.name), expected
