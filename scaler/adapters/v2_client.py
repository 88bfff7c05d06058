"""HTTP calls to an Open Inference v2 server with retries under one deadline; it never raises a library's exception.

What can go wrong, and what it becomes (`ForecastUnavailable` with a cause):

    refused, reset, no such host                 unreachable     retried
    slower than the deadline                     timeout         retried while time is left
    429                                          rejected        retried, Retry-After in seconds is kept
    5xx                                          server_error    retried, Retry-After in seconds is kept
    400, 413, 422                                rejected        as RequestRefused: the input may be to blame
    other 4xx                                    rejected
    any other status, cut short, not a v2 body   malformed       cut short is retried
    an answer to another request                 stale
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import httpx
from tenacity import nap, wait_random_exponential

from scaler.adapters.v2_tensors import (
    HEADER_LENGTH,
    InferResponse,
    MalformedBody,
    Tensor,
    decode_response,
    encode_request,
)
from scaler.domain import ForecastFailure, ForecastUnavailable
from scaler.retries import retry_after_seconds, retrying

READY_TIMEOUT_SECONDS: Final = 2.0
CONNECT_TIMEOUT_SECONDS: Final = 5.0  # a lost SYN is worth a second try long before the deadline
ERROR_TEXT_LENGTH: Final = 300

_BAD_INPUT: Final = frozenset({400, 413, 422})
_WAIT: Final = wait_random_exponential(multiplier=0.5, max=8)

_Answer = TypeVar("_Answer")

logger = logging.getLogger(__name__)


class InvalidEndpoint(ValueError):
    """The endpoint is no http or https URL with a host."""


class RequestRefused(ForecastUnavailable):
    """The server blames the input of this request; a smaller part of it may be fine."""


class _Retryable(ForecastUnavailable):
    """The same call may well succeed in a moment."""

    def __init__(self, cause: ForecastFailure, message: str, *, retry_after_seconds: float = 0.0) -> None:
        super().__init__(cause, message)
        self.retry_after_seconds = retry_after_seconds


class V2Client:
    """One v2 server. Proxies named by the environment are not used: the server stands inside the cluster."""

    def __init__(
        self,
        endpoint: str,
        *,
        host: str = "",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = nap.sleep,
    ) -> None:
        """Prepare the client; nothing is sent yet.

        Args:
            endpoint: Base URL of the server.
            host: Host header, where a gateway at `endpoint` routes by it; empty takes the endpoint's.
            clock: Monotonic seconds; deadlines are on this clock.
            sleep: Waits that many seconds between two tries.

        Raises:
            InvalidEndpoint: `endpoint` is no http or https URL.
        """
        try:
            url = httpx.URL(endpoint)
        except httpx.InvalidURL as exc:
            raise InvalidEndpoint(f"endpoint must be a URL, got {endpoint!r}: {exc}") from exc
        if url.scheme not in {"http", "https"} or not url.host:
            raise InvalidEndpoint(f"endpoint must be an http:// or https:// URL with a host, got {endpoint!r}")
        self._client = httpx.Client(base_url=url, trust_env=False, headers={"Host": host} if host else None)
        self._clock = clock
        self._sleep = sleep

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def infer(
        self,
        model_name: str,
        inputs: Mapping[str, Tensor],
        *,
        parameters: Mapping[str, Any],
        outputs: tuple[str, ...],
        deadline: float,
    ) -> InferResponse:
        """Send one inference request with binary tensors and read the answer, binary or JSON.

        Raises:
            ForecastUnavailable: No usable answer before `deadline`; `RequestRefused` where the input is blamed.
        """
        request_id = str(uuid.uuid4())
        body, header_length = encode_request(inputs, request_id=request_id, parameters=parameters, outputs=outputs)
        headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(header_length)}

        def attempt() -> InferResponse:
            content, answered = self._exchange("POST", f"v2/models/{model_name}/infer", deadline, body, headers)
            try:
                response = decode_response(content, answered.get(HEADER_LENGTH))
            except MalformedBody as exc:
                raise ForecastUnavailable(ForecastFailure.MALFORMED, str(exc)) from exc
            if response.request_id != request_id:
                message = f"the answer is to request {response.request_id!r}, not to this one"
                raise ForecastUnavailable(ForecastFailure.STALE, message)
            return response

        return self._retried(attempt, deadline)

    def metadata(self, model_name: str, *, deadline: float) -> dict[str, Any]:
        """Read the model's metadata.

        Raises:
            ForecastUnavailable: No usable answer before `deadline`.
        """

        def attempt() -> dict[str, Any]:
            content, _ = self._exchange("GET", f"v2/models/{model_name}", deadline)
            metadata = _json_object(content)
            if metadata is None:
                raise ForecastUnavailable(ForecastFailure.MALFORMED, f"metadata is no JSON object: {content[:80]!r}")
            return metadata

        return self._retried(attempt, deadline)

    def is_ready(self, model_name: str) -> bool:
        """Whether the model says it is ready, asked once. Never raises."""
        try:
            self._exchange("GET", f"v2/models/{model_name}/ready", self._clock() + READY_TIMEOUT_SECONDS)
        except ForecastUnavailable as exc:
            logger.debug("model_server_not_ready", extra={"error": str(exc)})
            return False
        return True

    def touch(self, model_name: str, *, deadline: float) -> None:
        """Ask whether the model is ready until it is; asking makes a server at zero start.

        Raises:
            ForecastUnavailable: It was not ready before `deadline`.
        """

        def attempt() -> None:
            self._exchange("GET", f"v2/models/{model_name}/ready", deadline)

        self._retried(attempt, deadline)

    def _retried(self, attempt: Callable[[], _Answer], deadline: float) -> _Answer:
        again = retrying(
            _Retryable, deadline=deadline, wait=_WAIT, clock=self._clock, sleep=self._sleep, log=_log_retry
        )
        return again(attempt)

    def _exchange(
        self, method: str, path: str, deadline: float, content: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[bytes, httpx.Headers]:
        """One try: body and headers of a 200."""
        left = deadline - self._clock()
        if left <= 0:
            raise ForecastUnavailable(ForecastFailure.TIMEOUT, f"{path}: no time left before the deadline")
        timeout = httpx.Timeout(left, connect=min(left, CONNECT_TIMEOUT_SECONDS))
        request = self._client.build_request(method, path, content=content, headers=headers, timeout=timeout)
        with _translated(path, cut_short=ForecastFailure.UNREACHABLE):
            response = self._client.send(request, stream=True)
        try:
            with _translated(path, cut_short=ForecastFailure.MALFORMED):
                body = b"".join(self._until(deadline, response.iter_bytes(), path))
        finally:
            response.close()
        if response.status_code != httpx.codes.OK:
            raise _refusal(response, body, path)
        return body, response.headers

    def _until(self, deadline: float, chunks: Iterator[bytes], path: str) -> Iterator[bytes]:
        """Pass the chunks on; a server that drips keeps within each read's time-out, and still may not take forever."""
        for chunk in chunks:
            if self._clock() > deadline:
                raise ForecastUnavailable(ForecastFailure.TIMEOUT, f"{path}: the answer was not complete in time")
            yield chunk


@contextmanager
def _translated(path: str, *, cut_short: ForecastFailure) -> Iterator[None]:
    """Turn the library's errors into ours; `cut_short` is the cause where the server closes in the middle."""
    try:
        yield
    except httpx.TimeoutException as exc:
        raise _Retryable(ForecastFailure.TIMEOUT, f"{path}: {exc!r}") from exc
    except httpx.RemoteProtocolError as exc:
        raise _Retryable(cut_short, f"{path}: {exc!r}") from exc
    except httpx.TransportError as exc:
        raise _Retryable(ForecastFailure.UNREACHABLE, f"{path}: {exc!r}") from exc
    except httpx.RequestError as exc:
        raise ForecastUnavailable(ForecastFailure.MALFORMED, f"{path}: {exc!r}") from exc


def _refusal(response: httpx.Response, body: bytes, path: str) -> ForecastUnavailable:
    """The failure behind a status other than 200, with the server's own words."""
    status = response.status_code
    answer = _json_object(body)
    words = str(answer["error"]) if answer and "error" in answer else body.decode(errors="replace")
    message = f"{path}: HTTP {status}: {words[:ERROR_TEXT_LENGTH]}"
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        cause = ForecastFailure.REJECTED if status < httpx.codes.INTERNAL_SERVER_ERROR else ForecastFailure.SERVER_ERROR
        return _Retryable(cause, message, retry_after_seconds=retry_after_seconds(response.headers))
    if status in _BAD_INPUT:
        return RequestRefused(ForecastFailure.REJECTED, message)
    cause = ForecastFailure.REJECTED if status >= httpx.codes.BAD_REQUEST else ForecastFailure.MALFORMED
    return ForecastUnavailable(cause, message)


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(body)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _log_retry(attempt: int, error: BaseException | None, seconds: float) -> None:
    extra = {"attempt": attempt, "error": str(error), "sleep_seconds": seconds}
    logger.info("model_server_retry", extra=extra)
