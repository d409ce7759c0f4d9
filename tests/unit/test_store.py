"""Content keys and the artifact store."""

import io
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compressbench.__main__ import main
from compressbench.artifacts import keys
from compressbench.artifacts.artifact import open_artifact
from compressbench.artifacts.keys import Recipe
from compressbench.artifacts.manifest import MANIFEST_NAME, Manifest
from compressbench.artifacts.store import ArtifactStore, home, open_store
from compressbench.errors import BadInput, StoreDamaged

RECIPE = Recipe(method="distill", revision=1, format="torch", parameters={"epochs": 3}, libraries=("torch",), seed=1)


def write_model(folder: Path, recipe: Recipe = RECIPE) -> Manifest:
    (folder / "model.safetensors").write_bytes(b"weights")
    return recipe.manifest(geometry={"layers": 2}, budget={"steps": 10}, warnings=["one"], target=None)


@pytest.mark.parametrize(
    "changed",
    [
        {"revision": 2},
        {"parameters": {"epochs": 4}},
        {"inputs": {"source": "abc"}},
        {"data_fingerprint": "rows"},
        {"seed": 2},
        {"seed": None},
        {"labels": ("no", "yes")},
        {"libraries": ("torch", "onnx")},
    ],
)
def test_key_changes_with_what_decides_the_content(changed: dict[str, Any]) -> None:
    assert replace(RECIPE, **changed).key != RECIPE.key


@pytest.mark.parametrize("changed", [{"task": "other"}, {"chain": "x+distill"}, {"base_model": "bert"}])
def test_key_stays_with_what_it_is_called(changed: dict[str, Any]) -> None:
    assert replace(RECIPE, **changed).key == RECIPE.key


def test_only_declared_libraries_count_and_only_by_major_minor(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"torch": "2.13.0+cpu", "onnxruntime": "1.31.1"}
    monkeypatch.setattr("compressbench.environment.package_version", lambda name: versions[name])
    trained, quantized = RECIPE.key, replace(RECIPE, libraries=("onnxruntime",)).key
    versions["onnxruntime"] = "1.32.0"
    assert RECIPE.key == trained
    assert replace(RECIPE, libraries=("onnxruntime",)).key != quantized
    versions["torch"] = "2.13.7"
    assert RECIPE.key == trained


def test_format_version_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = RECIPE.key
    monkeypatch.setattr(keys, "FORMAT_VERSION", 99)
    assert RECIPE.key != before


def test_fresh_salt_changes_the_key_and_no_salt_does_not() -> None:
    assert RECIPE.salted("now").key != RECIPE.key
    assert RECIPE.salted("") == RECIPE


def test_made_once_and_found_again(tmp_path: Path) -> None:
    store = ArtifactStore(root=tmp_path / "store")
    made = store.make(RECIPE.key, write_model)
    again = store.make(RECIPE.key, lambda folder: pytest.fail(f"made twice in {folder}"))
    assert again == made == store.find(RECIPE.key)
    assert made.manifest.budget == {"steps": 10}
    assert list(made.manifest.files) == ["model.safetensors"]
    assert [each.key for each in store.all()] == [RECIPE.key]


def test_two_at_once_make_it_once(tmp_path: Path) -> None:
    store = ArtifactStore(root=tmp_path)
    calls = []

    def write(folder: Path) -> Manifest:
        calls.append(folder)
        return write_model(folder)

    threads = [threading.Thread(target=store.make, args=(RECIPE.key, write)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_a_failed_or_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    store = ArtifactStore(root=tmp_path)

    def interrupted(folder: Path) -> Manifest:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.make(RECIPE.key, interrupted)
    assert store.all() == []
    assert store.make(RECIPE.key, write_model).manifest.files.keys() == {"model.safetensors"}


@pytest.mark.parametrize("damage", ["change", "remove", "add"])
def test_verify_names_the_damaged_file(tmp_path: Path, damage: str) -> None:
    store = ArtifactStore(root=tmp_path)
    artifact = store.make(RECIPE.key, write_model)
    store.verify(artifact)
    weights = artifact.path / "model.safetensors"
    if damage == "change":
        weights.write_bytes(b"wrong")
    elif damage == "remove":
        weights.unlink()
    else:
        (artifact.path / "model.safetensors.bak").write_bytes(b"")
    with pytest.raises(StoreDamaged, match=r"model\.safetensors.*differs"):
        store.verify(artifact)
    with pytest.raises(StoreDamaged, match=r"remove that folder, and it is made anew"):
        ArtifactStore(root=tmp_path).make(RECIPE.key, write_model)


def test_removed_is_gone(tmp_path: Path) -> None:
    store = ArtifactStore(root=tmp_path)
    store.remove(store.make(RECIPE.key, write_model))
    assert store.find(RECIPE.key) is None
    assert store.all() == []


def test_home_follows_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESSBENCH_HOME", str(tmp_path))
    assert open_store().root == home() / "artifacts" == tmp_path / "artifacts"
    monkeypatch.delenv("COMPRESSBENCH_HOME")
    assert home().name == "compressbench"


def test_a_store_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = ArtifactStore(root=tmp_path / "file")
    with pytest.raises(BadInput, match="set COMPRESSBENCH_HOME"):
        store.make(RECIPE.key, write_model)


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "holds no artifact.json"), ("{", "not readable JSON"), ("[]", "another format version"),
     ('{"format_version": 99}', "another format version")],
)  # fmt: skip
def test_a_folder_that_is_no_artifact_is_said(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / MANIFEST_NAME).write_text(text)
    with pytest.raises(BadInput, match=message):
        open_artifact(tmp_path)


def test_clearing_the_cache_takes_what_interrupted_runs_left_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store()
    store.make(RECIPE.key, write_model)
    unfinished = store.checkpoint_path("other")
    unfinished.parent.mkdir()
    unfinished.write_bytes(b"weights")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["cache", "clear"]) == 2
    assert "add --yes" in capsys.readouterr().err
    assert len(store.all()) == 1
    assert main(["cache", "clear", "--yes"]) == 0
    assert "1 artifacts and 1 unfinished ones deleted" in capsys.readouterr().out
    assert (store.all(), store.unfinished()) == ([], [])
    assert main(["cache", "clear", "--yes"]) == 0
    assert "holds no artifact" in capsys.readouterr().out
