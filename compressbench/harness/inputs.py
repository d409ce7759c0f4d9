"""Inputs for latency: optimum's dummy text inputs, as numpy arrays, the same for every model of a campaign."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from compressbench.harness.shapes import Shape

INPUT_NAMES = ("input_ids", "token_type_ids")
SAFE_VOCAB = 1000
"""Token ids below this exist in the vocabulary of every BERT-family model, for files that come without a config."""


def latency_inputs(onnx_paths: Sequence[Path], shapes: Sequence[Shape], *, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays named ``<shape>/<input>``: int64 [batch, tokens], no position masked.

    Args:
        onnx_paths: Models of the campaign; token ids stay inside the smallest vocabulary among them.
        shapes: Batch x tokens.
        seed: Of the token ids.
    """
    # optimum's generators take numpy without loading torch, and draw from numpy's global generator.
    from optimum.utils import DummyTextInputGenerator
    from optimum.utils.normalized_config import NormalizedTextConfig

    config = NormalizedTextConfig(SimpleNamespace(vocab_size=min(map(vocabulary_size, onnx_paths))))
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        arrays = {}
        for shape in shapes:
            generator = DummyTextInputGenerator(
                "text-classification", config, batch_size=shape.batch, sequence_length=shape.tokens
            )
            for name in INPUT_NAMES:
                arrays[f"{shape}/{name}"] = generator.generate(name, framework="np")
            # A random mask would make the work depend on the draw; every position is real.
            arrays[f"{shape}/attention_mask"] = np.ones((shape.batch, shape.tokens), dtype=np.int64)
        return arrays
    finally:
        np.random.set_state(state)


def vocabulary_size(onnx_path: Path) -> int:
    """What the config beside a model says, or a size that is always safe."""
    return _config_number(onnx_path, "vocab_size", SAFE_VOCAB)


def longest_input(onnx_path: Path) -> int:
    """Most tokens a row may have, by the config beside a model; 512 without one."""
    return _config_number(onnx_path, "max_position_embeddings", 512)


def _config_number(onnx_path: Path, name: str, default: int) -> int:
    try:
        number = json.loads((onnx_path.parent / "config.json").read_text())[name]
    except (OSError, ValueError, KeyError, TypeError):
        return default
    return number if isinstance(number, int) else default
