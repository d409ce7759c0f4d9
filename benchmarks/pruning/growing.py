"""A teacher of BERT-Base's shape from a classifier of half its depth and widths that was fine-tuned on the task.

Fine-tuning 6 x 384 costs an eighth of fine-tuning what grows from it, and the grown model answers the same but for the
noise: a teacher for distillation where a BERT-Base of one's own would take hours. It is redundant by construction (see
`control`), so that pruning looks too easy on it.
"""

from pathlib import Path

import torch
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification

from compressbench.models.geometry import geometry_of
from compressbench.models.growth import grow_depth
from compressbench.models.loading import load_classifier, save_classifier

NOISE = 0.01
"""Of each matrix's standard deviation: twins that stay alike would learn alike."""


def doubled(
    small: BertForSequenceClassification, *, noise: float = 0.0, seed: int = 0
) -> BertForSequenceClassification:
    """A classifier of twice the layers and widths; without noise it gives the same logits.

    Features 2i and 2i + 1 are twins of feature i, heads are twice as wide, and a layer that adds nothing follows each.

    Args:
        small: A BERT classifier.
        noise: Standard deviation of what is added to every matrix, relative to the matrix's own.
        seed: Of the noise.

    Reference:
        Chen et al. 2016, "Net2Net: Accelerating Learning via Knowledge Transfer", arXiv:1511.05641.
    """
    values = small.config.to_dict()
    for name in ("hidden_size", "intermediate_size"):
        values[name] *= 2
    wide = BertForSequenceClassification(BertConfig.from_dict(values)).eval()
    wide.load_state_dict({name: _twins(tensor, name) for name, tensor in small.state_dict().items()})
    grown = grow_depth(wide, layers=2 * small.config.num_hidden_layers)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in grown.parameters():
            if noise and weight.dim() == 2:
                spread = float(weight.std()) or small.config.initializer_range
                weight += torch.randn(weight.shape, generator=generator) * noise * spread
    return grown


def _twins(tensor: Tensor, name: str) -> Tensor:
    """Outputs twice, inputs shared; queries shrink, for a head's sum has twice the terms and root 2 the divisor."""
    if not tensor.is_floating_point():
        return tensor
    if "embeddings" in name and tensor.dim() == 2:
        return tensor.repeat_interleave(2, dim=1)
    if tensor.dim() == 2:
        tensor = tensor.repeat_interleave(2, dim=1) / 2
    if not name.startswith("classifier."):
        tensor = tensor.repeat_interleave(2, dim=0)
    return tensor / 2**0.5 if ".query." in name else tensor


def write_grown(model: Path, *, to: Path) -> str:
    """Write the grown classifier of `model` as a Hugging Face folder, for `compressbench run --teacher TASK=FOLDER`."""
    grown = doubled(load_classifier(model), noise=NOISE)
    save_classifier(grown, tokenizer_from=model, to=to)
    return f"{to}: {geometry_of(grown.config)}, which answers as {model} does but for noise of {NOISE:.0%}"
