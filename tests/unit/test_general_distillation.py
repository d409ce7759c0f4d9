"""General distillation: packed text in, an ordinary encoder out, found again by every task that begins from it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, BertConfig, BertForSequenceClassification, RobertaConfig, RobertaModel

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.store import ArtifactStore
from compressbench.corpus.row_file import PackedRows
from compressbench.errors import BadInput, InvalidParameter
from compressbench.methods.checkpoint import Checkpoint
from compressbench.methods.distill import outputs_room
from compressbench.methods.distill.general import GeneralDistill
from compressbench.methods.distill.general_stage import load_bert_encoder, start_from_general
from compressbench.methods.distill.general_start import GENERAL, check_general_vocabulary
from compressbench.methods.distill.method import Distill
from compressbench.methods.distill.packed_corpus import PackedCorpus
from compressbench.methods.distill.student import Projections
from compressbench.methods.method import AUTO, Context
from compressbench.models.geometry import Geometry
from compressbench.models.vocabulary import vocabulary_of
from compressbench.plan_parts import check_chain
from compressbench.progress import Quiet
from compressbench.tasks.data import TaskData
from compressbench.tasks.task import Task
from compressbench.teacher import TeacherSource
from compressbench.workshop import Workshop
from tests.conftest import TINY, draw_tiny_rows
from tests.interrupting import Interrupting

SMALL: dict[str, Any] = {
    "student": "1x16x2x32", "intermediate_epochs": 1, "prediction_epochs": 1, "precision": "fp32",
    "general_length": 12, "general_epochs": 2, "batch_size": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few documents of the tiny language."""
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    texts = list(draw_tiny_rows(count=120, seed=5).first)
    path.write_text("\n".join(f"{text}\n" if number % 7 == 0 else text for number, text in enumerate(texts)))
    return path


def general(corpus: Path, **changed: Any) -> GeneralDistill:
    (made,) = Distill(**{**SMALL, "corpus": str(corpus), **changed}).ingredients().values()
    assert isinstance(made, GeneralDistill)
    return made


@pytest.fixture
def make_general(
    tiny_encoder: Path, tiny_context: Context, as_artifact: Callable[..., Artifact], tmp_path: Path
) -> Callable[..., Path]:
    """Makes a general student in a folder of that name; the packed corpus is made beside it."""

    def make(method: GeneralDistill, name: str = "student") -> Path:
        folders = {each: tmp_path / f"{name}-{each}" for each in ("rows", "model")}
        for folder in folders.values():
            folder.mkdir()
        source = as_artifact(tiny_encoder)
        packed = method.ingredients()["rows"]
        packed.compress(source, replace(tiny_context, to=folders["rows"]))
        context = replace(tiny_context, to=folders["model"], ingredients={"rows": as_artifact(folders["rows"])})
        made = method.resolved(task=tiny_context.task).compress(source, context)
        assert made.geometry == method.check(TINY)
        return folders["model"]

    return make


def test_what_comes_out_is_an_ordinary_encoder(corpus: Path, make_general: Callable[..., Path]) -> None:
    folder = make_general(general(corpus))
    model = AutoModel.from_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["BertModel"]
    assert (folder / "tokenizer.json").exists()
    states = model(input_ids=torch.tensor([[2, 6, 7, 3]])).last_hidden_state
    assert states.shape == (1, 4, 16)
    assert torch.isfinite(states).all()


def test_training_brings_the_student_closer_and_repeats_with_its_seed(
    corpus: Path, make_general: Callable[..., Path], tiny_context: Context
) -> None:
    method = general(corpus, general_epochs=12, general_learning_rate=5e-3)
    once, again = make_general(method, "once"), make_general(method, "again")
    assert (once / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    other = make_general(general(corpus, general_epochs=12, general_learning_rate=5e-3, general_seed=7), "other")
    assert (once / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()
    (curve,) = tiny_context.curves.stages.values()
    assert curve.stage == "general distillation"
    for name in ("embedding", "attention", "hidden"):
        assert curve.terms[name][-1] < curve.terms[name][0], name


@pytest.mark.parametrize("after", [3, 9, 20])
def test_an_interrupted_one_ends_as_one_in_one_go(
    after: int, corpus: Path, make_general: Callable[..., Path], tiny_context: Context,
    as_artifact: Callable[..., Artifact], tiny_encoder: Path, tmp_path: Path,
) -> None:  # fmt: skip
    method = general(corpus)
    whole = make_general(method)
    rows = as_artifact(tmp_path / "student-rows")
    to = tmp_path / "interrupted"
    to.mkdir()
    context = replace(
        tiny_context, to=to, ingredients={"rows": rows}, checkpoint=Checkpoint(path=tmp_path / "state.safetensors")
    )
    resolved = method.resolved(task=tiny_context.task)
    stopped, goes_on = Interrupting("general distillation", after), Interrupting()
    with pytest.raises(KeyboardInterrupt):
        resolved.compress(as_artifact(tiny_encoder), replace(context, progress=stopped))
    resolved.compress(as_artifact(tiny_encoder), replace(context, progress=goes_on))
    assert goes_on.began["general distillation"] == after
    assert (to / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_packed_rows_are_the_corpus_in_order(corpus: Path, make_general: Callable[..., Path], tmp_path: Path) -> None:
    make_general(general(corpus))
    packed = PackedRows.open(tmp_path / "student-rows" / "rows.safetensors")
    inner = packed.batch(np.arange(len(packed)))
    tokens = inner["input_ids"][inner["attention_mask"] == 1]
    vocabulary = vocabulary_of(tmp_path / "student-model")
    expected = [vocabulary[word] for word in corpus.read_text().split()]
    assert [token for token in tokens.tolist() if token > 4] == expected


def test_fewer_rows_read_no_more_of_the_corpus(
    corpus: Path, tiny_encoder: Path, tiny_context: Context, as_artifact: Callable[..., Artifact]
) -> None:
    made = PackedCorpus(corpus=str(corpus), length=12, rows=3).compress(as_artifact(tiny_encoder), tiny_context)
    assert made.budget == {"rows": 3, "tokens": 36}
    assert made.geometry is None


def test_a_corpus_in_another_language_is_warned_of(
    tiny_encoder: Path, tiny_context: Context, as_artifact: Callable[..., Artifact], tmp_path: Path
) -> None:
    path = tmp_path / "foreign.txt"
    path.write_text("ein ganz anderer satz is fine\n" * 4)
    made = PackedCorpus(corpus=str(path), length=12, rows="all").compress(as_artifact(tiny_encoder), tiny_context)
    (warning,) = made.warnings
    assert "the teacher's vocabulary does not know 5" in warning


def test_projections_travel_with_the_general_student(
    corpus: Path, make_general: Callable[..., Path], tiny_classifier: Path
) -> None:
    folder = make_general(general(corpus))
    teacher = BertForSequenceClassification.from_pretrained(tiny_classifier).eval()
    config = BertConfig.from_pretrained(folder, num_labels=2)
    student, projections = BertForSequenceClassification(config), Projections(16, 32)
    start_from_general(student, teacher, projections, folder)
    encoder = load_bert_encoder(folder)
    for name, weight in encoder.state_dict().items():
        assert torch.equal(student.bert.state_dict()[name], weight), name
    kept = projections.hidden.detach().clone()
    shutil.rmtree(folder / "projections")  # as a student from elsewhere comes
    start_from_general(student, teacher, projections, folder)
    assert not torch.equal(projections.hidden, kept)
    ids = torch.arange(TINY.vocab)[None]
    ours, theirs = student.bert.embeddings.eval()(ids), teacher.bert.embeddings(ids)
    error = (ours @ projections.embedding - theirs).square().mean()
    assert error < 0.9 * theirs.square().mean()


class TestFoundAgain:
    """The general student is one artifact, whatever task begins from it."""

    @pytest.fixture
    def distilled(
        self, tmp_path: Path, corpus: Path, tiny_encoder: Path, tiny_classifier: Path, as_artifact: Any
    ) -> Callable[..., Artifact]:
        workshop = Workshop(store=ArtifactStore(root=tmp_path / "store"), threads=1, device="cpu", progress=Quiet())
        pretrained = TeacherSource(name="tiny", kind="pretrained", geometry=TINY, path=tiny_encoder, fingerprint="tiny")

        def distil(task: str, *, seed: int = 1, count: int = 24, **changed: Any) -> Artifact:
            rows = draw_tiny_rows(count=count, seed=seed)
            value = Task(
                name=task, suite="own", text_columns=("text",), labels=("bad", "good"), metrics=("accuracy",),
                max_length=32,
            )  # fmt: skip
            method = Distill(**{**SMALL, "corpus": str(corpus), **changed})
            check_chain((method,), TINY, teacher=pretrained, offline=True)
            teacher = as_artifact(tiny_classifier)
            data = TaskData(value, lambda split: rows, ("train", "dev"), "here")
            return workshop.chain((method,), data, source=teacher, teacher=teacher, seed=seed, pretrained=pretrained)

        return distil

    def test_by_every_task_and_seed(self, distilled: Callable[..., Artifact], tmp_path: Path) -> None:
        first, second = distilled("one"), distilled("two", seed=2, count=32)
        assert first.key != second.key
        assert first.manifest.inputs[GENERAL] == second.manifest.inputs[GENERAL]
        methods = [each.manifest.method for each in ArtifactStore(root=tmp_path / "store").all()]
        assert sorted(methods) == ["distill", "distill", "general-distill", "import", "packed-corpus"]
        made = ArtifactStore(root=tmp_path / "store").find(first.manifest.inputs[GENERAL])
        assert made is not None
        assert made.manifest.geometry == asdict(
            Geometry(layers=1, hidden=16, heads=2, intermediate=32, vocab=40, positions=64)
        )
        assert made.manifest.parameters["corpus"].startswith("sha256:")
        assert made.manifest.task == ""
        assert "import AutoModel," in (made.path / "README.md").read_text()

    def test_what_it_was_made_from_counts(self, distilled: Callable[..., Artifact]) -> None:
        first = distilled("one").manifest.inputs[GENERAL]
        assert distilled("one", temperature=2.0).manifest.inputs[GENERAL] == first
        assert distilled("one", general_epochs=1).manifest.inputs[GENERAL] != first
        assert distilled("one", general_rows=5).manifest.inputs[GENERAL] != first

    def test_a_ready_one_takes_its_place(self, distilled: Callable[..., Artifact], tmp_path: Path) -> None:
        made = ArtifactStore(root=tmp_path / "store").find(distilled("one").manifest.inputs[GENERAL])
        assert made is not None
        ready = distilled("one", corpus="", general_student=str(made.path))
        assert GENERAL not in ready.manifest.inputs
        assert str(tmp_path) not in ready.manifest.parameters["general_student"]
        assert (ready.path / "model.safetensors").read_bytes() == (
            distilled("one").path / "model.safetensors"
        ).read_bytes()
        elsewhere = tmp_path / "elsewhere"
        shutil.copytree(made.path, elsewhere)
        assert distilled("one", corpus="", general_student=str(elsewhere)).key == ready.key

    def test_it_is_another_beginning_than_without(self, distilled: Callable[..., Artifact]) -> None:
        weights = {
            (distilled("one", **changed).path / "model.safetensors").read_bytes()
            for changed in ({}, {"init": "principal"}, {"init": "random"})
        }
        assert len(weights) == 3


class TestRefusals:
    """What is wrong is told before any work."""

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"init": "general"}, "init=general needs a text to learn from, corpus=FILE"),
            ({"corpus": "a.txt", "general_student": "b"}, "general_student=b is one: give one of them"),
            ({"corpus": "a.txt", "general_rows": 0}, "general_rows=0 is too few"),
            ({"corpus": "a.txt", "general_epochs": 0}, "general_epochs=0 is too few"),
            ({"corpus": "a.txt", "general_learning_rate": 0.0}, "general_learning_rate=0.0 is not above zero"),
            ({"corpus": "a.txt", "general_length": 7}, "general_length=7 is too short: use 8 tokens or more"),
            ({"corpus": "a.txt", "general_seed": -1}, "general_seed=-1 is below 0"),
            ({"corpus": "a.txt", "general_init": "zeros"}, "general_init=zeros is unknown"),
            (
                {"corpus": "a.txt", "intermediate_epochs": 0, "embedding_weight": 0.0, "attention_weight": 0.0,
                 "hidden_weight": 0.0},
                "init=general learns layers",
            ),
        ],
    )  # fmt: skip
    def test_parameters(self, parameters: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidParameter, match=message):
            Distill(**parameters)

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"general_length": 65}, "general_length=65 is longer than the 64 positions of the teacher"),
            ({"student": "1x16x4x32"}, "general distillation cannot pair them: use a student of 2 heads"),
            ({"student": "1x16x2x32", "general_init": "layers"}, "use student=1x32x2x64, or general_init=principal"),
        ],
    )
    def test_geometries(self, parameters: dict[str, Any], message: str, corpus: Path) -> None:
        teacher = TeacherSource(name="tiny", kind="pretrained", geometry=TINY)
        method = Distill(**{**SMALL, "corpus": str(corpus), **parameters})
        with pytest.raises(InvalidParameter, match=message):
            check_chain((method,), TINY, teacher=teacher, offline=True)

    def test_a_fine_tuned_teacher(self, corpus: Path) -> None:
        teacher = TeacherSource(name="mine", kind="fine-tuned", geometry=TINY)
        with pytest.raises(
            BadInput, match="distill: general-distill starts from the teacher before fine-tuning, and mine"
        ):
            check_chain((Distill(**SMALL, corpus=str(corpus)),), TINY, teacher=teacher, offline=True)

    def test_a_general_student_of_other_sizes(self, tiny_encoder: Path) -> None:
        method = Distill(student="1x16x2x32", general_student=str(tiny_encoder))
        with pytest.raises(InvalidParameter, match="is a 2x32x2x64 and the student asked for a 1x16x2x32"):
            method.check(TINY)
        method = Distill(student="2x32x2x64", general_student=str(tiny_encoder))
        assert method.check(TINY) == TINY
        with pytest.raises(InvalidParameter, match="has a vocabulary of 40 pieces and the teacher one of 50"):
            method.check(replace(TINY, vocab=50))
        with pytest.raises(InvalidParameter, match="with 64 positions and the student asked for a 2x32x2x64 with 70"):
            method.check(replace(TINY, positions=70))

    def test_a_general_student_that_is_no_bert_or_nowhere(self, tmp_path: Path, tiny_tokenizer_folder: Path) -> None:
        with pytest.raises(BadInput, match="general_student=absent: there is no such folder"):
            Distill(student="1x16x2x32", general_student="absent").check(TINY)
        config = RobertaConfig(
            vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=64,
        )  # fmt: skip
        RobertaModel(config).save_pretrained(tmp_path)
        shutil.copy(tiny_tokenizer_folder / "tokenizer.json", tmp_path)
        with pytest.raises(BadInput, match="is of type roberta: give a BERT encoder"):
            Distill(student="1x16x2x32", general_student=str(tmp_path)).check(TINY)
        with pytest.raises(BadInput, match="general distillation takes a model of type bert"):
            load_bert_encoder(tmp_path)

    def test_a_general_student_that_numbers_pieces_otherwise(self, tiny_encoder: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        shutil.copytree(tiny_encoder, other)
        check_general_vocabulary(other, tiny_encoder)
        (other / "tokenizer.json").write_text(
            (other / "tokenizer.json").read_text().replace('"film"', '"swap"').replace('"story"', '"film"')
        )
        with pytest.raises(
            BadInput, match=r"has another vocabulary than the teacher in .* \(3 pieces differ, such as 'film'"
        ):
            Distill(general_student=str(other)).check_against(tiny_encoder)
        (other / "tokenizer.json").unlink()
        (other / "vocab.txt").write_text("[PAD]\nmore\n")
        assert vocabulary_of(other) == {"[PAD]": 0, "more": 1}

    def test_a_corpus_without_room_for_its_tokens(self, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10}))
        packed = PackedCorpus(corpus=str(corpus), length=12, rows="all")
        with pytest.raises(BadInput, match="lower general_rows, or set COMPRESSBENCH_HOME to a larger disk"):
            packed.check_files(offline=True)

    def test_a_corpus_that_turns_out_blank(
        self, tmp_path: Path, tiny_encoder: Path, tiny_context: Context, as_artifact: Callable[..., Artifact]
    ) -> None:
        path = tmp_path / "blank.txt"
        path.write_text("\n" * 200)
        with pytest.raises(BadInput, match="holds no text"):
            PackedCorpus(corpus=str(path), length=12, rows="all").compress(as_artifact(tiny_encoder), tiny_context)

    def test_a_cache_larger_than_the_free_disk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(outputs_room, "fits_in_memory", lambda size: size < 10)
        monkeypatch.setattr(outputs_room, "cache_folder", lambda: (Path("/disk"), 2 * 1024**3))
        Distill(cache_gib=2.0).check_files(offline=True)
        Distill(cache_gib=0.0).check_files(offline=True)
        with pytest.raises(InvalidParameter, match=r"cache_gib=2\.5 is 2560.00 MiB, and /disk has 2048.00 MiB free"):
            Distill(cache_gib=2.5).check_files(offline=True)


def test_auto_begins_with_the_general_student_where_one_is_named() -> None:
    assert Distill().beginning == "principal"
    assert Distill(corpus="a.txt").beginning == GENERAL
    assert Distill(corpus="a.txt", init="random").beginning == "random"
    assert Distill(corpus="a.txt", init="random").ingredients() == {}
    assert Distill(corpus="a.txt", init="random").fingerprints() == {"corpus": ""}


def test_nothing_is_left_to_the_machine(corpus: Path, tiny_task: Task) -> None:
    resolved = general(corpus, precision="auto").resolved(task=tiny_task)
    assert AUTO not in asdict(resolved).values()
