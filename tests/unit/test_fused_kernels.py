"""The fused kernels benchmark writes other graphs of the same model."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.int8.fused_kernels import compared, main, write_variants
from compressbench.harness.shapes import Shape
from compressbench.models.onnx_export import export_classifier
from compressbench.models.onnx_graph import read_model
from compressbench.progress import Quiet
from compressbench.runtimes.onnxruntime import open_model
from tests.unit.onnx_folder import make_onnx_folder


@pytest.fixture(scope="module")
def exported(tiny_classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers, as our passes write them."""
    folder = tmp_path_factory.mktemp("exported")
    export_classifier(tiny_classifier, to=folder, progress=Quiet())
    return folder / "model.onnx"


def test_variants_answer_as_the_model_does_on_padded_rows(exported: Path, tmp_path: Path) -> None:
    variants = write_variants(exported, tmp_path)
    rng = np.random.default_rng(0)
    ids = rng.integers(40, size=(3, 9))
    mask = (np.arange(9) < [[9], [4], [1]]).astype(np.int64)
    inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    exact = open_model(exported, threads=1)(inputs)
    for path in variants.values():
        np.testing.assert_allclose(open_model(path, threads=1)(inputs), exact, atol=2e-6)


def test_variants_hold_the_fused_operators_and_nothing_of_what_they_replace(exported: Path, tmp_path: Path) -> None:
    counts = {
        name: Counter(node.op_type for node in read_model(path).graph.node)
        for name, path in write_variants(exported, tmp_path).items()
    }
    assert counts["SkipLayerNormalization"]["SkipLayerNormalization"] == 5
    assert counts["SkipLayerNormalization"]["LayerNormalization"] == 0
    assert counts["MultiHeadAttention"]["MultiHeadAttention"] == 2
    assert counts["MultiHeadAttention"]["Softmax"] == counts["MultiHeadAttention"]["Transpose"] == 0
    assert (counts["both"]["SkipLayerNormalization"], counts["both"]["MultiHeadAttention"]) == (5, 2)


def test_the_table_has_a_line_for_each(exported: Path) -> None:
    table = compared(exported, [Shape(1, 8)], threads=1, rounds=2)
    assert [row[0] for row in table.rows] == ["as it is", "SkipLayerNormalization", "MultiHeadAttention", "both"]
    assert table.rows[0][1:] == ("1.00x [1.00x, 1.00x]", "0.0e+00")


def test_a_model_without_the_patterns_is_refused(
    tiny_tokenizer_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_onnx_folder(tmp_path / "m", tokenizer=tiny_tokenizer_folder)
    assert main([str(path), "--shapes", "1x8"]) == 2
    assert "has no SkipLayerNormalization to be made" in capsys.readouterr().err
