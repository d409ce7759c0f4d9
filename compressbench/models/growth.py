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
    encoder = getattr(grown, grown.base_model_prefix, grown).encoder
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
