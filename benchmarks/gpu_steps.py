"""Training steps on a GPU: launched kernel by kernel, replayed from CUDA graphs, and through torch.compile.

    python -m benchmarks.gpu_steps --teacher bert-base-uncased

A step of distillation's intermediate stage (TinyBERT4 from BERT-Base's layers, recomputed at each step) and a step of
fine-tuning BERT-Base, 32 rows of random pieces each, bf16 autocast, fused AdamW. The kinds take turns; each figure is a
median, each ratio the median over turns of the paired ratio with its 95 % interval.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from compressbench.methods.captured_step import Compute, Tensors, captured
from compressbench.methods.distill.attention_record import use_recording_attention
from compressbench.methods.distill.frozen_teacher import FrozenTeacher, WantedLayers
from compressbench.methods.distill.loop import LossWeights, layer_gradients
from compressbench.methods.distill.student import new_student
from compressbench.methods.training import autocast, make_optimizer
from compressbench.models.geometry import geometry_of, parse_student
from compressbench.models.loading import load_classifier
from compressbench.numerics.layer_mapping import layer_mapping
from compressbench.stats.ratios import ratio_interval

BATCH, WARM_UP = 32, 4
Step = Callable[[], float]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    given = _parser().parse_args(arguments)
    if not torch.cuda.is_available():
        sys.exit("torch finds no CUDA device here: this measures training on one")
    kinds = ["launched", "replayed", *(["compiled"] if given.compile else [])]
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {BATCH} rows, {given.turns} turns\n")
    print("| Step | Tokens | " + " | ".join(f"{kind} (ms)" for kind in kinds) + " | Launched / replayed |")
    print("| --- | ---: " + "| ---: " * len(kinds) + "| ---: |")
    for name, maker in (("distillation, intermediate", intermediate), ("fine-tuning BERT-Base", finetuning)):
        for tokens in given.tokens:
            steps = {kind: maker(given.teacher, kind, tokens) for kind in kinds}
            for _ in range(WARM_UP):
                for step in steps.values():
                    step()
            times: dict[str, list[float]] = {kind: [] for kind in kinds}
            for _ in range(given.turns):
                for kind in kinds:
                    times[kind].append(steps[kind]())
            ratio = ratio_interval([times["launched"]], [times["replayed"]], seed=0)
            factor = f"{ratio.ratio:.1f}x [{ratio.low:.1f}, {ratio.high:.1f}]"
            medians = " | ".join(f"{1e3 * statistics.median(times[kind]):.2f}" for kind in kinds)
            print(
                f"| {name} | {tokens} | {medians} | {factor} |",
                flush=True,
            )
    return 0


def by_kind(compute: Compute, kind: str) -> Compute:
    """`compute`, run in one of the three ways."""
    if kind == "compiled":
        return torch.compile(compute, mode="reduce-overhead")
    return captured(compute, device="cuda" if kind == "replayed" else "cpu")


def timed(gradients: Callable[[], Tensors], optimizer: torch.optim.Optimizer) -> Step:
    """A whole step, its losses read as the training loop reads them, in seconds."""

    def step() -> float:
        torch.cuda.synchronize()
        start = time.perf_counter()
        torch.stack([*gradients().values()]).tolist()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        torch.cuda.synchronize()
        return time.perf_counter() - start

    return step


def drawn(vocabulary: int, tokens: int) -> Tensors:
    """Rows of random pieces, the second half of them with a quarter of padding."""
    ids = torch.randint(1000, vocabulary, (BATCH, tokens), device="cuda")
    mask = torch.ones_like(ids)
    mask[BATCH // 2 :, -(tokens // 4) :] = 0
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}


def intermediate(folder: Path, kind: str, tokens: int) -> Step:
    """Distillation's."""
    teacher = load_classifier(folder)
    geometry = geometry_of(teacher.config)
    shape = parse_student("tinybert4")
    mapping = layer_mapping("uniform", teacher_layers=geometry.layers, student_layers=shape.layers)
    wanted = WantedLayers(hidden=mapping.hidden, attention=mapping.attention)
    student, projections = new_student(teacher, shape, init="principal", dropout=0.1)
    use_recording_attention(student)
    student.to("cuda").train()
    projections.to("cuda")
    optimizer = make_optimizer([student.bert, projections], learning_rate=5e-5, weight_decay=0.01, device="cuda")
    frozen = FrozenTeacher(teacher, wanted=wanted, precision="bf16", device="cuda")
    weights = LossWeights(embedding=1.0, attention=1.0, hidden=1.0)

    compute = partial(layer_gradients, student, projections, wanted=wanted, weights=weights, precision="bf16")
    step = by_kind(compute, kind)
    return timed(lambda: step((batch := drawn(geometry.vocab, tokens)) | frozen.layers_of(batch).by_name()), optimizer)


def finetuning(folder: Path, kind: str, tokens: int) -> Step:
    """A classifier's."""
    model = load_classifier(folder).to("cuda").train()
    optimizer = make_optimizer([model], learning_rate=2e-5, weight_decay=0.01, device="cuda")

    def compute(batch: Tensors) -> Tensors:
        with autocast(device="cuda", precision="bf16"):
            logits = model(**batch).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), torch.zeros_like(batch["input_ids"][:, 0]))
        loss.backward()
        return {"loss": loss.detach()}

    step = by_kind(compute, kind)
    return timed(lambda: step(drawn(model.config.vocab_size, tokens)), optimizer)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=Path, required=True, help="folder of a fine-tuned BERT-Base")
    parser.add_argument("--tokens", type=int, nargs="+", default=[32, 64, 128], help="lengths of rows")
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--compile", action="store_true", help="torch.compile too, which takes minutes to begin")
    return parser


if __name__ == "__main__":
    sys.exit(main())
