"""A classifier pruned layer by layer, without training: each layer sees what the pruned layers before it give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from compressbench.artifacts.artifact import Artifact
from compressbench.errors import MethodFailed
from compressbench.methods.fitted import sampled_rows
from compressbench.methods.iterative_pruning import linear_weights
from compressbench.methods.matmul_precision import fast_matmul
from compressbench.methods.method import Context
from compressbench.methods.training import to_tensors
from compressbench.models.loading import accepted_inputs, load_classifier, save_classifier
from compressbench.models.slimming import encoder_layers
from compressbench.numerics.pruning_masks import count_pruned, count_revived
from compressbench.numerics.reconstruction import prune_and_reconstruct, share_counts
from compressbench.prediction import batches_by_length, encode_rows

if TYPE_CHECKING:
    from compressbench.methods.sparsegpt import PruneSparsegpt

Inputs = Mapping[str, Tensor]
BATCH_SIZE = 32


def prune_without_training(method: PruneSparsegpt, source: Artifact, context: Context) -> dict[str, int]:
    """Prune the classifier in `source` as `method` says and write the folder; returns rows and pruned weights.

    Raises:
        MethodFailed: If not as many weights are zero in the end as asked for.
    """
    torch.set_num_threads(context.threads)
    rows = sampled_rows(context.train, count=method.calibration_rows, seed=context.seed)
    encoded = encode_rows(rows, tokenizer_path=source.tokenizer_path, max_length=context.task.max_length)
    model = load_classifier(source.path).to(context.device)
    names = accepted_inputs(model)
    batches = [
        {name: each for name, each in to_tensors(encoded.batch(places), device=context.device).items() if name in names}
        for places in batches_by_length(encoded.lengths, batch_size=BATCH_SIZE)
    ]
    with (
        fast_matmul(device=context.device, precision="fp32"),
        context.progress.stage(f"prune {context.task.name}", total=len(encoder_layers(model)) + 1) as advance,
    ):
        masks = prune_layers(model, batches, amount=method.amount, advance=advance)
    weights = linear_weights(model.to("cpu"))
    pruned, wanted = count_pruned(masks), round(method.amount * sum(each.numel() for each in weights.values()))
    if pruned != wanted or count_revived(weights, masks):
        raise MethodFailed(f"pruning ended with {pruned} masked weights of {wanted}, or some of them not zero")
    save_classifier(model, tokenizer_from=source.path, to=context.to)
    return {"rows": len(rows), "pruned_weights": pruned}


class _Reached(Exception):
    """A pass has come to the first encoder layer."""


def prune_layers(
    model: PreTrainedModel, batches: Sequence[Inputs], *, amount: float, advance: Callable[[], object]
) -> dict[str, Tensor]:
    """Prune `amount` of every Linear layer's weights, in place; returns the masks by weight, True kept.

    Args:
        model: A classifier built like BERT, in eval mode.
        batches: Its inputs, calibration rows with their attention mask.
        amount: Share above 0 and below 1; exact over all weights together, to one weight.
        advance: Called after each encoder layer, and once for all that is outside of them.
    """
    weights = linear_weights(model)
    counts = dict(zip(weights, share_counts([each.numel() for each in weights.values()], amount=amount), strict=True))
    names = {id(module): f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    masks: dict[str, Tensor] = {}

    def prune(modules: Sequence[nn.Linear], passes: Iterator[Tensor]) -> None:
        for group, gram in _grams(modules, passes):
            for module in group:
                name = names[id(module)]
                found, masks[name] = prune_and_reconstruct(module.weight, gram, count=counts[name])
                module.weight.copy_(found)

    with torch.no_grad():
        tokens = [each["attention_mask"].bool() for each in batches]
        calls = _first_layer_calls(model, batches)
        for layer in encoder_layers(model):
            prune(_linear_in(layer), (_run(layer, call, kept) for call, kept in zip(calls, tokens, strict=True)))
            for call in calls:
                call[0][0] = _hidden(layer(*call[0], **call[1]))
            advance()
        left = counts.keys() - masks.keys()
        outside = [each for each in _linear_in(model) if names[id(each)] in left]
        prune(outside, (_run_whole(model, each, kept) for each, kept in zip(batches, tokens, strict=True)))
        advance()
    return masks


def _grams(modules: Sequence[nn.Linear], passes: Iterator[Tensor]) -> list[tuple[list[nn.Linear], Tensor]]:
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


def _first_layer_calls(model: PreTrainedModel, batches: Sequence[Inputs]) -> list[tuple[list[Any], dict[str, Any]]]:
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


def _run(layer: nn.Module, call: tuple[list[Any], dict[str, Any]], mask: Tensor) -> Tensor:
    layer(*call[0], **call[1])
    return mask


def _run_whole(model: PreTrainedModel, inputs: Inputs, mask: Tensor) -> Tensor:
    model(**inputs)
    return mask


def _hidden(output: Any) -> Tensor:
    """A layer's hidden states, which families give alone or first of several."""
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found


def _linear_in(module: nn.Module) -> list[nn.Linear]:
    return [each for each in module.modules() if isinstance(each, nn.Linear)]
