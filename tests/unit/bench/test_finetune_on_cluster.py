"""What the benchmark applies is what ships, and the load that it makes up is the load it was given."""

from __future__ import annotations

import io

import numpy as np
import pytest

from bench.finetune_on_cluster import DAYS, NAMESPACE, SCRAPE_SECONDS, Past, manifest, past_of
from predictor_model.traces import Trace
from tests.manifests.rendering import SERVICES

NOW = 1_767_571_200.0
IMAGES = {"train": "mine/train:1", "model": "mine/model:1"}


def past(number: int) -> Past:
    values = np.arange(DAYS * 1440, dtype=np.float32) % 7
    return past_of(number, Trace("d", "s", 0, 60, values), NOW)


def used_by_pod(written: Past) -> dict[str, tuple[float, float]]:
    """First and last core-seconds of each pod."""
    file = io.StringIO()
    written.write(file, 0.0, NOW + 1)
    found: dict[str, tuple[float, float]] = {}
    for line in file.getvalue().splitlines():
        pod, used = line.split('pod="')[1].split('"')[0], float(line.split()[1])
        found[pod] = (found.get(pod, (used, used))[0], used)
    return found


@pytest.mark.parametrize("name", ["finetune-cronjob.yaml", "forecaster-finetuned.yaml"])
def test_of_a_shipped_manifest_only_the_images_and_the_address_of_prometheus_change(name: str) -> None:
    before = (SERVICES / name).read_text(encoding="utf-8").splitlines()
    after = manifest(name, IMAGES).splitlines()
    changed = [new.strip() for old, new in zip(before, after, strict=True) if old != new]
    assert (
        changed
        == {
            "finetune-cronjob.yaml": ["image: mine/train:1", f"- --prometheus=http://prometheus.{NAMESPACE}:9090"],
            "forecaster-finetuned.yaml": ["image: mine/model:1"],
        }[name]
    )


def test_a_workloads_pods_use_its_load_one_after_the_other_each_from_zero() -> None:
    used = used_by_pod(past(1))
    assert len(used) == 4
    assert {first for first, _ in used.values()} == {0.0}
    whole = 60.0 * float(np.sum(np.arange(DAYS * 1440) % 7))
    between = 3 * SCRAPE_SECONDS * 6.0  # what was used while one pod took over from the one before
    assert whole - between <= sum(last for _, last in used.values()) <= whole


def test_every_third_workload_is_a_knative_service_with_a_revision_for_each_rollout() -> None:
    assert past(1).pods[0].startswith("w001-5d8f7b9c6d-")
    assert [pod.rsplit("-", 2)[0] for pod in past(3).pods] == [
        f"w003-predictor-{revision:05}-deployment" for revision in range(1, 5)
    ]


def test_the_past_is_written_in_parts_without_a_gap_or_a_repetition() -> None:
    whole, parts = io.StringIO(), io.StringIO()
    written = past(1)
    written.write(whole, 0.0, NOW + 1)
    middle = NOW - 5 * 86_400 + 7
    for begin, end in ((0.0, middle), (middle, NOW + 1)):
        written.write(parts, begin, end)
    assert sorted(parts.getvalue().splitlines()) == sorted(whole.getvalue().splitlines())
