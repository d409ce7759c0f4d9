"""How much heads, FFN columns and layers matter: by their weights, or by what the loss says of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from compressbench.methods.fitting import Loss
from compressbench.models.slimming import encoder_layers

Batch = tuple[Mapping[str, Tensor], Tensor]
"""A model's inputs and the targets of the loss."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Higher matters more; compared within a layer, layers among each other."""

    heads: Tensor
    """[layers, heads]."""
    columns: Tensor
    """[layers, FFN columns]."""
    layers: Tensor
    """[layers]."""


def magnitude_importance(model: PreTrainedModel) -> Importance:
    """L2 norm of a unit's weights: a head's query, key and value rows and output columns, a column's row and column.

    Of a layer: of the two matrices that write to the residual stream.
    """
    heads, columns, layers = [], [], []
    with torch.no_grad():
        for layer in encoder_layers(model):
            attention, width = layer.attention.self, layer.attention.self.attention_head_size
            written = layer.attention.output.dense.weight.square().sum(0)
            read = sum(getattr(attention, name).weight.square().sum(1) for name in ("query", "key", "value"))
            heads.append((written + read).view(-1, width).sum(1).sqrt())
            ffn = layer.output.dense.weight.square().sum(0)
            columns.append((ffn + layer.intermediate.dense.weight.square().sum(1)).sqrt())
            layers.append((written.sum() + ffn.sum()).sqrt())
    return Importance(heads=torch.stack(heads), columns=torch.stack(columns), layers=torch.stack(layers))


def gradient_importance(model: PreTrainedModel, batches: Iterable[Batch], loss: Loss) -> Importance:
    """``E_x |sum_t h_t . dL/dh_t|``: what the loss would change, to first order, if a unit's output h were gated off.

    For heads this is Michel et al. 2019 (arXiv:1905.10650), there normalised over a layer, which changes no order
    within it; for FFN columns the same gate behind the activation, as in McCarley et al. 2019 (arXiv:1910.06360); for
    a layer both of its branches, before they are added to the residual stream.

    Args:
        model: In eval mode, so that dropout draws nothing; its gradients are left empty.
        batches: Rows with targets.
        loss: Mean over a batch.
    """
    stack = encoder_layers(model)
    width = stack[0].attention.self.attention_head_size
    totals: dict[str, list[Any]] = {name: [0.0] * len(stack) for name in ("heads", "columns", "layers")}
    for inputs, targets in batches:
        with _gated(stack) as gates:
            logits = model(**inputs).logits.float()
            (loss(logits, targets) * len(targets)).backward()
        for place, (context, attended, inner, fed) in enumerate(gates):
            by_feature = _saliency(context)
            totals["heads"][place] += by_feature.view(len(by_feature), -1, width).sum(2).abs().sum(0)
            totals["columns"][place] += _saliency(inner).abs().sum(0)
            totals["layers"][place] += (_saliency(attended).sum(1) + _saliency(fed).sum(1)).abs().sum()
        model.zero_grad(set_to_none=True)
    return Importance(**{name: torch.stack(values).cpu() for name, values in totals.items()})


def _saliency(gate: list[Tensor]) -> Tensor:
    """``sum_t h_t * dL/dh_t`` of activations [rows, tokens, features]: [rows, features]."""
    (hidden,) = gate
    assert hidden.grad is not None
    return (hidden.detach() * hidden.grad).sum(1)


@contextmanager
def _gated(stack: Any) -> Iterator[list[tuple[list[Tensor], ...]]]:
    """Within it, a forward pass leaves each layer's activations with gradients: context, attention, inner, FFN."""
    gates: list[tuple[list[Tensor], ...]] = []
    handles = []

    def keep(gate: list[Tensor], hidden: Tensor) -> None:
        hidden.retain_grad()
        gate.append(hidden)

    for layer in stack:
        context, attended, inner, fed = gate = ([], [], [], [])  # type: ignore[var-annotated]
        gates.append(gate)
        for module, before, after in (
            (layer.attention.output.dense, context, attended),
            (layer.output.dense, inner, fed),
        ):
            handles.append(module.register_forward_pre_hook(lambda _, inputs, gate=before: keep(gate, inputs[0])))
            handles.append(module.register_forward_hook(lambda _, __, output, gate=after: keep(gate, output)))
    try:
        yield gates
    finally:
        for handle in handles:
            handle.remove()
