"""Own files as tasks: every kind of file, every kind of label, and each way they can be wrong."""

import csv
import json
import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressbench.errors import BadInput, InvalidParameter, UnknownName
from compressbench.tasks.data import TaskData
from compressbench.tasks.own_data import load_own_data, load_task_toml

ROWS = {"text": ['She said "go, now".', "fine"], "label": ["good", "bad"]}


def write(path: Path, columns: dict[str, list[object]]) -> Path:
    """Columns as a file of the kind its name says."""
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter="," if path.suffix == ".csv" else "\t")
            writer.writerows([list(columns), *zip(*columns.values(), strict=True)])
    elif path.suffix == ".jsonl":
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        from datasets import Dataset

        rows = Dataset.from_dict(columns)
        rows.to_parquet(path) if path.suffix else rows.save_to_disk(path)
    return path


def load(folder: Path, train: dict[str, list[object]], validation: dict[str, list[object]] | None = None, **options):  # noqa: ANN003
    """A task from two files, JSON lines unless the columns are all text."""
    is_text = all(isinstance(value, str) for values in train.values() for value in values)
    kind = "csv" if is_text else "jsonl"
    return load_own_data(
        train=write(folder / f"train.{kind}", train),
        validation=write(folder / f"validation.{kind}", validation or train),
        **options,
    )


class TestFiles:
    @pytest.mark.parametrize("kind", [".csv", ".tsv", ".jsonl", ".parquet", ""])
    def test_every_kind_gives_the_same_rows(self, tmp_path: Path, kind: str) -> None:
        paths = {split: write(tmp_path / f"{split}{kind}", ROWS) for split in ("train", "validation")}
        data = load_own_data(**paths)
        assert data.task.labels == ("bad", "good")
        assert data.rows("train").first == ROWS["text"]
        assert data.rows("dev").labels.tolist() == [1, 0]
        assert (data.task.name, data.task.suite, data.splits) == ("train", "own", ("train", "dev"))

    def test_a_folder_may_hold_both_splits_and_name_the_classes(self, tmp_path: Path) -> None:
        from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

        features = Features({"text": Value("string"), "label": ClassLabel(names=["up", "down"])})
        splits = {
            name: Dataset.from_dict({"text": [name, "x"], "label": [0, 1]}, features=features)
            for name in ("train", "validation")
        }
        DatasetDict(splits).save_to_disk(tmp_path / "both")
        data = load_own_data(train=tmp_path / "both", validation=tmp_path / "both")
        assert data.task.labels == ("up", "down")
        assert data.rows("dev").first == ["validation", "x"]
        reordered = load_own_data(train=tmp_path / "both", validation=tmp_path / "both", label_names=("down", "up"))
        assert reordered.rows("train").labels.tolist() == [1, 0]

    @given(st.lists(st.tuples(st.text(alphabet=string.printable, min_size=1), st.sampled_from("ab")), min_size=1))
    def test_csv_texts_come_back_whatever_they_hold(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
    ) -> None:
        rows = [("first", "a"), ("second", "b"), *rows]
        columns = {"text": [row[0] for row in rows], "label": [row[1] for row in rows]}
        folder = tmp_path_factory.mktemp("own")
        data = load(folder, columns)
        assert data.rows("train").first == [text.strip() for text in columns["text"]]

    def test_quotes_in_a_tsv_may_be_plain_text(self, tmp_path: Path) -> None:
        path = tmp_path / "train.tsv"
        path.write_text('text\tlabel\n" He left .\t0\n" She came .\t1\nhe said "no"\t1\n')
        assert load_own_data(train=path, validation=path).rows("train").first == [
            '" He left .', '" She came .', 'he said "no"',
        ]  # fmt: skip

    def test_balanced_quotes_across_lines_of_a_plain_tsv_do_not_merge_rows(self, tmp_path: Path) -> None:
        path = tmp_path / "train.tsv"
        path.write_text('text\tlabel\n"one\t0\ntwo\t1\nthree"\t0\n')
        assert load_own_data(train=path, validation=path).rows("train").first == ['"one', "two", 'three"']

    def test_a_quoted_tsv_may_hold_line_ends(self, tmp_path: Path) -> None:
        path = tmp_path / "train.tsv"
        path.write_text('text\tlabel\n"one\nline more"\t0\ntwo\t1\n')
        assert load_own_data(train=path, validation=path).rows("train").first == ["one\nline more", "two"]

    def test_two_parquet_columns_of_one_name_are_refused(self, tmp_path: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        twice = pa.table([pa.array(["a"]), pa.array(["b"]), pa.array([0])], names=["text", "text", "label"])
        parquet.write_table(twice, tmp_path / "a.parquet")
        with pytest.raises(BadInput, match=r"a\.parquet has two columns named 'text': rename one"):
            load_own_data(train=tmp_path / "a.parquet", validation=tmp_path / "a.parquet")

    REFUSED = (
        ("a.csv", b"text,label\na,0\nb\n", r"a\.csv, line 3: 1 columns where the header has 2"),
        ("a.csv", b'text,label\n"x\ny",0\nb\n', r"a\.csv, line 4: 1 columns where the header has 2"),
        ("a.csv", b'text,label\n"a" b,0\n', r"a\.csv, line 2: .*; a text with quotes, separators or line ends must"),
        ("a.csv", b"text,label\n\xff,0\n", r"a\.csv, line 2: not UTF-8"),
        ("a.csv", b"text,text\na,0\n", r"a\.csv, line 1: two columns are named 'text'"),
        ("a.csv", b"text,label\n", r"a\.csv has no rows"),
        (
            "a.tsv",
            b'text\tlabel\n"a" b\t0\nc\n',
            r"a\.tsv, line 2: .* must be quoted \(or, .* line 3 has 1 col",
        ),
        ("a.jsonl", b'{"text": "a", "label": 0}\n{"text"\n', r"a\.jsonl, line 2: not JSON \(.*\); one object a line"),
        ("a.jsonl", b"[1]\n", r"a\.jsonl, line 1: one JSON object a line is expected"),
        ("a.jsonl", b"[" * 100_000, r"a\.jsonl, line 1: not JSON \(.*recursion.*\)"),
        (
            "a.jsonl",
            b'{"text": "\\ud800", "label": 0}\n{"text": "a", "label": 1}\n',
            r"a\.jsonl, line 1: column 'text' holds half of a surrogate",
        ),
        ("a.parquet", b"PAR0", r"a\.parquet is not a Parquet file: "),
        ("a.xlsx", b"", r"a\.xlsx: cannot read a \.xlsx file; give \.csv, \.jsonl, \.parquet, \.tsv or a folder"),
    )

    @pytest.mark.parametrize(("name", "content", "message"), REFUSED, ids=[message for *_, message in REFUSED])
    def test_a_bad_file_is_refused(self, tmp_path: Path, name: str, content: bytes, message: str) -> None:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadInput, match=message):
            load_own_data(train=tmp_path / name, validation=tmp_path / name)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match=r"none\.csv is not there"):
            load_own_data(train=tmp_path / "none.csv", validation=tmp_path / "none.csv")

    def test_a_folder_of_another_kind_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match="is not a folder that datasets' save_to_disk wrote: "):
            load_own_data(train=tmp_path, validation=tmp_path)

    def test_a_folder_without_the_split_is_refused(self, tmp_path: Path) -> None:
        from datasets import Dataset, DatasetDict

        DatasetDict({"train": Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})}).save_to_disk(tmp_path / "d")
        with pytest.raises(BadInput, match="has no split 'validation': it has 'train'"):
            load_own_data(train=tmp_path / "d", validation=tmp_path / "d")


class TestColumns:
    @pytest.mark.parametrize(
        ("names", "texts"),
        [
            (("text", "label"), ("text",)),
            (("id", "sentence", "target"), ("sentence",)),
            (("sentence2", "sentence1", "gold_label"), ("sentence1", "sentence2")),
            (("premise", "hypothesis", "labels"), ("premise", "hypothesis")),
            (("question", "sentence", "score"), ("question", "sentence")),
        ],
    )
    def test_well_known_names_are_guessed(self, tmp_path: Path, names: tuple[str, ...], texts: tuple[str, ...]) -> None:
        columns = {name: [f"{name} one", f"{name} two"] for name in names[:-1]} | {names[-1]: ["0", "1"]}
        data = load(tmp_path, columns)
        assert data.task.text_columns == texts
        assert data.rows("train").first == [f"{texts[0]} one", f"{texts[0]} two"]
        assert data.rows("train").second == ([f"{texts[1]} one", f"{texts[1]} two"] if len(texts) == 2 else None)

    def test_named_columns_are_taken(self, tmp_path: Path) -> None:
        columns = {"text": ["x", "y"], "body": ["a", "b"], "title": ["c", "d"], "stars": ["1", "2"]}
        data = load(tmp_path, columns, text=("title", "body"), label="stars", name="my reviews")
        rows = data.rows("dev")
        assert (rows.first, rows.second, rows.labels.tolist()) == (["c", "d"], ["a", "b"], [0, 1])
        assert (data.task.labels, data.task.name) == (("1", "2"), "my-reviews")

    def test_a_missing_column_is_told_with_those_there_are(self, tmp_path: Path) -> None:
        message = r"train\.csv has no column 'body': it has the columns 'text', 'label'"
        with pytest.raises(BadInput, match=message):
            load(tmp_path, ROWS, text=("body",))
        with pytest.raises(BadInput, match=r"validation\.csv has no column 'text'"):
            load(tmp_path, ROWS, {"sentence": ["a"], "label": ["good"]})

    def test_columns_that_cannot_be_guessed_are_asked_for(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match=r"has the columns 'body', 'label': name the text column.* with --text"):
            load(tmp_path, {"body": ["a"], "label": ["x"]})
        with pytest.raises(BadInput, match="has the columns 'text', 'class': name the label column with --label"):
            load(tmp_path, {"text": ["a"], "class": ["x"]})

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"text": ("a", "b", "c")}, "text columns a, b, c: name one, or two different ones for pairs"),
            ({"text": ("text", "text")}, "name one, or two different ones"),
            ({"text": ("text",), "label": "text"}, "column 'text' cannot be both text and label"),
        ],
    )
    def test_columns_that_make_no_sense_are_refused(self, tmp_path: Path, options: dict, message: str) -> None:
        with pytest.raises(InvalidParameter, match=message):
            load(tmp_path, ROWS, **options)

    @pytest.mark.parametrize(("value", "held"), [(5, "5"), (None, "nothing")])
    def test_a_text_must_be_one(self, tmp_path: Path, value: object, held: str) -> None:
        with pytest.raises(BadInput, match=rf"train\.jsonl, line 2: column 'text' holds {held}, not a text"):
            load(tmp_path, {"text": ["a", value], "label": [0, 1]})


def labels_of(data: TaskData) -> tuple[tuple[str, ...], list[float]]:
    return data.task.labels, data.rows("train").labels.tolist()


class TestLabels:
    def test_truth_values_go_by_the_names_that_a_teacher_has_for_them(self, tmp_path: Path) -> None:
        rows = {"text": ["a", "b", "c"], "label": [True, False, True]}
        assert labels_of(load(tmp_path, rows)) == (("0", "1"), [1, 0, 1])
        assert labels_of(load(tmp_path, rows, label_names=("True", "False"))) == (("True", "False"), [0, 1, 0])
        assert labels_of(load(tmp_path, rows, label_names=("no", "yes"))) == (("no", "yes"), [1, 0, 1])

    @pytest.mark.parametrize(
        ("values", "names", "ids"),
        [
            (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
            (["10", "9", "2"], ("2", "9", "10"), [2, 1, 0]),
            ([3, 1, 2], ("1", "2", "3"), [2, 0, 1]),
            ([True, False, True], ("0", "1"), [1, 0, 1]),
            (["1", "two", "1"], ("1", "two"), [0, 1, 0]),
        ],
    )
    def test_classes_are_named_by_the_file(
        self, tmp_path: Path, values: list, names: tuple[str, ...], ids: list[int]
    ) -> None:
        data = load(tmp_path, {"text": ["x", "y", "z"], "label": values})
        assert labels_of(data) == (names, ids)
        assert data.rows("train").labels.dtype == np.int64
        assert data.task.metrics == ("accuracy", "f1")

    @pytest.mark.parametrize("values", [["0.5", "2.0"], [0.5, 2], ["1e-3", "2"]])
    def test_other_numbers_are_a_regression(self, tmp_path: Path, values: list) -> None:
        data = load(tmp_path, {"text": ["x", "y"], "score": values})
        assert data.task.is_regression
        assert data.rows("train").labels.tolist() == [float(value) for value in values]
        assert data.task.metrics == ("spearmanr", "pearson")

    def test_a_metric_forces_the_kind(self, tmp_path: Path) -> None:
        regression = load(tmp_path, {"text": ["x", "y"], "label": ["1", "4"]}, metric="pearson")
        assert (regression.task.labels, regression.task.metrics) == ((), ("pearson", "spearmanr"))
        assert regression.rows("train").labels.tolist() == [1.0, 4.0]
        classes = load(tmp_path, {"text": ["x", "y"], "label": ["1.0", "0.0"]}, metric="matthews_correlation")
        assert labels_of(classes) == (("0", "1"), [1, 0])
        assert classes.task.metrics == ("matthews_correlation", "accuracy", "f1")

    @pytest.mark.parametrize(
        ("values", "teacher", "ids"),
        [
            (["pos", "neg"], ("neg", "pos"), [1, 0]),
            (["pos", "neg"], ("pos", "neg"), [0, 1]),
            (["positive", "negative"], ("NEGATIVE", "POSITIVE"), [1, 0]),
            ([0, 1], ("neg", "pos"), [0, 1]),
            (["2", "0"], ("a", "b", "c"), [2, 0]),
            ([1, 2], ("2", "1"), [1, 0]),
            ([1, 0], ("LABEL_0", "LABEL_1"), [1, 0]),
            (["a", "A"], ("a", "A"), [0, 1]),
        ],
    )
    def test_the_teachers_names_fix_the_ids(
        self, tmp_path: Path, values: list, teacher: tuple[str, ...], ids: list[int]
    ) -> None:
        assert labels_of(load(tmp_path, {"text": ["x", "y"], "label": values}, label_names=teacher)) == (teacher, ids)

    def test_a_teacher_with_one_output_means_regression(self, tmp_path: Path) -> None:
        data = load(tmp_path, {"text": ["x", "y"], "label": ["1", "4"]}, label_names=("LABEL_0",))
        assert labels_of(data) == ((), [1.0, 4.0])

    def test_one_class_is_enough_where_the_teacher_knows_more(self, tmp_path: Path) -> None:
        assert labels_of(load(tmp_path, {"text": ["x"], "label": ["pos"]}, label_names=("neg", "pos"))) == (
            ("neg", "pos"), [1],
        )  # fmt: skip

    REFUSED = (
        (["a", "b"], ["c"], {}, r"validation\.csv, line 2: label 'c' is not 'a' or 'b'$"),
        ([1, 2], [0], {}, r"validation\.jsonl, line 1: label '0' is not '1' or '2'$"),
        (["a", "c"], ["a"], {"label_names": ("a", "b")}, r"train\.csv, line 3: label 'c' is not 'a' or 'b'$"),
        (["a", "b"], ["a"], {"label_names": ("LABEL_0", "LABEL_1")}, "teacher does not name its classes: write ids"),
        ([0, 2], [0], {"label_names": ("a", "b")}, r"line 2: label 2 is not an id from 0 to 1 \(a, b\)"),
        ([0, -1], [0], {"label_names": ("a", "b")}, "label -1 is not an id from 0 to 1"),
        ([0.5, 1.0], [0], {"label_names": ("a", "b")}, "line 1: label 0.5 is not a class; for a regression use"),
        ([0.5, 1.0], [0], {"metric": "accuracy"}, "label 0.5 is not a class; for a regression use the metric pearson"),
        (["a", "b"], ["a"], {"metric": "pearson"}, "line 2: label 'a' is not a number, and the task is a regression"),
        (["1", "inf"], ["1"], {"metric": "pearson"}, "line 3: label inf is not a number"),
        (["a", ""], ["a"], {}, r"train\.csv, line 3: no label in column 'label'"),
        (["1", "nan"], ["1"], {}, "line 3: no label in column 'label'"),
        ([1, None], [1], {}, "line 2: no label in column 'label'"),
        ([[1], [0]], [[1]], {}, "line 1: column 'label' holds a list, not a label"),
        (["a", "a"], ["a"], {}, r"train\.csv has one class only \('a'\): nothing can be learned from it"),
    )

    @pytest.mark.parametrize(("train", "validation", "options", "message"), REFUSED, ids=[each[3] for each in REFUSED])
    def test_bad_labels_are_refused(
        self, tmp_path: Path, train: list, validation: list, options: dict, message: str
    ) -> None:
        with pytest.raises(BadInput, match=message):
            load(
                tmp_path,
                {"text": ["x"] * len(train), "label": train},
                {"text": ["x"] * len(validation), "label": validation},
                **options,
            )

    def test_many_names_are_not_all_shown(self, tmp_path: Path) -> None:
        names = tuple(f"n{index}" for index in range(20))
        with pytest.raises(BadInput, match=r"label 'x' is not one of 20 names"):
            load(tmp_path, {"text": ["x"], "label": ["x"]}, label_names=names)
        with pytest.raises(BadInput, match=r"label 20 is not an id from 0 to 19 \(n0 to n19\)"):
            load(tmp_path, {"text": ["x"], "label": ["20"]}, label_names=names)

    def test_an_unknown_metric_is_told_with_the_nearest(self, tmp_path: Path) -> None:
        with pytest.raises(UnknownName, match="unknown metric 'acuracy': did you mean 'accuracy'"):
            load(tmp_path, ROWS, metric="acuracy")

    @given(st.lists(st.integers(-50, 50) | st.text("abc", min_size=1, max_size=2), min_size=2, max_size=20), st.data())
    def test_ids_always_stand_for_the_label_that_was_written(
        self, tmp_path_factory: pytest.TempPathFactory, values: list, data: st.DataObject
    ) -> None:
        names = sorted({str(value) for value in values})
        columns = {"text": ["x"] * len(values), "label": [str(value) for value in values]}
        teacher = data.draw(st.permutations(names)) if len(names) > 1 else [*names, "other"]
        for known in (tuple(teacher), None) if len(names) > 1 else (tuple(teacher),):
            loaded = load(tmp_path_factory.mktemp("own"), columns, label_names=known)
            assert [loaded.task.labels[label] for label in loaded.rows("train").labels] == columns["label"]


TOML = """[task]
name = "ratings"
train = "data/train.csv"
validation = "data/validation.csv"
text = ["title", "body"]
label = "stars"
labels = ["low", "high"]
metrics = ["f1"]
max_length = 32
"""


class TestToml:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "data").mkdir()
        for split in ("train", "validation"):
            columns = {"title": ["a", "b"], "body": ["c", "d"], "stars": ["1", "0"]}
            write(tmp_path / "data" / f"{split}.csv", columns)
        return tmp_path

    def load(self, folder: Path, content: str, **options: object) -> TaskData:
        (folder / "task.toml").write_text(content)
        return load_task_toml(folder / "task.toml", **options)

    def test_all_it_says_is_taken(self, folder: Path) -> None:
        data = self.load(folder, TOML)
        task = data.task
        assert (task.name, task.labels, task.metrics, task.max_length) == ("ratings", ("low", "high"), ("f1",), 32)
        assert (data.rows("dev").second, data.rows("dev").labels.tolist()) == (["c", "d"], [1, 0])

    def test_what_it_does_not_say_is_guessed(self, folder: Path) -> None:
        write(folder / "plain.csv", {"text": ["a", "b"], "label": ["x", "y"]})
        task = self.load(folder, '[task]\ntrain = "plain.csv"\nvalidation = "plain.csv"').task
        assert (task.name, task.labels, task.metrics, task.max_length) == ("task", ("x", "y"), ("accuracy", "f1"), 128)

    def test_the_teachers_order_counts(self, folder: Path) -> None:
        data = self.load(folder, TOML, label_names=("High", "Low"))
        assert (data.task.labels, data.rows("train").labels.tolist()) == (("High", "Low"), [0, 1])
        unnamed = self.load(folder, TOML, label_names=("LABEL_0", "LABEL_1"))
        assert (unnamed.task.labels, unnamed.rows("train").labels.tolist()) == (("low", "high"), [1, 0])

    def test_a_teacher_with_other_names_is_refused(self, folder: Path) -> None:
        message = "are high and low, and the teacher's are bad and good: a classifier's id2label must name"
        with pytest.raises(BadInput, match=message):
            self.load(folder, TOML, label_names=("bad", "good"))

    def test_labels_outside_its_names_are_refused(self, folder: Path) -> None:
        write(folder / "data" / "train.csv", {"title": ["a"], "body": ["b"], "stars": ["2"]})
        with pytest.raises(BadInput, match=r"train\.csv, line 2: label 2 is not an id from 0 to 1 \(low, high\)"):
            self.load(folder, TOML)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("[task", r"task\.toml is not TOML: "),
            ("name = 1", r"task\.toml has no table \[task\]"),
            ("[task]\ntrain = 'x.csv'", r"task\.toml: \[task\] has no validation"),
            (TOML.replace("label =", "lable ="), r"unknown key of .*task\.toml 'lable': did you mean 'label'"),
            (TOML.replace("32", "'long'"), "max_length = 'long' is not a number of tokens"),
            (TOML.replace("32", "true"), "max_length = True is not a number of tokens"),
            (TOML.replace("32", "2"), "max_length=2 holds no text: 4 at least"),
            (TOML.replace('["f1"]', '"f1"'), "metrics = 'f1' is not a list of metrics"),
            (TOML.replace('["f1"]', "[]"), "metrics = .* is not a list of metrics"),
            (TOML.replace('["f1"]', '["f2"]'), "unknown metric 'f2': did you mean 'f1'"),
            (TOML.replace('["f1"]', '["f1", "pearson"]'), "metrics f1 and pearson score both classes and numbers"),
            (TOML.replace('["f1"]', '["pearson"]'), "a task with labels cannot be scored by pearson"),
        ],
    )
    def test_a_bad_file_is_refused(self, folder: Path, content: str, message: str) -> None:
        with pytest.raises(BadInput, match=message):
            self.load(folder, content)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match=r"none\.toml cannot be read: No such file"):
            load_task_toml(tmp_path / "none.toml")
