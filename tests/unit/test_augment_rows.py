"""Copies, the file they go to, and taking the work up again."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from compressbench.errors import BadInput, InvalidParameter
from compressbench.methods.augment import proposals, stream
from compressbench.methods.augment.copies import draw_copies, row_key
from compressbench.methods.augment.journal import ResumableFile
from compressbench.methods.augment.row_file import RowLayout, layout_of, plain_layout, read_rows
from compressbench.methods.augment.settings import AugmentSettings, settings_from
from compressbench.methods.augment.stop_words import STOP_WORDS
from compressbench.methods.augment.stream import Augmentation, SeenRows, augment_rows
from compressbench.methods.augment.vectors import open_vectors
from compressbench.methods.augment.words import Sentence, Word, is_replaceable
from compressbench.models.masked_lm import find_masked_lm
from compressbench.progress import Quiet
from compressbench.tasks.catalog import all_tasks, task_named
from compressbench.tasks.glue import GLUE_SOURCES, GLUE_TASKS
from compressbench.tasks.own_data import load_own_data
from compressbench.tasks.task import Rows, Task
from compressbench.tasks.tsv import read_tsv
from tests.conftest import draw_tiny_rows
from tests.unit.masked_lm_folder import make_masked_lm, write_vectors

PAIRS = Task(name="pairs", suite="own", text_columns=("a", "b"), labels=("no", "yes"), metrics=("accuracy",))


def sentence_of(text: str) -> Sentence:
    """Every blank-separated word may be replaced."""
    words, start = [], 0
    for number, part in enumerate(text.split(" ")):
        words.append(Word(start=start, end=start + len(part), text=part, piece=number, is_single_piece=True))
        start += len(part) + 1
    return Sentence(text=text, pieces=tuple(range(len(words))), words=tuple(words))


# Copies -----------------------------------------------------------------------------------------------------------


def test_words_are_replaced_with_the_probability_and_candidates_alike() -> None:
    sentence = sentence_of("one two three four")
    options = [["a", "b", "c", "d"]] * 3 + [[]]
    copies = draw_copies(
        [sentence], [options], settings=settings_from(copies=1000, probability=0.3), rng=np.random.default_rng(0)
    )
    assert len(set(copies)) == len(copies) <= 5**3 - 1
    replaced: list[float] = []
    chosen: Counter[str] = Counter()
    for seed in range(2000):
        one = draw_copies(
            [sentence], [options], settings=settings_from(copies=1, probability=0.3), rng=np.random.default_rng(seed)
        )
        first = one[0][0].split(" ")[0] if one else "one"
        replaced.append(first != "one")
        chosen[first] += 1
    assert np.mean(replaced) == pytest.approx(0.3, abs=0.04)  # four standard errors
    assert all(chosen[word] == pytest.approx(150, abs=50) for word in "abcd")


@given(
    words=st.lists(st.sampled_from(["ab", "C", "d"]), min_size=1, max_size=5),
    options=st.lists(st.sampled_from(["x", "y", "AB", "c"]), max_size=4),
    copies=st.integers(1, 12),
    probability=st.floats(0.05, 1),
    seed=st.integers(0, 99),
)
def test_copies_are_new_and_as_many_as_allowed(
    words: list[str], options: list[str], copies: int, probability: float, seed: int
) -> None:
    sentences = [sentence_of(" ".join(words)), sentence_of("fixed")]
    settings = settings_from(copies=copies, probability=probability)
    drawn = draw_copies(sentences, [[options] * len(words), [[]]], settings=settings, rng=np.random.default_rng(seed))
    assert len(drawn) <= copies
    keys = [row_key(each) for each in drawn]
    assert len({*keys, row_key([each.text for each in sentences])}) == len(drawn) + 1
    for first, second in drawn:
        assert second == "fixed"
        assert all(new in (old, *options) for old, new in zip(words, first.split(" "), strict=True))


def test_a_smaller_factor_keeps_the_first_copies() -> None:
    sentences, options = [sentence_of("one two three")], [[["a", "b", "c"]] * 3]
    many, few = (
        draw_copies(sentences, options, settings=settings, rng=np.random.default_rng(5))
        for settings in (settings_from(copies=20), AugmentSettings(factor=4, copies=20))
    )
    assert len(few) == 3
    assert few == many[:3]


def test_a_row_without_replaceable_words_has_no_copies() -> None:
    nothing = Sentence(text="it is", pieces=(1, 2), words=())
    assert draw_copies([nothing], [[]], settings=settings_from(), rng=np.random.default_rng(0)) == []


@pytest.mark.parametrize(
    ("word", "expected"),
    [("film", True), ("The", False), ("n't", False), ("3", False), ("café", True), ("", False), ("not", False)],
)
def test_which_words_may_be_replaced(word: str, expected: bool) -> None:
    assert is_replaceable(word) is expected


# Settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "factor", "copies"),
    [({}, 21, 20), ({"factor": 30}, 30, 29), ({"copies": 7}, 8, 7), ({"factor": 3, "copies": 20}, 3, 20)],
)
def test_factor_and_copies_follow_from_one_another(given: dict[str, int], factor: int, copies: int) -> None:
    settings = settings_from(**given)  # type: ignore[arg-type]
    assert (settings.factor, settings.copies, settings.candidates, settings.probability) == (factor, copies, 15, 0.4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"copies": 0}, r"copies=0 \(N_a\) is not a whole number from 1 to 1000"),
        ({"copies": 1001}, r"copies=1001 \(N_a\)"),
        ({"candidates": 0}, r"candidates=0 \(K\) is not a whole number from 1 to 1000"),
        ({"probability": 0.0}, r"probability=0.0 \(p_t\) is not above 0 and up to 1"),
        ({"probability": 1.1}, r"probability=1.1 \(p_t\)"),
        ({"probability": float("nan")}, r"probability=nan \(p_t\)"),
        ({"factor": 1}, "factor=1 adds no rows"),
        ({"factor": 30, "copies": 20}, "factor=30 wants 29 copies of a row, and copies=20 .*: use copies=29"),
        ({"mode": "both"}, "mode=both is unknown: use masked or paired"),
    ],
)
def test_values_out_of_range_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        settings_from(**given)


# Layouts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(GLUE_TASKS))
def test_glue_rows_are_read_back_by_the_reader_of_the_original_files(name: str, tmp_path: Path) -> None:
    task = GLUE_TASKS[name]
    layout = layout_of(task)
    labels = np.array([2.5, 0.0]) if task.is_regression else np.array([len(task.labels) - 1, 0])
    texts = [('a "quoted', "won't,"), ("Two  blanks", 'b"')]
    path = tmp_path / "train.tsv"
    lines = [layout.line(row[: len(layout.texts)], label) for row, label in zip(texts, labels.tolist(), strict=True)]
    path.write_text(layout.header + "".join(lines))
    for rows in (read_tsv(path, GLUE_SOURCES[name].layout), read_rows(path, layout)):
        assert list(rows.first) == [row[0] for row in texts]
        assert rows.second == ([row[1] for row in texts] if task.is_pair else None)
        assert rows.labels is not None
        assert rows.labels.tolist() == labels.tolist()
    assert layout.writable("a\tb\n c") == "a b c"


@given(
    texts=st.lists(st.tuples(st.text("ab \t\n\",'", min_size=1), st.text('ab"\t', min_size=1)), min_size=1, max_size=5)
)
def test_own_rows_are_read_back_whatever_they_hold(
    texts: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    layout = plain_layout(PAIRS)
    path = tmp_path_factory.mktemp("rows") / "train.tsv"
    path.write_text(layout.header + "".join(layout.line(row, 1) for row in texts), newline="")
    rows = read_rows(path, layout)
    assert [*zip(rows.first, rows.second or (), strict=True)] == texts
    assert layout.writable("a\tb") == "a\tb"


def test_own_rows_are_read_back_as_own_data(tmp_path: Path) -> None:
    layout = plain_layout(PAIRS)
    path = tmp_path / "train.tsv"
    path.write_text(layout.header + layout.line(('say "a"', "b,\tc"), 1) + layout.line(("d", 'e "f'), 0))
    data = load_own_data(train=path, validation=path, text=("a", "b"), label="label")
    assert list(data.rows("train").first) == ['say "a"', "d"]
    assert data.task.labels == ("no", "yes")


def test_every_task_has_a_layout() -> None:
    for task in all_tasks().values():
        assert len(layout_of(task).texts) == len(task.text_columns)


# The file ---------------------------------------------------------------------------------------------------------


def test_seen_rows_are_those_a_set_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MERGED_AT", 5)
    rng = np.random.default_rng(0)
    seen, plain = SeenRows(iter(["3", "3", "7"])), {"3", "7"}
    for _ in range(60):
        rows = [(str(number),) for number in rng.choice(100, size=4, replace=False)]
        assert seen.added(rows) == [row for row in rows if row[0] not in plain]
        plain |= {row[0] for row in rows}


@pytest.fixture(scope="module")
def augmentation(tmp_path_factory: pytest.TempPathFactory) -> Augmentation:
    folder = tmp_path_factory.mktemp("augment")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMPRESSBENCH_HOME", str(folder / "home"))
        vectors = open_vectors(write_vectors(folder / "vectors.txt"))
    return Augmentation(
        settings=settings_from(factor=6, candidates=4),
        masked_lm=find_masked_lm(str(make_masked_lm(folder / "mlm"))),
        vectors=vectors,
        seed=3,
        precision="fp32",
    )


@pytest.fixture(scope="module")
def pair_rows() -> Rows:
    ours, theirs = draw_tiny_rows(count=24, seed=1), draw_tiny_rows(count=24, seed=2)
    return Rows(first=[f"unkind {text}" for text in ours.first], second=theirs.first, labels=ours.labels)


def written(rows: Rows, to: Path, augmentation: Augmentation, progress: Quiet | None = None) -> dict[str, int]:
    return augment_rows(
        rows,
        to=to,
        layout=plain_layout(PAIRS),
        augmentation=augmentation,
        name="pairs",
        threads=1,
        device="cpu",
        progress=progress or Quiet(),
    )


def test_rows_stay_labels_are_kept_and_nothing_leaks(
    pair_rows: Rows, augmentation: Augmentation, tmp_path: Path
) -> None:
    counts = written(pair_rows, tmp_path / "rows.tsv", augmentation)
    made = read_rows(tmp_path / "rows.tsv", plain_layout(PAIRS))
    assert counts["rows"] == 24
    assert counts["written"] == len(made) > 3 * 24
    assert counts["unknown"] == 0
    assert {path.name for path in tmp_path.iterdir()} == {"rows.tsv"}
    assert pair_rows.labels is not None
    assert made.second is not None
    assert pair_rows.second is not None
    assert made.labels is not None
    originals = list(zip(pair_rows.first, pair_rows.second, pair_rows.labels.tolist(), strict=True))
    found = list(zip(made.first, made.second, made.labels.tolist(), strict=True))
    assert len({row_key(row[:2]) for row in found}) == len(found)
    starts = [found.index(row) for row in originals]
    assert starts == sorted(starts)
    changed = 0
    for (first, second, label), start, end in zip(originals, starts, [*starts[1:], len(found)], strict=True):
        for copy in found[start + 1 : end]:
            assert copy[2] == label
            for old, new in ((first, copy[0]), (second, copy[1])):
                assert len(new.split()) == len(old.split())
                kept = [a for a, b in zip(old.split(), new.split(), strict=True) if a == b]
                assert set(old.split()) & set(STOP_WORDS) <= set(kept)
            changed += copy[1] != second
    assert changed > 24  # the second sentence too
    assert any(word in made.first[row] for row in range(len(made)) for word in ("sour", "grim", "lovely"))


def test_the_seed_decides_and_no_batch_or_chunk_does(
    pair_rows: Rows, augmentation: Augmentation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    written(pair_rows, tmp_path / "first.tsv", augmentation)
    first = (tmp_path / "first.tsv").read_bytes()
    written(pair_rows, tmp_path / "other.tsv", replace(augmentation, seed=4))
    assert (tmp_path / "other.tsv").read_bytes() != first
    monkeypatch.setattr(stream, "CHUNK_TOKENS", 40)
    monkeypatch.setattr(stream, "WINDOW_ROWS", 7)
    monkeypatch.setattr(proposals.Proposer.propose, "__kwdefaults__", {"batch_tokens": 50, "on_batch": None})
    written(pair_rows, tmp_path / "again.tsv", augmentation)
    assert (tmp_path / "again.tsv").read_bytes() == first


@pytest.mark.parametrize("at", [0, 1, 4, 9])
@pytest.mark.parametrize("place", ["before the text", "before the journal", "after both"])
def test_an_interruption_anywhere_ends_in_the_same_bytes(
    at: int, place: str, pair_rows: Rows, augmentation: Augmentation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHUNK_TOKENS", 40)
    monkeypatch.setattr(stream, "WINDOW_ROWS", 7)
    written(pair_rows, tmp_path / "whole.tsv", augmentation)
    append, calls = ResumableFile.append, []

    def stopped(self: ResumableFile, text: str, *, counts: dict[str, int]) -> None:
        calls.append(counts["rows"])
        if len(calls) == at + 1:
            if place == "before the journal":
                assert self._stream is not None
                self._stream.write(text[: len(text) // 2].encode())
            if place == "after both":
                append(self, text, counts=counts)
            raise KeyboardInterrupt
        append(self, text, counts=counts)

    with monkeypatch.context() as patch:
        patch.setattr(ResumableFile, "append", stopped)
        with pytest.raises(KeyboardInterrupt):
            written(pair_rows, tmp_path / "rows.tsv", augmentation)
    assert not (tmp_path / "rows.tsv").exists()
    stopped_at = len(calls)
    at_least = calls[-1] if place == "after both" else ([0, *calls])[at]

    def noted(self: ResumableFile, text: str, *, counts: dict[str, int]) -> None:
        calls.append(counts["rows"])
        append(self, text, counts=counts)

    monkeypatch.setattr(ResumableFile, "append", noted)
    counts = written(pair_rows, tmp_path / "rows.tsv", augmentation)
    assert min(calls[stopped_at:]) > at_least  # nothing that stood was made again
    assert counts["rows"] == 24
    assert (tmp_path / "rows.tsv").read_bytes() == (tmp_path / "whole.tsv").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"rows.tsv", "whole.tsv"}


def test_other_settings_do_not_go_on_with_the_file(pair_rows: Rows, augmentation: Augmentation, tmp_path: Path) -> None:
    (tmp_path / ".rows.tsv.partial").write_text("something else entirely, and longer than what comes\n" * 999)
    journal = {"digest": "other", "size_bytes": 9, "counts": {"rows": 20, "written": 1}}
    (tmp_path / ".rows.tsv.journal").write_text(json.dumps(journal))
    written(pair_rows, tmp_path / "rows.tsv", augmentation)
    written(pair_rows, tmp_path / "again.tsv", augmentation)
    assert (tmp_path / "rows.tsv").read_bytes() == (tmp_path / "again.tsv").read_bytes()


def test_what_cannot_be_written_is_told(pair_rows: Rows, augmentation: Augmentation, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the rows of pairs have no labels"):
        written(Rows(first=["a"], second=["b"], labels=None), tmp_path / "rows.tsv", augmentation)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"file/rows.tsv cannot be written: "):
        written(pair_rows, tmp_path / "file" / "rows.tsv", augmentation)
    with (
        FileLock(str(tmp_path / ".rows.tsv.lock")),
        pytest.raises(BadInput, match="is being written by another process: wait for it"),
    ):
        written(pair_rows, tmp_path / "rows.tsv", augmentation)
    assert not (tmp_path / "rows.tsv").exists()


def test_the_digest_knows_everything_that_decides(pair_rows: Rows, augmentation: Augmentation) -> None:
    from dataclasses import replace

    layouts: list[RowLayout] = [plain_layout(PAIRS), layout_of(task_named("RTE"))]
    others = [
        replace(augmentation, seed=9),
        replace(augmentation, precision="bf16"),
        replace(augmentation, vectors=None),
        replace(augmentation, settings=settings_from(factor=6, candidates=4, mode="masked")),
    ]
    digests = {each.digest(pair_rows, layouts[0]) for each in (augmentation, *others)}
    digests |= {augmentation.digest(pair_rows, layouts[1]), augmentation.digest(pair_rows.take([0]), layouts[0])}
    assert len(digests) == 7
