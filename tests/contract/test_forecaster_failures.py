"""Each way a model server can fail, over a real socket: the cause it becomes, and the decision that follows."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ParamSpec, TypeAlias, TypeVar

import numpy as np
import pytest

from scaler.adapters.forecast_contract import CONTRACT
from scaler.adapters.kserve_forecaster import KServeForecaster
from scaler.adapters.v2_client import InvalidEndpoint
from scaler.controller import Controller
from scaler.domain import (
    Decision,
    FloatArray,
    ForecastFailure,
    ForecastRequest,
    ForecastUnavailable,
    Mode,
    Observation,
    Target,
    TargetKey,
)

P = ParamSpec("P")
R = TypeVar("R")

T0 = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
H, LEVELS = CONTRACT.prediction_length, CONTRACT.quantile_levels
PEAK = 10.0  # what the good answer forecasts, at every step and level


@dataclass
class Stub:
    """A server that behaves as told, one behaviour per call, the last one for ever."""

    behaviours: list[Behaviour]
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    stop: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Call:
    """One request as a behaviour sees it."""

    handler: BaseHTTPRequestHandler
    header: dict[str, Any]
    tensors: bytes
    stub: Stub

    @property
    def rows(self) -> int:
        return int(self.header["inputs"][0]["shape"][0])

    @property
    def load(self) -> FloatArray:
        rows, length = self.header["inputs"][0]["shape"]
        return np.frombuffer(self.tensors, "<f4", rows * length).reshape(rows, length).astype(np.float64)

    def send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.handler.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | dict(headers or {})).items():
            self.handler.send_header(name, value)
        self.handler.end_headers()
        self.handler.wfile.write(body)


Behaviour: TypeAlias = Callable[[Call], None]


@contextmanager
def serving(*behaviours: Behaviour) -> Iterator[Stub]:
    stub = Stub(list(behaviours))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            split = int(self.headers["Inference-Header-Content-Length"])
            call = Call(self, json.loads(body[:split]), body[split:], stub)
            stub.requests.append(call.header)
            behaviour = stub.behaviours.pop(0) if len(stub.behaviours) > 1 else stub.behaviours[0]
            behaviour(call)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()

    def stop() -> None:
        stub.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()

    stub.url, stub.stop = f"http://127.0.0.1:{server.server_port}", stop
    try:
        yield stub
    finally:
        stop()


def answer(call: Call, **changed: Any) -> dict[str, Any]:
    """Build a good JSON answer, tensors replaced or taken away (None) by name."""
    flat = np.full((call.rows, H, len(LEVELS)), PEAK)
    tensors = {"quantiles": flat, "window_max": flat, "quantile_levels": np.array(LEVELS)} | changed
    return {
        "id": call.header["id"],
        "model_name": CONTRACT.model_name,
        "outputs": [
            {"name": name, "datatype": "FP32", "shape": list(values.shape), "data": values.ravel().tolist()}
            for name, values in tensors.items()
            if values is not None
        ],
        "parameters": {"step_seconds": 60, "model_version": "stub"},
    }


def good(call: Call) -> None:
    call.send(200, json.dumps(answer(call)).encode())


def answering(**changed: Any) -> Behaviour:
    return lambda call: call.send(200, json.dumps(answer(call, **changed)).encode())


def status(code: int, text: str = '{"error": "out of order"}', **headers: str) -> Behaviour:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda call: call.send(code, text.encode(), named)


def slow(call: Call) -> None:
    call.stub.closing.wait()


def drip(call: Call) -> None:
    """Answer a byte at a time, each soon enough for any single read, until the client gives up."""
    call.handler.send_response(200)
    call.handler.send_header("Content-Length", "1000000")
    call.handler.end_headers()
    try:
        while not call.stub.closing.wait(0.01):
            call.handler.wfile.write(b" ")
    except OSError:
        call.handler.close_connection = True


def reset(call: Call) -> None:
    """Close with RST instead of FIN, as a killed pod's host does."""
    call.handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    call.handler.connection.close()
    call.handler.rfile = call.handler.wfile = _Gone()  # type: ignore[assignment]


class _Gone:
    """A stream of a connection that is no more."""

    closed = True

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def readline(self, _: int = -1) -> bytes:
        return b""


def hang_up(call: Call) -> None:
    call.handler.close_connection = True


def cut_short(call: Call) -> None:
    call.send(200, b'{"outputs": [', {"Content-Length": "5000"})


def short_tensor(call: Call) -> None:
    spec = {"name": "quantiles", "datatype": "FP32", "shape": [call.rows, H, len(LEVELS)]}
    header = json.dumps({"outputs": [spec | {"parameters": {"binary_data_size": 960}}]}).encode()
    call.send(200, header + b"\0" * 100, {"Inference-Header-Content-Length": str(len(header))})


def other_step(call: Call) -> None:
    body = answer(call) | {"parameters": {"step_seconds": 300}}
    call.send(200, json.dumps(body).encode())


def from_a_cache(call: Call) -> None:
    """Give again what was right for an earlier request."""
    call.send(200, json.dumps(answer(call) | {"id": "an-earlier-request"}).encode())


def integer_levels(call: Call) -> None:
    body = answer(call)
    body["outputs"][0]["datatype"] = "INT64"
    call.send(200, json.dumps(body).encode())


def negative_load_is_refused(call: Call) -> None:
    bad = np.flatnonzero((call.load < 0).any(axis=1))
    if bad.size:
        call.send(400, json.dumps({"error": "load is negative somewhere"}).encode())
    else:
        good(call)


def grid(value: float = PEAK, *, rows: int = 1, steps: int = H, at: float | None = None) -> FloatArray:
    """Build an output tensor of one value, with another one in the middle (step 10, level .5) if asked."""
    values = np.full((rows, steps, len(LEVELS)), value)
    if at is not None:
        values[:, 9, 3] = at
    return values


class FakeTime:
    """A monotonic clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def make_request(
    name: str = "web", *, load: float = 5.0, length: int = 60, step: timedelta = MINUTE
) -> ForecastRequest:
    return ForecastRequest(
        key=TargetKey("default", "Deployment", name),
        origin=T0,
        step=step,
        load=np.full(length, load),
        seasonal_load=np.full((2, length + H), np.nan),
    )


@contextmanager
def refused_url() -> Iterator[str]:
    """Hold a port that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


FAILURES = [
    pytest.param(status(500), ForecastFailure.SERVER_ERROR, "HTTP 500: out of order", id="500"),
    pytest.param(status(503, "<html>"), ForecastFailure.SERVER_ERROR, "HTTP 503: <html>", id="503"),
    pytest.param(status(429), ForecastFailure.REJECTED, "HTTP 429", id="429"),
    pytest.param(status(400), ForecastFailure.REJECTED, "HTTP 400: out of order", id="400"),
    pytest.param(status(404), ForecastFailure.REJECTED, "HTTP 404", id="404"),
    pytest.param(status(302), ForecastFailure.MALFORMED, "HTTP 302", id="redirect"),
    pytest.param(status(200, "<html>hello</html>"), ForecastFailure.MALFORMED, "not JSON", id="html_with_200"),
    pytest.param(status(200, "[]"), ForecastFailure.MALFORMED, "not a JSON object", id="json_list"),
    pytest.param(status(200, "{}"), ForecastFailure.MALFORMED, "'outputs' must be a list", id="no_outputs"),
    pytest.param(reset, ForecastFailure.UNREACHABLE, "", id="connection_reset"),
    pytest.param(hang_up, ForecastFailure.UNREACHABLE, "", id="closed_without_answer"),
    pytest.param(cut_short, ForecastFailure.MALFORMED, "", id="body_cut_short"),
    pytest.param(short_tensor, ForecastFailure.MALFORMED, "100 bytes", id="tensor_cut_short"),
    pytest.param(other_step, ForecastFailure.MALFORMED, "steps of 300 s", id="other_step"),
    pytest.param(from_a_cache, ForecastFailure.STALE, "to request 'an-earlier-request'", id="stale"),
    pytest.param(integer_levels, ForecastFailure.MALFORMED, "int64", id="wrong_datatype"),
    pytest.param(answering(window_max=None), ForecastFailure.MALFORMED, "no tensor 'window_max'", id="wrong_names"),
    pytest.param(answering(quantiles=grid(steps=29)), ForecastFailure.MALFORMED, "(1, 29, 8)", id="wrong_shape"),
    pytest.param(answering(quantiles=grid(rows=2)), ForecastFailure.MALFORMED, "(2, 30, 8)", id="wrong_batch"),
    pytest.param(
        answering(quantile_levels=np.linspace(0.1, 0.9, 8)), ForecastFailure.MALFORMED, "levels are", id="wrong_levels"
    ),
    pytest.param(answering(quantiles=grid(at=np.nan)), ForecastFailure.NOT_FINITE, "web: not finite", id="nan"),
    pytest.param(answering(window_max=grid(at=np.inf)), ForecastFailure.NOT_FINITE, "web: not finite", id="infinite"),
    pytest.param(answering(quantiles=grid(at=-1.0)), ForecastFailure.MALFORMED, "web: negative", id="negative"),
    pytest.param(
        answering(quantiles=grid(at=9.0)), ForecastFailure.MALFORMED, "quantiles out of order", id="levels_cross"
    ),
    pytest.param(
        answering(window_max=grid(at=11.0)), ForecastFailure.MALFORMED, "window_max out of order", id="max_levels_cross"
    ),
    pytest.param(
        answering(window_max=grid(12.0) - np.arange(H)[None, :, None] * 0.01),
        ForecastFailure.MALFORMED,
        "window_max falls",
        id="max_falls_over_steps",
    ),
    pytest.param(
        answering(window_max=grid(9.9)),
        ForecastFailure.MALFORMED,
        "window_max below quantiles",
        id="max_below_quantile",
    ),
]


@pytest.mark.parametrize(("behaviour", "cause", "words"), FAILURES)
def test_each_failure_becomes_one_cause(behaviour: Behaviour, cause: ForecastFailure, words: str) -> None:
    time = FakeTime()
    with (
        serving(behaviour) as stub,
        KServeForecaster(stub.url, clock=time.clock, sleep=time.sleep) as forecaster,
        pytest.raises(ForecastUnavailable) as failure,
    ):
        forecaster.forecast([make_request()])
    assert failure.value.cause is cause
    assert words in str(failure.value)


def test_a_refused_connection_is_unreachable_and_tried_until_the_deadline() -> None:
    time = FakeTime()
    with (
        refused_url() as url,
        KServeForecaster(url, clock=time.clock, sleep=time.sleep) as forecaster,
        pytest.raises(ForecastUnavailable) as failure,
    ):
        forecaster.forecast([make_request()])
    assert failure.value.cause is ForecastFailure.UNREACHABLE
    assert len(time.slept) > 3
    assert time.now < 60


@pytest.mark.parametrize("behaviour", [pytest.param(slow, id="no_answer"), pytest.param(drip, id="dripping_answer")])
def test_a_slow_server_times_out(behaviour: Behaviour) -> None:
    with (
        serving(behaviour) as stub,
        KServeForecaster(stub.url, deadline=timedelta(seconds=0.2)) as forecaster,
        pytest.raises(ForecastUnavailable) as failure,
    ):
        forecaster.forecast([make_request()])
    assert failure.value.cause is ForecastFailure.TIMEOUT


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(status(503), id="503"),
        pytest.param(status(500), id="500"),
        pytest.param(status(429), id="429"),
        pytest.param(reset, id="connection_reset"),
        pytest.param(cut_short, id="body_cut_short"),
    ],
)
def test_what_may_pass_is_tried_again(behaviour: Behaviour) -> None:
    time = FakeTime()
    with (
        serving(behaviour, good) as stub,
        KServeForecaster(stub.url, clock=time.clock, sleep=time.sleep) as forecaster,
    ):
        forecasts = forecaster.forecast([make_request()])
    (forecast,) = forecasts.values()
    assert forecast.window_max[-1, -1] == PEAK
    assert forecast.model_version == "stub"
    assert len(time.slept) == 1


@pytest.mark.parametrize("behaviour", [pytest.param(status(404), id="404"), pytest.param(status(400), id="400")])
def test_what_cannot_pass_is_not_tried_again(behaviour: Behaviour) -> None:
    with (
        serving(behaviour) as stub,
        KServeForecaster(stub.url) as forecaster,
        pytest.raises(ForecastUnavailable),
    ):
        forecaster.forecast([make_request()])
    assert len(stub.requests) == 1


def test_retry_after_is_kept() -> None:
    time = FakeTime()
    with (
        serving(status(503, Retry_After="17"), good) as stub,
        KServeForecaster(stub.url, clock=time.clock, sleep=time.sleep) as forecaster,
    ):
        forecaster.forecast([make_request()])
    assert time.slept == [17.0]


def test_a_retry_after_beyond_the_deadline_ends_the_call() -> None:
    time = FakeTime()
    with (
        serving(status(503, Retry_After="61"), good) as stub,
        KServeForecaster(stub.url, clock=time.clock, sleep=time.sleep) as forecaster,
        pytest.raises(ForecastUnavailable),
    ):
        forecaster.forecast([make_request()])
    assert time.slept == []


@pytest.mark.parametrize("place", [0, 7, 16])
def test_one_bad_workload_leaves_the_others_their_forecasts(place: int) -> None:
    requests = [make_request(f"web-{i}", load=-1.0 if i == place else 1.0) for i in range(17)]
    with serving(negative_load_is_refused) as stub, KServeForecaster(stub.url) as forecaster:
        forecasts = forecaster.forecast(requests)
    assert set(forecasts) == {request.key for i, request in enumerate(requests) if i != place}
    assert len(stub.requests) <= 11  # 1 + 2 for each halving of 17


def test_a_server_that_refuses_everything_is_not_asked_about_each_workload() -> None:
    with (
        serving(status(400)) as stub,
        KServeForecaster(stub.url) as forecaster,
        pytest.raises(ForecastUnavailable) as failure,
    ):
        forecaster.forecast([make_request(f"web-{i}", length=8) for i in range(300)])
    assert failure.value.cause is ForecastFailure.REJECTED
    assert len(stub.requests) == 65  # 1 + 2 * 32 splits


def test_one_broken_row_of_an_answer_leaves_the_others_their_forecasts() -> None:
    quantiles = grid(rows=3)
    quantiles[1, 0, 0] = np.nan
    with serving(answering(quantiles=quantiles)) as stub, KServeForecaster(stub.url) as forecaster:
        forecasts = forecaster.forecast([make_request(name) for name in "abc"])
    assert sorted(key.name for key in forecasts) == ["a", "c"]


def test_workloads_share_a_call_where_they_share_a_step() -> None:
    requests = [make_request("a"), make_request("b", length=90), make_request("c")]
    with serving(good) as stub, KServeForecaster(stub.url) as forecaster:
        assert len(forecaster.forecast(requests)) == 3
    (header,) = stub.requests
    assert header["inputs"][0] | {"parameters": None} == {
        "name": "load",
        "shape": [3, 90],
        "datatype": "FP32",
        "parameters": None,
    }
    assert header["parameters"] == {"step_seconds": 60}


def test_each_step_is_a_call_of_its_own() -> None:
    def echo_step(call: Call) -> None:
        call.send(200, json.dumps(answer(call) | {"parameters": call.header["parameters"]}).encode())

    requests = [make_request("a"), make_request("b", step=5 * MINUTE)]
    with serving(echo_step) as stub, KServeForecaster(stub.url) as forecaster:
        assert len(forecaster.forecast(requests)) == 2
    assert sorted(header["parameters"]["step_seconds"] for header in stub.requests) == [60, 300]


def test_large_batches_go_out_in_chunks() -> None:
    with serving(good) as stub, KServeForecaster(stub.url) as forecaster:
        assert len(forecaster.forecast([make_request(f"web-{i}", length=8) for i in range(1001)])) == 1001
    assert sorted(header["inputs"][0]["shape"][0] for header in stub.requests) == [1, 1000]


@pytest.mark.parametrize(
    ("origin", "sent"),
    [
        pytest.param(T0, True, id="clock"),
        pytest.param(datetime(1995, 7, 1, tzinfo=UTC), True, id="clock_of_an_old_trace"),
        pytest.param(datetime(1970, 1, 8, tzinfo=UTC), False, id="no_clock"),
    ],
)
def test_the_calendar_is_sent_only_where_there_is_one(origin: datetime, sent: bool) -> None:
    request = make_request()
    dated = ForecastRequest(request.key, origin, request.step, request.load, request.seasonal_load)
    with serving(good) as stub, KServeForecaster(stub.url) as forecaster:
        forecaster.forecast([dated])
    assert ("end_time" in {tensor["name"] for tensor in stub.requests[0]["inputs"]}) is sent


def test_a_workload_never_observed_is_not_asked_about() -> None:
    with serving(good) as stub, KServeForecaster(stub.url) as forecaster:
        forecasts = forecaster.forecast([make_request("dark", load=np.nan), make_request("seen")])
        assert [key.name for key in forecasts] == ["seen"]
        with pytest.raises(ForecastUnavailable, match="no load was observed"):
            forecaster.forecast([make_request("dark", load=np.nan)])
    assert [header["inputs"][0]["shape"][0] for header in stub.requests] == [1]


def test_nobody_to_forecast_is_no_call() -> None:
    with refused_url() as url, KServeForecaster(url) as forecaster:
        assert forecaster.forecast([]) == {}


def test_waking_a_server_that_is_away_is_no_error() -> None:
    with refused_url() as url, KServeForecaster(url) as forecaster:
        forecaster.wake()


@pytest.mark.parametrize("endpoint", ["", "forecaster:8080", "ftp://forecaster", "http://", "http://[::1"])
def test_an_endpoint_that_is_no_url_is_refused_at_once(endpoint: str) -> None:
    with pytest.raises(InvalidEndpoint, match="endpoint must be"):
        KServeForecaster(endpoint)


# From here on: what the controller makes of it.


class InlineExecutor(Executor):
    """Runs each call at once, so that a tick's forecast is there at the next tick."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except ForecastUnavailable as exc:
            future.set_exception(exc)
        return future


@dataclass
class World:
    """One workload at a steady load, its floor, and everything else that the controller plugs into."""

    target: Target
    load: float
    floor: int
    decisions: list[Decision] = field(default_factory=list)

    def targets(self, now: datetime) -> Sequence[Target]:
        return (self.target,)

    def observe(self, targets: Sequence[Target], now: datetime) -> Mapping[TargetKey, Observation]:
        seen = Observation(
            sampled_at=now, load=self.load, ready_replicas=self.floor, current_replicas=self.floor, floor=self.floor
        )
        return {self.target.key: seen}

    def load_between(
        self, targets: Sequence[Target], *, start: datetime, end: datetime, step: timedelta, now: datetime
    ) -> Mapping[TargetKey, FloatArray]:
        today = start > T0 - timedelta(hours=12)
        return {self.target.key: np.full((end - start) // step, self.load if today else np.nan)}

    def apply(self, target: Target, floor: int, now: datetime) -> None:
        self.floor = floor

    def record(self, decision: Decision) -> None:
        self.decisions.append(decision)


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        pytest.param(None, ForecastFailure.UNREACHABLE, id="refused"),
        pytest.param(slow, ForecastFailure.TIMEOUT, id="slow"),
        pytest.param(reset, ForecastFailure.UNREACHABLE, id="connection_reset"),
        pytest.param(status(500), ForecastFailure.SERVER_ERROR, id="500"),
        pytest.param(status(400), ForecastFailure.REJECTED, id="400"),
        pytest.param(answering(quantiles=grid(steps=29)), ForecastFailure.MALFORMED, id="wrong_shape"),
        pytest.param(answering(quantiles=grid(at=np.nan)), ForecastFailure.NOT_FINITE, id="nan"),
        pytest.param(cut_short, ForecastFailure.MALFORMED, id="body_cut_short"),
        pytest.param(status(200, "<html>"), ForecastFailure.MALFORMED, id="html_with_200"),
        pytest.param(from_a_cache, ForecastFailure.STALE, id="stale"),
    ],
)
def test_the_floor_stays_while_the_last_valid_forecast_covers_the_lead_time(
    behaviour: Behaviour | None, cause: ForecastFailure
) -> None:
    """One good forecast of 10 pods, then failures, at a load of 2 pods: 30 steps of a minute cover a lead of 2 minutes
    until minute 27 or so; before that nothing may be lowered, and after it the damped trend of the load decides."""
    key = TargetKey("default", "Deployment", "web")
    target = Target(
        key, min_replicas=1, max_replicas=20, capacity=1.0, mode=Mode.ON, lead_time=2 * MINUTE, only_scaler=True
    )
    world = World(target, load=1.9, floor=2)
    failing = [] if behaviour is None else [behaviour]
    time = FakeTime()
    with (
        serving(good, *failing) as stub,
        # Only a server that does not answer needs real time to pass; half a second of it is enough for the good answer.
        closing(
            KServeForecaster(stub.url, deadline=timedelta(seconds=0.5))
            if behaviour is slow
            else KServeForecaster(stub.url, clock=time.clock, sleep=time.sleep)
        ) as forecaster,
    ):
        controller = Controller(
            targets=world,
            metrics=world,
            forecaster=forecaster,
            scale_target=world,
            recorder=world,
            executor=InlineExecutor(),
        )
        controller.tick(T0)
        for tick in range(1, 40 * 4):
            if tick == 4 and behaviour is None:
                stub.stop()
            controller.tick(T0 + tick * timedelta(seconds=15))
    covered, after = world.decisions[2 : 26 * 4], world.decisions[38 * 4 :]  # two ticks up, four pods at most each
    assert [decision.floor for decision in covered] == [PEAK] * len(covered)
    assert {decision.forecast_source for decision in covered} == {"model"}
    assert covered[-1].forecast_failure is cause
    assert {(decision.floor, decision.forecast_source, decision.forecast_failure) for decision in after} == {
        (2, "damped-trend", cause)
    }
