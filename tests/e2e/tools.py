"""kubectl, waiting, the audit log and load for the tests on a real cluster."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import yaml

Json = dict[str, Any]
T = TypeVar("T")

POLL_SECONDS = 0.5


def now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - a test on a live cluster lives in real time


def eventually(look: Callable[[], T | None], *, within: float, what: str) -> T:
    """Look again and again until there is something to see; fail with what was waited for."""
    end = time.monotonic() + within
    waiting = threading.Event()
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > end:
            raise AssertionError(f"not within {within:g} s: {what}")
        waiting.wait(POLL_SECONDS)


def throughout(look: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Look again and again, and fail as soon as it is not so."""
    end = time.monotonic() + seconds
    waiting = threading.Event()
    while time.monotonic() < end:
        assert look(), f"no longer so: {what}"
        waiting.wait(POLL_SECONDS)


class Kubectl:
    """kubectl on the cluster of KUBECONFIG."""

    def __call__(self, *args: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> str:
        done = subprocess.run(
            ["kubectl", *args], input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(args)}: {done.stderr.strip()}\n{stdin or ''}")
        return done.stdout

    def apply(self, *documents: Json | str, namespace: str = "") -> None:
        text = "\n---\n".join(d if isinstance(d, str) else yaml.safe_dump(d) for d in documents)
        scope = ("-n", namespace) if namespace else ()
        self("apply", *scope, "-f", "-", stdin=text)

    def get(self, kind: str, name: str, namespace: str = "") -> Json:
        scope = ("-n", namespace) if namespace else ()
        found: Json = json.loads(self("get", kind, name, *scope, "-o", "json"))
        return found

    def find(self, kind: str, name: str, namespace: str = "") -> Json | None:
        scope = ("-n", namespace) if namespace else ()
        text = self("get", kind, name, *scope, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def items(self, kind: str, namespace: str = "", selector: str = "") -> list[Json]:
        scope = ("-n", namespace) if namespace else ("-A",)
        chosen = ("-l", selector) if selector else ()
        items: list[Json] = json.loads(self("get", kind, *scope, *chosen, "-o", "json"))["items"]
        return items

    def patch(self, kind: str, name: str, namespace: str, body: Json, *more: str) -> None:
        self("patch", kind, name, "-n", namespace, "--type=merge", "-p", json.dumps(body), *more)

    def ready_pods(self, namespace: str, selector: str) -> list[Json]:
        return [pod for pod in self.items("pods", namespace, selector) if is_ready(pod)]


def is_ready(pod: Json) -> bool:
    conditions = {c["type"]: c["status"] for c in pod.get("status", {}).get("conditions", ())}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


def value_at(item: Json, *path: str) -> Any:
    """Look into nested maps; None where the path ends early."""
    value: Any = item
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One request to the API server, as its audit log has it."""

    at: datetime
    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    user: str
    agent: str
    status: int
    address: str

    @property
    def ours(self) -> bool:
        return self.agent.startswith("ai-hpa")


@dataclass(frozen=True, slots=True)
class AuditLog:
    """The API server's audit log, JSON lines."""

    path: Path

    def size(self) -> int:
        return self.path.stat().st_size

    def events(self, since: int = 0) -> Iterator[AuditEvent]:
        """Writes since a size of the file, oldest first."""
        with self.path.open("rb") as file:
            file.seek(since)
            for line in file:
                entry = _decoded(line)
                reference = entry.get("objectRef") or {}
                if entry.get("verb") not in {"create", "update", "patch", "delete"} or not reference:
                    continue
                yield AuditEvent(
                    at=datetime.fromisoformat(entry["requestReceivedTimestamp"]),
                    verb=entry["verb"],
                    resource=reference.get("resource", ""),
                    subresource=reference.get("subresource", ""),
                    namespace=reference.get("namespace", ""),
                    name=reference.get("name", ""),
                    user=entry["user"].get("username", ""),  # none where the request carried no valid token
                    agent=entry.get("userAgent", ""),
                    status=(entry.get("responseStatus") or {}).get("code", 0),
                    address=(entry.get("sourceIPs") or [""])[0],
                )


def _decoded(line: bytes) -> Json:
    try:
        entry: Json = json.loads(line)
    except ValueError:  # the line that is being written right now
        return {}
    return entry


@dataclass(slots=True)
class Report:
    """What was measured on the way; shown at the end, because it is what a reader wants to know."""

    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        self.lines.append(line)


def environment(name: str, default: str) -> str:
    return os.environ.get(name) or default
