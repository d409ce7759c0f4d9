"""What training shows on its way: thinned, kept beside the model, and without any say in what the model becomes."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.store import ArtifactStore
from compressbench.errors import BadInput
from compressbench.methods.distill import Distill
from compressbench.methods.finetune import Finetune
from compressbench.methods.method import Context, Method
from compressbench.models.loading import load_classifier
from compressbench.pipeline import curve_records
from compressbench.prediction import encode_rows
from compressbench.progress import Quiet
from compressbench.records.curves import CURVES_NAME, POINTS, Curves, StageCurve, read_curves
from compressbench.tasks.data import TaskData
from compressbench.tasks.task import Rows, Task
from compressbench.workshop import Workshop
from tests.conftest import draw_tiny_rows

FINETUNE = Finetune(epochs=2, batch_size=40, learning_rate=3e-3, precision="fp32", train_rows="all")
DISTILL = Distill(
    student="1x16x2x32", batch_size=40, precision="fp32", intermediate_epochs=2, prediction_epochs=3,
    learning_rate=1e-3, prediction_learning_rate=1e-2, train_rows="all", attention_weight=2.0,
)  # fmt: skip


@pytest.fixture
def unseen_rows() -> Rows:
    """Rows with pieces that no training row holds."""
    rows = draw_tiny_rows(count=40, seed=5)
    return Rows(first=[f"spare3 {text} spare7" for text in rows.first], second=None, labels=rows.labels)


def trained(method: Method, folder: Path, context: Context, as_artifact: Callable[..., Artifact]) -> Curves:
    method.resolved(task=context.task).compress(as_artifact(folder), context)
    return context.curves


@given(total=st.integers(1, 3000), seed=st.integers(0, 99))
def test_points_are_few_and_means_of_the_steps_between(total: int, seed: int) -> None:
    values = np.random.default_rng(seed).uniform(0.1, 9, total)
    curve = StageCurve(stage="fit", total_steps=total)
    for step, value in enumerate(values, start=1):
        curve.add(step, {"loss": value}, learning_rate=step / total)
    assert len(curve.steps) <= POINTS
    assert curve.steps[-1] == total
    assert curve.learning_rates == pytest.approx([step / total for step in curve.steps], rel=1e-4)
    parts = np.split(values, curve.steps[:-1])
    assert curve.terms["loss"] == pytest.approx([part.mean() for part in parts], rel=1e-4)
    assert curve.waiting == {}


def test_every_loss_term_is_told_by_step(
    tiny_classifier: Path, tiny_context: Context, as_artifact: Callable[..., Artifact]
) -> None:
    stages = trained(DISTILL, tiny_classifier, tiny_context, as_artifact).stages
    layers, answers = stages["distill tiny, intermediate"], stages["distill tiny, prediction"]
    assert layers.steps == [*range(1, 7)]
    assert set(layers.terms) == {"embedding", "hidden", "attention"}
    assert set(answers.terms) == {"soft labels"}
    assert answers.learning_rates == pytest.approx([1e-2 * (9 - step) / 8 if step else 1e-2 for step in range(9)])
    assert (layers.scores, answers.scores) == ({}, {})  # nothing to watch


def test_a_term_counts_with_its_weight(
    tiny_classifier: Path, tiny_context: Context, as_artifact: Callable[..., Artifact]
) -> None:
    """At the first step both students are the same; the weight of the attention loss is not."""
    first = {}
    for weight in (1.0, 2.0):
        context = dataclasses.replace(tiny_context, curves=Curves())
        method = dataclasses.replace(DISTILL, attention_weight=weight)
        terms = trained(method, tiny_classifier, context, as_artifact).stages["distill tiny, intermediate"].terms
        first[weight] = {name: values[0] for name, values in terms.items()}
    assert first[2.0]["attention"] == pytest.approx(2 * first[1.0]["attention"], rel=1e-4)
    assert first[2.0]["hidden"] == first[1.0]["hidden"]


def test_dev_scores_are_those_of_the_model_and_change_nothing(
    tiny_classifier: Path, tiny_context: Context, as_artifact: Callable[..., Artifact], unseen_rows: Rows,
    tmp_path: Path,
) -> None:  # fmt: skip
    curves = trained(DISTILL, tiny_classifier, dataclasses.replace(tiny_context, watch=unseen_rows), as_artifact)
    curve = curves.stages["distill tiny, prediction"]
    assert curve.score_steps == [3, 6, 9]
    assert len(curve.scores["accuracy"]) == 3
    assert curves.dev_fingerprint == unseen_rows.fingerprint
    model = load_classifier(tiny_context.to)
    encoded = encode_rows(unseen_rows, tokenizer_path=tiny_context.to / "tokenizer.json", max_length=32)
    inputs = {name: torch.from_numpy(array) for name, array in encoded.batch(np.arange(40)).items()}
    with torch.inference_mode():
        answers = model(**inputs).logits.argmax(dim=1).numpy()
    assert curve.scores["accuracy"][-1] == pytest.approx((answers == unseen_rows.labels).mean())
    unwatched = dataclasses.replace(tiny_context, to=tmp_path / "unwatched", curves=Curves())
    trained(DISTILL, tiny_classifier, unwatched, as_artifact)
    with_scores, without = (load_file(each.to / "model.safetensors") for each in (tiny_context, unwatched))
    assert all(torch.equal(with_scores[name], without[name]) for name in without)


def test_where_scoring_would_cost_too_much_no_scores_are_drawn(
    tiny_classifier: Path, tiny_context: Context, as_artifact: Callable[..., Artifact], tiny_rows: Rows
) -> None:
    """A third of the work of a training step a row: 2 rows beside 96 are 0.7 % of an epoch, 3 are more than 1 %."""
    for count, epochs_scored in ((2, 2), (3, 0)):
        context = dataclasses.replace(tiny_context, watch=tiny_rows.take(range(count)), curves=Curves())
        curve = trained(FINETUNE, tiny_classifier, context, as_artifact).stages["fine-tune tiny"]
        assert len(curve.score_steps) == epochs_scored


def test_rows_without_labels_are_not_watched(
    tiny_classifier: Path, tiny_context: Context, as_artifact: Callable[..., Artifact], tiny_rows: Rows
) -> None:
    context = dataclasses.replace(tiny_context, watch=Rows(first=tiny_rows.first[:2], second=None, labels=None))
    assert trained(FINETUNE, tiny_classifier, context, as_artifact).stages["fine-tune tiny"].scores == {}


def test_a_model_whose_answers_are_no_numbers_has_no_point(
    tiny_classifier: Path, tiny_context: Context, as_artifact: Callable[..., Artifact], tiny_rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("compressbench.methods.dev_scores.predict", lambda *given, **options: np.full((2, 2), np.nan))
    context = dataclasses.replace(tiny_context, watch=tiny_rows.take([0, 1]))
    assert trained(FINETUNE, tiny_classifier, context, as_artifact).stages["fine-tune tiny"].scores == {}


def test_the_workshop_keeps_curves_beside_the_model_and_dev_rows_out_of_the_key(
    tiny_classifier: Path, as_artifact: Callable[..., Artifact], tiny_task: Task, tiny_rows: Rows, tmp_path: Path
) -> None:
    source = as_artifact(tiny_classifier)

    def make(root: str, dev: Rows) -> tuple[Artifact, Workshop]:
        workshop = Workshop(store=ArtifactStore(root=tmp_path / root), threads=1, device="cpu", progress=Quiet())
        data = TaskData(tiny_task, {"train": tiny_rows, "dev": dev}.__getitem__, ("train", "dev"), "memory")
        return workshop.chain((DISTILL,), data, source=source, teacher=source, seed=1), workshop

    dev, other = draw_tiny_rows(count=30, seed=7), draw_tiny_rows(count=30, seed=8)
    first, workshop = make("one", dev)
    second, _ = make("two", other)
    assert first.key == second.key
    assert first.manifest.files["model.safetensors"] == second.manifest.files["model.safetensors"]
    assert CURVES_NAME in first.manifest.files
    assert read_curves(first.path).dev_fingerprint == dev.fingerprint != read_curves(second.path).dev_fingerprint
    assert [each.key for each in workshop.lineage(first)] == [first.key]  # its source is of no store
    layers, answers = curve_records(first, dev_fingerprint=dev.fingerprint)
    assert (layers.stage, answers.stage) == ("distill tiny, intermediate", "distill tiny, prediction")
    assert answers.score_steps == [3, 6, 9]
    _, unscored = curve_records(first, dev_fingerprint=other.fingerprint)
    assert (unscored.score_steps, unscored.scores) == ([], {})
    assert unscored.terms == answers.terms


def test_curves_come_back_as_they_were_written(tmp_path: Path) -> None:
    curves = Curves(dev_fingerprint="rows")
    curves.write(tmp_path)
    assert not (tmp_path / CURVES_NAME).exists()
    assert read_curves(tmp_path) == Curves()
    curve = curves.stage("fit", total_steps=3)
    curve.add(1, {"loss": 0.25}, learning_rate=1e-5)
    curve.add_scores(1, {"accuracy": 0.5})
    curves.write(tmp_path)
    assert read_curves(tmp_path) == curves


def test_scores_of_other_dev_rows_are_dropped_on_the_way() -> None:
    curves = Curves(dev_fingerprint="rows")
    curves.stage("fit", total_steps=3).add_scores(1, {"accuracy": 0.5})
    other = Curves(dev_fingerprint="other rows")
    other.restore(curves.to_json())
    assert other.stages["fit"].scores == {}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"dev_fingerprint": "", "stages": [{"mood": 1}]}', "[1"])
def test_a_file_that_holds_no_curves_is_told(tmp_path: Path, text: Any) -> None:
    (tmp_path / CURVES_NAME).write_text(text)
    with pytest.raises(BadInput, match=r"curves\.json is no file of curves \(.*\): delete it, they are only drawn"):
        read_curves(tmp_path)


def test_the_file_is_small(tmp_path: Path) -> None:
    curves = Curves()
    curve = curves.stage("distill", total_steps=40_000)
    for step in range(1, 40_001):
        curve.add(step, {"embedding": 1 / step, "hidden": 2 / step, "attention": 3 / step}, learning_rate=1e-5)
    curves.write(tmp_path)
    assert (tmp_path / CURVES_NAME).stat().st_size < 40_000
    assert json.loads((tmp_path / CURVES_NAME).read_text())["format_version"] == 1
