"""The models of the table, made in the user's store as a run would make them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.int8.plain_export import export_plainly
from compressbench.artifacts.artifact import Artifact
from compressbench.measuring import Measurable, measurable
from compressbench.methods.chain import make_method, parse_chain
from compressbench.tasks.data import TaskData
from compressbench.teacher import TeacherSource, inspect_teacher
from compressbench.workshop import Workshop

BASELINE = "baseline"
PLAIN = "plain export"
DISTILL = "distill"
PER_TENSOR = "quant-qdq:per_channel=false"
DEFAULT = "quant-qdq"
SMOOTHED = "quant-qdq:smooth=0.5"
REPAIRED = "quant-qdq:bias_correction=true:smooth=0.5:split_outliers=0.1"
UNSPLIT = "quant-qdq:split_outliers=off"
ATTENTION = "quant-qdq:attention_matmuls=scores"
METHODS = (DEFAULT, UNSPLIT, PER_TENSOR, SMOOTHED, REPAIRED, ATTENTION, "quant-qop", "quant-dynamic")
STUDENT_METHODS = (DEFAULT, ATTENTION)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model of the table."""

    name: str
    model: Measurable
    is_student: bool = False


def teacher_rows(
    source: TeacherSource, data: TaskData, *, workshop: Workshop, methods: Sequence[str], seed: int
) -> list[Row]:
    """The baseline of a task, fine-tuned first where it is a pretrained encoder, and each method applied to it."""
    teacher = workshop.teacher(source, data, finetune=make_method("finetune", {}), seed=seed)
    return [
        Row(name=BASELINE, model=_exported(teacher, workshop)),
        *(
            Row(name=name, model=_quantized(teacher, name, data, workshop=workshop, teacher=teacher, seed=seed))
            for name in methods
        ),
    ]


def student_rows(folder: Path, data: TaskData, *, workshop: Workshop, methods: Sequence[str], seed: int) -> list[Row]:
    """A distilled classifier in fp32, and each method applied to it; ranges are taken on the task's rows."""
    student = workshop.source_model(inspect_teacher(str(folder), offline=True))
    return [
        Row(name=DISTILL, model=_exported(student, workshop), is_student=True),
        *(
            Row(
                name=f"{DISTILL}+{name}",
                model=_quantized(student, name, data, workshop=workshop, teacher=student, seed=seed),
                is_student=True,
            )
            for name in methods
        ),
    ]


def plain_row(baseline: Row, *, folder: Path) -> Row | None:
    """The baseline's model through PyTorch's exporter alone; None where it exists as ONNX only."""
    if baseline.model.torch_path is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    export_plainly(baseline.model.torch_path, to=path)
    (folder / "config.json").write_bytes((baseline.model.torch_path / "config.json").read_bytes())
    model = Measurable(key=f"plain-{baseline.model.key}", onnx_path=path, tokenizer_path=baseline.model.tokenizer_path)
    return Row(name=PLAIN, model=model)


def _exported(artifact: Artifact, workshop: Workshop) -> Measurable:
    return measurable(workshop.as_onnx(artifact), exported_from=artifact)


def _quantized(
    source: Artifact, spelled: str, data: TaskData, *, workshop: Workshop, teacher: Artifact, seed: int
) -> Measurable:
    made = workshop.chain(parse_chain(spelled), data, source=source, teacher=teacher, seed=seed)
    return measurable(made, exported_from=made)
