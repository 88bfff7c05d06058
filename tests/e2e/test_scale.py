"""A thousand workloads with five thousand pods on fake nodes: what one cycle of the scaler costs."""

from __future__ import annotations

import pytest

from bench.cluster_scale import failures, run, table
from bench.fake_workloads import FAKE_NODES
from tests.e2e.processes import alone_on
from tests.e2e.tools import AuditLog, Kubectl, Report
from tests.prometheus_binary import NoPrometheus, prometheus_folder

CYCLES = 8  # the benchmark takes a whole forecast period; what is asserted here shows in two minutes


def test_a_thousand_workloads_cost_little_and_at_most_four_times_a_quarter_of_them(
    kubectl: Kubectl, audit: AuditLog, report: Report
) -> None:
    nodes = len(kubectl.items("nodes", selector="type=kwok"))
    if nodes < FAKE_NODES:
        pytest.skip(f"{nodes} nodes are labelled type=kwok; {FAKE_NODES} fake nodes of 1,000 pods are needed")
    try:
        prometheus_folder()
    except NoPrometheus as error:
        pytest.skip(str(error))
    with alone_on(kubectl):
        measured = run((250, 1000), CYCLES, audit_log=audit.path, prefix="e2e-scale")
    for line in table(measured).splitlines():
        report.add(line)
    assert failures(measured) == []
