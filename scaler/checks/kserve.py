"""Whether KServe is set up so that our annotations make no revisions; pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from scaler.checks.finding import Finding, config_map_patch, ok, warning
from scaler.kube.facts import DISALLOWED, KSERVE_MAP, SERVICE_ENTRY

# KServe's constants.ServiceAnnotationDisallowedList. Read in 0.17: what the ConfigMap lists is added to these. Written
# out all the same, so that the list also holds on a version where it would replace them.
ALWAYS_DISALLOWED: Final = (
    "autoscaling.knative.dev/min-scale",
    "autoscaling.knative.dev/max-scale",
    "internal.serving.kserve.io/storage-initializer-sourceuri",
    "kubectl.kubernetes.io/last-applied-configuration",
    "modelFormat",
)
OLDEST_READ: Final = (0, 15)  # class `keda`, and the deployment modes' names of today


@dataclass(frozen=True, slots=True)
class KServeFacts:
    """KServe as it is installed.

    Attributes:
        namespace: Of its controller and its ConfigMap.
        image: Of its controller; the tag says the version where it is one.
        default_mode: `Knative` or `Standard`; None where its ConfigMap does not say.
        service_config: The ConfigMap's entry `inferenceService`; empty where it has none.
    """

    namespace: str
    image: str
    default_mode: str | None
    service_config: str


def check_kserve(facts: KServeFacts | None) -> tuple[Finding, ...]:
    """Say which KServe this is."""
    if facts is None:
        return (ok("KServe", "not installed; Deployments, StatefulSets, HPAs and ScaledObjects work without it"),)
    version = image_version(facts.image)
    told = "of unknown version" if version is None else ".".join(map(str, version))
    mode = facts.default_mode or "Knative or Standard, as each service says"
    if version is not None and version < OLDEST_READ:
        oldest = ".".join(map(str, OLDEST_READ))
        return (
            warning("KServe", f"{told} is older than {oldest}, the oldest that AI-HPA was written for: upgrade it"),
        )
    return (ok("KServe", f"{told}, services are deployed in mode {mode}"),)


def check_annotation_list(facts: KServeFacts | None, ours: Collection[str]) -> tuple[Finding, ...]:
    """See that KServe keeps each of our annotation keys out of the pods: else a change of one starts new pods."""
    check = "KServe annotation list"
    if facts is None:
        return ()
    try:
        config = json.loads(facts.service_config or "{}")
        present = [str(key) for key in config.get(DISALLOWED) or ()]
    except (ValueError, AttributeError, TypeError):
        where = f"entry {SERVICE_ENTRY} of ConfigMap {facts.namespace}/{KSERVE_MAP}"
        edit = f"kubectl edit configmap {KSERVE_MAP} --namespace {facts.namespace}"
        return (warning(check, f"{where} is no JSON object that KServe could read; put {DISALLOWED} in it", edit),)
    missing = [key for key in ours if key not in present]
    if not missing:
        return (ok(check, f"holds all {len(ours)} ai-hpa.dev annotations, so changing one makes no revision"),)
    wanted = list(dict.fromkeys([*ALWAYS_DISALLOWED, *present, *sorted(ours)]))
    mend = config_map_patch(facts.namespace, KSERVE_MAP, {SERVICE_ENTRY: json.dumps({**config, DISALLOWED: wanted})})
    message = (
        f"lacks {len(missing)} of our {len(ours)} keys ({', '.join(sorted(missing)[:3])}"
        f"{', ...' if len(missing) > 3 else ''}): setting such an annotation on an InferenceService makes a new "
        "revision or a rollout; `ai-hpa enable` does not. A service that carries one already gets one more revision by "
        "the command below"
    )
    return (warning(check, message, mend),)


def image_version(image: str) -> tuple[int, ...] | None:
    """Read the version in an image's tag; None where the tag is none."""
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", tag)
    return tuple(int(part) for part in found.groups() if part is not None) if found else None
