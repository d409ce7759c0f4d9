"""Global magnitude masks over BERT-Base's Linear weights: ours against `torch.nn.utils.prune.global_unstructured`."""

import time

import torch
from torch import nn
from torch.nn.utils import prune

from compressbench.models.geometry import BERT_BASE, Geometry
from compressbench.numerics.pruning_masks import global_magnitude_masks
from compressbench.stats import ratio_interval


def linear_layers(geometry: Geometry, *, labels: int = 2) -> list[nn.Linear]:
    """Every Linear layer of a BERT classifier of that geometry, weights as BERT draws them."""
    hidden, inner = geometry.hidden, geometry.intermediate
    one_layer = [(hidden, hidden)] * 4 + [(hidden, inner), (inner, hidden)]
    torch.manual_seed(0)
    layers = [nn.Linear(*shape) for shape in [*one_layer * geometry.layers, (hidden, hidden), (hidden, labels)]]
    with torch.no_grad():
        for layer in layers:
            layer.weight.normal_(std=0.02)
    return layers


def timed_rounds(layers: list[nn.Linear], *, rounds: int, amount: float) -> tuple[list[float], list[float], int]:
    """Nanoseconds of both sides in turns, the first of which changes; and how many weights they mask differently."""
    weights = {f"{place}.weight": layer.weight.detach().clone() for place, layer in enumerate(layers)}
    theirs_ns: list[float] = []
    ours_ns: list[float] = []
    differing = 0
    for number in range(rounds + 1):
        sides = ("theirs", "ours") if number % 2 else ("ours", "theirs")
        masks: dict[str, torch.Tensor] = {}
        for side in sides:
            start = time.perf_counter_ns()
            if side == "ours":
                masks = global_magnitude_masks(weights, sparsity=amount)
            else:
                prune.global_unstructured([(each, "weight") for each in layers], prune.L1Unstructured, amount=amount)
            (ours_ns if side == "ours" else theirs_ns).append(time.perf_counter_ns() - start)
        for place, layer in enumerate(layers):
            differing += int((layer.get_buffer("weight_mask").bool() != masks[f"{place}.weight"]).sum())
            prune.remove(layer, "weight")
            with torch.no_grad():
                layer.weight.copy_(weights[f"{place}.weight"])
    return theirs_ns[1:], ours_ns[1:], differing  # the first round warms up


def mask_table(*, rounds: int, amount: float, threads: int, geometry: Geometry = BERT_BASE) -> str:
    """A line of Markdown: both times, their ratio with its interval, and that the masks are equal."""
    torch.set_num_threads(threads)
    layers = linear_layers(geometry)
    total = sum(each.weight.numel() for each in layers)
    theirs, ours, differing = timed_rounds(layers, rounds=rounds, amount=amount)
    ratio = ratio_interval([theirs], [ours], seed=0)
    fastest = [min(side) / 1e9 for side in (theirs, ours)]
    return (
        f"Global mask, amount {amount:g} of {total / 1e6:.1f}M Linear weights, {rounds} rounds in turns, "
        f"{threads} threads\n\n"
        "| torch.nn.utils.prune, fastest (s) | ours, fastest (s) | ratio [95 %] | weights masked differently |\n"
        "| ---: | ---: | ---: | ---: |\n"
        f"| {fastest[0]:.2f} | {fastest[1]:.3f} | {ratio.ratio:.1f}x [{ratio.low:.1f}, {ratio.high:.1f}] "
        f"| {differing} |"
    )
