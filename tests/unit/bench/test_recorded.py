"""The simulator against the recorded HPA and KPA: a change that takes it further from them fails here."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.recorded import main
from bench.recording import Recording, read
from bench.replayed import Compared, compared, measured_pipeline, simulated_hpa, simulated_kpa

ROOT = Path(__file__).parents[3]
FILE = ROOT / "docs" / "recorded.json"


@pytest.fixture(scope="module")
def recording() -> Recording:
    return read(FILE)


@pytest.fixture(scope="module")
def hpa(recording: Recording) -> Compared:
    measured = measured_pipeline(recording.hpa)
    return compared(recording.hpa, recording.seconds, lambda phase: simulated_hpa(recording, measured, phase))


@pytest.fixture(scope="module")
def kpa(recording: Recording) -> Compared:
    return compared(recording.kpa, recording.seconds, lambda phase: simulated_kpa(recording, phase))


# Bounds a little above what docs/simulator.md says: the replay has no luck but the seed of its start-ups.


def test_the_simulated_hpa_stays_as_close_to_the_recorded_one(hpa: Compared) -> None:
    assert hpa.desired.mean_ratio < 0.035
    assert hpa.ready.mean_ratio < 0.035
    assert abs(hpa.desired.pod_hours_ratio - 1) < 0.02
    assert hpa.desired.lag_seconds < 16


def test_the_simulated_kpa_stays_as_close_to_the_recorded_one(kpa: Compared) -> None:
    assert kpa.desired.mean_ratio < 0.095  # 0.098 with the grace on the way to zero
    assert kpa.ready.mean_ratio < 0.09
    assert abs(kpa.desired.pod_hours_ratio - 1) < 0.1


def test_the_recording_reaches_what_the_page_names(recording: Recording) -> None:
    hpa, kpa = recording.hpa, recording.kpa
    assert max(count for _, count in hpa.desired) >= 10
    assert min(count for at, count in kpa.desired if at > 0) == 0
    assert hpa.failed == kpa.failed == 0


def test_the_page_is_what_the_recording_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--replay", str(FILE), "--page", str(ROOT / "docs" / "simulator.md"), "--check"]) == 0
    assert not capsys.readouterr().err


def test_a_page_that_is_out_of_date_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "simulator.md"
    page.write_text("nothing", encoding="utf-8")
    assert main(["--replay", str(FILE), "--page", str(page), "--check"]) == 1
    assert "simulator.md is not what" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == "nothing"
