"""The seed study's pruning beside ours: 20 % of TinyBERT4's Linear weights, its size before and after, its scores."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from compressbench.errors import BadInput
from compressbench.harness.size import measure_size
from compressbench.methods.chain import parse_chain
from compressbench.methods.distill import Distill
from compressbench.methods.iterative_pruning import linear_weights
from compressbench.methods.prune import Prune
from compressbench.models.geometry import STUDENTS, Geometry
from compressbench.models.loading import load_classifier, quiet_transformers
from compressbench.models.onnx_export import export_model
from compressbench.numerics.pruning_masks import bake_masks, global_magnitude_masks
from compressbench.progress import Quiet
from compressbench.records.run_folder import read_run
from compressbench.records.run_index import RunIndex, index_records
from compressbench.records.schema import CellRecord, SizeRecord
from compressbench.scoring import primary_score, split_answers
from compressbench.units import MIB

AMOUNT = 0.2
STUDY = (0.06, 52, 50)
"""Its sparsity, and its compressed file before and after, in what it calls MB and are MiB."""

SCORES_HEAD = (
    "| Task | Seed | Metric | Student | Chain | Pruned | Difference |",
    "| --- | --- | --- | ---: | --- | ---: | ---: |",
)


def study_table(runs: Sequence[Path], *, threads: int) -> str:
    """Sizes of a fresh student, or sizes and scores of finished runs of ``seed_study_small.toml``, such as one a task.

    Raises:
        BadInput: If a run has no student and its pruned self on one task.
    """
    if not runs:
        import torch

        torch.set_num_threads(threads)
        before, after = fresh_sizes(STUDENTS["tinybert4"])
        return _sizes(before, after, what="TinyBERT4 with weights as BERT draws them, not trained")
    found = [(index_records(read_run(run).records), run) for run in runs]
    pairs = [(index, _pairs(index, run)) for index, run in found]
    index, ((whole, pruned), *_) = pairs[0]
    sizes = _sizes(
        index.sizes[whole.measured_key], index.sizes[pruned.measured_key], what=f"the student of {whole.task}"
    )
    return sizes + "\n\n" + "\n".join([*SCORES_HEAD, *(line for each in pairs for line in _scores(*each))])


def _pairs(index: RunIndex, run: Path) -> list[tuple[CellRecord, CellRecord]]:
    """Students, each with itself pruned."""
    cells = [cell for cell in index.ordered_cells() if cell.chain.startswith("distill") and not cell.error]
    pairs = [
        (cell, pruned)
        for cell in cells
        for pruned in cells
        if (pruned.task, pruned.seed) == (cell.task, cell.seed) and is_pruned_from(pruned.chain, cell.chain)
    ]
    if not pairs:
        raise BadInput(f"{run} has no student with and without pruning: run benchmarks/plans/seed_study_small.toml")
    return pairs


def fresh_sizes(geometry: Geometry) -> tuple[SizeRecord, SizeRecord]:
    """Size records of an untrained model, whole and with `AMOUNT` of its Linear weights pruned by magnitude."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from benchmarks.pruning.structured import save_word_tokenizer

    torch.manual_seed(0)
    config = BertConfig(
        num_hidden_layers=geometry.layers, hidden_size=geometry.hidden, num_attention_heads=geometry.heads,
        intermediate_size=geometry.intermediate, vocab_size=geometry.vocab,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with quiet_transformers():
            BertForSequenceClassification(config).save_pretrained(folder)
        save_word_tokenizer(folder)
        model = load_classifier(folder)
        records = []
        for side in ("before", "after"):
            if side == "after":
                weights = linear_weights(model)
                bake_masks(weights, global_magnitude_masks(weights, sparsity=AMOUNT))
            (folder / side).mkdir()
            export_model(model, tokenizer_from=folder, to=folder / side)
            path = folder / side / "model.onnx"
            records.append(measure_size(path, measured_key=side, progress=Quiet(), flops=0))
    return records[0], records[1]


def is_pruned_from(pruned: str, whole: str) -> bool:
    """Whether one chain is the other's student pruned, in the loop of the same distillation or when it was finished."""
    (student, *rest), (*_, last) = parse_chain(whole), parse_chain(pruned)
    if rest or not isinstance(student, Distill) or student.prune_amount:
        return False
    if isinstance(last, Distill):
        return bool(last.prune_amount) and replace(last, prune_amount=0.0) == student
    return parse_chain(pruned) == (student, last) and isinstance(last, Prune) and not last.structured


def _sizes(before: SizeRecord, after: SizeRecord, *, what: str) -> str:
    zeros, all_zeros = (
        1 - after.linear_nonzero_count / after.linear_count,
        1 - after.nonzero_count / after.parameter_count,
    )
    sparsity, study_before, study_after = STUDY
    raw, packed = (
        [getattr(each, name) / MIB for each in (before, after)] for name in ("size_bytes", "compressed_bytes")
    )
    return (
        f"{what}, amount {AMOUNT:g}\n\n"
        "| | zeros of Linear | zeros of all | file (MiB) | zstd 19 (MiB) |\n| --- | ---: | ---: | ---: | ---: |\n"
        f"| ours | {100 * zeros:.1f} % | {100 * all_zeros:.1f} % | {raw[0]:.2f} -> {raw[1]:.2f} "
        f"| {packed[0]:.2f} -> {packed[1]:.2f} ({100 * (packed[1] / packed[0] - 1):+.1f} %) |\n"
        f"| the study | 20 % | {100 * sparsity:.0f} % | not told | {study_before} -> {study_after} "
        f"({100 * (study_after / study_before - 1):+.1f} %) |"
    )


def _scores(index: RunIndex, pairs: list[tuple[CellRecord, CellRecord]]) -> list[str]:
    lines = []
    for cell, pruned in pairs:
        metric = index.tasks[cell.task].metrics[0]
        before, after = (
            primary_score(metric, next(iter(split_answers(each, index).values()))) for each in (cell, pruned)
        )
        lines.append(
            f"| {cell.task} | {cell.seed} | {metric} | {100 * before:.1f} | `{pruned.chain}` | {100 * after:.1f} "
            f"| {100 * (after - before):+.1f} |"
        )
    return lines
