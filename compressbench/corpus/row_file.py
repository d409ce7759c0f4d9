"""Packed rows on disk: one safetensors file, written as rows come and read row by row, wherever they lie in it."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from compressbench.errors import BadInput

HEADER_BYTES = 248
"""Of the header, padded with blanks as the format allows: it is written last, when the number of rows is known."""
START = 8 + HEADER_BYTES
DTYPE_NAMES = {"U16": np.uint16, "I32": np.int32}


def write_row_file(path: Path, rows: Iterable[list[int]], *, length: int, pad_id: int, vocab: int) -> int:
    """Write rows of up to `length` token ids, padded with `pad_id`, as they come; returns how many there were.

    Raises:
        BadInput: If the disk is full.
    """
    name = "U16" if vocab <= 1 << 16 else "I32"
    count, last = 0, 0
    try:
        with path.open("wb") as stream:
            stream.write(b" " * START)
            for row in rows:
                padded = np.full(length, pad_id, dtype=DTYPE_NAMES[name])
                padded[: len(row)] = row
                stream.write(padded.tobytes())
                count, last = count + 1, len(row)
            header = {
                "__metadata__": {"pad_id": str(pad_id), "last_row_tokens": str(last)},
                "rows": {
                    "dtype": name,
                    "shape": [count, length],
                    "data_offsets": [0, count * length * np.dtype(DTYPE_NAMES[name]).itemsize],
                },
            }
            stream.seek(0)
            stream.write(HEADER_BYTES.to_bytes(8, "little") + json.dumps(header).encode().ljust(HEADER_BYTES))
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}): make room on that disk") from None
    return count


@dataclass(frozen=True, kw_only=True)
class PackedRows:
    """Rows of one length in a file; only those asked for come into memory."""

    path: Path
    count: int
    length: int
    pad_id: int
    last_row_tokens: int
    dtype: np.dtype[np.generic]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the header."""
        with path.open("rb") as stream:
            header = json.loads(stream.read(START)[8:])
        told, rows = header["__metadata__"], header["rows"]
        return cls(
            path=path,
            count=rows["shape"][0],
            length=rows["shape"][1],
            pad_id=int(told["pad_id"]),
            last_row_tokens=int(told["last_row_tokens"]),
            dtype=np.dtype(DTYPE_NAMES[rows["dtype"]]),
        )

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """The rows at `indices` as a model takes them: int64 arrays [batch, tokens].

        Read by position rather than through a memory map, whose pages would count as this process's memory.
        """
        width = self.length * self.dtype.itemsize
        with self.path.open("rb") as stream:
            parts = [os.pread(stream.fileno(), width, START + int(index) * width) for index in indices]
        ids = np.frombuffer(b"".join(parts), dtype=self.dtype).reshape(len(indices), self.length).astype(np.int64)
        mask = np.ones_like(ids)
        mask[indices == self.count - 1, self.last_row_tokens :] = 0
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def shuffled_batches(
    count: int, *, batch_size: int, rng: np.random.Generator, block: int = 64, mixed_blocks: int = 256
) -> Iterable[np.ndarray]:
    """One epoch of row indices: blocks in random order, rows mixed among some of them; memory does not grow.

    Every batch but the last has `batch_size` rows.
    """
    blocks = rng.permutation(-(-count // block)).astype(np.int32)
    left = np.empty(0, dtype=np.int64)
    for start in range(0, len(blocks), mixed_blocks):
        chosen = blocks[start : start + mixed_blocks].astype(np.int64)
        rows = (chosen[:, None] * block + np.arange(block)).ravel()
        rows = np.concatenate([left, rng.permutation(rows[rows < count])])
        whole = len(rows) - len(rows) % batch_size
        yield from rows[:whole].reshape(-1, batch_size)
        left = rows[whole:]
    if len(left):
        yield left
