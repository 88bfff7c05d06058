"""Open Inference Protocol v2 bodies with binary tensors, written and read; it knows neither HTTP nor forecasts.

A binary body is a JSON header followed by the raw little-endian tensors in the order of the header; the HTTP header
`Inference-Header-Content-Length` tells where the JSON ends. Source: KServe and Triton, binary tensor data extension.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

Tensor: TypeAlias = npt.NDArray[Any]

HEADER_LENGTH: Final = "Inference-Header-Content-Length"

_DTYPES: Final[dict[str, np.dtype[Any]]] = {"FP32": np.dtype("<f4"), "INT64": np.dtype("<i8"), "BOOL": np.dtype("?")}
_DATATYPES: Final = {dtype: datatype for datatype, dtype in _DTYPES.items()}


class MalformedBody(ValueError):
    """The body is not a v2 answer; the message says where it stops being one."""


@dataclass(frozen=True, slots=True, eq=False)
class InferResponse:
    """One answer, still unchecked against any contract.

    Attributes:
        request_id: Of the request that it says it answers; None where it does not say.
    """

    request_id: str | None
    outputs: Mapping[str, Tensor]
    parameters: Mapping[str, Any]


def encode_request(
    inputs: Mapping[str, Tensor], *, request_id: str, parameters: Mapping[str, Any], outputs: Sequence[str]
) -> tuple[bytes, int]:
    """Write an inference request.

    Binary answers are asked for output by output: KServe drops the request-wide flag where outputs are listed.

    Args:
        inputs: Arrays of float32, int64 or bool by tensor name.
        request_id: The answer has to carry it, too.
        parameters: Request parameters.
        outputs: Names of the tensors wanted.

    Returns:
        The body, and the length in bytes of its JSON header.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
    header = {
        "id": request_id,
        "inputs": [
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": _DATATYPES[array.dtype],
                "parameters": {"binary_data_size": array.nbytes},
            }
            for name, array in arrays.items()
        ],
        "parameters": dict(parameters),
        "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in outputs],
    }
    text = json.dumps(header).encode()
    return b"".join([text, *(array.tobytes() for array in arrays.values())]), len(text)


def decode_response(body: bytes, header_length: str | None) -> InferResponse:
    """Read an answer, binary or JSON.

    Args:
        body: The whole body.
        header_length: Value of `Inference-Header-Content-Length`; None where the answer is all JSON.

    Raises:
        MalformedBody: It is no v2 answer, or shorter than it says.
    """
    header, tail = _split(body, header_length)
    tensors: dict[str, Tensor] = {}
    offset = 0
    for spec in _objects(header, "outputs"):
        try:
            size = (spec.get("parameters") or {}).get("binary_data_size")
            name, shape, dtype = spec["name"], tuple(spec["shape"]), _DTYPES[spec["datatype"]]
            if size is None:
                tensors[name] = np.array(spec["data"], dtype=dtype).reshape(shape)
            else:
                tensors[name] = _raw(tail[offset : offset + size], dtype, shape)
                offset += size
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            raise MalformedBody(f"output {spec.get('name')!r} cannot be read: {exc!r}") from exc
    parameters = header.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise MalformedBody(f"'parameters' must be an object, got {parameters!r:.80}")
    return InferResponse(request_id=header.get("id"), outputs=tensors, parameters=parameters)


def _split(body: bytes, header_length: str | None) -> tuple[dict[str, Any], bytes]:
    try:
        length = len(body) if header_length is None else int(header_length)
        header = json.loads(body[:length])
    except ValueError as exc:
        raise MalformedBody(f"not JSON: {body[:80]!r}") from exc
    if not isinstance(header, dict):
        raise MalformedBody(f"not a JSON object: {body[:80]!r}")
    return header, body[length:]


def _objects(header: dict[str, Any], key: str) -> list[dict[str, Any]]:
    items = header.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise MalformedBody(f"{key!r} must be a list of tensors, got {items!r:.80}")
    return items


def _raw(data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Tensor:
    expected = math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise ValueError(f"{len(data)} bytes for shape {shape}, expected {expected}")
    return np.frombuffer(data, dtype=dtype).reshape(shape)
