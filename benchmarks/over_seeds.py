"""Two chains of one run over all its seeds: the difference of each seed, and one interval over seeds and dev rows.

    python benchmarks/over_seeds.py RUN CHAIN_A CHAIN_B

Scores are paired: both chains of a seed answered the same rows. The interval resamples seeds and dev rows together, the
rows once for all seeds, for a row that is hard is hard for every seed. B is non-inferior to A within a margin where the
interval of B - A lies above minus the margin. Chains are written as in comparison.json.
"""

import sys
from pathlib import Path

import numpy as np

from compressbench.errors import BadInput, CompressbenchError
from compressbench.numerics.weighted_metrics import weighted_metric
from compressbench.records.run_folder import read_run
from compressbench.records.run_index import RunIndex, index_records
from compressbench.scoring import Answers, split_answers

RESAMPLES = 4000


def answers_by_seed(index: RunIndex, task: str, chain: str) -> dict[int, Answers]:
    """Answers of a chain on a task's first dev split, by seed."""
    return {
        seed: next(iter(split_answers(cell, index).values()))
        for (name, spelled, seed), cell in index.cells.items()
        if name == task and spelled == chain and not cell.error
    }


def differences(metric: str, a: list[Answers], b: list[Answers], weights: np.ndarray) -> np.ndarray:
    """Score of B less that of A under each row of `weights`: float64 [draws, seeds]."""
    measure = weighted_metric(metric, class_count=len(a[0].labels))
    if measure is None:
        raise BadInput(f"{metric} has no weighted form, so its rows cannot be resampled")
    return np.stack(
        [
            measure(after.predictions, after.references, weights)
            - measure(before.predictions, before.references, weights)
            for before, after in zip(a, b, strict=True)
        ],
        axis=1,
    )


def compare(index: RunIndex, task: str, chain_a: str, chain_b: str) -> str:
    """Lines of a Markdown table for one task.

    Raises:
        BadInput: If no seed has both chains.
    """
    found_a, found_b = (answers_by_seed(index, task, chain) for chain in (chain_a, chain_b))
    seeds = sorted(set(found_a) & set(found_b))
    if not seeds:
        known = ", ".join(sorted({chain for name, chain, _ in index.cells if name == task}))
        raise BadInput(f"no seed of {task} has both {chain_a} and {chain_b}: the run has {known}")
    a, b = [found_a[seed] for seed in seeds], [found_b[seed] for seed in seeds]
    metric, rows = index.tasks[task].metrics[0], len(a[0].references)
    plain = differences(metric, a, b, np.ones((1, rows)))[0]
    rng = np.random.default_rng(0)
    resampled = differences(metric, a, b, rng.multinomial(rows, np.full(rows, 1 / rows), size=RESAMPLES).astype(float))
    drawn = rng.integers(len(seeds), size=(RESAMPLES, len(seeds)))
    low, high = np.quantile(np.take_along_axis(resampled, drawn, axis=1).mean(axis=1), [0.025, 0.975])
    each = ", ".join(f"{100 * value:+.1f}" for value in plain)
    return f"| {task} | {metric} | {each} | {100 * plain.mean():+.2f} [{100 * low:+.2f}, {100 * high:+.2f}] |"


def main(folder: str, chain_a: str, chain_b: str) -> None:
    """Print one line a task."""
    index = index_records(read_run(Path(folder)).records)
    print(f"{chain_b} less {chain_a}, in points\n")
    print("| Task | Metric | By seed | Mean [95 %] |\n| --- | --- | --- | --- |")
    for task in index.tasks:
        print(compare(index, task, chain_a, chain_b))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except CompressbenchError as error:
        sys.exit(str(error))
