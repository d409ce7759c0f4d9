"""A corpus: every token in order and none twice, bounded memory, and clear refusals."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from compressbench.artifacts.store import home
from compressbench.corpus import Corpus
from compressbench.corpus import hub as corpus_hub
from compressbench.corpus.hub import hub_lines, hub_revision, looks_like_hub_name
from compressbench.corpus.packing import packed_rows, special_ids, tokenized
from compressbench.corpus.row_file import PackedRows, shuffled_batches, write_row_file
from compressbench.corpus.text_files import has_text, text_lines
from compressbench.errors import BadInput

CLS, SEP = 1001, 1002
LINES = st.lists(st.one_of(st.none(), st.lists(st.integers(0, 1000), max_size=12)), max_size=40)
TEXT = st.text(alphabet="ab \t\nZé", max_size=200)


def words_of(pieces: Iterator[str] | list[str]) -> list[str]:
    return [word for piece in pieces for word in piece.split()]


@settings(deadline=None)
@given(lines=LINES, length=st.integers(3, 9))
def test_packing_loses_no_token_and_fills_every_row_but_the_last(lines: list[list[int] | None], length: int) -> None:
    rows = list(packed_rows(lines, length=length, cls_id=CLS, sep_id=SEP))
    inner = [token for row in rows for token in row[1:-1]]
    assert [token for token in inner if token != SEP] == [token for ids in lines for token in ids or []]
    assert all(row[0] == CLS and row[-1] == SEP for row in rows)
    assert all(len(row) == length for row in rows[:-1])
    assert all(3 <= len(row) <= length for row in rows)


def test_documents_that_share_a_row_are_told_apart() -> None:
    lines = [[1, 2], [3], None, None, [4], None, [5, 6, 7]]
    assert list(packed_rows(lines, length=6, cls_id=CLS, sep_id=SEP)) == [
        [CLS, 1, 2, 3, SEP, SEP],
        [CLS, 4, SEP, 5, 6, SEP],
        [CLS, 7, SEP],
    ]


def test_packing_holds_no_more_than_a_row_and_a_line() -> None:
    taken = 0

    def lines() -> Iterator[list[int]]:
        nonlocal taken
        while True:  # without an end: whatever gathers lines before it gives rows never returns
            taken += 1
            yield [7, 7, 7]

    rows = packed_rows(lines(), length=5, cls_id=CLS, sep_id=SEP)
    for number in range(1, 50):
        next(rows)
        assert taken <= number + 1


@settings(deadline=None)
@given(text=TEXT, buffer_chars=st.integers(1, 12))
def test_a_tiny_buffer_loses_no_character_and_holds_no_longer_piece(
    tmp_path_factory: pytest.TempPathFactory, text: str, buffer_chars: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "piece.txt"
    path.write_text(text, newline="")
    pieces = list(text_lines(path, buffer_chars=buffer_chars))
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert max(map(len, pieces), default=0) <= buffer_chars
    assert pieces.count("") == sum(not line.strip() for line in text.split("\n")[:-1])


@settings(deadline=None)
@given(words=st.lists(st.text(alphabet="abc", min_size=1, max_size=5), max_size=60), buffer_chars=st.integers(6, 20))
def test_a_long_line_is_cut_between_words(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], buffer_chars: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "words.txt"
    path.write_text(" ".join(words))
    assert words_of(text_lines(path, buffer_chars=buffer_chars)) == words


@pytest.mark.parametrize("batch_chars", [1, 7, 10_000])
def test_tokens_do_not_depend_on_how_lines_are_batched(tiny_tokenizer_folder: Path, batch_chars: int) -> None:
    tokenizer, cls_id, sep_id, pad_id = special_ids(tiny_tokenizer_folder / "tokenizer.json")
    assert (cls_id, sep_id, pad_id) == (2, 3, 0)
    lines = ["the film is fine", "", "a dull story", "it was sour"]
    expected = [None if not line else tokenizer.encode(line, add_special_tokens=False).ids for line in lines]
    assert list(tokenized(lines, tokenizer, batch_chars=batch_chars)) == expected


@settings(deadline=None)
@given(lengths=st.lists(st.just(6), max_size=20), last=st.integers(3, 6), vocab=st.sampled_from([100, 100_000]))
def test_a_row_file_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], last: int, vocab: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.safetensors"
    rng = np.random.default_rng(len(lengths))
    rows = [rng.integers(1, vocab, size).tolist() for size in [*lengths, last]]
    assert write_row_file(path, iter(rows), length=6, pad_id=0, vocab=vocab) == len(rows)
    packed = PackedRows.open(path)
    indices = rng.permutation(len(rows))
    batch = packed.batch(indices)
    for place, index in enumerate(indices):
        size = len(rows[index])
        assert batch["input_ids"][place].tolist() == rows[index] + [0] * (6 - size)
        assert batch["attention_mask"][place].tolist() == [1] * size + [0] * (6 - size)
    assert load_file(path)["rows"].tolist() == packed.batch(np.arange(len(rows)))["input_ids"].tolist()


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file or directory"):
        write_row_file(tmp_path / "absent" / "rows.safetensors", iter([[1]]), length=3, pad_id=0, vocab=10)


@settings(deadline=None)
@given(
    count=st.integers(1, 300), batch_size=st.integers(1, 40), block=st.integers(1, 9), mixed_blocks=st.integers(1, 9)
)
def test_an_epoch_holds_every_row_once_in_full_batches(
    count: int, batch_size: int, block: int, mixed_blocks: int
) -> None:
    batches = list(
        shuffled_batches(
            count, batch_size=batch_size, rng=np.random.default_rng(0), block=block, mixed_blocks=mixed_blocks
        )
    )
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert len(batches) == -(-count // batch_size)


def test_epochs_differ_and_repeat_with_the_seed() -> None:
    def drawn(seed: int) -> list[list[int]]:
        rng = np.random.default_rng(seed)
        return [np.concatenate(list(shuffled_batches(500, batch_size=8, rng=rng))).tolist() for _ in range(2)]

    first, second = drawn(1)
    assert first != second
    assert first != sorted(first)
    assert drawn(1) == [first, second]
    assert drawn(2) != [first, second]


class TestNamed:
    """A corpus as the user names it."""

    def test_a_folder_is_read_in_order_of_names_gzip_or_not(self, tmp_path: Path) -> None:
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "wiki_00").write_text("third\n")
        (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbffirst\n\nsecond")
        (tmp_path / "c.txt.gz").write_bytes(gzip.compress("fourth é\n".encode()))
        (tmp_path / ".hidden").write_bytes(b"\0")
        corpus = Corpus(str(tmp_path))
        corpus.check(offline=True)
        assert list(corpus.lines()) == ["first", "", "second", "", "third", "", "fourth é", ""]

    def test_the_place_does_not_count_and_the_text_does(self, tmp_path: Path) -> None:
        one, two = tmp_path / "one.txt", tmp_path / "two.txt"
        one.write_text("a text\n")
        two.write_text("a text\n")
        assert Corpus(str(one)).fingerprint == Corpus(str(two)).fingerprint
        two.write_text("another\n")
        assert Corpus(str(one)).fingerprint != Corpus(str(two)).fingerprint

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "holds no text"),
            (b"\n \n", "holds no text"),
            (b"\x7fELF\0\0\0", "is no text: line 1 holds a zero byte"),
            (b"fine\n\xff\xfe broken\n", "is no UTF-8 text (invalid start byte, byte 0xff)"),
            (b"\x1f\x8b broken gzip", "is a damaged gzip file"),
            (gzip.compress(b"word " * 1000, mtime=0)[:-20], "is a damaged gzip file"),
        ],
    )
    def test_no_text_is_refused(self, tmp_path: Path, content: bytes, message: str) -> None:
        path = tmp_path / "corpus.txt"
        path.write_bytes(content)
        with pytest.raises(BadInput) as error:
            Corpus(str(path)).check(offline=True)
        assert message in str(error.value)

    def test_what_is_missing_or_an_empty_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match=r"corpus=.*absent\.txt: there is no such file or folder"):
            Corpus(str(tmp_path / "absent.txt")).check(offline=True)
        with pytest.raises(BadInput, match="is an empty folder"):
            Corpus(str(tmp_path)).check(offline=True)

    def test_trouble_after_the_beginning_is_told_while_reading(self, tmp_path: Path) -> None:
        path = tmp_path / "corpus.txt"
        path.write_bytes(b"fine\n" * 5000 + b"a zero \0 byte\n")
        assert has_text(path)
        with pytest.raises(BadInput, match="line 5001 holds a zero byte"):
            list(text_lines(path))

    def test_a_gzip_counts_as_the_text_in_it(self, tmp_path: Path) -> None:
        path = tmp_path / "corpus.txt"
        path.write_bytes(gzip.compress(b"a" * 100))
        assert Corpus(str(path)).size_bytes == 4 * path.stat().st_size


class TestOnTheHub:
    """Names that are no files; the hub itself is out of reach here."""

    @pytest.fixture(autouse=True)
    def nothing_asked_yet(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(corpus_hub, "_REVISIONS", {})

    @pytest.mark.parametrize(
        ("name", "may_be"),
        [("wikitext", True), ("owner/name", True), ("owner/name/config-1.0", True), ("a/b/c/d", False),
         ("text.txt", False), ("./name", False), ("/abs", False), ("wiki.txt.gz", False)],
    )  # fmt: skip
    def test_which_names_may_be_data_sets(self, name: str, may_be: bool) -> None:
        assert looks_like_hub_name(name) == may_be

    def test_offline_and_never_used_is_refused(self) -> None:
        with pytest.raises(BadInput, match="corpus=owner/name is neither a file nor a folder here, and --offline"):
            Corpus("owner/name").check(offline=True)

    def test_the_commit_is_remembered_for_a_run_without_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(corpus_hub._REVISIONS, "owner/name", "abc")
        assert Corpus("owner/name").fingerprint == "hub:owner/name@abc"
        corpus_hub._REVISIONS.clear()
        assert hub_revision("owner/name", offline=True) == "abc"
        (kept,) = (home() / "fingerprints").iterdir()
        assert json.loads(kept.read_text()) == {"name": "owner/name", "revision": "abc"}

    def test_rows_are_streamed_as_documents(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import datasets

        asked = []

        def load(name: str, config: str | None, **rest: object) -> datasets.IterableDataset:
            asked.append((name, config, rest))
            table = datasets.Dataset.from_dict({"id": [1, 2], "text": ["one\n\ntwo ", "three"]})
            return table.to_iterable_dataset()

        monkeypatch.setattr(datasets, "load_dataset", load)
        monkeypatch.setitem(corpus_hub._REVISIONS, "owner/name/config", "abc")
        assert list(hub_lines("owner/name/config")) == ["one", "two", "", "three", ""]
        assert asked == [("owner/name", "config", {"split": "train", "streaming": True, "revision": "abc"})]

    @pytest.mark.parametrize(
        ("columns", "message"),
        [({"first": ["a"], "second": ["b"]}, "its text columns are first and second"),
         ({"number": [1]}, "no column holds text")],
    )  # fmt: skip
    def test_a_data_set_without_one_text_column_is_refused(
        self, columns: dict[str, list[object]], message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import datasets

        monkeypatch.setattr(
            datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_dict(columns).to_iterable_dataset()
        )
        monkeypatch.setitem(corpus_hub._REVISIONS, "name", "abc")
        with pytest.raises(BadInput, match=message):
            list(hub_lines("name"))

    def test_a_hub_that_stops_answering_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import datasets

        def fail(*_: object, **__: object) -> None:
            raise ConnectionError("reset by peer\nmore")

        monkeypatch.setattr(datasets, "load_dataset", fail)
        monkeypatch.setitem(corpus_hub._REVISIONS, "name", "abc")
        with pytest.raises(BadInput, match=r"corpus=name cannot be read from the hub \(reset by peer\)"):
            list(hub_lines("name"))
