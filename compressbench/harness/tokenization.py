"""What turning texts into token ids takes: part of serving a request, and of no latency."""

import time
from pathlib import Path

import numpy as np

from compressbench.harness.real_rows import served_batches
from compressbench.harness.shapes import TaskShape
from compressbench.prediction import open_tokenizer, texts_of
from compressbench.records.schema import TokenizationRecord
from compressbench.tasks.task import Rows, Task

TIMED = 200
"""Batches timed, spread over the split."""


def measure_tokenization(
    rows: Rows, tokenizer_path: Path, task: Task, *, shape: TaskShape, session: int
) -> TokenizationRecord:
    """Time the tokenizer on batches of dev rows, each batch a call, as they come.

    Args:
        rows: A dev split.
        tokenizer_path: A tokenizer.json.
        task: Its length limit holds.
        shape: How many rows a call.
        session: For the record.
    """
    tokenizer, _ = open_tokenizer(tokenizer_path, max_length=task.max_length)
    texts = texts_of(rows)
    batches = served_batches(len(texts), shape.batch)
    chosen = np.unique(np.linspace(0, len(batches) - 1, min(TIMED, len(batches))).astype(int))
    tokenizer.encode_batch([texts[index] for index in batches[0]])  # not timed: the first call builds its caches
    samples_ns = []
    for place in chosen:
        batch = [texts[index] for index in batches[place]]
        start_ns = time.perf_counter_ns()
        tokenizer.encode_batch(batch)
        samples_ns.append(time.perf_counter_ns() - start_ns)
    return TokenizationRecord(session=session, task=task.name, shape=str(shape), samples_ns=samples_ns)
