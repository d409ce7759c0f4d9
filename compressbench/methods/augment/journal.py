"""A file that is written bit by bit and can be taken up again: what is certain of it stands in a journal beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from compressbench.errors import BadInput


@dataclass(kw_only=True)
class Journal:
    """How far a file is; on disk it never says more than is on disk."""

    digest: str
    """Of everything that decides the file's bytes."""
    size_bytes: int = 0
    counts: dict[str, int] = field(default_factory=dict)


class ResumableFile:
    """Written to ``.NAME.partial``; appears as ``NAME`` when complete. The same digest goes on where it was."""

    def __init__(self, path: Path, *, digest: str) -> None:
        self.path = path
        self.partial = path.with_name(f".{path.name}.partial")
        self._journal_path = path.with_name(f".{path.name}.journal")
        self._lock_path = path.with_name(f".{path.name}.lock")
        self._journal = Journal(digest=digest)
        self._stream: BinaryIO | None = None

    @contextmanager
    def opened(self) -> Iterator[Mapping[str, int]]:
        """Open for appending; yields the counts of what stands already. Only one process at a time.

        Raises:
            BadInput: If another process writes the file, or it cannot be written.
        """
        try:
            with FileLock(str(self._lock_path), timeout=0):
                self._journal = self._standing()
                self.partial.touch()
                with self.partial.open("r+b") as stream:
                    stream.truncate(self._journal.size_bytes)
                    stream.seek(self._journal.size_bytes)
                    self._stream = stream
                    yield dict(self._journal.counts)
                os.replace(self.partial, self.path)  # noqa: PTH105
                self._journal_path.unlink(missing_ok=True)
            self._lock_path.unlink(missing_ok=True)
        except Timeout:
            raise BadInput(f"{self.path} is being written by another process: wait for it") from None
        except OSError as error:
            raise BadInput(f"{self.path} cannot be written: {error.strerror or error}") from None
        finally:
            self._stream = None

    def append(self, text: str, *, counts: Mapping[str, int]) -> None:
        """Write `text` and then, once it is on disk, that it is there."""
        assert self._stream is not None  # only inside `opened`
        self._stream.write(text.encode())
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._journal = Journal(digest=self._journal.digest, size_bytes=self._stream.tell(), counts=dict(counts))
        fresh = self._journal_path.with_name(f"{self._journal_path.name}.new")
        fresh.write_text(json.dumps(vars(self._journal)))
        os.replace(fresh, self._journal_path)  # noqa: PTH105

    def _standing(self) -> Journal:
        """The journal on disk if it is of this digest and its file holds what it says; else an empty one."""
        empty = Journal(digest=self._journal.digest)
        try:
            found = Journal(**json.loads(self._journal_path.read_text()))
            size_bytes = self.partial.stat().st_size
        except (OSError, ValueError, TypeError):
            return empty
        return found if found.digest == empty.digest and found.size_bytes <= size_bytes else empty
