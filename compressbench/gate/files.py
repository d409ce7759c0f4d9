"""The files of one call, all written before the exit code is known to anybody else."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from compressbench.errors import BadInput
from compressbench.gate.benchmark_json import benchmark_json
from compressbench.gate.decision import Outcome
from compressbench.gate.junit import outcome_junit
from compressbench.gate.report import outcome_json, outcome_markdown

FILES: Mapping[str, tuple[str, Callable[[Outcome], str]]] = {
    "md": ("gate.md", outcome_markdown),
    "json": ("gate.json", outcome_json),
    "junit": ("gate.xml", outcome_junit),
    "benchmark": ("benchmark.json", lambda outcome: benchmark_json(outcome.current)),
}
"""Formats by the name that the command line knows."""


def write_files(outcome: Outcome, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Write the call's files; those of an earlier call are replaced.

    Raises:
        BadInput: If the folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in formats:
            path = folder / FILES[name][0]
            path.write_text(FILES[name][1](outcome), encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise BadInput(f"--to {folder} cannot be written ({error.strerror}): give a folder") from None
    return written
