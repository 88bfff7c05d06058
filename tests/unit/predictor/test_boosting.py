"""The boosted rival: what it sees, what it answers, and what it leaves on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from predictor_model.boosting import GlobalBoosting, main, scaled_windows, train, validation_loss
from predictor_model.features import HORIZON, WindowIndex, WindowSampler
from predictor_model.metrics import LEVELS, MEDIAN
from predictor_model.traces import Trace, TraceError
from tests.unit.predictor.loads import daily_load

CONTEXT = 288


def index_of(*values: np.ndarray) -> WindowIndex:
    return WindowIndex([Trace("d", f"s{number}", 0, 300, v) for number, v in enumerate(values)], CONTEXT)


@pytest.fixture(scope="module")
def model() -> GlobalBoosting:
    index = index_of(daily_load(seed=0), daily_load(seed=1))
    sampler = WindowSampler(index, {"d": 1.0}, first=np.zeros(2), last=np.full(2, 0.85))
    return train(sampler, windows=1500, rounds=30, seed=0, console=Console(quiet=True))


def test_what_it_answers_is_finite_ordered_and_better_than_the_newest_sample(model: GlobalBoosting) -> None:
    batch = index_of(daily_load(seed=2)).cut(np.zeros(40, dtype=np.int64), np.arange(1000, 1040, dtype=np.int64))
    quantiles = model.quantiles(batch)
    assert quantiles.shape == (40, HORIZON, len(LEVELS))
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    assert (quantiles >= 0).all()
    error = np.abs(batch.target - quantiles[..., MEDIAN]).mean()
    assert error < 0.8 * np.abs(batch.target - batch.load[:, -1:]).mean()


def test_nothing_after_the_origin_enters(model: GlobalBoosting) -> None:
    values = daily_load(seed=3)
    changed = values.copy()
    changed[1001:] = 10_000
    which, origins = np.zeros(1, dtype=np.int64), np.array([1000])
    before, after = (model.quantiles(index_of(load).cut(which, origins)) for load in (values, changed))
    np.testing.assert_array_equal(before, after)


def test_the_unit_of_the_load_does_not_matter(model: GlobalBoosting) -> None:
    values = daily_load(seed=4)
    which, origins = np.zeros(3, dtype=np.int64), np.array([400, 800, 1200])
    small, large = (model.quantiles(index_of(values * unit).cut(which, origins)) for unit in (1.0, 1e6))
    np.testing.assert_allclose(large, 1e6 * small, rtol=0.02)


@pytest.mark.parametrize(
    "load",
    [
        pytest.param(np.zeros(600), id="nothing at all"),
        pytest.param(np.full(600, 7.0), id="constant"),
        pytest.param(np.where(np.arange(600) % 3 == 0, 5.0, np.nan), id="two of three missing"),
    ],
)
def test_a_strange_window_still_gets_an_answer(model: GlobalBoosting, load: np.ndarray) -> None:
    batch = index_of(load.astype(np.float32)).cut(np.zeros(1, dtype=np.int64), np.array([543]))
    assert np.isfinite(model.quantiles(batch)).all()


def test_scaling_and_back_gives_the_load() -> None:
    batch = index_of(daily_load()).cut(np.zeros(2, dtype=np.int64), np.array([500, 700]))
    scaled = scaled_windows(batch)
    np.testing.assert_allclose(scaled.unscale(scaled.load), batch.load, rtol=1e-6)


def test_it_is_the_same_after_it_was_on_disk(model: GlobalBoosting, tmp_path: Path) -> None:
    model.save(tmp_path)
    batch = index_of(daily_load(seed=5)).cut(np.zeros(2, dtype=np.int64), np.array([500, 700]))
    np.testing.assert_allclose(GlobalBoosting.load(tmp_path).quantiles(batch), model.quantiles(batch))


def test_a_folder_without_a_level_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"python -m predictor_model\.boosting"):
        GlobalBoosting.load(tmp_path)


def test_a_model_that_fits_has_the_lower_loss(model: GlobalBoosting) -> None:
    fitting = index_of(daily_load(seed=6)).cut(np.zeros(20, dtype=np.int64), np.arange(900, 920))
    noise = np.random.default_rng(0).uniform(0, 200, 1728).astype(np.float32)
    foreign = index_of(noise).cut(np.zeros(20, dtype=np.int64), np.arange(900, 920))
    assert validation_loss(model, [fitting]) < validation_loss(model, [foreign])


def test_the_command_trains_on_a_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"web,{number * 300},{value:.3f}" for number, value in enumerate(daily_load())]
    csv = tmp_path / "own.csv"
    csv.write_text("series,timestamp,value\n" + "\n".join(rows) + "\n", encoding="utf-8")
    out = tmp_path / "out"
    command = ["--data", str(csv), "--out", str(out), "--windows", "200", "--rounds", "2", "--synthetic-traces", "0"]
    assert main(command) == 0
    assert GlobalBoosting.load(out).context_length == CONTEXT
    assert "validation loss" in capsys.readouterr().err


def test_the_command_says_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "error:" in capsys.readouterr().err
