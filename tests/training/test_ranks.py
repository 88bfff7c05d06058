"""Several processes of one run, started by torchrun on this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from predictor_model.checkpoint import Checkpoint
from predictor_model.graph import MODEL_FILE, load_graph
from predictor_model.ranks import Ranks, joined_ranks
from tests.training.small import write_waves

pytestmark = pytest.mark.training

SMALL = ["--synthetic-traces", "0", "--batch-size", "4", "--hidden-size", "8", "--steps", "3"]


def torchrun(processes: int, *arguments: str) -> str:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
    done = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return done.stderr


def test_two_processes_train_one_model_and_one_of_them_writes(tmp_path: Path) -> None:
    data = write_waves(tmp_path / "own.csv", ("a", "b"))
    told = torchrun(2, "-m", "predictor_model.train", "--data", str(data), "--out", str(tmp_path / "two"), *SMALL)
    assert told.count("wrote ") == 1
    assert load_graph(tmp_path / "two" / MODEL_FILE).model_version == "0.0.0"
    torchrun(1, "-m", "predictor_model.train", "--data", str(data), "--out", str(tmp_path / "one"), *SMALL)
    two, one = (Checkpoint.load(tmp_path / name) for name in ("two", "one"))
    assert two is not None
    assert one is not None
    assert two.step == one.step == 3
    # The second process drew windows of its own: the gradients' mean led elsewhere than the first one's alone.
    assert not torch.equal(two.best_weights["heads.weight"], one.best_weights["heads.weight"])


def test_without_torchrun_a_process_is_alone_and_sums_are_its_own() -> None:
    value = torch.ones(3)
    with joined_ranks({}) as ranks:
        ranks.sum([value])
    assert ranks == Ranks(0, 1)
    assert value.tolist() == [1.0, 1.0, 1.0]
    assert ranks.writes
    assert not Ranks(1, 2).writes
