"""benchmarks/over_seeds.py: differences of two chains by seed, and over seeds."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, matthews_corrcoef

from compressbench.errors import BadInput
from compressbench.records.run_index import index_records
from compressbench.records.schema import Record
from tests.unit import fake_run

SPEC = importlib.util.spec_from_file_location("over_seeds", Path(__file__).parents[2] / "benchmarks" / "over_seeds.py")
assert SPEC is not None
assert SPEC.loader is not None
over_seeds = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(over_seeds)
SEEDS = (1, 2, 3)


def records(task: str) -> list[Record]:
    found: list[Record] = [fake_run.task_record(task)]
    for seed in SEEDS:
        for chain in ("baseline", "distill"):
            found += [fake_run.cell(task, chain, seed=seed), fake_run.quality(task, chain, "dev", seed)]
    return found


def predictions(task: str, chain: str, seed: int) -> np.ndarray:
    return np.asarray(fake_run.quality(task, chain, "dev", seed).logits).argmax(axis=1)


@pytest.mark.parametrize(("task", "score"), [("MRPC", accuracy_score), ("CoLA", matthews_corrcoef)])
def test_differences_are_scikit_learns_and_lie_in_the_interval(task: str, score: object) -> None:
    line = over_seeds.compare(index_records(records(task)), task, "baseline", "distill")
    truth = fake_run.references(task, "dev").astype(int)
    expected = [
        100 * (score(truth, predictions(task, "distill", seed)) - score(truth, predictions(task, "baseline", seed)))  # type: ignore[operator]
        for seed in SEEDS
    ]
    by_seed, mean, low, high = re.search(r"\| ([^|]*) \| (\S+) \[(\S+), (\S+)\] \|$", line).groups()  # type: ignore[union-attr]
    assert [float(each) for each in by_seed.split(", ")] == pytest.approx(expected, abs=0.051)
    assert float(mean) == pytest.approx(np.mean(expected), abs=0.006)
    assert float(low) < float(mean) < float(high)


def test_a_chain_does_not_differ_from_itself() -> None:
    line = over_seeds.compare(index_records(records("MRPC")), "MRPC", "distill", "distill")
    assert line.endswith("| +0.0, +0.0, +0.0 | +0.00 [+0.00, +0.00] |")


def test_a_chain_that_is_not_there_is_named() -> None:
    with pytest.raises(BadInput, match="no seed of MRPC has both baseline and prune: the run has baseline, distill"):
        over_seeds.compare(index_records(records("MRPC")), "MRPC", "baseline", "prune")
