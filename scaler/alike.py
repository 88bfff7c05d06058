"""Many things answered together where they are alike, as arrays need it; pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
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
    numbers: dict[Hashable, int] = {}
    firsts: list[int] = []
    number_of: list[int] = []
    for place, key in enumerate(keys):
        number = numbers.setdefault(key, len(numbers))
        if number == len(firsts):
            firsts.append(place)
        number_of.append(number)
    answers = list(answer(firsts))
    return [answers[number] for number in number_of]


def answer_alike(keys: Iterable[Hashable], answer: Callable[[Sequence[int]], Iterable[T]]) -> list[T]:
    """Ask once for all places that have the same key.

    Args:
        keys: Of each place.
        answer: Answers some places, in their order.

    Returns:
        Of each place.
    """
    alike: dict[Hashable, list[int]] = {}
    for place, key in enumerate(keys):
        alike.setdefault(key, []).append(place)
    found: dict[int, T] = {}
    for places in alike.values():
        found.update(zip(places, answer(places), strict=True))
    return [found[place] for place in range(len(found))]
