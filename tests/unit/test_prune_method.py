"""Pruning as a method: its parameters, what is learned meanwhile, and chains that keep zeros zero."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from compressbench.artifacts.artifact import ONNX_NAME, Artifact
from compressbench.artifacts.store import ArtifactStore
from compressbench.errors import BadInput, InvalidParameter
from compressbench.harness.size import measure_size
from compressbench.methods.chain import parse_chain
from compressbench.methods.checkpoint import Checkpoint
from compressbench.methods.iterative_pruning import linear_weights
from compressbench.methods.method import Context
from compressbench.methods.prune import Prune
from compressbench.methods.targets import targets_of
from compressbench.models.loading import load_classifier, save_classifier
from compressbench.progress import Quiet
from compressbench.tasks.data import TaskData
from compressbench.tasks.task import Rows, Task
from compressbench.workshop import Workshop
from tests.interrupting import Interrupting

FAST = {
    "epochs": 3,
    "ramp_epochs": 2,
    "batch_size": 32,
    "learning_rate": 1e-3,
    "precision": "fp32",
    "train_rows": "all",
}
STUDENT = "distill:student=2x32x2x64:intermediate_epochs=1:prediction_epochs=1:precision=fp32"
PRUNED = "prune:epochs=2:ramp_epochs=2:amount=0.5:precision=fp32"


def taught(artifact: Artifact, teacher: Artifact) -> Artifact:
    """The artifact as if `teacher` had taught it."""
    return dataclasses.replace(
        artifact, manifest=dataclasses.replace(artifact.manifest, key="student", inputs={"teacher": teacher.key})
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"amount": 1.0}, "amount=1.0 is no share above 0 and below 1: use a number such as 0.2"),
        ({"amount": 0.0}, "amount=0.0 is no share"),
        ({"amount": -0.2}, "amount=-0.2 is no share"),
        ({"amount": float("nan")}, "amount=nan is no share"),
        ({"ramp_epochs": 0}, "ramp_epochs=0 is too few"),
        ({"increments": 0}, "increments=0 is too few"),
        ({"epochs": 5}, "epochs=5 ends before .* ramp_epochs=6: use epochs=6 or ramp_epochs=5"),
        ({"of": "remaining", "schedule": "cubic"}, "of=remaining has a pace of its own"),
        ({"of": "remaining", "schedule": "one-shot"}, "add increments=N, or use of=total"),
        ({"schedule": "one-shot", "increments": 3}, "increments=3 contradicts schedule=one-shot"),
        ({"schedule": "one-shot", "criterion": "movement", "epochs": 3}, "epochs=3 ends before"),
        ({"layer_floor": 0.3, "amount": 0.8}, "layer_floor=0.3 keeps more than amount=0.8 leaves, which is 0.2 of all"),
        ({"layer_floor": 0.3, "of": "remaining"}, "which is 0.262 of all: use layer_floor=0.131"),
        ({"layer_floor": -0.1}, "layer_floor=-0.1 is no share"),
        ({"layer_floor": 0.1, "structured": "ffn-0.5"}, "layer_floor=0.1 means nothing beside structured=ffn-0.5"),
        ({"structured": "heads"}, "structured=heads cannot be read"),
    ],
)
def test_values_that_make_no_sense_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        Prune(**values)


def test_a_layer_that_pruning_empties_is_named_and_a_floor_keeps_a_share_of_it(
    tiny_teacher: Path, tiny_context: Context, as_artifact: Callable[..., Artifact], tmp_path: Path
) -> None:
    model = load_classifier(tiny_teacher)
    with torch.no_grad():
        model.bert.pooler.dense.weight.mul_(1e-4)
    source = tmp_path / "source"
    save_classifier(model, tokenizer_from=tiny_teacher, to=source)
    for floor, left in ((0.0, 0), (0.25, model.bert.pooler.dense.weight.numel() // 4)):
        context = dataclasses.replace(tiny_context, to=tmp_path / f"floor-{floor}")
        context.to.mkdir()
        method = Prune(**{**FAST, "learning_rate": 1e-9}, amount=0.5, layer_floor=floor).resolved(task=context.task)
        told = method.compress(as_artifact(source), context).warnings
        pruned = linear_weights(load_classifier(context.to))
        assert int(pruned["bert.pooler.dense.weight"].count_nonzero()) == left
        total = sum(each.numel() for each in pruned.values())
        assert sum(int((each == 0).sum()) for each in pruned.values()) == round(0.5 * total)
        assert [text for text in told if "less than 1 % of bert.pooler.dense.weight" in text] == list(told)
        assert bool(told) == (floor == 0)


def test_one_shot_needs_no_epochs_for_a_ramp(tiny_task: Task) -> None:
    method = Prune(schedule="one-shot", epochs=2)
    assert method.resolved(task=tiny_task).increments == 1
    task = dataclasses.replace(tiny_task, training={"prune.epochs": 2})
    assert Prune(schedule="one-shot").resolved(task=task).epochs == 2
    assert Prune(of="remaining", schedule="one-shot", increments=4).resolved(task=task).increments == 4


def test_what_is_learned_depends_on_who_taught_the_model(
    tiny_classifier: Path, tiny_teacher: Path, as_artifact: Callable[..., Artifact], tiny_task: Task
) -> None:
    plain, teacher = as_artifact(tiny_classifier), as_artifact(tiny_teacher)
    student = taught(plain, teacher)

    def objective(source: Artifact, by: Artifact | None, **values: str) -> str:
        return Prune(**values).resolved_on(source, task=tiny_task, teacher=by).objective

    assert objective(student, teacher) == "teacher"
    assert objective(student, None) == "labels"
    assert objective(plain, teacher) == "labels"
    assert objective(teacher, teacher) == "labels"
    assert objective(student, teacher, objective="labels") == "labels"
    assert objective(teacher, teacher, objective="teacher") == "teacher"


def test_a_teachers_answers_need_no_labels_and_pull_towards_it(
    tiny_classifier: Path, tiny_teacher: Path, as_artifact: Callable[..., Artifact], tiny_context: Context,
    tiny_rows: Rows, tmp_path: Path,
) -> None:  # fmt: skip
    teacher = as_artifact(tiny_teacher)
    student = taught(as_artifact(tiny_classifier), teacher)
    unlabelled = Rows(first=tiny_rows.first, second=None, labels=None)
    context = dataclasses.replace(tiny_context, train=unlabelled, teacher=teacher)
    made = Prune(**{**FAST, "epochs": 10, "batch_size": 8, "learning_rate": 3e-3}, amount=0.3).compress(
        student, context
    )
    answers = targets_of(unlabelled, context, teacher=teacher, precision="fp32").values
    theirs = targets_of(unlabelled, context, teacher=as_artifact(tiny_context.to), precision="fp32").values
    assert (answers.argmax(1) == theirs.argmax(1)).mean() > 0.9
    assert made.budget["pruned_weights"] > 0
    with pytest.raises(BadInput, match="the training rows of tiny have no labels"):
        Prune(**FAST, objective="labels").compress(student, context)
    with pytest.raises(BadInput, match="objective=teacher learns a teacher's answers, and there is none"):
        Prune(**FAST, objective="teacher").compress(student, dataclasses.replace(context, teacher=None))


def test_a_training_that_goes_on_asks_no_teacher_again(
    tiny_classifier: Path,
    tiny_teacher: Path,
    as_artifact: Callable[..., Artifact],
    tiny_context: Context,
    tmp_path: Path,
) -> None:
    teacher = as_artifact(tiny_teacher)
    student, method = taught(as_artifact(tiny_classifier), teacher), Prune(**FAST, amount=0.4)
    context = dataclasses.replace(tiny_context, teacher=teacher)
    whole = tmp_path / "whole"
    whole.mkdir()
    method.compress(student, dataclasses.replace(context, to=whole))
    checkpoint = Checkpoint(path=tmp_path / "state.safetensors")
    with pytest.raises(KeyboardInterrupt):
        method.compress(
            student, dataclasses.replace(context, checkpoint=checkpoint, progress=Interrupting("prune tiny", 4))
        )
    goes_on = Interrupting()
    method.compress(student, dataclasses.replace(context, checkpoint=checkpoint, progress=goes_on))
    assert goes_on.began == {"prune tiny": 4}
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (whole, context.to))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_checkpoint_with_masks_of_another_model_is_named_and_kept(
    tiny_classifier: Path, as_artifact: Callable[..., Artifact], tiny_context: Context, tmp_path: Path
) -> None:
    source, method, path = as_artifact(tiny_classifier), Prune(**FAST, amount=0.4), tmp_path / "state.safetensors"
    context = dataclasses.replace(tiny_context, checkpoint=Checkpoint(path=path))
    with pytest.raises(KeyboardInterrupt):
        method.compress(source, dataclasses.replace(context, progress=Interrupting("prune tiny", 4)))
    with safe_open(path, framework="pt") as stream:
        metadata, tensors = stream.metadata(), {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    other = {name.replace("hook0.mask.bert.encoder.layer.1", "hook0.mask.bert.encoder.layer.7"): each
             for name, each in tensors.items()}  # fmt: skip
    save_file(other, path, metadata=metadata)
    with pytest.raises(
        BadInput, match=r"state\.safetensors: .* masks of another model .* no bert.encoder.layer.7.*remove"
    ):
        method.compress(source, context)
    assert path.exists()
    assert list(tiny_context.to.iterdir()) == []


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    root = tmp_path_factory.mktemp("store") / "artifacts"
    return Workshop(store=ArtifactStore(root=root), threads=1, device="cpu", progress=Quiet())


CHAINS = [
    "prune",
    "distill+prune",
    "prune+quant-qdq",
    "distill+prune+quant-qdq",
    "prune+quant-qop",
    "prune+quant-dynamic",
    "prune-sparsegpt+quant-qdq",
]


@pytest.mark.parametrize("chain", CHAINS)
def test_zeros_stay_exactly_zero_down_to_int8_codes(
    chain: str, workshop: Workshop, tiny_teacher: Path, as_artifact: Callable[..., Artifact], tiny_task: Task,
    tiny_rows: Rows, tmp_path: Path,
) -> None:  # fmt: skip
    data = TaskData(tiny_task, lambda split: tiny_rows, ("train", "dev"), "memory")
    teacher = as_artifact(tiny_teacher)
    spelled = chain.replace("distill", STUDENT)
    spelled = spelled if "sparsegpt" in spelled else spelled.replace("prune", PRUNED)
    calibrated = spelled if "dynamic" in spelled else spelled.replace("qdq", "qdq:calibration_rows=32")
    calibrated = calibrated.replace("qop", "qop:calibration_rows=32")
    made = workshop.chain(parse_chain(calibrated), data, source=teacher, teacher=teacher, seed=1)
    pruned = workshop.chain(
        parse_chain(calibrated.partition("+quant")[0]), data, source=teacher, teacher=teacher, seed=1
    )
    objective = None if "sparsegpt" in chain else "teacher" if "distill" in chain else "labels"
    assert pruned.manifest.parameters.get("objective") == objective
    linear = {name: each.detach().numpy() for name, each in linear_weights(load_classifier(pruned.path)).items()}
    total = sum(weight.size for weight in linear.values())
    assert sum(int((weight == 0).sum()) for weight in linear.values()) == round(0.5 * total)
    if made.format != "onnx-int8":
        return
    tensors = {each.name: numpy_helper.to_array(each) for each in onnx.load(made.path / ONNX_NAME).graph.initializer}
    found = 0
    for name, weight in linear.items():
        codes = tensors[f"{name}_quantized"]
        zero_point = tensors[f"{name}_zero_point"]
        assert not np.any(zero_point)  # a symmetric grid: the code 0 is the value 0
        assert not codes[weight.T == 0].any(), name
        found += int((weight.T == 0).sum())
    assert found == round(0.5 * total)
    size = measure_size(made.path / ONNX_NAME, measured_key="made", progress=Quiet(), flops=1)
    assert size.linear_count - size.linear_nonzero_count >= found
