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
        together: int = 1,
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
            together: Most blanks of one sentence in one forward pass.
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
        self._together = together
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
            blanks: In any order; sentences of like length are put together. Which blanks of a sentence share a pass
                follows from that sentence's blanks alone, so neither batches nor other sentences change a proposal.
            batch_tokens: Padded tokens a forward pass.
            on_batch: Told the number of blanks after each pass.
        """
        answers = np.full((len(blanks), self._count), -1, dtype=np.int64)
        within = [place for place, blank in enumerate(blanks) if blank.place + 1 < self._limit]
        groups = groups_of(blanks, within, together=self._together)
        lengths = np.array([self._length(blanks[group[0]]) for group in groups], dtype=int)
        for part in _by_length(lengths, batch_tokens=batch_tokens):
            taken = [groups[place] for place in part]
            rows = [row for group in taken for row in group]
            answers[rows] = self._forward([[blanks[row] for row in group] for group in taken])
            if on_batch is not None:
                on_batch(len(rows))
        return answers

    def _length(self, blank: Blank) -> int:
        return min(self._limit, (2 * len(blank.pieces) + 3) if self._is_paired else len(blank.pieces) + 2)

    def _forward(self, groups: Sequence[Sequence[Blank]]) -> np.ndarray:
        """Proposals of the blanks of all groups, one after the other: int64 [blanks, K]."""
        width = max(self._length(group[0]) for group in groups)
        ids = np.zeros((len(groups), width), dtype=np.int64)
        types, mask = np.zeros_like(ids), np.zeros_like(ids)
        for row, group in enumerate(groups):
            first, second = self._pieces(group)
            pieces = [*first, *second][: self._limit]
            ids[row, : len(pieces)] = pieces
            types[row, len(first) : len(pieces)] = 1
            mask[row, : len(pieces)] = 1
        most = max(map(len, groups))
        # A group of fewer blanks asks for its first again, and the answers to that are left out.
        at = torch.tensor(
            [[blank.place + 1 for blank in (*group, *[group[0]] * (most - len(group)))] for group in groups],
            device=self._device,
        )
        asked = torch.arange(most) < torch.tensor(list(map(len, groups)))[:, None]
        with torch.inference_mode():
            with autocast(device=self._device, precision=self._precision):
                hidden = self._model.bert(
                    input_ids=self._tensor(ids),
                    attention_mask=self._tensor(mask),
                    token_type_ids=self._tensor(types),
                ).last_hidden_state
                masked = last_layer_at(self._last, hidden, at, mask=self._tensor(mask).bool())[asked]
            # Only the masked places go through the head, and in fp32: a 16-bit score would tie among thousands.
            scores = self._model.cls(masked.float()).masked_fill_(self._not_words, -torch.inf)
            best: np.ndarray = scores.topk(self._count, dim=-1).indices.sort(dim=-1).values.cpu().numpy()
        return best

    def _pieces(self, group: Sequence[Blank]) -> tuple[list[int], list[int]]:
        """[CLS] masked [SEP], and for pairs sentence [SEP]."""
        masked = list(group[0].pieces)
        for blank in group:
            masked[blank.place] = self._special.mask
        first = [self._special.cls, *masked, self._special.sep]
        return first, [*group[0].pieces, self._special.sep] if self._is_paired else []

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)


def groups_of(blanks: Sequence[Blank], rows: Sequence[int], *, together: int) -> list[list[int]]:
    """Rows of `blanks` that share a forward pass: at most `together` of one sentence, as far apart as can be.

    The n blanks of a sentence make ``ceil(n / together)`` groups, dealt out like cards in the order of their places:
    what stands beside a word tells most of it, so neighbours are not masked together.
    """
    sentences: dict[tuple[int, ...], list[int]] = {}
    for row in rows:
        sentences.setdefault(blanks[row].pieces, []).append(row)
    groups = []
    for own in sentences.values():
        ordered = sorted(own, key=lambda row: blanks[row].place)
        count = -(-len(ordered) // together)
        groups += [ordered[number::count] for number in range(count)]
    return groups


def last_layer_at(layer: nn.Module, hidden: Tensor, at: Tensor, *, mask: Tensor) -> Tensor:
    """A BERT layer's output at a few places a row: every place is attended to, but only those ask and pass the FFN.

    For one place that leaves out five sixths of the layer's products, a fourteenth of BERT-Base's.

    Args:
        layer: A `BertLayer`.
        hidden: [batch, tokens, width].
        at: int64 [batch, places].
        mask: bool [batch, tokens], True where there is a token.

    Returns:
        [batch, places, width].
    """
    attention: Any = layer.attention.self  # type: ignore[union-attr]
    asking = hidden[torch.arange(len(at), device=at.device)[:, None], at]
    query, key, value = (
        project(states).unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2)
        for project, states in ((attention.query, asking), (attention.key, hidden), (attention.value, hidden))
    )
    context = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
    attended = layer.attention.output(context.transpose(1, 2).flatten(2), asking)  # type: ignore[operator, union-attr]
    output: Tensor = layer.output(layer.intermediate(attended), attended)  # type: ignore[operator]
    return output


def _by_length(lengths: np.ndarray, *, batch_tokens: int) -> list[np.ndarray]:
    """Places in batches of at most `batch_tokens` padded tokens, longest first."""
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, batch_tokens // int(lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches
