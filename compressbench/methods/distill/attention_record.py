"""Attention as distillation compares it: the scores before the softmax, which transformers does not return."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask

from compressbench.numerics.distillation_losses import cleared_scores

RECORDING = "compressbench_recording"
AttentionTarget = Literal["scores", "probabilities"]


class AttentionRecord:
    """Collects the attention of some layers during one forward pass: ``model(..., attention_record=record)``."""

    def __init__(self, layers: tuple[int, ...], *, target: AttentionTarget = "scores") -> None:
        self._found: dict[int, Tensor] = {}
        self._layers = layers
        self._target = target

    def see(self, layer: int, *, scores: Tensor, probabilities: Tensor) -> None:
        """Keep what layer number `layer` computed, if it is one of those asked for."""
        if layer in self._layers:
            self._found[layer] = cleared_scores(scores) if self._target == "scores" else probabilities

    def stacked(self) -> Tensor:
        """[layers, batch, heads, tokens, tokens], in the order asked for."""
        return torch.stack([self._found[layer] for layer in self._layers])


def recording_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float = 1.0,
    dropout: float = 0.0,
    attention_record: AttentionRecord | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Plain attention, as transformers' eager one computes it, that shows its scores to `attention_record`.

    Args:
        module: The layer's self-attention.
        query: [batch, heads, tokens, head width]; `key` and `value` alike.
        key: See `query`.
        value: See `query`.
        attention_mask: Added to the scores: 0 where both tokens are real, very low elsewhere.
        scaling: Of the scores.
        dropout: Of the probabilities, while training.
        attention_record: Sees scores (unmasked) and probabilities (before dropout), if given.

    Returns:
        The layer's output [batch, tokens, heads, head width] and the probabilities.
    """
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    masked = scores if attention_mask is None else scores + attention_mask
    probabilities = nn.functional.softmax(masked, dim=-1)
    if attention_record is not None:
        attention_record.see(module.layer_idx, scores=scores, probabilities=probabilities)  # type: ignore[arg-type]
    dropped = nn.functional.dropout(probabilities, p=dropout, training=module.training)
    return torch.matmul(dropped, value).transpose(1, 2).contiguous(), probabilities


def additive_mask(*shape: Any, dtype: torch.dtype = torch.float32, **told: Any) -> Tensor | None:
    """As transformers' mask for eager attention: 0 where both tokens are real, the lowest number elsewhere.

    Theirs makes a number on the CPU in some releases, which no CUDA graph can hold.
    """
    mask = sdpa_mask(*shape, **{**told, "allow_is_causal_skip": False})
    return None if mask is None else torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)


def use_recording_attention(model: PreTrainedModel) -> None:
    """Let `model` take an `attention_record`; its outputs stay those of eager attention."""
    AttentionInterface.register(RECORDING, recording_attention)
    AttentionMaskInterface.register(RECORDING, additive_mask)
    model.set_attn_implementation(RECORDING)
