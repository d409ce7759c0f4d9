"""Rows through a model: token ids once, batches by length, logits back in row order. No torch, no transformers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressbench.progress import Progress, Quiet
from compressbench.tasks.task import Rows

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Forward = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""int64 arrays [batch, tokens] by input name (`input_ids`, `attention_mask`, `token_type_ids`) to logits."""


@dataclass(frozen=True, kw_only=True)
class EncodedRows:
    """Token ids of rows, unpadded."""

    input_ids: list[list[int]]
    token_type_ids: list[list[int]]
    pad_id: int

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens per row, int64."""
        return np.array([len(ids) for ids in self.input_ids], dtype=np.int64)

    def batch(self, indices: np.ndarray, *, to_length: int | None = None) -> dict[str, np.ndarray]:
        """The rows at `indices`, padded to their longest (or to `to_length`): int64 arrays [batch, tokens]."""
        width = to_length or max(len(self.input_ids[index]) for index in indices)
        flat, firsts, lengths = self._flat
        columns = np.arange(width)
        is_real = columns < lengths[indices][:, None]
        places = (firsts[indices][:, None] + columns)[is_real]
        arrays = {
            "input_ids": np.full(is_real.shape, self.pad_id),
            "attention_mask": is_real.astype(np.int64),
            "token_type_ids": np.zeros(is_real.shape, dtype=np.int64),
        }
        for name, numbers in flat.items():
            arrays[name][is_real] = numbers[places]
        return arrays

    @cached_property
    def _flat(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Token ids and types of all rows in one array each, where each row begins, and its length.

        Made once, for a training asks for batches so often that going through their rows one by one would slow it.
        """
        lengths = self.lengths
        columns = {"input_ids": self.input_ids, "token_type_ids": self.token_type_ids}
        flat = {name: np.fromiter(chain.from_iterable(rows), dtype=np.int64) for name, rows in columns.items()}
        return flat, np.cumsum(lengths) - lengths, lengths


def open_tokenizer(tokenizer_path: Path, *, max_length: int) -> tuple["Tokenizer", int]:
    """A tokenizer that truncates to `max_length` (the longer text of a pair first) and pads nothing, and its pad id."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    padding = tokenizer.padding
    pad_id = (
        padding["pad_id"]
        if padding
        else next((found for token in ("[PAD]", "<pad>") if (found := tokenizer.token_to_id(token)) is not None), 0)
    )
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=max_length, strategy="longest_first")
    return tokenizer, pad_id


def texts_of(rows: Rows) -> list[str] | list[tuple[str, str]]:
    """Single texts or pairs, as tokenizers take them."""
    return list(rows.first) if rows.second is None else list(zip(rows.first, rows.second, strict=True))


def encode_rows(rows: Rows, *, tokenizer_path: Path, max_length: int) -> EncodedRows:
    """Token ids of every row, truncated to `max_length` (the longer text of a pair first), not padded."""
    tokenizer, pad_id = open_tokenizer(tokenizer_path, max_length=max_length)
    encodings = tokenizer.encode_batch(texts_of(rows))
    return EncodedRows(
        input_ids=[encoding.ids for encoding in encodings],
        token_type_ids=[encoding.type_ids for encoding in encodings],
        pad_id=pad_id,
    )


def batches_by_length(lengths: np.ndarray, *, batch_size: int) -> Iterator[np.ndarray]:
    """Row indices, longest rows first, so that a batch holds rows of like length and padding costs little."""
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def predict(
    forward: Forward,
    encoded: EncodedRows,
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
    name: str = "predict",
) -> np.ndarray:
    """Logits of every row, float32 [rows, outputs], in row order."""
    logits: np.ndarray | None = None
    with (progress or Quiet()).stage(name, total=len(encoded)) as advance:
        for indices in batches_by_length(encoded.lengths, batch_size=batch_size):
            part = forward(encoded.batch(indices))
            if logits is None:
                logits = np.empty((len(encoded), part.shape[1]), dtype=np.float32)
            logits[indices] = part
            advance(len(indices))
    assert logits is not None  # a split without rows is refused where it is read
    return logits
