"""The stages of one task's distillation, each resumed where an interruption left it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import BertForSequenceClassification, PreTrainedModel

from compressbench.artifacts.artifact import Artifact
from compressbench.methods.dev_scores import watching
from compressbench.methods.distill.answers import AnswerTargets, AnswerWeights, learn_answers
from compressbench.methods.distill.attention_record import use_recording_attention
from compressbench.methods.distill.loop import LossWeights, learn_layers
from compressbench.methods.distill.recipes import parse_layer_weights
from compressbench.methods.distill.student import Projections
from compressbench.methods.distill.teacher_outputs import GIB, TeacherOutputs, WantedLayers
from compressbench.methods.fit_savings import only_rows_in_use
from compressbench.methods.fitting import CLIP_NORM
from compressbench.methods.iterative_pruning import IterativePruning
from compressbench.methods.method import Context
from compressbench.methods.training import steps_per_epoch
from compressbench.methods.training_loop import StageSettings, stage_settings
from compressbench.prediction import EncodedRows

if TYPE_CHECKING:
    from compressbench.methods.distill.method import Distill


@dataclass(frozen=True, kw_only=True)
class TaskDistillation:
    """The stages, and what an interruption between or within them must keep."""

    method: Distill
    source: Artifact
    context: Context
    student: BertForSequenceClassification
    encoded: EncodedRows
    labels: np.ndarray | None
    wanted: WantedLayers
    """What of the teacher's layers is learned, in whichever stage."""
    pruning: Sequence[IterativePruning]
    table: Tensor
    """The student's word embeddings, all of them; training sees those of pieces in use alone.

    A checkpoint keeps the others too, for another number of threads may compute another basis for them.
    """

    @property
    def weights(self) -> AnswerWeights:
        """Of what the prediction stage learns."""
        method = self.method
        return AnswerWeights(
            temperature=float(method.temperature),
            alpha=float(method.alpha),
            beta=float(method.beta),
            beside=method.rules.beside_answers,
            scales_soft_labels=method.rules.scales_soft_labels,
            is_regression=self.context.task.is_regression,
        )

    def run(self, teacher: PreTrainedModel, projections: Projections) -> int:
        """Every stage, or what an interruption left of them; returns the steps of the prediction stage."""
        logits, weights = self.resume(), self.weights
        if not self.wanted and weights.alpha == 0:
            return self.learn_answers(None)
        if logits is not None and not weights.learns_hidden_states:
            return self.learn_answers(logits)
        with self.outputs_of(teacher) as outputs:
            if self.learns_layers:
                self.learn_layers(outputs, projections)
            logits = torch.from_numpy(outputs.logits)
            if weights.learns_hidden_states:
                return self.learn_answers(logits, outputs)
        return self.learn_answers(logits)

    @property
    def learns_layers(self) -> bool:
        """Whether there is an intermediate stage."""
        return self.method.rules.learns_layers and bool(self.wanted)

    def resume(self) -> Tensor | None:
        """Take over what an interrupted training kept; gives the teacher's logits if it had come so far."""
        if self.learns_layers:
            use_recording_attention(self.student)
        snapshot = self.context.checkpoint.read()
        kept = snapshot.part("kept") if snapshot else {}
        self.table.copy_(kept.get("table", self.table))
        return kept.get("logits")

    @contextmanager
    def outputs_of(self, teacher: PreTrainedModel) -> Iterator[TeacherOutputs]:
        """The teacher's outputs for all rows."""
        with TeacherOutputs(
            teacher,
            self.encoded,
            wanted=self.wanted,
            budget_bytes=int(self.method.cache_gib * GIB),
            precision=self.method.precision,
            device=self.context.device,
        ) as outputs:
            outputs.compute(self.context.progress, name=f"distill {self.context.task.name}, teacher")
            yield outputs

    def learn_layers(self, outputs: TeacherOutputs, projections: Projections) -> None:
        """The intermediate stage."""
        method = self.method
        with only_rows_in_use(self.student, self.encoded) as numbered:
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
                    layers=parse_layer_weights(method.layer_weights),
                ),
                settings=self.settings("intermediate"),
                hooks=self.pruning,
                kept={"table": self.table},
            )

    def learn_answers(self, logits: Tensor | None, outputs: TeacherOutputs | None = None) -> int:
        """The prediction stage, if there is one; returns its steps.

        Dev scores are drawn whatever they cost beside this stage, for beside the teacher's pass it is little.
        """
        if self.method.prediction_epochs == 0:
            return 0
        settings = self.settings("prediction")
        watch = watching(self.student, self.encoded, self.source, self.context, settings, cost_share=1.0)
        return learn_answers(
            self.student,
            self.encoded,
            AnswerTargets(
                teacher_logits=None if logits is None else logits.numpy(),
                labels=self.labels,
                hidden_of=None if outputs is None else outputs.hidden_of,
            ),
            weights=self.weights,
            settings=settings,
            hooks=(*self.pruning, *watch),
            kept={"table": self.table} | ({} if logits is None else {"logits": logits}),
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
        if not self.method.rules.learns_layers:
            return {"epochs": int(self.method.prediction_epochs), "steps": prediction_steps, "rows": row_count}
        return {
            "intermediate_epochs": epochs,
            "prediction_epochs": int(self.method.prediction_epochs),
            "intermediate_steps": intermediate_steps,
            "prediction_steps": prediction_steps,
            "steps": intermediate_steps + prediction_steps,
            "rows": row_count,
        }
