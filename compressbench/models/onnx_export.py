"""A classifier as fp32 ONNX: exported once per geometry, filled with each model's weights, checked against PyTorch.

Baseline and candidates go through the same passes: eager attention, a mask that adds -1e4 instead of the lowest float
(the same after the softmax, and it leaves the range of INT8 grids alone), constants folded, Linear layers as MatMul
and Add, constant shapes in Reshape, no traces of the exporter.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressbench.artifacts.artifact import ONNX_NAME
from compressbench.environment import major_minor
from compressbench.errors import MethodFailed
from compressbench.models.onnx_graph import (
    drop_unused_initializers,
    linear_as_matmul,
    strip_exporter_traces,
    write_model,
)
from compressbench.models.onnx_reshapes import constant_reshapes
from compressbench.models.onnx_tracing import eager_attention, inputs_of, traced
from compressbench.progress import Progress, Quiet

if TYPE_CHECKING:
    from onnx import ModelProto
    from transformers import PreTrainedModel

EXPORT_REVISION = 2
"""Raised whenever the same model makes another graph."""
EXPORT_LIBRARIES = ("torch", "transformers", "onnx", "onnxscript")
OPSET = 20  # the first with Gelu as one operator
MASKED = -10000.0
TOLERANCE = 1e-4
"""Largest difference between a logit of the graph and PyTorch's, relative to the largest logit (or to 1)."""
NOT_IN_THE_GRAPH = frozenset({
    "id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "architectures", "_name_or_path",
    "transformers_version", "dtype", "torch_dtype", "hidden_dropout_prob", "attention_probs_dropout_prob",
})  # fmt: skip

_TEMPLATES: dict[str, bytes] = {}
"""Templates of this process, for callers that name no folder to keep them in; without weights they are small."""


def export_classifier(
    folder: Path, *, to: Path, progress: Progress | None = None, template_cache: Path | None = None
) -> None:
    """Write ``model.onnx`` (fp32), config.json and tokenizer files of a classifier into `to`.

    Args:
        folder: A Hugging Face classifier folder (safetensors).
        to: An existing folder.
        progress: Told of the three steps.
        template_cache: Where exported graphs are kept for later models of the same geometry; None: in memory.

    Raises:
        BadInput: If the folder holds no classifier that can be loaded.
        MethodFailed: If no export answers as PyTorch does.
    """
    from compressbench.models.loading import load_classifier

    model = load_classifier(folder)
    export_model(model, tokenizer_from=folder, to=to, progress=progress, template_cache=template_cache)
    shutil.copyfile(folder / "config.json", to / "config.json")


def export_model(
    model: "PreTrainedModel",
    *,
    tokenizer_from: Path,
    to: Path,
    progress: Progress | None = None,
    template_cache: Path | None = None,
) -> None:
    """As `export_classifier`, for a model in memory, which need not be one that a folder can hold.

    Args:
        model: A classifier in eval mode.
        tokenizer_from: Folder with its tokenizer.
        to: An existing folder.
        progress: Told of the three steps.
        template_cache: See `export_classifier`.

    Raises:
        MethodFailed: If no export answers as PyTorch does.
    """
    from compressbench.models.loading import save_tokenizer

    with (progress or Quiet()).stage("export", total=3) as advance:
        tensors = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
        try:
            filled = _from_template(model, tensors, template_cache)
            advance()
            write_model(filled, to / ONNX_NAME)
            del filled
            difference = _logit_difference(to / ONNX_NAME, model)
        except MethodFailed:
            difference = np.inf
        if not difference <= TOLERANCE:
            write_model(_exported(model, simple_mask=False), to / ONNX_NAME)
            difference = _logit_difference(to / ONNX_NAME, model)
        advance()
        if not difference <= TOLERANCE:
            raise MethodFailed(
                f"{tokenizer_from} exported to ONNX answers otherwise than in PyTorch: "
                f"logits differ by {difference:.1e}"
            )
        model.config.to_json_file(to / "config.json")
        save_tokenizer(tokenizer_from, to=to)
        advance()


def _from_template(
    model: "PreTrainedModel", tensors: Mapping[str, np.ndarray], template_cache: Path | None
) -> "ModelProto":
    """The model's graph from the template of its geometry, which is exported if it is not there yet."""
    from compressbench.models.onnx_template import fill_template, load_template, make_template, store_template

    key = _template_key(model)
    path = template_cache / f"{key}.onnx" if template_cache else None
    if path is not None and path.exists():
        return fill_template(load_template(path), tensors)
    if path is None and key in _TEMPLATES:
        return fill_template(_parsed(_TEMPLATES[key]), tensors)
    twin = _random_twin(model)
    values = {name: tensor.detach().numpy() for name, tensor in twin.state_dict().items()}
    template = make_template(_exported(twin, simple_mask=True), values)
    if path is not None:
        store_template(template, path)
    else:
        _TEMPLATES[key] = template.SerializeToString()
    return fill_template(template, tensors)


def _parsed(template: bytes) -> "ModelProto":
    from onnx import ModelProto

    return ModelProto.FromString(template)


def _template_key(model: "PreTrainedModel") -> str:
    """Hash of all that shapes the graph: the config without labels, the passes, the libraries."""
    config = {key: value for key, value in model.config.to_dict().items() if key not in NOT_IN_THE_GRAPH}
    versions = [major_minor(name) for name in EXPORT_LIBRARIES]
    text = json.dumps([type(model).__name__, config, EXPORT_REVISION, OPSET, versions], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _random_twin(model: "PreTrainedModel") -> "PreTrainedModel":
    """A model of the same config in which no two weights are equal."""
    import copy

    import torch

    twin = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.normal_(generator=generator)
    return twin


def _exported(model: "PreTrainedModel", *, simple_mask: bool) -> "ModelProto":
    """The model through PyTorch's exporter and our passes, with its weights."""
    with eager_attention(model):
        proto = traced(model, opset=OPSET, masked=MASKED if simple_mask else None).model_proto
    linear_as_matmul(proto)
    constant_reshapes(proto)
    drop_unused_initializers(proto)
    strip_exporter_traces(proto)
    return proto


def _logit_difference(path: Path, model: "PreTrainedModel") -> float:
    """Largest difference between ONNX Runtime's and PyTorch's logits, relative to the largest logit, or to 1.

    Three rows of different lengths, so that a mask which leaks shows.
    """
    import torch
    from onnxruntime import InferenceSession

    from compressbench.runtimes.onnxruntime import session_options

    rng = np.random.default_rng(0)
    mask = (np.arange(12) < np.array([[12], [7], [3]])).astype(np.int64)
    inputs = {"input_ids": rng.integers(0, model.config.vocab_size, size=mask.shape), "attention_mask": mask}
    inputs["token_type_ids"] = (np.arange(12) > 4).astype(np.int64) * mask
    names = inputs_of(model)
    options = session_options(threads=torch.get_num_threads(), as_written=True)
    options.add_session_config_entry("session.disable_prepacking", "1")  # one run only: not worth copying weights for
    session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    ours = session.run(None, {name: inputs[name] for name in names})[0]
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode():
            theirs = model(**{name: torch.from_numpy(inputs[name]) for name in names}).logits.numpy()
    finally:
        torch.set_float32_matmul_precision(precision)
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max()))
