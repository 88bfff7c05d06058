"""Load that stays away: when it falls far below what its seasons had, pods are held for its return, for a while.

When whoever sends the load breaks down, load falls to nothing for minutes or hours and then comes back at once, often
higher than before. Every forecast from the newest load follows it down, and so does every reactive autoscaler; Netflix
named this as a reason to scale by prediction (Scryer, 2013,
https://netflixtechblog.com/scryer-netflixs-predictive-auto-scaling-engine-a3f8fc922270).

Absent is a load below a share of what its seasons say: of the lower of yesterday's and last week's at the same time, at
the level that the load had against it just before it left. A day with half of yesterday's load is an ordinary day, and
no absence. All of it is read from the past that came with one request, so that nothing has to be remembered.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

import numpy as np

from scaler.baselines import level_ratio
from scaler.bounded import Bounded, check_bounds
from scaler.domain import FloatArray, ForecastRequest
from scaler.history import PREDICTION_LENGTH


@dataclass(frozen=True, slots=True)
class AbsenceConfig:
    """When load counts as absent, and how long its pods are held."""

    absence_ratio: Annotated[
        float,
        Bounded(
            0.0,
            1.0,
            "Load below this share of what yesterday and last week at the same time say is absent, and pods are held "
            "for its return. 0 holds none. Half of a season is an ordinary day; the training traces are below a "
            "quarter 0.7 % of the time.",
        ),
    ] = 0.25
    absence_hold: Annotated[
        timedelta,
        Bounded(
            timedelta(0),
            timedelta(hours=24),
            "Pods are held for load that is absent for at most this long; after that it is taken to be gone. In the "
            "training traces 99 of 100 such drops of ten minutes or more are over in 2.1 hours.",
        ),
    ] = timedelta(hours=3)

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_bounds(self)


def returning(request: ForecastRequest, config: AbsenceConfig) -> FloatArray | None:
    """Give the highest load within the first h steps that there would be if absent load came back at once.

    A gap is no load that is absent: only what was measured counts.

    Args:
        request: The past; its newest sample says whether load is absent.
        config: When it is.

    Returns:
        Unit of the load, non-decreasing. Shape (H,). None where no load is absent, where it has been for too long, and
        where the past does not reach back to before it left.
    """
    load = request.load
    # What is known of only one of the two counts alone.
    season = np.fmin(*request.seasonal_load)
    then, ahead = season[: len(load)], season[len(load) :]
    if not load[-1] < config.absence_ratio * then[-1]:
        return None
    (present,) = np.nonzero(load >= config.absence_ratio * then)
    if not present.size:
        return None
    left = int(present[-1]) + 1
    if (len(load) - left) * request.step > config.absence_hold:
        return None
    before = slice(max(0, left - PREDICTION_LENGTH), left)
    paired = np.isfinite(load[before]) & np.isfinite(then[before])
    level = float(level_ratio(load[before][paired].sum(), then[before][paired].sum()))
    if not load[-1] < config.absence_ratio * level * then[-1]:
        return None
    highest: FloatArray = np.maximum.accumulate(level * np.where(np.isfinite(ahead), ahead, 0.0))
    return highest
