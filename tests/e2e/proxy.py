"""A reverse proxy that breaks what passes through it, on order: in front of the API server, Prometheus or the model.

It speaks plain HTTP to the client and, to an API server, TLS with the credentials of a kubeconfig. Without a fault it
passes everything on as it is, watches as they come.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

ANSWER_SECONDS: Final = 300.0  # longer than a watch
CHUNK: Final = 65536
HEADER_LENGTH: Final = "Inference-Header-Content-Length"
_HOP_BY_HOP: Final = {"connection", "content-length", "transfer-encoding", "keep-alive", "accept-encoding", "host"}
_NAN: Final = struct.pack("<f", float("nan"))

Answer = tuple[Mapping[str, str], bytes]


@dataclass(frozen=True, slots=True)
class Call:
    """One request, and what came of it.

    Attributes:
        path: With its query.
        status: 0 where the connection was broken off.
        spoiled: A fault had its hand in it.
    """

    at: float
    method: str
    path: str
    status: int
    spoiled: bool


@dataclass(slots=True, eq=False)
class Fault:
    """What happens to the requests that it fits.

    Attributes:
        method: Empty for any.
        path: A pattern to be found in path and query.
        times: How many requests it spoils; None until it is lifted.
        status: Answered in place of passing the request on; 0 breaks the connection off, None passes it on.
        headers: Of that answer.
        body: Of that answer.
        delay: Seconds before anything else.
        hold: The request waits until this is set, then goes on.
        rewrite: Changes the answer of a request that was passed on.
    """

    method: str = ""
    path: str = ""
    times: int | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0.0
    hold: threading.Event | None = None
    rewrite: Callable[[Mapping[str, str], bytes], bytes] | None = None
    caught: threading.Event = field(default_factory=threading.Event)
    lifted: threading.Event = field(default_factory=threading.Event)

    def fits(self, method: str, path: str) -> bool:
        return self.method in {"", method} and re.search(self.path, path) is not None


def status_fault(status: int, message: str = "ordered by a test", **more: Any) -> Fault:
    """An error as an API server words it."""
    reason = {409: "Conflict", 410: "Expired", 429: "TooManyRequests"}.get(status, "InternalError")
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message}
    headers = {"Content-Type": "application/json", **more.pop("headers", {})}
    return Fault(status=status, body=json.dumps({**body, "code": status}).encode(), headers=headers, **more)


def nan_quantiles(headers: Mapping[str, str], body: bytes) -> bytes:
    """Put NaN in place of every quantile of a v2 answer with binary tensors."""
    length = int(next(value for name, value in headers.items() if name.lower() == HEADER_LENGTH.lower()))
    start = length
    for tensor in json.loads(body[:length])["outputs"]:
        size: int = tensor["parameters"]["binary_data_size"]
        if tensor["name"] == "quantiles":
            return body[:start] + _NAN * (size // len(_NAN)) + body[start + size :]
        start += size
    raise AssertionError("the model's answer has no quantiles")


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where requests go on to.

    Attributes:
        address: `host:port`.
        tls: None for plain HTTP.
    """

    address: str
    tls: ssl.SSLContext | None = None

    @classmethod
    def of_url(cls, url: str) -> Upstream:
        return cls(urlsplit(url).netloc)

    @classmethod
    def of_kubeconfig(cls, path: Path, folder: Path, *, credentials: bool = True) -> Upstream:
        """The API server of the current context.

        Args:
            path: The kubeconfig.
            folder: For certificates that stand in it as text.
            credentials: Show its client certificate; without it the clients' tokens count.
        """
        config = yaml.safe_load(path.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        tls = ssl.create_default_context(cafile=_file(cluster, "certificate-authority", folder))
        if credentials:
            tls.load_cert_chain(_file(user, "client-certificate", folder), _file(user, "client-key", folder))
        return cls(urlsplit(cluster["server"]).netloc, tls)

    def connect(self) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection(self.address, timeout=ANSWER_SECONDS)
        return http.client.HTTPSConnection(self.address, timeout=ANSWER_SECONDS, context=self.tls)


class Proxy:
    """Stands in front of one server; faults are ordered and lifted while it runs."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self._faults: list[Fault] = []
        self._calls: list[Call] = []
        self._sockets: set[socket.socket] = set()
        self._streams: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._port = 0
        self.come_back()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def come_back(self) -> None:
        """Listen, on the same port as before."""
        if self._server is None:
            handler = type("Handler", (_Handler,), {"proxy": self})
            self._server = _Server(("127.0.0.1", self._port), handler)
            self._port = self._server.server_address[1]
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def go_away(self) -> None:
        """Refuse connections, and break off those that stand."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        self._cut(self._sockets)

    def cut_streams(self) -> None:
        """Break off the watches that stand; nothing else."""
        self._cut(self._streams)

    def order(self, fault: Fault) -> Fault:
        """Let a fault happen from now on; the newest one that fits counts."""
        with self._lock:
            self._faults.insert(0, fault)
        return fault

    def lift(self, fault: Fault) -> None:
        """Let it happen no more; who waits for it goes on."""
        with self._lock:
            if fault in self._faults:
                self._faults.remove(fault)
        fault.lifted.set()

    @contextmanager
    def fault(self, fault: Fault) -> Iterator[Fault]:
        """Let a fault happen while the context lasts."""
        try:
            yield self.order(fault)
        finally:
            self.lift(fault)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Refuse connections while the context lasts."""
        self.go_away()
        try:
            yield
        finally:
            self.come_back()

    def calls(self, method: str = "", path: str = "", *, since: float = 0.0) -> list[Call]:
        """Give what came in, oldest first; `since` is on the monotonic clock."""
        with self._lock:
            calls = list(self._calls)
        return [c for c in calls if c.at >= since and method in {"", c.method} and re.search(path, c.path)]

    def _cut(self, sockets: set[socket.socket]) -> None:
        with self._lock:
            standing = list(sockets)
        for one in standing:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _take(self, method: str, path: str) -> Fault | None:
        with self._lock:
            fault = next((f for f in self._faults if f.fits(method, path)), None)
            if fault is not None and fault.times is not None:
                fault.times -= 1
                if not fault.times:
                    self._faults.remove(fault)
        if fault is not None:
            fault.caught.set()
        return fault

    def _note(self, call: Call) -> None:
        with self._lock:
            self._calls.append(call)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of connections that were broken off."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: Proxy

    def setup(self) -> None:
        super().setup()
        self.onward: http.client.HTTPConnection | None = None
        with self.proxy._lock:
            self.proxy._sockets.add(self.connection)

    def finish(self) -> None:
        with self.proxy._lock:
            self.proxy._sockets.discard(self.connection)
            self.proxy._streams.discard(self.connection)
        if self.onward is not None:
            self.onward.close()
        with suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        at, fault = time.monotonic(), self.proxy._take(self.command, self.path)
        status = 0
        try:
            status = self._pass_on(body, fault) if fault is None or self._waited(fault) else self._spoil(fault)
        except (OSError, http.client.HTTPException):
            self.close_connection = True
        finally:
            self.proxy._note(Call(at, self.command, self.path, status, fault is not None))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815 - named by http.server

    def _waited(self, fault: Fault) -> bool:
        """Wait as a fault says; whether the request goes on to the server then."""
        if fault.delay:
            fault.lifted.wait(fault.delay)
        if fault.hold is not None:
            fault.hold.wait(ANSWER_SECONDS)
        return fault.status is None

    def _spoil(self, fault: Fault) -> int:
        if not fault.status:
            self.close_connection = True
            return 0
        self._answer(fault.status, fault.headers, fault.body)
        return fault.status

    def _pass_on(self, body: bytes, fault: Fault | None) -> int:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        response = self._asked(body, headers)
        if fault is not None and fault.rewrite is not None:
            self._answer(response.status, _passed(response), fault.rewrite(dict(response.headers), response.read()))
        elif response.headers.get("Content-Length") is not None:
            self._answer(response.status, _passed(response), response.read())
        else:
            self._stream(response)
        return response.status

    def _asked(self, body: bytes, headers: dict[str, str]) -> http.client.HTTPResponse:
        """Ask the server over the connection that stands, or over a new one where that was closed meanwhile."""
        fresh = self.onward is None
        if self.onward is None:
            self.onward = self.proxy.upstream.connect()
        try:
            self.onward.request(self.command, self.path, body=body or None, headers=headers)
            return self.onward.getresponse()
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self.onward.close()
            self.onward = None
            if fresh:
                raise
            return self._asked(body, headers)

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, response: http.client.HTTPResponse) -> None:
        with self.proxy._lock:
            self.proxy._streams.add(self.connection)
        self.send_response_only(response.status)
        for name, value in _passed(response).items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while part := response.read1(CHUNK):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")
        with self.proxy._lock:
            self.proxy._streams.discard(self.connection)


@contextmanager
def proxy_before(upstream: Upstream) -> Iterator[Proxy]:
    """Run a proxy while the context lasts."""
    proxy = Proxy(upstream)
    try:
        yield proxy
    finally:
        proxy.go_away()


def write_kubeconfig(path: Path, *, server: str, token: str = "") -> Path:
    """Write a kubeconfig for a proxy, which has the credentials itself or passes a token on."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "users": [{"name": "test", "user": {"token": token} if token else {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


def _passed(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name.lower() not in _HOP_BY_HOP}


def _named(entries: list[Any], name: str) -> Any:
    return next(entry for entry in entries if entry["name"] == name)


def _file(entry: Mapping[str, str], name: str, folder: Path) -> str:
    """Give the path of a certificate or key, which a kubeconfig may hold as text as well."""
    if f"{name}-data" not in entry:
        return entry[name]
    path = folder / name
    path.write_bytes(base64.b64decode(entry[f"{name}-data"]))
    path.chmod(0o600)
    return str(path)
