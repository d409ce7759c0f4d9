"""Distillation on augmented rows: made once, shared by mappings, found by content."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compressbench.__main__ import main
from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.store import open_store
from compressbench.errors import BadInput, InvalidParameter
from compressbench.methods.augment.ingredient import AUGMENTED, ROWS_NAME, AugmentedRows, augmented_rows
from compressbench.methods.augment.journal import ResumableFile
from compressbench.methods.chain import parse_chain
from compressbench.methods.distill import Distill
from compressbench.methods.method import Method
from compressbench.progress import Quiet
from compressbench.registry import method_named
from compressbench.tasks.data import TaskData
from compressbench.tasks.task import Rows, Task
from compressbench.teacher import inspect_teacher
from compressbench.workshop import Workshop
from tests.unit.masked_lm_folder import make_masked_lm, write_vectors

DISTILL = "distill:student=1x16x2x32:intermediate_epochs=1:prediction_epochs=1:precision=fp32"


@pytest.fixture
def workshop() -> Workshop:
    return Workshop(store=open_store(), threads=1, device="cpu", progress=Quiet())


@pytest.fixture
def data(tiny_task: Task, tiny_rows: Rows) -> TaskData:
    rows = {"train": tiny_rows.take(np.arange(24)), "dev": tiny_rows.take(np.arange(24, 40))}
    return TaskData(tiny_task, rows.__getitem__, ("train", "dev"), "here")


@pytest.fixture
def mlm(tmp_path: Path) -> Path:
    return make_masked_lm(tmp_path / "mlm")


def distilled(text: str, workshop: Workshop, data: TaskData, classifier: Path, *, seed: int = 1) -> Artifact:
    given = inspect_teacher(str(classifier), offline=True)
    teacher = workshop.teacher(given, data, finetune=method_named("finetune")(), seed=1)
    return workshop.chain(parse_chain(text), data, source=teacher, teacher=teacher, seed=seed)


def test_rows_are_made_once_for_every_mapping(
    workshop: Workshop, data: TaskData, mlm: Path, tiny_classifier: Path, tmp_path: Path
) -> None:
    asked = f"{DISTILL}:augment=4:mlm={mlm}:train_rows=20"
    first = distilled(asked, workshop, data, tiny_classifier)
    assert first.manifest.budget["task_rows"] == 20
    assert 40 < first.manifest.budget["rows"] <= 80
    (rows,) = [each for each in workshop.store.all() if each.format == "rows"]
    assert first.manifest.inputs[AUGMENTED] == rows.key
    assert set(rows.manifest.inputs) == set()
    assert {path.name for path in rows.path.iterdir()} == {ROWS_NAME, "artifact.json"}
    assert len(augmented_rows(rows, data.task)) == first.manifest.budget["rows"]
    moved = tmp_path / "moved"
    shutil.copytree(mlm, moved)
    assert distilled(asked.replace(str(mlm), str(moved)), workshop, data, tiny_classifier).key == first.key
    other = distilled(f"{asked}:mapping=top", workshop, data, tiny_classifier)
    assert other.key != first.key
    assert other.manifest.inputs[AUGMENTED] == rows.key
    assert distilled(asked, workshop, data, tiny_classifier, seed=2).manifest.inputs[AUGMENTED] != rows.key


def test_without_augmentation_files_do_not_count(
    workshop: Workshop, data: TaskData, tmp_path: Path, tiny_classifier: Path
) -> None:
    plain = distilled(DISTILL, workshop, data, tiny_classifier)
    assert "task_rows" not in plain.manifest.budget
    assert plain.manifest.budget["rows"] == 24
    method = parse_chain(f"{DISTILL}:mlm={tmp_path}:vectors={tmp_path}")[0]
    assert method.ingredients() == {}
    assert method.fingerprints() == {"mlm": "", "vectors": ""}
    assert Distill().fingerprints() == {}


def test_every_parameter_and_file_is_in_the_key(mlm: Path, tmp_path: Path) -> None:
    vectors = write_vectors(tmp_path / "vectors.txt")
    (rows,) = Distill(augment=30, mlm=str(mlm), vectors=str(vectors), augment_mode="masked").ingredients().values()
    assert isinstance(rows, AugmentedRows)
    assert (rows.factor, rows.copies, rows.candidates, rows.probability) == (30, 29, 15, 0.4)
    assert rows.mode == "masked"
    before = rows.fingerprints()
    assert set(before) == {"mlm", "vectors"}
    vectors.write_text("a 1 2\n")
    assert rows.fingerprints()["vectors"] != before["vectors"]
    assert rows.fingerprints()["mlm"] == before["mlm"]
    make_masked_lm(mlm, positions=32)
    assert rows.fingerprints()["mlm"] != before["mlm"]


def test_an_interrupted_augmentation_is_taken_up(
    workshop: Workshop, data: TaskData, mlm: Path, tiny_classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compressbench.methods.augment.stream.CHUNK_TOKENS", 100)
    asked = f"{DISTILL}:augment=4:mlm={mlm}"
    append, told = ResumableFile.append, []

    def stopped(self: ResumableFile, text: str, *, counts: dict[str, int]) -> None:
        append(self, text, counts=counts)
        told.append(counts["rows"])
        if len(told) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ResumableFile, "append", stopped)
        with pytest.raises(KeyboardInterrupt):
            distilled(asked, workshop, data, tiny_classifier)
        assert workshop.store.unfinished()
        distilled(asked, workshop, data, tiny_classifier)
    assert told == sorted(set(told))  # no chunk twice
    assert workshop.store.unfinished() == []


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (lambda: Distill(augment=1), "augment=1 is no factor: use 2 to 1001"),
        (lambda: Distill(augment=-5), "augment=-5 is no factor"),
        (lambda: Distill(augment_mode="both"), "augment_mode=both is unknown: use masked or paired"),
        (lambda: AugmentedRows(probability=0.0), r"probability=0.0 \(p_t\)"),
        (lambda: AugmentedRows(candidates=0), r"candidates=0 \(K\)"),
        (lambda: AugmentedRows(copies=0), r"copies=0 \(N_a\)"),
    ],
)
def test_values_out_of_range_are_refused(method: Callable[[], Method], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        method()


def test_a_lost_file_is_told(as_artifact: Callable[..., Artifact], tmp_path: Path, tiny_task: Task) -> None:
    with pytest.raises(BadInput, match=r"rows.tsv is missing: `compressbench cache verify`"):
        augmented_rows(as_artifact(tmp_path), tiny_task)


def test_ingredients_are_no_methods_of_the_command_line() -> None:
    with pytest.raises(BadInput, match="unknown method 'augmented-rows'"):
        method_named("augmented-rows")
    assert isinstance(AugmentedRows(), Method)


@pytest.mark.parametrize("name", ["mlm", "vectors", "dimension"])
def test_bad_files_stop_a_run_before_any_work(
    name: str,
    mlm: Path,
    tiny_classifier: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("text,label\na fine film,good\na dull film,bad\n")
    Path("empty.txt").write_text("")
    Path("wrong.txt").write_text("a 1 2\nb 1\n")
    given, message = {
        "mlm": (f"mlm={tiny_classifier}", "cls.predictions.transform.dense.weight is missing"),
        "vectors": (f"mlm={mlm}:vectors=empty.txt", "empty.txt is empty"),
        "dimension": (f"mlm={mlm}:vectors=wrong.txt", "line 2: a vector of dimension 1 where the file has 2"),
    }[name]
    data = ["--train", "rows.csv", "--validation", "rows.csv", "--threads", "1"]
    code = main(["run", "--methods", f"{DISTILL}:augment=4:{given}", "--teacher", str(tiny_classifier), *data])
    assert code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("reports").exists()


def test_compress_learns_from_augmented_rows(
    mlm: Path, tiny_classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("text,label\na fine film,good\na dull film is the plot,bad\na brave story,good\n")
    data = ["--train", "rows.csv", "--validation", "rows.csv", "--threads", "1"]
    chain = f"{DISTILL}:augment=6:mlm={mlm}+prune:epochs=1:precision=fp32:ramp_epochs=1"
    assert main(["compress", chain, "--teacher", str(tiny_classifier), *data, "--to", "made"]) == 0
    (student,) = [each for each in open_store().all() if each.manifest.method == "distill"]
    budget = student.manifest.budget
    assert budget["task_rows"] == 3
    assert 6 < budget["rows"] <= 18
