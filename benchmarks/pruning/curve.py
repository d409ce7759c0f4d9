"""Sparsity and score from finished runs: pooled over seeds, with an answer to "worse by no more than 1 or 2 points?".

Rows are the chains that end in `prune-sparsegpt` or an unstructured `prune`. Each is compared with one other chain of
the same run, seed by seed on the same dev rows. `prune-sparsegpt` does not train, so that the baseline is its fair
comparison. `prune` does: a fair `--against` is the same training without pruning to speak of, ``prune:amount=0.0001``
(for students ``distill+prune:amount=0.0001``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.pruning.drawing import Line, draw_lines
from compressbench.errors import BadInput
from compressbench.methods.chain import parse_chain
from compressbench.methods.prune import Prune
from compressbench.methods.sparsegpt import PruneSparsegpt
from compressbench.numerics.weighted_metrics import weighted_metric
from compressbench.records.run_folder import read_run
from compressbench.records.run_index import RunIndex, index_records
from compressbench.scoring import BOOTSTRAP_SEED, Answers, primary_score, split_answers
from compressbench.stats import resampled_scores, seeds_and_rows_interval

MARGINS = (0.01, 0.02)
"""Points that a model may be worse by."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One chain on one task, over seeds."""

    task: str
    chain: str
    linear_sparsity: float
    sparsity: float
    score: float
    by_seed: Sequence[float]
    """Differences from the other chain."""
    low: float
    high: float


def curve_table(runs: Sequence[Path], *, against: str, prefix: str = "") -> tuple[str, str]:
    """Markdown table and drawing.

    Args:
        runs: Finished runs; seeds of several are pooled.
        against: Chain that differences are taken from, as typed in the plan or canonical.
        prefix: Names of the methods before `prune`, joined by ``+``; empty: none.

    Raises:
        BadInput: If a run cannot be read, or no seed has both a pruned model and the other.
    """
    indices = [index_records(read_run(run).records) for run in runs]
    places = [
        place
        for task in dict.fromkeys(task for index in indices for task in index.tasks)
        for chain in _pruned_chains(indices, task, prefix)
        if (place := _place(indices, task, chain, against)) is not None
    ]
    if not places:
        known = ", ".join(sorted({chain for index in indices for _, chain, _ in index.cells}))
        raise BadInput(
            f"no seed has both {against} and a chain that ends in {prefix or 'plain'} prune: there are {known}"
        )
    return _markdown(places, against), _drawing(places)


def _pruned_chains(indices: Sequence[RunIndex], task: str, prefix: str) -> list[str]:
    """Chains of the task that end in an unstructured pruning, method by method, the sparsest last."""
    found: dict[str, tuple[str, float]] = {}
    for index in indices:
        for name, spelled, _ in index.cells:
            if name != task or "prune" not in spelled:
                continue
            *before, last = parse_chain(spelled)
            is_wanted = "+".join(method.name for method in before) == prefix
            if is_wanted and (isinstance(last, PruneSparsegpt) or (isinstance(last, Prune) and not last.structured)):
                found[spelled] = last.name, last.amount
    return sorted(found, key=lambda spelled: found[spelled])


def _canonical(index: RunIndex, chain: str) -> str:
    """The canonical spelling of a chain as it was typed; a plan's parameters are part of it."""
    return next((cell.chain for cell in index.cells.values() if cell.method == chain), chain)


def _place(indices: Sequence[RunIndex], task: str, chain: str, against: str) -> Place | None:
    ours: dict[tuple[int, int], Answers] = {}
    theirs: dict[tuple[int, int], Answers] = {}
    shares: list[tuple[float, float]] = []
    for number, index in enumerate(indices):
        before, after = (_answers_by_seed(index, task, each) for each in (_canonical(index, against), chain))
        for seed in sorted(set(before) & set(after)):
            theirs[number, seed], ours[number, seed] = before[seed], after[seed]
            size = index.sizes[index.cells[task, chain, seed].measured_key]
            shares.append(
                (1 - size.linear_nonzero_count / size.linear_count, 1 - size.nonzero_count / size.parameter_count)
            )
    if not ours:
        return None
    metric = next(index.tasks[task].metrics[0] for index in indices if task in index.tasks)
    by_seed, low, high = pooled_difference(metric, list(theirs.values()), list(ours.values()))
    linear, whole = np.mean(shares, axis=0)
    return Place(
        task=task,
        chain=chain,
        linear_sparsity=float(linear),
        sparsity=float(whole),
        score=float(np.mean([primary_score(metric, each) for each in ours.values()])),
        by_seed=by_seed,
        low=low,
        high=high,
    )


def pooled_difference(
    metric: str, before: Sequence[Answers], after: Sequence[Answers]
) -> tuple[list[float], float, float]:
    """Score of `after` less that of `before` by seed, and a 95 % interval of the mean over seeds and dev rows.

    With one seed the interval is over dev rows alone.

    Raises:
        BadInput: If the metric has no weighted form, or dev rows differ.
    """
    measure = weighted_metric(metric, class_count=len(before[0].labels))
    references = before[0].references
    if measure is None or any(not np.array_equal(each.references, references) for each in (*before, *after)):
        raise BadInput(f"{metric} on these runs cannot be pooled: the metric has no weighted form, or dev rows differ")
    answers = [each.predictions for each in (*before, *after)]
    scores, resampled = resampled_scores(measure, answers, references, seed=BOOTSTRAP_SEED)
    count = len(before)
    by_seed = [b - a for a, b in zip(scores[:count], scores[count:], strict=True)]
    changes = (resampled[count:] - resampled[:count]).mean(axis=0)
    if count == 1:
        low, high = np.quantile(changes, [0.025, 0.975])
        return by_seed, float(low), float(high)
    return by_seed, *seeds_and_rows_interval(by_seed, changes)


def _answers_by_seed(index: RunIndex, task: str, chain: str) -> dict[int, Answers]:
    return {
        seed: next(iter(split_answers(cell, index).values()))
        for (name, spelled, seed), cell in index.cells.items()
        if name == task and spelled == chain and not cell.error
    }


def _markdown(places: Sequence[Place], against: str) -> str:
    heads = " | ".join(f"within {100 * margin:g} pt" for margin in MARGINS)
    title = f"Primary score in points; differences from `{against}` by seed, and their mean"
    lines = [
        f"{title} with its 95 % interval over seeds and dev rows.\n",
        f"| Task | Chain | Zeros of Linear | Zeros of all | Score | By seed | Mean [95 %] | {heads} |",
        "| --- | --- | ---: | ---: | ---: | --- | --- | --- | --- |",
    ]
    for each in places:
        by_seed = ", ".join(f"{100 * value:+.1f}" for value in each.by_seed)
        mean = f"{100 * np.mean(each.by_seed):+.2f} [{100 * each.low:+.2f}, {100 * each.high:+.2f}]"
        within = " | ".join(_verdict(each, margin) for margin in MARGINS)
        lines.append(
            f"| {each.task} | `{each.chain}` | {100 * each.linear_sparsity:.1f} % | {100 * each.sparsity:.1f} % "
            f"| {100 * each.score:.1f} | {by_seed} | {mean} | {within} |"
        )
    return "\n".join(lines)


def _verdict(place: Place, margin: float) -> str:
    """Non-inferior where the whole interval lies above minus the margin, inferior where it lies below."""
    if place.low > -margin:
        return "yes"
    return "no" if place.high < -margin else "not shown"


def _drawing(places: Sequence[Place]) -> str:
    curves: dict[str, list[Place]] = {}
    for each in places:
        *_, last = parse_chain(each.chain)
        curves.setdefault(f"{each.task}, {last.name}", []).append(each)
    lines = [
        Line(name=name, points=[(100 * each.linear_sparsity, 100 * each.score) for each in own])
        for name, own in curves.items()
    ]
    return draw_lines(
        lines, title="Score by sparsity", across="zeros of the Linear weights (%)", upwards="primary score (points)"
    )
