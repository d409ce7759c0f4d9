"""A classifier pruned layer by layer, without training: each layer sees what the pruned layers before it give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from compressbench.artifacts.artifact import Artifact
from compressbench.errors import BadInput
from compressbench.memory import freed_memory_kept
from compressbench.methods.checkpoint import Checkpoint, Snapshot
from compressbench.methods.fitted import sampled_rows
from compressbench.methods.interrupts import deferred_interrupts
from compressbench.methods.iterative_pruning import check_kept, finish_pruning, linear_weights
from compressbench.methods.layer_inputs import Inputs, first_layer_calls, input_grams
from compressbench.methods.matmul_precision import fast_matmul
from compressbench.methods.method import Context
from compressbench.methods.training import to_tensors
from compressbench.models.loading import accepted_inputs, load_classifier, save_classifier
from compressbench.models.slimming import encoder_layers
from compressbench.numerics.reconstruction import prune_and_reconstruct, share_counts
from compressbench.prediction import batches_by_length, encode_rows

if TYPE_CHECKING:
    from compressbench.methods.sparsegpt import PruneSparsegpt

BATCH_SIZE = 32
STAGE = "prune layers"


def prune_without_training(method: PruneSparsegpt, source: Artifact, context: Context) -> dict[str, int]:
    """Prune the classifier in `source` as `method` says and write the folder; returns rows and pruned weights.

    Raises:
        MethodFailed: If not as many weights are zero in the end as asked for.
        BadInput: If what an interruption left is of another model.
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
    weights, checkpoint = linear_weights(model), context.checkpoint
    masks, done = _resume(checkpoint, weights)
    with (
        deferred_interrupts() as raise_if_asked,
        freed_memory_kept(),
        fast_matmul(device=context.device, precision="fp32"),
        context.progress.stage(
            f"prune {context.task.name}", total=len(encoder_layers(model)) + 1, done=done
        ) as advance,
    ):

        def end_layer() -> None:
            nonlocal done
            done += 1
            try:  # as in training: weights and masks belong together here
                advance()
                raise_if_asked()
            except KeyboardInterrupt:
                _keep(checkpoint, weights, masks, done=done)
                raise
            if checkpoint.is_due:
                _keep(checkpoint, weights, masks, done=done)

        prune_layers(model, batches, amount=method.amount, masks=masks, end_layer=end_layer)
    wanted = round(method.amount * sum(each.numel() for each in weights.values()))
    pruned = finish_pruning(linear_weights(model.to("cpu")), masks, wanted=wanted)
    save_classifier(model, tokenizer_from=source.path, to=context.to)
    return {"rows": len(rows), "pruned_weights": pruned}


def _keep(checkpoint: Checkpoint, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], *, done: int) -> None:
    """Write the weights that have a mask, with it; `done` counts layers."""
    tensors = {f"weight.{name}": weights[name].detach() for name in masks}
    tensors |= {f"mask.{name}": each for name, each in masks.items()}
    checkpoint.write(Snapshot(stage=STAGE, values={"done": done}, tensors=tensors))


def _resume(checkpoint: Checkpoint, weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """Put back what `_keep` wrote; its masks and layers, or none.

    Raises:
        BadInput: If it is of another model.
    """
    snapshot = checkpoint.read()
    if snapshot is None or snapshot.stage != STAGE:
        return {}, 0
    kept, masks = snapshot.part("weight"), snapshot.part("mask")
    for name, each in (*kept.items(), *masks.items()):
        try:
            check_kept(weights, name, each)
        except BadInput as error:
            raise BadInput(f"{checkpoint.path}: {error}") from None
    with torch.no_grad():
        for name, each in kept.items():
            weights[name].copy_(each)
    return {name: each.to(weights[name].device) for name, each in masks.items()}, int(snapshot.values["done"])


def prune_layers(
    model: PreTrainedModel,
    batches: Sequence[Inputs],
    *,
    amount: float,
    masks: dict[str, Tensor],
    end_layer: Callable[[], object],
) -> None:
    """Prune `amount` of every Linear layer's weights, in place.

    Args:
        model: A classifier built like BERT, in eval mode.
        batches: Its inputs, calibration rows with their attention mask.
        amount: Share above 0 and below 1; exact over all weights together, to one weight.
        masks: Of whole encoder layers that are pruned already; takes those of the others, by weight, True kept.
        end_layer: Called after each encoder layer that was not, and once for all that is outside of them.
    """
    weights = linear_weights(model)
    counts = dict(zip(weights, share_counts([each.numel() for each in weights.values()], amount=amount), strict=True))
    names = {id(module): f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}

    def prune(module: nn.Module, passes: Iterator[Tensor]) -> None:
        left = [each for each in module.modules() if isinstance(each, nn.Linear) and names[id(each)] not in masks]
        if not left:
            return
        for group, gram in input_grams(left, passes):
            for each in group:
                name = names[id(each)]
                found, masks[name] = prune_and_reconstruct(each.weight, gram, count=counts[name])
                each.weight.copy_(found)
        end_layer()

    with torch.no_grad():
        tokens = [each["attention_mask"].bool() for each in batches]
        calls = first_layer_calls(model, batches)
        for layer in encoder_layers(model):
            prune(layer, (_run(layer, call, kept) for call, kept in zip(calls, tokens, strict=True)))
            for call in calls:
                call[0][0] = _hidden(layer(*call[0], **call[1]))
        prune(model, (_run_whole(model, each, kept) for each, kept in zip(batches, tokens, strict=True)))


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
