"""Answers for what is alike, together, and in the order in which it was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.alike import answer_alike


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
