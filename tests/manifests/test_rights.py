from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

import pytest

from scaler.checks.access import OWN_NAMESPACE, PERMISSIONS
from tests.manifests.rendering import KUSTOMIZE, Json, Manifest, read, written

ROLES = [manifest for manifest in written() if manifest.kind in {"Role", "ClusterRole"}]
AGGREGATE = {"ai-hpa.dev/aggregate-to-scaler": "true"}


def granted(rules: Iterable[Json]) -> Iterator[tuple[str, str]]:
    """Each verb and noun that rules allow; the noun as `Permission.noun` has it, with the object's name if only one."""
    for rule in rules:
        for group, resource in product(rule["apiGroups"], rule["resources"]):
            plural, slash, subresource = resource.partition("/")
            noun = (f"{plural}.{group}" if group else plural) + slash + subresource
            names = [f" {name}" for name in rule.get("resourceNames", ())] or [""]
            yield from ((verb, noun + name) for verb, name in product(rule["verbs"], names))


def asked(*, own_namespace: bool) -> set[tuple[str, str]]:
    return {(p.verb, p.noun) for p in PERMISSIONS if (p.namespace == OWN_NAMESPACE) is own_namespace}


def rules_of(path: str, name: str) -> list[Json]:
    manifests = read(KUSTOMIZE / "base" / path)
    (rules,) = [m.body["rules"] for m in manifests if m.name == name and m.kind in {"Role", "ClusterRole"}]
    found: list[Json] = rules
    return found


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_no_role_has_a_wildcard_or_reads_secrets(role: Manifest) -> None:
    for rule in role.body.get("rules", ()):
        named = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert not any("*" in name for name in named)
        assert not named & {"secrets", "delete", "deletecollection", "escalate", "bind", "impersonate", "pods/exec"}


def test_the_scaler_may_do_what_its_code_asks_for_and_nothing_else() -> None:
    assert set(granted(rules_of("cluster_role.yaml", "ai-hpa-scaler-core"))) == asked(own_namespace=False)


def test_its_lease_is_all_that_the_scaler_may_touch_in_its_own_namespace() -> None:
    assert set(granted(rules_of("lease_role.yaml", "ai-hpa-scaler-lease"))) == asked(own_namespace=True)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_config_maps_are_read_by_name_alone(role: Manifest) -> None:
    for rule in role.body.get("rules", ()):
        assert "configmaps" not in rule["resources"] or (rule["resourceNames"] and rule["verbs"] == ["get"])


def test_another_kind_joins_by_the_label_that_the_scalers_role_collects() -> None:
    by_name = {role.name: role.body for role in ROLES if role.kind == "ClusterRole"}
    assert by_name["ai-hpa-scaler"]["aggregationRule"]["clusterRoleSelectors"] == [{"matchLabels": AGGREGATE}]
    for name in ("ai-hpa-scaler-core", "ai-hpa-scaler-argo-rollouts"):
        assert by_name[name]["metadata"]["labels"].items() >= AGGREGATE.items()


# Stating any is a conflict with the cluster's own controller, which owns the field from the first application on.
def test_the_collected_rules_are_left_to_the_cluster() -> None:
    (collector,) = [role.body for role in ROLES if "aggregationRule" in role.body]
    assert "rules" not in collector
