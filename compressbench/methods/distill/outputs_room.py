"""Where the teacher's outputs are kept, and whether there is room for as many as the user allows."""

import shutil
import tempfile
from pathlib import Path

import psutil

from compressbench.errors import InvalidParameter
from compressbench.units import format_mib

GIB = 1024**3
MEMORY_SHARE = 4
"""The cache is held in memory up to one part in this many of what is free, else in a file."""


def fits_in_memory(size_bytes: int) -> bool:
    """Whether a cache of that size leaves memory enough for everything else."""
    return size_bytes <= psutil.virtual_memory().available // MEMORY_SHARE


def cache_folder() -> tuple[Path, int]:
    """The folder for a cache that memory has no room for, and the bytes free in it."""
    folder = Path(tempfile.gettempdir())
    return folder, shutil.disk_usage(folder).free


def check_cache_room(cache_gib: float) -> None:
    """Refuse a budget larger than the free disk, before any work: a full disk would end it in the middle.

    Raises:
        InvalidParameter: If memory has no room for it, and the disk has none either.
    """
    size_bytes = int(cache_gib * GIB)
    if fits_in_memory(size_bytes):
        return
    folder, free_bytes = cache_folder()
    if size_bytes > free_bytes:
        raise InvalidParameter(
            f"cache_gib={cache_gib:g} is {format_mib(size_bytes)} MiB, and {folder} has {format_mib(free_bytes)} MiB "
            "free: lower cache_gib, or set TMPDIR to a larger disk"
        )
