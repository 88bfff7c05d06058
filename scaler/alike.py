"""Many things answered together where they are alike, as arrays need it; pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def answer_once(keys: Iterable[Hashable], answer: Callable[[Sequence[int]], Iterable[T]]) -> list[T]:
    """Ask for one of all places that have the same key; its answer is that of all of them.

    Args:
        keys: Of each place.
        answer: Answers some places, in their order.

    Returns:
        Of each place.
    """
    groups = _groups(keys)
    answers = answer([places[0] for places in groups])
    found = {place: one for places, one in zip(groups, answers, strict=True) for place in places}
    return [found[place] for place in range(len(found))]


def answer_alike(keys: Iterable[Hashable], answer: Callable[[Sequence[int]], Iterable[T]]) -> list[T]:
    """Ask once for all places that have the same key.

    Args:
        keys: Of each place.
        answer: Answers some places, in their order.

    Returns:
        Of each place.
    """
    found: dict[int, T] = {}
    for places in _groups(keys):
        found.update(zip(places, answer(places), strict=True))
    return [found[place] for place in range(len(found))]


def _groups(keys: Iterable[Hashable]) -> Collection[list[int]]:
    """Give the places of each key, in the order in which the keys come first."""
    groups: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        groups.setdefault(key, []).append(place)
    return groups.values()
