"""The decision of one call: rows matched, everything compared, accepted regressions taken off, an exit code."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from compressbench.gate.check import Check
from compressbench.gate.comparisons import all_checks
from compressbench.gate.pairs import match_rows, row_title
from compressbench.gate.settings import Settings
from compressbench.gate.snapshot import Snapshot

Verdict = Literal["pass", "regression", "inconclusive"]
EXIT_CODES = {"pass": 0, "regression": 1, "inconclusive": 3}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one call of the gate found."""

    baseline: Snapshot
    current: Snapshot
    settings: Settings
    checks: Sequence[Check]
    notes: Sequence[str]
    live: bool

    @property
    def verdict(self) -> Verdict:
        """A regression before inconclusive before pass; a call in which nothing could be decided is inconclusive."""
        found = Counter(check.verdict for check in self.checks)
        if found["regression"]:
            return "regression"
        if found["inconclusive"] or not (found["pass"] or found["accepted"]):
            return "inconclusive"
        return "pass"

    @property
    def exit_code(self) -> int:
        """Of the contract: 0, 1 or 3; with ``on_inconclusive = "warn"`` an inconclusive call ends with 0."""
        if self.verdict == "inconclusive" and self.settings.on_inconclusive == "warn":
            return 0
        return EXIT_CODES[self.verdict]


def decide(baseline: Snapshot, current: Snapshot, settings: Settings, *, live: bool = False) -> Outcome:
    """Compare every row of the baseline with the current side's.

    Args:
        baseline: What was.
        current: What is to be judged.
        settings: Thresholds and accepted regressions.
        live: Both were measured together on this machine, interleaved.

    Raises:
        BadInput: If rows are missing on the current side, or the sides do not compare.
    """
    pairs = match_rows(baseline, current)
    found = all_checks(pairs, baseline, current, settings.thresholds, live=live)
    checks = [_judged(check, settings) for check in found]
    return Outcome(
        baseline=baseline,
        current=current,
        settings=settings,
        checks=checks,
        notes=_notes(baseline, current, checks, settings, live=live),
        live=live,
    )


def _judged(check: Check, settings: Settings) -> Check:
    """The check, accepted where somebody accepted as much."""
    if check.verdict not in ("regression", "inconclusive"):
        return check
    for accept in settings.accepts:
        if accept.covers(check):
            return replace(check, verdict="accepted", reason=f"accepted until {accept.expires}: {accept.reason}")
    return check


def _reasons(checks: Sequence[Check]) -> list[str]:
    """Why checks were not decided by their figures: each reason once, with what it is about."""
    about: dict[str, list[str]] = {}
    for check in checks:
        if check.reason and check.verdict in ("not comparable", "accepted"):
            about.setdefault(check.reason, []).append(f"{check.row_name} {check.label}")
    return [f"{', '.join(names)}: {reason}." for reason, names in about.items()]


def _notes(
    baseline: Snapshot, current: Snapshot, checks: Sequence[Check], settings: Settings, *, live: bool
) -> list[str]:
    notes = [*baseline.warnings, *(warning for warning in current.warnings if warning not in baseline.warnings)]
    new = [key for key in current.rows if key not in baseline.rows]
    if new:
        named = ", ".join(map(row_title, new))
        notes.append(f"Not in the baseline, so not judged: {named}.")
    notes += _reasons(checks)
    latencies = [check for check in checks if check.metric == "latency"]
    if not latencies:
        notes.append("No latency was compared: the baseline has none.")
    elif not live and any(check.verdict != "not comparable" for check in latencies):
        notes.append(
            "The two sides were measured at different times: what differed between them is not in the intervals. "
            "`compressbench gate --live` measures both together."
        )
    for accept in settings.accepts:
        if not any(accept.names(check) for check in checks):
            notes.append(f"[[accept]] {accept.row}, {accept.metric}: no row of this call has that name.")
    return notes
