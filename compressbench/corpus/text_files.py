"""Text files, packed by gzip or not, read in pieces of bounded length."""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from compressbench.errors import BadInput

BUFFER_CHARS = 64 * 1024
GZIP_MAGIC = b"\x1f\x8b"
_UP_TO_LAST_BLANK = re.compile(r"(.*\S)\s", re.DOTALL)


def text_files(path: Path) -> list[Path]:
    """The file, or every file under the folder in the order of its name; hidden ones are left out."""
    if path.is_file():
        return [path]
    found = [each for each in path.rglob("*") if each.is_file()]
    found = [each for each in found if not any(part.startswith(".") for part in each.relative_to(path).parts)]
    return sorted(found, key=lambda each: each.relative_to(path).as_posix())


def is_gzip(path: Path) -> bool:
    """Whether the file begins as gzip's do, whatever it is called."""
    with path.open("rb") as stream:
        return stream.read(len(GZIP_MAGIC)) == GZIP_MAGIC


def text_lines(path: Path, *, buffer_chars: int = BUFFER_CHARS) -> Iterator[str]:
    """The lines of a file without their ends; blank ones, which end a document, as ``""``.

    A line longer than the buffer comes in several pieces, cut at blanks, so that memory stays bounded.

    Args:
        path: UTF-8 text, perhaps gzipped.
        buffer_chars: Length of the longest piece.

    Raises:
        BadInput: If it is no UTF-8 text, or cannot be read to its end.
    """
    number, rest, has_words = 1, "", False
    with _told(path), _opened(path) as stream:
        while part := stream.readline(buffer_chars - len(rest)):
            if "\0" in part:
                raise BadInput(f"{path} is no text: line {number} holds a zero byte; give plain UTF-8 text")
            piece, rest = rest + part, ""
            is_whole = part.endswith("\n")
            if not is_whole and len(piece) >= buffer_chars:
                cut = _UP_TO_LAST_BLANK.match(piece)
                piece, rest = (piece[: cut.end(1)], piece[cut.end(1) :]) if cut else (piece, "")
            if piece.strip():
                has_words = True
                yield piece.strip()
            if is_whole:
                if not has_words:
                    yield ""
                number, has_words = number + 1, False
        if rest.strip():
            yield rest.strip()


def has_text(path: Path, *, sample_lines: int = 64) -> bool:
    """Whether the first lines of a file hold text at all.

    Raises:
        BadInput: If they are no UTF-8 text.
    """
    sample = list(islice(text_lines(path), sample_lines))
    return any(sample) or len(sample) == sample_lines  # of many blank lines only reading the whole file can tell


@contextmanager
def _opened(path: Path) -> Iterator[io.TextIOWrapper]:
    with path.open("rb") as raw, gzip.open(raw) if is_gzip(path) else raw as stream:
        yield io.TextIOWrapper(stream, encoding="utf-8-sig")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{path} is no UTF-8 text ({error.reason}, byte 0x{error.object[error.start]:02x}): "
            "give plain text, or convert it with iconv"
        ) from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise BadInput(f"{path} is a damaged gzip file: copy or download it again") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror})") from None
