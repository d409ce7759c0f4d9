"""Models that a user names by path: our artifacts, Hugging Face folders, bare ONNX files from any tool."""

from pathlib import Path

import numpy as np

from compressbench.artifacts.artifact import TOKENIZER_NAME, Artifact, open_artifact
from compressbench.artifacts.fingerprints import files_fingerprint
from compressbench.artifacts.keys import KEY_LENGTH
from compressbench.artifacts.manifest import MANIFEST_NAME, read_manifest
from compressbench.errors import BadInput, listed
from compressbench.measuring import Measurable, manifest_warnings, measurable
from compressbench.models.hub import fetch_model
from compressbench.models.inspection import read_label_names
from compressbench.models.onnx_graph import EXTERNAL_SUFFIXES, external_files
from compressbench.models.onnx_tracing import TEXT_INPUTS
from compressbench.runtimes.onnxruntime import open_model as open_onnx
from compressbench.tasks.task import Task
from compressbench.teacher import fitting_teacher, inspect_teacher
from compressbench.workshop import Workshop

PROBE_TOKENS = 7
"""A length that no export fixes by chance."""


def open_model(source: str, *, task: Task, workshop: Workshop, offline: bool) -> Artifact:
    """The artifact in a folder, or a Hugging Face classifier (folder or hub name) as one.

    Raises:
        BadInput: If it is neither, is not fine-tuned, or does not fit the task.
    """
    folder = Path(source)
    if (folder / MANIFEST_NAME).exists():
        artifact = open_artifact(folder)
        made = artifact.manifest
        if made.task and list(made.labels) != list(task.labels):
            raise BadInput(f"{source} was made for {made.task}, whose labels are not those of {task.name}")
        return artifact
    teacher = fitting_teacher(inspect_teacher(source, offline=offline), task)
    if teacher.kind != "fine-tuned":
        raise BadInput(f"{source} has no classifier: fine-tune it first, `compressbench compress finetune --task ...`")
    return workshop.source_model(teacher)


def label_names_of(source: str, *, offline: bool) -> tuple[str, ...] | None:
    """The label names in id order of a model that a user names by path; None where it tells of none.

    Args:
        source: As `open_measurable` takes it.
        offline: Whether the hub may not be asked.

    Raises:
        BadInput: If it is a model's folder that cannot be read.
    """
    folder = Path(source).parent if source.endswith(".onnx") else Path(source)
    if (folder / MANIFEST_NAME).exists():
        return tuple(read_manifest(folder).labels) or None
    if folder.is_dir():
        return read_label_names(folder)
    return None if source.endswith(".onnx") else inspect_teacher(source, offline=offline).labels


def open_measurable(
    source: str, *, task: Task, workshop: Workshop, offline: bool, file_name: str | None, tokenizer: Path | None
) -> Measurable:
    """A model as the harness takes it; PyTorch ones are exported by the passes that every row goes through.

    Args:
        source: An artifact's folder, a Hugging Face folder or hub name, a folder of ONNX files, or one such file.
        task: What it must fit.
        workshop: Exports PyTorch models.
        offline: Whether the hub may not be asked.
        file_name: ONNX file to take, where `source` holds several.
        tokenizer: Folder of tokenizer.json, or the file, where it does not lie beside the model.

    Raises:
        BadInput: If there is no model, more than one ONNX file to choose from, no tokenizer, or a model that cannot
            read the task's rows.
    """
    path = Path(source)
    if file_name and not path.exists():
        path = fetch_model(source, offline=offline, also=(file_name, *(file_name + each for each in EXTERNAL_SUFFIXES)))
    folder = path
    if path.is_dir() and not (path / MANIFEST_NAME).exists() and (file_name or _onnx_files(path)):
        path = _chosen_file(path, file_name)
    elif file_name:
        raise BadInput(f"--file-name {file_name}: {source} is no folder of ONNX files, so there is nothing to choose")
    if path.suffix != ".onnx":
        model = open_model(source, task=task, workshop=workshop, offline=offline)
        return measurable(workshop.as_onnx(model), exported_from=model)
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file")
    tokenizer_path = _tokenizer_of(path, folder, tokenizer)
    check_fits(path, tokenizer_path, task)
    made = read_manifest(path.parent) if (path.parent / MANIFEST_NAME).exists() else None
    return Measurable(
        key=files_fingerprint([path, *external_files(path)])[:KEY_LENGTH],
        onnx_path=path.absolute(),
        tokenizer_path=tokenizer_path.absolute(),
        warnings=manifest_warnings(made) if made else (),
    )


def check_fits(onnx_path: Path, tokenizer_path: Path, task: Task) -> None:
    """Refuse an ONNX model that cannot read the task's rows or does not answer them: two made-up rows are run.

    Raises:
        BadInput: With what does not fit and, where there is one, the mend.
    """
    model = open_onnx(onnx_path, threads=1)
    unknown = sorted(set(model.input_names) - set(TEXT_INPUTS))
    if unknown or "input_ids" not in model.input_names:
        what = f"has the input {unknown[0]!r}" if unknown else "has no input 'input_ids'"
        raise BadInput(
            f"{onnx_path} {what}: {task.name} gives {listed(TEXT_INPUTS, last='and')}, so it takes a text classifier"
        )
    # The highest token id too: a tokenizer of a larger vocabulary would fail in the middle of the rows.
    tokens = np.full((2, PROBE_TOKENS), _vocabulary_size(tokenizer_path) - 1, dtype=np.int64)
    ones = np.ones_like(tokens)
    try:
        logits = model({"input_ids": tokens, "attention_mask": ones, "token_type_ids": 0 * ones})
    except BadInput as error:
        raise BadInput(
            f"{error}; it must take int64 rows of any length and every token id of its tokenizer, here up to "
            f"{tokens[0, 0]}: export it with dynamic axes, and give its own tokenizer"
        ) from None
    if logits.shape != (2, task.output_count):
        raise BadInput(
            f"{onnx_path} answers two rows with an array of {' x '.join(map(str, logits.shape))}, and {task.name} "
            f"takes 2 x {task.output_count} logits: give a classifier that was fine-tuned on {task.name}"
        )


def _onnx_files(folder: Path) -> list[str]:
    """ONNX files to choose from: those in the folder; where it has neither any nor weights, those one folder below."""
    files = sorted(each.name for each in folder.glob("*.onnx"))
    if files or any(folder.glob("*.safetensors")):
        return files
    return sorted(each.relative_to(folder).as_posix() for each in folder.glob("*/*.onnx"))


def _chosen_file(folder: Path, file_name: str | None) -> Path:
    files = _onnx_files(folder)
    if file_name:
        if not (folder / file_name).is_file():
            known = f"it holds {listed(files, last='and')}" if files else "it holds no ONNX file"
            raise BadInput(f"--file-name {file_name}: {folder} has no such file; {known}")
        return folder / file_name
    if len(files) > 1:
        raise BadInput(f"{folder} holds several ONNX files ({', '.join(files)}): choose one by --file-name")
    return folder / files[0]


def _tokenizer_of(onnx_path: Path, source: Path, given: Path | None) -> Path:
    """tokenizer.json: the one that was named, else one beside the model or in the folder that was named."""
    if given is not None and given.is_file():
        return given
    folders = [given] if given is not None else [onnx_path.parent, source]
    found = next((each / TOKENIZER_NAME for each in folders if (each / TOKENIZER_NAME).is_file()), None)
    if found is None:
        where = f"--tokenizer {given} holds" if given is not None else f"{onnx_path} has"
        beside = "" if given is not None else " beside it"
        raise BadInput(
            f"{where} no {TOKENIZER_NAME}{beside}: name the folder that has one by --tokenizer DIR "
            "(save_pretrained of a fast tokenizer writes it)"
        )
    return found


def _vocabulary_size(tokenizer_path: Path) -> int:
    """Token ids that the tokenizer may give.

    Raises:
        BadInput: If the file is no tokenizer.
    """
    from tokenizers import Tokenizer

    try:
        return max(Tokenizer.from_file(str(tokenizer_path)).get_vocab().values()) + 1
    except Exception as error:  # noqa: BLE001 - tokenizers raises Exception itself
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BadInput(f"{tokenizer_path} is no tokenizer ({reason[:160]}): save it anew") from None
