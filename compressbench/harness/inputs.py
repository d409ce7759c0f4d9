"""Inputs for latency: random token ids as numpy arrays, the same for every model of a campaign."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from compressbench.harness.shapes import Shape

SAFE_VOCAB = 1000
"""Token ids below this exist in the vocabulary of every published BERT-family model."""


def latency_inputs(onnx_paths: Sequence[Path], shapes: Sequence[Shape], *, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays named ``<shape>/<input>``: int64 [batch, tokens], no position masked.

    Args:
        onnx_paths: Models of the campaign; token ids stay inside the smallest vocabulary among them.
        shapes: Batch x tokens.
        seed: Of the token ids.
    """
    rng = np.random.default_rng(seed)
    vocabulary = min(map(vocabulary_size, onnx_paths))
    arrays = {}
    for shape in shapes:
        size = (shape.batch, shape.tokens)
        arrays[f"{shape}/input_ids"] = rng.integers(vocabulary, size=size, dtype=np.int64)
        arrays[f"{shape}/token_type_ids"] = rng.integers(2, size=size, dtype=np.int64)
        # A random mask would make the work depend on the draw; every position is real.
        arrays[f"{shape}/attention_mask"] = np.ones(size, dtype=np.int64)
    return arrays


def vocabulary_size(onnx_path: Path) -> int:
    """What the config beside a model says; without one the rows of the table that the token ids look up."""
    return _config_number(onnx_path, "vocab_size", 0) or _looked_up_rows(onnx_path) or SAFE_VOCAB


def longest_input(onnx_path: Path) -> int:
    """Most tokens a row may have, by the config beside a model; 512 without one."""
    return _config_number(onnx_path, "max_position_embeddings", 512)


def _config_number(onnx_path: Path, name: str, default: int) -> int:
    try:
        number = json.loads((onnx_path.parent / "config.json").read_text())[name]
    except (OSError, ValueError, KeyError, TypeError):
        return default
    return number if isinstance(number, int) else default


def _looked_up_rows(onnx_path: Path) -> int | None:
    """Rows of the word embeddings, quantized or not, read off the graph; None where they are not found."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        graph = onnx.load(str(onnx_path), load_external_data=False).graph
    except (DecodeError, OSError):
        return None  # whoever opens the model says what is wrong with it
    rows = {each.name: each.dims[0] for each in graph.initializer if len(each.dims) == 2}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in rows:
            rows[node.output[0]] = rows[node.input[0]]
    tables = (each.input[0] for each in graph.node if each.op_type == "Gather" and each.input[1] == "input_ids")
    return next((rows[name] for name in tables if name in rows), None)
