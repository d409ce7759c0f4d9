"""Models of the bank: one geometry with random weights, and copies that do more of the runtime's own work.

The extra work is a chain of matrix products on the last layer's output, whose mean is multiplied by zero and added to
the logits: the answers are the same and the file grows by one small matrix, but the runtime cannot leave it out.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressbench.errors import BadInput
from compressbench.models.geometry import Geometry
from compressbench.models.onnx_export import export_classifier
from compressbench.models.onnx_graph import read_model, to_tensor, write_model
from compressbench.progress import Progress

if TYPE_CHECKING:
    from onnx import ModelProto

MATRIX = "extra_work.matrix"


def make_base(folder: Path, geometry: Geometry, *, progress: Progress) -> Path:
    """The ONNX file of an untrained classifier, exported by the passes that every model here goes through.

    Args:
        folder: Where it goes; one that is there is kept.
        geometry: Sizes.
        progress: Told of the export.
    """
    if (folder / "model.onnx").is_file():
        return folder / "model.onnx"
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    source = folder / "torch"
    source.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=geometry.vocab, hidden_size=geometry.hidden, num_hidden_layers=geometry.layers,
        num_attention_heads=geometry.heads, intermediate_size=geometry.intermediate,
        max_position_embeddings=geometry.positions, id2label={0: "no", 1: "yes"}, label2id={"no": 0, "yes": 1},
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(source)
    _write_tokenizer(source, size=geometry.vocab)
    export_classifier(source, to=folder, progress=progress)
    return folder / "model.onnx"


def with_extra_work(model: "ModelProto", *, columns: int) -> "ModelProto":
    """A copy that multiplies the last layer's output [batch, tokens, width] with `columns` more columns of weights.

    Whole matrices of width x width first, then one of what is left. The matrix is orthogonal, so that the numbers
    neither grow nor vanish however long the chain is.

    Args:
        model: A BERT classifier with one output.
        columns: At least 1.

    Raises:
        BadInput: If the graph has no LayerNormalization whose output could be taken.
    """
    import onnx
    from onnx import helper

    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    scales = {each.name: each.dims[0] for each in graph.initializer if len(each.dims) == 1}
    last = next((node for node in reversed(graph.node) if node.op_type == "LayerNormalization"), None)
    if last is None or last.input[1] not in scales:
        raise BadInput("the model has no LayerNormalization, so there is no hidden state to do extra work on")
    width, current = scales[last.input[1]], last.output[0]
    orthogonal = np.linalg.qr(np.random.default_rng(0).standard_normal((width, width)))[0].astype(np.float32)
    graph.initializer.append(to_tensor(orthogonal, MATRIX))
    nodes = []
    for number in range(columns // width):
        nodes.append(helper.make_node("MatMul", [current, MATRIX], [f"extra_work.{number}"]))
        current = f"extra_work.{number}"
    if columns % width:
        graph.initializer.append(to_tensor(orthogonal[:, : columns % width], f"{MATRIX}.part"))
        nodes.append(helper.make_node("MatMul", [current, f"{MATRIX}.part"], ["extra_work.part"]))
        current = "extra_work.part"
    graph.initializer.append(to_tensor(np.zeros(1, dtype=np.float32), "extra_work.zero"))
    graph.initializer.append(to_tensor(np.array([1, 2]), "extra_work.axes"))
    output = graph.output[0].name
    for node in graph.node:
        for place, name in enumerate(node.output):
            if name == output:
                node.output[place] = "extra_work.logits"
    nodes += [
        helper.make_node("ReduceMean", [current, "extra_work.axes"], ["extra_work.mean"], keepdims=0),
        helper.make_node("Mul", ["extra_work.mean", "extra_work.zero"], ["extra_work.nothing"]),
        helper.make_node("Unsqueeze", ["extra_work.nothing", "extra_work.last"], ["extra_work.column"]),
        helper.make_node("Add", ["extra_work.logits", "extra_work.column"], [output]),
    ]
    graph.initializer.append(to_tensor(np.array([1]), "extra_work.last"))
    graph.node.extend(nodes)
    return changed


def write_variant(base: Path, to: Path, *, columns: int) -> Path:
    """Write a slower copy of a model, with the files beside it that it needs."""
    to.mkdir(parents=True, exist_ok=True)
    write_model(with_extra_work(read_model(base), columns=columns), to / "model.onnx")
    for name in ("config.json", "tokenizer.json"):
        (to / name).write_bytes((base.parent / name).read_bytes())
    return to / "model.onnx"


def _write_tokenizer(folder: Path, *, size: int) -> None:
    """Words ``w5``, ``w6`` ... behind BERT's own pieces."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces += [f"w{number}" for number in range(len(pieces), size)]
    tokenizer = Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]", "pad_token": "[PAD]",
                "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
