import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from compressbench.artifacts.artifact import Artifact
from compressbench.errors import BadInput, InvalidParameter, MethodFailed
from compressbench.methods.finetune import Finetune
from compressbench.methods.fitted import FittedMethod, sampled_rows
from compressbench.methods.iterative_pruning import linear_weights
from compressbench.methods.method import Compressed, Context
from compressbench.methods.prune import Prune
from compressbench.models.loading import load_classifier
from compressbench.prediction import encode_rows
from compressbench.tasks.task import Rows, Task

FAST = {"epochs": 8, "batch_size": 8, "learning_rate": 2e-3, "precision": "fp32"}
FineTuned = tuple[Artifact, Compressed]


@pytest.fixture(scope="module")
def fine_tuned(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_encoder: Path,
    as_artifact: Callable[..., Artifact],
    tiny_task: Task,
    tiny_rows: Rows,
):
    to = tmp_path_factory.mktemp("fine-tuned")
    made = Finetune(**FAST, train_rows="all").compress(
        as_artifact(tiny_encoder), Context(task=tiny_task, train=tiny_rows, to=to, threads=1)
    )
    return as_artifact(to), made


def accuracy(folder: Path, rows: Rows):
    model = load_classifier(folder)
    encoded = encode_rows(rows, tokenizer_path=folder / "tokenizer.json", max_length=32)
    batch = {name: torch.from_numpy(array) for name, array in encoded.batch(np.arange(len(rows))).items()}
    with torch.inference_mode():
        return float((model(**batch).logits.argmax(1).numpy() == rows.labels).mean())


def test_fine_tuning_learns_and_opens_elsewhere(fine_tuned: FineTuned, tiny_rows: Rows):
    artifact, made = fine_tuned
    assert accuracy(artifact.path, tiny_rows) > 0.95
    assert made.budget == {"epochs": 8, "steps": 96, "rows": 96}
    model = AutoModelForSequenceClassification.from_pretrained(artifact.path)
    assert model.config.id2label == {0: "bad", 1: "good"}
    assert json.loads((artifact.path / "config.json").read_text())["label2id"] == {"bad": 0, "good": 1}


def test_equal_seeds_give_equal_weights_and_others_do_not(
    tiny_encoder: Path, as_artifact: Callable[..., Artifact], tiny_context: Context, tmp_path: Path
):
    weights = []
    for place, seed in enumerate((1, 1, 2)):
        to = tmp_path / str(place)
        to.mkdir()
        context = dataclasses.replace(tiny_context, seed=seed, to=to)
        Finetune(epochs=1, learning_rate=1e-3, precision="fp32", train_rows=20).compress(
            as_artifact(tiny_encoder), context
        )
        weights.append(load_file(to / "model.safetensors"))
    first, again, other = weights
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_a_classifier_goes_on_from_where_it_is(fine_tuned: FineTuned, tiny_context: Context, tiny_rows: Rows):
    artifact, _ = fine_tuned
    Finetune(epochs=1, learning_rate=1e-9, precision="bf16", train_rows=8).compress(artifact, tiny_context)
    before, after = (load_file(path / "model.safetensors") for path in (artifact.path, tiny_context.to))
    assert torch.allclose(before["classifier.weight"], after["classifier.weight"], atol=1e-6)
    assert accuracy(tiny_context.to, tiny_rows) > 0.95


@pytest.mark.parametrize("method", [Finetune(**FAST, train_rows="all"), Prune(**FAST, structured="ffn-0.5")])
def test_training_a_pruned_model_without_masks_says_that_its_zeros_are_lost(
    method: FittedMethod,
    fine_tuned: FineTuned,
    as_artifact: Callable[..., Artifact],
    tiny_context: Context,
    tmp_path: Path,
):
    artifact, made = fine_tuned
    assert made.warnings == ()
    shutil.copytree(artifact.path, tmp_path / "pruned")
    tensors = load_file(artifact.path / "model.safetensors")
    half = {
        name: torch.where(values.abs() < values.abs().median(), 0.0, values)
        for name, values in tensors.items()
        if values.ndim == 2 and "embeddings" not in name
    }
    save_file(tensors | half, tmp_path / "pruned/model.safetensors", metadata={"format": "pt"})
    made = method.compress(as_artifact(tmp_path / "pruned"), tiny_context)
    (warning,) = made.warnings
    assert warning == "50% of the Linear weights were zero and have values again: prune them afterwards"


def test_a_classifier_of_other_labels_is_refused(fine_tuned: FineTuned, tiny_context: Context):
    other = dataclasses.replace(tiny_context, task=dataclasses.replace(tiny_context.task, labels=("good", "bad")))
    for method in (Finetune(**FAST), Prune(**FAST)):
        with pytest.raises(BadInput, match="in another order, bad, good instead of good, bad"):
            method.compress(fine_tuned[0], other)


def test_regression_is_fitted_by_squared_error(
    tiny_encoder: Path, as_artifact: Callable[..., Artifact], tiny_context: Context, tiny_rows: Rows
):
    task = Task(name="score", suite="own", text_columns=("text",), labels=(), metrics=("spearmanr",), max_length=32)
    rows = Rows(first=tiny_rows.first, second=None, labels=tiny_rows.labels * 4.0 + 0.5)
    Finetune(**FAST, train_rows="all").compress(
        as_artifact(tiny_encoder), dataclasses.replace(tiny_context, task=task, train=rows)
    )
    config = json.loads((tiny_context.to / "config.json").read_text())
    assert config["problem_type"] == "regression"
    model = load_classifier(tiny_context.to)
    encoded = encode_rows(rows, tokenizer_path=tiny_context.to / "tokenizer.json", max_length=32)
    batch = {name: torch.from_numpy(array) for name, array in encoded.batch(np.arange(len(rows))).items()}
    with torch.inference_mode():
        outputs = model(**batch).logits
    assert outputs.shape == (96, 1)
    assert np.corrcoef(outputs[:, 0].numpy(), rows.labels)[0, 1] > 0.8


def test_pruning_ends_at_the_exact_count_of_zeros(fine_tuned: FineTuned, tiny_context: Context, tiny_rows: Rows):
    artifact, _ = fine_tuned
    made = Prune(
        amount=0.3, ramp_epochs=3, epochs=4, batch_size=8, learning_rate=1e-3, precision="fp32", weight_decay=0.2
    ).compress(artifact, tiny_context)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_context.to)
    linear = [each.weight for each in model.modules() if isinstance(each, torch.nn.Linear)]
    assert len(linear) == 2 * 6 + 2
    wanted = round(0.3 * sum(weight.numel() for weight in linear))
    assert sum(int((weight == 0).sum()) for weight in linear) == wanted == made.budget["pruned_weights"]
    assert made.budget["epochs"] == 4
    assert int((model.bert.embeddings.word_embeddings.weight[1:] == 0).sum()) == 0
    assert accuracy(tiny_context.to, tiny_rows) > 0.9


def test_an_encoder_is_no_source_for_pruning(
    tiny_encoder: Path, as_artifact: Callable[..., Artifact], tiny_context: Context
):
    with pytest.raises(BadInput, match=r"prune takes a fine-tuned classifier and .* is none: write finetune\+prune"):
        Prune(**FAST).compress(as_artifact(tiny_encoder), tiny_context)


def test_unlabelled_rows_train_nothing(
    tiny_encoder: Path, as_artifact: Callable[..., Artifact], tiny_context: Context, tiny_rows: Rows
):
    rows = Rows(first=tiny_rows.first, second=None, labels=None)
    with pytest.raises(BadInput, match="the training rows of tiny have no labels: give rows with a label column"):
        Finetune(**FAST).compress(as_artifact(tiny_encoder), dataclasses.replace(tiny_context, train=rows))


def test_a_loss_that_is_no_number_fails_with_the_mend(
    tiny_encoder: Path, as_artifact: Callable[..., Artifact], tiny_context: Context, tiny_rows: Rows
):
    rows = Rows(first=tiny_rows.first, second=None, labels=np.full(96, np.nan))
    task = dataclasses.replace(tiny_context.task, labels=(), metrics=("spearmanr",))
    with pytest.raises(MethodFailed, match=r"the training loss is nan at step 1: use a learning_rate below 0\.002"):
        Finetune(**FAST).compress(as_artifact(tiny_encoder), dataclasses.replace(tiny_context, task=task, train=rows))


def test_shared_linear_weights_count_once():
    first, second = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    second.weight = first.weight
    model = torch.nn.Sequential(first, second, torch.nn.LayerNorm(3), torch.nn.Embedding(4, 3))
    assert list(linear_weights(model)) == ["0.weight"]


@pytest.mark.parametrize("count", [1, 10, 96, 500, "all", "auto"])
def test_sampled_rows_are_drawn_by_the_seed_in_file_order(tiny_rows: Rows, count: int | str):
    rows, again, other = (sampled_rows(tiny_rows, count=count, seed=seed) for seed in (1, 1, 2))
    assert len(rows) == (96 if isinstance(count, str) else min(count, 96))
    assert rows.fingerprint == again.fingerprint
    assert (rows.fingerprint == other.fingerprint) is (len(rows) == 96 or rows.first == other.first)
    places = iter(zip(tiny_rows.first, tiny_rows.labels, strict=True))
    assert all(pair in places for pair in zip(rows.first, rows.labels, strict=True))


@pytest.mark.parametrize("method", [Finetune, Prune])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", 0, "epochs=0 is too few: use a whole number of 1 or more"),
        ("batch_size", -1, "batch_size=-1 is too few"),
        ("train_rows", 0, "train_rows=0 is too few"),
        ("learning_rate", 0.0, "learning_rate=0.0 is not above zero: use a number such as 5e-5"),
        ("learning_rate", float("nan"), "learning_rate=nan is not above zero"),
        ("learning_rate", float("inf"), "learning_rate=inf is not above zero"),
        ("weight_decay", -0.1, "weight_decay=-0.1 is no share: use a number from 0 up to"),
        ("weight_decay", float("nan"), "weight_decay=nan is no share"),
        ("warmup", 1.0, "warmup=1.0 is no share"),
    ],
)
def test_values_out_of_bounds_are_refused(method: type[FittedMethod], name: str, value: float, message: str):
    with pytest.raises(InvalidParameter, match=message):
        method(**{name: value})


def test_auto_is_resolved_by_the_task_then_by_the_method(tiny_task: Task, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("compressbench.methods.fitted.native_precision", lambda: "bf16")
    assert Finetune().resolved(task=tiny_task) == Finetune(
        epochs=3, learning_rate=5e-5, precision="bf16", train_rows="all"
    )
    assert Prune().resolved(task=tiny_task) == Prune(
        epochs=6, learning_rate=2e-5, precision="bf16", train_rows="all", increments=6, objective="labels"
    )
    said = {"finetune.epochs": 2, "finetune.train_rows": 50, "prune.epochs": 4}
    task = dataclasses.replace(tiny_task, training=said)
    assert Finetune(precision="fp32").resolved(task=task) == Finetune(
        epochs=2, learning_rate=5e-5, precision="fp32", train_rows=50
    )
    assert Prune().resolved(task=task).epochs == 6  # the ramp is not cut short
    assert Prune(ramp_epochs=2).resolved(task=task).epochs == 4
    assert Prune(ramp_epochs=8).resolved(task=tiny_task).epochs == 8
