"""One task's distillation from a teacher's folder to a student's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from transformers import BertForSequenceClassification, PreTrainedModel

from compressbench.artifacts.artifact import Artifact
from compressbench.errors import BadInput
from compressbench.methods.distill.attention_record import use_recording_attention
from compressbench.methods.distill.loop import LossWeights, learn_answers, learn_layers
from compressbench.methods.distill.student import Projections, copied_layers, new_student
from compressbench.methods.distill.teacher_outputs import GIB, TeacherOutputs, WantedLayers
from compressbench.methods.fit_savings import only_rows_in_use
from compressbench.methods.fitted import sampled_rows
from compressbench.methods.fitting import CLIP_NORM
from compressbench.methods.iterative_pruning import IterativePruning, linear_weights
from compressbench.methods.method import Context
from compressbench.methods.training import steps_per_epoch
from compressbench.methods.training_loop import StageSettings, stage_settings
from compressbench.models.geometry import Geometry
from compressbench.models.loading import load_classifier, save_classifier
from compressbench.numerics.layer_mapping import LayerMapping
from compressbench.prediction import EncodedRows, encode_rows

if TYPE_CHECKING:
    from compressbench.methods.distill.method import Distill


def distill_task(
    method: Distill, source: Artifact, context: Context, *, student: Geometry, mapping: LayerMapping
) -> dict[str, int]:
    """Distil the fine-tuned teacher in `source` into `context.to`; returns the budget that training had.

    Args:
        method: The parameters, none of them ``auto``.
        source: The teacher.
        context: Rows, seed, folder.
        student: The student's sizes.
        mapping: Which layers it learns.

    Raises:
        BadInput: If the teacher is no BERT.
    """
    torch.set_num_threads(context.threads)
    torch.manual_seed(context.seed)
    teacher = load_bert(source)
    rows = sampled_rows(context.train, count=method.train_rows, seed=context.seed)
    encoded = encode_rows(rows, tokenizer_path=source.tokenizer_path, max_length=context.task.max_length)
    model, projections = new_student(
        teacher, student, init=method.init, dropout=method.dropout, copied=copied_layers(method.init, mapping)
    )
    work = TaskDistillation(
        method=method,
        context=context,
        student=model,
        encoded=encoded,
        wanted=wanted_layers(method, mapping),
        pruning=in_loop_pruning(method, model),
        table=model.get_input_embeddings().weight.detach(),
    )
    logits = work.resume()
    if logits is None:
        logits = work.learn_layers(teacher, projections)
    prediction_steps = work.learn_answers(logits)
    budget = work.budget(prediction_steps)
    for pruning in work.pruning:
        budget["pruned_weights"] = pruning.finish()
    model.set_attn_implementation("eager")
    save_classifier(model, tokenizer_from=source.path, to=context.to)
    return budget


@dataclass(frozen=True, kw_only=True)
class TaskDistillation:
    """The two stages, and what an interruption between or within them must keep."""

    method: Distill
    context: Context
    student: BertForSequenceClassification
    encoded: EncodedRows
    wanted: WantedLayers
    """Empty where there is no intermediate stage."""
    pruning: Sequence[IterativePruning]
    table: Tensor
    """The student's word embeddings, all of them; training sees those of pieces in use alone.

    A checkpoint keeps the others too, for another number of threads may compute another basis for them.
    """

    def resume(self) -> Tensor | None:
        """Take over what an interrupted training kept; gives the teacher's logits if it had come so far."""
        if self.wanted:
            use_recording_attention(self.student)
        snapshot = self.context.checkpoint.read()
        kept = snapshot.part("kept") if snapshot else {}
        self.table.copy_(kept.get("table", self.table))
        return kept.get("logits")

    def learn_layers(self, teacher: PreTrainedModel, projections: Projections) -> Tensor:
        """The intermediate stage, if layers are wanted; returns the teacher's logits [rows, outputs]."""
        method, context = self.method, self.context
        with (
            TeacherOutputs(
                teacher,
                self.encoded,
                wanted=self.wanted,
                budget_bytes=int(method.cache_gib * GIB),
                precision=method.precision,
                device=context.device,
            ) as outputs,
            only_rows_in_use(self.student, self.encoded) as numbered,
        ):
            outputs.compute(context.progress, name=f"distill {context.task.name}, teacher")
            if self.wanted:
                learn_layers(
                    self.student,
                    projections,
                    numbered,
                    outputs,
                    wanted=self.wanted,
                    weights=LossWeights(
                        embedding=method.embedding_weight,
                        attention=method.attention_weight,
                        hidden=method.hidden_weight,
                    ),
                    settings=self.settings("intermediate"),
                    hooks=self.pruning,
                    kept={"table": self.table},
                )
            return torch.from_numpy(outputs.logits)

    def learn_answers(self, logits: Tensor) -> int:
        """The prediction stage; returns its steps."""
        return learn_answers(
            self.student,
            self.encoded,
            logits.numpy(),
            temperature=self.method.temperature,
            is_regression=self.context.task.is_regression,
            settings=self.settings("prediction"),
            hooks=self.pruning,
            kept={"table": self.table, "logits": logits},
        )

    def settings(self, stage: Literal["intermediate", "prediction"]) -> StageSettings:
        """Of one of the stages."""
        method, is_intermediate = self.method, stage == "intermediate"
        return stage_settings(
            self.context,
            name=f"distill {self.context.task.name}, {stage}",
            epochs=int(method.intermediate_epochs if is_intermediate else method.prediction_epochs),
            batch_size=method.batch_size,
            learning_rate=float(method.learning_rate if is_intermediate else method.prediction_learning_rate),
            clip_norm=None if is_intermediate else CLIP_NORM,
            precision=method.precision,
            loss_name="distillation" if is_intermediate else "training",
        )

    def budget(self, prediction_steps: int) -> dict[str, int]:
        """What training had, whether in one go or in several."""
        epochs, row_count = int(self.method.intermediate_epochs), len(self.encoded)
        intermediate_steps = epochs * steps_per_epoch(row_count, batch_size=self.method.batch_size)
        return {
            "intermediate_epochs": epochs,
            "prediction_epochs": int(self.method.prediction_epochs),
            "intermediate_steps": intermediate_steps,
            "prediction_steps": prediction_steps,
            "steps": intermediate_steps + prediction_steps,
            "rows": row_count,
        }


def in_loop_pruning(method: Distill, model: BertForSequenceClassification) -> tuple[IterativePruning, ...]:
    """What prunes the student while it learns; nothing unless asked for."""
    if not method.prune_amount:
        return ()
    ramp_epochs = min(method.prune_epochs, int(method.intermediate_epochs))
    return (IterativePruning(linear_weights(model), amount=method.prune_amount, ramp_epochs=ramp_epochs),)


def load_bert(source: Artifact) -> PreTrainedModel:
    """The teacher, which must be a BERT: the student takes over its embeddings' layout and its positions.

    Raises:
        BadInput: If it is of another family.
    """
    teacher = load_classifier(source.path)
    if not isinstance(teacher, BertForSequenceClassification):
        raise BadInput(
            f"distill takes a teacher of type bert, and {source.path} holds one of type {teacher.config.model_type}: "
            "use a BERT teacher, or another method"
        )
    return teacher


def wanted_layers(method: Distill, mapping: LayerMapping) -> WantedLayers:
    """The teacher's outputs that losses with a weight need; none without an intermediate stage."""
    if method.intermediate_epochs == 0:
        return WantedLayers(hidden=(), attention=())
    embeddings, *layers = mapping.hidden
    return WantedLayers(
        hidden=(*([embeddings] if method.embedding_weight else []), *(layers if method.hidden_weight else [])),
        attention=mapping.attention if method.attention_weight else (),
        attention_target=method.attention_target,
    )
