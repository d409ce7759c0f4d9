"""What is compared in matched rows: score, agreement, size and INT8 share here, latency next door; each a `Check`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from compressbench.errors import BadInput
from compressbench.gate.check import Check, Verdict
from compressbench.gate.latency_checks import latency_checks
from compressbench.gate.pairs import Pair, place_label, row_title
from compressbench.gate.snapshot import RowKey, Snapshot
from compressbench.gate.thresholds import Thresholds
from compressbench.scoring import Answers, check_same_rows, primary_score, score_difference
from compressbench.stats import holm, wilson_interval
from compressbench.tasks.scores import metric_name

SIGNIFICANCE = 0.05
"""Of a call's score tests together, two-sided."""
TOLERANCE = 1e-9
"""Sums of floats round; a drop of exactly the threshold is no more than it."""


def size_checks(pairs: Sequence[Pair], *, threshold: float) -> Iterator[Check]:
    """Growth of each model's bytes, which is exact.

    Raises:
        BadInput: If a size that the baseline has was not measured.
    """
    for pair in pairs:
        before, after = pair.baseline.size_bytes, pair.current.size_bytes
        if before is None:
            continue
        if after is None:
            raise BadInput(
                f"the current side has no size of {row_title(pair.key)}: finish its run, or measure it again"
            )
        growth = after / before - 1
        yield Check(
            row=pair.key,
            metric="size",
            label="size",
            place="",
            verdict="regression" if growth > threshold + TOLERANCE else "pass",
            baseline=before,
            current=after,
            worsening=growth,
            threshold=threshold,
        )


def int8_checks(pairs: Sequence[Pair], *, threshold: float) -> Iterator[Check]:
    """Drop of the share of matrix products in INT8 kernels, of all or of those with constant weights: the larger."""
    for pair in pairs:
        for (runtime, shape), before in pair.baseline.int8.items():
            after = pair.current.int8.get((runtime, shape))
            if after is None and pair.current.int8:
                raise BadInput(
                    f"the current side has no INT8 share of {row_title(pair.key)} at {shape} in {runtime}: "
                    "give both sides the same --shapes and --runtimes"
                )
            names = ("constant_gemm_share", "gemm_share")
            drops = {name: getattr(before, name) - (getattr(after, name) if after else 0.0) for name in names}
            name = max(names, key=lambda each: drops[each])
            yield Check(
                row=pair.key,
                metric="int8",
                label=f"int8 {place_label(runtime, shape)}",
                place=f"{runtime} {shape}, {'constant weights' if name == names[0] else 'all products'}",
                verdict="regression" if drops[name] > threshold + TOLERANCE else "pass",
                baseline=getattr(before, name),
                current=getattr(after, name) if after else 0.0,
                worsening=drops[name],
                threshold=threshold,
                reason="" if after else "the current model holds no INT8 operator",
            )


def score_checks(pairs: Sequence[Pair], metrics: Mapping[str, str], *, threshold: float) -> list[Check]:
    """Drop of the primary metric on each dev split, paired by row; p-values corrected for all of them.

    Args:
        pairs: Rows.
        metrics: Primary metric by task.
        threshold: Drop that is allowed.

    Raises:
        BadInput: If the two sides answered different dev rows, or one did not answer.
    """
    checks, p_values = [], []
    for pair in pairs:
        metric = metrics.get(pair.key.task, "")
        for split, before in _answered(pair):
            after = pair.current.answers[split]
            try:
                found = score_difference(metric, before, after)
            except BadInput:
                raise _other_rows(pair.key, split) from None
            scores = primary_score(metric, before), primary_score(metric, after)
            drop = scores[0] - scores[1]
            checks.append(
                Check(
                    row=pair.key,
                    metric="score",
                    label=f"{metric_name(metric)} {split}",
                    place=f"{metric} on {split}",
                    verdict="pass",
                    baseline=scores[0],
                    current=scores[1],
                    worsening=drop,
                    threshold=threshold,
                    low=-found.high if found else None,
                    high=-found.low if found else None,
                )
            )
            p_values.append(found.p_value if found else 1.0)
    return [
        replace(check, p_value=p_value, verdict=_score_verdict(check, p_value))
        for check, p_value in zip(checks, holm(p_values), strict=True)
    ]


def _score_verdict(check: Check, p_value: float) -> Verdict:
    if check.worsening is None or check.worsening <= check.threshold + TOLERANCE:
        return "pass"
    return "regression" if p_value < SIGNIFICANCE else "inconclusive"


def agreement_checks(pairs: Sequence[Pair], *, threshold: float) -> list[Check]:
    """Share of dev rows that the two sides answer differently, with Wilson's interval at the call's error.

    Regression tasks have none: no two numbers are equal.
    """
    asked = [(pair, split, before) for pair in pairs for split, before in _answered(pair) if before.labels]
    confidence = 1 - SIGNIFICANCE / max(1, len(asked))
    checks = []
    for pair, split, before in asked:
        after = pair.current.answers[split]
        try:
            check_same_rows(before, after)
        except BadInput:
            raise _other_rows(pair.key, split) from None
        differ = int((before.predictions != after.predictions).sum())
        total = len(before.references)
        low, high = wilson_interval(differ, total, confidence=confidence)
        verdict: Verdict = "pass"
        if differ / total > threshold + TOLERANCE:
            verdict = "regression" if low > threshold else "inconclusive"
        checks.append(
            Check(
                row=pair.key,
                metric="agreement",
                label=f"agreement {split}",
                place=split,
                verdict=verdict,
                baseline=1.0,
                current=1 - differ / total,
                worsening=differ / total,
                threshold=threshold,
                low=low,
                high=high,
            )
        )
    return checks


def _answered(pair: Pair) -> Iterator[tuple[str, Answers]]:
    """The baseline's answers by split, each of which the current side must have too."""
    for split, before in pair.baseline.answers.items():
        if split not in pair.current.answers:
            raise BadInput(f"the current side has no answers of {row_title(pair.key)} on {split}: finish its run")
        yield split, before


def _other_rows(key: RowKey, split: str) -> BadInput:
    return BadInput(
        f"the two sides answered other rows of {key.task} {split}, so their scores cannot be compared in pairs: "
        "measure both on the same data"
    )


def all_checks(
    pairs: Sequence[Pair], baseline: Snapshot, current: Snapshot, thresholds: Thresholds, *, live: bool
) -> list[Check]:
    """Every check of every pair, row by row.

    Raises:
        BadInput: If something the baseline has is missing on the current side, or dev rows differ.
    """
    metrics = {task.task: task.metrics[0] for task in (*baseline.tasks.values(), *current.tasks.values())}
    checks = [
        *latency_checks(pairs, baseline, current, threshold=thresholds.latency, live=live),
        *score_checks(pairs, metrics, threshold=thresholds.score),
        *agreement_checks(pairs, threshold=thresholds.agreement),
        *size_checks(pairs, threshold=thresholds.size),
        *int8_checks(pairs, threshold=thresholds.int8),
    ]
    order = {pair.key: place for place, pair in enumerate(pairs)}
    return sorted(checks, key=lambda check: order[check.row])
