"""Ingredients of a method: made once, found again by their own keys, shared where they read no rows."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from compressbench.artifacts import fingerprints
from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.fingerprints import files_fingerprint
from compressbench.artifacts.store import ArtifactStore, home
from compressbench.errors import BadInput
from compressbench.methods.method import Compressed, Context, Method
from compressbench.models.geometry import Geometry
from compressbench.plan_parts import check_chain
from compressbench.progress import Quiet
from compressbench.tasks.data import TaskData
from compressbench.tasks.task import Rows, Task
from compressbench.teacher import TeacherSource
from compressbench.workshop import Workshop
from tests.conftest import TINY

MADE: list[str] = []


@dataclass(frozen=True, kw_only=True)
class Seasoning(Method):
    """Writes what its file says."""

    name: ClassVar[str] = "seasoning"
    revision: ClassVar[int] = 1
    consumes = frozenset({"torch"})
    produces: ClassVar[Literal["torch"]] = "torch"
    libraries: ClassVar[tuple[str, ...]] = ()
    reads_rows: ClassVar[bool] = False
    starts_from: ClassVar[Literal["source", "pretrained"]] = "pretrained"

    words: str = ""
    strength: int = 1

    def check_files(self, *, offline: bool) -> None:
        if not Path(self.words).is_file():
            raise BadInput(f"words={self.words}: there is no such file")

    def fingerprints(self) -> Mapping[str, str]:
        return {"words": files_fingerprint([Path(self.words)])}

    def compress(self, source: Artifact, context: Context) -> Compressed:
        MADE.append(self.name)
        assert len(context.train) == 0
        (context.to / "seasoning.txt").write_text(Path(self.words).read_text() * self.strength)
        return Compressed(geometry=None)


@dataclass(frozen=True, kw_only=True)
class Cook(Method):
    """Copies its ingredient and counts rows."""

    name: ClassVar[str] = "cook"
    revision: ClassVar[int] = 1
    consumes = frozenset({"torch"})
    produces: ClassVar[Literal["torch"]] = "torch"
    libraries: ClassVar[tuple[str, ...]] = ()

    words: str = ""
    strength: int = 1

    def ingredients(self) -> Mapping[str, Method]:
        return {"seasoning": Seasoning(words=self.words, strength=self.strength)}

    def fingerprints(self) -> Mapping[str, str]:
        return self.ingredients()["seasoning"].fingerprints()

    def compress(self, source: Artifact, context: Context) -> Compressed:
        MADE.append(self.name)
        text = (context.ingredients["seasoning"].path / "seasoning.txt").read_text()
        (context.to / "dish.txt").write_text(f"{text} for {len(context.train)}")
        return Compressed(geometry=TINY)


@pytest.fixture
def kitchen(tmp_path: Path, tiny_encoder: Path, as_artifact: Callable[..., Artifact]) -> Callable[..., Artifact]:
    """Applies a method to one of two tasks in a store of its own."""
    MADE.clear()
    workshop = Workshop(store=ArtifactStore(root=tmp_path / "store"), threads=1, device="cpu", progress=Quiet())
    pretrained = TeacherSource(
        name="tiny", kind="pretrained", geometry=TINY, path=tiny_encoder, fingerprint="tiny", warnings=()
    )

    def cook(task: str, **parameters: Any) -> Artifact:
        count = {"lunch": 3, "dinner": 5}[task]
        rows = Rows(first=["a"] * count, second=None, labels=np.zeros(count, dtype=np.int64))
        value = Task(name=task, suite="own", text_columns=("text",), labels=("bad", "good"), metrics=("accuracy",))
        return workshop.chain(
            (Cook(**parameters),),
            TaskData(value, lambda split: rows, ("train", "dev"), "here"),
            source=as_artifact(tiny_encoder),
            teacher=as_artifact(tiny_encoder),
            seed=1,
            pretrained=pretrained,
        )

    return cook


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("salt")
    return path


def test_an_ingredient_is_made_once_and_handed_over(kitchen: Callable[..., Artifact], words: Path) -> None:
    first = kitchen("lunch", words=str(words), strength=2)
    assert (first.path / "dish.txt").read_text() == "saltsalt for 3"
    assert kitchen("lunch", words=str(words), strength=2) == first
    assert MADE == ["cook", "seasoning"] or MADE == ["seasoning", "cook"]


def test_tasks_share_an_ingredient_that_reads_no_rows(kitchen: Callable[..., Artifact], words: Path) -> None:
    lunch, dinner = kitchen("lunch", words=str(words)), kitchen("dinner", words=str(words))
    assert lunch.key != dinner.key
    assert (dinner.path / "dish.txt").read_text() == "salt for 5"
    assert lunch.manifest.inputs["seasoning"] == dinner.manifest.inputs["seasoning"]
    assert MADE.count("seasoning") == 1


def test_the_key_changes_with_the_ingredient_and_not_with_the_place_of_its_file(
    kitchen: Callable[..., Artifact], words: Path, tmp_path: Path
) -> None:
    first = kitchen("lunch", words=str(words))
    elsewhere = tmp_path / "elsewhere.txt"
    elsewhere.write_text("salt")
    assert kitchen("lunch", words=str(elsewhere)).key == first.key
    elsewhere.write_text("pepper")
    assert kitchen("lunch", words=str(elsewhere)).key != first.key
    assert kitchen("lunch", words=str(words), strength=2).key != first.key
    assert str(tmp_path) not in str(dict(first.manifest.parameters))


def test_an_artifact_found_again_needs_its_ingredients_no_more(
    kitchen: Callable[..., Artifact], words: Path, tmp_path: Path
) -> None:
    first = kitchen("lunch", words=str(words))
    store = ArtifactStore(root=tmp_path / "store")
    (seasoning,) = (each for each in store.all() if each.manifest.method == "seasoning")
    store.remove(seasoning)
    MADE.clear()
    assert kitchen("lunch", words=str(words)) == first
    assert MADE == []


@pytest.mark.parametrize("kind", ["fine-tuned", None])
def test_an_ingredient_that_starts_from_the_pretrained_teacher_needs_one(kind: Any, words: Path) -> None:
    teacher = TeacherSource(name="mine", kind=kind, geometry=TINY) if kind else None
    given = "mine is fine-tuned already" if kind else "none was given"
    with pytest.raises(BadInput, match=f"cook: seasoning starts from the teacher before fine-tuning, and {given}"):
        check_chain((Cook(words=str(words)),), TINY, teacher=teacher, offline=True)


def test_files_and_geometries_of_ingredients_are_checked_before_any_work(
    words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = TeacherSource(name="mine", kind="pretrained", geometry=TINY)
    with pytest.raises(BadInput, match="words=absent: there is no such file"):
        check_chain((Cook(words="absent"),), TINY, teacher=teacher, offline=True)
    seen: list[Geometry] = []
    monkeypatch.setattr(Seasoning, "check", lambda self, source: seen.append(source) or source)
    small = Geometry(layers=1, hidden=8, heads=1, intermediate=8)
    check_chain((Cook(words=str(words)),), small, teacher=teacher, offline=True)
    assert seen == [TINY]


def test_a_large_file_is_hashed_again_only_when_it_changed(words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []
    real = fingerprints.file_sha256
    monkeypatch.setattr(fingerprints, "KEPT_FROM_BYTES", 1)
    monkeypatch.setattr(fingerprints, "file_sha256", lambda path: hashed.append(path) or real(path))
    os.utime(words, ns=(10**18, 10**18))
    first = files_fingerprint([words])
    assert files_fingerprint([words]) == first
    assert len(hashed) == 1
    os.utime(words, ns=(10**18, 10**18 + 1))
    assert files_fingerprint([words]) == first
    assert len(hashed) == 2
    words.write_text("pepper")  # just now: the clock may not tell a second change from this one
    changed = files_fingerprint([words])
    assert changed != first
    assert files_fingerprint([words]) == changed
    assert len(hashed) == 4


def test_a_damaged_or_unwritable_memory_of_hashes_only_costs_time(words: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "KEPT_FROM_BYTES", 1)
    os.utime(words, ns=(10**18, 10**18))
    first = files_fingerprint([words])
    (kept,) = (home() / "fingerprints").iterdir()
    kept.write_text("{")
    assert files_fingerprint([words]) == first
    monkeypatch.setenv("COMPRESSBENCH_HOME", str(words))  # a file, so no folder can be made in it
    assert files_fingerprint([words]) == first


def test_order_and_content_of_files_count(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("2")
    assert files_fingerprint([one, two]) != files_fingerprint([two, one])
    assert files_fingerprint([one]) != files_fingerprint([two])
    assert files_fingerprint([one]).startswith("sha256:")
