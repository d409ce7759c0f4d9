"""Run folders for the gate's tests: a run drawn from a seed, and the same with something made worse."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from compressbench.records.log import LOG_NAME, RecordLog
from compressbench.records.schema import LatencyRecord, QualityRecord, Record, SizeRecord
from tests.unit import fake_run

MACHINE = {"cpu": "a CPU", "isa_class": "x86_64+avx2", "threads": 2, "packages": {"onnxruntime": "1.32.0"}}
CHAINS = ("baseline", "quant-qdq")
Change = Callable[[Record], Record]


def write_run(
    folder: Path,
    *,
    tasks: Sequence[str] = ("MRPC",),
    chains: Sequence[str] = CHAINS,
    change: Change = lambda record: record,
    environment: dict[str, Any] | None = None,
    seeds: Sequence[int] = (1,),
) -> Path:
    """A run's folder; `change` is done to every record."""
    folder.mkdir(parents=True)
    log = RecordLog(folder / LOG_NAME)
    for record in fake_run.fake_run(tasks, chains, seeds=seeds):
        log.append(change(record))
    (folder / "environment.json").write_text(json.dumps(MACHINE if environment is None else environment))
    return folder


def of_quantized(record: Record) -> bool:
    return "quant-qdq" in str(getattr(record, "measured_key", ""))


def slower(factor: float) -> Change:
    """The quantized model's latencies times `factor`."""

    def changed(record: Record) -> Record:
        if isinstance(record, LatencyRecord) and of_quantized(record):
            return replace(record, samples_ns=[int(value * factor) for value in record.samples_ns])
        return record

    return changed


def larger(factor: float) -> Change:
    def changed(record: Record) -> Record:
        if isinstance(record, SizeRecord) and of_quantized(record):
            return replace(record, size_bytes=int(record.size_bytes * factor))
        return record

    return changed


def worse(*, to_wrong: int, to_right: int = 0) -> Change:
    """So many of the quantized model's right answers made wrong, so many wrong ones right."""

    def changed(record: Record) -> Record:
        if not (isinstance(record, QualityRecord) and of_quantized(record)):
            return record
        logits = np.array(record.logits)
        right = logits.argmax(axis=1) == np.array(record.references)
        rows = [*np.flatnonzero(right)[:to_wrong], *np.flatnonzero(~right)[:to_right]]
        logits[rows] = logits[rows][:, ::-1]
        return replace(record, logits=logits.tolist())

    return changed
