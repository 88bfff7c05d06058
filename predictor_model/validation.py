"""Turns the tensors of a request into windows that the graph can answer; it knows the contract and no transport."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from predictor_model.config import UNKNOWN_END_TIME
from predictor_model.contract import CONTRACT, TensorSpec

Array: TypeAlias = npt.NDArray[Any]

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "INT64": np.dtype(np.int64),
    "FP32": np.dtype(np.float32),
}
# What numpy makes of a JSON list of the right element type; anything else would be converted without a word.
_JSON_KINDS = {"BOOL": "b", "INT64": "i", "FP32": "fiu"}
_ELEMENTS = {"BOOL": "true or false", "INT64": "integers of 64 bits", "FP32": "numbers, null only where unobserved"}
# The graph answers with up to 1e4 times a window's magnitude, and float32 ends at 3.4e38.
MAX_LOAD = 1e30
# The year 9999; milliseconds, the usual mistake, lie beyond it.
MAX_END_TIME = 253_402_300_799


class InvalidRequest(ValueError):
    """The caller's mistake; says which tensor or parameter, what was wrong and what is accepted."""


@dataclass(frozen=True, slots=True)
class RequestTensor:
    """One input as it came over the wire.

    Attributes:
        data: Elements in row-major order, flat or nested, or the bytes of the binary extension.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Sequence[Any] | memoryview


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """A batch of valid inputs, as the graph takes them; what they mean is in the contract.

    Attributes:
        load: Unobserved elements may hold anything. Shape (B, T).
        observed: Shape (B, T).
        end_time: `UNKNOWN_END_TIME` where the caller sent none. Shape (B,).
        seasonal_lags: Shape (B, 2, H).
        seasonal_lags_observed: Shape (B, 2, H).
        step_seconds: Shape (B,).
    """

    load: Array
    observed: Array
    end_time: Array
    seasonal_lags: Array
    seasonal_lags_observed: Array
    step_seconds: Array

    def __len__(self) -> int:
        """Rows of the batch."""
        return int(self.load.shape[0])

    def rows(self, start: int, stop: int) -> Windows:
        """Rows from `start` up to `stop`, of the same arrays."""
        return Windows(*(getattr(self, field.name)[start:stop] for field in fields(self)))


def read_windows(tensors: Iterable[RequestTensor], parameters: Mapping[str, Any], context_length: int) -> Windows:
    """Check a request against the contract and bring it to the shape of the graph.

    History longer than the context is cut at its old end, shorter history is padded there with unobserved samples.

    Raises:
        InvalidRequest: The request breaks the contract.
    """
    step_seconds = read_step_seconds(parameters)
    arrays = _read_arrays(_by_name(tensors))
    load = arrays["load"]
    batch = len(load)
    observed = arrays.get("observed", np.ones(load.shape, dtype=np.bool_))
    _check_load(load, observed, context_length)
    lag_shape = (batch, len(CONTRACT.seasonal_lag_seconds), CONTRACT.prediction_length)
    lags = arrays.get("seasonal_lags", np.zeros(lag_shape, dtype=np.float32))
    lags_observed = arrays.get("seasonal_lags_observed", np.full(lag_shape, "seasonal_lags" in arrays))
    _check_lags(lags, lags_observed, step_seconds)
    end_time = arrays.get("end_time", np.full(batch, UNKNOWN_END_TIME, dtype=np.int64))
    if "end_time" in arrays:
        _check_elements(end_time, (end_time < 0) | (end_time > MAX_END_TIME), "end_time", _END_TIME_ACCEPTED)
    return Windows(
        load=_fit_to_context(load, context_length),
        observed=_fit_to_context(observed, context_length),
        end_time=end_time,
        seasonal_lags=lags,
        seasonal_lags_observed=lags_observed,
        step_seconds=np.full(batch, step_seconds, dtype=np.int64),
    )


_END_TIME_ACCEPTED = f"Unix seconds from 0 to {MAX_END_TIME}; leave the tensor out where the time is unknown"
_LOAD_ACCEPTED = f"a number from 0 to {MAX_LOAD:g} wherever it is observed; mark a missing sample in"


def read_step_seconds(parameters: Mapping[str, Any]) -> int:
    """Take the spacing of samples from the request parameters.

    Raises:
        InvalidRequest: It is no integer, or out of range.
    """
    low, high = CONTRACT.min_step_seconds, CONTRACT.max_step_seconds
    step_seconds = parameters.get("step_seconds", CONTRACT.default_step_seconds)
    # A boolean passes as an integer here, and then for 0 or 1, which is out of range.
    if not isinstance(step_seconds, int) or not low <= step_seconds <= high:
        raise InvalidRequest(f"parameter step_seconds is {step_seconds!r}; accepted is an integer from {low} to {high}")
    return step_seconds


def _by_name(tensors: Iterable[RequestTensor]) -> dict[str, RequestTensor]:
    names = [spec.name for spec in CONTRACT.inputs]
    found: dict[str, RequestTensor] = {}
    for tensor in tensors:
        if tensor.name not in names:
            raise InvalidRequest(f"input {tensor.name!r} is unknown; accepted are {', '.join(names)}")
        if tensor.name in found:
            raise InvalidRequest(f"input {tensor.name!r} stands twice in the request; accepted is each input once")
        found[tensor.name] = tensor
    for spec in CONTRACT.inputs:
        if not spec.optional and spec.name not in found:
            raise InvalidRequest(f"input {spec.name!r} is missing; accepted is a request that holds it")
    if "seasonal_lags_observed" in found and "seasonal_lags" not in found:
        raise InvalidRequest("seasonal_lags_observed came without seasonal_lags; accepted are both, or neither")
    return found


def _read_arrays(tensors: Mapping[str, RequestTensor]) -> dict[str, Array]:
    """Arrays by name, in the contract's order, so that `load` settles B and T for the others."""
    sizes: dict[str, int] = {"H": CONTRACT.prediction_length, "Q": len(CONTRACT.quantile_levels)}
    arrays: dict[str, Array] = {}
    for spec in CONTRACT.inputs:
        if spec.name in tensors:
            tensor = tensors[spec.name]
            _check_shape(tensor, spec, sizes)
            arrays[spec.name] = _read_elements(tensor)
    return arrays


def _check_shape(tensor: RequestTensor, spec: TensorSpec, sizes: dict[str, int]) -> None:
    if tensor.datatype != spec.datatype:
        raise InvalidRequest(f"{spec.name} has datatype {tensor.datatype}; accepted is {spec.datatype}")
    if "B" not in sizes and len(tensor.shape) == len(spec.shape):
        sizes.update(zip(("B", "T"), tensor.shape, strict=True))
        _check_size(tensor, "rows", sizes["B"], (1, CONTRACT.max_batch_size))
        _check_size(tensor, "samples per row", sizes["T"], (CONTRACT.min_history_length, CONTRACT.max_history_length))
    expected = tuple(sizes.get(size, size) if isinstance(size, str) else size for size in spec.shape)
    if tensor.shape != expected:
        layout = ", ".join(str(size) for size in spec.shape)
        raise InvalidRequest(
            f"{spec.name} has shape {list(tensor.shape)}; accepted is [{', '.join(map(str, expected))}], "
            f"which is [{layout}] with B and T as in load"
        )


def _check_size(tensor: RequestTensor, what: str, size: int, accepted: tuple[int, int]) -> None:
    low, high = accepted
    if not low <= size <= high:
        shape = list(tensor.shape)
        raise InvalidRequest(f"{tensor.name} has shape {shape}, {size} {what}; accepted are {low} to {high}")


def _read_elements(tensor: RequestTensor) -> Array:
    count = math.prod(tensor.shape)
    dtype = DTYPES[tensor.datatype]
    if isinstance(tensor.data, memoryview):
        if tensor.data.nbytes != count * dtype.itemsize:
            raise InvalidRequest(
                f"{tensor.name} holds {tensor.data.nbytes} bytes; its shape {list(tensor.shape)} of {tensor.datatype} "
                f"takes {count * dtype.itemsize}"
            )
        array = np.frombuffer(tensor.data, dtype=dtype)
        if dtype == np.bool_:
            array = array.view(np.uint8) != 0  # a bool of any other byte than 0 and 1 is undefined
        return array.reshape(tensor.shape)
    array = _read_json(tensor)
    if array.shape not in {(count,), tensor.shape}:
        raise InvalidRequest(
            f"{tensor.name} holds {array.size} elements in shape {list(array.shape)}; "
            f"accepted are the {count} elements of its shape {list(tensor.shape)}, flat or nested"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, and that is refused by name
        return array.astype(dtype).reshape(tensor.shape)


def _read_json(tensor: RequestTensor) -> Array:
    try:
        array = np.asarray(tensor.data)
        if array.dtype.kind == "O" and tensor.datatype == "FP32" and _is_numbers_and_nulls(array):
            array = array.astype(np.float64)  # None becomes NaN
    except (ValueError, OverflowError) as exc:  # rows of different lengths; an integer beyond float64
        raise InvalidRequest(
            f"{tensor.name} holds rows of different lengths or too large an integer; accepted are "
            f"{_ELEMENTS[tensor.datatype]}, flat or nested as its shape"
        ) from exc
    if array.size and array.dtype.kind not in _JSON_KINDS[tensor.datatype]:
        raise InvalidRequest(
            f"{tensor.name} holds elements that are not {tensor.datatype}; accepted are {_ELEMENTS[tensor.datatype]}"
        )
    return array


def _is_numbers_and_nulls(array: Array) -> bool:
    return all(element is None or type(element) in {int, float} for element in array.flat)


def _check_load(load: Array, observed: Array, context_length: int) -> None:
    _check_elements(load, observed & ~_is_valid_load(load), "load", f"{_LOAD_ACCEPTED} observed")
    blind = ~observed[:, -context_length:].any(axis=1)
    if blind.any():
        raise InvalidRequest(
            f"observed marks no sample of row {int(np.argmax(blind))} among the newest {context_length}; "
            "accepted is at least one in every row"
        )


def _check_lags(lags: Array, observed: Array, step_seconds: int) -> None:
    ahead = step_seconds * np.arange(1, CONTRACT.prediction_length + 1)
    # A lag after the newest sample cannot be known: the graph ignores it, so what stands there is no mistake.
    is_past = ahead <= np.array(CONTRACT.seasonal_lag_seconds).reshape(-1, 1)
    is_wrong = observed & is_past & ~_is_valid_load(lags)
    _check_elements(lags, is_wrong, "seasonal_lags", f"{_LOAD_ACCEPTED} seasonal_lags_observed")


def _is_valid_load(load: Array) -> Array:
    is_valid: Array = (load >= 0) & (load <= MAX_LOAD)  # false for NaN
    return is_valid


def _check_elements(array: Array, is_wrong: Array, name: str, accepted: str) -> None:
    if is_wrong.any():
        index = np.unravel_index(int(np.argmax(is_wrong)), is_wrong.shape)
        position = ", ".join(str(int(axis)) for axis in index)
        raise InvalidRequest(f"{name}[{position}] is {array[index]}; accepted is {accepted}")


def _fit_to_context(values: Array, context_length: int) -> Array:
    """Newest `context_length` samples, padded at the old end with zeros. Shape (B, T) in, (B, context_length) out."""
    missing = context_length - values.shape[1]
    if missing <= 0:
        return values[:, -context_length:]
    return np.pad(values, ((0, 0), (missing, 0)))
