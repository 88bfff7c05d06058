"""The forecaster behind the KServe SDK: it reads, computes and writes beside the event loop, never on it."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from kserve import InferRequest, Model
from kserve.errors import InvalidInput
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc.grpc_predict_v2_pb2 import ModelInferResponse

from predictor_model.contract import CONTRACT, TensorSpec
from predictor_model.graph import CHUNK_ROWS, GRAPH_OUTPUTS, MODEL_FILE, Graph, ModelUnusable, load_graph
from predictor_model.validation import Array, InvalidRequest, RequestTensor, Windows, read_windows
from predictor_model.wire import (
    JSON_LENGTH_HEADER,
    Answer,
    RestBody,
    WireRequest,
    decode_grpc,
    decode_rest,
    encode_grpc,
    encode_rest,
    rest_body,
)

logger = logging.getLogger(__name__)

CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A request that has been read, and the graph that it was read for."""

    request: WireRequest
    windows: Windows
    graph: Graph


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """A request that has been computed."""

    request: WireRequest
    answer: Answer


class FileVersion(NamedTuple):
    """Tells one file that stood at a path from the next: an exchange in one step gives it another inode."""

    inode: int
    modified_ns: int
    size: int

    @classmethod
    def of(cls, path: Path) -> FileVersion | None:
        """Look at what is there now; None where nothing is."""
        try:
            found = path.stat()
        except OSError:
            return None
        return cls(found.st_ino, found.st_mtime_ns, found.st_size)


def available_cpus() -> int:
    """CPUs this process may use: its affinity, and the quota of its cgroup (v2) where there is one."""
    cpus = len(os.sched_getaffinity(0))
    if CGROUP_CPU_MAX.is_file():
        quota, period = CGROUP_CPU_MAX.read_text(encoding="ascii").split()
        if quota != "max":
            cpus = min(cpus, math.ceil(int(quota) / int(period)))
    return cpus


class ForecasterModel(Model):  # type: ignore[misc]  # the SDK ships no types
    """Answers contracts/forecast_v2.json; the SDK calls preprocess, predict and postprocess in turn.

    Reading and writing take threads of the loop's own executor, computing takes one worker per CPU.

    Weights that are put in the place of those that are served are taken up with the next request; where they cannot
    serve, the earlier ones go on.
    """

    def __init__(self, name: str, model_dir: Path) -> None:
        super().__init__(name, return_response_headers=True)
        self._path = model_dir / MODEL_FILE
        self._workers = available_cpus()
        self._executor = ThreadPoolExecutor(self._workers, thread_name_prefix="compute")
        self._graph: Graph | None = None
        self._seen: FileVersion | None = None
        self._renewing = threading.Lock()

    @property
    def graph(self) -> Graph:
        """The loaded graph.

        Raises:
            ModelUnusable: `load` has not been called.
        """
        if self._graph is None:
            raise ModelUnusable(f"{self._path} has not been loaded")
        return self._graph

    def load(self) -> bool:
        """Open the graph and run it on one row and on a whole chunk; ready only after that.

        Raises:
            ModelUnusable: The model file cannot serve the contract.
        """
        self._open()
        self.ready = True
        return True

    def _open(self) -> None:
        # Before reading: what takes its place meanwhile is another file.
        self._seen = FileVersion.of(self._path)
        graph = load_graph(self._path)
        for rows in (1, CHUNK_ROWS):
            ones = [1.0] * (rows * CONTRACT.min_history_length)
            load = RequestTensor("load", "FP32", (rows, CONTRACT.min_history_length), ones)
            try:
                graph.run(read_windows([load], {}, graph.context_length))
            except Exception as exc:  # onnxruntime's own errors share no other base
                raise ModelUnusable(f"{self._path} cannot be run: {type(exc).__name__}: {exc}") from exc
        self._graph = graph
        logger.info("model_loaded: version %s from %s", graph.model_version, self._path)

    def _renew(self) -> None:
        """Take up another file that stands in the place of the one that was opened last."""
        if not self._renewing.acquire(blocking=False):
            return  # the others are served by the earlier one until it is open
        try:
            if FileVersion.of(self._path) not in (None, self._seen):
                self._open()
        except ModelUnusable as error:
            logger.warning("model_refused: %s; version %s serves on", error, self.graph.model_version)
        finally:
            self._renewing.release()

    def get_input_types(self) -> list[dict[str, Any]]:
        """Inputs of the contract, as model metadata."""
        return [_metadata(spec) for spec in CONTRACT.inputs]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Outputs of the contract, as model metadata."""
        return [_metadata(spec) for spec in CONTRACT.outputs]

    async def preprocess(self, payload: object, headers: Mapping[str, str]) -> Job:
        """Read and check a request.

        Raises:
            InvalidInput: The request breaks the contract; 400 over REST, INVALID_ARGUMENT over gRPC.
        """
        try:
            return await asyncio.to_thread(self._read, payload)
        except InvalidRequest as exc:
            raise InvalidInput(str(exc)) from exc

    async def predict(self, job: Job, headers: Mapping[str, str], response_headers: dict[str, str]) -> Reply:
        """Compute in chunks, each worker's lane taking every n-th of them.

        A request never has more chunks waiting than there are workers, so that a small one comes in between those
        of a large one.
        """
        graph, loop = job.graph, asyncio.get_running_loop()
        starts = range(0, len(job.windows), CHUNK_ROWS)
        chunks: dict[int, tuple[Array, ...]] = {}

        async def compute_lane(lane: int) -> None:
            for start in starts[lane :: self._workers]:
                rows = job.windows.rows(start, start + CHUNK_ROWS)
                chunks[start] = await loop.run_in_executor(self._executor, graph.run, rows)

        await asyncio.gather(*(compute_lane(lane) for lane in range(self._workers)))
        parts = zip(*(chunks[start] for start in starts), strict=True)
        arrays = dict(zip(GRAPH_OUTPUTS, (np.concatenate(part) for part in parts), strict=True))
        arrays["quantile_levels"] = np.array(CONTRACT.quantile_levels, dtype=np.float32)
        parameters: dict[str, str | int] = {
            "step_seconds": int(job.windows.step_seconds[0]),
            "model_version": graph.model_version,
        }
        return Reply(job.request, Answer(job.request.request_id or str(uuid.uuid4()), parameters, arrays))

    async def postprocess(
        self, reply: Reply, headers: Mapping[str, str], response_headers: dict[str, str]
    ) -> bytes | ModelInferResponse:
        """Write the answer in the wire form of its request."""
        if not reply.request.is_rest:
            return await asyncio.to_thread(encode_grpc, reply.answer, reply.request)
        content, json_length = await asyncio.to_thread(encode_rest, reply.answer, reply.request.outputs)
        if json_length is not None:
            response_headers[JSON_LENGTH_HEADER] = str(json_length)
        return content

    def _read(self, payload: object) -> Job:
        if isinstance(payload, RestBody):
            request = decode_rest(payload)
        elif isinstance(payload, InferRequest):
            request = decode_grpc(payload)
        else:
            raise InvalidRequest(f"this is protocol v1; accepted is v2 at /v2/models/{self.name}/infer")
        self._renew()
        graph = self.graph
        return Job(request, read_windows(request.tensors, request.parameters, graph.context_length), graph)


class ForecasterDataPlane(DataPlane):  # type: ignore[misc]  # the SDK ships no types
    """The SDK's data plane, except that the model itself reads and writes bodies, and that metadata is filled in.

    The SDK reads and writes them on the event loop, by way of Python lists: 0.4 s for 1,000 windows of JSON, in which
    no health route answers, and 500 with a connection reset for many a malformed one.
    """

    def decode_inference_request(self, body: bytes, headers: Mapping[str, str], model_name: str) -> RestBody:
        """Leave the body to the model; `RawInferBody` sees to it that it comes as bytes.

        Raises:
            InvalidInput: The header that says where the JSON ends does not fit the body.
        """
        try:
            return rest_body(body, headers)
        except InvalidRequest as exc:
            raise InvalidInput(str(exc)) from exc

    def encode(
        self,
        model_name: str,
        response: bytes,
        headers: Mapping[str, str],
        req_attributes: Mapping[str, Any],
    ) -> tuple[bytes, dict[str, str]]:
        """Pass on what the model has written."""
        return response, {}

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """Metadata of the model, with its platform and the one version that it serves."""
        metadata: dict[str, Any] = await super().model_metadata(model_name)
        model: ForecasterModel = self.get_model_from_registry(model_name)
        return metadata | {"platform": CONTRACT.platform, "versions": [model.graph.model_version]}

    def metadata(self) -> dict[str, Any]:
        """Metadata of the server; binary tensors are an extension of the protocol that clients ask for by name."""
        metadata: dict[str, Any] = super().metadata()
        return metadata | {"extensions": [*metadata["extensions"], "binary_tensor_data"]}


class RawInferBody:
    """ASGI middleware: an infer body reaches the data plane as bytes, whatever its content type says or does not say.

    Without it the web framework parses JSON on the event loop, and refuses what tritonclient sends without a content
    type. An answer without binary tensors is marked as the JSON that it is.
    """

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or not scope["path"].endswith("/infer"):
            await self._app(scope, receive, send)
            return
        others = [(name, value) for name, value in scope["headers"] if name != b"content-type"]

        async def send_typed(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                if b"content-type" not in names:
                    is_binary = JSON_LENGTH_HEADER.encode() in names
                    content_type = b"application/octet-stream" if is_binary else b"application/json"
                    message["headers"] = [*message["headers"], (b"content-type", content_type)]
            await send(message)

        raw = (b"content-type", b"application/octet-stream")
        await self._app({**scope, "headers": [*others, raw]}, receive, send_typed)


async def reject_body(_: Request, exc: RequestValidationError) -> JSONResponse:
    """Answer a body that the web framework refuses as the protocol asks: 400 with `error`."""
    first = exc.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return JSONResponse({"error": f"{where}: {first['msg']}; accepted is a v2 inference request"}, status_code=400)


def _metadata(spec: TensorSpec) -> dict[str, Any]:
    fixed = {"H": CONTRACT.prediction_length, "Q": len(CONTRACT.quantile_levels)}
    shape = [fixed.get(size, -1) if isinstance(size, str) else size for size in spec.shape]
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape}
