"""Tiny but real models, tokenizers and rows, made once a session; nothing here is fetched."""

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.manifest import Manifest
from compressbench.methods.method import Context
from compressbench.models.geometry import Geometry
from compressbench.tasks.task import Rows, Task

TINY = Geometry(layers=2, hidden=32, heads=2, intermediate=64, vocab=40, positions=64)
GOOD_WORDS = ("fine", "great", "lovely", "brave")
BAD_WORDS = ("dull", "grim", "weak", "sour")
FILLERS = ("a", "the", "film", "story", "is", "was", "very", "not", "and", "it")
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's caches."""
    monkeypatch.setenv("COMPRESSBENCH_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session")
def tiny_task() -> Task:
    """Two classes, single texts, learnable from one word."""
    return Task(
        name="tiny", suite="own", text_columns=("text",), labels=("bad", "good"), metrics=("accuracy",), max_length=32
    )


@pytest.fixture(scope="session")
def tiny_rows() -> Rows:
    """96 rows of `tiny_task`: the last word decides the label."""
    return draw_tiny_rows(count=96, seed=0)


def draw_tiny_rows(*, count: int, seed: int) -> Rows:
    """Rows of 3 to 9 words."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, size=count)
    texts = [
        " ".join([*rng.choice(FILLERS, size=rng.integers(2, 9)), rng.choice((BAD_WORDS, GOOD_WORDS)[label])])
        for label in labels
    ]
    return Rows(first=texts, second=None, labels=labels.astype(np.int64))


@pytest.fixture(scope="session")
def tiny_tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A word tokenizer of BERT's kind: tokenizer.json, vocab.txt and tokenizer_config.json."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tokenizer")
    words = [*SPECIAL_TOKENS, *FILLERS, *GOOD_WORDS, *BAD_WORDS]
    words += [f"spare{index}" for index in range(TINY.vocab - len(words))]
    tokenizer = Tokenizer(models.WordPiece(vocab={word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=TINY.positions,
    ).save_pretrained(folder)  # fmt: skip
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer_folder: Path) -> Path:
    """A folder with a random 2x32x2x64 BERT encoder (no head) and its tokenizer; treat it as read-only."""
    import torch
    from transformers import BertConfig, BertModel

    from compressbench.models.loading import quiet_transformers, save_tokenizer

    folder = tmp_path_factory.mktemp("encoder")
    config = BertConfig(
        vocab_size=TINY.vocab, hidden_size=TINY.hidden, num_hidden_layers=TINY.layers,
        num_attention_heads=TINY.heads, intermediate_size=TINY.intermediate, max_position_embeddings=TINY.positions,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    save_tokenizer(tiny_tokenizer_folder, to=folder)
    return folder


@pytest.fixture(scope="session")
def tiny_classifier(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, tiny_task: Task) -> Path:
    """A folder with an untrained classifier for `tiny_task`; treat it as read-only."""
    from compressbench.models.loading import new_classifier, save_classifier

    folder = tmp_path_factory.mktemp("classifier")
    save_classifier(new_classifier(tiny_encoder, tiny_task, seed=0), tokenizer_from=tiny_encoder, to=folder)
    return folder


@pytest.fixture(scope="session")
def tiny_teacher(
    tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, tiny_task: Task, as_artifact: Callable[..., Artifact]
) -> Path:
    """A classifier that knows `tiny_task` well; treat it as read-only."""
    from compressbench.methods.finetune import Finetune

    folder = tmp_path_factory.mktemp("teacher")
    context = Context(task=tiny_task, train=draw_tiny_rows(count=256, seed=3), to=folder, threads=1)
    Finetune(epochs=12, learning_rate=3e-3, precision="fp32").compress(as_artifact(tiny_encoder), context)
    return folder


@pytest.fixture(scope="session")
def tiny_onnx_teacher(tmp_path_factory: pytest.TempPathFactory, tiny_teacher: Path) -> Path:
    """The fp32 ONNX export of `tiny_teacher`, a folder; treat it as read-only."""
    from compressbench.models.onnx_export import export_classifier

    folder = tmp_path_factory.mktemp("onnx-teacher")
    export_classifier(tiny_teacher, to=folder)
    return folder


@pytest.fixture(scope="session")
def as_artifact(tiny_task: Task) -> Callable[..., Artifact]:
    """Opens a folder as an artifact that has no manifest file: ``as_artifact(folder, format="torch")``."""

    def opened(folder: Path, *, format: str = "torch", geometry: Geometry = TINY) -> Artifact:  # noqa: A002
        manifest = Manifest(
            key=f"test-{folder.name}", format=format, task=tiny_task.name, chain="", method="test", revision=1,
            parameters={}, seed=None, labels=tiny_task.labels, geometry=asdict(geometry),
        )  # fmt: skip
        return Artifact(path=folder, manifest=manifest)

    return opened


@pytest.fixture
def tiny_context(tmp_path: Path, tiny_task: Task, tiny_rows: Rows) -> Context:
    """Where a method may work: the tiny task, one thread, an empty folder."""
    to = tmp_path / "made"
    to.mkdir()
    return Context(task=tiny_task, train=tiny_rows, to=to, seed=1, threads=1)


@pytest.fixture(autouse=True)
def _lock_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests that run side by side do not wait for one another's campaigns; what they time is not looked at."""
    name = str(tmp_path_factory.getbasetemp() / "latency.lock")  # one per test process
    monkeypatch.setattr("compressbench.harness.machine_lock.LOCK_NAME", name)
