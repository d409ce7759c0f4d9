import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressbench.errors import BadInput
from compressbench.tasks.tsv import TsvLayout, read_tsv

PAIRS = TsvLayout(text_columns=("s1", "s2"), label_column="label", labels=("no", "yes"))
BROKEN_PAIRS = TsvLayout(text_columns=("s1", "s2"), label_column="label", labels=("no", "yes"), has_broken_rows=True)
SCORES = TsvLayout(text_columns=("s1",), label_column="score", labels=(), score_range=(0.0, 5.0))
ANY_SCORES = TsvLayout(text_columns=("s1",), label_column="score", labels=())
HEADERLESS = TsvLayout(text_columns=("text",), label_column="label", labels=("0", "1"), columns=("label", "text"))

field = st.text(
    alphabet=st.characters(exclude_characters="\t\n\r", exclude_categories=["Cs"])
    | st.sampled_from("\"'\x0b\x85\u2028"),
    max_size=20,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "train.tsv"


@given(st.lists(st.tuples(field, field, st.sampled_from(["no", "yes"])), min_size=1), st.sampled_from(["\n", "\r\n"]))
def test_fields_come_back_whatever_they_hold(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], end: str
) -> None:
    path = tmp_path_factory.mktemp("tsv") / "train.tsv"
    lines = ["s1\ts2\tlabel", *("\t".join(row) for row in rows)]
    path.write_bytes(end.join(lines).encode("utf-8-sig"))
    read = read_tsv(path, PAIRS)
    assert list(read.first) == [row[0].strip() for row in rows]
    assert list(read.second or ()) == [row[1].strip() for row in rows]
    assert read.labels.tolist() == [int(row[2] == "yes") for row in rows]


@given(st.permutations(["s1", "s2", "label", "extra"]))
def test_columns_are_found_by_name(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    path = tmp_path_factory.mktemp("tsv") / "train.tsv"
    values = {"s1": "one", "s2": "two", "label": "yes", "extra": "other"}
    path.write_text("\t".join(names) + "\n" + "\t".join(values[name] for name in names) + "\n")
    read = read_tsv(path, PAIRS)
    assert (list(read.first), list(read.second), read.labels.tolist()) == (["one"], ["two"], [1])


def test_rows_with_another_number_of_fields_are_left_out_where_the_published_file_has_some(path: Path) -> None:
    rows = ["a\tb\tyes", "cut off", "rest\tno", "c\td\tno", "e\tf\tyes\tmore", "g\th\tyes"]
    path.write_text("\n".join(["s1\ts2\tlabel", *rows]))
    read = read_tsv(path, BROKEN_PAIRS)
    assert list(read.first) == ["a", "c", "g"]
    assert read.labels.tolist() == [1, 0, 1]


REFUSED = [
    (PAIRS, b"s1\ts2\n1\t2\n", "line 1: no column 'label'; the columns are 's1', 's2', and the original GLUE file"),
    (PAIRS, b"x\ty\n1\t2\n", "line 1: no column 'label', 's1' and 's2'"),
    (PAIRS, b"s1\ts2\tlabel\na\tb\tyes\na\tb\n", "line 3: 2 columns where the file has 3"),
    (PAIRS, b"s1\ts2\tlabel\na\tb\tyes\n\na\tb\tyes\tc\n", "line 4: 4 columns where the file has 3"),
    (PAIRS, b"s1\ts2\tlabel\na\tb\tmaybe\n", "line 2: label 'maybe' is not 'no' or 'yes'"),
    (BROKEN_PAIRS, b"s1\ts2\tlabel\na\tb\tmaybe\n", "line 2: label 'maybe' is not 'no' or 'yes'"),
    (BROKEN_PAIRS, b"s1\ts2\tlabel\na\na\nb\tc\tno", "line 2: 1 columns where the file has 3, and so for 2 of 3 rows"),
    (PAIRS, b"s1\ts2\tlabel\na\tb\tyes\nd\xe9j\xe0\tb\tyes\n", "line 3: not UTF-8; save the file as UTF-8"),
    (PAIRS, b"s1\ts2\tlabel\n", "has no rows"),
    (PAIRS, b"", "has no rows"),
    (SCORES, b"s1\tscore\na\t5.1\n", "line 2: score '5.1' is not a number from 0 to 5"),
    (SCORES, b"s1\tscore\na\tnan\n", "line 2: score 'nan' is not a number from 0 to 5"),
    (SCORES, b"s1\tscore\na\tfive\n", "line 2: score 'five' is not a number from 0 to 5"),
    (ANY_SCORES, b"s1\tscore\na\tfive\n", "line 2: score 'five' is not a number"),
    (HEADERLESS, b"label\ttext\n1\ta\n", "line 1: label 'label' is not '0' or '1'"),
]


@pytest.mark.parametrize(("layout", "content", "message"), REFUSED, ids=[message for *_, message in REFUSED])
def test_a_bad_file_is_refused_with_file_and_line(path: Path, layout: TsvLayout, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(BadInput) as refused:
        read_tsv(path, layout)
    told = str(refused.value)
    assert told.startswith(str(path))
    assert message in told
    assert all(character in string.printable for character in told)


def test_a_file_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(BadInput, match=r"train\.tsv cannot be read: No such file"):
        read_tsv(path, PAIRS)
