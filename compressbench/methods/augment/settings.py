"""What augmentation is told, and what each value may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compressbench.errors import InvalidParameter, listed

Mode = Literal["paired", "masked"]
MODES: tuple[Mode, ...] = ("paired", "masked")
DEFAULT_COPIES = 20
HIGHEST_COPIES = 1000
HIGHEST_CANDIDATES = 1000
HIGHEST_BLANKS = 8
MASKED_LM = "bert-base-uncased"


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """Parameters of algorithm 1 of Jiao et al. 2020 (arXiv:1909.10351), and how its proposals are computed."""

    factor: int
    """Rows after / rows before, at most: a row stands beside at most ``factor - 1`` copies of itself."""
    copies: int = DEFAULT_COPIES
    """N_a: how often a row is drawn anew; a draw that repeats an earlier one is dropped."""
    candidates: int = 15
    """K: words to choose from, for each word."""
    probability: float = 0.4
    """p_t: chance that a word is replaced."""
    mode: Mode = "paired"
    """What the masked language model reads: ``paired``, the masked sentence and the sentence itself, as the authors'
    code does; ``masked``, the masked sentence alone, which takes half the time and proposes other words."""
    blanks: int = 1
    """Most words of a sentence that are masked at once. One forward pass then serves them all; each is proposed for
    without seeing the others, so the proposals differ a little from those of 1, which is the authors' way."""

    def __post_init__(self) -> None:
        for name, symbol, highest in (
            ("copies", "N_a", HIGHEST_COPIES),
            ("candidates", "K", HIGHEST_CANDIDATES),
            ("blanks", "words masked at once", HIGHEST_BLANKS),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= highest:
                raise InvalidParameter(f"{name}={value} ({symbol}) is not a whole number from 1 to {highest}")
        if not 0 < self.probability <= 1:
            raise InvalidParameter(
                f"probability={self.probability} (p_t) is not above 0 and up to 1: use a number such as 0.4"
            )
        if self.mode not in MODES:
            raise InvalidParameter(f"mode={self.mode} is unknown: use {listed(MODES)}")
        if isinstance(self.factor, bool) or not isinstance(self.factor, int) or self.factor < 2:
            raise InvalidParameter(
                f"factor={self.factor} adds no rows: use a whole number of 2 or more, such as 20 for 20 rows of each"
            )
        if self.factor - 1 > self.copies:
            raise InvalidParameter(
                f"factor={self.factor} wants {self.factor - 1} copies of a row, and copies={self.copies} (N_a) draws "
                f"{self.copies}: use copies={self.factor - 1} or more, or factor={self.copies + 1}"
            )


def settings_from(
    *,
    factor: int | None = None,
    copies: int | None = None,
    candidates: int = 15,
    probability: float = 0.4,
    mode: Mode = "paired",
    blanks: int = 1,
) -> AugmentSettings:
    """Settings where `factor` and `copies` follow from one another if only one is given; neither: N_a = 20.

    Raises:
        InvalidParameter: If a value is outside what it may be.
    """
    if copies is None:
        copies = DEFAULT_COPIES if factor is None or factor < 2 else factor - 1
    return AugmentSettings(
        factor=copies + 1 if factor is None else factor,
        copies=copies,
        candidates=candidates,
        probability=probability,
        mode=mode,
        blanks=blanks,
    )
