"""A measurement of models that are there: what `measure` was asked, resolved, as a folder remembers it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from compressbench.artifacts.fingerprints import files_fingerprint
from compressbench.harness.shapes import AnyShape
from compressbench.measuring import Measurable
from compressbench.models.onnx_graph import external_files
from compressbench.options import Options
from compressbench.plan_file import MEASURE, measuring_values, rows_values
from compressbench.tasks.data import TaskData

DIGEST_PREFIX = f"{MEASURE}-"
"""Sets a measurement's folder apart from a run's."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Models, the task they are scored on, and how latency is measured."""

    models: Mapping[str, Measurable]
    """By the path each was named by."""
    baseline: str
    data: TaskData
    thread_counts: tuple[int, ...]
    """Of the latencies, the main one first."""
    shapes: tuple[AnyShape, ...]
    options: Options
    file_name: str | None = None
    """As typed, for whoever repeats it."""
    tokenizer: Path | None = None

    @property
    def digest(self) -> str:
        """8 hex digits, behind a prefix, of everything that decides results and what rows are called."""
        task = self.data.task
        content: dict[str, Any] = {
            "models": {source: _fingerprint(model) for source, model in self.models.items()},
            "baseline": self.baseline,
            "task": [task.name, self.data.fingerprint, task.labels, task.metrics, task.dev_splits, task.max_length],
            "threads": self.thread_counts,
            "shapes": [str(shape) for shape in self.shapes],
            "runtimes": self.options.runtimes,
            "concurrency": self.options.concurrency,
        }
        return DIGEST_PREFIX + hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def text(self) -> str:
        """The measurement as a plan.toml, for people: `run --plan` refuses it."""
        options = self.options
        document: dict[str, Any] = {"command": MEASURE, "models": list(self.models), "baseline": self.baseline}
        for name, value in (("file_name", self.file_name), ("tokenizer", self.tokenizer)):
            if value is not None:
                document[name] = str(value)
        document |= measuring_values(
            thread_counts=self.thread_counts,
            shapes=self.shapes,
            runtimes=options.runtimes,
            precision=options.precision,
            concurrency=options.concurrency,
        )
        document |= rows_values(options, suite=self.data.task.suite, tasks=[self.data.task.name])
        document["keys"] = {source: model.key for source, model in self.models.items()}
        header = (
            "# What was measured, by `compressbench measure` with these options; there is no plan for `run` in it.\n"
        )
        return header + tomli_w.dumps(document)


def _fingerprint(model: Measurable) -> list[str]:
    """A model and its tokenizer: the key, and what lies in files that no key is made of."""
    return [model.key, files_fingerprint([model.tokenizer_path, *external_files(model.onnx_path)])]
