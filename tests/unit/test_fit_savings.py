from pathlib import Path

import pytest

from compressbench.methods.fit_savings import SHORT_ROW, plain_attention
from compressbench.models.loading import load_classifier
from compressbench.prediction import EncodedRows


def rows_of(length: int) -> EncodedRows:
    return EncodedRows(input_ids=[[2, 3], [2] * length], token_type_ids=[[0, 0], [0] * length], pad_id=0)


@pytest.mark.parametrize(
    ("length", "device", "inside"),
    [(SHORT_ROW, "cpu", "eager"), (SHORT_ROW + 1, "cpu", "sdpa"), (SHORT_ROW, "cuda", "sdpa")],
)
def test_attention_is_plain_for_short_rows_on_a_cpu(
    tiny_classifier: Path, length: int, device: str, inside: str
) -> None:
    model = load_classifier(tiny_classifier)
    with plain_attention(model, rows_of(length), device=device):
        assert model.config._attn_implementation == inside
    assert model.config._attn_implementation == "sdpa"


def test_another_implementation_is_left_alone(tiny_classifier: Path) -> None:
    model = load_classifier(tiny_classifier)
    model.set_attn_implementation("eager")
    with plain_attention(model, rows_of(4), device="cpu"):
        pass
    assert model.config._attn_implementation == "eager"
