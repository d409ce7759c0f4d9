"""An fp32 ONNX model that another tool exported, as an artifact that quantization starts from."""

from pathlib import Path

from compressbench.artifacts.artifact import ONNX_NAME, TOKENIZER_NAME, Artifact
from compressbench.artifacts.fingerprints import files_fingerprint
from compressbench.artifacts.keys import Recipe
from compressbench.artifacts.manifest import MANIFEST_NAME
from compressbench.errors import BadInput, listed
from compressbench.foreign import check_fits, open_model
from compressbench.methods.method import Compressed
from compressbench.models.inspection import check_teacher, describe_folder, relevant_files
from compressbench.models.onnx_graph import external_files, write_model
from compressbench.models.onnx_source import read_source
from compressbench.tasks.task import Task
from compressbench.workshop import Workshop

IMPORT_REVISION = 2


def open_source(source: str, *, task: Task, workshop: Workshop, offline: bool, needed_by: str) -> Artifact:
    """What a user names by ``--source``: an artifact, a Hugging Face classifier, or an fp32 ONNX file.

    Args:
        source: A folder, a hub name, an ONNX file, or a folder that holds one beside config.json and tokenizer.json.
        task: What it must fit.
        workshop: Imports it into the store.
        offline: Whether the hub may not be asked.
        needed_by: The method that starts from it.

    Raises:
        BadInput: If it is none of these, or does not fit the task.
    """
    path = Path(source)
    if path.is_dir() and not (path / MANIFEST_NAME).exists() and not any(path.glob("*.safetensors")):
        files = sorted(path.glob("*.onnx"))
        if len(files) > 1:
            raise BadInput(f"{path} holds {listed((each.name for each in files), last='and')}: name one of them")
        path = files[0] if files else path
    if path.suffix != ".onnx":
        return open_model(source, task=task, workshop=workshop, offline=offline)
    return _imported_onnx(path, task=task, workshop=workshop, needed_by=needed_by)


def _imported_onnx(path: Path, *, task: Task, workshop: Workshop, needed_by: str) -> Artifact:
    """An ONNX file, its config and its tokenizer as an artifact; everything is checked before anything is written."""
    model = read_source(path, needed_by=needed_by)
    for name in ("config.json", TOKENIZER_NAME):
        if not (path.parent / name).is_file():
            raise BadInput(f"{path} has no {name} beside it: copy there the one of the model it was exported from")
    info = describe_folder(path.parent)
    warnings = check_teacher(info, task)
    check_fits(path, path.parent / TOKENIZER_NAME, task)
    beside = [each for each in relevant_files(path.parent) if each.suffix in (".json", ".txt", ".model")]
    recipe = Recipe(
        method="import-onnx",
        revision=IMPORT_REVISION,
        format="onnx-fp32",
        inputs={"file": files_fingerprint([path, *external_files(path), *beside])},
        labels=info.labels or (),
        base_model=path.stem,
    )

    def copy(to: Path) -> Compressed:
        write_model(model, to / ONNX_NAME)
        for each in beside:
            (to / each.name).write_bytes(each.read_bytes())
        return Compressed(geometry=info.geometry, warnings=warnings)

    return workshop.make(recipe, copy)
