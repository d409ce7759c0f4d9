"""What a model folder (or hub name) holds, read from config and weight headers; no tensor is loaded for it."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compressbench.artifacts.manifest import file_sha256
from compressbench.errors import BadInput
from compressbench.models.geometry import Geometry, geometry_of
from compressbench.models.weight_headers import check_tokenizer, check_weights, tensor_shapes
from compressbench.tasks.task import Task

ENCODER_FAMILIES = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")
HEAD_PREFIXES = ("classifier.", "pre_classifier.")
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model",
)  # fmt: skip
VOCABULARY_FILES = frozenset({"tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model"})
_GENERIC_LABEL = re.compile(r"label_\d+", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A model folder, described."""

    path: Path
    """The local folder; of a hub name, the fetched snapshot."""
    geometry: Geometry
    model_type: str
    is_classifier: bool
    """Whether it is fine-tuned: the config names a sequence classifier *and* the weights hold its head."""
    output_count: int
    """Logits per row, if it is a classifier."""
    labels: tuple[str, ...] | None
    """Label names in id order; None where they are only ``LABEL_n``."""
    revision: str | None = None
    """The hub's commit; None for a local folder."""


def inspect_model(source: str, *, offline: bool = False) -> ModelInfo:
    """Describe the model in a folder, or fetch the one of that hub name and describe it.

    Raises:
        BadInput: If there is no such model, or it is none we can train; the message says what to do.
    """
    from compressbench.models.hub import fetch_model

    folder = Path(source).expanduser()
    revision = None
    if not folder.is_dir():
        folder = fetch_model(source, offline=offline)
        revision = folder.name
    config = _read_config(folder)
    model_type = str(config.get("model_type", ""))
    if model_type not in ENCODER_FAMILIES:
        raise BadInput(
            f"{source} is of the architecture {model_type or 'unknown'!r}, not a BERT-family encoder: "
            f"use a model of type {', '.join(ENCODER_FAMILIES)}"
        )
    shapes = tensor_shapes(folder)
    if not VOCABULARY_FILES & {each.name for each in folder.iterdir()}:
        raise BadInput(f"{source} holds no tokenizer (tokenizer.json or vocab.txt): copy the model's tokenizer into it")
    geometry = _read_geometry(folder)
    check_weights(folder, shapes, geometry)
    check_tokenizer(folder, geometry)
    labels = _label_names(config)
    named_classifier = any("ForSequenceClassification" in name for name in config.get("architectures") or ())
    return ModelInfo(
        path=folder,
        geometry=geometry,
        model_type=model_type,
        is_classifier=named_classifier and any(name.startswith(HEAD_PREFIXES) for name in shapes),
        output_count=_output_count(shapes) or len(labels),
        labels=_told_names(labels),
        revision=revision,
    )


def describe_folder(folder: Path) -> ModelInfo:
    """Describe the classifier whose config.json lies in a folder, whatever its weights are kept in.

    Raises:
        BadInput: If there is no config.json that can be used.
    """
    config = _read_config(folder)
    labels = _label_names(config)
    return ModelInfo(
        path=folder,
        geometry=_read_geometry(folder),
        model_type=str(config.get("model_type", "")),
        is_classifier=True,
        output_count=len(labels),
        labels=_told_names(labels),
    )


def check_teacher(info: ModelInfo, task: Task) -> tuple[str, ...]:
    """Refuse a fine-tuned teacher whose outputs are not the task's; return warnings on what cannot be checked.

    Raises:
        BadInput: If the number of outputs differs, or the same labels stand in another order.
    """
    if not info.is_classifier:
        return ()
    if info.output_count != task.output_count:
        wanted = "one real number" if task.is_regression else f"{task.output_count} labels ({', '.join(task.labels)})"
        raise BadInput(
            f"the classifier {info.path} has {info.output_count} outputs and the task {task.name} has {wanted}: "
            f"give one fine-tuned on {task.name}, or a pretrained encoder to fine-tune here"
        )
    if task.is_regression or info.labels is None:
        return ()
    theirs, ours = [[_plain(name) for name in names] for names in (info.labels, task.labels)]
    if theirs == ours:
        return ()
    if sorted(theirs) == sorted(ours):
        raise BadInput(
            f"the classifier {info.path} has the labels of {task.name} in another order, {', '.join(info.labels)} "
            f"instead of {', '.join(task.labels)}: reorder its classifier rows and id2label, or fine-tune one here"
        )
    warning = (
        f"the classifier {info.path} names its labels {', '.join(info.labels)}, the task {task.name} "
        f"{', '.join(task.labels)}; they are taken to be the same, in this order"
    )
    return (warning,)


def external_fingerprint(folder: Path) -> str:
    """sha256 over the names and sha256 of a folder's config, weights and tokenizer files."""
    digest = hashlib.sha256()
    for path in relevant_files(folder):
        digest.update(f"{path.name}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def relevant_files(folder: Path) -> list[Path]:
    """Config, safetensors and tokenizer files of a model folder, sorted by name."""
    named = {"config.json", "model.safetensors.index.json", *TOKENIZER_FILES}
    return sorted(path for path in folder.iterdir() if path.name in named or path.suffix == ".safetensors")


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise BadInput(f"{folder} is no model folder: it holds no config.json") from None
    except ValueError as error:
        raise BadInput(f"{path} is not readable JSON ({error}): copy or download it again") from None
    if not isinstance(config, dict):
        raise BadInput(f"{path} is no JSON object: copy or download it again")
    return config


def _read_geometry(folder: Path) -> Geometry:
    """Through transformers, for a config.json leaves out what equals its family's defaults."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        return geometry_of(AutoConfig.from_pretrained(folder, local_files_only=True))
    except (ValueError, TypeError, KeyError, OSError, StrictDataclassError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise BadInput(f"{folder / 'config.json'} describes no model that can be built ({reason})") from None


def read_label_names(folder: Path) -> tuple[str, ...] | None:
    """The label names in id order of a folder's config.json; None where there is none, or they are ``LABEL_n``.

    Raises:
        BadInput: If it is no JSON.
    """
    if not (folder / "config.json").exists():
        return None
    return _told_names(_label_names(_read_config(folder)))


def _told_names(names: tuple[str, ...]) -> tuple[str, ...] | None:
    return None if all(_GENERIC_LABEL.fullmatch(name) for name in names) else names


def _label_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    names = config.get("id2label")
    if isinstance(names, dict) and names:
        return tuple(str(names[key]) for key in sorted(names, key=int))
    return tuple(f"LABEL_{index}" for index in range(int(config.get("num_labels", 2))))


def _output_count(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Rows of the last layer of the head; RoBERTa and ELECTRA call it `out_proj`."""
    for name in ("classifier.out_proj.weight", "classifier.weight"):
        if name in shapes:
            return shapes[name][0]
    return None


def _plain(label: str) -> str:
    return re.sub(r"[-_\s]+", " ", label).strip().lower()
