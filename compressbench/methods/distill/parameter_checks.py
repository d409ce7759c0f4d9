"""What distillation's parameters may be: each by itself, all of them together, and beside a teacher's sizes."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from compressbench.errors import InvalidParameter, listed
from compressbench.methods.augment.settings import HIGHEST_BLANKS, HIGHEST_COPIES, MODES
from compressbench.methods.distill.recipes import RECIPES, check_unused, parse_layer_weights
from compressbench.methods.fitted import check_count, check_positive, check_share
from compressbench.methods.method import AUTO
from compressbench.models.geometry import Geometry, parse_student
from compressbench.numerics.layer_mapping import LayerMapping, check_strategy

if TYPE_CHECKING:
    from compressbench.methods.distill.method import Distill

WORDS = {
    "recipe": tuple(RECIPES),
    "init": ("auto", "principal", "random", "layers", "first-layers", "general"),
    "general_init": ("principal", "random", "layers", "first-layers"),
    "attention_target": ("scores", "probabilities"),
    "precision": ("auto", "fp32", "bf16"),
    "augment_mode": MODES,
}
"""Parameters that are one of a few words; the annotations of `Distill` say the same."""


def check_values(method: Distill) -> None:
    """Refuse a value out of range, a word that is none, and what means nothing in the recipe.

    Raises:
        InvalidParameter: If there is one.
    """
    if method.augment != 0 and not 2 <= method.augment <= HIGHEST_COPIES + 1:
        raise InvalidParameter(
            f"augment={method.augment} is no factor: use 2 to {HIGHEST_COPIES + 1}, such as 30 for 30 rows of each, "
            "or 0 for none"
        )
    if not 1 <= method.augment_blanks <= HIGHEST_BLANKS:
        raise InvalidParameter(
            f"augment_blanks={method.augment_blanks} words masked at once: use a whole number from 1 to "
            f"{HIGHEST_BLANKS}"
        )
    parse_student(method.student)
    check_strategy(method.mapping)
    for name, words in WORDS.items():
        if getattr(method, name) not in words:
            raise InvalidParameter(f"{name}={getattr(method, name)} is unknown: use {listed(words)}")
    for name in ("batch_size", "train_rows", "prune_epochs"):
        check_count(name, getattr(method, name))
    for name in ("intermediate_epochs", "prediction_epochs"):
        if getattr(method, name) != 0:
            check_count(name, getattr(method, name))
    for name in ("temperature", "learning_rate", "prediction_learning_rate"):
        check_positive(name, getattr(method, name))
    check_share("prune_amount", method.prune_amount)
    if method.dropout != AUTO:
        check_share("dropout", method.dropout)
    if method.alpha != AUTO and not 0 <= method.alpha <= 1:
        raise InvalidParameter(f"alpha={method.alpha} is no share: use a number from 0 to 1, such as 0.5")
    for name in ("embedding_weight", "attention_weight", "hidden_weight", "beta", "cache_gib"):
        _check_not_negative(name, getattr(method, name))
    parse_layer_weights(method.layer_weights)
    values = {each.name: getattr(method, each.name) for each in fields(method)} | {"init": method.beginning}
    check_unused(method.rules, values, defaults={each.name: each.default for each in fields(method)})


def check_stages(method: Distill) -> None:
    """Refuse a training with nothing to learn in it.

    Raises:
        InvalidParameter: If no stage is left, or the one that is has no loss, or nothing to grow masks over.
    """
    if method.intermediate_epochs == 0 and method.prune_amount:
        raise InvalidParameter(
            f"prune_amount={method.prune_amount} grows over intermediate epochs, and intermediate_epochs=0: set it "
            "above 0, or prune the finished student with distill+prune"
        )
    learns_layers = method.rules.learns_layers and method.intermediate_epochs != 0
    if method.prediction_epochs == 0 and not learns_layers:
        raise InvalidParameter(
            f"prediction_epochs=0 leaves recipe={method.recipe} nothing to learn: give it epochs of some stage"
        )
    if learns_layers and not (method.embedding_weight or method.attention_weight or method.hidden_weight):
        raise InvalidParameter(
            "embedding_weight, attention_weight and hidden_weight are all 0, so the intermediate stage has nothing "
            "to learn: leave one above 0, or set intermediate_epochs=0"
        )


def check_fit(method: Distill, student: Geometry, source: Geometry, *, mapping: LayerMapping) -> None:
    """Refuse a student that cannot learn from a teacher of `source`'s sizes.

    Args:
        method: The parameters.
        student: The student's sizes.
        source: The teacher's.
        mapping: Which layers are learned; empty where the recipe asks for none.

    Raises:
        InvalidParameter: If widths, heads or the number of layers stand against it.
    """
    _check_widths(method, student, source)
    weights = parse_layer_weights(method.layer_weights)
    if weights is not None and len(weights) != student.layers:
        raise InvalidParameter(
            f"layer_weights={method.layer_weights} gives {len(weights)} weights, and student={method.student} has "
            f"{student.layers} layers: give one a layer"
        )
    if method.rules.beside_answers == "patience" and method.told("beta") and len(mapping.attention) < 2:
        raise InvalidParameter(
            f"recipe={method.recipe} learns the hidden states of all layers but the last, and student={method.student} "
            "has one layer: use a deeper student, or beta=0"
        )
    if method.rules.learns_layers and method.attention_weight and student.heads != source.heads:
        raise InvalidParameter(
            f"student={method.student} has {student.heads} attention heads and the teacher {source.heads}, so the "
            f"attention loss cannot pair them: use a student of {source.heads} heads, or attention_weight=0"
        )


def _check_widths(method: Distill, student: Geometry, source: Geometry) -> None:
    """Refuse a student of other widths than the teacher's where its layers are copied or its states compared."""
    init, fitting = method.beginning, f"use student={replace(source, layers=student.layers)}"
    ours, theirs = ((each.hidden, each.heads, each.intermediate) for each in (student, source))
    if method.copied(student, source) and ours != theirs:
        who = f"init={init}" if method.init == init else f"recipe={method.recipe} begins with init={init}, which"
        raise InvalidParameter(
            f"{who} copies the teacher's layers, and those are {'x'.join(map(str, theirs))} (hidden, heads, FFN), "
            f"not {'x'.join(map(str, ours))} as in student={method.student}: {fitting}"
        )
    if method.rules.beside_answers != "nothing" and method.told("beta") and student.hidden != source.hidden:
        raise InvalidParameter(
            f"recipe={method.recipe} compares hidden states as they are, and student={method.student} is "
            f"{student.hidden} wide, the teacher {source.hidden}: {fitting}"
        )


def _check_not_negative(name: str, value: float | str) -> None:
    if not isinstance(value, str) and not (math.isfinite(value) and value >= 0):
        raise InvalidParameter(f"{name}={value} must be 0 or above: use a number such as 1.0")
