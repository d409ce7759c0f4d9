"""What stands in the INT8 graph beside its Linear layers: residual connections, embeddings, attention's products."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from compressbench.artifacts.artifact import Artifact
from compressbench.harness.int8_check import check_int8
from compressbench.harness.shapes import Shape
from compressbench.methods.chain import parse_chain
from compressbench.methods.method import Context
from compressbench.methods.quantize.residuals import read_float_tensors
from compressbench.methods.quantize.sources import attention_products
from compressbench.models.onnx_graph import read_model, to_array
from compressbench.prediction import encode_rows, predict
from compressbench.runtimes.onnxruntime import open_model, write_optimized_graph
from tests.conftest import draw_tiny_rows

AsArtifact = Callable[..., Artifact]
Compress = Callable[[str], Path]


@pytest.fixture
def compress(tiny_onnx_teacher: Path, as_artifact: AsArtifact, tiny_context: Context) -> Compress:
    def made(spelled: str) -> Path:
        (method,) = parse_chain(spelled)
        train = draw_tiny_rows(count=160, seed=5)
        resolved = method.resolved(task=tiny_context.task)
        resolved.compress(as_artifact(tiny_onnx_teacher, format="onnx-fp32"), replace(tiny_context, train=train))
        return tiny_context.to / "model.onnx"

    return made


def logits(path: Path) -> np.ndarray:
    rows = encode_rows(draw_tiny_rows(count=64, seed=9), tokenizer_path=path.with_name("tokenizer.json"), max_length=32)
    return predict(open_model(path, threads=1), rows)


def optimized(path: Path) -> Counter[str]:
    write_optimized_graph(path, path.with_name("optimized.onnx"))
    return Counter(node.op_type for node in read_model(path.with_name("optimized.onnx")).graph.node)


@pytest.mark.parametrize("spelled", ["quant-qdq", "quant-qdq:attention_matmuls=true", "quant-qop"])
def test_residual_connections_are_not_rounded(spelled: str, compress: Compress) -> None:
    graph = read_model(compress(spelled)).graph
    makers = {name: node for node in graph.node for name in node.output}
    sums = [
        node for node in graph.node if node.op_type == "Add" and any(makers[n].op_type == "LayerNormalization"
        for n in node.input if n in makers)
    ]  # fmt: skip
    assert len(sums) == 4
    onnx.checker.check_model(graph_model(graph), full_check=True)


def graph_model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])


@pytest.mark.parametrize(("spelled", "tables"), [("quant-qdq", 0), ("quant-qdq:per_channel=false", 3)])
def test_only_tables_on_one_grid_are_dequantized_as_a_step_of_its_own(
    spelled: str, tables: int, compress: Compress
) -> None:
    counts = optimized(compress(spelled))
    assert counts["DequantizeLinear"] == tables
    assert counts["MatMulIntegerToFloat"] == 14
    assert counts["QuantizeLinear"] == 10  # one for each distinct input of the Linear layers


def test_the_float_tensor_is_read_where_it_is_there() -> None:
    node = onnx.helper.make_node
    nodes = [
        node("QuantizeLinear", ["x", "scale", "zero"], ["codes"]),
        node("DequantizeLinear", ["codes", "scale", "zero"], ["rounded"]),
        node("MatMul", ["rounded", "weight"], ["product"]),
        node("Add", ["product", "rounded"], ["sum"]),
        node("QuantizeLinear", ["sum", "scale", "zero"], ["other_codes"]),
        node("DequantizeLinear", ["other_codes", "scale", "zero"], ["other_rounded"]),
        node("Tanh", ["other_rounded"], ["y"]),
        node("Gather", ["table", "ids"], ["row"]),
        node("QuantizeLinear", ["row", "scale", "zero"], ["row_codes"]),
        node("DequantizeLinear", ["row_codes", "scale", "zero"], ["row_rounded"]),
        node("Tanh", ["row_rounded"], ["z"]),
    ]
    outputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("y", "z")]
    model = graph_model(onnx.helper.make_graph(nodes, "g", [], outputs))
    assert read_float_tensors(model) == 2
    inputs = {each.output[0]: list(each.input) for each in model.graph.node}
    assert inputs["product"] == ["rounded", "weight"]
    assert inputs["sum"] == ["product", "x"]
    assert inputs["y"] == ["sum"]
    assert "other_rounded" not in inputs
    assert inputs["z"] == ["row_rounded"]


def test_attention_runs_in_int8_where_asked(compress: Compress, tiny_onnx_teacher: Path) -> None:
    assert len(attention_products(read_model(tiny_onnx_teacher / "model.onnx"))) == 4
    shares: dict[str, list[float]] = {"onnxruntime": [], "openvino": []}
    exact = logits(tiny_onnx_teacher / "model.onnx")
    for wanted in ("false", "scores", "true"):
        path = compress(f"quant-qdq:attention_matmuls={wanted}")
        assert (logits(path).argmax(axis=1) == exact.argmax(axis=1)).mean() > 0.95
        path = compress(f"quant-qdq:attention_matmuls={wanted}:reduce_range=false")
        for runtime, found in shares.items():
            record = check_int8(path, shape=Shape(1, 16), measured_key="m", runtime=runtime)
            assert record is not None
            assert (record.constant_gemm_share, record.leftover_qdq_pairs) == (1.0, 0)
            found.append(record.gemm_share)
    none, scores, both = shares["onnxruntime"]
    assert none < scores < both == 1.0
    assert shares["openvino"][:2] == pytest.approx([none, scores])
    assert shares["openvino"][2] >= scores  # contexts are INT8 there at some shapes, fp32 at others


@pytest.mark.parametrize(("reduce_range", "zero_points"), [("false", {0}), ("true", None)])
def test_what_attention_multiplies_is_signed_only_where_sums_do_not_saturate(
    reduce_range: str, zero_points: set[int] | None, compress: Compress
) -> None:
    model = read_model(compress(f"quant-qdq:attention_matmuls=scores:reduce_range={reduce_range}"))
    values = {each.name: to_array(each) for each in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    inputs = [makers[name] for node in attention_products_of_pairs(model) for name in node.input]
    assert len(inputs) == 4
    grids = [values[node.input[2]] for node in inputs]
    assert {each.dtype.name for each in grids} == {"int8" if zero_points else "uint8"}
    if zero_points:
        assert {int(each) for each in grids} == zero_points


def attention_products_of_pairs(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """MatMuls whose sides are both dequantized from what was computed."""
    makers = {name: node for node in model.graph.node for name in node.output}
    return [
        node
        for node in model.graph.node
        if node.op_type == "MatMul"
        and all(makers[name].op_type == "DequantizeLinear" and makers[name].input[0] in makers for name in node.input)
    ]


def test_attention_in_int8_has_ranges_of_its_own(compress: Compress) -> None:
    compress("quant-qdq:attention_matmuls=true:smooth=0.5")
    model = read_model(compress("quant-qdq:attention_matmuls=true"))
    grids = {each.input[1] for each in model.graph.node if each.op_type == "QuantizeLinear"}
    assert len([name for name in grids if name.startswith("softmax")]) == 2
