"""Recipes of distillation as values: which losses in which stage, how the student begins, and the usual numbers.

Every recipe runs through the same loop. What one has no use for is refused rather than ignored, with the recipe named.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from compressbench.errors import InvalidParameter
from compressbench.numerics.layer_mapping import layer_mapping

BesideAnswers = Literal["nothing", "patience", "cosine"]


@dataclass(frozen=True, kw_only=True)
class DistillationRecipe:
    """One way to teach a student; all of it is declared here, and none of it is asked for by name elsewhere.

    The stage that learns answers minimises ``(1 - alpha) CE(labels) + alpha t^k CE(z^T / t, z^S / t) + beta L_beside``,
    k being 2 where `scales_soft_labels` and else 0.
    """

    name: str
    reference: str
    learns_layers: bool = False
    """Whether an intermediate stage learns the teacher's layers before any answer."""
    beside_answers: BesideAnswers = "nothing"
    """What is learned of hidden states while answers are; anything but ``nothing`` takes the teacher's width."""
    scales_soft_labels: bool = True
    """Whether soft labels are weighed by t^2, which keeps their gradient as large as the labels' (arXiv:1503.02531)."""
    auto: Mapping[str, Any] = field(default_factory=dict)
    """What parameters left at ``auto`` become; these go before what a task says."""
    unused: tuple[str, ...] = ()
    """Parameters that mean nothing here."""


_OF_THE_LAYERS = ("embedding_weight", "attention_weight", "hidden_weight", "layer_weights", "attention_target")
_OF_THE_INTERMEDIATE_STAGE = (
    *_OF_THE_LAYERS, "intermediate_epochs", "learning_rate", "prune_amount", "prune_epochs",
)  # fmt: skip
_ONE_STAGE = {"intermediate_epochs": 0, "learning_rate": 5e-5, "dropout": 0.1}

RECIPES: Mapping[str, DistillationRecipe] = MappingProxyType(
    {
        each.name: each
        for each in (
            DistillationRecipe(
                name="tinybert",
                reference="https://arxiv.org/abs/1909.10351",
                learns_layers=True,
                scales_soft_labels=False,
                auto={"init": "principal", "temperature": 1.0, "alpha": 1.0, "beta": 0.0, "dropout": 0.0},
                unused=("beta",),
            ),
            DistillationRecipe(
                name="none",
                reference="https://arxiv.org/abs/1810.04805",
                auto={
                    **_ONE_STAGE, "init": "random", "temperature": 1.0, "alpha": 0.0, "beta": 0.0,
                    "prediction_epochs": 3, "prediction_learning_rate": 5e-5,
                },
                unused=(*_OF_THE_INTERMEDIATE_STAGE, "temperature", "alpha", "beta", "cache_gib"),
            ),
            DistillationRecipe(
                name="pkd",
                reference="https://arxiv.org/abs/1908.09355",
                beside_answers="patience",
                auto={
                    **_ONE_STAGE, "init": "first-layers", "temperature": 10.0, "alpha": 0.5, "beta": 100.0,
                    "prediction_epochs": 4, "prediction_learning_rate": 5e-5,
                },
                unused=_OF_THE_INTERMEDIATE_STAGE,
            ),
            DistillationRecipe(
                name="distilbert",
                reference="https://arxiv.org/abs/1910.01108",
                beside_answers="cosine",
                # The weights 5 (soft), 2 (hard) and 1 (cosine) of the authors' pretraining, with soft + hard = 1.
                auto={
                    **_ONE_STAGE, "init": "layers", "temperature": 2.0, "alpha": 5 / 7, "beta": 1 / 7,
                    "prediction_epochs": 3, "prediction_learning_rate": 5e-5,
                },
                unused=_OF_THE_INTERMEDIATE_STAGE,
            ),
        )
    }
)  # fmt: skip
"""The recipes by name."""

COPYING = ("layers", "first-layers")
"""Beginnings of a student that copy whole teacher layers, and so take the teacher's widths."""


def copied_layers(init: str, mapping: str, *, teacher_layers: int, student_layers: int) -> tuple[int, ...]:
    """Which teacher layer, counted from 0, each student layer begins as; none where nothing is copied.

    ``layers``: those the mapping names, as DistilBERT takes every other one. ``first-layers``: the first M whatever
    is taught, as BERT-PKD.

    Raises:
        InvalidParameter: If the mapping does not fit both depths.
    """
    if init not in COPYING:
        return ()
    strategy = mapping if init == "layers" else "bottom"
    return layer_mapping(strategy, teacher_layers=teacher_layers, student_layers=student_layers).attention


def unused_parameters(recipe: DistillationRecipe, init: str) -> tuple[str, ...]:
    """Parameters that mean nothing in `recipe` when the student begins by `init`."""
    told = recipe.auto["init"] if init == "auto" else init
    uses_mapping = recipe.learns_layers or recipe.beside_answers == "patience" or told in ("layers", "general")
    return recipe.unused if uses_mapping else (*recipe.unused, "mapping")


def check_unused(recipe: DistillationRecipe, values: Mapping[str, Any], *, defaults: Mapping[str, Any]) -> None:
    """Refuse a value for a parameter that means nothing in `recipe`.

    Args:
        recipe: The recipe.
        values: Of all parameters.
        defaults: The same before anything was said; these pass, and so does what ``auto`` becomes.

    Raises:
        InvalidParameter: If there is one.
    """
    for name in unused_parameters(recipe, values["init"]):
        if values[name] not in (defaults[name], recipe.auto.get(name, defaults[name])):
            able = [each.name for each in RECIPES.values() if name not in unused_parameters(each, "auto")]
            raise InvalidParameter(
                f"{name}={values[name]} means nothing with recipe={recipe.name}: "
                f"leave it out, or use recipe={' or '.join(able)}"
            )


def parse_layer_weights(text: str) -> tuple[float, ...] | None:
    """Read lambda_1-lambda_2-...-lambda_M, one weight a student layer; None for ``equal``, which is 1 for each.

    Raises:
        InvalidParameter: If it is neither, or no weight is above 0.
    """
    if text == "equal":
        return None
    try:
        weights = tuple(float(part) for part in text.replace(";", "-").split("-"))
    except ValueError:
        weights = ()
    if not weights or not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise InvalidParameter(
            f"layer_weights={text} is no list of weights: use equal, or one a student layer such as 1-1-1-2, "
            "none below 0 and not all 0"
        )
    return weights
