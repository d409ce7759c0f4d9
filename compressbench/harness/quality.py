"""What a model answers on a dev split."""

from pathlib import Path

import numpy as np

from compressbench.prediction import EncodedRows, predict
from compressbench.progress import Progress
from compressbench.records.schema import QualityRecord
from compressbench.runtimes.onnxruntime import open_model
from compressbench.tasks.task import Rows, Task


def measure_quality(
    onnx_path: Path,
    task: Task,
    *,
    split: str,
    rows: Rows,
    encoded: EncodedRows,
    measured_key: str,
    threads: int,
    progress: Progress,
) -> QualityRecord:
    """Logits of every row of a split, kept to 7 significant digits (float32 holds no more), beside the true labels.

    Args:
        onnx_path: The model.
        task: What it answers.
        split: Name of the dev split.
        rows: Its rows, for the labels.
        encoded: The same rows in the model's token ids.
        measured_key: For the record.
        threads: To score with.
        progress: Told of every batch.
    """
    forward = open_model(onnx_path, threads=threads)
    logits = predict(forward, encoded, progress=progress, name=f"score {task.name} {split}")
    references = rows.labels if rows.labels is not None else np.full(len(rows), np.nan)
    return QualityRecord(
        measured_key=measured_key,
        task=task.name,
        split=split,
        logits=[[float(f"{value:.7g}") for value in row] for row in logits],
        references=references.tolist(),
    )
