"""What structured pruning is asked to remove: the grammar, and the geometry that is left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressbench.errors import InvalidParameter
from compressbench.models.geometry import BERT_BASE, Geometry, encoder_flops
from compressbench.models.removal import Removal, parse_removal, slimmed

PARTS = st.dictionaries(st.sampled_from(["heads", "ffn", "layers"]), st.integers(1, 99), min_size=1)


@given(parts=PARTS)
def test_every_order_of_parts_is_read(parts: dict[str, int]) -> None:
    text = "-".join(f"{part}-0.{share:02d}" for part, share in parts.items())
    assert parse_removal(text) == Removal(**{part: share / 100 for part, share in parts.items()})


@given(text=st.text(alphabet="headsfnlyr-0.159 x", max_size=24))
def test_whatever_is_typed_is_read_or_refused_in_a_sentence(text: str) -> None:
    told = ""
    try:
        parse_removal(text)
    except InvalidParameter as error:
        told = str(error)
    assert not told or told.startswith("structured=")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "ears-0.5",
            "structured=ears-0.5 cannot be read from 'ears-0.5' on: write PART-SHARE of heads, ffn and layers",
        ),
        ("heads-1.0", "cannot be read from 'heads-1.0' on"),
        ("heads-0.5-ffn", "cannot be read from 'ffn' on"),
        ("heads-0.5-heads-0.2", "names heads twice"),
        ("ffn-0.0", "removes no ffn: leave ffn out"),
        ("", "structured= names no part"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        parse_removal(text)


def test_a_third_of_the_heads_and_half_of_the_columns() -> None:
    left = slimmed(BERT_BASE, parse_removal("heads-0.33-ffn-0.5"))
    assert left == Geometry(layers=12, hidden=768, heads=8, intermediate=1536, head_width=64)
    assert left.attention_width == 512
    assert slimmed(left, Removal(heads=0.5)).attention_width == 256
    assert slimmed(BERT_BASE, Removal(layers=0.25)) == Geometry(layers=9, hidden=768, heads=12, intermediate=3072)
    assert encoder_flops(left) < 0.6 * encoder_flops(BERT_BASE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("heads-0.96", "heads-0.96 would leave none of the 12 heads of a layer: use 0.91 or less"),
        ("ffn-0.9999", "ffn-0.9999 would leave none of the 3072 FFN columns of a layer: use 0.99 or less"),
        ("layers-0.99", "layers-0.99 would leave none of the 12 layers: use 0.91 or less"),
        ("heads-0.04", "heads-0.04 removes none of the 12 heads of a layer: use a share of 0.083 or more"),
    ],
)
def test_a_part_that_would_vanish_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        slimmed(BERT_BASE, parse_removal(text))


def test_the_only_head_stays() -> None:
    one = Geometry(layers=1, hidden=8, heads=1, intermediate=8)
    with pytest.raises(InvalidParameter, match="would leave none of the 1 heads of a layer: leave heads out"):
        slimmed(one, Removal(heads=0.6))
