from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from compressbench.models.onnx_graph import read_model, to_array, to_tensor
from compressbench.models.onnx_reshapes import constant_reshapes


def split_into_heads(*, width_known: bool, order: tuple[str, str] = ("batch", "tokens")) -> onnx.ModelProto:
    """[batch, tokens, 6] to [batch, tokens, 2, 3], as PyTorch's exporter writes a view."""
    dims = {"batch": (0, 1), "tokens": (1, 2)}
    nodes = [helper.make_node("Shape", ["x"], [name], start=dims[name][0], end=dims[name][1]) for name in order]
    nodes.append(helper.make_node("Concat", [*order, "rest", "size"], ["shape"], axis=0))
    nodes.append(helper.make_node("Reshape", ["x", "shape"], ["y"], allowzero=1))
    nodes.append(helper.make_node("Identity", ["y"], ["z"]))
    graph = helper.make_graph(
        nodes,
        "view",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "tokens", 6])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [to_tensor(np.array([-1], dtype=np.int64), "rest"), to_tensor(np.array([3], dtype=np.int64), "size")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    if width_known:
        model.graph.value_info.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [*order, 2, 3]))
    return model


def answer(model: onnx.ModelProto) -> np.ndarray:
    values = np.arange(5 * 4 * 6, dtype=np.float32).reshape(5, 4, 6)
    found: np.ndarray = ReferenceEvaluator(model).run(None, {"x": values})[0]
    return found


def test_batch_and_tokens_are_copied_instead_of_computed() -> None:
    model = split_into_heads(width_known=True)
    before = answer(model)
    constant_reshapes(model)
    assert Counter(node.op_type for node in model.graph.node) == {"Reshape": 1, "Identity": 1}
    assert [to_array(each).tolist() for each in model.graph.initializer] == [[0, 0, 2, 3]]
    np.testing.assert_array_equal(answer(model), before)


def test_a_view_of_another_form_stays() -> None:
    for model in (
        split_into_heads(width_known=False),
        split_into_heads(width_known=True, order=("tokens", "batch")),
    ):
        before = model.graph.SerializeToString(deterministic=True)
        constant_reshapes(model)
        assert model.graph.SerializeToString(deterministic=True) == before


def test_an_export_computes_no_shape_for_its_views(tiny_onnx_teacher: Path) -> None:
    graph = read_model(tiny_onnx_teacher / "model.onnx").graph
    constants = {
        each.name: to_array(each).tolist() for each in graph.initializer if each.data_type == TensorProto.INT64
    }
    views = [constants[node.input[1]] for node in graph.node if node.op_type == "Reshape"]
    assert views == [[0, 0, 2, 16]] * 3 + [[0, 0, 32]] + [[0, 0, 2, 16]] * 3 + [[0, 0, 32]]
    assert "Concat" not in {node.op_type for node in graph.node}
