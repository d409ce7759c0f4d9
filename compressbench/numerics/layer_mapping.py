"""Which teacher layer teaches which student layer: pure arithmetic on layer numbers."""

import re
from dataclasses import dataclass

from compressbench.errors import InvalidParameter

STRATEGIES = ("uniform", "top", "bottom")
_EXPLICIT = re.compile(r"\d+(-\d+)*")


@dataclass(frozen=True, kw_only=True)
class LayerMapping:
    """The teacher's side of each pair of layers, in the student's order."""

    attention: tuple[int, ...]
    """Per student layer the index of the teacher layer whose attention it learns; 0 is the first layer."""
    hidden: tuple[int, ...]
    """For the embeddings and then per student layer the index into the teacher's hidden states; 0 is the embeddings."""


def layer_mapping(strategy: str, *, teacher_layers: int, student_layers: int) -> LayerMapping:
    """The layers of a teacher of N layers that M student layers learn, exactly as the seed study lists them.

    The strategies, with g(m) the teacher layer (counted from 1) that student layer m learns:

    - ``uniform``: every (N/M)-th. Attention of layer g(m) = m N/M; hidden states 0, N/M, 2 N/M, ..., N.
    - ``top``: g(m) = m + (N - M), the last M layers. Hidden state 0, then those of the last M layers.
    - ``bottom``: g(m) = m, the first M layers.
    - ``3-6-9-12``: g(1)-g(2)-...-g(M) spelled out.

    Args:
        strategy: One of the above.
        teacher_layers: N.
        student_layers: M.

    Raises:
        InvalidParameter: If the student is deeper than the teacher, or the strategy does not fit both depths.
    """
    if not 1 <= student_layers <= teacher_layers:
        raise InvalidParameter(
            f"a student of {student_layers} layers cannot learn from a teacher of {teacher_layers}: "
            f"use 1 to {teacher_layers} layers"
        )
    taught = _taught_layers(strategy, teacher_layers=teacher_layers, student_layers=student_layers)
    return LayerMapping(attention=tuple(layer - 1 for layer in taught), hidden=(0, *taught))


def check_strategy(strategy: str) -> None:
    """Refuse what can be no mapping, whatever the depths.

    Raises:
        InvalidParameter: If it is neither a strategy's name nor strictly increasing layer numbers.
    """
    if strategy in STRATEGIES:
        return
    numbers = _EXPLICIT.fullmatch(strategy) and [int(number) for number in strategy.split("-")]
    if not numbers:
        raise InvalidParameter(
            f"mapping={strategy} is no layer mapping: use uniform, top, bottom, or teacher layers such as 3-6-9-12"
        )
    if numbers != sorted({*numbers}) or numbers[0] < 1:
        raise InvalidParameter(f"mapping={strategy} must count layers from 1 and rise at each step, as 3-6-9-12 does")


def _taught_layers(strategy: str, *, teacher_layers: int, student_layers: int) -> list[int]:
    """g(1), ..., g(M), counted from 1."""
    check_strategy(strategy)
    if strategy == "uniform":
        if teacher_layers % student_layers:
            fitting = [str(depth) for depth in range(1, teacher_layers + 1) if teacher_layers % depth == 0]
            raise InvalidParameter(
                f"mapping=uniform needs a student depth that divides the teacher's {teacher_layers} layers, and "
                f"{student_layers} does not: use {', '.join(fitting[:-1])} or {fitting[-1]} layers, "
                "or mapping=top or mapping=bottom"
            )
        block = teacher_layers // student_layers
        return [block * layer for layer in range(1, student_layers + 1)]
    if strategy == "top":
        return list(range(teacher_layers - student_layers + 1, teacher_layers + 1))
    if strategy == "bottom":
        return list(range(1, student_layers + 1))
    numbers = [int(number) for number in strategy.split("-")]
    if len(numbers) != student_layers or numbers[-1] > teacher_layers:
        raise InvalidParameter(
            f"mapping={strategy} names {len(numbers)} teacher layers up to {numbers[-1]}, and the student has "
            f"{student_layers} layers, the teacher {teacher_layers}: give {student_layers} numbers, "
            f"none above {teacher_layers}"
        )
    return numbers
