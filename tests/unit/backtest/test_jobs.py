"""A part that is kept passes for no other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scaler.backtest import jobs
from scaler.backtest.case import BacktestSettings
from scaler.backtest.jobs import Part
from scaler.controller import ControllerConfig
from tests.unit.backtest.small import case

HERE = Part((0,), (case([10.0, 20.0, 30.0]),), BacktestSettings(), ControllerConfig(), "http://localhost")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(HERE, cases=(case([10.0, 20.0, 31.0]),)), id="another load"),
        pytest.param(replace(HERE, cases=(case([10.0, 20.0, 30.0], bounds=(2, 50)),)), id="other bounds"),
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
