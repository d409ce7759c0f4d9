"""What a model answers on a dev split."""

from pathlib import Path

import numpy as np

from compressbench.prediction import encode_rows, predict
from compressbench.progress import Progress
from compressbench.records.schema import QualityRecord
from compressbench.runtimes.onnxruntime import open_model
from compressbench.tasks.task import Rows, Task


def measure_quality(
    onnx_path: Path,
    tokenizer_path: Path,
    task: Task,
    *,
    split: str,
    rows: Rows,
    measured_key: str,
    threads: int,
    progress: Progress,
) -> QualityRecord:
    """Logits of every row of a split, kept to 7 significant digits (float32 holds no more), beside the true labels."""
    forward = open_model(onnx_path, threads=threads)
    encoded = encode_rows(rows, tokenizer_path=tokenizer_path, max_length=task.max_length)
    logits = predict(forward, encoded, progress=progress, name=f"score {task.name} {split}")
    references = rows.labels if rows.labels is not None else np.full(len(rows), np.nan)
    return QualityRecord(
        measured_key=measured_key,
        task=task.name,
        split=split,
        logits=[[float(f"{value:.7g}") for value in row] for row in logits],
        references=references.tolist(),
    )
