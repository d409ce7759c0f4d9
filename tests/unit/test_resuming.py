"""A training that was interrupted and went on ends where one that was not interrupted ends."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.store import ArtifactStore
from compressbench.methods import checkpoint as checkpoint_module
from compressbench.methods.checkpoint import Checkpoint
from compressbench.methods.distill import Distill
from compressbench.methods.distill.recipes import RECIPES
from compressbench.methods.finetune import Finetune
from compressbench.methods.method import Context, Method
from compressbench.methods.pretrain import TrunkSettings
from compressbench.methods.prune import Prune
from compressbench.methods.trunk import encode_tasks, train_trunk
from compressbench.records.curves import Curves
from compressbench.tasks.data import TaskData
from compressbench.tasks.task import Rows, Task
from compressbench.workshop import Workshop
from tests.conftest import TINY
from tests.interrupting import Interrupting

FIT = {"epochs": 3, "batch_size": 40, "learning_rate": 1e-3, "precision": "fp32", "train_rows": "all"}
STUDENT = {
    "student": "1x16x2x32", "batch_size": 40, "precision": "fp32", "intermediate_epochs": 2, "prediction_epochs": 2,
    "learning_rate": 1e-3, "prediction_learning_rate": 1e-3, "train_rows": "all",
}  # fmt: skip


def distilling(**parameters: Any) -> Distill:
    """With nothing left to a recipe or a task."""
    recipe = RECIPES[parameters.get("recipe", "tinybert")]
    return Distill(**{**STUDENT, **recipe.auto, "prediction_epochs": 2, "dropout": 0.1, **parameters})


PKD = {"recipe": "pkd", "student": "2x32x2x64", "prediction_learning_rate": 1e-3}
# Three steps an epoch. Each method with the stage that is interrupted.
CASES = [
    (Finetune(**FIT), "fine-tune tiny"),
    (Prune(**FIT, amount=0.4, ramp_epochs=2), "prune tiny"),
    (Prune(**FIT, amount=0.4, ramp_epochs=2, criterion="movement", increments=3), "prune tiny"),
    (Prune(**FIT, structured="ffn-0.5-layers-0.5"), "prune tiny, structured"),
    (distilling(), "distill tiny, intermediate"),
    (distilling(), "distill tiny, prediction"),
    (distilling(prune_amount=0.3, prune_epochs=2), "distill tiny, intermediate"),
    (distilling(prune_amount=0.3, prune_epochs=2), "distill tiny, prediction"),
    (distilling(**PKD), "distill tiny, prediction"),
]
NAMES = [f"{method.name}-{stage.split()[-1]}-{number}" for number, (method, stage) in enumerate(CASES)]


@pytest.fixture(scope="module")
def as_source(tiny_encoder: Path, tiny_classifier: Path, as_artifact: Callable[..., Artifact]) -> Any:
    return lambda method: as_artifact(tiny_encoder if method.name == "finetune" else tiny_classifier)


@pytest.fixture(scope="module")
def uninterrupted(
    as_source: Any, tiny_task: Task, tiny_rows: Rows, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Method], tuple[dict[str, torch.Tensor], dict[str, Any], list[str], Curves]]:
    """Weights, budget, shown losses and curves of a method that runs in one go; each method once."""
    made: dict[Method, Any] = {}

    def run(method: Method) -> Any:
        if method not in made:
            to, progress = tmp_path_factory.mktemp("whole"), Interrupting()
            context = Context(
                task=tiny_task, train=tiny_rows, to=to, threads=1, progress=progress, watch=tiny_rows.take([0, 1])
            )
            budget = method.compress(as_source(method), context).budget
            made[method] = (load_file(to / "model.safetensors"), dict(budget), progress.notes, context.curves)
        return made[method]

    return run


@pytest.mark.parametrize("after", [1, 3, 5, "last"])
@pytest.mark.parametrize(("method", "stage"), CASES, ids=NAMES)
def test_the_weights_are_those_of_a_run_in_one_go(
    method: Method, stage: str, after: int | str, uninterrupted: Any, as_source: Any, tiny_context: Context,
    tiny_rows: Rows, tmp_path: Path,
) -> None:  # fmt: skip
    weights, budget, notes, curves = uninterrupted(method)
    watching = dataclasses.replace(tiny_context, watch=tiny_rows.take([0, 1]))
    last = sum(note.startswith(stage) for note in notes)
    after = last if after == "last" else after
    path = tmp_path / "state.safetensors"
    stopped = Interrupting(stage, after)
    with pytest.raises(KeyboardInterrupt):
        method.compress(
            as_source(method), dataclasses.replace(watching, progress=stopped, checkpoint=Checkpoint(path=path))
        )
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["state.safetensors"]
    torch.manual_seed(12345)
    torch.rand(7)
    goes_on = Interrupting()
    context = dataclasses.replace(watching, progress=goes_on, checkpoint=Checkpoint(path=path), curves=Curves())
    made = method.compress(as_source(method), context)
    assert goes_on.began[stage] == after
    assert dict(made.budget) == budget
    resumed = load_file(tiny_context.to / "model.safetensors")
    assert resumed.keys() == weights.keys()
    assert [name for name in weights if not torch.equal(weights[name], resumed[name])] == []
    losses = [note for note in notes if "loss" in note]
    again = [note for note in (*stopped.notes, *goes_on.notes) if "loss" in note]
    assert again == losses
    assert context.curves == curves


@pytest.mark.parametrize(("method", "stage"), CASES[1:6], ids=NAMES[1:6])
def test_a_killed_run_goes_on_from_the_last_file(
    method: Method, stage: str, uninterrupted: Any, as_source: Any, tiny_context: Context, tmp_path: Path
) -> None:
    def run(progress: Interrupting, *, every_s: float = 1e9) -> None:
        checkpoint = Checkpoint(path=tmp_path / "state.safetensors", progress=progress, every_s=every_s)
        method.compress(as_source(method), dataclasses.replace(tiny_context, progress=progress, checkpoint=checkpoint))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_module, "COST_SHARE", 1e9)
        with pytest.raises(SystemError):
            run(Interrupting(stage, 5, SystemError), every_s=0)
    goes_on = Interrupting()
    run(goes_on)
    assert goes_on.began[stage] == 4
    weights, resumed = uninterrupted(method)[0], load_file(tiny_context.to / "model.safetensors")
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)


def test_a_stage_that_is_done_asks_no_teacher_again(as_source: Any, tiny_context: Context, tmp_path: Path) -> None:
    method = distilling()
    context = dataclasses.replace(tiny_context, checkpoint=Checkpoint(path=tmp_path / "state.safetensors"))
    with pytest.raises(KeyboardInterrupt):
        method.compress(
            as_source(method), dataclasses.replace(context, progress=Interrupting("distill tiny, prediction", 2))
        )
    goes_on = Interrupting()
    method.compress(as_source(method), dataclasses.replace(context, progress=goes_on))
    assert goes_on.began == {"distill tiny, prediction": 2}


def test_the_trunk_goes_on_too(tiny_rows: Rows, tiny_tokenizer_folder: Path, tmp_path: Path) -> None:
    encoded = encode_tasks({"tiny": tiny_rows}, tokenizer_path=tiny_tokenizer_folder / "tokenizer.json")

    def train(progress: Interrupting, path: Path | None) -> dict[str, torch.Tensor]:
        return train_trunk(
            encoded, geometry=TINY, settings=TrunkSettings(layers=1, heads=2, intermediate=16, steps=9),
            precision="fp32", seed=0, threads=1, progress=progress, checkpoint=Checkpoint(path=path),
        ).state_dict()  # fmt: skip

    whole = train(Interrupting(), None)
    path = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(Interrupting("pretrain the generated teacher", 7), path)
    resumed = train(Interrupting(), path)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_workshop_goes_on_and_cleans_up(
    tiny_classifier: Path, as_artifact: Callable[..., Artifact], tiny_task: Task, tiny_rows: Rows, tmp_path: Path
) -> None:
    data = TaskData(tiny_task, lambda split: tiny_rows, ("train", "dev"), "memory")
    source = as_artifact(tiny_classifier)

    def make(root: str, progress: Interrupting, method: Method) -> Artifact:
        workshop = Workshop(store=ArtifactStore(root=tmp_path / root), threads=1, device="cpu", progress=progress)
        return workshop.apply(method, source, data, seed=1, teacher=source, chain=method.name)

    method = Prune(**FIT, amount=0.4, ramp_epochs=2)
    whole = make("one", Interrupting(), method)
    with pytest.raises(KeyboardInterrupt):
        make("two", Interrupting("prune tiny", 4), method)
    store = ArtifactStore(root=tmp_path / "two")
    assert store.unfinished() == [store.checkpoint_path(whole.key)]
    assert store.all() == []
    other = Interrupting()
    make("two", other, dataclasses.replace(method, learning_rate=2e-3))
    assert other.began["prune tiny"] == 0
    goes_on = Interrupting()
    resumed = make("two", goes_on, method)
    assert goes_on.began["prune tiny"] == 4
    assert resumed.manifest.files == whole.manifest.files
    assert store.unfinished() == []
