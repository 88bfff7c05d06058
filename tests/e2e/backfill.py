"""Past CPU of pods that are gone, written into the cluster's Prometheus; it never touches what was measured.

The pods never were. Their names are those that a Deployment, or the Deployment of a Knative Revision, gives its pods.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import httpx
import pytest

from scaler.history import CONTEXT_LENGTH, PREDICTION_LENGTH
from tests.e2e.tools import environment, eventually
from tests.prometheus_binary import NoPrometheus, prometheus_folder

SCRAPE_SECONDS: Final = 5  # of a usual cluster test; where the real one scrapes less often, these are as good
STEP: Final = timedelta(seconds=60)
DAY: Final = timedelta(days=1)
# Prometheus looks for new blocks once a minute.
SEEN_WITHIN_SECONDS: Final = 150.0

_CPU: Final = "container_cpu_usage_seconds_total"
_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"  # of generated names
_HASH_LETTERS: Final = "bcdf456789"  # of the hash of a pod template


@dataclass(frozen=True, slots=True)
class Past:
    """Load of one workload over a stretch of time, by a pod that ended with it.

    Attributes:
        workload: Name of the Deployment; of a Knative Revision `REVISION-deployment`.
        cores: Mean load of each step, oldest first.
        end: Of the last step.
    """

    namespace: str
    workload: str
    container: str
    cores: Sequence[float]
    end: datetime
    step: timedelta = STEP
    pod: str = field(init=False)

    def __post_init__(self) -> None:
        """Name the pod."""
        template, own = _name(_HASH_LETTERS, 9), _name(_LETTERS, 5)
        object.__setattr__(self, "pod", f"{self.workload}-{template}-{own}")

    @property
    def start(self) -> datetime:
        return self.end - len(self.cores) * self.step

    def samples(self) -> Iterator[tuple[float, float]]:
        """Time and CPU seconds used until then, every few seconds."""
        per_step, used = self.step // timedelta(seconds=SCRAPE_SECONDS), 0.0
        at = self.start.timestamp()
        yield at, used
        for load in self.cores:
            for _ in range(per_step):
                at, used = at + SCRAPE_SECONDS, used + load * SCRAPE_SECONDS
                yield at, used

    def lines(self) -> Iterator[str]:
        labels = f'namespace="{self.namespace}",pod="{self.pod}",container="{self.container}",job="backfill"'
        for at, used in self.samples():
            yield f"{_CPU}{{{labels}}} {used:.6f} {at:.3f}"


class Backfill:
    """The data of one Prometheus, as a folder of this machine and as a server."""

    def __init__(self) -> None:
        """Find the folder and `promtool`.

        A test that needs them is skipped where nobody said where the folder is, and fails where it was said wrongly.
        """
        home = Path(os.environ.get("LAB_HOME") or Path.home() / ".cache" / "lab")
        named = os.environ.get("AI_HPA_E2E_PROMETHEUS_DATA")
        self._data = Path(named) if named else home / "prometheus"
        if not (self._data / "wal").is_dir():
            problem = f"{self._data} is no data folder of a Prometheus: AI_HPA_E2E_PROMETHEUS_DATA says where it is"
            if named:
                pytest.fail(problem)
            pytest.skip(problem)
        try:
            self._promtool = prometheus_folder() / "promtool"
        except NoPrometheus as exc:
            pytest.fail(f"history is written with promtool: {exc}")
        self._url = environment("AI_HPA_E2E_PROMETHEUS_FROM_HERE", "http://127.0.0.1:9090")

    def write(self, pasts: Sequence[Past]) -> None:
        """Write them, and wait until the server has them."""
        with tempfile.TemporaryDirectory() as folder:
            text = Path(folder) / "past.om"
            with text.open("w") as file:
                file.write(f"# TYPE {_CPU.removesuffix('_total')} counter\n")
                file.writelines(f"{line}\n" for past in pasts for line in past.lines())
                file.write("# EOF\n")
            command: list[str | Path] = [self._promtool, "tsdb", "create-blocks-from", "openmetrics", text, self._data]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        for past in pasts:
            eventually(
                lambda past=past: self._has(past),  # type: ignore[misc]
                within=SEEN_WITHIN_SECONDS,
                what=f"Prometheus shows the past of {past.pod}; is {self._data} the folder of {self._url}?",
            )

    def _has(self, past: Past) -> bool:
        # At its end: the last of the blocks that it lies in.
        query = f'{_CPU}{{namespace="{past.namespace}",pod="{past.pod}"}}'
        params = {"query": query, "time": f"{past.end.timestamp():.0f}"}
        answer = httpx.get(f"{self._url}/api/v1/query", params=params, timeout=10, trust_env=False)
        return bool(answer.json()["data"]["result"])


def _name(letters: str, length: int) -> str:
    return "".join(secrets.choice(letters) for _ in range(length))


def context_start(at: datetime) -> datetime:
    """Time from which the load counts for a forecast at this time."""
    return at - CONTEXT_LENGTH * STEP


def day_before(until: datetime, first: datetime) -> tuple[datetime, datetime]:
    """Stretch of the day before that forecasts made from `first` to `until` look at."""
    return context_start(first) - DAY, until + PREDICTION_LENGTH * STEP - DAY


def run_id() -> str:
    """Tell the namespaces of one run from those of the runs before, whose past is still there."""
    return environment("AI_HPA_E2E_RUN", secrets.token_hex(2))
