"""What a masked language model proposes for single words: many masked sentences a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertForMaskedLM

from compressbench.methods.augment.settings import Mode
from compressbench.methods.training import autocast

BATCH_TOKENS = 2048
"""Padded tokens a forward pass: 47 pairs of 43 pieces. Larger batches gain nothing on a CPU."""


@dataclass(frozen=True, kw_only=True)
class Blank:
    """A sentence in pieces, and the place of the piece that is masked."""

    pieces: tuple[int, ...]
    place: int


@dataclass(frozen=True, kw_only=True)
class SpecialPieces:
    """Numbers of BERT's own pieces."""

    cls: int
    sep: int
    mask: int


class Proposer:
    """Proposes the K most probable words for blanks."""

    def __init__(
        self,
        model: BertForMaskedLM,
        *,
        words: np.ndarray,
        special: SpecialPieces,
        count: int,
        mode: Mode,
        precision: str = "fp32",
        device: str = "cpu",
    ) -> None:
        """Take the model apart; with ``bf16`` its encoder's matrices are stored in 16 bit, the head stays fp32.

        Args:
            model: In eval mode; changed in place.
            words: bool [vocabulary], True for the pieces that are words.
            special: See `SpecialPieces`.
            count: K.
            mode: ``paired`` or ``masked``.
            precision: ``fp32`` or ``bf16``.
            device: ``cpu`` or ``cuda``.
        """
        self._model = model.to(device).eval()
        *below, self._last = model.bert.encoder.layer
        model.bert.encoder.layer = nn.ModuleList(below)
        if precision == "bf16":
            for module in (*self._model.bert.modules(), *self._last.modules()):
                if isinstance(module, nn.Linear):
                    module.to(torch.bfloat16)
        self._not_words = torch.from_numpy(~words).to(device)
        self._special = special
        self._count = min(count, int(words.sum()))
        self._is_paired = mode == "paired"
        self._precision = precision
        self._device = device
        self._limit = int(model.config.max_position_embeddings)

    def propose(
        self,
        blanks: Sequence[Blank],
        *,
        batch_tokens: int = BATCH_TOKENS,
        on_batch: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """For each blank the numbers of the K most probable words, ascending: int64 [blanks, K].

        Ascending, so that a choice among them does not hang on the order of two that are nearly as probable. A blank
        beyond the model's last position has no proposals: its row is -1.

        Args:
            blanks: In any order; sentences of like length are put together.
            batch_tokens: Padded tokens a forward pass.
            on_batch: Told the number of blanks after each pass.
        """
        answers = np.full((len(blanks), self._count), -1, dtype=np.int64)
        within = np.array([place for place, blank in enumerate(blanks) if blank.place + 1 < self._limit], dtype=int)
        lengths = np.array([self._length(blanks[place]) for place in within], dtype=int)
        for part in _by_length(lengths, batch_tokens=batch_tokens):
            rows = within[part]
            answers[rows] = self._forward([blanks[row] for row in rows])
            if on_batch is not None:
                on_batch(len(rows))
        return answers

    def _length(self, blank: Blank) -> int:
        return min(self._limit, (2 * len(blank.pieces) + 3) if self._is_paired else len(blank.pieces) + 2)

    def _forward(self, blanks: Sequence[Blank]) -> np.ndarray:
        width = max(map(self._length, blanks))
        ids = np.zeros((len(blanks), width), dtype=np.int64)
        types, mask = np.zeros_like(ids), np.zeros_like(ids)
        for row, blank in enumerate(blanks):
            first, second = self._pieces(blank)
            pieces = [*first, *second][: self._limit]
            ids[row, : len(pieces)] = pieces
            types[row, len(first) : len(pieces)] = 1
            mask[row, : len(pieces)] = 1
        at = torch.tensor([blank.place + 1 for blank in blanks], device=self._device)
        with torch.inference_mode():
            with autocast(device=self._device, precision=self._precision):
                hidden = self._model.bert(
                    input_ids=self._tensor(ids),
                    attention_mask=self._tensor(mask),
                    token_type_ids=self._tensor(types),
                ).last_hidden_state
                masked = last_layer_at(self._last, hidden, at, mask=self._tensor(mask).bool())
            # Only the masked places go through the head, and in fp32: a 16-bit score would tie among thousands.
            scores = self._model.cls(masked.float()).masked_fill_(self._not_words, -torch.inf)
            best: np.ndarray = scores.topk(self._count, dim=-1).indices.sort(dim=-1).values.cpu().numpy()
        return best

    def _pieces(self, blank: Blank) -> tuple[list[int], list[int]]:
        """[CLS] masked [SEP], and for pairs sentence [SEP]."""
        masked = list(blank.pieces)
        masked[blank.place] = self._special.mask
        first = [self._special.cls, *masked, self._special.sep]
        return first, [*blank.pieces, self._special.sep] if self._is_paired else []

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)


def last_layer_at(layer: nn.Module, hidden: Tensor, at: Tensor, *, mask: Tensor) -> Tensor:
    """A BERT layer's output at one place a row: every place is attended to, but one asks and passes the FFN.

    That leaves out five sixths of the layer's products, a fourteenth of BERT-Base's.

    Args:
        layer: A `BertLayer`.
        hidden: [batch, tokens, width].
        at: int64 [batch], the place.
        mask: bool [batch, tokens], True where there is a token.

    Returns:
        [batch, width].
    """
    attention: Any = layer.attention.self  # type: ignore[union-attr]
    asking = hidden[torch.arange(len(at), device=at.device), at][:, None]
    query, key, value = (
        project(states).unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2)
        for project, states in ((attention.query, asking), (attention.key, hidden), (attention.value, hidden))
    )
    context = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
    attended = layer.attention.output(context.transpose(1, 2).flatten(2), asking)  # type: ignore[operator, union-attr]
    output: Tensor = layer.output(layer.intermediate(attended), attended)  # type: ignore[operator]
    return output[:, 0]


def _by_length(lengths: np.ndarray, *, batch_tokens: int) -> list[np.ndarray]:
    """Places in batches of at most `batch_tokens` padded tokens, longest first."""
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, batch_tokens // int(lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches
