"""Answers for what is alike, together, and in the order in which it was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.alike import answer_alike, answer_once


@given(st.lists(st.integers(0, 3)))
def test_each_key_is_asked_for_once_and_each_place_gets_its_own_answer(keys: list[int]) -> None:
    asked: list[Sequence[int]] = []

    def answer(places: Sequence[int]) -> list[tuple[int, int]]:
        asked.append(places)
        return [(keys[place], place) for place in places]

    assert answer_alike(keys, answer) == [(key, place) for place, key in enumerate(keys)]
    assert len(asked) == len(set(keys))


def test_an_answer_too_few_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        answer_alike("aab", lambda places: places[:1])


@given(st.lists(st.integers(0, 3)))
def test_places_with_the_same_key_get_the_one_answer_of_the_first(keys: list[int]) -> None:
    asked: list[Sequence[int]] = []

    def answer(places: Sequence[int]) -> list[tuple[int, int]]:
        asked.append(places)
        return [(keys[place], place) for place in places]

    assert answer_once(keys, answer) == [(key, keys.index(key)) for key in keys]
    assert [len(places) for places in asked] == [len(set(keys))]


def test_an_answer_too_few_for_distinct_places_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        answer_once("aab", lambda places: places[:1])
