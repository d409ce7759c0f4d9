"""What a row tells of the links of its chain."""

from pathlib import Path
from typing import Any

import pytest

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.manifest import Manifest
from compressbench.methods.chain import parse_chain
from compressbench.pipeline import chain_budget, chain_parameters
from compressbench.plan_parts import MethodLine


def made(method: str, parameters: dict[str, Any], budget: dict[str, int]) -> Artifact:
    manifest = Manifest(
        key=method, format="torch", task="t", chain="", method=method, revision=1, parameters=parameters, seed=1,
        labels=(), geometry={}, budget=budget,
    )  # fmt: skip
    return Artifact(path=Path(), manifest=manifest)


def line(text: str) -> MethodLine:
    return MethodLine(typed=text, chain=parse_chain(text))


TEACHER = made("finetune", {"epochs": 3}, {"epochs": 3, "steps": 9, "rows": 96})
STUDENT = made("distill", {"mapping": "top"}, {"intermediate_epochs": 6, "steps": 20, "rows": 480, "task_rows": 96})
PRUNED = made("prune", {"amount": 0.2}, {"epochs": 6, "steps": 18, "rows": 96, "pruned_weights": 20})
AGAIN = made("prune", {"amount": 0.4}, {"epochs": 6, "steps": 18, "rows": 96, "pruned_weights": 40})


@pytest.mark.parametrize(
    ("chain", "lineage", "parameters", "budget"),
    [
        (None, [TEACHER], {"epochs": 3}, {"epochs": 3, "steps": 9, "rows": 96}),
        ("distill", [STUDENT, TEACHER], {"mapping": "top"}, dict(STUDENT.manifest.budget)),
        (
            "distill+prune",
            [PRUNED, STUDENT, TEACHER],
            {"distill": {"mapping": "top"}, "prune": {"amount": 0.2}},
            {"intermediate_epochs": 6, "epochs": 6, "steps": 38, "rows": 480, "task_rows": 96, "pruned_weights": 20},
        ),
        (
            "prune+prune",
            [AGAIN, PRUNED, TEACHER],
            {"prune": {"amount": 0.2}, "prune (2)": {"amount": 0.4}},
            {"epochs": 12, "steps": 36, "rows": 96, "pruned_weights": 40},
        ),
    ],
)
def test_parameters_and_budget_of_all_links(
    chain: str | None, lineage: list[Artifact], parameters: dict[str, Any], budget: dict[str, int]
) -> None:
    typed = line(chain) if chain else None
    assert chain_parameters(typed, lineage) == parameters
    assert chain_budget(typed, lineage) == budget
