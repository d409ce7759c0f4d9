"""What a run says of the machine and the code it ran on."""

import subprocess
from pathlib import Path

import pytest

from compressbench import environment


def git(*words: str, cwd: Path) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    return subprocess.run(
        ["git", *identity, *words], cwd=cwd, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as if installed into site-packages, and an empty folder to run in."""
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "site-packages" / "compressbench" / "environment.py"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_the_commit_is_that_of_the_checkout_a_run_starts_in(installed: Path) -> None:
    git("init", "-q", cwd=installed)
    git("commit", "-q", "--allow-empty", "-m", "first", cwd=installed)
    assert environment.describe_environment(threads=1)["commit"] == git("rev-parse", "HEAD", cwd=installed)


def test_outside_a_checkout_there_is_no_commit(installed: Path) -> None:
    assert environment.describe_environment(threads=1)["commit"] is None


def test_without_git_there_is_no_commit(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(installed))
    assert environment.describe_environment(threads=1)["commit"] is None
