"""Zeros by layer: from the graph into the record, from the record into a row, and into a table."""

from pathlib import Path
from typing import Any

import pytest
import torch

from compressbench.artifacts.artifact import ONNX_NAME
from compressbench.harness.size import measure_size
from compressbench.methods.iterative_pruning import linear_weights
from compressbench.models.loading import load_classifier
from compressbench.models.onnx_export import export_model
from compressbench.progress import Quiet
from compressbench.reporting.zeros import part_of, zeros_by_part, zeros_tables


def test_a_record_tells_the_zeros_of_each_linear_layer(tiny_classifier: Path, tmp_path: Path) -> None:
    model = load_classifier(tiny_classifier)
    weights = linear_weights(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for place, weight in enumerate(weights.values()):
            weight.mul_(torch.rand(weight.shape, generator=generator) > place / 20)
    export_model(model, tokenizer_from=tiny_classifier, to=tmp_path)
    size = measure_size(tmp_path / ONNX_NAME, measured_key="made", progress=Quiet(), flops=1)
    found = {each["name"]: (each["weights"], each["nonzero"]) for each in size.layers}
    assert found == {
        name.removesuffix(".weight"): (weight.numel(), int(weight.count_nonzero())) for name, weight in weights.items()
    }
    shares = zeros_by_part(size.layers)
    assert list(shares)[:3] == ["layer 0 attention", "layer 0 FFN", "layer 1 attention"]
    inner = [each for name, each in weights.items() if "layer.1" in name and "attention" not in name]
    assert shares["layer 1 FFN"] == pytest.approx(
        1 - sum(int(each.count_nonzero()) for each in inner) / sum(each.numel() for each in inner)
    )


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("bert.encoder.layer.11.attention.self.query", "layer 11 attention"),
        ("bert.encoder.layer.3.attention.output.dense", "layer 3 attention"),
        ("bert.encoder.layer.0.output.dense", "layer 0 FFN"),
        ("/encoder/layers.2.linear1", "layer 2 FFN"),
        ("bert.pooler.dense", "pooler"),
        ("classifier", "classifier"),
        ("onnx::MatMul_1234", "onnx::MatMul_1234"),
    ],
)
def test_parts_of_a_model(name: str, part: str) -> None:
    assert part_of(name) == part


def row(chain: str, zeros: float, **more: Any) -> dict[str, Any]:
    by_layer = {"layer 0 attention": zeros, "layer 0 FFN": zeros / 2, "pooler": 0.0} if zeros else None
    known = {"task": "CoLA", "chain": chain, "method": chain, "seed": 1, "linear_sparsity": zeros, "sparsity": 0.1}
    counts = {"parameter_count": 1_000_000, "nonzero_count": 900_000, "flops": 2_000_000_000}
    return {**known, **counts, "zeros_by_layer": by_layer, **more}


def test_tables_show_what_was_taken_out_and_where() -> None:
    consist, by_layer = zeros_tables("CoLA", [row("baseline", 0.0), row("prune", 0.5)], many_seeds=False)
    assert consist.rows[1] == ["prune", "1.00", "0.90", "10.0 %", "50.0 %", "2.00"]
    assert by_layer.columns == ["Model", "whole", "0"]
    assert by_layer.rows == [
        ["prune, attention", "–", "50"], ["prune, FFN", "–", "25"], ["prune, pooler", "0", "–"],
    ]  # fmt: skip


def test_equal_dense_models_have_no_table_and_smaller_ones_only_the_first() -> None:
    equal = [row("baseline", 0.0), row("finetune", 0.001, zeros_by_layer=None)]
    assert list(zeros_tables("CoLA", equal, many_seeds=False)) == []
    smaller = [*equal, row("prune:structured=ffn-0.5", 0.0, parameter_count=600_000)]
    assert len(list(zeros_tables("CoLA", smaller, many_seeds=False))) == 1
    failed = row("prune", 0.0, parameter_count=None, linear_sparsity=None)
    assert list(zeros_tables("CoLA", [*equal, failed], many_seeds=False)) == []
