"""What structured pruning removes from an encoder: read from text, checked against a geometry, counted."""

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path

from compressbench.errors import BadInput, InvalidParameter, listed
from compressbench.models.geometry import Geometry
from compressbench.models.inspection import inspect_model

FAMILIES = ("bert", "camembert", "electra", "roberta", "xlm-roberta")
"""Whose layers have BERT's parts under BERT's names."""
_PART = re.compile(r"(heads|ffn|layers)-(0?\.\d+)(?:-|$)")
_WORDS = {"heads": "heads", "ffn": "intermediate", "layers": "layers"}
"""Part to the geometry's field."""


@dataclass(frozen=True, kw_only=True)
class Removal:
    """Shares of each layer's heads and FFN columns, and of the layers, that are removed; 0: none."""

    heads: float = 0.0
    ffn: float = 0.0
    layers: float = 0.0


def check_family(folder: Path, *, taker: str, mend: str) -> None:
    """Refuse a model whose layers are not built like BERT's.

    Args:
        folder: Holds the model.
        taker: Who takes what of the families, ``prune:structured=... knows the parts``.
        mend: What to do instead.

    Raises:
        BadInput: If it is one.
    """
    family = inspect_model(str(folder)).model_type
    if family not in FAMILIES:
        raise BadInput(f"{taker} of {listed(FAMILIES)}, and {folder} holds a model of type {family}: {mend}")


def parse_removal(text: str) -> Removal:
    """Read ``heads-0.33-ffn-0.5-layers-0.25``, any of the three in any order.

    Raises:
        InvalidParameter: If it is none, names a part twice, or a share is not above 0 and below 1.
    """
    example = "write PART-SHARE of heads, ffn and layers, such as heads-0.33-ffn-0.5"
    shares: dict[str, float] = {}
    place = 0
    while place < len(text):
        match = _PART.match(text, place)
        if match is None:
            raise InvalidParameter(f"structured={text} cannot be read from {text[place:]!r} on: {example}")
        part, share = match.group(1), float(match.group(2))
        if part in shares:
            raise InvalidParameter(f"structured={text} names {part} twice: {example}")
        if share == 0:
            raise InvalidParameter(f"structured={text} removes no {part}: leave {part} out")
        shares[part], place = share, match.end()
    if not shares:
        raise InvalidParameter(f"structured={text} names no part: {example}")
    return Removal(**shares)


def slimmed(geometry: Geometry, removal: Removal) -> Geometry:
    """The geometry that is left, the same in each layer: the nearest whole number of each share is removed.

    Raises:
        InvalidParameter: If all of a part would be removed, or nothing of one that is named.
    """
    left = {}
    for each in fields(removal):
        share, have = getattr(removal, each.name), getattr(geometry, _WORDS[each.name])
        removed = round(share * have)
        where = "" if each.name == "layers" else " of a layer"
        what = "FFN columns" if each.name == "ffn" else each.name
        if share and removed == 0:
            raise InvalidParameter(
                f"structured={each.name}-{share:g} removes none of the {have} {what}{where}: "
                f"use a share of {1 / have:.2g} or more"
            )
        if removed >= have:
            raise InvalidParameter(
                f"structured={each.name}-{share:g} would leave none of the {have} {what}{where}: "
                + (f"use {100 * (have - 1) // have / 100:g} or less" if have > 1 else f"leave {each.name} out")
            )
        left[_WORDS[each.name]] = have - removed
    if left["heads"] < geometry.heads:
        left["head_width"] = geometry.attention_width // geometry.heads
    return replace(geometry, **left)
