"""Layers as a user names them: by their weights' names, by nodes, by patterns; a name of no layer is refused."""

import pytest
from onnx import ModelProto

from compressbench.errors import InvalidParameter
from compressbench.methods.quantize.layers import excluded_weights, layer_name, weight_nodes
from tests.unit.onnx_folder import onnx_classifier

LAYERS = {"embeddings", "scores", "dense", "classifier"}


@pytest.fixture
def model() -> ModelProto:
    made = onnx_classifier()
    for place, node in enumerate(made.graph.node):
        node.name = f"{node.op_type}_{place}"
    return made


def test_a_layer_is_called_as_its_weight(model: ModelProto) -> None:
    assert {layer_name(weight) for _, weight in weight_nodes(model)} == LAYERS
    assert layer_name("onnx::MatMul_7") == "onnx::MatMul_7"


@pytest.mark.parametrize(
    ("patterns", "layers"),
    [("", set()), ("classifier", {"classifier"}), ("dense.weight;scores", {"dense", "scores"}), ("*s*", LAYERS),
     ("MatMul_13", {"classifier"}), ("Gather_*", {"embeddings"}), ("scores;*ores", {"scores"})],
)  # fmt: skip
def test_patterns_name_layers_weights_and_nodes(patterns: str, layers: set[str], model: ModelProto) -> None:
    assert excluded_weights(model, patterns) == {f"{name}.weight" for name in layers}


@pytest.mark.parametrize("pattern", ["clasifier", "dense.bias", "Tanh_12", "dense;pooler"])
def test_a_pattern_of_no_layer_is_refused(pattern: str, model: ModelProto) -> None:
    wrong = pattern.rpartition(";")[2]
    with pytest.raises(
        InvalidParameter, match=f"{wrong}, named to stay in fp32, is no layer .* has embeddings to classifier"
    ):
        excluded_weights(model, pattern)


def test_a_model_without_layers_says_so() -> None:
    with pytest.raises(InvalidParameter, match="dense, named to stay in fp32, is no layer of this model: it has none"):
        excluded_weights(ModelProto(), "dense")
