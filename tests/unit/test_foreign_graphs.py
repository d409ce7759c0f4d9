"""Graphs as other exporters write them: weights in unusual places, unusual heads, older opsets; what is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressbench.artifacts.artifact import Artifact
from compressbench.errors import BadInput, InvalidParameter, MethodFailed
from compressbench.foreign import open_measurable
from compressbench.harness.int8_check import check_int8
from compressbench.harness.shapes import Shape
from compressbench.methods.chain import parse_chain
from compressbench.methods.method import Compressed, Context
from compressbench.methods.quantize import rewriting
from compressbench.models.onnx_graph import weight_inputs
from compressbench.models.onnx_source import read_source
from compressbench.prediction import encode_rows, predict
from compressbench.progress import Quiet
from compressbench.runtimes.onnxruntime import open_model
from compressbench.tasks.task import Task
from compressbench.workshop import Workshop
from tests.conftest import draw_tiny_rows
from tests.unit.onnx_folder import make_onnx_folder, onnx_classifier

Quantize = Callable[[onnx.ModelProto, str], tuple[Compressed, np.ndarray, np.ndarray]]
QDQ = "quant-qdq:calibration_rows=64"


@pytest.fixture
def quantize(
    tmp_path: Path, tiny_context: Context, tiny_tokenizer_folder: Path, as_artifact: Callable[..., Artifact]
) -> Quantize:
    """Quantizes a graph; returns what was made, and the logits before and after."""

    def made(model: onnx.ModelProto, spelled: str) -> tuple[Compressed, np.ndarray, np.ndarray]:
        path = make_onnx_folder(tmp_path / "theirs", tokenizer=tiny_tokenizer_folder, model=model)
        (tmp_path / "ours").mkdir()
        context = replace(tiny_context, train=draw_tiny_rows(count=80, seed=4), to=tmp_path / "ours")
        (method,) = parse_chain(spelled)
        compressed = method.resolved(task=context.task).compress(as_artifact(path.parent, format="onnx-fp32"), context)
        rows = encode_rows(context.train, tokenizer_path=path.parent / "tokenizer.json", max_length=32)
        before, after = (predict(open_model(each, threads=1), rows) for each in (path, context.to / "model.onnx"))
        return compressed, before, after

    return made


def with_unusual_weights() -> onnx.ModelProto:
    """A Constant, a Transpose and an Identity in front of layers, initializers among inputs, shapes that go stale."""
    model = onnx_classifier()
    graph = model.graph
    weights = {each.name: each for each in graph.initializer}
    turned = numpy_helper.from_array(numpy_helper.to_array(weights["classifier.weight"]).T.copy(), "turned")
    graph.initializer.append(turned)
    graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(weights["dense.bias"]), "shared"))
    constant = helper.make_node("Constant", [], ["dense.weight"], value=weights["dense.weight"])
    for name in ("classifier.weight", "dense.bias", "dense.weight"):
        graph.initializer.remove(weights[name])
    graph.node.insert(0, helper.make_node("Transpose", ["turned"], ["classifier.weight"], perm=[1, 0]))
    graph.node.insert(0, helper.make_node("Identity", ["shared"], ["dense.bias"]))
    graph.node.insert(0, constant)
    graph.input.append(helper.make_tensor_value_info("embeddings.weight", TensorProto.FLOAT, [40, 32]))
    graph.value_info.append(helper.make_tensor_value_info("turned", TensorProto.FLOAT, [2, 32]))
    return model


def test_weights_are_found_where_other_exporters_put_them(quantize: Quantize, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(with_unusual_weights(), path)
    read = read_source(path, needed_by="quant-qdq")
    assert {weight for _, weight in weight_inputs(read)} == {"scores.weight", "dense.weight", "classifier.weight"}
    _, before, after = quantize(with_unusual_weights(), QDQ)
    assert 0 < np.abs(after - before).max() < 0.2 * before.std()
    record = check_int8(tmp_path / "ours/model.onnx", shape=Shape(2, 8), measured_key="key")
    assert record is not None
    assert record.constant_gemm_share == 1.0


def with_head(*nodes: tuple[str, list[str], str], **weights: np.ndarray) -> onnx.ModelProto:
    """The classifier's head, which reads `pooled`, made anew."""
    model = onnx_classifier()
    del model.graph.node[10:]
    for kind, inputs, output in nodes:
        model.graph.node.append(helper.make_node(kind, inputs, [output]))
    for name, values in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    return model


@pytest.mark.parametrize("head", ["linear upon linear", "a gate", "a residual connection"])
def test_layers_on_pooled_vectors_answer_as_before(head: str, quantize: Quantize) -> None:
    more = np.random.default_rng(1).normal(size=(32, 2)) / 6
    linear = [("MatMul", ["pooled", "dense.weight"], "product"), ("Add", ["product", "dense.bias"], "shifted")]
    model = {
        "linear upon linear": with_head(*linear, ("MatMul", ["shifted", "classifier.weight"], "logits")),
        "a gate": with_head(
            ("MatMul", ["pooled", "classifier.weight"], "left"), ("MatMul", ["pooled", "gate.weight"], "right"),
            ("Sigmoid", ["right"], "open"), ("Mul", ["left", "open"], "logits"), **{"gate.weight": more},
        ),
        "a residual connection": with_head(
            ("MatMul", ["pooled", "dense.weight"], "product"), ("Add", ["product", "pooled"], "both"),
            ("Tanh", ["both"], "hidden"), ("MatMul", ["hidden", "classifier.weight"], "logits"),
        ),
    }[head]  # fmt: skip
    _, before, after = quantize(model, QDQ)
    assert 0 < np.abs(after - before).max() < 0.3 * before.std()


def test_repairs_know_older_opsets_and_graphs_without_a_place(quantize: Quantize) -> None:
    made, before, after = quantize(onnx_classifier(opset=14), f"{QDQ}:smooth=0.5:bias_correction=true")
    assert made.warnings == ("smooth=0.5 changed nothing: no layer's input was found that gains by it",)
    assert 0 < np.abs(after - before).max() < 0.2 * before.std()


def test_smoothing_behind_a_gelu_of_pooled_vectors(quantize: Quantize) -> None:
    model = onnx_classifier(opset=20)
    next(node for node in model.graph.node if node.op_type == "Tanh").op_type = "Gelu"
    _, before, after = quantize(model, f"{QDQ}:smooth=0.5")
    assert 0 < np.abs(after - before).max() < 0.2 * before.std()


def test_layers_kept_in_fp32_read_what_they_did(quantize: Quantize, tmp_path: Path) -> None:
    quantize(onnx_classifier(), f"{QDQ}:split_outliers=0.5:nodes_to_exclude=dense")
    graph = onnx.load(tmp_path / "ours/model.onnx").graph
    (node,) = (node for node in graph.node if "dense.weight" in node.input)
    assert node.input[0] == "pooled"


@pytest.mark.parametrize("method", ["quant-qdq:calibration_rows=64", "quant-qop:calibration_rows=64", "quant-dynamic"])
def test_excluding_everything_is_refused(method: str, quantize: Quantize) -> None:
    with pytest.raises(InvalidParameter, match=r"nodes_to_exclude=\* leaves nothing to quantize"):
        quantize(onnx_classifier(), f"{method}:nodes_to_exclude=*")


def test_a_model_that_does_not_run_is_not_handed_out(quantize: Quantize, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "strip_exporter_traces", lambda model: model.graph.node.pop())
    with pytest.raises(MethodFailed, match="the INT8 model made of this graph does not run"):
        quantize(onnx_classifier(), QDQ)


@pytest.mark.parametrize("parameter", ["percentile=99", "averaging_constant=0.5", "max_drop=1pt"])
def test_parameters_without_what_they_belong_to_are_refused(parameter: str) -> None:
    with pytest.raises(InvalidParameter, match="means nothing without"):
        parse_chain(f"quant-qdq:{parameter}")


def refusal(model: onnx.ModelProto, folder: Path) -> str:
    onnx.save(model, folder / "model.onnx")
    with pytest.raises(BadInput) as caught:
        read_source(folder / "model.onnx", needed_by="quant-qdq")
    return str(caught.value)


def test_fused_operators_and_graphs_within_graphs_are_refused(tmp_path: Path) -> None:
    fused = onnx_classifier()
    fused.graph.node[12].op_type, fused.graph.node[12].domain = "FastGelu", "com.microsoft"
    assert "has operators of 'com.microsoft'" in refusal(fused, tmp_path)
    branching = onnx_classifier()
    branch = helper.make_graph([helper.make_node("Tanh", ["shifted"], ["a"])], "branch", [], [])
    branching.graph.node.append(
        helper.make_node("If", ["condition"], ["unused"], then_branch=branch, else_branch=branch)
    )
    assert "has a graph within its If: export it without control flow" in refusal(branching, tmp_path)


def test_layers_in_half_precision_are_refused(tmp_path: Path) -> None:
    model = onnx_classifier()
    weight = next(each for each in model.graph.initializer if each.name == "dense.weight")
    half = numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), "half")
    model.graph.initializer.remove(weight)
    model.graph.initializer.append(half)
    model.graph.node.insert(0, helper.make_node("Cast", ["half"], ["dense.weight"], to=TensorProto.FLOAT))
    assert "has weights in half precision: export it in fp32" in refusal(model, tmp_path)


def test_models_that_differ_in_external_data_alone_are_two(
    tmp_path: Path, tiny_task: Task, tiny_tokenizer_folder: Path, tiny_context: Context
) -> None:
    from compressbench.artifacts.store import open_store

    workshop = Workshop(store=open_store(), threads=1, device="cpu", progress=Quiet())
    keys = []
    for sign in (1, -1):
        model = onnx_classifier()
        weight = next(each for each in model.graph.initializer if each.name == "dense.weight")
        weight.CopyFrom(numpy_helper.from_array(sign * numpy_helper.to_array(weight), "dense.weight"))
        path = make_onnx_folder(tmp_path / str(sign), tokenizer=tiny_tokenizer_folder, model=model, external=True)
        found = open_measurable(
            str(path), task=tiny_task, workshop=workshop, offline=True, file_name=None, tokenizer=None
        )
        keys.append(found.key)
        assert check_int8(path, shape=Shape(2, 8), measured_key="key") is None
    assert keys[0] != keys[1]
