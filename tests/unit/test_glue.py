"""The nine tasks read from files in GLUE's own layout, each written here as the published files are."""

from pathlib import Path

import numpy as np
import pytest

from compressbench.tasks.data import load_task_data
from compressbench.tasks.glue import GLUE_SOURCES, GLUE_TASKS

MNLI_FRONT = (
    "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse"
    "\tsentence1\tsentence2"
)
MNLI_ROW = '{0}\t7\t7n\tfiction\t( a )\t( b )\t(ROOT a)\t(ROOT b)\tIt "rains.\tThe sun shines.'
STS_FRONT = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2"
STS_ROW = "{0}\tmain-captions\tMSRvid\t2012test\t0001\tnone\tnone\tA plane takes off.\tA plane is taking off."
MRPC = 'Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t2\t3\t" He left .\tHe went .\n0\t4\t5\tA\tB\n'
QQP = 'id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\tWhy?\tHow "so?\t1\n4\t5\t6\tWho?\tWe?\t0\n'
QNLI = "index\tquestion\tsentence\tlabel\n0\tWhen?\tIn 1066.\tentailment\n1\tWho?\tIn 1066.\tnot_entailment\n"
FILES = {
    "CoLA": {
        "train.tsv": "gj04\t1\t\tThey sang.\ngj04\t0\t*\tSang they has.\n",
        "dev.tsv": "gj04\t1\t\tThey sang.\ngj04\t0\t*\tSang they has.",
        "test.tsv": "index\tsentence\n0\tWho sang?\n",
    },
    "SST-2": {
        "train.tsv": "sentence\tlabel\na treat \t1\nno wit \t0\n",
        "dev.tsv": "sentence\tlabel\na treat \t1\nno wit \t0\n",
        "test.tsv": "index\tsentence\n0\tuneasy mishmash \n",
    },
    "MRPC": {
        "train.tsv": MRPC,
        "dev.tsv": f"\ufeff{MRPC}",
        "test.tsv": "\ufeffindex\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1089874\t1089925\tPCCW\tCurrent\n",
    },
    "STS-B": {
        "train.tsv": f"{STS_FRONT}\tscore\n{STS_ROW.format(0)}\t5.000\n{STS_ROW.format(1)}\t3.800\n",
        "dev.tsv": f"{STS_FRONT}\tscore\n{STS_ROW.format(0)}\t5.000\n{STS_ROW.format(1)}\t3.800\n",
        "test.tsv": f"{STS_FRONT}\n{STS_ROW.format(0)}\n",
    },
    "QQP": {
        "train.tsv": QQP,
        "dev.tsv": QQP,
        "test.tsv": "id\tquestion1\tquestion2\n0\tWould\tCan\n",
    },
    "MNLI": {
        "train.tsv": (
            f"{MNLI_FRONT}\tlabel1\tgold_label\n{MNLI_ROW.format(0)}\tneutral\tneutral\n"
            f"{MNLI_ROW.format(1)}\tcontradiction\tcontradiction\n{MNLI_ROW.format(2)}\tentailment\tentailment\n"
        ),
        "dev_matched.tsv": (
            f"{MNLI_FRONT}\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label\n"
            + MNLI_ROW.format(0) + "\tcontradiction" * 2 + "\tneutral" * 4 + "\n"
        ),
        "dev_mismatched.tsv": (
            f"{MNLI_FRONT}\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label\n"
            + MNLI_ROW.format(0) + "\tneutral" * 2 + "\tcontradiction" * 4 + "\n"
        ),
        "test_matched.tsv": f"{MNLI_FRONT}\n{MNLI_ROW.format(0)}\n",
        "test_mismatched.tsv": f"{MNLI_FRONT}\n{MNLI_ROW.format(0)}\n{MNLI_ROW.format(1)}\n",
    },
    "QNLI": {
        "train.tsv": QNLI,
        "dev.tsv": QNLI,
        "test.tsv": "index\tquestion\tsentence\n0\tWhat?\tA seed.\n",
    },
    "RTE": {
        "train.tsv": "index\tsentence1\tsentence2\tlabel\n0\tA\tB\tnot_entailment\n1\tC\tD\tentailment\n",
        "dev.tsv": "index\tsentence1\tsentence2\tlabel\r\n0\tA\tB\tnot_entailment\r\n1\tC\tD\tentailment\r\n",
        "test.tsv": "index\tsentence1\tsentence2\n0\tMangla was\tMangla\n",
    },
    "WNLI": {
        "train.tsv": "index\tsentence1\tsentence2\tlabel\n0\tI stuck a pin\tIt had a hole.\t1\n1\tHe\tShe\t0\n",
        "dev.tsv": "index\tsentence1\tsentence2\tlabel\n0\tI stuck a pin\tIt had a hole.\t1\n1\tHe\tShe\t0\n",
        "test.tsv": "index\tsentence1\tsentence2\n0\tMaude\tMaude had\n",
    },
}  # fmt: skip
EXPECTED = {
    "CoLA": (["They sang.", "Sang they has."], None, [1, 0]),
    "SST-2": (["a treat", "no wit"], None, [1, 0]),
    "MRPC": (['" He left .', "A"], ["He went .", "B"], [1, 0]),
    "STS-B": (["A plane takes off."] * 2, ["A plane is taking off."] * 2, [5.0, 3.8]),
    "QQP": (["Why?", "Who?"], ['How "so?', "We?"], [1, 0]),
    "MNLI": (['It "rains.'] * 3, ["The sun shines."] * 3, [1, 2, 0]),
    "QNLI": (["When?", "Who?"], ["In 1066."] * 2, [0, 1]),
    "RTE": (["A", "C"], ["B", "D"], [1, 0]),
    "WNLI": (["I stuck a pin", "He"], ["It had a hole.", "She"], [1, 0]),
}
TEST_FIRST = {
    "CoLA": "Who sang?", "SST-2": "uneasy mishmash", "MRPC": "PCCW", "STS-B": "A plane takes off.", "QQP": "Would",
    "MNLI": 'It "rains.', "QNLI": "What?", "RTE": "Mangla was", "WNLI": "Maude",
}  # fmt: skip
HUB_LABELS = {
    "CoLA": ("unacceptable", "acceptable"),
    "SST-2": ("negative", "positive"),
    "MRPC": ("not_equivalent", "equivalent"),
    "STS-B": (),
    "QQP": ("not_duplicate", "duplicate"),
    "MNLI": ("entailment", "neutral", "contradiction"),
    "QNLI": ("entailment", "not_entailment"),
    "RTE": ("entailment", "not_entailment"),
    "WNLI": ("not_entailment", "entailment"),
}


def write_task(name: str, data_dir: Path) -> Path:
    folder = data_dir / name
    folder.mkdir()
    for file_name, content in FILES[name].items():
        (folder / file_name).write_bytes(content.encode())
    return folder


@pytest.mark.parametrize("name", GLUE_TASKS)
class TestEveryTask:
    def test_train_is_read(self, name: str, tmp_path: Path) -> None:
        write_task(name, tmp_path)
        rows = load_task_data(GLUE_TASKS[name], data_dir=tmp_path).rows("train")
        first, second, labels = EXPECTED[name]
        assert (list(rows.first), rows.second) == (first, second)
        assert rows.labels.tolist() == labels
        assert rows.labels.dtype == (np.float64 if name == "STS-B" else np.int64)

    def test_dev_is_read(self, name: str, tmp_path: Path) -> None:
        write_task(name, tmp_path)
        data = load_task_data(GLUE_TASKS[name], data_dir=tmp_path)
        found = {split: data.rows(split).labels.tolist() for split in data.task.dev_splits}
        assert found == ({"dev_matched": [1], "dev_mismatched": [2]} if name == "MNLI" else {"dev": EXPECTED[name][2]})

    def test_test_is_read_without_labels(self, name: str, tmp_path: Path) -> None:
        write_task(name, tmp_path)
        data = load_task_data(GLUE_TASKS[name], data_dir=tmp_path)
        rows = data.rows("test")
        assert (rows.first[0], rows.labels) == (TEST_FIRST[name], None)
        assert (rows.second is not None) == data.task.is_pair
        assert [len(data.rows(split)) for split in data.splits if split == "test_mismatched"] in ([], [2])

    def test_labels_stand_in_the_hubs_order(self, name: str) -> None:
        assert GLUE_TASKS[name].labels == HUB_LABELS[name]
        assert len(GLUE_SOURCES[name].layout.labels) == len(HUB_LABELS[name])

    def test_task_says_where_it_comes_from(self, name: str) -> None:
        assert GLUE_TASKS[name].reference.startswith("https://")


def test_metrics_are_those_of_evaluate() -> None:
    assert {name: task.metrics for name, task in GLUE_TASKS.items()} == {
        "CoLA": ("matthews_correlation",),
        "SST-2": ("accuracy",),
        "MRPC": ("accuracy", "f1"),
        "STS-B": ("spearmanr", "pearson"),
        "QQP": ("accuracy", "f1"),
        "MNLI": ("accuracy",),
        "QNLI": ("accuracy",),
        "RTE": ("accuracy",),
        "WNLI": ("accuracy",),
    }


def test_lengths_and_epochs_are_those_of_the_paper() -> None:
    lengths = {name: task.max_length for name, task in GLUE_TASKS.items()}
    assert lengths == {name: 64 if name in ("CoLA", "SST-2") else 128 for name in GLUE_TASKS}
    epochs = {name: task.training["distill.intermediate_epochs"] for name, task in GLUE_TASKS.items()}
    assert epochs == {name: 50 if name == "CoLA" else 20 for name in GLUE_TASKS}
    assert {(task.training["distill.prediction_epochs"], task.training["finetune.epochs"])
            for task in GLUE_TASKS.values()} == {(3, 3)}  # fmt: skip
