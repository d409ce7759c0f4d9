"""What several seeds say of one task: means over trainings and differences from the first method, seed by seed.

Two variances are told apart. Another seed gives another training: the interval over seeds holds that, on these rows.
Other dev rows would give other scores of the same trainings: the interval over seeds and rows holds both.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from compressbench.numerics.weighted_metrics import weighted_metric
from compressbench.records.run_index import BASELINE, RunIndex
from compressbench.scoring import BOOTSTRAP_SEED, Answers, split_answers
from compressbench.stats import mean_interval, resampled_scores, seeds_and_rows_interval

Row = dict[str, Any]
Resampled = Mapping[tuple[str, int], np.ndarray]
"""Scores under resampled dev rows, by chain and seed; the same resamples for all."""


def seeds_of(index: RunIndex, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Entries of every task that has several seeds, for comparison.json; see `over_seeds`."""
    tasks = dict.fromkeys(row["task"] for row in rows)
    return [
        entry
        for task in tasks
        for entry in over_seeds([row for row in rows if row["task"] == task], _resampled(index, task))
    ]


def over_seeds(rows: Sequence[Row], resampled: Resampled | None = None) -> list[dict[str, Any]]:
    """One entry per chain of one task, in the order of the rows; none where no chain has two seeds.

    Args:
        rows: Of one task, as in comparison.json.
        resampled: Scores under resampled dev rows; without them intervals are over seeds alone.

    Returns:
        ``task``, ``chain``, ``method``, ``seeds``, ``scores`` and ``mean``; ``interval`` over seeds (Student's t, 95 %)
        and ``interval_with_rows`` over seeds and dev rows, None where there is one seed; and ``difference``, the same
        of the difference from the first chain that is no baseline, over the seeds that both have: None for that
        chain itself and for the baseline.
    """
    chains: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["primary_score"] is not None:
            chains.setdefault(row["chain"], {})[row["seed"]] = row["primary_score"]
    if all(len(scores) < 2 for scores in chains.values()):
        return []
    first = next((chain for chain in chains if chain != BASELINE), BASELINE)
    entries = []
    for chain, scores in chains.items():
        row = next(row for row in rows if row["chain"] == chain)
        entry = {"task": row["task"], "chain": chain, "method": row["method"]} | _mean(
            scores, {seed: _found(resampled, chain, seed) for seed in scores}
        )
        is_compared = chain not in (first, BASELINE)
        entries.append(entry | {"difference": _difference(chain, first, chains, resampled) if is_compared else None})
    return entries


def _difference(
    chain: str, first: str, chains: Mapping[str, Mapping[int, float]], resampled: Resampled | None
) -> dict[str, Any] | None:
    shared = [seed for seed in chains[chain] if seed in chains[first]]
    if not shared:
        return None
    changes = {}
    for seed in shared:
        sides = _found(resampled, chain, seed), _found(resampled, first, seed)
        changes[seed] = None if sides[0] is None or sides[1] is None else sides[0] - sides[1]
    by_seed = {seed: chains[chain][seed] - chains[first][seed] for seed in shared}
    return {"from": first} | _mean(by_seed, changes)


def _mean(values: Mapping[int, float], resampled: Mapping[int, np.ndarray | None]) -> dict[str, Any]:
    """Mean over seeds with both intervals."""
    several = len(values) > 1
    draws = [each for each in resampled.values() if each is not None]
    complete = several and len(draws) == len(values)
    return {
        "seeds": list(values),
        "scores": list(values.values()),
        "mean": fmean(values.values()),
        "interval": mean_interval(list(values.values())) if several else None,
        "interval_with_rows": (
            seeds_and_rows_interval(list(values.values()), np.stack(draws).mean(axis=0)) if complete else None
        ),
    }


def _found(resampled: Resampled | None, chain: str, seed: int) -> np.ndarray | None:
    return None if resampled is None else resampled.get((chain, seed))


def _resampled(index: RunIndex, task: str) -> Resampled | None:
    """Scores of every model of a task under the same resampled rows; None where they cannot be had."""
    cells = [cell for cell in index.cells.values() if cell.task == task and not cell.error]
    seeds = {cell.seed for cell in cells}
    record = index.tasks.get(task)
    if len(seeds) < 2 or record is None:
        return None
    answers: dict[tuple[str, int], Answers] = {}
    for cell in cells:
        by_split = split_answers(cell, index)
        main = next(iter(by_split.values()), None)
        if main is not None and not main.undefined_rows:
            answers[(cell.chain, cell.seed)] = main
    metric = weighted_metric(record.metrics[0], class_count=len(record.labels))
    if metric is None or not answers:
        return None
    references = next(iter(answers.values())).references
    if any(not np.array_equal(each.references, references) for each in answers.values()):
        return None
    _, scores = resampled_scores(
        metric, [each.predictions for each in answers.values()], references, seed=BOOTSTRAP_SEED
    )
    return dict(zip(answers, scores, strict=True))
