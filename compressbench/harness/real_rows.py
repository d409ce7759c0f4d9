"""The shape ``task``: batches of real dev rows, few enough to warm up all of them, spread over all lengths.

A service meets rows of every length in no order. So a round draws one batch from each part of the length distribution
and runs them in random order; all models of a round run the same ones, which is what pairs them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compressbench.harness.shapes import TaskShape
from compressbench.prediction import EncodedRows

POOL = 32
"""Batches kept of a split: those in the middle of each 32nd of the distribution of padded lengths."""
DRAWN = 8
"""Batches in a block: one from each eighth of the pool."""

Inputs = Mapping[str, np.ndarray]
"""int64 arrays [batch, tokens] by input name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RealRows:
    """Batches of one task's dev rows in one tokenizer's ids, by shape, the shortest first."""

    task: str
    pools: Mapping[TaskShape, Sequence[Inputs]]


def real_rows(encoded: EncodedRows, *, task: str, shapes: Sequence[TaskShape]) -> RealRows:
    """The batches of a split that latency is measured on.

    Args:
        encoded: The whole dev split.
        task: Its name, for the records.
        shapes: Batch sizes.
    """
    return RealRows(task=task, pools={shape: _pool(encoded, shape.batch) for shape in shapes})


def draw(pool_size: int, *, seed: int, round_number: int) -> list[int]:
    """Which batches of a pool a round runs, in order: one of each part of the lengths; all of a small pool."""
    rng = np.random.default_rng([seed, round_number, pool_size])
    parts = np.array_split(np.arange(pool_size), min(DRAWN, pool_size))
    return [int(place) for place in rng.permutation([rng.choice(part) for part in parts])]


def widths(pool: Sequence[Inputs]) -> dict[int, int]:
    """One batch (its place) for each padded length: to a runtime, every length is a shape of its own."""
    return {batch["input_ids"].shape[1]: place for place, batch in enumerate(pool)}


def served_batches(row_count: int, batch_size: int) -> list[np.ndarray]:
    """Row indices as a service would batch them: as they come. A last incomplete batch is left out if others are."""
    batches = [np.arange(start, min(start + batch_size, row_count)) for start in range(0, row_count, batch_size)]
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) < batch_size else batches


def pool_places(padded_lengths: np.ndarray) -> list[int]:
    """Which batches make the pool: the middle one of each part of the sorted lengths, the shortest first."""
    order = np.argsort(padded_lengths, kind="stable")
    count = min(POOL, len(order))
    return [int(order[int((part + 0.5) * len(order) / count)]) for part in range(count)]


def _pool(encoded: EncodedRows, batch_size: int) -> list[Inputs]:
    lengths = encoded.lengths
    batches = served_batches(len(encoded), batch_size)
    chosen = pool_places(np.array([lengths[batch].max() for batch in batches]))
    return [encoded.batch(batches[place]) for place in chosen]
