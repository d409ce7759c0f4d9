"""Word vectors: reading, the cache, neighbours against a plain computation, and every complaint with its line."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressbench.artifacts.store import home
from compressbench.errors import BadInput
from compressbench.methods.augment import vector_file
from compressbench.methods.augment.vectors import WordVectors, check_vectors_file, open_vectors
from tests.unit.masked_lm_folder import write_vectors


def vectors_of(numbers: np.ndarray, words: Sequence[str] | None = None) -> WordVectors:
    lengths = np.linalg.norm(numbers, axis=1, keepdims=True)
    unit = (numbers / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return WordVectors(words=words or [f"w{row}" for row in range(len(numbers))], unit=unit, fingerprint="")


@pytest.mark.parametrize("similarities", [1, 1 << 24])
def test_neighbours_are_those_of_a_plain_computation(similarities: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressbench.methods.augment.vectors.SIMILARITIES", similarities)
    numbers = np.random.default_rng(0).normal(size=(200, 7))
    vectors = vectors_of(numbers)
    found = vectors.neighbours(vectors.words, count=15)
    for row, word in enumerate(vectors.words):
        cosines = [a @ numbers[row] / np.linalg.norm(a) for a in numbers]
        cosines[row] = -np.inf
        assert found[word] == [vectors.words[place] for place in np.argsort(cosines)[::-1][:15]]


def test_an_unknown_word_has_no_neighbours_and_case_does_not_matter() -> None:
    vectors = vectors_of(np.eye(3), ["one", "two", "three"])
    found = vectors.neighbours(["Two", "four"], count=1)
    assert found["four"] == []
    assert found["Two"] == ["one"]  # equal cosines: in the file's order
    assert vectors_of(np.ones((1, 2))).neighbours(["w0"], count=5) == {"w0": []}


@given(st.integers(1, 30), st.integers(1, 6), st.integers(1, 40))
def test_there_are_as_many_neighbours_as_asked_for_or_all_others(rows: int, dimension: int, count: int) -> None:
    numbers = np.random.default_rng(rows).integers(-2, 3, size=(rows, dimension)).astype(float)
    vectors = vectors_of(numbers)
    for word, near in vectors.neighbours(vectors.words, count=count).items():
        assert len(near) == min(count, rows - 1)
        assert word not in near
        assert len(set(near)) == len(near)


def test_a_file_is_read_once_and_mapped_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_vectors(tmp_path / "vectors.txt")
    first = open_vectors(path)
    assert first.dimension == 4
    assert first.neighbours(["unkind"], count=2) == {"unkind": ["sour", "grim"]}
    assert isinstance(first.unit, np.memmap)
    np.testing.assert_allclose(np.linalg.norm(first.unit, axis=1), 1, rtol=1e-6)
    monkeypatch.setattr("compressbench.methods.augment.vectors.convert_vectors", None)
    (tmp_path / "elsewhere.txt").write_bytes(path.read_bytes())
    again = open_vectors(tmp_path / "elsewhere.txt")
    assert list(again.words) == list(first.words)
    assert again.unit.filename == first.unit.filename


ROW = st.lists(st.floats(-9, 9, width=32), min_size=3, max_size=3)


@given(numbers=st.lists(ROW, min_size=1, max_size=9), block=st.integers(1, 4))
def test_what_is_written_is_read_whatever_the_block(
    numbers: list[list[float]], block: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("vectors") / "vectors.txt"
    path.write_text("".join(f"w{row} {' '.join(map(repr, each))}\n" for row, each in enumerate(numbers)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vector_file, "BLOCK_LINES", block)
        vectors = open_vectors(path)
    expected = vectors_of(np.array(numbers))
    assert list(vectors.words) == list(expected.words)
    np.testing.assert_allclose(vectors.unit, expected.unit, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("3 2\na 1 0\nb 0 1\nc 1 1\n", ["a", "b", "c"]),
        ("a 1 0\r\nb 0 1 \r\n", ["a", "b"]),
        ("a 1 0\na 0 1\na 0 2\nb 1 1", ["a", "b"]),
        ("a 1 0\n. . . 1 1\nat name@domain.com 0 1\n", ["a", ". . .", "at name@domain.com"]),
        ("a 1 0\n0.5 1 1\n\u00a0 1 2\n\nb 0 0\n", ["a", "0.5", "\u00a0", "b"]),
    ],
    ids=["header", "line ends", "twice", "blanks in words", "numbers and blanks as words"],
)
def test_forms_of_the_format(text: str, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "vectors.txt").write_bytes(text.encode())
    vectors = open_vectors(tmp_path / "vectors.txt")
    assert list(vectors.words) == words
    assert vectors.unit.shape == (len(words), 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a 1 2\nb 1\n", "line 2: a vector of dimension 1 where the file has 2"),
        (b"a 1 2\nb 1 2 3\n", "line 2: a vector of dimension 3 where the file has 2"),
        (b"a 1 2\nb 1 2\nc 1 x\n", "line 3: 'x' is not a finite number"),
        (b"a 1 2\nb 1 nan\n", "line 2: 'nan' is not a finite number"),
        (b"a 1 2\nb 1  2\n", "line 2"),
        (b"only words\nand more\n", "line 1: no vector"),
        (b"7 3\na 1 2\n", "line 2: a vector of dimension 2 where the file has 3"),
        (b"7 3\n", "holds no vectors"),
        (b"a 1 2\nb\xff 1 2\n", "line 2: not UTF-8 text"),
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"a 1 2\n\0\0\0", "is binary"),
    ],
)
@pytest.mark.parametrize("block_lines", [1, 4096])
def test_what_is_wrong_is_told_with_its_line(
    content: bytes, message: str, block_lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_file, "BLOCK_LINES", block_lines)
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=message):
        open_vectors(path)
    assert not list(home().rglob("*.f32"))


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"absent.txt cannot be read \(No such file"):
        check_vectors_file(tmp_path / "absent.txt")
    with pytest.raises(BadInput, match="is a folder: give word vectors"):
        check_vectors_file(tmp_path)


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COMPRESSBENCH_HOME", str(tmp_path / "file"))
    with pytest.raises(BadInput, match=r"cannot be written .*: set COMPRESSBENCH_HOME"):
        open_vectors(write_vectors(tmp_path / "vectors.txt"))
