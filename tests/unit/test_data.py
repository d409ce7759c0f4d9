from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compressbench.errors import BadInput
from compressbench.tasks.catalog import all_tasks, suite_tasks
from compressbench.tasks.data import TaskData, load_task_data
from compressbench.tasks.task import Rows, Task

RTE = all_tasks()["RTE"]
MNLI = all_tasks()["MNLI"]
ROWS = "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tentailment\n"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    (tmp_path / "rte").mkdir()
    (tmp_path / "rte" / "train.tsv").write_text(ROWS)
    (tmp_path / "rte" / "dev.tsv").write_text(ROWS.replace("B", "C"))
    return tmp_path


def counted() -> tuple[TaskData, list[str]]:
    asked: list[str] = []

    def read(split: str) -> Rows:
        asked.append(split)
        return Rows(first=[split], second=[split], labels=np.array([0]))

    return TaskData(RTE, read, ("train", "dev", "test"), "made"), asked


def test_a_folder_is_found_whatever_its_case(data_dir: Path) -> None:
    data = load_task_data(RTE, data_dir=data_dir)
    assert data.rows("dev").second == ["C"]
    assert data.origin == str(data_dir / "rte")


def test_a_split_is_read_once() -> None:
    data, asked = counted()
    assert data.rows("train") is data.rows("train")
    assert asked == ["train"]


def test_the_fingerprint_covers_train_and_dev_and_not_test() -> None:
    data, asked = counted()
    first = data.fingerprint
    assert asked == ["train", "dev"]
    assert data.fingerprint == first


def test_the_fingerprint_follows_the_rows_and_not_the_place(
    data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "RTE").mkdir()
    for name in ("train.tsv", "dev.tsv"):
        content = (data_dir / "rte" / name).read_text()
        (elsewhere / "RTE" / name).write_bytes(content.replace("\n", "\r\n").encode())
    here, there = (load_task_data(RTE, data_dir=place).fingerprint for place in (data_dir, elsewhere))
    assert here == there
    (elsewhere / "RTE" / "dev.tsv").write_text(ROWS.replace("\tentailment", "\tnot_entailment"))
    assert load_task_data(RTE, data_dir=elsewhere).fingerprint != here


def test_an_unknown_split_is_refused() -> None:
    data, _ = counted()
    with pytest.raises(BadInput, match="RTE has no split 'validation': it has dev, test and train"):
        data.rows("validation")


def remove_dev(data_dir: Path) -> Path:
    (data_dir / "rte" / "dev.tsv").unlink()
    return data_dir


REFUSED = [
    (lambda place: place / "none", RTE, r"--data-dir .*none is not a folder; it should hold RTE/ with dev\.tsv and"),
    (remove_dev, RTE, r"rte has no dev\.tsv: expected RTE/ with dev\.tsv and train\.tsv in the original GLUE layout"),
    (lambda place: place, MNLI, r"has no folder MNLI: expected MNLI/ with dev_matched\.tsv, dev_mismatched\.tsv and"),
]


@pytest.mark.parametrize(("prepare", "task", "message"), REFUSED, ids=["no folder", "no dev file", "no task folder"])
def test_what_a_data_folder_lacks_is_told(
    data_dir: Path, prepare: Callable[[Path], Path], task: Task, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        load_task_data(task, data_dir=prepare(data_dir))


def test_what_a_data_folder_holds_instead_is_told(data_dir: Path) -> None:
    (data_dir / "CoLA").mkdir()
    with pytest.raises(BadInput, match=r"; it holds CoLA and rte$"):
        load_task_data(MNLI, data_dir=data_dir)


@pytest.mark.parametrize("task", suite_tasks("synthetic"), ids=lambda task: task.name)
def test_generated_tasks_need_no_folder(task: Task) -> None:
    data = load_task_data(task)
    train, dev = data.rows("train"), data.rows("dev")
    assert (train.second is not None) == task.is_pair
    assert len(dev) >= 500
    assert data.fingerprint == load_task_data(task).fingerprint


def test_the_hub_is_not_asked_before_rows_are() -> None:
    data = load_task_data(MNLI)
    assert data.splits == ("train", "dev_matched", "dev_mismatched", "test", "test_mismatched")
    assert data.origin == "hub:mnli"


def test_a_test_split_is_there_if_its_file_is_whatever_it_holds(data_dir: Path) -> None:
    assert load_task_data(RTE, data_dir=data_dir).splits == ("train", "dev")
    (data_dir / "rte" / "test.tsv").write_text("damaged")
    data = load_task_data(RTE, data_dir=data_dir)
    assert data.splits == ("train", "dev", "test")
    with pytest.raises(BadInput, match=r"test\.tsv"):
        data.rows("test")
