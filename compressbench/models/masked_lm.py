"""Masked language models: which folders hold a trained one, and its parts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compressbench.errors import BadInput
from compressbench.models.inspection import external_fingerprint, inspect_model
from compressbench.models.weight_headers import tensor_shapes

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import BertForMaskedLM

HEAD_TENSORS = (
    "cls.predictions.transform.dense.weight",
    "cls.predictions.transform.dense.bias",
    "cls.predictions.transform.LayerNorm.weight",
    "cls.predictions.transform.LayerNorm.bias",
    "cls.predictions.bias",
)
"""What a trained head has; its output matrix is the word embeddings unless the file holds another."""
OLDER_NAMES = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
SPECIAL = ("[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True, kw_only=True)
class MaskedLm:
    """A folder that holds a masked language model, looked at without loading it."""

    path: Path
    fingerprint: str
    """sha256 over its config, weights and tokenizer."""


def find_masked_lm(source: str, *, offline: bool = False) -> MaskedLm:
    """The masked language model of that folder or hub name.

    Raises:
        BadInput: If there is none, it is no BERT, or its head was not trained; the missing tensor is named.
    """
    info = inspect_model(source, offline=offline)
    if info.model_type != "bert":
        raise BadInput(f"{source} is of type {info.model_type}: use a masked language model of type bert")
    shapes = tensor_shapes(info.path)
    for name in HEAD_TENSORS:
        older = name
        for new, old in OLDER_NAMES.items():
            older = older.replace(new, old)
        if name not in shapes and older not in shapes:
            raise BadInput(
                f"{source} holds no trained masked-LM head: the tensor {name} is missing; use weights saved with "
                "their masked-LM head, such as bert-base-uncased, or fit one with benchmarks/fit_masked_lm.py"
            )
    return MaskedLm(path=info.path, fingerprint=external_fingerprint(info.path))


def load_masked_lm(folder: Path) -> BertForMaskedLM:
    """The model in `folder`, fp32, in eval mode."""
    import torch
    from transformers import BertForMaskedLM

    from compressbench.models.loading import quiet_transformers

    with quiet_transformers():
        model = BertForMaskedLM.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
    loaded: BertForMaskedLM = model.eval()
    return loaded


def load_tokenizer(folder: Path) -> Tokenizer:
    """The folder's tokenizer, which neither pads nor truncates.

    Raises:
        BadInput: If it is no WordPiece tokenizer with BERT's special pieces.
    """
    from tokenizers import Tokenizer

    if (folder / "tokenizer.json").exists():
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    else:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, local_files_only=True).backend_tokenizer
    kind = json.loads(tokenizer.to_str())["model"]["type"]
    missing = [piece for piece in SPECIAL if tokenizer.token_to_id(piece) is None]
    if kind != "WordPiece" or missing:
        what = f"has no piece {missing[0]}" if kind == "WordPiece" else f"is of the kind {kind}"
        raise BadInput(f"the tokenizer of {folder} {what}: use a masked LM with a WordPiece vocabulary, as BERT's")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
