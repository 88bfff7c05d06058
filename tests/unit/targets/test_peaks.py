"""The most replicas of a week."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from scaler.targets.peaks import PeakReplicas
from tests.unit.targets.fake_api import FakeApi
from tests.unit.targets.fake_workloads import Cluster, put_deployment, scale_field

T0 = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def test_the_most_of_the_last_seven_days_counts() -> None:
    api = FakeApi()
    put_deployment(api)
    cluster = Cluster(api)
    key = cluster.add(scale_field())
    web = cluster.workload(key)
    assert web is not None
    peaks = PeakReplicas()
    assert peaks.of(key) is None
    for day, replicas in ((0, 9), (1, 4), (7, 2)):
        peaks.see([replace(web, current_replicas=replicas)], T0 + timedelta(days=day))
    assert peaks.of(key) == 9
    peaks.see([replace(web, current_replicas=1)], T0 + timedelta(days=8))
    assert peaks.of(key) == 4
