"""All inputs of a campaign in one file that every measuring process reads, each under a name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compressbench.harness.inputs import latency_inputs
from compressbench.harness.measuring_process import Subject, Worker
from compressbench.harness.real_rows import RealRows, widths
from compressbench.harness.shapes import AnyShape, TaskShape, fixed_shapes


@dataclass(frozen=True, kw_only=True)
class CampaignInputs:
    """Where they are, and what the batches of real rows are called.

    A fixed shape's inputs bear its spelling; the batches of a pool are ``task@<number of the rows>.<place>``.
    """

    path: Path
    real_rows: Sequence[RealRows]

    def names(self, rows: RealRows, shape: TaskShape) -> list[str]:
        """The names of a pool's batches, the shortest first."""
        return [f"{shape}@{self.real_rows.index(rows)}.{place}" for place in range(len(rows.pools[shape]))]

    def settle(self, worker: Worker, shapes: Sequence[AnyShape], *, first_ns: int, further_ns: int) -> None:
        """Warm a worker up at every shape; of real rows, one batch of every padded length before the middle one."""
        for number, shape in enumerate(shapes):
            least_ns = further_ns if number else first_ns
            if not isinstance(shape, TaskShape):
                worker.settle(str(shape), least_ns=least_ns)
                continue
            for on_task in worker.subject.on_tasks:
                names = self.names(on_task.rows, shape)
                first = [names[place] for place in widths(on_task.rows.pools[shape]).values()]
                worker.settle(str(shape), inputs=names[len(names) // 2], first=first, least_ns=least_ns)


def write_inputs(subjects: Sequence[Subject], shapes: Sequence[AnyShape], *, to: Path, seed: int) -> CampaignInputs:
    """Write the inputs of all shapes, and of all rows that the subjects have."""
    arrays: dict[str, Any] = latency_inputs(
        [subject.onnx_path for subject in subjects], fixed_shapes(shapes), seed=seed
    )
    distinct = list({id(each.rows): each.rows for subject in subjects for each in subject.on_tasks}.values())
    inputs = CampaignInputs(path=to, real_rows=distinct)
    for rows in distinct:
        for shape in shapes:
            if isinstance(shape, TaskShape):
                for name, batch in zip(inputs.names(rows, shape), rows.pools[shape], strict=True):
                    arrays |= {f"{name}/{input_name}": array for input_name, array in batch.items()}
    np.savez(to, **arrays)
    return inputs
