import sys
import typing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from compressbench.artifacts.artifact import Artifact
from compressbench.errors import BadInput, InvalidParameter, MethodFailed
from compressbench.methods.distill import Distill, task_stages
from compressbench.methods.distill.loop import LossWeights, weighted_terms
from compressbench.methods.distill.parameter_checks import WORDS
from compressbench.methods.distill.task import wanted_layers
from compressbench.methods.iterative_pruning import IterativePruning, linear_weights
from compressbench.methods.method import Context
from compressbench.models.geometry import BERT_BASE, Geometry
from compressbench.models.loading import load_classifier, new_classifier, save_classifier
from compressbench.numerics.layer_mapping import layer_mapping
from compressbench.prediction import encode_rows
from compressbench.progress import Quiet
from compressbench.tasks.task import Rows, Task
from tests.conftest import draw_tiny_rows

AsArtifact = Callable[..., Artifact]
SMALL = {"student": "1x16x2x32", "precision": "fp32"}
BRIEF = {**SMALL, "intermediate_epochs": 2, "prediction_epochs": 1, "learning_rate": 1e-3}


def distilled(folder: Path, context: Context, as_artifact: AsArtifact, **parameters: Any) -> dict[str, int]:
    method = Distill(**{**BRIEF, **parameters}).resolved(task=context.task)
    return dict(method.compress(as_artifact(folder), context).budget)


def logits_of(folder: Path, rows: Rows) -> np.ndarray:
    model = load_classifier(folder)
    encoded = encode_rows(rows, tokenizer_path=folder / "tokenizer.json", max_length=32)
    inputs = {name: torch.from_numpy(part) for name, part in encoded.batch(np.arange(len(rows))).items()}
    with torch.inference_mode():
        return model(**inputs).logits.numpy()


class Losses(Quiet):
    """Progress that keeps what each stage shows."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: dict[str, list[float]] = {}

    def stage(self, name: str, *, total: int, done: int = 0) -> Any:
        from contextlib import contextmanager

        shown = self.shown.setdefault(name, [])

        @contextmanager
        def opened() -> Any:
            done = 0

            def advance(steps: int = 1, *, note: str = "") -> None:
                nonlocal done
                done += steps
                if note:
                    shown.append(float(note.removeprefix("loss ")))

            yield advance
            assert done == total

        return opened()


def test_a_student_learns_the_teachers_answers_on_new_rows(
    tiny_teacher: Path, tiny_context: Context, as_artifact: AsArtifact
) -> None:
    progress = Losses()
    context = replace(tiny_context, progress=progress, train=draw_tiny_rows(count=256, seed=3))
    distilled(
        tiny_teacher,
        context,
        as_artifact,
        intermediate_epochs=8,
        prediction_epochs=8,
        learning_rate=5e-3,
        prediction_learning_rate=5e-3,
    )
    fresh = draw_tiny_rows(count=128, seed=9)
    teacher, student = logits_of(tiny_teacher, fresh), logits_of(context.to, fresh)
    assert (teacher.argmax(axis=1) == fresh.labels).mean() > 0.95
    assert (teacher.argmax(axis=1) == student.argmax(axis=1)).mean() > 0.9
    layers = progress.shown["distill tiny, intermediate"]
    assert np.mean(layers[-8:]) < np.mean(layers[:8]) / 2
    assert set(progress.shown) == {"distill tiny, teacher", "distill tiny, intermediate", "distill tiny, prediction"}


def test_budget_says_what_training_had(tiny_classifier: Path, tiny_context: Context, as_artifact: AsArtifact) -> None:
    budget = distilled(tiny_classifier, tiny_context, as_artifact, train_rows=40, batch_size=16)
    assert budget == {
        "intermediate_epochs": 2, "prediction_epochs": 1, "intermediate_steps": 6, "prediction_steps": 3, "steps": 9,
        "rows": 40,
    }  # fmt: skip


def test_the_seed_decides_the_weights(
    tiny_classifier: Path, tiny_context: Context, as_artifact: AsArtifact, tiny_rows: Rows, tmp_path: Path
) -> None:
    made = []
    for place, seed in enumerate((1, 1, 2)):
        context = replace(tiny_context, to=tmp_path / str(place), seed=seed)
        distilled(tiny_classifier, context, as_artifact, dropout=0.1)
        made.append(logits_of(context.to, tiny_rows))
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_the_cache_budget_changes_nothing_but_time(
    tiny_classifier: Path, tiny_context: Context, as_artifact: AsArtifact, tiny_rows: Rows, tmp_path: Path
) -> None:
    """Rows computed again go in 16 bits too; what is left is the order of fp32 sums."""
    made = []
    for cache_gib in (1.0, 0.0):
        context = replace(tiny_context, to=tmp_path / str(cache_gib))
        distilled(tiny_classifier, context, as_artifact, cache_gib=cache_gib)
        made.append(logits_of(context.to, tiny_rows))
    np.testing.assert_allclose(made[0], made[1], atol=5e-3)


@pytest.mark.parametrize(
    "parameters",
    [
        {"attention_target": "probabilities"},
        {"init": "random"},
        {"prediction_epochs": 0},
        {"layer_weights": "0.5"},
        {"alpha": 0.3, "temperature": 2.0},
        {"init": "layers", "student": "1x32x2x64"},
        {"init": "first-layers", "student": "1x32x2x64"},
        {"mapping": "top"},
        {"mapping": "1"},
        {"precision": "bf16"},
        {"embedding_weight": 0.0},
        {"hidden_weight": 0.0},
        {"hidden_weight": 0.0, "embedding_weight": 0.0},
        {"attention_weight": 0.0, "student": "1x16x4x32"},
        {"intermediate_epochs": 0, "embedding_weight": 0.0, "hidden_weight": 0.0, "attention_weight": 0.0},
    ],
)
def test_each_ablation_runs(
    tiny_classifier: Path, tiny_context: Context, as_artifact: AsArtifact, tiny_rows: Rows, parameters: dict[str, Any]
) -> None:
    distilled(tiny_classifier, tiny_context, as_artifact, **parameters)
    assert np.isfinite(logits_of(tiny_context.to, tiny_rows)).all()


def test_a_loss_switched_off_leaves_its_part_untaught(
    tiny_classifier: Path, tiny_context: Context, as_artifact: AsArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the embedding loss alone, the intermediate stage moves the embeddings and no encoder layer."""
    states: list[dict[str, torch.Tensor]] = []

    def keep_state(stage: Callable[..., int]) -> Callable[..., int]:
        def keeping(model: PreTrainedModel, *arguments: Any, **settings: Any) -> int:
            states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
            return stage(model, *arguments, **settings)

        return keeping

    for name in ("learn_layers", "learn_answers"):
        monkeypatch.setattr(task_stages, name, keep_state(getattr(task_stages, name)))
    distilled(tiny_classifier, tiny_context, as_artifact, attention_weight=0.0, hidden_weight=0.0)
    before, after = states
    moved = {name for name in before if not before[name].equal(after[name])}
    assert moved
    assert all(name.startswith("bert.embeddings") for name in moved)


def test_regression_learns_the_teachers_numbers(
    tiny_teacher: Path, tiny_context: Context, as_artifact: AsArtifact, tmp_path: Path
) -> None:
    task = Task(name="tiny-regression", suite="own", text_columns=("text",), labels=(), metrics=("spearmanr",))
    teacher_folder = tmp_path / "teacher"
    teacher = new_classifier(tiny_teacher, task, seed=0)
    with torch.no_grad():
        teacher.classifier.weight.mul_(20)
        teacher.classifier.bias.fill_(3.0)
    save_classifier(teacher, tokenizer_from=tiny_teacher, to=teacher_folder)
    rows = replace(tiny_context.train, labels=np.zeros(len(tiny_context.train)))
    context = replace(tiny_context, task=task, train=rows)
    distilled(teacher_folder, context, as_artifact, prediction_epochs=30, prediction_learning_rate=5e-3)
    expected, answered = logits_of(teacher_folder, rows), logits_of(context.to, rows)
    assert answered.shape == (96, 1)
    assert np.mean((expected - answered) ** 2) < np.var(expected) / 4
    assert load_classifier(context.to).config.problem_type == "regression"


def test_without_a_prediction_stage_the_artifact_says_that_its_classifier_knows_nothing(
    tiny_classifier: Path, tiny_context: Context, as_artifact: AsArtifact
) -> None:
    method = Distill(**BRIEF | {"prediction_epochs": 0}).resolved(task=tiny_context.task)
    made = method.compress(as_artifact(tiny_classifier), tiny_context)
    assert made.budget["prediction_steps"] == 0
    assert "its classifier learned nothing (prediction_epochs=0)" in made.warnings[0]


def test_a_loss_that_is_no_number_stops_the_method(
    tiny_classifier: Path, tiny_context: Context, as_artifact: AsArtifact
) -> None:
    with pytest.raises(MethodFailed, match=r"distillation loss is (nan|inf) at step .* learning_rate below 1e\+30"):
        distilled(tiny_classifier, tiny_context, as_artifact, learning_rate=1e30, intermediate_epochs=5)


def test_another_family_is_refused(tiny_context: Context, as_artifact: AsArtifact, tiny_encoder: Path) -> None:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    folder = tiny_context.to / "distilbert"
    config = DistilBertConfig(vocab_size=40, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=64)
    save_classifier(DistilBertForSequenceClassification(config), tokenizer_from=tiny_encoder, to=folder)
    with pytest.raises(BadInput, match=r"takes a teacher of type bert, and .* type distilbert: use a BERT teacher"):
        distilled(folder, tiny_context, as_artifact)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"student": "huge"}, "student=huge is no geometry"),
        ({"student": "4x312x11x1200"}, "not a multiple of 11 heads"),
        ({"mapping": "sideways"}, "mapping=sideways is no layer mapping"),
        ({"init": "zeros"}, "init=zeros is unknown: use auto, first-layers, general, layers, principal or random"),
        ({"attention_target": "logits"}, "attention_target=logits is unknown: use probabilities or scores"),
        ({"precision": "int8"}, "precision=int8 is unknown: use auto, bf16 or fp32"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"learning_rate": float("inf")}, "learning_rate=inf"),
        ({"prediction_learning_rate": -1e-5}, "prediction_learning_rate=-1e-05"),
        ({"intermediate_epochs": -1}, "intermediate_epochs=-1"),
        ({"prediction_epochs": -1}, "prediction_epochs=-1"),
        (
            {"prediction_epochs": 0, "intermediate_epochs": 0},
            "prediction_epochs=0 leaves recipe=tinybert nothing to learn: give it epochs of some stage",
        ),
        ({"prediction_epochs": 0, "recipe": "pkd"}, "prediction_epochs=0 leaves recipe=pkd nothing to learn"),
        ({"recipe": "kd"}, "recipe=kd is unknown: use distilbert, none, pkd or tinybert"),
        ({"alpha": 1.5}, "alpha=1.5 is no share: use a number from 0 to 1, such as 0.5"),
        ({"alpha": float("nan")}, "alpha=nan is no share"),
        ({"recipe": "pkd", "beta": -1.0}, "beta=-1.0 must be 0 or above"),
        ({"layer_weights": "1-x"}, "layer_weights=1-x is no list of weights: use equal, or .* 1-1-1-2"),
        ({"layer_weights": "0-0"}, "none below 0 and not all 0"),
        ({"layer_weights": "1-inf"}, "layer_weights=1-inf is no list"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"train_rows": 0}, "train_rows=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"prune_amount": 1.0}, "prune_amount=1.0 is no share"),
        ({"prune_amount": float("nan")}, "prune_amount=nan is no share"),
        ({"prune_epochs": 0}, "prune_epochs=0 is too few"),
        ({"hidden_weight": -1.0}, "hidden_weight=-1.0 must be 0 or above: use a number such as 1.0"),
        ({"attention_weight": float("nan")}, "attention_weight=nan must be 0 or above"),
        ({"cache_gib": float("inf")}, "cache_gib=inf must be 0 or above"),
        (
            {"embedding_weight": 0.0, "attention_weight": 0.0, "hidden_weight": 0.0},
            "are all 0, so the intermediate stage has nothing to learn: .* or set intermediate_epochs=0",
        ),
    ],
)
def test_a_bad_value_is_refused_by_name(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        Distill(**parameters)


def test_the_words_a_parameter_takes_are_those_of_its_type() -> None:
    hints = typing.get_type_hints(Distill)
    assert {name: typing.get_args(hints[name]) for name in WORDS} == WORDS


def test_students_geometry_takes_the_teachers_vocabulary() -> None:
    source = replace(BERT_BASE, vocab=100, positions=77, token_types=1)
    expected = Geometry(layers=4, hidden=312, heads=12, intermediate=1200, vocab=100, positions=77, token_types=1)
    assert Distill().check(source) == expected


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"student": "5x312x12x1200"}, "uniform needs a student depth .* 5 does not: use 1, 2, 3, 4, 6 or 12 layers"),
        ({"student": "24x312x12x1200", "mapping": "top"}, "a student of 24 layers cannot learn from a teacher of 12"),
        ({"layer_weights": "1-1-2"}, "layer_weights=1-1-2 gives 3 weights, and student=tinybert4 has 4 layers"),
        ({"mapping": "3-6-9"}, "give 4 numbers, none above 12"),
        (
            {"student": "4x312x6x1200"},
            "has 6 attention heads and the teacher 12, .*: use a student of 12 heads, or attention_weight=0",
        ),
        (
            {"init": "layers"},
            "init=layers copies .* 768x12x3072 .*, not 312x12x1200 as in student=tinybert4: use student=4x768x12x3072",
        ),
        (
            {"init": "first-layers", "student": "6x768x6x3072", "attention_weight": 0.0},
            "init=first-layers copies .*, not 768x6x3072 as in student=6x768x6x3072: use student=6x768x12x3072",
        ),
    ],
)
def test_a_source_that_does_not_fit_is_refused_before_any_work(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        Distill(**parameters).check(BERT_BASE)


def test_other_heads_are_fine_without_the_attention_loss() -> None:
    assert Distill(student="4x312x6x1200", attention_weight=0.0).check(BERT_BASE).heads == 6


def test_auto_asks_the_task_first(tiny_task: Task) -> None:
    plain = Distill().resolved(task=tiny_task)
    assert (plain.intermediate_epochs, plain.prediction_epochs, plain.train_rows) == (20, 3, "all")
    assert (plain.learning_rate, plain.prediction_learning_rate) == (5e-5, 3e-5)
    assert plain.precision in ("fp32", "bf16")
    told = replace(tiny_task, training={"distill.intermediate_epochs": 6, "distill.train_rows": 50})
    assert Distill().resolved(task=told).intermediate_epochs == 6
    assert Distill(intermediate_epochs=2).resolved(task=told).intermediate_epochs == 2
    assert Distill().resolved(task=told).train_rows == 50


def test_only_outputs_with_a_weight_are_wanted() -> None:
    mapping = layer_mapping("uniform", teacher_layers=12, student_layers=4)
    whole = wanted_layers(Distill(), mapping)
    assert (whole.hidden, whole.attention) == ((0, 3, 6, 9, 12), (2, 5, 8, 11))
    assert wanted_layers(Distill(embedding_weight=0.0), mapping).hidden == (3, 6, 9, 12)
    assert wanted_layers(Distill(hidden_weight=0.0), mapping).hidden == (0,)
    assert wanted_layers(Distill(attention_weight=0.0), mapping).attention == ()
    assert not wanted_layers(Distill(intermediate_epochs=0), mapping)


@pytest.mark.parametrize(("epochs", "prune_epochs"), [(3, 2), (2, 6), (1, 1)])
def test_a_student_pruned_while_it_learns_ends_at_the_exact_count_of_zeros(
    tiny_classifier: Path, tiny_context: Context, as_artifact: AsArtifact, epochs: int, prune_epochs: int
) -> None:
    budget = distilled(
        tiny_classifier, tiny_context, as_artifact, prune_amount=0.3, prune_epochs=prune_epochs,
        intermediate_epochs=epochs, prediction_epochs=2, precision="bf16",
    )  # fmt: skip
    model = load_classifier(tiny_context.to)
    linear = [each.weight for each in model.modules() if isinstance(each, torch.nn.Linear)]
    assert len(linear) == 6 + 2
    wanted = round(0.3 * sum(weight.numel() for weight in linear))
    assert sum(int((weight == 0).sum()) for weight in linear) == wanted == budget["pruned_weights"]
    assert not any(bool(torch.signbit(weight[weight == 0]).any()) for weight in linear)
    assert int((model.bert.embeddings.word_embeddings.weight[1:] == 0).sum()) == 0


def test_masks_grow_over_the_intermediate_epochs_and_hold_in_both_stages(
    tiny_classifier: Path, tiny_context: Context, as_artifact: AsArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every step the share of zeros is that of the ramp: one third a time, and no more in the other stage."""
    shares: list[float] = []
    hold = IterativePruning.after_step

    def held(self: IterativePruning) -> None:
        hold(self)
        weights = [*self._weights.values()]
        zeros = sum(int((weight == 0).sum()) for weight in weights)
        shares.append(round(zeros / sum(weight.numel() for weight in weights), 2))

    monkeypatch.setattr(IterativePruning, "after_step", held)
    distilled(
        tiny_classifier, tiny_context, as_artifact, prune_amount=0.3, prune_epochs=3, intermediate_epochs=4,
        prediction_epochs=2, batch_size=48, learning_rate=1e-2, prediction_learning_rate=1e-2,
    )  # fmt: skip
    assert shares == [*[0.1] * 2, *[0.2] * 2, *[0.3] * 2, *[0.3] * 2, *[0.3] * 4]  # two steps an epoch


def test_pruning_in_the_loop_takes_an_intermediate_stage() -> None:
    with pytest.raises(InvalidParameter, match=r"prune_amount=0\.2 grows over .* with distill\+prune"):
        Distill(prune_amount=0.2, intermediate_epochs=0)


def test_the_study_s_pruning_is_a_fifteenth_of_all_parameters() -> None:
    """20 % of TinyBERT4's Linear weights: its "6 %"."""
    from transformers import BertConfig, BertForSequenceClassification

    shape = Distill().check(BERT_BASE)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=shape.vocab, hidden_size=shape.hidden, num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads, intermediate_size=shape.intermediate,
        )
    )  # fmt: skip
    linear = sum(weight.numel() for weight in linear_weights(model).values())
    assert 0.2 * linear / sum(weight.numel() for weight in model.parameters()) == pytest.approx(0.065, abs=5e-4)


def test_the_total_is_the_weighted_sum_over_layers() -> None:
    losses = {"embedding": torch.tensor(2.0), "hidden": torch.tensor([1.0, 3.0]), "attention": torch.tensor([0.5, 0.5])}
    terms = weighted_terms(losses, LossWeights(embedding=1.0, attention=10.0, hidden=0.5))
    assert {name: float(term) for name, term in terms.items()} == {"embedding": 2, "hidden": 0.5 * 4, "attention": 10}


def test_each_layer_has_its_own_weight_but_the_embeddings_one() -> None:
    losses = {"embedding": torch.tensor(2.0), "hidden": torch.tensor([1.0, 3.0]), "attention": torch.tensor([0.5, 4.0])}
    weights = LossWeights(embedding=1.0, attention=1.0, hidden=0.5, layers=(1.0, 2.0))
    terms = weighted_terms(losses, weights)
    assert {name: float(term) for name, term in terms.items()} == {"embedding": 2.0, "hidden": 3.5, "attention": 8.5}


def test_the_method_loads_no_torch_until_it_works() -> None:
    import subprocess

    code = "import compressbench.methods.distill, sys; print({'torch', 'transformers', 'datasets'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
