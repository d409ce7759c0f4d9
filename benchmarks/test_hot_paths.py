"""The suite's own hot paths under pytest-benchmark: ``nox -s bench``. No test asserts anything about time."""

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch.nn.utils import prune

from compressbench.methods.chain import parse_chain, spell
from compressbench.numerics.pruning_masks import global_magnitude_masks
from compressbench.stats import ratio_interval
from compressbench.tasks.synthetic import synthetic_rows

LAYERS = 2  # of BERT-Base's width; the whole model has twelve


def linear_layers() -> dict[str, torch.nn.Linear]:
    """Linear layers of two BERT-Base encoder layers."""
    torch.manual_seed(0)
    sizes = [(768, 768)] * 4 + [(768, 3072), (3072, 768)]
    return {f"{layer}.{place}": torch.nn.Linear(*size) for layer in range(LAYERS) for place, size in enumerate(sizes)}


def test_global_masks(benchmark: BenchmarkFixture) -> None:
    weights = {name: layer.weight for name, layer in linear_layers().items()}
    masks = benchmark(global_magnitude_masks, weights, sparsity=0.2)
    assert sum(int((~mask).sum()) for mask in masks.values()) == round(
        0.2 * sum(each.numel() for each in weights.values())
    )


def test_global_masks_by_torch(benchmark: BenchmarkFixture) -> None:
    def masks() -> None:
        pairs = [(layer, "weight") for layer in linear_layers().values()]
        prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=0.2)

    benchmark.pedantic(masks, rounds=3)


def test_speedup_interval(benchmark: BenchmarkFixture) -> None:
    rng = np.random.default_rng(0)
    slow, fast = (list(scale + rng.standard_normal((8, 5)) * 0.01) for scale in (2.0, 1.0))
    interval = benchmark(ratio_interval, slow, fast, seed=0)
    assert interval.low < 2.0 < interval.high


@pytest.mark.parametrize("task", ["synthetic-sentiment", "synthetic-entailment"])
def test_generated_rows(benchmark: BenchmarkFixture, task: str) -> None:
    rows = benchmark.pedantic(synthetic_rows.__wrapped__, args=(task, "dev"), rounds=3)
    assert len(rows) >= 500


def test_grammar(benchmark: BenchmarkFixture) -> None:
    chain = benchmark(parse_chain, "distill:mapping=top+prune:amount=0.3+quant-qdq")
    assert spell(chain) == "distill:mapping=top+prune:amount=0.3+quant-qdq"
