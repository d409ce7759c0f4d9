"""Published figures, to be shown beside measured ones: each with its source, split and metric, none subtracted.

The study: "Reproducing TinyBERT" (group 13), a reproduction on a subset of GLUE with quantization and pruning added.
The paper: Jiao et al. 2020, "TinyBERT: Distilling BERT for Natural Language Understanding", arXiv:1909.10351.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from compressbench.errors import UnknownName
from compressbench.reporting.cells import places_of

SOURCES = ("seed", "paper")


@dataclass(frozen=True, kw_only=True)
class ReferenceFigure:
    """One number as it was published."""

    source: str
    """Of `SOURCES`."""
    model: str
    """As the source calls it."""
    method: str
    """The method here that makes the like of it; ``baseline`` for the teacher."""
    quantity: str
    """``size``, ``size_share``, ``latency``, ``speedup``, ``score``, ``retention``, ``parameters`` or ``flops``."""
    value: float
    """In the quantity's base unit: bytes, fractions, nanoseconds, counts."""
    task: str = ""
    metric: str = ""
    """evaluate's key of a score."""
    split: str = ""
    variant: str = ""
    """A parameter as a chain spells it; rows that have it are the like, others only where none has."""
    printed: str = ""
    """As the source prints it, where that says more than the value."""


NOTES = {
    "seed": (
        (
            "The study's figures are of its own machine; it does not say the shape its latencies were taken at, nor "
            "the split of its scores, which for want of test labels can only be dev. Its MB are MiB."
        ),
        "The study prints 64.63 % for both quantized sizes; by its own sizes, 105.23 of 417.85, it is 25.2 %.",
        "The study cuts its speedups instead of rounding them: 2814.70 ms over 1436.28 ms is 1.96, printed 1.9.",
        (
            "The study's first quantized model was slower than fp32 (0.8x) because its activations are signed: ONNX "
            "Runtime has no x86 kernels for them and computes many of its products in fp32, as the INT8 share of the "
            "row shows; docs/methods/quantization.md counts them, and `quant-qdq` as it is by default has none left."
        ),
        (
            "The study quantizes each task's own BERT-Base, as this suite does, and prints no scores of it. Our sizes "
            "differ from its by the scales of each output (per_channel) and by what exporters write beside weights."
        ),
        (
            "The study does not say where its student began; without `corpus` or `general_student` ours begins without "
            "a general distillation. Its CoLA student learned for 20 epochs, the paper's for 50."
        ),
        "The study prints 89.3 % retention for RTE; 0.643 of 0.725 is 88.7 %.",
        (
            "The study's MRPC student, 0.683, is the accuracy of always answering 'equivalent' (68.4 % of the dev "
            "set); the 0.864 it is set beside there is the paper's F1 on the test set."
        ),
        (
            "The study prunes 20 % of the Linear weights, which is its 6 % of all parameters; 52 and 50 MB are "
            "compressed files."
        ),
    ),
    "paper": (
        (
            "The paper's scores are of GLUE's hidden test sets; ours are of the dev sets. They stand side by side "
            "and are not subtracted."
        ),
        "The paper's QQP and MRPC are F1 and its STS-B is Spearman's correlation, as in BERT's own paper.",
    ),
}


def _study() -> Iterator[ReferenceFigure]:
    sizes = (
        ("BERT-Base", "baseline", "", 417.85, 1.0, 2814.70, 1.0, ""),
        ("TinyBERT", "distill", "", 54.82, 0.1311, 209.86, 13.4, ""),
        (
            "Quantized 1 (QDQ)", "quant-qdq", "activation_type=int8", 105.23, 105.23 / 417.85, 3436.46, 0.8,
            "64.63 %, is 25.2 %",
        ),
        (
            "Quantized 2 (QOperator)", "quant-qop", "activation_type=uint8", 105.03, 105.03 / 417.85, 1436.28, 1.9,
            "64.63 %, is 25.1 %",
        ),
    )  # fmt: skip
    for model, method, variant, mib, share, milliseconds, speedup, printed in sizes:
        given = {"source": "seed", "model": model, "method": method, "variant": variant}
        yield ReferenceFigure(**given, quantity="size", value=mib * 1024 * 1024)
        yield ReferenceFigure(**given, quantity="size_share", value=share, printed=printed)
        yield ReferenceFigure(**given, quantity="latency", value=milliseconds * 1e6)
        yield ReferenceFigure(**given, quantity="speedup", value=speedup)
    scores = (
        ("SST-2", "accuracy", 0.924, 0.906, 0.9802),
        ("RTE", "accuracy", 0.725, 0.643, 0.893),
        ("MRPC", "accuracy", 0.852, 0.683, 0.8017),
        ("CoLA", "matthews_correlation", 0.557, 0.331, 0.594),
    )
    for task, metric, teacher, student, retention in scores:
        where = {"source": "seed", "task": task, "metric": metric, "split": "dev"}
        yield ReferenceFigure(**where, model="BERT-Base", method="baseline", quantity="score", value=teacher)
        yield ReferenceFigure(**where, model="TinyBERT", method="distill", quantity="score", value=student)
        yield ReferenceFigure(**where, model="TinyBERT", method="distill", quantity="retention", value=retention)
    pruned = {"source": "seed", "model": "TinyBERT, pruned", "method": "distill+prune"}
    yield ReferenceFigure(**pruned, quantity="sparsity", value=0.06)
    yield ReferenceFigure(
        **pruned, quantity="compressed_size", value=50 * 1024 * 1024, printed="50 MB, 52 before pruning"
    )


def _paper() -> Iterator[ReferenceFigure]:
    rows = (
        ("BERT-Base", "baseline", 109e6, 22.5e9, (83.9, 83.4, 71.1, 90.9, 93.4, 52.8, 85.2, 87.5, 67.0, 79.5)),
        ("TinyBERT4", "distill", 14.5e6, 1.2e9, (82.5, 81.8, 71.3, 87.7, 92.6, 44.1, 80.4, 86.4, 66.6, 77.0)),
    )
    metrics = (
        ("MNLI", "accuracy"), ("MNLI", "accuracy_mismatched"), ("QQP", "f1"), ("QNLI", "accuracy"),
        ("SST-2", "accuracy"), ("CoLA", "matthews_correlation"), ("STS-B", "spearmanr"), ("MRPC", "f1"),
        ("RTE", "accuracy"), ("average", ""),
    )  # fmt: skip
    for model, method, parameters, flops, points in rows:
        given = {"source": "paper", "model": model, "method": method}
        yield ReferenceFigure(**given, quantity="parameters", value=parameters)
        yield ReferenceFigure(**given, quantity="flops", value=flops)
        for (task, metric), value in zip(metrics, points, strict=True):
            yield ReferenceFigure(
                **given, quantity="score", task=task, metric=metric, split="test", value=round(value / 100, 4)
            )
    student = {"source": "paper", "model": "TinyBERT4", "method": "distill"}
    yield ReferenceFigure(**student, quantity="speedup", value=9.4)
    yield ReferenceFigure(**student, quantity="retention", task="average", split="test", value=0.968)


FIGURES: tuple[ReferenceFigure, ...] = (*_study(), *_paper())


def figures_of(sources: Sequence[str]) -> list[ReferenceFigure]:
    """Figures of the named sources.

    Raises:
        UnknownName: If a source is unknown.
    """
    for name in sources:
        if name not in SOURCES:
            raise UnknownName("reference", name, SOURCES)
    return [figure for figure in FIGURES if figure.source in sources]


def measured_values(figure: ReferenceFigure, comparison: dict[str, Any]) -> list[float]:
    """What this run measured for the same quantity, one value per row that answers to it; never a difference.

    A score counts only with the same task and metric; the average over another set of tasks is no like figure,
    so averages have none. Latency and speedup are those at the first of `places_of`.
    """
    place = next(iter(places_of(comparison["rows"])), ("", ""))
    rows = [row for row in comparison["rows"] if _methods_of(row["chain"]) == figure.method]
    if figure.quantity in ("score", "retention"):
        rows = [row for row in rows if row["task"] == figure.task]
    rows = [row for row in rows if figure.variant in row["chain"].split(":")] or rows
    values = (_value_in(row, figure, place) for row in rows)
    return [value for value in values if value is not None]


def _methods_of(chain: str) -> str:
    """A chain without its parameters."""
    return "+".join(part.split(":")[0] for part in chain.split("+"))


def _value_in(row: dict[str, Any], figure: ReferenceFigure, place: tuple[str, str]) -> float | None:
    """The quantity in one row of comparison.json, at a runtime and shape where it has several."""
    plain = {
        "size": "size_bytes",
        "compressed_size": "compressed_bytes",
        "parameters": "parameter_count",
        "flops": "flops",
        "retention": "retention",
        "sparsity": "sparsity",
    }
    value: float | None = None
    if figure.quantity in plain:
        value = row[plain[figure.quantity]]
    elif figure.quantity == "size_share":
        value = 1 / row["compression_ratio"] if row["compression_ratio"] else None
    elif figure.quantity == "score":
        value = row["scores"].get(figure.metric)
    else:
        key = "median_ns" if figure.quantity == "latency" else "ratio"
        runtime, shape = place
        taken = row[figure.quantity].get(runtime, {}).get(shape)
        value = taken[key] if taken else None
    return value
