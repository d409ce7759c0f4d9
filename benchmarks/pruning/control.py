"""The control of a grown teacher: the same model without the layers and the twins that growth added.

A BERT-Base grown from a 6 x 384 encoder by ``grow_bert_base.py`` (every feature twice, every second layer inserted with
residual branches of zero) holds about an eighth of its encoder weights in use. Pruning looks too easy on it: its curve
says something only beside a model from which exactly these parts were removed. What the fine-tuning moved apart between
twins is averaged; what it taught the inserted layers is lost, as it is when they are pruned.
"""

from pathlib import Path

import torch
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification

from compressbench.errors import BadInput
from compressbench.models.geometry import geometry_of
from compressbench.models.loading import load_classifier, save_classifier

_INNER_LAYER_NORM = "output.LayerNorm"


def ungrown(grown: BertForSequenceClassification) -> BertForSequenceClassification:
    """A classifier of half the layers and half the widths; a grown one without noise gives the same logits.

    Args:
        grown: Layers 0, 2, 4, ... are the old ones, 1, 3, 5, ... inserted; features 2i and 2i + 1 are twins.

    Raises:
        BadInput: If it has an odd number of layers or features, and so was not grown like that.
    """
    config = grown.config
    if config.num_hidden_layers % 2 or config.hidden_size % 2 or config.intermediate_size % 2:
        raise BadInput(f"a model of {geometry_of(config)} was not grown by doubling: give the grown teacher")
    values = config.to_dict()
    for name in ("num_hidden_layers", "hidden_size", "intermediate_size"):
        values[name] //= 2
    small = BertForSequenceClassification(BertConfig.from_dict(values)).eval()
    old = grown.state_dict()
    with torch.no_grad():
        for name, tensor in small.state_dict().items():
            tensor.copy_(_merged(old[_name_in_grown(name)], name))
    return small


def _name_in_grown(name: str) -> str:
    """Layer k is layer 2k, but for the LayerNorm that closes it, which moved into the inserted one behind."""
    prefix = "bert.encoder.layer."
    if not name.startswith(prefix):
        return name
    number, _, rest = name.removeprefix(prefix).partition(".")
    is_closing = rest.startswith(_INNER_LAYER_NORM)
    return f"{prefix}{2 * int(number) + is_closing}.{rest}"


def _merged(tensor: Tensor, name: str) -> Tensor:
    """Twin outputs averaged, twin inputs added up; a query row is scaled back, for its head is half as wide."""
    if not tensor.is_floating_point():
        return tensor
    if "embeddings" in name and tensor.dim() == 2:
        return (tensor[:, ::2] + tensor[:, 1::2]) / 2
    if tensor.dim() == 2:
        tensor = tensor[:, ::2] + tensor[:, 1::2]
    if not name.startswith("classifier."):
        tensor = (tensor[::2] + tensor[1::2]) / 2
    return tensor * 2**0.5 if ".query." in name else tensor


def write_control(model: Path, *, to: Path) -> str:
    """Write the control of the grown classifier in `model` as a Hugging Face folder; measure it as any other.

    Raises:
        BadInput: If `model` was not grown by doubling.
    """
    grown = load_classifier(model)
    small = ungrown(grown)
    save_classifier(small, tokenizer_from=model, to=to)
    before, after = (sum(each.numel() for each in every.base_model.encoder.parameters()) for every in (grown, small))
    return (
        f"{to}: {geometry_of(small.config)}, {after / before:.1%} of the encoder's parameters. Score it with\n"
        f"compressbench measure {to} --task TASK --data-dir GLUE --baseline {model}"
    )
