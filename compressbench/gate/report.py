"""A call's outcome for people and programs: tables, Markdown, JSON."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from compressbench.gate.check import Check
from compressbench.gate.decision import Outcome
from compressbench.gate.thresholds import METRICS, format_change
from compressbench.table import Table, bullets, print_notes, print_table, table_markdown
from compressbench.units import MIB

if TYPE_CHECKING:
    from rich.console import Console

REPORT_VERSION = 1  # 1: first.
NONE = "–"
_SIGN = {"latency": 1, "size": 1, "score": -1, "agreement": -1, "int8": -1}
"""A worsening as the change of the figure: a latency rises, a score drops."""


def headline(outcome: Outcome) -> str:
    """One sentence: the verdict and how it came about."""
    found = Counter(check.verdict for check in outcome.checks)
    counted = ", ".join(f"{count} {verdict}" for verdict, count in sorted(found.items()))
    warned = " (a warning, as on_inconclusive = warn asks)" if outcome.verdict == "inconclusive" else ""
    warned = warned if outcome.exit_code == 0 else ""
    return f"gate: {outcome.verdict}{warned}: {len(outcome.checks)} checks, {counted}"


def check_table(outcome: Outcome) -> Table:
    """Every check as a line, row by row."""
    many_seeds = len({check.row.seed for check in outcome.checks}) > 1
    rows = [
        [
            check.row_name + (f" (seed {check.row.seed})" if many_seeds else ""),
            check.label,
            figure(check, check.baseline),
            figure(check, check.current),
            change(check),
            format_change(check.metric, check.threshold, signed=False),
            check.verdict,
        ]
        for check in outcome.checks
    ]
    columns = ["Row", "Check", "Baseline", "Current", "Change", "Allowed", "Verdict"]
    return Table(title=f"{outcome.baseline.name} -> {outcome.current.name}", columns=columns, rows=rows)


def figure(check: Check, value: float | None) -> str:
    """A check's figure in its own unit."""
    if value is None:
        return NONE
    if check.metric == "latency":
        return f"{value / 1e6:.3g} ms" if value < 1e8 else f"{value / 1e6:.1f} ms"
    if check.metric == "size":
        return f"{value / MIB:.2f} MiB"
    return f"{100 * value:.1f}" if check.metric == "score" else f"{100 * value:.1f} %"


def change(check: Check) -> str:
    """``+7.1 % [+5.9, +8.2]``: the change of the figure, with the interval that the verdict rests on."""
    if check.worsening is None:
        return NONE
    sign = _SIGN[check.metric]
    shown = format_change(check.metric, sign * check.worsening)
    if check.low is None or check.high is None:
        return shown
    low, high = sorted(round(sign * end, 9) + 0.0 for end in (check.low, check.high))  # no minus zero
    return f"{shown} [{100 * low:+.1f}, {100 * high:+.1f}]"


def sentence(check: Check) -> str:
    """What a check found, in one sentence that stands alone."""
    what = f"{check.metric} ({check.place})" if check.place else check.metric
    p_value = f", p = {check.p_value:.3f}" if check.p_value is not None else ""
    reason = f"; {check.reason}" if check.reason else ""
    return (
        f"{check.row_name}: {what} from {figure(check, check.baseline)} to {figure(check, check.current)}, "
        f"{change(check)}{p_value}, {format_change(check.metric, check.threshold, signed=False)} allowed: "
        f"{check.verdict}{reason}"
    )


def advice(outcome: Outcome) -> list[str]:
    """What to do about it, where there is something to do."""
    found = {check.metric for check in outcome.checks if check.verdict == "inconclusive"}
    said = []
    if "latency" in found:
        said.append(
            "Latency is inconclusive: the interval reaches over the threshold. Measure more processes or on a quieter "
            "machine (`--live` with a longer --budget), or allow more by --latency-threshold."
        )
    if found & {"score", "agreement"}:
        said.append("A score is inconclusive: so few dev rows do not tell such a drop from chance. Score more rows.")
    return said


def print_outcome(outcome: Outcome, console: "Console") -> None:
    """Table, notes and headline on a screen."""
    print_table(check_table(outcome), console)
    print_notes([*outcome.notes, *advice(outcome)], console)
    console.print(headline(outcome), markup=False, highlight=False, soft_wrap=True)


def outcome_markdown(outcome: Outcome) -> str:
    """The same as Markdown; what failed first, for a reader who scrolls no further."""
    bad = [sentence(check) for check in outcome.checks if check.verdict in ("regression", "inconclusive")]
    parts = [
        f"# {headline(outcome)}",
        bullets(bad),
        table_markdown(check_table(outcome)),
        bullets([*outcome.notes, *advice(outcome)]),
        _how_decided(outcome),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _how_decided(outcome: Outcome) -> str:
    looks = " and over its looks at the growing measurement" if outcome.live else ""
    return (
        "A latency regresses where its interval lies above what is allowed and passes where it lies within. The chance "
        f"to call a regression what is none is 2.5 % over all latencies of the call{looks}; scores are tested in pairs "
        "at 5 %, corrected by Holm's method. docs/measuring.md has the method."
    )


def outcome_values(outcome: Outcome) -> dict[str, Any]:
    """Everything as JSON: verdict, exit code, thresholds and every check."""
    thresholds = {metric: outcome.settings.thresholds.of(metric) for metric in METRICS}
    return {
        "schema_version": REPORT_VERSION,
        "verdict": outcome.verdict,
        "exit_code": outcome.exit_code,
        "on_inconclusive": outcome.settings.on_inconclusive,
        "live": outcome.live,
        "baseline": {"name": outcome.baseline.name, "environment": dict(outcome.baseline.environment)},
        "current": {"name": outcome.current.name, "environment": dict(outcome.current.environment)},
        "thresholds": thresholds,
        "checks": [check.values() for check in outcome.checks],
        "notes": list(outcome.notes),
    }


def outcome_json(outcome: Outcome) -> str:
    """`outcome_values` as text."""
    return json.dumps(outcome_values(outcome), indent=2, allow_nan=False) + "\n"


def failing(outcome: Outcome) -> Sequence[Check]:
    """Checks that a reader must see: regressions first, then what is inconclusive."""
    order = ("regression", "inconclusive")
    return sorted(
        (each for each in outcome.checks if each.verdict in order), key=lambda each: order.index(each.verdict)
    )
