"""What the teacher says of each row, computed once: logits of all, layers of as many as the cache may hold.

The teacher is frozen, so later epochs read what the first computed. Rows beyond the cache's budget, the longest ones,
go through the teacher again each time.
"""

from collections.abc import Iterator
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from compressbench.memory import freed_memory_kept
from compressbench.methods.distill.frozen_teacher import FrozenTeacher, LayerOutputs, WantedLayers
from compressbench.methods.distill.layer_cache import LayerCache
from compressbench.methods.distill.outputs_room import GIB
from compressbench.methods.training import padded_batch, padded_length, to_device
from compressbench.prediction import EncodedRows
from compressbench.progress import Progress

__all__ = ["GIB", "LayerOutputs", "TeacherOutputs", "WantedLayers"]

PASS_TOKENS = {"cpu": 2048, "cuda": 16384}
"""Tokens of one forward pass of the teacher, by device.

On a CPU enough to keep two cores busy, few enough to stay in their caches. On a GPU enough to fill a large one; the
outputs of every length of rows stay in its memory, a quarter of a GiB each for 4 layers of BERT-Base.
"""
FEWEST_ROWS = 8
"""Of a pass, however long they are."""


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
        self._cache = LayerCache(
            encoded.lengths,
            wanted=wanted,
            width=int(teacher.config.hidden_size),
            heads=int(teacher.config.num_attention_heads),
            budget_bytes=budget_bytes,
        )
        self.logits = np.zeros((len(encoded), int(teacher.config.num_labels)), dtype=np.float32)
        """Of every row, float32 [rows, outputs]; complete after `compute`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cache.close()

    @property
    def cached_rows(self) -> int:
        """Rows whose layers the cache holds."""
        return int(self._cache.has_room(np.arange(len(self._encoded))).sum())

    def is_worth_reading_ahead(self, rows: np.ndarray) -> bool:
        """Whether the outputs of `rows` come from a disk, or go to a GPU, so that reading them means waiting.

        From memory they come at once, and rows beyond the budget need the teacher, which wants the cores for itself.
        """
        return bool(self._cache.has_room(rows).all()) and (self._cache.is_on_disk or self._device != "cpu")

    def compute(self, progress: Progress, *, name: str) -> None:
        """One pass over all rows: their logits, and the layers of those the cache has room for."""
        with freed_memory_kept(), progress.stage(name, total=len(self._encoded)) as advance:
            for rows in passes(self._encoded.lengths, device=self._device):
                with_layers = bool(self._wanted and self._cache.has_room(rows).any())
                logits, outputs = self._teacher.answers_of(self._inputs(rows), with_layers=with_layers)
                self.logits[rows] = logits.float().cpu().numpy()
                if with_layers:
                    self._cache.write(rows, outputs)
                advance(len(rows))

    def layers_of(self, rows: np.ndarray) -> LayerOutputs:
        """The wanted layers of `rows`, padded with zeros to the longest of them."""
        if not self._cache.has_room(rows).all():
            return self._teacher.layers_of(self._inputs(rows))
        tokens = padded_length((len(self._encoded.input_ids[row]) for row in rows), device=self._device)
        found = self._cache.read(rows, tokens=tokens, is_pinned=self._device != "cpu")
        return LayerOutputs.named_in(
            {name: to_device(each, device=self._device) for name, each in found.by_name().items()}
        )

    def hidden_of(self, rows: np.ndarray) -> Tensor:
        """The wanted hidden states of `rows`; see `layers_of`."""
        states = self.layers_of(rows).hidden
        return torch.empty(0, device=self._device) if states is None else states

    def _inputs(self, rows: np.ndarray) -> dict[str, Tensor]:
        return padded_batch(self._encoded, rows, device=self._device)


def passes(lengths: np.ndarray, *, device: str) -> Iterator[np.ndarray]:
    """The row indices of each forward pass, longest rows first; of rows of one padded length as many in every pass."""
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        tokens = padded_length([int(lengths[order[start]])], device=device)
        rows = order[start : start + max(FEWEST_ROWS, PASS_TOKENS[device] // tokens)]
        start += len(rows)
        yield rows
