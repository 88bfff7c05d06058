from __future__ import annotations

import json
import re
import statistics

import pytest

from bench.cold_start import PERIOD_SECONDS
from tests.manifests.rendering import ROOT

PAGE = (ROOT / "docs" / "images.md").read_text(encoding="utf-8")
CYCLES: list[dict[str, float]] = json.loads((ROOT / "docs" / "bench-cold-start.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("row", "name"),
    [
        pytest.param("answered", "answered", id="answered"),
        pytest.param("pod Ready, as the API says", "pod_ready", id="ready"),
        pytest.param("replicas set to 0 again", "asked_to_sleep", id="asleep"),
        pytest.param("pod gone", "pod_gone", id="gone"),
    ],
)
def test_the_pages_cold_start_is_the_recorded_run(row: str, name: str) -> None:
    values = [cycle[name] for cycle in CYCLES]
    numbers = (statistics.median(values), min(values), max(values))
    assert f"| {row} | {' | '.join(f'{number:.1f} s' for number in numbers)} |" in PAGE


def test_the_pages_share_of_time_awake_is_that_of_the_recorded_run() -> None:
    awake, there = (
        statistics.fmean(c[name] for c in CYCLES) / PERIOD_SECONDS for name in ("asked_to_sleep", "pod_gone")
    )
    found = re.search(r"awake (\S+) % of the time.*? it is there\s+(\S+) % of the time", PAGE, flags=re.DOTALL)
    assert found is not None
    assert found.groups() == (f"{awake:.1%}"[:-1], f"{there:.1%}"[:-1])
