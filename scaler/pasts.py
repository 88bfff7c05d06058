"""What workloads did up to now, as a forecast is asked for with it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from scaler import history
from scaler.domain import FloatArray, ForecastRequest, MetricsUnavailable, Target, TargetKey

logger = logging.getLogger(__name__)


class PastSource(Protocol):
    """Where past load is seen."""

    def load_between(
        self, targets: Sequence[Target], *, start: datetime, end: datetime, step: timedelta, now: datetime
    ) -> Mapping[TargetKey, FloatArray]:
        """Load at start + step, start + 2 * step, ..., end; each the mean over the step that ends there.

        Returns:
            Per target an array of shape ((end - start) / step,), NaN where missing, and never anything that was not
            yet known at `now`.

        Raises:
            MetricsUnavailable: Nothing could be seen at all.
        """


def requests(
    source: PastSource, targets: Sequence[Target], step: timedelta, now: datetime
) -> Iterator[ForecastRequest]:
    """Fetch the context and its seasons in three calls for all targets of one step.

    Args:
        source: Is asked; where it is away, nothing is known.
        targets: Those without a past are left out.
        step: Spacing of the samples.
        now: Time of the tick.
    """
    window = history.context_window(now, step)
    loads = _load_between(source, targets, window, step, now)
    seasons = [
        _load_between(source, targets, history.seasonal_window(window, season, step), step, now)
        for season in history.SEASONS
    ]
    unknown = np.full(history.CONTEXT_LENGTH + history.PREDICTION_LENGTH, np.nan)
    # Lanes of a simulation are many of one workload, and their past is one.
    known: dict[tuple[int, ...], ForecastRequest | None] = {}
    for target in targets:
        if target.key not in loads:
            continue
        past = [loads[target.key], *(season.get(target.key, unknown) for season in seasons)]
        same = tuple([id(part) for part in past])
        if same not in known:
            seasonal = np.stack(past[1:])
            known[same] = history.forecast_request(target.key, past[0], seasonal, end=window.end, step=step)
        request = known[same]
        if request is not None:
            yield request if request.key == target.key else replace(request, key=target.key)


def _load_between(
    source: PastSource, targets: Sequence[Target], window: history.Window, step: timedelta, now: datetime
) -> Mapping[TargetKey, FloatArray]:
    try:
        return source.load_between(targets, start=window.start, end=window.end, step=step, now=now)
    except MetricsUnavailable as error:
        logger.warning("history_unavailable", extra={"error": str(error)})
        return {}
