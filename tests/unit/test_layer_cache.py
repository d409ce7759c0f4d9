"""A row's layers come back as they were written, whatever rows are beside it, in whatever order, and whatever fits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from compressbench.methods.distill import teacher_outputs
from compressbench.methods.distill.frozen_teacher import STORED, FrozenTeacher, LayerOutputs, WantedLayers
from compressbench.methods.distill.layer_cache import LayerCache
from compressbench.methods.distill.teacher_outputs import TeacherOutputs, passes
from compressbench.methods.training import padded_batch
from compressbench.models.loading import load_classifier
from compressbench.prediction import EncodedRows
from compressbench.progress import Quiet

BOTH = WantedLayers(hidden=(0, 2), attention=(1,))
WANTED = (
    BOTH,
    WantedLayers(hidden=(1,), attention=()),
    WantedLayers(hidden=(), attention=(0, 1)),
    WantedLayers(hidden=(1, 2), attention=(), first_token_only=True),
)
lengths_of_rows = st.lists(st.integers(2, 6), min_size=1, max_size=14)  # few lengths, so that many rows share one


@pytest.fixture(scope="module")
def model(tiny_classifier: Path) -> PreTrainedModel:
    return load_classifier(tiny_classifier)


def padded(rows: list[LayerOutputs], *, tokens: int) -> LayerOutputs:
    """A batch of rows that are alone in theirs, zero beyond their ends."""
    hidden, attention = [], []
    for row in rows:
        if row.hidden is not None:
            more = max(0, tokens - row.hidden.shape[2]) if row.hidden.shape[2] > 1 else 0
            hidden.append(torch.nn.functional.pad(row.hidden, (0, 0, 0, more)))
        if row.attention is not None:
            more = tokens - row.attention.shape[-1]
            attention.append(torch.nn.functional.pad(row.attention, (0, more, 0, more)))
    return LayerOutputs(
        hidden=torch.cat(hidden, dim=1) if hidden else None,
        attention=torch.cat(attention, dim=1) if attention else None,
    )


def drawn(tokens: int, wanted: WantedLayers, *, generator: torch.Generator) -> LayerOutputs:
    """Numbers that no other row has, of two heads and width 3."""
    hidden = torch.rand(len(wanted.hidden), 1, wanted.state_tokens(tokens), 3, generator=generator).to(STORED)
    attention = torch.rand(len(wanted.attention), 1, 2, tokens, tokens, generator=generator).to(STORED)
    return LayerOutputs(hidden=hidden if wanted.hidden else None, attention=attention if wanted.attention else None)


def equal(left: torch.Tensor | None, right: torch.Tensor | None) -> bool:
    return left is right is None or (left is not None and right is not None and left.equal(right))


@settings(deadline=None)
@given(lengths_of_rows, st.sampled_from(WANTED), st.floats(0, 1.2), st.data())
def test_what_is_read_is_what_was_written(
    tokens: list[int], wanted: WantedLayers, share: float, data: st.DataObject
) -> None:
    generator = torch.Generator().manual_seed(len(tokens))
    rows = [drawn(each, wanted, generator=generator) for each in tokens]
    sizes = [sum(2 * each.numel() for each in row.by_name().values()) for row in rows]
    budget_bytes = int(share * sum(sizes))
    cache = LayerCache(np.array(tokens), wanted=wanted, width=3, heads=2, budget_bytes=budget_bytes)
    kept = np.flatnonzero(cache.has_room(np.arange(len(rows))))
    assert len(kept) == int((np.cumsum(np.sort(sizes)) <= budget_bytes).sum())
    assert sorted(sizes[row] for row in kept) == sorted(sizes)[: len(kept)]

    order = data.draw(st.permutations(range(len(rows))))
    for part in np.array_split(order, data.draw(st.integers(1, len(rows)))):
        cache.write(part, padded([rows[row] for row in part], tokens=max(tokens) + 1))
    if len(kept):
        asked = np.array(data.draw(st.lists(st.sampled_from(kept.tolist()), min_size=1)))
        longest = max(tokens[row] for row in asked) + data.draw(st.integers(0, 2))
        found, expected = (
            cache.read(asked, tokens=longest, is_pinned=False),
            padded([rows[row] for row in asked], tokens=longest),
        )
        assert equal(found.hidden, expected.hidden)
        assert equal(found.attention, expected.attention)


@settings(deadline=None, max_examples=25)
@given(lengths_of_rows, st.floats(0, 1), st.integers(1, 40), st.data())
def test_cached_layers_are_those_of_the_teacher_for_each_row_alone(
    model: PreTrainedModel, tokens: list[int], share: float, pass_tokens: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(sum(tokens))
    ids = [rng.integers(5, 40, size=length).tolist() for length in tokens]
    encoded = EncodedRows(input_ids=ids, token_type_ids=[[0] * length for length in tokens], pad_id=0)
    told = {"wanted": BOTH, "precision": "fp32", "device": "cpu"}
    size_bytes = sum(2 * (2 * length * 32 + 2 * length**2) for length in tokens)
    with (
        pytest.MonkeyPatch.context() as patch,
        TeacherOutputs(model, encoded, budget_bytes=int(share * size_bytes), **told) as outputs,
    ):
        patch.setitem(teacher_outputs.PASS_TOKENS, "cpu", pass_tokens)
        patch.setattr(teacher_outputs, "FEWEST_ROWS", 1)
        outputs.compute(Quiet(), name="teacher")
        asked = data.draw(st.lists(st.integers(0, len(ids) - 1), min_size=1, max_size=6))
        found = outputs.layers_of(np.array(asked))
    alone = FrozenTeacher(model, **told)
    expected = padded(
        [alone.layers_of(padded_batch(encoded, np.array([row]), device="cpu")) for row in asked],
        tokens=max(tokens[row] for row in asked),
    )
    # Rounding to 16 bits, which the fp32 before it may tip either way; another row's numbers are far from these.
    torch.testing.assert_close(found.hidden, expected.hidden, atol=1e-3, rtol=0.01)
    torch.testing.assert_close(found.attention, expected.attention, atol=1e-4, rtol=0.01)


@pytest.mark.parametrize(("device", "multiple"), [("cpu", 1), ("cuda", 8)])
def test_passes_hold_every_row_once_and_few_shapes(device: str, multiple: int) -> None:
    lengths = np.random.default_rng(0).integers(2, 60, size=30_000)
    found = list(passes(lengths, device=device))
    assert np.array_equal(np.sort(np.concatenate(found)), np.arange(len(lengths)))
    shapes = {(len(rows), -(-int(lengths[rows].max()) // multiple) * multiple) for rows in found[:-1]}
    assert len(shapes) == len({tokens for _, tokens in shapes})
    assert all(rows * tokens <= teacher_outputs.PASS_TOKENS[device] for rows, tokens in shapes)
    assert min(rows * tokens for rows, tokens in shapes) > 0.9 * teacher_outputs.PASS_TOKENS[device]
