"""The names of a classifier's layers, known before there is a model: from its config alone, no weight is made."""

import re
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from compressbench.errors import InvalidParameter

OF_NODES = re.compile("MatMul|Gemm|Gather|/")
"""What names of nodes hold, which an export alone gives."""


@cache  # a plan asks again for each task and line
def layer_names(folder: Path | None, *, layers: int) -> tuple[str, ...]:
    """The layers whose weight is a matrix (Linear layers and embedding tables), in the model's order.

    Args:
        folder: Holds config.json; None: BERT.
        layers: Encoder layers, which may be others than the config's.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, BertConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True) if folder else BertConfig()
    config.num_hidden_layers = layers
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    matrices = [name for name, weight in model.named_parameters() if weight.dim() == 2]
    return tuple(name.removesuffix(".weight") for name in matrices)


def check_layer_patterns(patterns: str, names: tuple[str, ...]) -> None:
    """Refuse a pattern that is that of no layer; what may name a node is left to the export to judge.

    Args:
        patterns: Joined by ``;``; ``*`` stands for any text.
        names: The layers there will be.

    Raises:
        InvalidParameter: If there is one.
    """
    for pattern in filter(None, patterns.split(";")):
        spelled = (form for name in names for form in (name, f"{name}.weight"))
        if not OF_NODES.search(pattern) and not any(fnmatchcase(name, pattern) for name in spelled):
            raise no_such_layer(pattern, names)


def no_such_layer(pattern: str, names: tuple[str, ...]) -> InvalidParameter:
    """The error of a pattern that no layer among `names` has."""
    held = f"it has {names[0]} to {names[-1]}" if names else "it has none"
    return InvalidParameter(f"{pattern}, named to stay in fp32, is no layer of this model: {held}")
