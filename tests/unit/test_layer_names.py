"""Layers named before there is a model: the same as the loaded model's, whatever its family."""

from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModelForSequenceClassification

from compressbench.errors import InvalidParameter
from compressbench.models.inspection import ENCODER_FAMILIES
from compressbench.models.layer_names import check_layer_patterns, layer_names

SIZES = {
    "vocab_size": 40, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "embedding_size": 16,
    "max_position_embeddings": 32,
}  # fmt: skip
NAMES = ("bert.embeddings.word_embeddings", "bert.encoder.layer.0.output.dense", "classifier")


@pytest.mark.parametrize("family", ENCODER_FAMILIES)
def test_names_are_those_of_the_matrices_of_the_model(family: str, tmp_path: Path) -> None:
    config = AutoConfig.for_model(family, num_hidden_layers=3, **SIZES)
    config.save_pretrained(tmp_path)
    config.num_hidden_layers = 2
    state = AutoModelForSequenceClassification.from_config(config).state_dict()
    matrices = {name for name, values in state.items() if name.endswith(".weight") and values.dim() > 1}
    assert {f"{name}.weight" for name in layer_names(tmp_path, layers=2)} == matrices


def test_without_a_folder_they_are_berts() -> None:
    names = layer_names(None, layers=12)
    assert len(names) == 3 + 12 * 6 + 2
    assert "bert.encoder.layer.11.output.dense" in names


@pytest.mark.parametrize("patterns", ["", "classifier.weight;*.output.*", "MatMul_3", "*Gather*", "/bert/x"])
def test_layers_and_what_may_be_nodes_pass(patterns: str) -> None:
    check_layer_patterns(patterns, NAMES)


@pytest.mark.parametrize("pattern", ["clasifier", "*.layer.1.*", "output.dense", "classifier;dense"])
def test_what_is_no_layer_is_refused(pattern: str) -> None:
    wrong = pattern.rpartition(";")[2].replace("*", "[*]")
    with pytest.raises(InvalidParameter, match=f"^{wrong}, named to .* has bert.embeddings.word_embeddings to class"):
        check_layer_patterns(pattern, NAMES)
