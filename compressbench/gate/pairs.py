"""Rows of the two sides that belong together, and what it means that one is missing."""

from dataclasses import dataclass

from compressbench.errors import BadInput
from compressbench.gate.snapshot import GateRow, RowKey, Snapshot
from compressbench.records.latencies import BASELINE_RUNTIME


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A row on both sides."""

    baseline: GateRow
    current: GateRow

    @property
    def key(self) -> RowKey:
        """What both match on."""
        return self.current.key


def match_rows(baseline: Snapshot, current: Snapshot) -> list[Pair]:
    """Rows of the baseline with the current side's.

    Raises:
        BadInput: If the current side lacks one.
    """
    sides = [{key.task for key in (*side.rows, *side.failed)} for side in (baseline, current)]
    if not sides[0] & sides[1]:
        told = [", ".join(sorted(side)) or "no task" for side in sides]
        raise BadInput(
            f"the baseline {baseline.name} is of {told[0]} and {current.name} of {told[1]}: "
            "no row is of the same task; record a baseline of this task"
        )
    if not baseline.rows:
        raise BadInput(f"{baseline.name} holds no row that was made: choose another baseline")
    missing = [key for key in baseline.rows if key not in current.rows]
    if missing:
        told = [_told_missing(key, current) for key in missing]
        raise BadInput(
            f"{current.name} lacks {len(missing)} of the baseline's {len(baseline.rows)} rows: {'; '.join(told)}. "
            "Rows match on task, canonical chain and seed: run them too, or record the baseline anew"
        )
    return [Pair(baseline=row, current=current.rows[key]) for key, row in baseline.rows.items()]


def _told_missing(key: RowKey, current: Snapshot) -> str:
    failed = f" (it failed: {current.failed[key]})" if key in current.failed else ""
    return f"{row_title(key)}{failed}"


def row_title(key: RowKey) -> str:
    """``CoLA/quant-qdq (seed 1)``."""
    return f"{key.task}/{key.chain} (seed {key.seed})"


def place_label(runtime: str, shape: str) -> str:
    """A place in few words: the shape, and the runtime where it is not the default one."""
    return shape if runtime == BASELINE_RUNTIME else f"{shape} {runtime}"
