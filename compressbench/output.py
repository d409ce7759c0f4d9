"""Where output is to go, looked at before any work: hours may lie between a command and its first file."""

import tempfile
from pathlib import Path

from compressbench.errors import BadInput


def check_folder(folder: Path, *, option: str = "--to") -> None:
    """Refuse a folder that neither is there nor can be made, or that takes no files.

    Raises:
        BadInput: With what is in the way.
    """
    nearest = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not nearest.is_dir():
        raise BadInput(f"{option} {folder}: {nearest} is a file, not a folder")
    _check_takes_files(nearest, f"{option} {folder}", mend="choose another folder")


def check_empty(folder: Path, *, option: str = "--to") -> None:
    """Refuse a target that is a file, holds something or cannot be made.

    Raises:
        BadInput: With what is in the way.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{option} {folder} is not empty: give a new or empty folder")
    check_folder(folder, option=option)


def check_new_file(file: Path, *, option: str = "--to") -> None:
    """Refuse a file that is there or that cannot be made; its folder must be there.

    Raises:
        BadInput: With what is in the way.
    """
    folder = file.absolute().parent
    if file.exists():
        raise BadInput(f"{option} {file} exists: give a new file")
    if not folder.is_dir():
        raise BadInput(f"{option} {file}: there is no folder {folder}")
    _check_takes_files(folder, f"{option} {file}", mend="give a file in another folder")


def _check_takes_files(folder: Path, what: str, *, mend: str) -> None:
    # Tried, not asked: permissions tell nothing of a read-only disk, of /proc, or to root.
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInput(f"{what} cannot be written ({error.strerror}): {mend}") from None
