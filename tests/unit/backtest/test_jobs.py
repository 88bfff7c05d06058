"""A part that is kept passes for no other."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from scaler.backtest import jobs
from scaler.backtest.case import BacktestSettings
from scaler.backtest.jobs import Part, parts_of
from scaler.controller import ControllerConfig
from tests.unit.backtest.small import BY_LUCK, PUNCTUAL, case, steady

HERE = Part((0,), (case([10.0, 20.0, 30.0]),), BacktestSettings(), ControllerConfig(), "http://localhost")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(HERE, cases=(case([10.0, 20.0, 31.0]),)), id="another load"),
        pytest.param(replace(HERE, cases=(case([10.0, 20.0, 30.0], bounds=(2, 50)),)), id="other bounds"),
        pytest.param(replace(HERE, cases=(case([10.0, 20.0, 30.0], start_up=BY_LUCK),)), id="another start-up"),
        pytest.param(replace(HERE, settings=BacktestSettings(seeds=(1,))), id="another seed"),
        pytest.param(replace(HERE, config=ControllerConfig(max_total_replicas=9)), id="another controller"),
    ],
)
def test_another_part_has_another_digest(other: Part) -> None:
    assert other.digest() != HERE.digest()


def test_what_another_version_of_the_program_kept_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    before = HERE.digest()
    assert HERE.digest() == before
    monkeypatch.setattr(jobs, "_program", lambda: "another version")
    assert HERE.digest() != before


def test_where_a_model_is_asked_does_not_matter() -> None:
    assert replace(HERE, endpoint="http://127.0.0.1:8080").digest() == HERE.digest()


@pytest.mark.parametrize(
    ("loads", "ways", "seeds", "workers", "sizes"),
    [
        pytest.param(1, 4, 5, 2, [4], id="one load is never torn"),
        pytest.param(2, 4, 1, 2, [4, 4], id="one for each process"),
        pytest.param(9, 4, 1, 2, [12, 8, 8, 8], id="in parts that are not too large"),
        pytest.param(3, 4, 5, 2, [4, 4, 4], id="smaller ones with more seeds"),
        pytest.param(25, 1, 1, 2, [9, 8, 8], id="alone"),
        pytest.param(3, 1, 1, 8, [1, 1, 1], id="more processes than loads"),
    ],
)
def test_cases_of_one_load_are_one_part(loads: int, ways: int, seeds: int, workers: int, sizes: list[int]) -> None:
    start_ups = [replace(PUNCTUAL, median=timedelta(seconds=30 * (way + 1))) for way in range(ways)]
    made = [case([10.0, 20.0, 30.0 + load], start_up=start_up) for start_up in start_ups for load in range(loads)]
    settings = BacktestSettings(seeds=tuple(range(seeds)))
    parts = parts_of(dict(enumerate(made)), settings, ControllerConfig(), "http://localhost", workers)
    assert [len(part.cases) for part in parts] == sizes
    assert sorted(place for part in parts for place in part.places) == list(range(loads * ways))
    assert all(part.cases == tuple(made[place] for place in part.places) for part in parts)
    homes = {one.load_key: number for number, part in enumerate(parts) for one in part.cases}
    assert all(homes[one.load_key] == number for number, part in enumerate(parts) for one in part.cases)


def test_the_part_with_the_most_time_in_it_is_first() -> None:
    short, long, longest = steady(3, 10.0), steady(4, 10.0), steady(9, 10.0)
    made = {0: case(long), 1: case(short), 2: case(short, start_up=BY_LUCK), 3: case(longest)}
    parts = parts_of(made, BacktestSettings(), ControllerConfig(), "http://localhost", workers=1)
    assert [part.places for part in parts] == [(3,), (1, 2), (0,)]
