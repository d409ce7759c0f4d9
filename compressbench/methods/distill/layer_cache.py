"""The teacher's layers of as many rows as a budget holds, rows of one length side by side.

A row's mapped layers take ``2 bytes x (states x tokens x width + layers x heads x tokens^2)``: 0.1 MiB for 16 tokens
and 4 layers of BERT-Base, 0.8 MiB for 64. The rows of a batch have few lengths, so it is written and read by a few
copies, however many rows it has: row by row, Python would take longer than the copying.
"""

import tempfile
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from compressbench.errors import BadInput
from compressbench.methods.distill.frozen_teacher import STORED, LayerOutputs, WantedLayers
from compressbench.methods.distill.outputs_room import cache_folder, fits_in_memory
from compressbench.methods.training import to_cpu
from compressbench.units import format_mib

NO_PLACE = -2
"""Of a row without room; not -1, or place 0 would follow it."""


@dataclass(frozen=True, kw_only=True)
class Slab:
    """The cached rows of one length, in the order of their indices."""

    hidden: Tensor
    """[rows, states, tokens, width]; one token where no more are wanted."""
    attention: Tensor
    """[rows, layers, heads, tokens, tokens]."""


class LayerCache:
    """Room for the wanted layers of rows, by index: the shortest ones, if not all fit.

    Args:
        lengths: Tokens of each row.
        wanted: Layers to keep.
        width: Of a hidden state.
        heads: Of a layer.
        budget_bytes: Of what is kept.

    Raises:
        BadInput: If it needs a file, and the disk has no room for that.
    """

    def __init__(self, lengths: np.ndarray, *, wanted: WantedLayers, width: int, heads: int, budget_bytes: int) -> None:
        self._lengths = lengths
        self._wanted = wanted
        self._width = width
        self._heads = heads
        self._places = np.full(len(lengths), NO_PLACE)
        """Of each row in the slab of its length."""
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._slabs: dict[int, Slab] = {}
        self._fill_room(budget_bytes // STORED.itemsize)

    def close(self) -> None:
        """Free it."""
        self._slabs.clear()
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def is_on_disk(self) -> bool:
        """Whether it is a file, for want of memory."""
        return self._folder is not None

    def has_room(self, rows: np.ndarray) -> np.ndarray:
        """Whether each of `rows` is kept."""
        found: np.ndarray = self._places[rows] != NO_PLACE
        return found

    def write(self, rows: np.ndarray, outputs: LayerOutputs) -> None:
        """Keep what `outputs` says of `rows`, of those that have room; fastest in the order of length and index."""
        lengths, places = self._lengths[rows], self._places[rows]
        for run in runs((np.diff(lengths) != 0) | (np.diff(places) != 1)):
            tokens, place = int(lengths[run.start]), int(places[run.start])
            if place == NO_PLACE:
                continue
            slab, there = self._slabs[tokens], slice(place, place + run.stop - run.start)
            if outputs.hidden is not None:
                states = outputs.hidden[:, run, : self._wanted.state_tokens(tokens)]
                slab.hidden[there].copy_(to_cpu(states.transpose(0, 1)))
            if outputs.attention is not None:
                slab.attention[there].copy_(to_cpu(outputs.attention[:, run, :, :tokens, :tokens].transpose(0, 1)))

    def read(self, rows: np.ndarray, *, tokens: int, is_pinned: bool) -> LayerOutputs:
        """What is kept of `rows`, all of which have room, padded with zeros to `tokens`.

        Args:
            rows: Their indices.
            tokens: At least as many as the longest of them has.
            is_pinned: Whether a GPU takes the result.
        """
        shapes = self._shapes(tokens)
        hidden, attention = (
            torch.zeros(layers, len(rows), *shape, dtype=STORED, pin_memory=is_pinned) for layers, *shape in shapes
        )
        lengths, places = self._lengths[rows], torch.from_numpy(self._places[rows])
        for run in runs(np.diff(lengths) != 0):
            length = int(lengths[run.start])
            slab, there = self._slabs[length], places[run]
            states = hidden[:, run, : self._wanted.state_tokens(length)]
            torch.index_select(slab.hidden, 0, there, out=states.transpose(0, 1))
            torch.index_select(slab.attention, 0, there, out=attention[:, run, :, :length, :length].transpose(0, 1))
        return LayerOutputs(
            hidden=hidden if self._wanted.hidden else None, attention=attention if self._wanted.attention else None
        )

    def _shapes(self, tokens: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of the hidden states and the attention of a row."""
        wanted = self._wanted
        return (
            (len(wanted.hidden), wanted.state_tokens(tokens), self._width),
            (len(wanted.attention), self._heads, tokens, tokens),
        )

    def _fill_room(self, room: int) -> None:
        """Make the slabs of as many rows as `room` numbers hold, and give these their places."""
        lengths, which = np.unique(self._lengths, return_inverse=True)
        parts_by_length = np.array([[prod(shape) for shape in self._shapes(int(each))] for each in lengths])
        sizes = parts_by_length.sum(axis=1)[which]
        order = np.argsort(sizes, kind="stable")
        kept = np.sort(order[np.cumsum(sizes[order]) <= room])
        left = self._allocate(int(sizes[kept].sum()))
        for length, parts in zip(lengths, parts_by_length, strict=True):
            rows = kept[self._lengths[kept] == length]
            self._places[rows] = np.arange(len(rows))
            hidden, attention, left = left.tensor_split(np.cumsum(len(rows) * parts).tolist())
            of_hidden, of_attention = self._shapes(int(length))
            self._slabs[int(length)] = Slab(
                hidden=hidden.view(len(rows), *of_hidden), attention=attention.view(len(rows), *of_attention)
            )

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


def runs(breaks: np.ndarray) -> list[slice]:
    """The stretches of items among which none differs from the one before it, as `breaks` says of all but the first."""
    bounds = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(breaks) + 1]
    return [slice(start, stop) for start, stop in pairwise(bounds)]
