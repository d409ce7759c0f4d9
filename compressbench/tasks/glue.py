"""The nine GLUE tasks as values: columns, labels, metrics, files and names on the hub."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from compressbench.tasks.task import Task
from compressbench.tasks.tsv import TsvLayout

HUB_DATASET = "nyu-mll/glue"

_ACCURACY_F1 = ("accuracy", "f1")
_ZERO_ONE = ("0", "1")


@dataclass(frozen=True, kw_only=True)
class GlueSource:
    """Where one task's rows stand: in the original TSV files, and on the hub."""

    layout: TsvLayout
    test_text_columns: tuple[str, ...] = ()
    """Names in the test file's header line, where they are not those of train and dev."""
    files: Mapping[str, str]
    """File of each split, in the folder named like the task."""
    hub_config: str
    hub_splits: Mapping[str, str]
    submissions: Mapping[str, str]
    """The file name GLUE's server wants for each test split."""
    submits_words: bool = False
    """Whether the server wants label names (MNLI, QNLI, RTE) rather than ids."""

    @property
    def test_layout(self) -> TsvLayout:
        """How the test file is written: a header line, no labels."""
        return TsvLayout(
            text_columns=self.test_text_columns or self.layout.text_columns,
            label_column=self.layout.label_column,
            labels=self.layout.labels,
        )


def _task(
    name: str,
    labels: tuple[str, ...],
    *,
    text_columns: tuple[str, ...] = ("sentence1", "sentence2"),
    metrics: tuple[str, ...] = ("accuracy",),
    dev_splits: tuple[str, ...] = ("dev",),
    intermediate_epochs: int = 20,
    reference: str,
) -> Task:
    """A GLUE task; lengths and epochs are those of the TinyBERT paper and its code (arXiv:1909.10351)."""
    return Task(
        name=name,
        suite="glue",
        text_columns=text_columns,
        labels=labels,
        metrics=metrics,
        dev_splits=dev_splits,
        reference=reference,
        max_length=128 if len(text_columns) == 2 else 64,
        training={
            "finetune.epochs": 3,
            "distill.intermediate_epochs": intermediate_epochs,
            "distill.prediction_epochs": 3,
        },
    )


def _source(name: str, layout: TsvLayout, *, hub_config: str, **other: object) -> GlueSource:
    """A source with the usual files and splits; MNLI gives its own."""
    usual: dict[str, object] = {
        "files": MappingProxyType({"train": "train.tsv", "dev": "dev.tsv", "test": "test.tsv"}),
        "hub_splits": MappingProxyType({"train": "train", "dev": "validation", "test": "test"}),
        "submissions": MappingProxyType({"test": f"{name}.tsv"}),
    }
    return GlueSource(layout=layout, hub_config=hub_config, **(usual | other))  # type: ignore[arg-type]


def _pairs(
    label_column: str, labels: tuple[str, ...], *, texts: tuple[str, str] = ("sentence1", "sentence2")
) -> TsvLayout:
    return TsvLayout(text_columns=texts, label_column=label_column, labels=labels)


_ENTAILMENT = ("entailment", "not_entailment")
_MNLI = ("entailment", "neutral", "contradiction")

_TASKS = (
    _task(
        "CoLA",
        ("unacceptable", "acceptable"),
        text_columns=("sentence",),
        metrics=("matthews_correlation",),
        intermediate_epochs=50,
        reference="https://aclanthology.org/Q19-1040/",
    ),
    _task(
        "SST-2",
        ("negative", "positive"),
        text_columns=("sentence",),
        reference="https://aclanthology.org/D13-1170/",
    ),
    _task(
        "MRPC",
        ("not_equivalent", "equivalent"),
        metrics=_ACCURACY_F1,
        reference="https://aclanthology.org/I05-5002/",
    ),
    _task("STS-B", (), metrics=("spearmanr", "pearson"), reference="https://aclanthology.org/S17-2001/"),
    _task(
        "QQP",
        ("not_duplicate", "duplicate"),
        text_columns=("question1", "question2"),
        metrics=_ACCURACY_F1,
        reference="https://quoradata.quora.com/First-Quora-Dataset-Release-Question-Pairs",
    ),
    _task(
        "MNLI",
        _MNLI,
        text_columns=("premise", "hypothesis"),
        dev_splits=("dev_matched", "dev_mismatched"),
        reference="https://aclanthology.org/N18-1101/",
    ),
    _task("QNLI", _ENTAILMENT, text_columns=("question", "sentence"), reference="https://aclanthology.org/D16-1264/"),
    _task("RTE", _ENTAILMENT, reference="https://aclanthology.org/W07-1401/"),
    _task(
        "WNLI",
        ("not_entailment", "entailment"),
        reference="https://cdn.aaai.org/ocs/4492/4492-21843-1-PB.pdf",
    ),
)

GLUE_TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in _TASKS})
"""In the order of GLUE's folders as people list them; keys are those folders' names."""

GLUE_SOURCES: Mapping[str, GlueSource] = MappingProxyType(
    {
        "CoLA": _source(
            "CoLA",
            TsvLayout(
                text_columns=("sentence",),
                label_column="label",
                labels=_ZERO_ONE,
                columns=("source", "label", "star", "sentence"),
            ),
            hub_config="cola",
        ),
        "SST-2": _source(
            "SST-2",
            TsvLayout(text_columns=("sentence",), label_column="label", labels=_ZERO_ONE),
            hub_config="sst2",
        ),
        "MRPC": _source("MRPC", _pairs("Quality", _ZERO_ONE, texts=("#1 String", "#2 String")), hub_config="mrpc"),
        "STS-B": _source(
            "STS-B",
            TsvLayout(text_columns=("sentence1", "sentence2"), label_column="score", labels=(), score_range=(0.0, 5.0)),
            hub_config="stsb",
        ),
        "QQP": _source(
            "QQP",
            TsvLayout(
                text_columns=("question1", "question2"),
                label_column="is_duplicate",
                labels=_ZERO_ONE,
                has_broken_rows=True,
            ),
            hub_config="qqp",
        ),
        "MNLI": _source(
            "MNLI",
            # train has one annotator's label, dev five: gold_label stands elsewhere, so the header decides.
            _pairs("gold_label", _MNLI),
            hub_config="mnli",
            files=MappingProxyType(
                {
                    "train": "train.tsv",
                    "dev_matched": "dev_matched.tsv",
                    "dev_mismatched": "dev_mismatched.tsv",
                    "test": "test_matched.tsv",
                    "test_mismatched": "test_mismatched.tsv",
                }
            ),
            hub_splits=MappingProxyType(
                {
                    "train": "train",
                    "dev_matched": "validation_matched",
                    "dev_mismatched": "validation_mismatched",
                    "test": "test_matched",
                    "test_mismatched": "test_mismatched",
                }
            ),
            submissions=MappingProxyType({"test": "MNLI-m.tsv", "test_mismatched": "MNLI-mm.tsv"}),
            submits_words=True,
        ),
        "QNLI": _source(
            "QNLI", _pairs("label", _ENTAILMENT, texts=("question", "sentence")), hub_config="qnli", submits_words=True
        ),
        "RTE": _source("RTE", _pairs("label", _ENTAILMENT), hub_config="rte", submits_words=True),
        "WNLI": _source("WNLI", _pairs("label", _ZERO_ONE), hub_config="wnli"),
    }
)
"""Where each task's rows stand, by task name."""
