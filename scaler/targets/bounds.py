"""Between which numbers a workload's floor may move; a floor of our own is never taken for a user's."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from scaler.domain import TargetKey
from scaler.targets.annotations import MAX_REPLICAS_SETTING, MIN_REPLICAS_SETTING, Settings
from scaler.targets.found import Found, Refused
from scaler.targets.workload import FloorField, Lever, LeverKind, RefusalReason

ASSUMED_MAXIMUM_AGE: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Hard limits of a floor, and what their user should know of them."""

    minimum: int
    maximum: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Assumed:
    at: datetime
    from_history: bool
    maximum: int


class AssumedMaximum:
    """A maximum for workloads that have none: a multiple of the most replicas that were seen.

    It stands for a day once it is taken. Made anew in each tick, it would follow the floor that it allows upwards
    without end.
    """

    def __init__(self, ratio: float | None, peak_replicas: Callable[[TargetKey], int | None]) -> None:
        """Take the multiple, None for no assumption, and who knows the most replicas of the last days."""
        self._ratio = ratio
        self._peak_replicas = peak_replicas
        self._assumed: dict[TargetKey, _Assumed] = {}

    def of(self, key: TargetKey, current_replicas: int, now: datetime) -> int | None:
        """Give the maximum of one workload; None where none may be assumed."""
        if self._ratio is None:
            return None
        standing = self._assumed.get(key)
        if standing is not None and now - standing.at >= ASSUMED_MAXIMUM_AGE:
            standing = None
        if standing is not None and standing.from_history:
            return standing.maximum
        peak = self._peak_replicas(key)
        if standing is not None and peak is None:
            return standing.maximum
        maximum = math.ceil(self._ratio * max(peak or 0, current_replicas, 1))
        self._assumed[key] = _Assumed(now, peak is not None, maximum)
        return maximum

    def keep_only(self, keys: Collection[TargetKey]) -> None:
        """Forget all workloads but these."""
        self._assumed = {key: assumed for key, assumed in self._assumed.items() if key in keys}


def own_value(field: FloorField, restore: Mapping[str, int | None]) -> int:
    """Give the floor that held in one field before ours: what was kept of it, else what stands there."""
    value = restore.get(field.id, field.value)
    return field.unset_means if value is None else value


def settle(
    settings: Settings,
    found: Found,
    restore: Mapping[str, int | None],
    assumed_maximum: Callable[[TargetKey, int], int | None],
) -> Bounds:
    """Settle the bounds of one workload's floor: its user's, else its own autoscaler's.

    Args:
        settings: What its user said.
        found: Its lever.
        restore: What stood before our floors, by `FloorField.id`.
        assumed_maximum: Given key and current replicas, a maximum where there is none; None refuses.

    Raises:
        Refused: There is no maximum, or the minimum lies above it.
    """
    own_minimum = max(own_value(field, restore) for field in _whole(found.lever))
    minimum, low_notes = _minimum(settings, found, own_minimum)
    maximum, high_notes = _maximum(settings, found, minimum, assumed_maximum)
    if minimum > maximum:
        raise Refused(RefusalReason.INVALID_SETTING, _contradiction(settings, found, minimum, maximum))
    return Bounds(minimum, maximum, (*low_notes, *high_notes))


def with_minima(lever: Lever, minimum: int, restore: Mapping[str, int | None]) -> Lever:
    """Keep a share of a floor from taking its object below its own minimum, as far as the user's bounds ask for it."""
    if all(field.share == 1.0 for field in lever.fields):
        return lever
    fields = tuple(
        replace(field, minimum=min(own_value(field, restore), minimum)) if field.share < 1.0 else field
        for field in lever.fields
    )
    return replace(lever, fields=fields)


def _whole(lever: Lever) -> tuple[FloorField, ...]:
    """Fields that carry the whole floor: a canary's own minimum is not the service's."""
    return tuple(field for field in lever.fields if field.share == 1.0) or lever.fields[:1]


def _minimum(settings: Settings, found: Found, own: int) -> tuple[int, tuple[str, ...]]:
    name = MIN_REPLICAS_SETTING.annotation
    if settings.min_replicas is None:
        if found.lever.kind is not LeverKind.SCALE:
            return own, ()
        return own, (f"No minimum is set; {own}, the replicas that AI-HPA found, are taken. {name} sets another.",)
    lowest = min(found.lowest, own)
    if settings.min_replicas >= lowest:
        return settings.min_replicas, ()
    return lowest, (f"{name} is {settings.min_replicas}, but {found.bounded_by} takes no less than {lowest}.",)


def _maximum(
    settings: Settings, found: Found, minimum: int, assumed_maximum: Callable[[TargetKey, int], int | None]
) -> tuple[int, tuple[str, ...]]:
    name, own = MAX_REPLICAS_SETTING.annotation, found.own_maximum
    if settings.max_replicas is not None:
        if own is None or settings.max_replicas <= own:
            return settings.max_replicas, ()
        return own, (f"{name} is {settings.max_replicas}, but {found.bounded_by} allows {own}, which counts.",)
    if own is not None:
        return own, ()
    assumed = assumed_maximum(found.key, found.body.current_replicas)
    if assumed is None:
        raise Refused(RefusalReason.NO_MAXIMUM, f"{found.bounded_by} has no maximum; set {name} to a whole number")
    maximum = max(assumed, minimum)
    return maximum, (f"No maximum is set; {maximum} is assumed from the replicas seen. {name} sets another.",)


def _contradiction(settings: Settings, found: Found, minimum: int, maximum: int) -> str:
    low, high = MIN_REPLICAS_SETTING.annotation, MAX_REPLICAS_SETTING.annotation
    if settings.min_replicas is not None:
        return f"{low}: {minimum} is above {maximum}, the maximum of {found.bounded_by}; accepted is at most that"
    if settings.max_replicas is not None:
        return (
            f"{high}: {maximum} is below {minimum}, the workload's own minimum; accepted is {minimum} or more, or a "
            f"lower {low} beside it"
        )
    return (
        f"{found.bounded_by} has a maximum of {maximum}, below the workload's own minimum {minimum}; mend one of them"
    )
