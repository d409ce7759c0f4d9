"""Deeper models that compute the same function: what few layers learned is kept, and there is room for more."""

import copy
from typing import TYPE_CHECKING, Any, TypeVar

from compressbench.errors import InvalidParameter

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Model = TypeVar("Model", bound="PreTrainedModel")


def grow_depth(model: Model, *, layers: int) -> Model:
    """A copy of a BERT model with more encoder layers and the same hidden states at its end.

    New layers follow the old ones as evenly as the counts allow. Each is a copy of the layer before it whose two
    residual branches add zero (their last weights are zero, so a first step already moves them). BERT normalises
    after the addition, so a new layer normalises what is normalised already: that is the identity for a gain of 1
    and a bias of 0. The old layer therefore ends in a neutral LayerNorm, and its own closes the last of the new ones.

    Args:
        model: A BertModel, or a model that holds one as ``bert``.
        layers: How many the copy has; at least as many as `model`.

    Raises:
        InvalidParameter: If `layers` is fewer than there are.

    Reference:
        Chen et al. 2016, "Net2Net: Accelerating Learning via Knowledge Transfer", arXiv:1511.05641; there for
        convolutions without normalisation after the addition.
    """
    from torch.nn import ModuleList

    have = model.config.num_hidden_layers
    if layers < have:
        raise InvalidParameter(f"a model of {have} layers cannot grow to {layers}: ask for {have} or more")
    grown = copy.deepcopy(model)
    encoder = _encoder(grown)
    stack: list[Any] = []
    for place, layer in enumerate(encoder.layer):
        until = (place + 1) * layers // have
        stack += [layer, *_followers(layer, count=until - len(stack) - 1)]
    encoder.layer = ModuleList(stack)
    for place, layer in enumerate(stack):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = place
    grown.config.num_hidden_layers = layers
    return grown


def _followers(layer: Any, *, count: int) -> list[Any]:
    """`count` layers that add nothing; the LayerNorm that closed `layer` closes the last of them."""
    followers = [copy.deepcopy(layer) for _ in range(count)]
    for follower in followers:
        _fill(follower.attention.output.dense, weight=0.0)
        _fill(follower.output.dense, weight=0.0)
        _fill(follower.attention.output.LayerNorm, weight=1.0)
    for before in [layer, *followers][:-1]:
        _fill(before.output.LayerNorm, weight=1.0)
    return followers


def _fill(module: Any, *, weight: float) -> None:
    from torch.nn.init import constant_, zeros_

    constant_(module.weight, weight)
    zeros_(module.bias)


def slim_inside(model: Model, *, heads: int) -> Model:
    """Fewer attention heads of the same size, in place: the layers stay as wide between them. New weights are random.

    `grow_inside` gives the heads back. (The FFN's width is the config's to say.)
    """
    for layer in _encoder(model).layer:
        attention, width = layer.attention, heads * layer.attention.self.attention_head_size
        for name in ("query", "key", "value"):
            setattr(
                attention.self, name, _linear(model.config.hidden_size, width, spread=model.config.initializer_range)
            )
        attention.output.dense = _linear(width, model.config.hidden_size, spread=model.config.initializer_range)
        attention.self.num_attention_heads, attention.self.all_head_size = heads, width
    return model


def grow_inside(model: Model, *, heads: int, intermediate: int, seed: int) -> Model:
    """A copy of a BERT model with more attention heads and FFN neurons that computes the same.

    What a new head or neuron reads is random; what it writes has weight zero.

    Args:
        model: A BertModel, or a model that holds one as ``bert``; its heads keep their size.
        heads: How many each layer of the copy has.
        intermediate: FFN neurons of each layer of the copy.
        seed: Of the new weights.

    Raises:
        InvalidParameter: If there are more heads or neurons already.
    """
    import torch

    grown = copy.deepcopy(model)
    spread = model.config.initializer_range
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in _encoder(grown).layer:
            attention, width = layer.attention, heads * layer.attention.self.attention_head_size
            for name in ("query", "key", "value"):
                setattr(attention.self, name, _more_outputs(getattr(attention.self, name), width, spread=spread))
            attention.output.dense = _more_inputs(attention.output.dense, width)
            attention.self.num_attention_heads, attention.self.all_head_size = heads, width
            layer.intermediate.dense = _more_outputs(layer.intermediate.dense, intermediate, spread=spread)
            layer.output.dense = _more_inputs(layer.output.dense, intermediate)
    grown.config.num_attention_heads, grown.config.intermediate_size = heads, intermediate
    return grown


def add_noise(model: Model, *, relative: float, seed: int) -> Model:
    """Small random values on every weight that is exactly zero, in place, so that new parts do not stay alike.

    Args:
        model: A grown model; only its Linear weights are looked at.
        relative: Standard deviation relative to that of new weights in the model's family.
        seed: Of the noise.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    spread = relative * model.config.initializer_range
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):
                noise = torch.randn(module.weight.shape, generator=generator) * spread
                module.weight += noise * (module.weight == 0)
    return model


def _encoder(model: Any) -> Any:
    return getattr(model, model.base_model_prefix, model).encoder


def _linear(inputs: int, outputs: int, *, spread: float) -> Any:
    from torch import nn

    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=spread)
    nn.init.zeros_(layer.bias)
    return layer


def _more_outputs(old: Any, count: int, *, spread: float) -> Any:
    import torch

    _check_growth(old.out_features, count)
    new = _linear(old.in_features, count, spread=spread)
    with torch.no_grad():
        new.weight[: old.out_features] = old.weight
        new.bias[: old.out_features] = old.bias
    return new


def _more_inputs(old: Any, count: int) -> Any:
    import torch

    _check_growth(old.in_features, count)
    new = _linear(count, old.out_features, spread=0.0)
    with torch.no_grad():
        new.weight[:, : old.in_features] = old.weight
        new.bias.copy_(old.bias)
    return new


def _check_growth(have: int, count: int) -> None:
    if count < have:
        raise InvalidParameter(f"layers of {have} units inside cannot grow to {count}: ask for {have} or more")
