"""What a model's parts are called with on given rows: sums of outer products, and the calls of the first layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from compressbench.models.slimming import encoder_layers

Inputs = Mapping[str, Tensor]


class _Reached(Exception):
    """A pass has come to the first encoder layer."""


def input_grams(modules: Sequence[nn.Linear], passes: Iterator[Tensor]) -> list[tuple[list[nn.Linear], Tensor]]:
    """Modules that share their input, with the sum of its outer products over all passes.

    Args:
        modules: Linear layers.
        passes: Each step runs a batch through all of them and gives the mask of its tokens, [rows, tokens].
    """
    grams: dict[tuple[int, ...], Tensor] = {}
    with _inputs_kept(modules) as kept:
        for mask in passes:
            groups: dict[int, list[int]] = {}
            for place, seen in kept.items():
                groups.setdefault(id(seen), []).append(place)
            for places in groups.values():
                seen = kept[places[0]]
                rows = seen[mask] if seen.dim() == 3 and seen.shape[:2] == mask.shape else seen.flatten(0, -2)
                total = grams.setdefault(tuple(places), rows.new_zeros(rows.shape[1], rows.shape[1]))
                total.addmm_(rows.T, rows)
            kept.clear()
    return [([modules[place] for place in places], gram) for places, gram in grams.items()]


@contextmanager
def _inputs_kept(modules: Sequence[nn.Linear]) -> Iterator[dict[int, Tensor]]:
    """Within it, a pass leaves each module's input under the module's place."""
    kept: dict[int, Tensor] = {}

    def keep(place: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, inputs: kept.update({place: inputs[0]})

    handles = [module.register_forward_pre_hook(keep(place)) for place, module in enumerate(modules)]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def first_layer_calls(model: PreTrainedModel, batches: Sequence[Inputs]) -> list[tuple[list[Any], dict[str, Any]]]:
    """What the first encoder layer is called with for each batch; the hidden states are the first argument."""
    calls: list[tuple[list[Any], dict[str, Any]]] = []

    def take(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        calls.append((list(arguments), dict(named)))
        raise _Reached

    handle = encoder_layers(model)[0].register_forward_pre_hook(take, with_kwargs=True)
    try:
        for each in batches:
            try:
                model(**each)
            except _Reached:
                continue
    finally:
        handle.remove()
    return calls
