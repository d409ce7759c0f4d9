"""Where a general student comes from: made from a corpus as an ingredient, or a folder the user has already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from compressbench.corpus import Corpus
from compressbench.errors import BadInput, InvalidParameter
from compressbench.methods.distill.general import GeneralDistill
from compressbench.methods.method import Context, Method
from compressbench.models.geometry import Geometry

if TYPE_CHECKING:
    from compressbench.methods.distill.method import Distill

GENERAL = "general"
"""The value of `init`, and what the ingredient is called."""


def general_ingredient(method: Distill) -> Mapping[str, Method]:
    """General distillation with the losses of the task's, where the student begins from a corpus."""
    if method.beginning != GENERAL or method.general_student:
        return {}
    return {
        GENERAL: GeneralDistill(
            corpus=method.corpus,
            student=method.student,
            mapping=method.mapping,
            init=method.general_init,
            embedding_weight=method.embedding_weight,
            attention_weight=method.attention_weight,
            hidden_weight=method.hidden_weight,
            attention_target=method.attention_target,
            rows=method.general_rows,
            epochs=method.general_epochs,
            batch_size=method.batch_size,
            learning_rate=method.general_learning_rate,
            length=method.general_length,
            seed=method.general_seed,
            precision=method.precision,
        )
    }


def check_general(method: Distill) -> None:
    """Refuse a general beginning without its source, or with two, or with bad numbers.

    Raises:
        InvalidParameter: If it is one of these.
    """
    if method.beginning != GENERAL:
        return
    if not (method.corpus or method.general_student):
        raise InvalidParameter(
            "init=general needs a text to learn from, corpus=FILE, DIR or a data set on the hub, "
            "or a student that has learned already, general_student=DIR"
        )
    if method.corpus and method.general_student:
        raise InvalidParameter(
            f"corpus={method.corpus} makes a general student and general_student={method.general_student} is one: "
            "give one of them"
        )
    general_ingredient(method)  # refuses numbers out of range


def general_fingerprints(method: Distill) -> Mapping[str, str]:
    """Of the files that a general beginning reads; what nothing reads does not count."""
    found = {name: "" for name in ("corpus", "general_student") if getattr(method, name)}
    if method.beginning != GENERAL:
        return found
    if method.general_student:
        from compressbench.models.inspection import external_fingerprint

        return {"general_student": external_fingerprint(Path(method.general_student).expanduser())}
    return {"corpus": Corpus(method.corpus).fingerprint}


def general_folder(method: Distill, context: Context) -> Path:
    """The folder of the general student."""
    return Path(method.general_student).expanduser() if method.general_student else context.ingredients[GENERAL].path


def check_general_student(folder: str, *, student: Geometry) -> None:
    """Refuse a general student that the student cannot begin as.

    Args:
        folder: As typed.
        student: The student's sizes.

    Raises:
        BadInput: If it is no folder with a BERT in it.
        InvalidParameter: If its sizes are others.
    """
    from compressbench.models.inspection import inspect_model

    if not Path(folder).expanduser().is_dir():
        raise BadInput(f"general_student={folder}: there is no such folder")
    info = inspect_model(folder)
    if info.model_type != "bert":
        raise BadInput(f"general_student={folder} is of type {info.model_type}: give a BERT encoder")
    theirs = info.geometry
    if theirs.vocab != student.vocab:
        raise InvalidParameter(
            f"general_student={folder} has a vocabulary of {theirs.vocab} pieces and the teacher one of "
            f"{student.vocab}: give a general student of this teacher"
        )
    if theirs != student:
        what = "" if str(theirs) != str(student) else f" with {theirs.positions} positions"
        whose = "" if str(theirs) != str(student) else f" with {student.positions}"
        raise InvalidParameter(
            f"general_student={folder} is a {theirs}{what} and the student asked for a {student}{whose}: "
            f"use student={theirs}, or another folder"
        )


def check_general_vocabulary(folder: Path, teacher: Path) -> None:
    """Refuse a general student that numbers pieces otherwise than the teacher.

    Raises:
        BadInput: If one piece has two numbers.
    """
    from compressbench.models.vocabulary import vocabulary_of

    ours, theirs = vocabulary_of(folder), vocabulary_of(teacher)
    differing = sorted(piece for piece in ours.keys() | theirs.keys() if ours.get(piece) != theirs.get(piece))
    if differing:
        raise BadInput(
            f"general_student={folder} has another vocabulary than the teacher in {teacher} ({len(differing)} pieces "
            f"differ, such as {differing[0]!r}): give a general student of this teacher"
        )
