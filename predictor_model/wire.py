"""The wire forms of Open Inference Protocol v2, REST (JSON, binary tensors) and gRPC; it knows no tensor's meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from kserve import InferInput, InferOutput, InferRequest, InferResponse
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferResponse
from kserve.protocol.infer_type import to_http_parameters
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from predictor_model.contract import CONTRACT
from predictor_model.validation import Array, InvalidRequest, RequestTensor

JSON_LENGTH_HEADER = "inference-header-content-length"


@dataclass(frozen=True, slots=True)
class RestBody:
    """A REST request not yet read.

    Attributes:
        json_length: Bytes of JSON at the start; binary tensors follow them.
    """

    content: bytes
    json_length: int


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """A tensor that the answer shall hold; `is_binary` is about REST alone."""

    name: str
    is_binary: bool


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A request in either wire form.

    Attributes:
        request_id: Empty where the caller sent none.
        is_rest: REST, else gRPC.
        is_raw: A gRPC call that came with raw bytes, and gets them back.
    """

    request_id: str
    parameters: Mapping[str, Any]
    tensors: tuple[RequestTensor, ...]
    outputs: tuple[RequestedOutput, ...]
    is_rest: bool
    is_raw: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back, in the order of the requested outputs."""

    request_id: str
    parameters: Mapping[str, str | int]
    arrays: Mapping[str, Array]


def _is_scalar(value: object) -> object:
    if isinstance(value, str | bool | int | float):
        return value
    raise ValueError("a parameter is a string, a number or a boolean")


_Parameters = dict[str, Annotated[Any, AfterValidator(_is_scalar)]] | None


class _RestInput(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    datatype: str
    shape: list[int]
    parameters: _Parameters = None
    data: list[Any] | None = None


class _RestOutput(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    parameters: _Parameters = None


class _RestRequest(BaseModel):
    model_config = ConfigDict(strict=True)

    id: str | None = None
    parameters: _Parameters = None
    inputs: list[_RestInput]
    outputs: list[_RestOutput] | None = None


def rest_body(content: bytes, headers: Mapping[str, str]) -> RestBody:
    """Tell the JSON of a REST request from the binary tensors after it.

    Raises:
        InvalidRequest: The header that says where the JSON ends does not fit the body.
    """
    header = headers.get(JSON_LENGTH_HEADER, str(len(content)))
    if not header.isdecimal() or int(header) > len(content):
        raise InvalidRequest(f"header {JSON_LENGTH_HEADER} is {header!r}; accepted is an integer up to {len(content)}")
    return RestBody(content, int(header))


def decode_rest(body: RestBody) -> WireRequest:
    """Read a REST request.

    Raises:
        InvalidRequest: It is no v2 inference request.
    """
    try:
        request = _RestRequest.model_validate_json(body.content[: body.json_length])
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        where, what = ".".join(str(part) for part in first["loc"]) or "body", first["msg"].removeprefix("Value error, ")
        raise InvalidRequest(f"{where}: {what}; accepted is a v2 inference request with `inputs`") from exc
    binary = memoryview(body.content)[body.json_length :]
    tensors = []
    for tensor in request.inputs:
        data: Sequence[Any] | memoryview | None = tensor.data
        if data is None:
            data = _take_binary(tensor, binary)
            binary = binary[data.nbytes :]
        tensors.append(RequestTensor(tensor.name, tensor.datatype, tuple(tensor.shape), data))
    if binary:
        raise InvalidRequest(f"{binary.nbytes} bytes follow the last binary tensor; accepted is none")
    parameters = request.parameters or {}
    requested = [(output.name, output.parameters or {}) for output in request.outputs or ()]
    is_binary = bool(parameters.get("binary_data_output", False))
    return WireRequest(
        request_id=request.id or "",
        parameters=parameters,
        tensors=tuple(tensors),
        outputs=_requested_outputs(requested, is_binary=is_binary),
        is_rest=True,
    )


def decode_grpc(request: InferRequest) -> WireRequest:
    """Take a gRPC request from the SDK's hands.

    Raises:
        InvalidRequest: An unknown output is asked for, or a parameter has no value.
    """
    parameters = to_http_parameters(request.parameters or {})
    for name in request.parameters or {}:
        if name not in parameters:
            raise InvalidRequest(f"parameter {name} is none of bool_param, int64_param and string_param")
    requested = [(output.name, output.parameters or {}) for output in request.request_outputs or ()]
    return WireRequest(
        request_id=request.id or "",
        parameters=parameters,
        tensors=tuple(_grpc_tensor(tensor) for tensor in request.inputs),
        outputs=_requested_outputs(requested, is_binary=False),
        is_rest=False,
        is_raw=request.use_binary_outputs,
    )


def encode_rest(answer: Answer, outputs: Sequence[RequestedOutput]) -> tuple[bytes, int | None]:
    """Write a REST answer.

    orjson writes numpy arrays itself, shortest digits first: the SDK's way through Python floats takes ten times as
    long and doubles the bytes.

    Returns:
        The body, and how much of it is JSON where binary tensors follow.
    """
    described: list[dict[str, Any]] = []
    binary: list[bytes] = []
    for output in outputs:
        array = answer.arrays[output.name]
        tensor: dict[str, Any] = {"name": output.name, "datatype": _datatype(output.name), "shape": array.shape}
        if output.is_binary:
            binary.append(array.tobytes())
            tensor["parameters"] = {"binary_data_size": array.nbytes}
        else:
            tensor["data"] = array.ravel()
        described.append(tensor)
    head = {
        "model_name": CONTRACT.model_name,
        "id": answer.request_id,
        "parameters": answer.parameters,
        "outputs": described,
    }
    content = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([content, *binary]), len(content) if binary else None


def encode_grpc(answer: Answer, request: WireRequest) -> ModelInferResponse:
    """Write a gRPC answer."""
    outputs = []
    for requested in request.outputs:
        array = answer.arrays[requested.name]
        output = InferOutput(requested.name, list(array.shape), _datatype(requested.name))
        output.set_data_from_numpy(array, binary_data=request.is_raw)
        outputs.append(output)
    response = InferResponse(answer.request_id, CONTRACT.model_name, outputs, parameters=dict(answer.parameters))
    return response.to_grpc()


def _take_binary(tensor: _RestInput, binary: memoryview) -> memoryview:
    size = (tensor.parameters or {}).get("binary_data_size")
    if type(size) is not int or not 0 <= size <= binary.nbytes:
        raise InvalidRequest(
            f"input {tensor.name!r} has no data, and its binary_data_size is {size!r}; accepted is `data`, or a "
            f"binary_data_size of at most the {binary.nbytes} bytes that are left"
        )
    return binary[:size]


def _grpc_tensor(tensor: InferInput) -> RequestTensor:
    # The SDK has no public way to the raw bytes: as_numpy() reshapes them before their length could be checked.
    raw = tensor._raw_data  # noqa: SLF001
    data = tensor.data if raw is None else memoryview(raw)
    return RequestTensor(tensor.name, tensor.datatype, tuple(tensor.shape), data)


def _requested_outputs(
    requested: Sequence[tuple[str, Mapping[str, Any]]], *, is_binary: bool
) -> tuple[RequestedOutput, ...]:
    """Outputs to answer with: those asked for, or all; a parameter of its own goes before the request's."""
    known = [spec.name for spec in CONTRACT.outputs]
    if not requested:
        return tuple(RequestedOutput(name, is_binary) for name in known)
    names = [name for name, _ in requested]
    for name in names:
        if name not in known or names.count(name) > 1:
            raise InvalidRequest(f"output {name!r} is unknown or asked for twice; accepted are {', '.join(known)}")
    return tuple(
        RequestedOutput(name, bool(parameters.get("binary_data", is_binary))) for name, parameters in requested
    )


def _datatype(name: str) -> str:
    return next(spec.datatype for spec in CONTRACT.outputs if spec.name == name)
