"""A small API server over a real socket: versions, lists in chunks, watches that resume, faults on order."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Json | None

    @property
    def watching(self) -> bool:
        return self.query.get("watch") == "true"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is answered in place of the truth.

    Attributes:
        status: 0 breaks the connection off.
        after: The request is carried out first, and only its answer is lost.
    """

    status: int
    method: str = ""
    path: str = ""
    watching: bool | None = None
    message: str = "ordered by the test"
    raw: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    after: bool = False

    def hits(self, request: Request) -> bool:
        return (
            self.method in {"", request.method}
            and self.path in request.path
            and self.watching in {None, request.watching}
        )


@dataclass
class FakeKube:
    """The state of the server; tests change it as a cluster would."""

    objects: dict[str, Json] = field(default_factory=dict)  # by path
    history: list[tuple[int, str, str, Json]] = field(default_factory=list)  # version, type, path, object
    requests: list[Request] = field(default_factory=list)
    version: int = 100
    oldest: int = 100
    absent: set[str] = field(default_factory=set)  # plurals that this server does not know
    pages: dict[str, Json] = field(default_factory=dict)  # other paths, e.g. of discovery
    address: str = ""
    _faults: list[tuple[Fault, int]] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closing: bool = False

    def put(self, collection: str, item: Json) -> Json:
        """Create or change an object of `/api/v1/namespaces/x/pods` as somebody else would."""
        with self._changed:
            path = f"{collection}/{item['metadata']['name']}"
            kind = "MODIFIED" if path in self.objects else "ADDED"
            return self._store(path, item, kind)

    def remove(self, path: str) -> None:
        """Delete an object as somebody else would."""
        with self._changed:
            self._store(path, self.objects[path], "DELETED")
            del self.objects[path]

    def bookmark(self) -> None:
        """Let the version move on with nothing changed that anybody watches."""
        with self._changed:
            self.version += 1
            self.history.append((self.version, "BOOKMARK", "", {"metadata": {"resourceVersion": str(self.version)}}))
            self._changed.notify_all()

    def compact(self) -> None:
        """Forget all changes, so that older versions are gone."""
        with self._changed:
            self.version += 1
            self.oldest = self.version
            self.history.clear()
            self._changed.notify_all()

    def fail(self, fault: Fault, times: int = 1) -> None:
        """Order a fault for the next requests that it fits."""
        self._faults.append((fault, times))

    def heal(self) -> None:
        """Order no more faults."""
        self._faults.clear()

    def count(self, method: str = "", *, watching: bool | None = None) -> int:
        """Count the requests so far."""
        return sum(Fault(0, method, watching=watching).hits(request) for request in self.requests)

    def wait(self, condition: Callable[[], bool], timeout: float = 5.0) -> bool:
        """Wait until something came in, was changed, or is so; whether it is."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def close(self) -> None:
        """End all watches."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def _store(self, path: str, item: Json, kind: str) -> Json:
        self.version += 1
        old = self.objects.get(path, {})
        metadata = {"uid": f"uid-{self.version}", **old.get("metadata", {}), **item["metadata"]}
        item = {**item, "metadata": {**metadata, "resourceVersion": str(self.version)}}
        parts = path.split("/")
        if "namespaces" in parts:
            item["metadata"].setdefault("namespace", parts[parts.index("namespaces") + 1])
        self.objects[path] = item
        self.history.append((self.version, kind, path, item))
        self._changed.notify_all()
        return item

    def _fault(self, request: Request) -> Fault | None:
        for number, (fault, times) in enumerate(self._faults):
            if fault.hits(request):
                self._faults[number : number + 1] = [(fault, times - 1)] if times > 1 else []
                return fault
        return None

    def _within(self, path: str, item_path: str) -> bool:
        """Tell whether an object is of a collection, which may be that of all namespaces."""
        collection = item_path.rpartition("/")[0]
        if "/namespaces/" not in path and "/namespaces/" in collection:
            head, _, tail = collection.partition("/namespaces/")
            collection = f"{head}/{tail.partition('/')[2]}"
        return collection == path

    def carry_out(self, request: Request) -> tuple[int, Json]:
        """Answer anything but a watch."""
        path = request.path
        if any(f"/{plural}" in path for plural in self.absent):
            return 404, {"message": "the server could not find the requested resource", "reason": "NotFound"}
        if path in self.pages:
            return 200, self.pages[path]
        write = {"POST": self._create, "PUT": self._replace, "PATCH": self._patch, "DELETE": self._delete}
        if request.method in write:
            return write[request.method](request)
        if path in self.objects:
            return 200, self.objects[path]
        plural_at = {"apis": 4, "api": 3}[path.split("/")[1]] + (2 if "/namespaces/" in path else 0)
        if len(path.split("/")) > plural_at + 1:
            return 404, {"message": f"{path} not found", "reason": "NotFound"}
        return self._list(request)

    def _list(self, request: Request) -> tuple[int, Json]:
        items = [item for path, item in sorted(self.objects.items()) if self._within(request.path, path)]
        start, limit = int(request.query.get("continue", 0)), int(request.query.get("limit", 0)) or len(items)
        metadata = {"resourceVersion": str(self.version)}
        if start + limit < len(items):
            metadata["continue"] = str(start + limit)
        return 200, {"items": items[start : start + limit], "metadata": metadata}

    def _create(self, request: Request) -> tuple[int, Json]:
        assert request.body is not None
        path = f"{request.path}/{request.body['metadata']['name']}"
        if path in self.objects:
            return 409, {"message": "already exists", "reason": "AlreadyExists"}
        return 201, self._store(path, request.body, "ADDED")

    def _stands(self, request: Request) -> tuple[int, Json] | None:
        assert request.body is not None
        if request.path not in self.objects:
            return 404, {"message": f"{request.path} not found", "reason": "NotFound"}
        wanted = request.body.get("metadata", {}).get("resourceVersion")
        if wanted and wanted != self.objects[request.path]["metadata"]["resourceVersion"]:
            return 409, {"message": "the object has been modified", "reason": "Conflict"}
        return None

    def _replace(self, request: Request) -> tuple[int, Json]:
        assert request.body is not None
        return self._stands(request) or (200, self._store(request.path, request.body, "MODIFIED"))

    def _patch(self, request: Request) -> tuple[int, Json]:
        assert request.body is not None
        refused = self._stands(request)
        if refused:
            return refused
        return 200, self._store(request.path, _merged(self.objects[request.path], request.body), "MODIFIED")

    def _delete(self, request: Request) -> tuple[int, Json]:
        if request.path not in self.objects:
            return 404, {"message": f"{request.path} not found", "reason": "NotFound"}
        self._store(request.path, self.objects[request.path], "DELETED")
        return 200, self.objects.pop(request.path)

    def events(self, request: Request) -> Iterator[Json]:
        """Give the changes since a version, then as they come, until the time is up."""
        seen = int(request.query.get("resourceVersion") or 0)
        if seen < self.oldest:
            yield {"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old resource version"}}
            return
        while True:
            with self._changed:
                news = functools.partial(self._news_since, seen)
                if not self._changed.wait_for(news, float(request.query["timeoutSeconds"])) or self._closing:
                    return
                fresh = [change for change in self.history if change[0] > seen]
                seen = self.version
            for _, kind, path, item in fresh:
                if kind == "BOOKMARK" or self._within(request.path, path):
                    yield {"type": kind, "object": item}

    def _news_since(self, version: int) -> bool:
        return self._closing or self.version > version


def _merged(old: Json, patch: Json) -> Json:
    merged = dict(old)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = _merged(merged[key] if isinstance(merged.get(key), dict) else {}, value)
        else:
            merged[key] = value
    return merged


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    kube: FakeKube

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _handle(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(
            self.command,
            url.path,
            {key: values[0] for key, values in parse_qs(url.query, keep_blank_values=True).items()},
            dict(self.headers.items()),
            json.loads(body) if body else None,
        )
        kube = self.kube
        with kube._changed:
            kube.requests.append(request)
            kube._changed.notify_all()
            fault = kube._fault(request)
            answer = None if request.watching else kube.carry_out(request) if not fault or fault.after else None
        if fault is not None:
            self._fail(fault)
        elif request.watching:
            self._watch(request)
        else:
            assert answer is not None
            self._answer(answer[0], json.dumps(answer[1]).encode())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815 - named by http.server

    def _fail(self, fault: Fault) -> None:
        if fault.status == 0:
            self.close_connection = True
            return
        status = {"kind": "Status", "message": fault.message, "code": fault.status}
        self._answer(fault.status, json.dumps(status).encode() if fault.raw is None else fault.raw, fault.headers)

    def _answer(self, status: int, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.send_response(status)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _watch(self, request: Request) -> None:
        if any(f"/{plural}" in request.path for plural in self.kube.absent):
            self._answer(404, b'{"message": "the server could not find the requested resource"}')
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in self.kube.events(request):
            line = json.dumps(event).encode() + b"\n"
            half = len(line) // 2  # lines and chunks of a stream need not end together
            for part in (line[:half], line[half:]):
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away."""


@contextmanager
def serving() -> Iterator[FakeKube]:
    """Run a server on a free port of this machine."""
    kube = FakeKube()
    handler = type("Handler", (_Handler,), {"kube": kube})
    with _Server(("127.0.0.1", 0), handler) as server:
        kube.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield kube
        finally:
            kube.close()
            server.shutdown()
            thread.join(5.0)
