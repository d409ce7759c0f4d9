"""Output that cannot be written: refused in one sentence before any work, and never told by a traceback."""

import errno
from pathlib import Path
from typing import Any

import click
import pytest

from compressbench.__main__ import main
from compressbench.cli.commands import cli
from compressbench.cli.compress import _copy_whole
from compressbench.errors import BadInput
from compressbench.output import check_empty, check_folder, check_new_file
from tests.unit.gate_runs import write_run


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a file, and two runs of one name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "sub").mkdir()
    write_run(Path("m1"))
    write_run(Path("sub/m1"))
    return tmp_path


@pytest.mark.parametrize("to", ["file", "file/x", "file/x/y", "/proc/x", "/proc/x/y"])
def test_a_folder_that_cannot_be_is_refused(place: Path, to: str) -> None:
    for check in (check_folder, check_empty):
        with pytest.raises(BadInput, match=rf"^--out {to}[ :]"):
            check(Path(to), option="--out")


@pytest.mark.parametrize("to", ["file", "file/x.tsv", "absent/x.tsv", "/proc/x.tsv"])
def test_a_file_that_cannot_be_is_refused(place: Path, to: str) -> None:
    with pytest.raises(BadInput, match=rf"^--to {to}[ :]"):
        check_new_file(Path(to))


def test_a_look_leaves_nothing(place: Path) -> None:
    before = sorted(place.rglob("*"))
    check_folder(Path("m1"))
    check_empty(Path("new/folder"))
    check_new_file(Path("new.tsv"))
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("to", ["file", "file/x", "/proc/x"])
def test_report_refuses_before_it_reads(place: Path, to: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "absent", "--to", to]) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert error.startswith(f"compressbench: --to {to}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("runs", "target"), [(["m1", "sub/m1"], "zz/m1"), (["sub/../m1", "m1"], "zz/m1"), (["m1/..", "."], "zz/")]
)
def test_two_runs_of_one_name_do_not_overwrite_each_other(
    place: Path, runs: list[str], target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", *runs, "--to", "zz"]) == 2
    output, error = capsys.readouterr()
    assert output == ""
    assert f"--to zz: {runs[0]} and {runs[1]} would both be written into {target}" in error
    assert error.count("\n") == 1
    assert not Path("zz").exists()


def test_runs_of_several_names_go_into_folders_of_their_own(place: Path) -> None:
    Path("sub/m1").rename("m2")
    assert main(["report", "m1", "m2", "--to", "zz"]) == 0
    assert sorted(each.name for each in Path("zz").iterdir()) == ["m1", "m2"]


def test_what_was_made_and_cannot_be_copied_is_told(place: Path) -> None:
    for to in ("file/x", "/proc/x"):
        with pytest.raises(BadInput, match=rf"--to {to} cannot be written .*: what was made is in the store"):
            _copy_whole(Path("m1"), Path(to))


def test_a_copy_goes_where_a_link_or_a_dot_leads(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("real").mkdir()
    Path("link").symlink_to("real")
    _copy_whole(Path("m1"), Path("link"))
    assert Path("real/records.jsonl").exists()
    assert Path("link").is_symlink()
    Path("here").mkdir()
    monkeypatch.chdir("here")
    _copy_whole(place / "m1", Path())
    assert (place / "here/records.jsonl").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "out/a.md"), "out/a.md cannot be read or written (Per"),
        (OSError(errno.EXDEV, "Cross-device link", "a", None, "b"), "b cannot be read or written (Cross-device"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk cannot be read or written (No space left on"),
    ],
)  # fmt: skip
def test_no_traceback_tells_of_a_file(
    error: OSError, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(cli, "main", fails)
    assert main(["methods"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"compressbench: {message}")
    assert told.count("\n") == 1


def test_an_error_of_another_kind_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any, **kwargs: Any) -> None:
        raise OSError("no file's")

    monkeypatch.setattr(click.Group, "main", fails)
    with pytest.raises(OSError, match="no file's"):
        main(["methods"])
