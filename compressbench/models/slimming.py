"""A BERT encoder with heads, FFN columns or whole layers taken out: smaller dense matrices, else the same."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

Kept = Sequence[Sequence[int]]
"""For each layer the units that stay, ascending."""


def encoder_layers(model: "PreTrainedModel") -> Any:
    """The ModuleList of a classifier's encoder layers (BERT's parts under BERT's names)."""
    return model.base_model.encoder.layer


def keep_layers(model: "PreTrainedModel", kept: Sequence[int]) -> None:
    """Take out the encoder layers that are not in `kept`, in place; the config says how many are left."""
    from torch.nn import ModuleList

    layers: list[Any] = [encoder_layers(model)[place] for place in kept]
    encoder: Any = model.base_model.encoder
    encoder.layer = ModuleList(layers)
    for place, layer in enumerate(layers):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = place
    model.config.num_hidden_layers = len(kept)


def keep_columns(model: "PreTrainedModel", kept: Kept) -> None:
    """Take out FFN columns (neurons) in place: rows of a layer's first matrix, columns of its second.

    Args:
        model: A classifier.
        kept: As many in each layer, for that is what a config can say.
    """
    for layer, places in zip(encoder_layers(model), kept, strict=True):
        layer.intermediate.dense = _with_rows(layer.intermediate.dense, places)
        layer.output.dense = _with_columns(layer.output.dense, places)
    model.config.intermediate_size = len(kept[0])


def keep_heads(model: "PreTrainedModel", kept: Kept) -> None:
    """Take out attention heads in place; the others keep their width.

    A config of transformers 5 ties the width of a head to ``hidden_size / num_attention_heads``, so no config describes
    what comes out and `from_pretrained` cannot open it. ``attention_head_size`` is added to the config for readers.

    Args:
        model: A classifier.
        kept: As many in each layer.
    """
    for layer, places in zip(encoder_layers(model), kept, strict=True):
        attention = layer.attention.self
        width = attention.attention_head_size
        features = [width * head + place for head in places for place in range(width)]
        for name in ("query", "key", "value"):
            setattr(attention, name, _with_rows(getattr(attention, name), features))
        layer.attention.output.dense = _with_columns(layer.attention.output.dense, features)
        attention.num_attention_heads, attention.all_head_size = len(places), len(features)
        model.config.attention_head_size = width
    model.config.num_attention_heads = len(kept[0])


def _with_rows(old: "nn.Linear", places: Sequence[int]) -> "nn.Linear":
    """Fewer outputs."""
    return _linear(old.weight[list(places)], old.bias[list(places)])


def _with_columns(old: "nn.Linear", places: Sequence[int]) -> "nn.Linear":
    """Fewer inputs."""
    return _linear(old.weight[:, list(places)], old.bias)


def _linear(weight: "Tensor", bias: "Tensor") -> "nn.Linear":
    import torch

    new = torch.nn.Linear(weight.shape[1], weight.shape[0], device=weight.device)
    with torch.no_grad():
        new.weight.copy_(weight)
        new.bias.copy_(bias)
    return new
