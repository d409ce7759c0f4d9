"""How much faster a model is without some of its heads and FFN columns: latency of both graphs, in turns."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressbench.harness.latency import measure_latency
from compressbench.harness.measuring_process import Subject
from compressbench.harness.shapes import parse_shape
from compressbench.methods.structured_pruning import take_out
from compressbench.methods.unit_importance import magnitude_importance
from compressbench.models.geometry import BERT_BASE, encoder_flops, geometry_of
from compressbench.models.loading import load_classifier, quiet_transformers
from compressbench.models.onnx_export import export_model
from compressbench.models.onnx_graph import graph_key
from compressbench.models.removal import parse_removal, slimmed
from compressbench.progress import choose_progress
from compressbench.records.latencies import LatencyIndex
from compressbench.records.schema import LatencyRecord
from compressbench.units import format_mib

SHAPES = ("1x128", "8x128")
RUNTIME = "onnxruntime"


def structured_table(model: Path | None, *, removal: str, rounds: int, threads: int) -> str:
    """Speedups of a model cut by magnitude and not trained: weights' values change no latency, and no score is told.

    Args:
        model: A classifier folder; None: BERT-Base with random weights.
        removal: As in ``prune:structured=...``.
        rounds: Of the campaign.
        threads: Intra-op.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = model or _random_bert_base(folder / "source")
        sizes = export_both(source, removal=removal, to=folder)
        subjects = [
            Subject(measured_key=side, graph_key=graph_key(path), onnx_path=path)
            for side, path in (("whole", folder / "whole" / "model.onnx"), ("cut", folder / "cut" / "model.onnx"))
        ]
        records: list[LatencyRecord] = []
        measure_latency(
            subjects,
            shapes=[parse_shape(text) for text in SHAPES],
            threads=[threads],
            session=1,
            done=[],
            on_record=records.append,
            progress=choose_progress(),
            rounds=rounds,
        )
        index = LatencyIndex(records, {each.measured_key: each.graph_key for each in subjects})
    return _table(index, removal, sizes, threads)


def export_both(source: Path, *, removal: str, to: Path) -> dict[str, Any]:
    """Write the whole model and the cut one as ONNX; their sizes and work."""
    facts: dict[str, Any] = {}
    for side in ("whole", "cut"):
        model = load_classifier(source)
        geometry = geometry_of(model.config)
        if side == "cut":
            after = slimmed(geometry, parse_removal(removal))
            take_out(model, magnitude_importance(model), geometry, after)
            geometry = after
        (to / side).mkdir()
        export_model(model, tokenizer_from=source, to=to / side)
        facts[side] = {"bytes": (to / side / "model.onnx").stat().st_size, "flops": encoder_flops(geometry)}
    return facts


def _table(index: LatencyIndex, removal: str, facts: Mapping[str, Any], threads: int) -> str:
    sizes = " -> ".join(format_mib(facts[side]["bytes"]) for side in ("whole", "cut"))
    work = " -> ".join(f"{facts[side]['flops'] / 1e9:.1f}" for side in ("whole", "cut"))
    title = f"`structured={removal}` against the whole model, ONNX Runtime fp32, {threads} threads, {sizes} MiB, "
    lines = [
        f"{title}{work} GFLOPs of the encoder at 1x128\n",
        "| shape | whole (ms) | cut (ms) | speedup [95 %] |",
        "| --- | ---: | ---: | ---: |",
    ]
    for shape in SHAPES:
        place = (RUNTIME, shape)
        whole, cut = (index.find(side, place) for side in ("whole", "cut"))
        found = index.speedup("whole", "cut", place, against=place)
        assert whole is not None
        assert cut is not None
        assert found is not None
        medians = [each.summary()["median_ns"] / 1e6 for each in (whole, cut)]
        speedup = f"{found.ratio:.2f}x [{found.low:.2f}, {found.high:.2f}]"
        lines.append(f"| {shape} | {medians[0]:.1f} | {medians[1]:.1f} | {speedup} |")
    return "\n".join(lines)


def _random_bert_base(folder: Path) -> Path:
    """A classifier of BERT-Base's geometry that learned nothing, with a tokenizer of a few words."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder.mkdir()
    torch.manual_seed(0)
    config = BertConfig(
        num_hidden_layers=BERT_BASE.layers, hidden_size=BERT_BASE.hidden, num_attention_heads=BERT_BASE.heads,
        intermediate_size=BERT_BASE.intermediate,
    )  # fmt: skip
    with quiet_transformers():
        BertForSequenceClassification(config).save_pretrained(folder)
    save_word_tokenizer(folder)
    return folder


def save_word_tokenizer(folder: Path) -> None:
    """A tokenizer that knows no word, for models that only have to be measured."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
