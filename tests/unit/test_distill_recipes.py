"""Each recipe: what it may be told, what it learns, and that its losses are those of its paper."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from compressbench.artifacts.artifact import Artifact
from compressbench.errors import BadInput, InvalidParameter
from compressbench.methods.distill import Distill
from compressbench.methods.distill.answers import AnswerTargets, AnswerWeights, answer_losses, beside_loss
from compressbench.methods.distill.recipes import RECIPES, copied_layers, parse_layer_weights, unused_parameters
from compressbench.methods.distill.task import wanted_layers
from compressbench.methods.method import Context
from compressbench.models.geometry import BERT_BASE
from compressbench.models.loading import load_classifier
from compressbench.numerics.layer_mapping import layer_mapping
from compressbench.prediction import encode_rows
from compressbench.tasks.task import Rows, Task
from tests.conftest import draw_tiny_rows

AsArtifact = Callable[..., Artifact]
OF_THE_TEACHERS_WIDTH = "4x768x12x3072"
BRIEF = {"student": "2x32x2x64", "precision": "fp32", "prediction_epochs": 6, "prediction_learning_rate": 3e-3}
OTHER_VALUES = {
    "mapping": "top", "temperature": 3.5, "alpha": 0.25, "beta": 2.0, "embedding_weight": 0.5, "attention_weight": 0.5,
    "hidden_weight": 0.5, "layer_weights": "1-1-1-2", "attention_target": "probabilities", "intermediate_epochs": 7,
    "learning_rate": 1e-3, "cache_gib": 0.5, "prune_amount": 0.2, "prune_epochs": 3,
}  # fmt: skip
ONE_STAGE = ("none", "pkd", "distilbert")
UNUSED = [(recipe, name) for recipe in RECIPES.values() for name in unused_parameters(recipe, "auto")]


def drawn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def taught(folder: Path, context: Context, as_artifact: AsArtifact, **parameters: Any) -> dict[str, Any]:
    method = Distill(**{**BRIEF, **parameters}).resolved(task=context.task)
    return dict(method.compress(as_artifact(folder), context).budget)


def answers_of(folder: Path, rows: Rows) -> np.ndarray:
    model = load_classifier(folder)
    encoded = encode_rows(rows, tokenizer_path=folder / "tokenizer.json", max_length=32)
    inputs = {name: torch.from_numpy(part) for name, part in encoded.batch(np.arange(len(rows))).items()}
    with torch.inference_mode():
        answers: np.ndarray = model(**inputs).logits.argmax(dim=1).numpy()
    return answers


@pytest.mark.parametrize("recipe", ONE_STAGE)
def test_a_student_learns_the_task_by_each_recipe(
    recipe: str, tiny_teacher: Path, tiny_context: Context, as_artifact: AsArtifact
) -> None:
    context = replace(tiny_context, train=draw_tiny_rows(count=256, seed=3))
    budget = taught(tiny_teacher, context, as_artifact, recipe=recipe)
    fresh = draw_tiny_rows(count=128, seed=9)
    assert (answers_of(context.to, fresh) == fresh.labels).mean() > 0.9
    assert budget == {"epochs": 6, "steps": 48, "rows": 256}


@pytest.mark.parametrize("recipe", ["pkd", "distilbert"])
def test_a_switched_off_recipe_is_plain_fine_tuning(
    recipe: str, tiny_classifier: Path, tiny_context: Context, as_artifact: AsArtifact, tmp_path: Path
) -> None:
    weights = []
    for name, parameters in (("none", {}), (recipe, {"alpha": 0.0, "beta": 0.0})):
        context = replace(tiny_context, to=tmp_path / name)
        context.to.mkdir()
        taught(tiny_classifier, context, as_artifact, recipe=name, init="layers", **parameters)
        weights.append(load_file(context.to / "model.safetensors"))
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


@pytest.mark.parametrize(
    "parameters",
    [
        {"recipe": "pkd", "alpha": 1.0, "mapping": "top"},
        {"recipe": "pkd", "init": "random", "cache_gib": 0.0},
        {"recipe": "distilbert", "init": "first-layers", "beta": 3.0},
        {"recipe": "distilbert", "precision": "bf16", "student": "1x32x2x64"},
        {"recipe": "none", "student": "3x16x2x32", "init": "principal"},
    ],
)
def test_each_recipe_takes_what_it_has_a_use_for(
    parameters: dict[str, Any], tiny_classifier: Path, tiny_context: Context, as_artifact: AsArtifact
) -> None:
    assert taught(tiny_classifier, tiny_context, as_artifact, prediction_epochs=1, **parameters)["steps"] == 3


@pytest.mark.parametrize("recipe", ["none", "pkd", "distilbert"])
def test_regression_is_learned_by_squared_errors(
    recipe: str, tiny_classifier: Path, tiny_context: Context, as_artifact: AsArtifact, tmp_path: Path
) -> None:
    from compressbench.models.loading import new_classifier, save_classifier

    task = Task(name="tiny-regression", suite="own", text_columns=("text",), labels=(), metrics=("spearmanr",))
    save_classifier(new_classifier(tiny_classifier, task, seed=0), tokenizer_from=tiny_classifier, to=tmp_path / "t")
    rows = tiny_context.train
    context = replace(tiny_context, task=task, train=replace(rows, labels=1.0 + rows.labels))
    alpha = "auto" if recipe == "none" else 0.0
    taught(tmp_path / "t", context, as_artifact, recipe=recipe, alpha=alpha, prediction_epochs=15)
    model = load_classifier(context.to)
    assert model.config.problem_type == "regression"
    with torch.no_grad():
        assert 0.8 < float(model(torch.tensor([[2, 6, 15, 3]])).logits) < 2.2


def test_no_teacher_is_asked_where_labels_are_all_there_is(
    tiny_classifier: Path, tiny_context: Context, as_artifact: AsArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compressbench.methods.distill import task_stages

    monkeypatch.setattr(task_stages, "TeacherOutputs", None)
    taught(tiny_classifier, tiny_context, as_artifact, recipe="none", prediction_epochs=1)


def test_without_task_distillation_a_general_student_learns_labels_alone(
    tiny_classifier: Path, tiny_encoder: Path, tiny_context: Context, as_artifact: AsArtifact
) -> None:
    """At next to no learning rate it ends where it began: as the general student."""
    told = {"recipe": "none", "general_student": str(tiny_encoder), "prediction_learning_rate": 1e-12}
    assert taught(tiny_classifier, tiny_context, as_artifact, prediction_epochs=1, **told)["steps"] == 3
    ours, general = load_file(tiny_context.to / "model.safetensors"), load_file(tiny_encoder / "model.safetensors")
    for name, tensor in general.items():
        torch.testing.assert_close(ours[f"bert.{name}"], tensor)


def test_rows_without_labels_are_refused_where_labels_are_learned(
    tiny_classifier: Path, tiny_context: Context, as_artifact: AsArtifact
) -> None:
    context = replace(tiny_context, train=replace(tiny_context.train, labels=None))
    with pytest.raises(
        BadInput, match=r"rows of tiny have no labels, and alpha=0\.5 learns from them: give .* or alpha=1"
    ):
        taught(tiny_classifier, context, as_artifact, recipe="pkd")


@pytest.mark.parametrize(("recipe", "name"), UNUSED, ids=[f"{recipe.name}-{name}" for recipe, name in UNUSED])
def test_what_means_nothing_is_refused_rather_than_ignored(recipe: Any, name: str) -> None:
    given = {"recipe": recipe.name, "student": OF_THE_TEACHERS_WIDTH, name: OTHER_VALUES[name]}
    with pytest.raises(InvalidParameter) as raised:
        Distill(**given)
    text = str(raised.value)
    assert text.startswith(f"{name}={OTHER_VALUES[name]} means nothing with recipe={recipe.name}: leave it out, or use")
    for mend in text.rpartition("recipe=")[2].split(" or "):
        Distill(**{**given, "recipe": mend})


def test_the_mapping_means_something_to_every_recipe_that_copies_by_it() -> None:
    for recipe in RECIPES:
        assert Distill(recipe=recipe, init="layers", mapping="top").mapping == "top"


@pytest.mark.parametrize("recipe", RECIPES)
def test_nothing_is_left_to_a_recipe_on_any_task_and_its_own_numbers_go_first(recipe: str, tiny_task: Task) -> None:
    told = replace(tiny_task, training={"distill.prediction_epochs": 9, "distill.intermediate_epochs": 8})
    method = Distill(recipe=recipe).resolved(task=told)
    expected = {"tinybert": (8, 9), "none": (0, 3), "pkd": (0, 4), "distilbert": (0, 3)}
    assert (method.intermediate_epochs, method.prediction_epochs) == expected[recipe]
    assert {name: getattr(method, name) for name in RECIPES[recipe].auto} == dict(RECIPES[recipe].auto)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (
            {"recipe": "pkd"},
            "recipe=pkd begins with init=first-layers, which copies .*: use student=4x768x12x3072",
        ),
        ({"recipe": "distilbert"}, "recipe=distilbert begins with init=layers, which copies .*4x768x12x3072"),
        (
            {"recipe": "pkd", "init": "random", "student": "6x312x12x1200"},
            "recipe=pkd compares hidden states .* student=6x312x12x1200 is 312 wide, the teacher 768: use student=6x",
        ),
        ({"recipe": "distilbert", "init": "principal"}, "recipe=distilbert compares hidden states .*4x768x12x3072"),
        (
            {"recipe": "pkd", "student": "1x768x12x3072"},
            "learns the hidden states of all layers but the last, and .* one layer: use a deeper student, or beta=0",
        ),
        ({"recipe": "pkd", "student": "5x768x12x3072"}, "mapping=uniform needs a student depth that divides"),
        ({"recipe": "none", "init": "first-layers", "student": "13x768x12x3072"}, "use 1 to 12 layers"),
    ],
)
def test_a_student_that_does_not_fit_is_refused_with_the_mend(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        Distill(**parameters).check(BERT_BASE)


@pytest.mark.parametrize(
    "parameters",
    [
        {"recipe": "none", "student": "5x512x8x2048"},
        {"recipe": "none", "student": "24x512x8x2048"},
        {"recipe": "pkd", "init": "random", "beta": 0.0},
        {"recipe": "distilbert", "init": "random", "student": "5x768x8x1024"},
        {"recipe": "distilbert", "student": "6x768x12x3072"},
        {"recipe": "pkd", "student": "6x768x12x3072"},
    ],
)
def test_a_recipe_refuses_no_student_it_can_teach(parameters: dict[str, Any]) -> None:
    Distill(**parameters).check(BERT_BASE)


@pytest.mark.parametrize(
    ("init", "strategy", "expected"),
    [
        ("layers", "uniform", (2, 5, 8, 11)),
        ("layers", "top", (8, 9, 10, 11)),
        ("layers", "1-2-3-12", (0, 1, 2, 11)),
        ("first-layers", "uniform", (0, 1, 2, 3)),
        ("first-layers", "top", (0, 1, 2, 3)),
        ("principal", "uniform", ()),
        ("random", "uniform", ()),
    ],
)
def test_copies_follow_the_mapping_or_are_the_first(init: str, strategy: str, expected: tuple[int, ...]) -> None:
    assert copied_layers(init, strategy, teacher_layers=12, student_layers=4) == expected


@pytest.mark.parametrize(("strategy", "taught_layers"), [("uniform", (2, 4, 6, 8, 10)), ("top", (7, 8, 9, 10, 11))])
def test_patience_skips_or_takes_the_last_as_in_the_paper(strategy: str, taught_layers: tuple[int, ...]) -> None:
    """PKD-Skip and PKD-Last of a student of six layers: {2, 4, 6, 8, 10} and {7, 8, 9, 10, 11}."""
    mapping = layer_mapping(strategy, teacher_layers=12, student_layers=6)
    wanted = wanted_layers(Distill(recipe="pkd", beta=1.0), mapping)
    assert (wanted.hidden, wanted.attention, wanted.first_token_only) == (taught_layers, (), True)
    assert wanted_layers(Distill(recipe="distilbert", beta=1.0), mapping).hidden == (-1,)
    assert not wanted_layers(Distill(recipe="pkd", beta=0.0), mapping)
    assert not wanted_layers(Distill(recipe="none", beta=0.0), mapping)


@pytest.mark.parametrize(("alpha", "scales"), [(0.0, True), (0.3, True), (0.3, False), (1.0, True)])
def test_answers_are_the_papers_blend(alpha: float, scales: bool) -> None:
    """``(1 - alpha) CE + alpha t^2 KL`` up to the teacher's entropy, which no student changes: gradients agree."""
    logits, theirs = drawn(8, 3, seed=0).requires_grad_(), drawn(20, 3, seed=1)
    labels, rows = np.arange(20) % 3, np.arange(3, 11)
    weights = AnswerWeights(
        temperature=4.0, alpha=alpha, beta=0.0, beside="nothing", scales_soft_labels=scales, is_regression=False
    )
    targets = AnswerTargets(teacher_logits=theirs.numpy(), labels=labels).of(rows, device="cpu")
    losses = answer_losses(logits, targets, weights)
    assert set(losses) == ({"soft labels"} if alpha else set()) | ({"labels"} if alpha < 1 else set())
    hard = functional.cross_entropy(logits, torch.from_numpy(labels[rows]))
    soft = functional.kl_div(
        functional.log_softmax(logits / 4, dim=1), functional.softmax(theirs[rows] / 4, dim=1), reduction="batchmean"
    )
    expected = (1 - alpha) * hard + alpha * (16.0 if scales else 1.0) * soft
    (ours,) = torch.autograd.grad(sum(losses.values()), logits)
    (reference,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(ours, reference)


def test_regressions_answers_are_squared_errors_of_teacher_and_labels() -> None:
    logits, theirs, labels = drawn(5, 1, seed=0), drawn(5, 1, seed=1).numpy(), np.linspace(0, 5, 5)
    weights = AnswerWeights(
        temperature=4.0, alpha=0.25, beta=0.0, beside="nothing", scales_soft_labels=True, is_regression=True
    )
    targets = AnswerTargets(teacher_logits=theirs, labels=labels).of(np.arange(5), device="cpu")
    losses = answer_losses(logits, targets, weights)
    assert float(losses["soft labels"]) == pytest.approx(0.25 * np.mean((logits.numpy() - theirs) ** 2))
    assert float(losses["labels"]) == pytest.approx(0.75 * np.mean((logits.numpy()[:, 0] - labels) ** 2), rel=1e-5)


def test_patience_takes_first_tokens_of_all_layers_but_the_last_and_their_mean() -> None:
    states = [drawn(3, 5, 4, seed=seed) for seed in range(5)]  # embeddings and four layers
    teacher, mask = drawn(3, 3, 1, 4, seed=9), torch.ones(3, 5, dtype=torch.bool)
    unit = [
        [vector / np.linalg.norm(vector) for vector in each.numpy()]
        for each in (*(state[:, 0] for state in states[1:4]), *teacher[:, :, 0])
    ]
    expected = np.mean((np.array(unit[:3]) - np.array(unit[3:])) ** 2)
    assert float(beside_loss(states, teacher, mask=mask, beside="patience")) == pytest.approx(float(expected), rel=1e-5)


def test_cosine_takes_the_last_layer() -> None:
    states, mask = [drawn(2, 3, 4, seed=seed) for seed in range(3)], torch.ones(2, 3, dtype=torch.bool)
    assert float(beside_loss(states, states[2][None], mask=mask, beside="cosine")) == pytest.approx(0.0, abs=1e-6)
    assert float(beside_loss(states, -states[2][None], mask=mask, beside="cosine")) == pytest.approx(2.0)


@pytest.mark.parametrize(("text", "weights"), [("equal", None), ("1-1-1-2", (1, 1, 1, 2)), ("0.5;0;3", (0.5, 0, 3))])
def test_layer_weights_are_read(text: str, weights: tuple[float, ...] | None) -> None:
    assert parse_layer_weights(text) == weights
