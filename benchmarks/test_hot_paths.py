"""The suite's own hot paths under pytest-benchmark: ``nox -s bench``. No test asserts anything about time.

Each is at a size that takes seconds at most, and checks what it made, so that a fast wrong answer is no record.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch.nn.utils import prune

from benchmarks.gate.models import make_base
from compressbench.gate.latency import decide_growing
from compressbench.methods.augment.candidates import open_candidate_source
from compressbench.methods.augment.settings import settings_from
from compressbench.methods.augment.vectors import WordVectors
from compressbench.methods.augment.words import split_sentences
from compressbench.methods.chain import parse_chain, spell
from compressbench.methods.distill.attention_record import use_recording_attention
from compressbench.methods.distill.frozen_teacher import LayerOutputs, WantedLayers
from compressbench.methods.distill.loop import LossWeights, layer_losses, weighted_terms
from compressbench.methods.distill.student import Projections
from compressbench.methods.quantize.calibration import Measured, Rule, measure_ranges
from compressbench.methods.training import make_optimizer
from compressbench.models.geometry import Geometry
from compressbench.models.onnx_graph import read_model
from compressbench.numerics.pruning_masks import global_magnitude_masks
from compressbench.prediction import EncodedRows
from compressbench.progress import Quiet
from compressbench.reporting.comparison import comparison
from compressbench.reporting.document import document_of
from compressbench.reporting.html import document_html
from compressbench.stats import ratio_interval
from compressbench.tasks import synthetic
from compressbench.tasks.synthetic import synthetic_rows
from tests.unit.fake_run import fake_run
from tests.unit.masked_lm_folder import make_masked_lm

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
    rows = benchmark.pedantic(synthetic_rows, args=(task, "dev"), setup=synthetic._written.cache_clear, rounds=3)  # noqa: SLF001
    assert len(rows) >= 500


def test_grammar(benchmark: BenchmarkFixture) -> None:
    chain = benchmark(parse_chain, "distill:mapping=top+prune:amount=0.3+quant-qdq")
    assert spell(chain) == "distill:mapping=top+prune:amount=0.3+quant-qdq"


def test_a_gates_decision(benchmark: BenchmarkFixture) -> None:
    rng = np.random.default_rng(0)
    before, after = (list(scale * rng.lognormal(0, 0.01, (40, 3))) for scale in (1.0, 1.1))
    found = benchmark(decide_growing, before, after, threshold=0.05)
    assert found.verdict == "regression"


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four layers of width 128 as ONNX."""
    geometry = Geometry(layers=4, hidden=128, heads=4, intermediate=512, vocab=1000, positions=128)
    return make_base(tmp_path_factory.mktemp("model"), geometry, progress=Quiet())


@pytest.mark.parametrize("rule", ["minmax", "percentile"])
def test_calibration(benchmark: BenchmarkFixture, small_model: Path, tmp_path: Path, rule: Any) -> None:
    model = read_model(small_model)
    tensors = [node.output[0] for node in model.graph.node if node.op_type in ("LayerNormalization", "Gelu")]
    rng = np.random.default_rng(0)
    ids = [rng.integers(5, 1000, size=length).tolist() for length in rng.integers(8, 64, size=64)]
    rows = EncodedRows(input_ids=ids, token_type_ids=[[0] * len(each) for each in ids], pad_id=0)

    def calibrate() -> Measured:
        return measure_ranges(
            Rule(calibrate_method=rule), model, rows, tensors=tensors, threads=1, workplace=tmp_path, progress=Quiet()
        )

    found = benchmark.pedantic(calibrate, rounds=3, warmup_rounds=1)
    assert set(found.ranges) == set(tensors)
    assert all(each.low < each.high for each in found.ranges.values())


def test_masked_words_proposals(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    source = open_candidate_source(
        make_masked_lm(tmp_path / "mlm"), vectors=None, settings=settings_from(candidates=5), precision="fp32",
        device="cpu",
    )  # fmt: skip
    texts = [f"the brave actor is fine and the {word} scene is not sour {'but lovely ' * n}" for n in range(8)
             for word in ("grim", "dull", "weak", "great")]  # fmt: skip
    sentences = split_sentences(texts, source.tokenizer)
    found = benchmark(source.of, sentences)
    assert len(found) == len(texts)


def test_nearest_word_vectors(benchmark: BenchmarkFixture) -> None:
    numbers = np.random.default_rng(0).standard_normal((50_000, 100)).astype(np.float32)
    unit = numbers / np.linalg.norm(numbers, axis=1, keepdims=True)
    vectors = WordVectors(words=[f"w{row}" for row in range(len(unit))], unit=unit, fingerprint="")
    asked = [f"w{row}" for row in range(0, 50_000, 1_000)]
    found = benchmark(vectors.neighbours, asked, count=15)
    best = np.argsort(-(unit @ unit[7_000]))[1:16]
    assert set(found["w7000"]) == {f"w{row}" for row in best}


def test_a_step_of_distillation(benchmark: BenchmarkFixture) -> None:
    """TinyBERT4's intermediate step with the teacher's outputs at hand: 8 rows of 32 tokens, fp32."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    batch, tokens, layers, heads = 8, 32, 4, 12
    student = BertForSequenceClassification(
        BertConfig(vocab_size=1000, hidden_size=312, num_hidden_layers=layers, num_attention_heads=heads,
                   intermediate_size=1200)
    ).train()  # fmt: skip
    use_recording_attention(student)
    projections = Projections(312, 768)
    wanted = WantedLayers(attention=(2, 5, 8, 11), hidden=(0, 3, 6, 9, 12))
    target = LayerOutputs(
        hidden=torch.randn(1 + layers, batch, tokens, 768), attention=torch.randn(layers, batch, heads, tokens, tokens)
    )
    ids = torch.randint(5, 1000, (batch, tokens))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    optimizer = make_optimizer([student.bert, projections], learning_rate=5e-5, weight_decay=0.01, device="cpu")

    def step() -> float:
        losses = layer_losses(student, projections, inputs, target, wanted=wanted)
        terms = weighted_terms(losses, LossWeights(embedding=1.0, attention=1.0, hidden=1.0))
        loss = torch.stack([*terms.values()]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    first = step()
    last = benchmark.pedantic(step, rounds=5, warmup_rounds=1)
    assert last < first


def test_a_report(benchmark: BenchmarkFixture) -> None:
    """Five methods on four tasks, from records to HTML: scores, paired tests, bootstraps and all."""
    records = fake_run(("CoLA", "MRPC", "MNLI", "STS-B"))

    def report() -> str:
        result = comparison(records, environment={}, folder=Path("run"))
        return document_html(document_of(result))

    text = benchmark.pedantic(report, rounds=3)
    assert "distill+prune" in text
