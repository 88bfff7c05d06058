"""The most replicas that each workload had in the last week, as far as this process saw; it asks nobody."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final

from scaler.domain import TargetKey
from scaler.targets.workload import Workload

MEMORY: Final = timedelta(days=7)


@dataclass(slots=True)
class PeakReplicas:
    """One number for each workload and day."""

    _days: dict[date, dict[TargetKey, int]] = field(init=False, default_factory=dict)

    def see(self, workloads: Iterable[Workload], now: datetime) -> None:
        """Take in what runs now."""
        peaks = self._days.setdefault(now.date(), {})
        for workload in workloads:
            if workload.current_replicas > peaks.get(workload.key, 0):
                peaks[workload.key] = workload.current_replicas
        oldest = (now - MEMORY).date()
        self._days = {day: peaks for day, peaks in self._days.items() if day >= oldest}

    def of(self, key: TargetKey) -> int | None:
        """Give the most replicas seen; None for a workload that had none."""
        return max((peaks[key] for peaks in self._days.values() if key in peaks), default=None)
