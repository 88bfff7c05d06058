"""A user's own load as it comes: what of it can be used, and by name what cannot."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from predictor_model.holdout import History, split_history
from predictor_model.traces import Skipped, TraceError, dataset_name, read_usable_traces, trace_files
from predictor_model.training_data import OWN


@dataclass(frozen=True, slots=True)
class UserLoad:
    """All series of some files, as one data set."""

    files: tuple[Path, ...]
    histories: tuple[History, ...]
    skipped: tuple[Skipped, ...]

    def digest(self) -> str:
        """Tell one state of the files from another."""
        return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in self.files)).hexdigest()

    def newest(self) -> datetime | None:
        """Time of the newest sample; None where there is no clock."""
        traces = [history.trace for history in self.histories if history.trace.has_clock]
        ends = [trace.start + len(trace.values) * trace.step_seconds for trace in traces]
        return datetime.fromtimestamp(max(ends), UTC) if ends else None


def read_load(paths: Sequence[Path]) -> UserLoad:
    """Read the files and cut every series in time.

    Raises:
        TraceError: A file cannot be read, two have one name, or no series can be used.
    """
    files = trace_files(paths)
    names = [dataset_name(path) for path in files]
    if len(set(names)) < len(names):
        raise TraceError(f"the files must have different names, got {', '.join(names)}")
    read = [read_usable_traces(path) for path in files]
    split = split_history([trace for traces, _ in read for trace in traces])
    skipped = (*(series for _, unread in read for series in unread), *split.skipped)
    if not split.histories:
        reasons = "; ".join(f"{series.series} {series.why}" for series in skipped[:3])
        raise TraceError(f"none of {len(skipped)} series can be used: {reasons}")
    histories = tuple(_as_own(history, alone=len(files) == 1) for history in split.histories)
    return UserLoad(files, histories, skipped)


def _as_own(history: History, *, alone: bool) -> History:
    trace = history.trace
    name = trace.name if alone else f"{trace.dataset}/{trace.name}"
    return replace(history, trace=replace(trace, dataset=OWN, name=name))
