"""A task's scores as an `evaluate.Metric`, for code that speaks evaluate; nothing is fetched from a hub.

evaluate loads slowly: the rest of the package uses `scores` directly, where the same functions stand.
"""

from typing import Any

import datasets
import evaluate
import numpy as np

from compressbench.tasks.catalog import task_named
from compressbench.tasks.scores import score_predictions
from compressbench.tasks.task import Task

_DESCRIPTION = "The scores of one task, under the keys of evaluate's GLUE metric."
_INPUTS = """
Args:
    predictions: class ids, or numbers for regression.
    references: the same of the true labels.
"""


class TaskScores(evaluate.Metric):  # type: ignore[misc]
    """The metrics of one task.

    Example:
        >>> metric = TaskScores("CoLA")
        >>> metric.add_batch(predictions=[0, 1, 1], references=[0, 1, 0])
        >>> metric.compute()
        {'matthews_correlation': 0.5}
    """

    def __init__(self, task: str | Task, **options: Any) -> None:
        """Take a task or a task's name; `options` are those of `evaluate.Metric`.

        Rows are kept in memory unless `keep_in_memory` says otherwise: a dev set is small.
        """
        self.task = task_named(task) if isinstance(task, str) else task
        if options.get("num_process", 1) == 1:
            options.setdefault("keep_in_memory", True)
        super().__init__(config_name=self.task.name, **options)

    def _info(self) -> evaluate.MetricInfo:
        kind = datasets.Value("float64" if self.task.is_regression else "int64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": kind, "references": kind}),
            reference_urls=[self.task.reference] if self.task.reference else [],
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return score_predictions(
            self.task.metrics,
            np.asarray(predictions),
            np.asarray(references),
            class_count=self.task.output_count,
        )
