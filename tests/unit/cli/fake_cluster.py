"""A cluster in memory behind the commands, and objects to put into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from scaler.cli import session
from scaler.kube.api import Json, KubeApi, KubeError, Listing, NotFound
from scaler.kube.objects import PredictiveScalerObject, predictive_scaler_object
from scaler.kube.resources import DEPLOYMENTS, PREDICTIVE_SCALERS, Resource
from tests.unit.targets.fake_api import FakeApi

NAMESPACE = "shop"


class FakeCluster(KubeApi):
    """`KubeApi` over objects in memory.

    Attributes:
        store: The objects.
        paths: What `get_path` answers.
        reviews: Whether a subject may do something, from the review's spec.
        missing: Kinds that the cluster does not know.
        error: Raised by every call, where it is set.
    """

    def __init__(self) -> None:
        self.store = FakeApi()
        self.paths: dict[str, Json] = {}
        self.reviews: Callable[[Json], bool] = lambda spec: True
        self.missing: set[str] = set()
        self.error: KubeError | None = None

    def get(self, resource: Resource, namespace: str | None, name: str, subresource: str = "") -> Json:
        self._answer(resource)
        return self.store.get(resource, namespace, name, subresource)

    def get_path(self, path: str) -> Json:
        if self.error is not None:
            raise self.error
        if path not in self.paths:
            raise NotFound(f"{path} not found", status=404)
        return self.paths[path]

    def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        metadata_only: bool = False,
    ) -> Listing:
        self._answer(resource)
        items = [
            item
            for (kind, where, _), item in self.store._objects.items()
            if kind == resource.kind and namespace in {None, where}
        ]
        wanted = dict(pair.split("=") for pair in label_selector.split(",") if pair)
        return Listing(
            tuple(i for i in items if wanted.items() <= (i["metadata"].get("labels") or {}).items()),
            resource_version="1",
        )

    def create(self, resource: Resource, namespace: str | None, body: Json) -> Json:
        self._answer(resource)
        if resource.group == "authorization.k8s.io":
            return {"status": {"allowed": self.reviews(body["spec"])}}
        return self.store.create(resource, namespace, body)

    def merge_patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Json,
        *,
        subresource: str = "",
        metadata_only: bool = False,
    ) -> Json:
        self._answer(resource)
        return self.store.merge_patch(
            resource, namespace, name, body, subresource=subresource, metadata_only=metadata_only
        )

    def _answer(self, resource: Resource) -> None:
        if self.error is not None:
            raise self.error
        if resource.kind in self.missing:
            raise NotFound("the API server answered 404", status=404)

    # What a test puts in.

    def deployment(self, name: str = "web", *, annotations: dict[str, str] | None = None, replicas: int = 2) -> Json:
        """Store a Deployment."""
        metadata = {"namespace": NAMESPACE, "name": name, "annotations": annotations or {}}
        return self.store.put(DEPLOYMENTS, {"metadata": metadata, "spec": {"replicas": replicas}})

    def scaler(self, name: str = "deployment-web", **parts: Any) -> PredictiveScalerObject:
        """Store a PredictiveScaler; `parts` as `scaler_json` takes them."""
        return predictive_scaler_object(self.store.put(PREDICTIVE_SCALERS, scaler_json(name, **parts)))

    def spec(self, name: str = "deployment-web") -> Json:
        """Give the spec of a PredictiveScaler as it stands."""
        spec: Json = self.store.get(PREDICTIVE_SCALERS, NAMESPACE, name)["spec"]
        return spec


def scaler_json(  # one part of the object each
    name: str = "deployment-web",
    *,
    spec: Json | None = None,
    status: Json | None = None,
    annotations: dict[str, str] | None = None,
    namespace: str = NAMESPACE,
    target: tuple[str, str, str] = ("apps/v1", "Deployment", "web"),
) -> Json:
    """Build a PredictiveScaler."""
    api_version, kind, target_name = target
    return {
        "metadata": {"namespace": namespace, "name": name, "annotations": annotations or {}, "generation": 1},
        "spec": {"targetRef": {"apiVersion": api_version, "kind": kind, "name": target_name}, **(spec or {})},
        "status": status or {},
    }


def component(**changes: Any) -> Json:
    """Build the status of one component; a change to None leaves a field out."""
    full: Json = {
        "name": "",
        "lever": "scale",
        "metric": "cpu",
        "capacity": 0.18,
        "capacitySource": "90 % of the CPU limit (200m)",
        "floor": 4,
        "minReplicas": 1,
        "maxReplicas": 5,
        "currentReplicas": 3,
        "readyReplicas": 2,
        "load": 0.412,
        "peak": 0.63,
        "forecastPeak": 0.63,
        "level": 0.98,
        "forecastSource": "model",
        "leadTime": {"p50Seconds": 12.3, "p90Seconds": 41, "count": 7, "stages": {"scheduledSeconds": 0.4}},
        "reason": "DesiredWithinRange",
        "reasons": ["ScaleUpLimit"],
        "lastChange": {"at": "2026-01-05T11:57:00Z", "from": 2, "to": 4, "reason": "DesiredWithinRange"},
        "notes": ["maxReplicas was assumed."],
        "memory": {
            "trajectory": {
                "origin": "2026-01-05T11:58:00Z",
                "stepSeconds": 60,
                "level": 0.98,
                "source": "model",
                "modelVersion": "0.1.0",
                "peaks": [0.5 + 0.02 * step for step in range(30)],
                "offsets": [0.01 * step for step in range(30)],
            }
        },
    }
    return {name: value for name, value in (full | changes).items() if value is not None}


def condition(type_: str, status: str, reason: str, message: str = "") -> Json:
    """Build one condition."""
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-01-05T11:00:00Z",
    }


def run(command: Callable[..., None], cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    """Run one command against a cluster; without -n it is about namespace `shop`."""
    monkeypatch.setattr(session, "open_session", lambda namespace, *_: session.Session(cluster, namespace or NAMESPACE))
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
