"""Small workloads of every kind, whose server burns the CPU that each request asks for."""

from __future__ import annotations

from typing import Any

from scaler.kube.api import Json

ECHO = "dev.local/echo:lab"
PORT = 8080


def container(image: str = ECHO, *, cpu: str = "15m", limit: str = "500m", slow_start: int = 0) -> Json:
    """The echo server; with `slow_start` it answers its readiness probe only after so many seconds."""
    return {
        "name": "web",
        "image": image,
        "ports": [{"containerPort": PORT}],
        "resources": {
            "requests": {"cpu": cpu, "memory": "16Mi"},
            "limits": {"cpu": limit, "memory": "128Mi"},
        },
        "readinessProbe": {
            "tcpSocket": {"port": PORT},
            "periodSeconds": 1,
            "initialDelaySeconds": slow_start,
        },
    }


def template(name: str, spec: Json) -> Json:
    """Pods of one container, which end at once."""
    return {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [spec], "terminationGracePeriodSeconds": 1, "enableServiceLinks": False},
    }


def service(name: str) -> Json:
    """A Service in front of the pods of one workload."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": PORT}]},
    }


def deployment(name: str, spec: Json, *, annotations: dict[str, str] | None = None, replicas: int = 1) -> Json:
    """A Deployment of one container."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": template(name, spec),
        },
    }


def stateful_set(name: str, spec: Json, *, annotations: dict[str, str]) -> Json:
    """A StatefulSet of one container."""
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "replicas": 1,
            "serviceName": name,
            "selector": {"matchLabels": {"app": name}},
            "template": template(name, spec),
        },
    }


def hpa(
    name: str, *, target: str, maximum: int = 8, utilization: int = 80, annotations: dict[str, str] | None = None
) -> Json:
    """An HPA on CPU over a Deployment, with the default behaviour."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "minReplicas": 1,
            "maxReplicas": maximum,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": utilization}},
                }
            ],
        },
    }


def scaled_object(name: str, *, target: str, annotations: dict[str, str]) -> Json:
    """A ScaledObject whose CPU trigger never holds."""
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "scaleTargetRef": {"name": target},
            "minReplicaCount": 1,
            "maxReplicaCount": 8,
            "triggers": [{"type": "cpu", "metricType": "Utilization", "metadata": {"value": "400"}}],
        },
    }


def inference_service(
    name: str,
    *,
    annotations: dict[str, str] | None = None,
    minimum: int = 1,
    maximum: int = 8,
    cpu: str = "15m",
    slow_start: int = 0,
    **predictor: Any,
) -> Json:
    """An InferenceService whose predictor is the echo server."""
    spec = {
        **container(cpu=cpu, slow_start=slow_start),
        "name": "kserve-container",
        "ports": [{"containerPort": PORT, "protocol": "TCP"}],
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {
            "predictor": {"minReplicas": minimum, "maxReplicas": maximum, "containers": [spec], **predictor},
        },
    }


def knative_service(name: str, spec: Json, *, annotations: dict[str, str], concurrency: int = 0) -> Json:
    """A Knative Service whose pods take `concurrency` requests at once at the most; 0 is any number.

    The annotations stand on its Revisions, as those of its autoscaler must.
    """
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "template": {
                "metadata": {"annotations": annotations},
                "spec": {"containerConcurrency": concurrency, "containers": [spec]},
            }
        },
    }


def standard(autoscaler_class: str, **more: str) -> dict[str, str]:
    """Annotations of an InferenceService in Standard mode."""
    return {
        "serving.kserve.io/deploymentMode": "Standard",
        "serving.kserve.io/autoscalerClass": autoscaler_class,
        **more,
    }


def opt_in(**settings: str) -> dict[str, str]:
    """`ai-hpa.dev/` annotations: `opt_in(mode="on", target="20m")`."""
    return {f"ai-hpa.dev/{name.replace('_', '-')}": value for name, value in settings.items()}


def predictive_scaler(name: str, *, reference: tuple[str, str, str], **spec: Any) -> Json:
    """A PredictiveScaler of one target."""
    api_version, kind, target_name = reference
    return {
        "apiVersion": "ai-hpa.dev/v1alpha1",
        "kind": "PredictiveScaler",
        "metadata": {"name": name},
        "spec": {"targetRef": {"apiVersion": api_version, "kind": kind, "name": target_name}, **spec},
    }
