from pathlib import Path

import pytest

from predictor_model import placement
from predictor_model.graph import MODEL_FILE, RECORD_FILE, SHIPPED_WEIGHTS, WEIGHTS_FILE, ModelUnusable, load_graph
from predictor_model.placement import model_in, put_in_place, same_model

FILES = (WEIGHTS_FILE, RECORD_FILE, MODEL_FILE)


def folder(path: Path, content: str) -> Path:
    path.mkdir()
    for name in FILES:
        (path / name).write_text(f"{name} {content}")
    return path


def test_a_model_takes_the_place_with_all_that_belongs_to_it(tmp_path: Path) -> None:
    put_in_place(SHIPPED_WEIGHTS, tmp_path / "v1")
    assert sorted(path.name for path in (tmp_path / "v1").iterdir()) == sorted(FILES)
    graph = model_in(tmp_path / "v1")
    assert graph is not None
    assert graph.model_version == load_graph(SHIPPED_WEIGHTS / MODEL_FILE).model_version
    assert same_model(tmp_path / "v1", SHIPPED_WEIGHTS)


@pytest.mark.parametrize("survivor", FILES)
def test_a_kill_at_any_file_leaves_the_old_model_until_the_very_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survivor: str
) -> None:
    place, new = folder(tmp_path / "v1", "old"), folder(tmp_path / "new", "new")
    replace = Path.replace

    class Killed(BaseException):
        pass

    def dies(part: Path, target: Path) -> Path:
        if target.name == survivor:
            raise Killed
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", dies)
    with pytest.raises(Killed):
        put_in_place(new, place)
    assert (place / MODEL_FILE).read_text() == f"{MODEL_FILE} old"
    monkeypatch.setattr(Path, "replace", replace)
    put_in_place(new, place)
    assert {path.name: path.read_text() for path in place.iterdir()} == {name: f"{name} new" for name in FILES}


def test_an_empty_folder_has_no_model_and_is_like_no_other(tmp_path: Path) -> None:
    assert model_in(tmp_path) is None
    assert not same_model(tmp_path, tmp_path)


def test_a_file_that_is_no_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="no forecaster's graph"):
        model_in(folder(tmp_path / "v1", "broken"))


def test_the_manifest_serves_from_the_place(tmp_path: Path) -> None:
    manifest = Path(__file__).parents[3] / "inferenceservices" / "forecaster-finetuned.yaml"
    assert f"value: pvc://forecaster-weights/{placement.IN_PLACE}\n" in manifest.read_text(encoding="utf-8")
