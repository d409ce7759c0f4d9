"""A small ONNX text classifier as another tool would export it: no PyTorch behind it, external data if asked for."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCAB, HIDDEN, LABELS = 40, 32, 2


def onnx_classifier(*, opset: int = 18, axes: tuple[str | int, str | int] = ("batch", "tokens")) -> onnx.ModelProto:
    """Embeddings, a mask that adds the lowest float before a softmax over the tokens, two Linear layers."""
    rng = np.random.default_rng(0)
    weights = {
        "embeddings.weight": rng.normal(size=(VOCAB, HIDDEN)),
        "scores.weight": rng.normal(size=(HIDDEN, 1)),
        "dense.weight": rng.normal(size=(HIDDEN, HIDDEN)) / 6,
        "dense.bias": rng.normal(size=HIDDEN),
        "classifier.weight": rng.normal(size=(HIDDEN, LABELS)) / 6,
        "lowest": np.float32(np.finfo(np.float32).min),
        "one": np.float32(1),
    }
    nodes = [
        helper.make_node("Gather", ["embeddings.weight", "input_ids"], ["embedded"]),
        helper.make_node("MatMul", ["embedded", "scores.weight"], ["scored"]),
        helper.make_node("Cast", ["attention_mask"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["one", "kept"], ["left_out"]),
        helper.make_node("Mul", ["left_out", "lowest"], ["mask"]),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask_column"]),
        helper.make_node("Add", ["scored", "mask_column"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["shares"], axis=1),
        helper.make_node("Mul", ["embedded", "shares"], ["weighed"]),
        helper.make_node("ReduceSum", ["weighed", "middle"], ["pooled"], keepdims=0),
        helper.make_node("MatMul", ["pooled", "dense.weight"], ["product"]),
        helper.make_node("Add", ["product", "dense.bias"], ["shifted"]),
        helper.make_node("Tanh", ["shifted"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "classifier.weight"], ["logits"]),
    ]
    integers = {"last": np.array([-1]), "middle": np.array([1])}
    initializers = [
        numpy_helper.from_array(np.asarray(values, dtype=np.float32), name) for name, values in weights.items()
    ] + [numpy_helper.from_array(values.astype(np.int64), name) for name, values in integers.items()]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in ("input_ids", "attention_mask")]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [axes[0], LABELS])
    graph = helper.make_graph(nodes, "classifier", inputs, [output], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 9
    return model


def make_onnx_folder(
    folder: Path, *, tokenizer: Path, model: onnx.ModelProto | None = None, external: bool = False
) -> Path:
    """Write a model with config.json and tokenizer.json; returns the ONNX file's path.

    Args:
        folder: Made here.
        tokenizer: Where tokenizer.json lies.
        model: `onnx_classifier` by default.
        external: Whether the weights lie in ``model.onnx_data`` beside it.
    """
    folder.mkdir(parents=True)
    path = folder / "model.onnx"
    onnx.save_model(
        onnx_classifier() if model is None else model, path, save_as_external_data=external,
        location="model.onnx_data", size_threshold=64,
    )  # fmt: skip
    config = {
        "model_type": "bert", "architectures": ["BertForSequenceClassification"], "hidden_size": HIDDEN,
        "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": HIDDEN, "vocab_size": VOCAB,
        "max_position_embeddings": 64,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copyfile(tokenizer / "tokenizer.json", folder / "tokenizer.json")
    return path
