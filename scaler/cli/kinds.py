"""Which object `KIND/NAME` means on the command line, and which PredictiveScaler is its; it changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from scaler.cli.session import BadInput, NotInstalled
from scaler.kube.api import KubeApi, NotFound, json_map
from scaler.kube.objects import ObjectRef, PredictiveScalerObject, predictive_scaler_object
from scaler.kube.resources import (
    DEPLOYMENTS,
    HPAS,
    INFERENCE_SERVICES,
    PREDICTIVE_SCALERS,
    SCALED_OBJECTS,
    STATEFUL_SETS,
    Resource,
)

SHORT_NAMES: Final = {
    "deploy": DEPLOYMENTS,
    "sts": STATEFUL_SETS,
    "isvc": INFERENCE_SERVICES,
    "hpa": HPAS,
    "so": SCALED_OBJECTS,
    "psc": PREDICTIVE_SCALERS,
}
WORKLOAD_HELP: Final = "KIND/NAME; kinds: deploy, sts, isvc, hpa, so, psc, their full names, or PLURAL.GROUP."


def parse(api: KubeApi, text: str) -> tuple[Resource, str]:
    """Read `KIND/NAME`, kinds as kubectl knows them; asks the API server about kinds that are not known here.

    Raises:
        BadInput: It is not of that form, or there is no such kind.
        KubeError: The API server could not be asked.
    """
    kind, slash, name = text.partition("/")
    if not slash or not kind or not name or "/" in name:
        raise BadInput(f"{text!r} names no workload; accepted is KIND/NAME, e.g. deploy/web or isvc/llm")
    resource = _known(kind.lower()) or _foreign(api, kind.lower())
    if resource is None:
        kinds = ", ".join(f"{short} ({known.kind})" for short, known in SHORT_NAMES.items())
        raise BadInput(f"{kind!r} is no kind that can be scaled; accepted are {kinds}, or PLURAL.GROUP of another")
    return resource, name


def reference(resource: Resource, namespace: str, name: str) -> ObjectRef:
    """Give the reference to one object of a kind."""
    return ObjectRef(resource.api_version, resource.kind, namespace, name)


def list_scalers(api: KubeApi, namespace: str | None) -> tuple[PredictiveScalerObject, ...]:
    """Read all PredictiveScalers of a namespace, or of all.

    Raises:
        NotInstalled: The cluster does not know the kind.
        KubeError: They could not be read.
    """
    try:
        listing = api.list(PREDICTIVE_SCALERS, namespace)
    except NotFound as exc:
        raise NotInstalled(
            "AI-HPA is not installed in this cluster: it knows no PredictiveScaler; install it with "
            "`kubectl apply -k deploy/kustomize` or the Helm chart, then run `ai-hpa check`"
        ) from exc
    return tuple(predictive_scaler_object(item) for item in listing.items)


def scalers_of(
    scalers: Iterable[PredictiveScalerObject], resource: Resource, name: str
) -> tuple[PredictiveScalerObject, ...]:
    """Pick the PredictiveScalers of one workload, or the one that is itself named, oldest first."""
    if resource is PREDICTIVE_SCALERS:
        return tuple(s for s in scalers if s.meta.name == name)
    found = [
        s for s in scalers if (s.target.group, s.target.kind, s.target.name) == (resource.group, resource.kind, name)
    ]
    return tuple(sorted(found, key=lambda s: (s.meta.created is None, s.meta.created, s.meta.name)))


def known(target: ObjectRef) -> Resource | None:
    """Give the kind of an object, where it is one of those with a short name."""
    kinds = ((resource.group, resource.kind) for resource in SHORT_NAMES.values())
    return dict(zip(kinds, SHORT_NAMES.values(), strict=True)).get((target.group, target.kind))


def short_name(target: ObjectRef) -> str:
    """Name a workload as it is typed: `deploy/web`."""
    for short, resource in SHORT_NAMES.items():
        if (resource.group, resource.kind) == (target.group, target.kind):
            return f"{short}/{target.name}"
    return f"{target.kind.lower()}.{target.group}/{target.name}"


def find(api: KubeApi, namespace: str, text: str) -> PredictiveScalerObject:
    """Find the PredictiveScaler of `KIND/NAME`; of several the oldest, which is the one that counts.

    Raises:
        BadInput: There is none; the message says what there is, and how to opt the workload in.
        NotInstalled: The cluster does not know the kind.
        KubeError: It could not be read.
    """
    resource, name = parse(api, text)
    scalers = list_scalers(api, namespace)
    found = scalers_of(scalers, resource, name)
    if found:
        return found[0]
    if resource is PREDICTIVE_SCALERS:
        raise BadInput(f"there is no PredictiveScaler {name} in namespace {namespace}; see `ai-hpa status`")
    check_stands(api, resource, namespace, name)
    typed = short_name(reference(resource, namespace, name))
    here = ", ".join(sorted(short_name(s.target) for s in scalers)[:8])
    raise BadInput(
        f"{resource.kind} {name} is not under AI-HPA, or the scaler has not seen it yet; opt it in with "
        f"`ai-hpa shadow {typed} -n {namespace}`" + (f"; under AI-HPA here are {here}" if here else "")
    )


def check_stands(api: KubeApi, resource: Resource, namespace: str, name: str) -> dict[str, Any]:
    """Read the workload itself.

    Raises:
        BadInput: There is no such object.
        KubeError: It could not be read.
    """
    try:
        return api.get(resource, namespace, name)
    except NotFound as exc:
        raise BadInput(f"there is no {resource.kind} {name} in namespace {namespace}; name another with -n") from exc


def _known(kind: str) -> Resource | None:
    for short, resource in SHORT_NAMES.items():
        names = {short, resource.kind.lower(), resource.plural}
        if kind in names or kind in {f"{name}.{resource.group}" for name in names}:
            return resource
    return None


def _foreign(api: KubeApi, kind: str) -> Resource | None:
    """Ask the API server for `PLURAL.GROUP`, in the version that it prefers."""
    name, dot, group = kind.partition(".")
    if not dot:
        return None
    try:
        preferred = json_map(api.get_path(f"/apis/{group}").get("preferredVersion"))
        version = str(preferred.get("version") or "")
        listed = api.get_path(f"/apis/{group}/{version}").get("resources")
    except NotFound:
        return None
    for entry in listed if isinstance(listed, list) else ():
        names = {entry.get("name"), entry.get("singularName"), *(entry.get("shortNames") or ())}
        if name in names and "/" not in str(entry.get("name")):
            return Resource(group, version, str(entry["name"]), str(entry.get("kind")))
    return None
