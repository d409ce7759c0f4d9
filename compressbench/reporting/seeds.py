"""What several seeds say of one task: means over trainings, and differences from the first method, seed by seed."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from compressbench.records.run_index import BASELINE
from compressbench.stats import mean_interval

Row = dict[str, Any]


def over_seeds(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One entry per chain of one task, in the order of the rows; none where no chain has two seeds.

    Args:
        rows: Of one task, as in comparison.json.

    Returns:
        ``row`` (one of the chain's), ``scores`` by seed, ``mean``, ``interval`` (Student's t, 95 %; None for one seed),
        and ``difference`` from the first chain that is no baseline: None there, else ``mean`` and ``interval`` over
        the seeds that both have.
    """
    chains: dict[str, dict[int, float]] = {}
    for row in rows:
        if row["primary_score"] is not None:
            chains.setdefault(row["chain"], {})[row["seed"]] = row["primary_score"]
    if all(len(scores) < 2 for scores in chains.values()):
        return []
    first = next((chain for chain in chains if chain != BASELINE), BASELINE)
    return [
        {
            "row": next(row for row in rows if row["chain"] == chain),
            "scores": scores,
            **_mean(list(scores.values())),
            "difference": None if chain in (first, BASELINE) else _difference(scores, chains[first]),
        }
        for chain, scores in chains.items()
    ]


def _difference(scores: dict[int, float], first: dict[int, float]) -> dict[str, Any] | None:
    shared = [seed for seed in scores if seed in first]
    return _mean([scores[seed] - first[seed] for seed in shared]) if shared else None


def _mean(values: Sequence[float]) -> dict[str, Any]:
    return {"mean": fmean(values), "interval": mean_interval(values) if len(values) > 1 else None}
