"""What training showed on its way: loss terms by step, dev scores by epoch; a file beside the model it made.

Curves are drawn and decide nothing. They are thinned while they grow, so that a long training's stay small.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from compressbench.errors import BadInput

CURVES_NAME = "curves.json"
CURVES_VERSION = 1  # 1: first.
POINTS = 500
"""Most points of a stage; each is a mean over the steps since the one before."""


@dataclass(kw_only=True)
class StageCurve:
    """One stage of training."""

    stage: str
    total_steps: int
    steps: list[int] = field(default_factory=list)
    """Steps done at each point, the last of those it is a mean of."""
    learning_rates: list[float] = field(default_factory=list)
    """At those steps."""
    terms: dict[str, list[float]] = field(default_factory=dict)
    """Loss terms by name, as they add up to the loss."""
    score_steps: list[int] = field(default_factory=list)
    scores: dict[str, list[float]] = field(default_factory=dict)
    """Dev scores by metric, at `score_steps`."""
    waiting: dict[str, list[float]] = field(default_factory=dict)
    """Terms of the steps since the last point."""

    def add(self, step: int, terms: Mapping[str, float], *, learning_rate: float) -> None:
        """Take in one step, the `step`-th of the stage; every so many make a point."""
        for name, value in terms.items():
            self.waiting.setdefault(name, []).append(value)
        if step % -(-self.total_steps // POINTS) and step != self.total_steps:
            return
        self.steps.append(step)
        self.learning_rates.append(_rounded(learning_rate))
        for name, values in self.waiting.items():
            self.terms.setdefault(name, []).append(_rounded(sum(values) / len(values)))
        self.waiting = {}

    def add_scores(self, step: int, scores: Mapping[str, float]) -> None:
        """Take in dev scores after `step` steps."""
        self.score_steps.append(step)
        for name, value in scores.items():
            self.scores.setdefault(name, []).append(_rounded(value))


@dataclass(kw_only=True)
class Curves:
    """All stages of one training."""

    stages: dict[str, StageCurve] = field(default_factory=dict)
    dev_fingerprint: str = ""
    """Of the rows that dev scores are of."""

    def stage(self, name: str, *, total_steps: int) -> StageCurve:
        """The curve of a stage, begun if it is new."""
        return self.stages.setdefault(name, StageCurve(stage=name, total_steps=total_steps))

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON holds it."""
        return {
            "format_version": CURVES_VERSION,
            "dev_fingerprint": self.dev_fingerprint,
            "stages": [asdict(each) for each in self.stages.values()],
        }

    def restore(self, values: Mapping[str, Any]) -> None:
        """Take over what `to_json` gave; scores of other dev rows than this training watches are dropped."""
        for each in values["stages"]:
            curve = StageCurve(**each)
            if values["dev_fingerprint"] != self.dev_fingerprint:
                curve.score_steps, curve.scores = [], {}
            self.stages[curve.stage] = curve

    def write(self, folder: Path) -> None:
        """Write ``curves.json`` into `folder`, if there is anything to tell."""
        if self.stages:
            (folder / CURVES_NAME).write_text(json.dumps(self.to_json(), separators=(",", ":")) + "\n")


def read_curves(folder: Path) -> Curves:
    """The curves beside a model; empty where it has none.

    Raises:
        BadInput: If the file cannot be read.
    """
    path = folder / CURVES_NAME
    curves = Curves()
    if not path.exists():
        return curves
    try:
        values = json.loads(path.read_text())
        curves.dev_fingerprint = values["dev_fingerprint"]
        curves.restore(values)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise BadInput(f"{path} is no file of curves ({error}): delete it, they are only drawn") from None
    return curves


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
