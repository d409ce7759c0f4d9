"""Word vectors in GloVe's text format: read once, then memory-mapped, and searched for neighbours by cosine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from compressbench.artifacts.fingerprints import files_fingerprint
from compressbench.artifacts.store import home
from compressbench.errors import BadInput
from compressbench.methods.augment.vector_file import check_beginning, convert_vectors
from compressbench.progress import Progress, Quiet

FORMAT_VERSION = 1  # part of the folder's name: another layout finds nothing of this one
INDEX_NAME = "index.json"
NUMBERS_NAME = "unit_vectors.f32"
SIMILARITIES = 1 << 24  # fp32 numbers a search may hold at once: 64 MiB
SPARE = 8  # neighbours beyond those wanted that are ranked again in double precision


@dataclass(frozen=True, kw_only=True)
class WordVectors:
    """Words and their vectors, scaled to length 1 (a vector of zeros stays)."""

    words: Sequence[str]
    unit: np.ndarray
    """float32 [words, dimension], memory-mapped."""
    fingerprint: str
    """Of what the text file holds."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", {word: place for place, word in enumerate(self.words)})

    @property
    def dimension(self) -> int:
        """Numbers per word."""
        return int(self.unit.shape[1])

    def place_of(self, word: str) -> int | None:
        """Row of a word as it is written, else of its lower-case form."""
        places: dict[str, int] = self._places  # type: ignore[attr-defined]
        return places.get(word, places.get(word.lower()))

    def neighbours(self, words: Sequence[str], *, count: int) -> dict[str, list[str]]:
        """The `count` words of highest cosine with each of `words`, without the word itself; none for unknown ones.

        Many words at once are one matrix product, and only the best of each column are sorted.
        """
        known = {word: place for word in dict.fromkeys(words) if (place := self.place_of(word)) is not None}
        found: dict[str, list[str]] = {word: [] for word in words}
        at_once = max(1, SIMILARITIES // len(self.words))
        queries = list(known)
        for start in range(0, len(queries), at_once):
            part = queries[start : start + at_once]
            places = np.array([known[word] for word in part])
            for word, nearest in zip(part, self._nearest(places, count=count), strict=True):
                found[word] = [self.words[place] for place in nearest]
        return found

    def _nearest(self, places: np.ndarray, *, count: int) -> list[np.ndarray]:
        """For each place, the places of its nearest words, nearest first; equal cosines in the file's order."""
        import torch

        similarities = np.asarray(self.unit[places]) @ self.unit.T
        similarities[np.arange(len(places)), places] = -np.inf
        shortlist_length = min(count + SPARE, len(self.words) - 1)
        if shortlist_length <= 0:
            return [np.empty(0, dtype=np.int64) for _ in places]
        # numpy's argpartition takes 14 times as long, more than the product.
        shortlists = torch.from_numpy(similarities).topk(shortlist_length, dim=1, sorted=False).indices.numpy()
        nearest = []
        for place, shortlist in zip(places, shortlists, strict=True):
            # Again in double precision: a product's last bits depend on how many words were asked at once.
            exact = self.unit[shortlist].astype(np.float64) @ self.unit[place].astype(np.float64)
            nearest.append(shortlist[np.lexsort((shortlist, -exact))][:count])
        return nearest


def check_vectors_file(path: Path) -> None:
    """Refuse what cannot be a file of vectors, by its first lines alone.

    Raises:
        BadInput: If it is missing, empty or no text, or one of these lines is no vector of the dimension of the first.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(4096)
    except OSError as error:
        reason = "is a folder" if path.is_dir() else f"cannot be read ({error.strerror})"
        raise BadInput(f"the vectors file {path} {reason}: give word vectors in GloVe's text format") from None
    if not head.strip():
        raise BadInput(f"the vectors file {path} is empty: give word vectors in GloVe's text format")
    if b"\0" in head:
        raise BadInput(f"the vectors file {path} is binary: give word vectors in GloVe's text format, unpacked")
    check_beginning(path)


def open_vectors(path: Path, *, progress: Progress | None = None) -> WordVectors:
    """The vectors of a text file; at first use they are kept in binary under the cache folder, by content.

    Raises:
        BadInput: If the file is not in GloVe's text format (with the line), or the cache cannot be written.
    """
    check_vectors_file(path)
    fingerprint = files_fingerprint([path])
    folder = home() / "vectors" / f"{fingerprint.removeprefix('sha256:')[:24]}-{FORMAT_VERSION}"
    if not (folder / INDEX_NAME).exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(str(folder / "lock")):
                if not (folder / INDEX_NAME).exists():
                    _convert(path, folder, progress or Quiet())
        except OSError as error:
            raise BadInput(
                f"the cache folder {folder} cannot be written ({error.strerror}): "
                "set COMPRESSBENCH_HOME to a folder that can"
            ) from None
    index = json.loads((folder / INDEX_NAME).read_text(encoding="utf-8"))
    shape = (len(index["words"]), int(index["dimension"]))
    return WordVectors(
        words=index["words"],
        unit=np.memmap(folder / NUMBERS_NAME, dtype=np.float32, mode="r", shape=shape),
        fingerprint=fingerprint,
    )


def _convert(path: Path, folder: Path, progress: Progress) -> None:
    """Fill `folder`; what could not be read leaves nothing in it that takes room."""
    try:
        convert_vectors(path, index=folder / INDEX_NAME, numbers=folder / NUMBERS_NAME, progress=progress)
    except BaseException:
        (folder / NUMBERS_NAME).unlink(missing_ok=True)
        raise
