"""Models that a user names by path: our artifacts, Hugging Face folders, bare ONNX files from any tool."""

from pathlib import Path

from compressbench.artifacts.artifact import TOKENIZER_NAME, Artifact, open_artifact
from compressbench.artifacts.keys import KEY_LENGTH
from compressbench.artifacts.manifest import MANIFEST_NAME, file_sha256
from compressbench.errors import BadInput
from compressbench.measuring import Measurable, measurable
from compressbench.tasks.task import Task
from compressbench.teacher import fitting_teacher, inspect_teacher
from compressbench.workshop import Workshop


def open_model(source: str, *, task: Task, workshop: Workshop, offline: bool) -> Artifact:
    """The artifact in a folder, or a Hugging Face classifier (folder or hub name) as one.

    Raises:
        BadInput: If it is neither, is not fine-tuned, or does not fit the task.
    """
    folder = Path(source)
    if (folder / MANIFEST_NAME).exists():
        artifact = open_artifact(folder)
        if artifact.manifest.labels and list(artifact.manifest.labels) != list(task.labels):
            raise BadInput(f"{source} was made for {artifact.manifest.task}, whose labels are not those of {task.name}")
        return artifact
    teacher = fitting_teacher(inspect_teacher(source, offline=offline), task)
    if teacher.kind != "fine-tuned":
        raise BadInput(f"{source} has no classifier: fine-tune it first, `compressbench compress finetune --task ...`")
    return workshop.source_model(teacher)


def open_measurable(
    source: str, *, task: Task, workshop: Workshop, offline: bool, file_name: str | None, tokenizer: Path | None
) -> Measurable:
    """A model as the harness takes it; PyTorch ones are exported by the passes that every row goes through.

    Raises:
        BadInput: If there is no model, more than one ONNX file to choose from, or no tokenizer.
    """
    path = Path(source)
    if path.is_dir() and not (path / MANIFEST_NAME).exists() and (file_name or any(path.glob("*.onnx"))):
        path = _chosen_file(path, file_name)
    if path.suffix != ".onnx":
        model = open_model(source, task=task, workshop=workshop, offline=offline)
        return measurable(workshop.as_onnx(model), exported_from=model)
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file")
    folder = tokenizer or path.parent
    if not (folder / TOKENIZER_NAME).is_file():
        raise BadInput(f"{path} has no {TOKENIZER_NAME} beside it: name the folder that has one by --tokenizer DIR")
    return Measurable(
        key=file_sha256(path)[:KEY_LENGTH], onnx_path=path.absolute(), tokenizer_path=folder / TOKENIZER_NAME
    )


def _chosen_file(folder: Path, file_name: str | None) -> Path:
    if file_name:
        return folder / file_name
    files = sorted(each.name for each in folder.glob("*.onnx"))
    if len(files) > 1:
        raise BadInput(f"{folder} holds several ONNX files ({', '.join(files)}): choose one by --file-name")
    return folder / files[0]
