"""Classifiers in and out of folders: safetensors only, fp32, quiet, with a tokenizer.json always beside them."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressbench.errors import BadInput
from compressbench.models.inspection import (
    HEAD_PREFIXES,
    TOKENIZER_FILES,
    ModelInfo,
    check_teacher,
    external_fingerprint,
    inspect_model,
)
from compressbench.models.weight_headers import tensor_shapes
from compressbench.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

__all__ = [
    "ModelInfo", "accepted_inputs", "check_teacher", "external_fingerprint", "inspect_model", "load_classifier",
    "load_encoder", "new_classifier", "quiet_transformers", "save_classifier", "save_tokenizer",
]  # fmt: skip

REPORTED = {"output_loading_info": True, "ignore_mismatched_sizes": True}
"""Has transformers tell what it did not find instead of drawing it without a word."""


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No load reports, bars or advice from transformers inside; the user's settings return afterwards."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def load_classifier(folder: Path) -> "PreTrainedModel":
    """The classifier in `folder`, fp32, in eval mode.

    Raises:
        BadInput: If the folder holds no safetensors file, a damaged one, or not every weight of the model.
    """
    from transformers import AutoModelForSequenceClassification

    return _load(AutoModelForSequenceClassification, folder)


def load_encoder(folder: Path) -> "PreTrainedModel":
    """The encoder in `folder` without its head, fp32, in eval mode; a pooler that is missing is drawn.

    Raises:
        BadInput: If the folder holds no safetensors file, a damaged one, or not every weight of the encoder.
    """
    from transformers import AutoModel

    return _load(AutoModel, folder, drawn=("pooler.",))


def _load(auto_class: Any, folder: Path, *, drawn: tuple[str, ...] = ()) -> "PreTrainedModel":
    """A model whose weights are all there but for those named `drawn`."""
    import torch

    tensor_shapes(folder)  # says plainly what is wrong, before transformers does at length
    with quiet_transformers():
        model, report = auto_class.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True, **REPORTED
        )
    check_loaded(model, report, folder, drawn=drawn)
    loaded: PreTrainedModel = model.eval()
    return loaded


def new_classifier(pretrained: str | Path, task: Task, *, seed: int, offline: bool = False) -> "PreTrainedModel":
    """A pretrained encoder with a fresh head for `task`; a head that the weights already hold is left out.

    Raises:
        BadInput: If there is no such encoder.
    """
    import torch
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoConfig

    folder = inspect_model(str(pretrained), offline=offline).path
    config = AutoConfig.from_pretrained(folder, local_files_only=True, **head_settings(task))
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, report = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)].from_pretrained(
            None, config=config, state_dict=_encoder_tensors(folder), dtype=torch.float32, **REPORTED
        )
    check_loaded(model, report, folder, drawn=(*HEAD_PREFIXES, f"{model.base_model_prefix}.pooler."))
    return model.eval()


def check_loaded(model: "PreTrainedModel", report: Mapping[str, Any], folder: Path, *, drawn: tuple[str, ...]) -> None:
    """Refuse weights that transformers did not find, could not place, or that are no numbers.

    Args:
        model: As loaded.
        report: What `from_pretrained` tells with `REPORTED`.
        folder: For the message.
        drawn: Prefixes of names that may be missing.

    Raises:
        BadInput: If a weight is missing, has another shape than config.json asks for, or holds NaN or infinity.
    """
    import torch

    for name, held, wanted in report["mismatched_keys"]:
        raise BadInput(
            f"{folder}: {name} has the shape {tuple(held)} and config.json asks for {tuple(wanted)}: "
            "copy both from one model"
        )
    missing = sorted(name for name in report["missing_keys"] if not name.startswith(drawn))
    if missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise BadInput(
            f"{folder}: the weights lack {missing[0]}{more}, which config.json asks for: copy both from one model"
        )
    for name, values in model.named_parameters():
        if not torch.isfinite(values).all():
            raise BadInput(f"{folder}: {name} holds NaN or infinity: train it again, or take another checkpoint")


def head_settings(task: Task) -> dict[str, Any]:
    """What a config says of the head of a classifier for `task`."""
    if task.is_regression:
        return {"num_labels": 1, "problem_type": "regression"}
    return {
        "num_labels": task.output_count,
        "id2label": dict(enumerate(task.labels)),
        "label2id": {label: index for index, label in enumerate(task.labels)},
        "problem_type": "single_label_classification",
    }


def save_classifier(model: "PreTrainedModel", *, tokenizer_from: Path, to: Path) -> None:
    """Write config.json, model.safetensors and the tokenizer files of `tokenizer_from` into `to`."""
    to.mkdir(parents=True, exist_ok=True)
    with quiet_transformers():
        model.save_pretrained(to)
    save_tokenizer(tokenizer_from, to=to)


def save_tokenizer(folder: Path, *, to: Path) -> None:
    """Copy the tokenizer files of `folder`; make tokenizer.json where there is only a vocabulary."""
    to.mkdir(parents=True, exist_ok=True)
    if (folder / "tokenizer.json").exists():
        for name in TOKENIZER_FILES:
            if (folder / name).exists():
                shutil.copyfile(folder / name, to / name)
        return
    from transformers import AutoTokenizer

    with quiet_transformers():
        AutoTokenizer.from_pretrained(folder, use_fast=True, local_files_only=True).save_pretrained(to)


def accepted_inputs(model: "nn.Module") -> frozenset[str]:
    """Which of `input_ids`, `attention_mask`, `token_type_ids` the model's forward takes (DistilBERT: two)."""
    import inspect

    known = {"input_ids", "attention_mask", "token_type_ids"}
    return frozenset(known & set(inspect.signature(model.forward).parameters))


def _encoder_tensors(folder: Path) -> "dict[str, Tensor]":
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(HEAD_PREFIXES)}
