"""An open-loop load generator for a real cluster: one pod that keeps to a profile and says what it sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scaler.kube.api import Json

# Paced by the time that went by, so that a late turn sends what is due and not less.
LOAD_SCRIPT = """
import http.client, json, os, threading, time
plan = json.loads(os.environ["PLAN"])
address, host, path, start, profile = (plan[k] for k in ("address", "host", "path", "start", "profile"))
name, _, port = address.partition(":")
counts = {"sent": 0, "failed": 0, "slow": 0}
def ask():
    begin = time.monotonic()
    try:
        connection = http.client.HTTPConnection(name, int(port or 80), timeout=30)
        connection.request("GET", path, headers={"Host": host})
        ok = connection.getresponse().status == 200
        connection.close()
    except OSError:
        ok = False
    counts["sent"] += 1
    counts["failed"] += not ok
    counts["slow"] += ok and time.monotonic() - begin > plan["slow"]
def rate(at):
    before = [r for t, r in profile if t <= at]
    return before[-1] if before else 0.0
due, begun, last = 0.0, 0, time.time() - start
said = last
while True:
    at = time.time() - start
    if at > profile[-1][0]:
        break
    due += rate(at) * (at - last)
    last = at
    while due >= 1.0:
        due -= 1.0
        begun += 1
        threading.Thread(target=ask, daemon=True).start()
    if at - said >= plan["say"]:
        said = at
        print(json.dumps({"at": round(at, 3), "rate": rate(at), "begun": begun, **counts}), flush=True)
    time.sleep(0.05)
print(json.dumps({"at": round(at, 3), "done": True, "begun": begun, **counts}), flush=True)
"""

# The CPU of its own thread, and not of the clock: a busy machine makes a request slower, and never cheaper. One request
# at a time, the others in the socket's queue: hundreds of threads would take each other's CPU. It is no HTTPServer
# because that asks a DNS server for its own name first.
BURN_SCRIPT = """
import http.server, os, socketserver, time
SECONDS = float(os.environ["BURN_SECONDS"])
class Burn(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        end = time.thread_time() + SECONDS
        while time.thread_time() < end:
            pass
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
class Server(socketserver.TCPServer):
    allow_reuse_address, request_queue_size = True, 1024
Server(("", int(os.environ["BURN_PORT"])), Burn).serve_forever()
"""


def burning(container: Json, image: str, seconds: float) -> Json:
    """Put a server that uses so much CPU for each request in place of a container's own.

    Args:
        container: With the port that is served, and a readiness probe.
        image: Has Python.
        seconds: CPU of one request.
    """
    # Not PORT, which Knative keeps for itself.
    port = container["ports"][0]["containerPort"]
    variables = {"BURN_SECONDS": f"{seconds:g}", "BURN_PORT": str(port)}
    env = [{"name": name, "value": value} for name, value in variables.items()]
    # Its probes are requests too: every second they would be a twentieth of a small pod's CPU.
    probe = container["readinessProbe"] | {"periodSeconds": 3}
    return container | {"readinessProbe": probe, "image": image, "command": ["python", "-c", BURN_SCRIPT], "env": env}


def all_burning(document: Json, image: str, seconds: float) -> Json:
    """Put `burning` in place of every container of a workload, whatever its kind."""

    def changed(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        containers = [burning(one, image, seconds) for one in value.get("containers", ())]
        own = {"containers": containers} if containers else {}
        return {name: changed(inner) for name, inner in value.items()} | own

    found: Json = changed(document)
    return found


@dataclass(frozen=True, slots=True)
class Load:
    """The generator as a pod, whose log is lines of JSON: `at`, `begun`; of what has ended `sent`, `failed`, `slow`.

    Attributes:
        address: `host:port` to connect to.
        host: Host header.
        start: Unix time.
        profile: (seconds after `start`, requests per second from then on); the last entry ends it.
        slow: Seconds beyond which an answer counts as slow.
        say: Seconds between two lines of its log.
    """

    name: str
    address: str
    host: str
    path: str
    start: float
    profile: Sequence[tuple[float, float]]
    slow: float = 1.0
    say: float = 5.0

    def pod(self, image: str) -> Json:
        """Write the pod down; its image has Python."""
        plan = {
            "address": self.address,
            "host": self.host,
            "path": self.path,
            "start": self.start,
            "profile": list(self.profile),
            "slow": self.slow,
            "say": self.say,
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "labels": {"app": "load"}},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "load",
                        "image": image,
                        "command": ["python", "-c", LOAD_SCRIPT],
                        "env": [{"name": "PLAN", "value": json.dumps(plan)}],
                        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}},
                    }
                ],
            },
        }
