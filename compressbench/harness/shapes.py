"""Shapes that latency is measured at: batch x tokens."""

import re
from dataclasses import dataclass

from compressbench.errors import InvalidParameter, NotAvailableYet


@dataclass(frozen=True, order=True)
class Shape:
    """`batch` rows of `tokens` tokens each, none of them padding."""

    batch: int
    tokens: int

    def __str__(self) -> str:
        return f"{self.batch}x{self.tokens}"


def parse_shape(text: str) -> Shape:
    """Read ``1x128``.

    Raises:
        InvalidParameter: If it is not of that form, or a side is zero.
        NotAvailableYet: For ``task``, the real lengths of a task's dev rows.
    """
    if text == "task":
        raise NotAvailableYet("--shapes task (the dev rows' real lengths)")
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text, flags=re.ASCII)
    if not match:
        raise InvalidParameter(f"--shapes: {text!r} is no shape; write batch x tokens, both above zero, such as 1x128")
    return Shape(int(match[1]), int(match[2]))
