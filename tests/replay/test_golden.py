import json

import pytest

from tests.replay.golden import FOLDER, REPLAYS, rows


@pytest.mark.parametrize("name", REPLAYS)
def test_decisions_are_the_recorded_ones(name: str) -> None:
    """On purpose? `make golden` renews them; read the diff."""
    recorded = [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    assert list(rows(REPLAYS[name]())) == recorded


def test_there_is_no_golden_file_without_a_replay() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == set(REPLAYS)
