"""Shapes that latency is measured at: batch x tokens, or batches of rows as long as a task's dev rows are."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from compressbench.errors import InvalidParameter


@dataclass(frozen=True, order=True)
class Shape:
    """`batch` rows of `tokens` tokens each, none of them padding."""

    batch: int
    tokens: int

    def __str__(self) -> str:
        return f"{self.batch}x{self.tokens}"


@dataclass(frozen=True, order=True)
class TaskShape:
    """`batch` rows of a task's dev split as they come, padded to the longest of them."""

    batch: int = 1

    def __str__(self) -> str:
        return "task" if self.batch == 1 else f"{self.batch}xtask"


AnyShape = Shape | TaskShape


def parse_shape(text: str) -> AnyShape:
    """Read ``1x128``, ``task`` (dev rows one by one) or ``8xtask`` (eight by eight).

    Raises:
        InvalidParameter: If it is of none of these forms, or a side is zero.
    """
    if text == "task":
        return TaskShape()
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*|task)", text, flags=re.ASCII)
    if not match:
        raise InvalidParameter(
            f"--shapes: {text!r} is no shape; write batch x tokens, both above zero, such as 1x128, "
            "or task for the dev rows' real lengths"
        )
    batch = int(match[1])
    return TaskShape(batch) if match[2] == "task" else Shape(batch, int(match[2]))


def parse_fixed_shape(text: str) -> Shape:
    """Read ``1x128``, where no task gives rows of real lengths.

    Raises:
        InvalidParameter: If it is of another form.
    """
    shape = parse_shape(text)
    if not isinstance(shape, Shape):
        raise InvalidParameter(f"--shapes: {text!r} needs a task's rows: write batch x tokens here, such as 1x128")
    return shape


def fixed_shapes(shapes: Iterable[AnyShape]) -> list[Shape]:
    """Those whose size is known without a task."""
    return [each for each in shapes if isinstance(each, Shape)]
