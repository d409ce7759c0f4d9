"""What the teacher says of each row, computed once: logits of all, layers of as many as the cache may hold.

The teacher is frozen, so later epochs read what the first computed. A row's mapped layers take
``2 bytes x (states x tokens x width + layers x heads x tokens^2)``: 0.1 MiB for 16 tokens and 4 layers of BERT-Base,
0.8 MiB for 64. Rows beyond the budget, the longest ones, go through the teacher again each time.
"""

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from compressbench.errors import BadInput
from compressbench.memory import freed_memory_kept
from compressbench.methods.distill.frozen_teacher import STORED, FrozenTeacher, LayerOutputs, WantedLayers
from compressbench.methods.distill.outputs_room import GIB, cache_folder, fits_in_memory
from compressbench.methods.training import padded_batch, padded_length, to_device
from compressbench.prediction import EncodedRows, batches_by_length
from compressbench.progress import Progress
from compressbench.units import format_mib

__all__ = ["GIB", "LayerOutputs", "TeacherOutputs", "WantedLayers"]

PASS_TOKENS = 2048
"""Tokens of one forward pass of the teacher: enough to keep two cores busy, few enough to stay in their caches."""


class TeacherOutputs:
    """The teacher's outputs for `encoded`, by row index. A context manager: leaving it frees the cache.

    Args:
        teacher: The fine-tuned model; it is put into eval mode, for a dropping-out teacher teaches noise.
        encoded: The rows, unpadded.
        wanted: Layers to give back with `layers_of`.
        budget_bytes: Of the cache.
        precision: ``bf16`` or ``fp32``, of the forward pass; what is cached has 16 bits either way.
        device: Where the teacher runs and batches are wanted.
    """

    def __init__(
        self,
        teacher: PreTrainedModel,
        encoded: EncodedRows,
        *,
        wanted: WantedLayers,
        budget_bytes: int,
        precision: str,
        device: str,
    ) -> None:
        self._teacher = FrozenTeacher(teacher, wanted=wanted, precision=precision, device=device)
        self._encoded = encoded
        self._wanted = wanted
        self._device = device
        self._width = int(teacher.config.hidden_size)
        self._heads = int(teacher.config.num_attention_heads)
        self._offsets = self._place_rows(budget_bytes // STORED.itemsize)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._cache = self._allocate(int(self._sizes()[self._offsets >= 0].sum()))
        self.logits = np.zeros((len(encoded), int(teacher.config.num_labels)), dtype=np.float32)
        """Of every row, float32 [rows, outputs]; complete after `compute`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cache = torch.empty(0, dtype=STORED)
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def cached_rows(self) -> int:
        """Rows whose layers the cache holds."""
        return int((self._offsets >= 0).sum())

    def is_worth_reading_ahead(self, rows: np.ndarray) -> bool:
        """Whether the outputs of `rows` come from a disk, or go to a GPU, so that reading them means waiting.

        From memory they come at once, and rows beyond the budget need the teacher, which wants the cores for itself.
        """
        return bool((self._offsets[rows] >= 0).all()) and (self._folder is not None or self._device != "cpu")

    def compute(self, progress: Progress, *, name: str) -> None:
        """One pass over all rows: their logits, and the layers of those the cache has room for."""
        with freed_memory_kept(), progress.stage(name, total=len(self._encoded)) as advance:
            longest = int(self._encoded.lengths.max(initial=1))
            for rows in batches_by_length(self._encoded.lengths, batch_size=max(8, PASS_TOKENS // longest)):
                has_room = self._offsets[rows] >= 0
                with_layers = bool(self._wanted and has_room.any())
                logits, outputs = self._teacher.answers_of(self._inputs(rows), with_layers=with_layers)
                self.logits[rows] = logits.float().cpu().numpy()
                if with_layers:
                    outputs = outputs.on_cpu()
                    for place in np.flatnonzero(has_room):
                        self._write(int(rows[place]), int(place), outputs)
                advance(len(rows))

    def layers_of(self, rows: np.ndarray) -> LayerOutputs:
        """The wanted layers of `rows`, padded with zeros to the longest of them."""
        if (self._offsets[rows] < 0).any():
            return self._teacher.layers_of(self._inputs(rows))
        lengths = [len(self._encoded.input_ids[row]) for row in rows]
        tokens = padded_length(lengths, device=self._device)
        kept = self._wanted.state_tokens(tokens)
        hidden = torch.zeros(len(self._wanted.hidden), len(rows), kept, self._width, dtype=STORED)
        attention = torch.zeros(len(self._wanted.attention), len(rows), self._heads, tokens, tokens, dtype=STORED)
        for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            row_hidden, row_attention = self._views(int(row))
            hidden[:, place, : row_hidden.shape[1]] = row_hidden
            attention[:, place, :, :length, :length] = row_attention
        return LayerOutputs(
            hidden=to_device(hidden, device=self._device) if self._wanted.hidden else None,
            attention=to_device(attention, device=self._device) if self._wanted.attention else None,
        )

    def hidden_of(self, rows: np.ndarray) -> Tensor:
        """The wanted hidden states of `rows`; see `layers_of`."""
        states = self.layers_of(rows).hidden
        return torch.empty(0, device=self._device) if states is None else states

    def _sizes(self) -> np.ndarray:
        """Cached numbers per row."""
        lengths = self._encoded.lengths
        per_token, per_pair = len(self._wanted.hidden) * self._width, len(self._wanted.attention) * self._heads
        state_tokens = np.minimum(lengths, 1) if self._wanted.first_token_only else lengths
        sizes: np.ndarray = per_token * state_tokens + per_pair * lengths**2
        return sizes

    def _place_rows(self, room: int) -> np.ndarray:
        """Where each row's numbers begin in the cache; -1 for rows without room, which are the longest."""
        sizes = self._sizes()
        order = np.argsort(sizes, kind="stable")
        ends = np.cumsum(sizes[order])
        offsets = np.full(len(sizes), -1, dtype=np.int64)
        fitting = ends <= room
        offsets[order[fitting]] = (ends - sizes[order])[fitting]
        return offsets

    def _allocate(self, count: int) -> Tensor:
        """`count` numbers, in memory where there is plenty, else in a file that goes when the cache does."""
        size_bytes = count * STORED.itemsize
        if fits_in_memory(size_bytes):
            return torch.empty(count, dtype=STORED)
        folder, free_bytes = cache_folder()
        if size_bytes > free_bytes:
            raise BadInput(
                f"the cache of teacher outputs needs {format_mib(size_bytes)} MiB and {folder} has "
                f"{format_mib(free_bytes)} MiB free: lower cache_gib, or set TMPDIR to a larger disk"
            )
        self._folder = tempfile.TemporaryDirectory(prefix="compressbench-")
        return torch.from_file(str(Path(self._folder.name) / "teacher.bin"), shared=True, size=count, dtype=STORED)

    def _inputs(self, rows: np.ndarray) -> dict[str, Tensor]:
        return padded_batch(self._encoded, rows, device=self._device)

    def _write(self, row: int, place: int, outputs: LayerOutputs) -> None:
        length = len(self._encoded.input_ids[row])
        hidden, attention = self._views(row)
        if outputs.hidden is not None:
            hidden.copy_(outputs.hidden[:, place, : hidden.shape[1]])
        if outputs.attention is not None:
            attention.copy_(outputs.attention[:, place, :, :length, :length])

    def _views(self, row: int) -> tuple[Tensor, Tensor]:
        """The cached hidden states and attention of one row."""
        length, start = len(self._encoded.input_ids[row]), int(self._offsets[row])
        hidden_shape = (len(self._wanted.hidden), self._wanted.state_tokens(length), self._width)
        attention_shape = (len(self._wanted.attention), self._heads, length, length)
        middle = start + int(np.prod(hidden_shape))
        hidden = self._cache[start:middle].view(hidden_shape)
        return hidden, self._cache[middle : middle + int(np.prod(attention_shape))].view(attention_shape)
