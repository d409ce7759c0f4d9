"""Structured pruning: the least important heads, FFN columns and layers are taken out, and the rest is fine-tuned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from compressbench.artifacts.artifact import Artifact
from compressbench.methods.checkpoint import Checkpoint
from compressbench.methods.fitted import sampled_rows
from compressbench.methods.iterative_pruning import lost_zeros, zero_share
from compressbench.methods.matmul_precision import fast_matmul
from compressbench.methods.method import Context
from compressbench.methods.targets import targets_of
from compressbench.methods.training import to_tensors
from compressbench.methods.unit_importance import Batch, Importance, gradient_importance, magnitude_importance
from compressbench.models.geometry import Geometry, geometry_of
from compressbench.models.loading import accepted_inputs, load_classifier, save_classifier
from compressbench.models.onnx_export import export_model
from compressbench.models.removal import slimmed
from compressbench.models.slimming import keep_columns, keep_heads, keep_layers
from compressbench.prediction import encode_rows

if TYPE_CHECKING:
    from compressbench.methods.prune import Prune

SLICE_SHARE, SLICE_ROWS = 0.1, 512
"""Of the training rows, drawn by the seed, that importance is taken from: a tenth, and no more than these."""
FEWEST_ROWS = 32
BATCH_SIZE = 32


def prune_structure(
    method: Prune, source: Artifact, context: Context, *, teacher: Artifact | None
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Take out what `method` asks for, fine-tune, and write the folder; returns training's budget and warnings.

    Args:
        method: The parameters.
        source: A classifier of the task.
        context: Rows, seed, folder.
        teacher: Whose answers are learned; None: the labels.

    Raises:
        BadInput: If the model is not built like BERT.
    """
    assert method.removal is not None
    method.check_against(source.path)
    torch.set_num_threads(context.threads)
    model = load_classifier(source.path)
    before = geometry_of(model.config)
    zeros = zero_share(model)
    take_out(
        model, _importance(method, model, source, context, teacher=teacher), before, slimmed(before, method.removal)
    )
    name = f"prune {context.task.name}, structured"
    budget = method.fit(model, source, context, stage_name=name, teacher=teacher)
    if method.makes == "torch":
        save_classifier(model, tokenizer_from=source.path, to=context.to)
    else:
        export_model(model, tokenizer_from=source.path, to=context.to, progress=context.progress)
    return budget, lost_zeros(zeros, model)


def take_out(model: PreTrainedModel, importance: Importance, before: Geometry, after: Geometry) -> None:
    """Keep the most important units of each layer, and the most important layers, in place; order stays."""
    if after.heads < before.heads:
        keep_heads(model, [_best(each, after.heads) for each in importance.heads])
    if after.intermediate < before.intermediate:
        keep_columns(model, [_best(each, after.intermediate) for each in importance.columns])
    if after.layers < before.layers:
        keep_layers(model, _best(importance.layers, after.layers))


def _best(scores: Tensor, count: int) -> list[int]:
    """Places of the `count` highest scores, ascending; of equals the first ones."""
    order = torch.sort(scores, descending=True, stable=True).indices
    return sorted(order[:count].tolist())


def _importance(
    method: Prune, model: PreTrainedModel, source: Artifact, context: Context, *, teacher: Artifact | None
) -> Importance:
    if method.importance == "magnitude":
        return magnitude_importance(model)
    rows = method.rows_of(context)
    count = min(max(round(SLICE_SHARE * len(rows)), FEWEST_ROWS), SLICE_ROWS)
    rows = sampled_rows(rows, count=count, seed=context.seed)
    # Without the checkpoint: the answers in it are those of all rows.
    targets = targets_of(rows, replace(context, checkpoint=Checkpoint()), teacher=teacher, precision=method.precision)
    encoded = encode_rows(rows, tokenizer_path=source.tokenizer_path, max_length=context.task.max_length)
    names = accepted_inputs(model)
    model.to(context.device)

    def batches(advance: Any) -> Iterator[Batch]:
        for start in range(0, len(rows), BATCH_SIZE):
            places = np.arange(start, min(start + BATCH_SIZE, len(rows)))
            inputs = to_tensors(encoded.batch(places), device=context.device)
            yield {name: inputs[name] for name in names}, torch.from_numpy(targets.values[places]).to(context.device)
            advance(len(places))

    with (
        fast_matmul(device=context.device, precision="fp32"),
        context.progress.stage(f"importance, {context.task.name}", total=len(rows)) as advance,
    ):
        found = gradient_importance(model, batches(advance), targets.loss)
    model.to("cpu")
    return found
