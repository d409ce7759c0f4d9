"""The teacher as distillation sees it: frozen, in eval mode, giving the outputs of some layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from compressbench.methods.captured_step import Tensors, captured
from compressbench.methods.distill.attention_record import (
    AttentionRecord,
    AttentionTarget,
    use_recording_attention,
)
from compressbench.methods.matmul_precision import fast_matmul
from compressbench.methods.training import autocast
from compressbench.numerics.layer_mapping import LayerMapping

if TYPE_CHECKING:
    from compressbench.methods.distill.general import GeneralDistill
    from compressbench.methods.distill.method import Distill

STORED = torch.bfloat16
HIDDEN, ATTENTION = "teacher_hidden", "teacher_attention"
"""Names of the teacher's outputs in a batch, beside those of the student's inputs."""


@dataclass(frozen=True, kw_only=True)
class WantedLayers:
    """Which of the teacher's outputs are learned; empty where a loss is switched off."""

    hidden: tuple[int, ...]
    """Indices into the hidden states, 0 the embeddings, -1 the last."""
    attention: tuple[int, ...]
    attention_target: AttentionTarget = "scores"
    first_token_only: bool = False
    """Whether hidden states of the first token do, which is what BERT-PKD compares."""

    def state_tokens(self, tokens: int) -> int:
        """How many of a row's tokens have their hidden states kept."""
        return min(tokens, 1) if self.first_token_only else tokens

    def __bool__(self) -> bool:
        return bool(self.hidden or self.attention)


def weighed_layers(method: Distill | GeneralDistill, mapping: LayerMapping) -> WantedLayers:
    """The layers of `mapping` whose losses have a weight in `method`."""
    embeddings, *layers = mapping.hidden
    return WantedLayers(
        hidden=(*([embeddings] if method.embedding_weight else []), *(layers if method.hidden_weight else [])),
        attention=mapping.attention if method.attention_weight else (),
        attention_target=method.attention_target,
    )


@dataclass(frozen=True, kw_only=True)
class LayerOutputs:
    """Outputs of the wanted layers for one batch, zero where a token is padding."""

    hidden: Tensor | None
    """[states, batch, tokens, width]; one token where no more are wanted."""
    attention: Tensor | None
    """[layers, batch, heads, tokens, tokens]."""

    @classmethod
    def named_in(cls, found: Mapping[str, Tensor]) -> Self:
        """What `by_name` put into a batch."""
        return cls(hidden=found.get(HIDDEN), attention=found.get(ATTENTION))

    def by_name(self) -> Tensors:
        """What there is of both, for a batch."""
        found = {HIDDEN: self.hidden, ATTENTION: self.attention}
        return {name: each for name, each in found.items() if each is not None}


class FrozenTeacher:
    """A teacher that only answers.

    Args:
        model: An encoder or a classifier; it is put into eval mode, for a dropping-out teacher teaches noise.
        wanted: Layers to give.
        precision: ``bf16`` or ``fp32``, of the forward pass; what it gives has 16 bits either way.
        device: Where it runs.
    """

    def __init__(self, model: PreTrainedModel, *, wanted: WantedLayers, precision: str, device: str) -> None:
        use_recording_attention(model)
        self._model = model.to(device).eval()
        if precision == "bf16":
            _store_linear_weights_in_16_bit(self._model)
        self._wanted = wanted
        self._precision = precision
        self._device = device
        self._answers = captured(partial(self._compute, with_layers=False), device=device)
        self._layers = captured(partial(self._compute, with_layers=True), device=device)

    def layers_of(self, inputs: dict[str, Tensor]) -> LayerOutputs:
        """The wanted layers for a batch on the teacher's device; on a GPU overwritten by the next batch's."""
        return LayerOutputs.named_in(self._layers(inputs))

    def answers_of(self, inputs: dict[str, Tensor], *, with_layers: bool) -> tuple[Tensor, LayerOutputs]:
        """A classifier's logits, and the wanted layers if asked for; see `layers_of`."""
        found = (self._layers if with_layers else self._answers)(inputs)
        return found["logits"], LayerOutputs.named_in(found)

    def _compute(self, inputs: Tensors, *, with_layers: bool) -> Tensors:
        wanted = self._wanted
        record = AttentionRecord(wanted.attention, target=wanted.attention_target) if with_layers else None
        with (
            torch.inference_mode(),
            autocast(device=self._device, precision=self._precision),
            fast_matmul(device=self._device, precision=self._precision),
        ):
            answer = self._model(
                **inputs, attention_record=record, output_hidden_states=with_layers and bool(wanted.hidden)
            )
        found = {"logits": answer.logits} if "logits" in answer else {}
        if record is None:
            return found
        mask = inputs["attention_mask"].bool()
        if wanted.hidden:
            kept = wanted.state_tokens(mask.shape[1])
            states = torch.stack([answer.hidden_states[layer][:, :kept].to(STORED) for layer in wanted.hidden])
            found[HIDDEN] = states.where(mask[:, :kept, None], 0.0)
        if wanted.attention:
            pairs = mask[:, None, :, None] & mask[:, None, None, :]
            found[ATTENTION] = record.stacked().to(STORED).where(pairs, 0.0)
        return found


def _store_linear_weights_in_16_bit(model: PreTrainedModel) -> None:
    """What autocast would do to a frozen model's weights in every forward pass, once."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.to(torch.bfloat16)
