"""Token ids of a corpus, packed: every row full but the last, no token lost, a few lines in memory at a time."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

BATCH_CHARS = 256 * 1024
"""Text that goes through the tokenizer at once."""
Pieces = Sequence[int] | None
"""Token ids of one line; None ends a document."""


def packed_rows(lines: Iterable[Pieces], *, length: int, cls_id: int, sep_id: int) -> Iterator[list[int]]:
    """``[CLS] tokens [SEP]`` rows of `length` tokens; between two documents stands one more ``[SEP]``.

    Nothing is cut off: what does not fit into a row begins the next. The last row may be shorter.
    """
    room = length - 2
    row: list[int] = []
    is_new = False
    for ids in lines:
        if ids is None:
            is_new = bool(row)
            continue
        start = 0
        while start < len(ids):
            if is_new and row:
                row.append(sep_id)
            is_new = False
            taken = ids[start : start + room - len(row)]
            row += taken
            start += len(taken)
            if len(row) == room:
                yield [cls_id, *row, sep_id]
                row = []
    if row:
        yield [cls_id, *row, sep_id]


def tokenized(lines: Iterable[str], tokenizer: Any, *, batch_chars: int = BATCH_CHARS) -> Iterator[Pieces]:
    """Token ids of each line, without special tokens; None for blank lines."""
    batch: list[str] = []
    held = 0
    for line in lines:
        batch.append(line)
        held += len(line)
        if held >= batch_chars:
            yield from _encoded(batch, tokenizer)
            batch, held = [], 0
    yield from _encoded(batch, tokenizer)


def special_ids(tokenizer_path: Path) -> tuple[Any, int, int, int]:
    """The tokenizer in a ``tokenizer.json``, and its ids for the beginning, the end and padding of a row."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    cls_id, *_, sep_id = tokenizer.encode("a").ids
    pad_id = next((found for word in ("[PAD]", "<pad>") if (found := tokenizer.token_to_id(word)) is not None), 0)
    return tokenizer, cls_id, sep_id, pad_id


def _encoded(batch: list[str], tokenizer: Any) -> Iterator[Pieces]:
    texts = [line for line in batch if line]
    encodings = iter(tokenizer.encode_batch_fast(texts, add_special_tokens=False))
    for line in batch:
        yield next(encodings).ids if line else None
