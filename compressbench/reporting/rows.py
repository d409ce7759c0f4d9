"""One row of `comparison.json`, computed from records alone; its keys are fixed by the architecture.

Read with it:

* The first key of ``scores`` is the primary metric; ``primary_score`` repeats its value.
* The baseline is a row of its own: speedup 1, retention 1, and null where a figure compares with the baseline's
  answers (p-values, agreement).
* A speedup whose ratio and both ends are exactly 1 is not measured: the row has the baseline's graph.
* A cell that failed is a row of nulls whose first warning says why.
"""

from pathlib import Path
from typing import Any

import numpy as np

from compressbench.records.latencies import LatencyIndex
from compressbench.records.run_index import BASELINE, RunIndex
from compressbench.records.schema import CellRecord
from compressbench.reporting.latency_rows import latency_part
from compressbench.reporting.row_warnings import (
    CellFailed,
    ComputesInFp32,
    OneClassPredicted,
    RowWarning,
    TeacherNotAboveChance,
    UndefinedAnswers,
)
from compressbench.reporting.zeros import FEWEST_ZEROS, zeros_by_part
from compressbench.scoring import (
    Answers,
    agreement_of,
    chance_score,
    primary_score,
    retention_interval,
    score_difference,
    score_interval,
    scores_of,
    split_answers,
)

NEARLY_ONE_CLASS = 0.97
"""Share of predictions in one class from which a row is warned about."""

Row = dict[str, Any]


def row_of(cell: CellRecord, index: RunIndex, latencies: LatencyIndex, folder: Path) -> Row:
    """One row; parts that were not measured stay null."""
    baseline = index.baseline_of(cell)
    warnings: list[RowWarning | str] = [CellFailed(error=cell.error)] if cell.error else []
    warnings += cell.warnings
    row: Row = {
        "task": cell.task,
        "method": cell.method,
        "chain": cell.chain,
        "seed": cell.seed,
        "parameters": dict(cell.parameters),
        "artifact": None if cell.error else _artifact(cell, folder),
        **_size_part(cell, baseline, index),
        **latency_part(cell, baseline, index, latencies, warnings),
        **_score_part(cell, baseline, index, warnings),
        "int8": _int8_part(cell, index, warnings),
        "budget": dict(cell.budget),
    }
    row["warnings"] = list(dict.fromkeys(str(warning) for warning in warnings))
    return row


def _artifact(cell: CellRecord, folder: Path) -> dict[str, str]:
    path = Path(cell.artifact_path)
    if path.is_absolute() and path.is_relative_to(folder.absolute()):
        path = path.relative_to(folder.absolute())
    return {"path": path.as_posix(), "key": cell.artifact_key, "format": cell.format}


def _size_part(cell: CellRecord, baseline: CellRecord | None, index: RunIndex) -> Row:
    size = None if cell.error else index.sizes.get(cell.measured_key)
    before = index.sizes.get(baseline.measured_key) if baseline and not baseline.error else None
    if size is None:
        names = ("size_bytes", "compressed_bytes", "compression_ratio", "parameter_count", "nonzero_count")
        return dict.fromkeys((*names, "sparsity", "linear_sparsity", "zeros_by_layer", "flops"))
    linear_sparsity = 1 - size.linear_nonzero_count / size.linear_count if size.linear_count else None
    is_sparse = linear_sparsity is not None and linear_sparsity >= FEWEST_ZEROS
    return {
        "size_bytes": size.size_bytes,
        "compressed_bytes": size.compressed_bytes,
        "compression_ratio": before.size_bytes / size.size_bytes if before else None,
        "parameter_count": size.parameter_count,
        "nonzero_count": size.nonzero_count,
        "sparsity": 1 - size.nonzero_count / size.parameter_count if size.parameter_count else None,
        "linear_sparsity": linear_sparsity,
        "zeros_by_layer": (zeros_by_part(size.layers) or None) if is_sparse else None,
        "flops": size.flops,
    }


def _score_part(
    cell: CellRecord, baseline: CellRecord | None, index: RunIndex, warnings: list[RowWarning | str]
) -> Row:
    part: Row = {
        "scores": {},
        **dict.fromkeys(("primary_score", "score_interval", "retention", "retention_above_chance")),
        **dict.fromkeys(("retention_above_chance_interval", "score_p_value", "score_p_value_holm", "agreement")),
    }
    answers = split_answers(cell, index)
    if not answers:
        return part
    task = index.tasks[cell.task]
    metric, main = task.metrics[0], next(iter(answers.values()))
    part["scores"] = scores_of(task, answers)
    if not part["scores"]:
        undefined = max(each.undefined_rows for each in answers.values())
        warnings.append(UndefinedAnswers(rows=undefined, total=len(main.references)))
        return part
    part["primary_score"] = part["scores"][metric]
    part["score_interval"] = score_interval(metric, main)
    warnings.extend(_one_class(main))
    teacher = split_answers(baseline, index) if baseline else {}
    if teacher:
        part.update(_against_teacher(metric, part["primary_score"], main, next(iter(teacher.values())), warnings))
    if cell.chain == BASELINE:
        part.update(retention_above_chance_interval=None, score_p_value=None, agreement=None)
    return part


def _against_teacher(
    metric: str, score: float, main: Answers, teacher: Answers, warnings: list[RowWarning | str]
) -> Row:
    """Retention, significance and agreement; retention is null where the teacher has nothing to retain."""
    if teacher.undefined_rows:
        return {}
    before, chance = primary_score(metric, teacher), chance_score(metric, teacher)
    if before <= chance:
        warnings.append(TeacherNotAboveChance(metric=metric, score=before, chance=chance))
    difference = score_difference(metric, teacher, main)
    return {
        "retention": score / before if before > 0 else None,
        "retention_above_chance": (score - chance) / (before - chance) if before > chance else None,
        "retention_above_chance_interval": retention_interval(metric, teacher, main),
        "score_p_value": difference.p_value if difference else None,
        "agreement": agreement_of(teacher, main),
    }


def _one_class(answers: Answers) -> list[OneClassPredicted]:
    """A warning where nearly all answers are one class and the right answers are less lopsided."""
    if not answers.labels:
        return []
    counts = np.bincount(answers.predictions, minlength=len(answers.labels))
    label = int(counts.argmax())
    predicted, true = counts[label] / counts.sum(), float((answers.references == label).mean())
    if predicted <= NEARLY_ONE_CLASS or true >= predicted:
        return []
    return [OneClassPredicted(label=answers.labels[label], predicted_share=float(predicted), reference_share=true)]


def _is_node(name: str) -> bool:
    """Products of two computed sides have no weight, and go by the names of their nodes."""
    return "." not in name and ("MatMul" in name or "Gemm" in name)


def _int8_part(cell: CellRecord, index: RunIndex, warnings: list[RowWarning | str]) -> Row | None:
    """INT8 shares by runtime and shape; null for models that are not quantized."""
    if cell.error:
        return None
    part: Row = {}
    for record in index.int8_of(cell.measured_key):
        part.setdefault(record.runtime, {})[record.shape] = {
            "gemm_share": record.gemm_share,
            "constant_gemm_share": record.constant_gemm_share,
            "leftover_qdq_pairs": record.leftover_qdq_pairs,
        }
        if record.constant_gemm_share < 1:
            left = tuple(name for name, share in record.layers.items() if share == 0 and not _is_node(name))
            warnings.append(
                ComputesInFp32(
                    runtime=record.runtime, shape=record.shape, share=record.constant_gemm_share, layers=left
                )
            )
    return part or None
