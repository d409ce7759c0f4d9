"""What training may leave out without another result: embedding rows that no text holds, kernels for long rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from compressbench.prediction import EncodedRows

SHORT_ROW = 48
"""Tokens up to which, on a CPU, plain attention trains faster than the fused kernel with its slow backward pass."""


@contextmanager
def only_rows_in_use(model: PreTrainedModel, encoded: EncodedRows) -> Iterator[EncodedRows]:
    """Train with a word-embedding table of only the pieces that `encoded` holds; yields the rows in its numbers.

    A piece that no training row holds never gets a gradient, so its row stays as it began either way (weight
    decay aside). Leaving it out saves the optimizer a fifth of BERT-Base's parameters, and two thirds of TinyBERT4's.
    """
    whole = model.get_input_embeddings()
    pieces = pieces_in_use(encoded)
    numbers = np.zeros(whole.num_embeddings, dtype=np.int64)
    numbers[pieces] = np.arange(len(pieces))
    used = torch.from_numpy(pieces)
    rows = whole.weight.detach()[used.to(whole.weight.device)]
    small = nn.Embedding.from_pretrained(rows, freeze=False, padding_idx=int(numbers[encoded.pad_id]))
    model.set_input_embeddings(small)
    try:
        yield replace(
            encoded,
            input_ids=[numbers[np.asarray(ids)].tolist() for ids in encoded.input_ids],
            pad_id=int(numbers[encoded.pad_id]),
        )
    finally:
        with torch.no_grad():
            whole.weight[used.to(whole.weight.device)] = small.weight.detach().to(whole.weight)
        model.set_input_embeddings(whole)


def pieces_in_use(encoded: EncodedRows) -> np.ndarray:
    """Every piece id that rows hold, and padding's, ascending; int64."""
    return np.unique(np.concatenate([*map(np.asarray, encoded.input_ids), [encoded.pad_id]])).astype(np.int64)


@contextmanager
def plain_attention(model: PreTrainedModel, encoded: EncodedRows, *, device: str) -> Iterator[None]:
    """Attention as written down, rather than fused, while rows are short and a CPU trains; then as before."""
    before = model.config._attn_implementation  # noqa: SLF001
    if device != "cpu" or before != "sdpa" or encoded.lengths.max() > SHORT_ROW:
        yield
        return
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)
