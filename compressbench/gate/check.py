"""One thing that the gate compared in one row, and what it found."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from compressbench.gate.snapshot import RowKey

Verdict = Literal["pass", "regression", "inconclusive", "accepted", "not comparable"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """A comparison of one figure; changes are counted so that above zero is worse."""

    row: RowKey
    metric: str
    """One of `thresholds.METRICS`."""
    label: str
    """What it is called in a table: ``latency 1x128``, ``Accuracy dev``."""
    place: str
    """Runtime, shape and threads of a latency, split and metric of a score; empty for sizes."""
    verdict: Verdict
    baseline: float | None
    """In the figure's own unit: nanoseconds, bytes, fractions."""
    current: float | None
    worsening: float | None
    """Slowdown, growth or drop as a fraction; None where there is none to name."""
    threshold: float
    low: float | None = None
    """Interval of the worsening that the verdict rests on, where there is one."""
    high: float | None = None
    p_value: float | None = None
    """Of a score's difference, corrected by Holm for all scores of the call."""
    reason: str = ""
    """Why, in one sentence, where the figures do not say it."""

    @property
    def row_name(self) -> str:
        """``CoLA/quant-qdq``."""
        return f"{self.row.task}/{self.row.chain}"

    def values(self) -> dict[str, Any]:
        """As JSON has it: the row's parts beside the figures."""
        return {**self.row._asdict(), **{name: value for name, value in asdict(self).items() if name != "row"}}
