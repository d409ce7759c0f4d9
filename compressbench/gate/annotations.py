"""What GitHub Actions shows beside a change: annotations and the step's summary, which need no token."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from compressbench.gate.decision import Outcome
from compressbench.gate.report import failing, headline, outcome_markdown, sentence

MOST = 10
"""GitHub shows ten annotations of a kind a step; the rest is counted."""


def annotations(outcome: Outcome) -> Iterator[str]:
    """Workflow commands, one a line: regressions as errors, what is inconclusive as errors or warnings.

    Reference:
        GitHub, "Workflow commands for GitHub Actions": ``::error title=...::message``, with ``%``, line ends and, in
        properties, ``:`` and ``,`` escaped.
    """
    warns = outcome.settings.on_inconclusive == "warn"
    shown = failing(outcome)
    for check in shown[:MOST]:
        level = "warning" if check.verdict == "inconclusive" and warns else "error"
        title = f"gate: {check.verdict} in {check.row_name}"
        yield f"::{level} title={_property(title)}::{_message(sentence(check))}"
    if len(shown) > MOST:
        yield f"::warning title=gate::{len(shown) - MOST} more checks are in the step's summary"
    yield f"::notice title=gate::{_message(headline(outcome))}"


def write_step_summary(outcome: Outcome, environ: Mapping[str, str] = os.environ) -> None:
    """Append the Markdown report to the step's summary, where GitHub gave a file for it."""
    target = environ.get("GITHUB_STEP_SUMMARY")
    if target:
        with Path(target).open("a", encoding="utf-8") as stream:
            stream.write(outcome_markdown(outcome) + "\n")


def runs_in_github(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a job of GitHub Actions."""
    return environ.get("GITHUB_ACTIONS", "").lower() == "true"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
