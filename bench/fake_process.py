"""`ai-hpa run` as a process of this machine under a service account, and what the kernel says that it uses."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from scaler.kube.api import Json, KubeApi, KubeError
from scaler.kube.resources import Resource

ROOT: Final = Path(__file__).parents[1]
END_SECONDS: Final = 20.0
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")

_RBAC: Final = "rbac.authorization.k8s.io"
_SERVICE_ACCOUNTS: Final = Resource("", "v1", "serviceaccounts", "ServiceAccount")
_CLUSTER_ROLES: Final = Resource(_RBAC, "v1", "clusterroles", "ClusterRole")
_CLUSTER_ROLE_BINDINGS: Final = Resource(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding")
_ROLES: Final = Resource(_RBAC, "v1", "roles", "Role")
_ROLE_BINDINGS: Final = Resource(_RBAC, "v1", "rolebindings", "RoleBinding")


@dataclass(slots=True)
class ScalerProcess:
    """The scaler under measurement.

    Attributes:
        started: Unix time.
        log: Its log, one JSON object a line.
        port: Of its /metrics.
    """

    process: subprocess.Popen[bytes]
    started: float
    log: Path
    port: int
    _read: int = field(init=False, default=0)

    @property
    def cpu_seconds(self) -> float:
        """CPU that all its threads used so far, in and for it."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    @property
    def rss_bytes(self) -> int:
        """Memory that it holds now."""
        return self._status("VmRSS")

    @property
    def peak_rss_bytes(self) -> int:
        """The most that it ever held."""
        return self._status("VmHWM")

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def tail(self, characters: int = 2000) -> str:
        """Give the end of its log."""
        return self.log.read_text(errors="replace")[-characters:]

    def new_rows(self) -> list[dict[str, Any]]:
        """Lines of the log since the last look."""
        rows = []
        with self.log.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                with suppress(ValueError):
                    rows.append(json.loads(line))
        return rows

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"the kernel does not say {name}")


@contextmanager
def running_scaler(kubeconfig: Path, folder: Path, settings: Mapping[str, str]) -> Iterator[ScalerProcess]:
    """Run it until the context ends.

    Args:
        kubeconfig: Who it is.
        folder: For its log.
        settings: By the names of docs/configuration.md, without the prefix.
    """
    port = free_port()
    env = {name: value for name, value in os.environ.items() if not name.startswith("AI_HPA_")}
    env |= {f"AI_HPA_{name}": value for name, value in settings.items()}
    env |= {"KUBECONFIG": str(kubeconfig), "AI_HPA_HTTP_PORT": str(port)}
    log = folder / "scaler.log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-m", "scaler", "run"], cwd=ROOT, env=env, stderr=output)
    try:
        yield ScalerProcess(process, unix_now(), log, port)
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def service_account(api: KubeApi, namespace: str, folder: Path) -> Iterator[Path]:
    """Give a kubeconfig with the rights that ship, for a namespace that is there already.

    The API server throttles a service account as it does in a cluster; an administrator it never does.
    """
    name = f"ai-hpa-{namespace}"
    subjects = [{"kind": "ServiceAccount", "name": name, "namespace": namespace}]
    api.create(_SERVICE_ACCOUNTS, namespace, {"metadata": {"name": name}})
    base = ROOT / "deploy" / "kustomize" / "base"
    rules = [
        rule
        for role in yaml.safe_load_all((base / "cluster_role.yaml").read_text())
        if role and role["kind"] == "ClusterRole"
        for rule in role.get("rules") or ()
    ]
    lease = next(yaml.safe_load_all((base / "lease_role.yaml").read_text()))
    api.create(_ROLES, namespace, {"metadata": {"name": name}, "rules": lease["rules"]})
    api.create(_ROLE_BINDINGS, namespace, _binding("Role", name, subjects))
    try:
        api.create(_CLUSTER_ROLES, None, {"metadata": {"name": name}, "rules": rules})
        api.create(_CLUSTER_ROLE_BINDINGS, None, _binding("ClusterRole", name, subjects))
        yield _kubeconfig(api, namespace, name, folder)
    finally:
        with suppress(KubeError):
            api.delete(_CLUSTER_ROLE_BINDINGS, None, name)
            api.delete(_CLUSTER_ROLES, None, name)


def user_name(namespace: str) -> str:
    """How the audit log names the service account."""
    return f"system:serviceaccount:{namespace}:ai-hpa-{namespace}"


def unix_now() -> float:
    """Unix time."""
    return time.time()  # noqa: TID251 - a benchmark on a live cluster lives in real time


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _binding(kind: str, name: str, subjects: list[Json]) -> Json:
    reference = {"apiGroup": _RBAC, "kind": kind, "name": name}
    return {"metadata": {"name": name}, "roleRef": reference, "subjects": subjects}


def _kubeconfig(api: KubeApi, namespace: str, name: str, folder: Path) -> Path:
    """Write the cluster of KUBECONFIG with a token of the service account."""
    tokens = Resource("", "v1", f"serviceaccounts/{name}/token", "TokenRequest")
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
    token = api.create(tokens, namespace, request)["status"]["token"]
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    config["users"] = [{"name": name, "user": {"token": token}}]
    for context in config["contexts"]:
        context["context"]["user"] = name
    path = folder / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config))
    return path
