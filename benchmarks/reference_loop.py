"""The intermediate stage as TinyBERT's authors' code runs it, written anew from what it does: the yardstick of speed.

The teacher answers every batch again, in fp32, with its dropout on; every row is padded to one length; the student is
fp32; Adam walks through the tensors one by one, without bias correction, and clips each one's gradient by itself.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertForSequenceClassification

from compressbench.methods.distill.attention_record import AttentionRecord, use_recording_attention
from compressbench.numerics.layer_mapping import LayerMapping

MASKED_SCORE = -1e2


class TensorwiseAdam:
    """Adam with weight decay and neither bias correction nor fused kernels; clips each tensor to norm 1."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], *, learning_rate: float) -> None:
        self._parameters = parameters
        self._learning_rate = learning_rate
        self._means = {name: torch.zeros_like(each) for name, each in parameters.items()}
        self._squares = {name: torch.zeros_like(each) for name, each in parameters.items()}

    @torch.no_grad()
    def step(self) -> None:
        """Move every weight that has a gradient, and drop the gradient."""
        for name, weight in self._parameters.items():
            if weight.grad is None:
                continue
            nn.utils.clip_grad_norm_(weight, 1.0)
            mean, square = self._means[name], self._squares[name]
            mean.mul_(0.9).add_(weight.grad, alpha=0.1)
            square.mul_(0.999).addcmul_(weight.grad, weight.grad, value=0.001)
            update = mean / (square.sqrt() + 1e-6)
            if weight.dim() > 1:
                update += 0.01 * weight
            weight.sub_(self._learning_rate * update)
            weight.grad = None


class ReferenceLoop:
    """Steps of the intermediate stage on batches that are padded already."""

    def __init__(
        self,
        teacher: BertForSequenceClassification,
        student: BertForSequenceClassification,
        mapping: LayerMapping,
        *,
        learning_rate: float = 5e-5,
    ) -> None:
        for model in (teacher, student):
            use_recording_attention(model)
            model.train()  # the teacher too: its dropout is never switched off there
        self._teacher, self._student, self._mapping = teacher, student, mapping
        self._map = nn.Linear(student.config.hidden_size, teacher.config.hidden_size)
        named = {
            **dict(student.named_parameters()),
            **{f"map.{name}": each for name, each in self._map.named_parameters()},
        }
        self._optimizer = TensorwiseAdam(named, learning_rate=learning_rate)

    def step(self, inputs: dict[str, Tensor]) -> float:
        """One step; returns the loss."""
        with torch.no_grad():
            target_scores, target_states = self._outputs(self._teacher, inputs)
        scores, states = self._outputs(self._student, inputs)
        loss = torch.zeros(())
        for ours, layer in zip(scores, self._mapping.attention, strict=True):
            theirs = target_scores[layer]
            loss = loss + functional.mse_loss(
                torch.where(ours <= MASKED_SCORE, torch.zeros_like(ours), ours),
                torch.where(theirs <= MASKED_SCORE, torch.zeros_like(theirs), theirs),
            )
        for ours, layer in zip(states, self._mapping.hidden, strict=True):
            loss = loss + functional.mse_loss(self._map(ours), target_states[layer])
        loss.backward()
        self._optimizer.step()
        return float(loss.detach())

    @staticmethod
    def _outputs(model: BertForSequenceClassification, inputs: dict[str, Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        record = AttentionRecord(tuple(range(model.config.num_hidden_layers)))
        answer = model(**inputs, attention_record=record, output_hidden_states=True)
        return record.stacked(), answer.hidden_states
