"""A corpus as the user names it: a text file, a folder of them, or a data set on the hub."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from compressbench.artifacts.fingerprints import files_fingerprint
from compressbench.corpus.hub import hub_lines, hub_revision, looks_like_hub_name, remember_revision
from compressbench.corpus.text_files import BUFFER_CHARS, has_text, is_gzip, text_files, text_lines
from compressbench.errors import BadInput

GZIP_FACTOR = 4
"""About how much larger English text is than its gzip."""


@dataclass(frozen=True)
class Corpus:
    """Plain UTF-8 text, gzipped or not: a sentence or paragraph a line, blank lines between documents."""

    name: str
    """As typed: FILE, DIR, or NAME, OWNER/NAME or OWNER/NAME/CONFIG on the hub."""

    @cached_property
    def files(self) -> list[Path]:
        """Local files in reading order; none for a data set on the hub."""
        path = Path(self.name).expanduser()
        return text_files(path) if path.exists() else []

    @property
    def is_local(self) -> bool:
        """Whether it is a file or folder."""
        return Path(self.name).expanduser().exists()

    def check(self, *, offline: bool) -> None:
        """Refuse what is missing, empty or no text, from the beginnings of files.

        Raises:
            BadInput: If it is one of these.
        """
        if not self.is_local:
            if not looks_like_hub_name(self.name):
                raise BadInput(f"corpus={self.name}: there is no such file or folder")
            hub_revision(self.name, offline=offline)
        elif not self.files:
            raise BadInput(f"corpus={self.name} is an empty folder: put text files into it")
        elif not [path for path in self.files if has_text(path)]:
            raise BadInput(f"corpus={self.name} holds no text: give a file with a sentence or paragraph a line")

    @property
    def fingerprint(self) -> str:
        """Of the text; where it lies does not count."""
        if self.is_local:
            return files_fingerprint(self.files)
        remember_revision(self.name)
        return f"hub:{self.name}@{hub_revision(self.name)}"

    @property
    def size_bytes(self) -> int:
        """About how much text there is; 0 where nobody knows."""
        return sum(path.stat().st_size * (GZIP_FACTOR if is_gzip(path) else 1) for path in self.files)

    def lines(self, *, buffer_chars: int = BUFFER_CHARS) -> Iterator[str]:
        """Lines in order; ``""`` ends a document, and so does a file.

        Raises:
            BadInput: If it turns out to be no text after all.
        """
        if not self.is_local:
            yield from hub_lines(self.name)
            return
        for path in self.files:
            yield from text_lines(path, buffer_chars=buffer_chars)
            yield ""
