"""Commands that help texts, README and docs show are ones the program knows, with options it has."""

import re
import shlex
from pathlib import Path

import click
import pytest

from compressbench.__main__ import main
from compressbench.cli.commands import COMMANDS, cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def command_named(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command


def shown_lines(page: Path) -> list[str]:
    """Command lines in a page's shell blocks, continued lines joined."""
    blocks = re.findall(r"```(?:sh|bash|console)\n(.*?)```", page.read_text(), flags=re.DOTALL)
    text = "\n".join(blocks).replace("\\\n", " ")
    return [
        line[line.index("compressbench ") :]
        for line in text.splitlines()
        if re.search(r"(^|&& |\$ )compressbench ", line)
    ]


LINES = [(page.name, line) for page in PAGES for line in shown_lines(page)]


@pytest.mark.parametrize(("page", "line"), LINES, ids=[f"{page}-{place}" for place, (page, _) in enumerate(LINES)])
def test_a_documented_command_has_the_options_it_is_shown_with(page: str, line: str) -> None:
    words = [word for word in shlex.split(line, comments=True)[1:] if word not in ("[...]", "...")]
    if words[0].startswith("-"):
        assert words[0] in ("--help", "--version"), f"{page}: {line}"
        return
    command = command_named(words[0])
    known = {spelling for each in command.params for spelling in each.opts} | {"--help"}
    assert {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)} <= known, f"{page}: {line}"


OF_THEIRS = re.compile(r"--data-dir|--teacher|--train|--plan|corpus=|mlm=|vectors=")
"""What a run needs that only the reader has."""
RUNS = [line for _, line in LINES if line.startswith("compressbench run --methods") and not OF_THEIRS.search(line)]


@pytest.mark.parametrize("line", RUNS)
def test_a_documented_run_that_needs_nothing_of_the_readers_is_understood(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [word for word in shlex.split(line, comments=True)[1:] if word not in ("[...]", "...")]
    assert main([*words, "--dry-run"]) == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_each_example_on_a_line_of_its_own(name: str) -> None:
    command = command_named(name)
    text = command.get_help(click.Context(command, info_name=name))
    assert "\\b" not in text
    examples = [line for line in (command.help or "").splitlines() if line.startswith(f"compressbench {name}")]
    assert all(example in text for example in examples)
