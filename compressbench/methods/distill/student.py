"""The student: a small BERT with the teacher's vocabulary, the maps into the teacher's widths, and how both begin."""

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, PreTrainedModel

from compressbench.methods.distill.recipes import COPYING
from compressbench.models.geometry import Geometry
from compressbench.models.loading import quiet_transformers

RIDGE = 1e-4
"""Keeps the least squares for W_e solvable where tokens are few; relative to the mean diagonal."""


class Projections(nn.Module):
    """W_e and W_h, the learned maps from the student's width to the teacher's; thrown away after training.

    As in the paper they have no bias. W_h is one map for all layers, as in the reference code.
    """

    def __init__(self, student_width: int, teacher_width: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(student_width, teacher_width))
        self.hidden = nn.Parameter(torch.empty(student_width, teacher_width))
        for weight in (self.embedding, self.hidden):
            nn.init.kaiming_uniform_(weight.T, a=5**0.5)  # as nn.Linear, which the reference code uses


def new_student(
    teacher: PreTrainedModel, geometry: Geometry, *, init: str, dropout: float, copied: tuple[int, ...] = ()
) -> tuple[BertForSequenceClassification, Projections]:
    """A student of `geometry` with the teacher's labels, and its maps; torch's generator draws what is random.

    Args:
        teacher: The fine-tuned teacher; its settings that are no sizes carry over.
        geometry: Sizes of the student; vocabulary, positions and token types must be the teacher's.
        init: ``random``; ``principal`` for embeddings along the principal directions of the teacher's; ``layers`` or
            ``first-layers`` for the teacher's own embeddings, pooler and layers, which takes its widths.
        dropout: Of hidden states and attention probabilities while training.
        copied: For each student layer the teacher layer, counted from 0, it begins as; see `copied_layers`.
    """
    settings = teacher.config
    with quiet_transformers():
        student = BertForSequenceClassification(
            BertConfig(
                vocab_size=geometry.vocab,
                hidden_size=geometry.hidden,
                num_hidden_layers=geometry.layers,
                num_attention_heads=geometry.heads,
                intermediate_size=geometry.intermediate,
                max_position_embeddings=geometry.positions,
                type_vocab_size=geometry.token_types,
                hidden_act=settings.hidden_act,
                layer_norm_eps=settings.layer_norm_eps,
                pad_token_id=settings.pad_token_id,
                hidden_dropout_prob=dropout,
                attention_probs_dropout_prob=dropout,
                id2label=settings.id2label,
                label2id=settings.label2id,
                problem_type=settings.problem_type,
            )
        )
    projections = Projections(geometry.hidden, settings.hidden_size)
    with torch.no_grad():
        if init == "principal":
            _start_from_principal_directions(student, teacher, projections)
        elif init in COPYING:
            _start_from_layers(student, teacher, projections, copied)
    return student, projections


def fit_projections(student: BertForSequenceClassification, teacher: PreTrainedModel, projections: Projections) -> None:
    """Fit W_e to the two models' embeddings of a sample of pieces; W_h begins as the same map."""
    ours, theirs = student.bert.embeddings, teacher.base_model.embeddings
    sample = torch.linspace(0, theirs.word_embeddings.num_embeddings - 1, 64 * 64).long().view(64, 64)
    sample = sample[torch.randperm(64)][:, : ours.position_embeddings.num_embeddings]
    was_training = ours.training
    ours.eval()
    with torch.no_grad():
        projections.embedding.copy_(least_squares(ours(sample).flatten(0, 1), theirs(sample).flatten(0, 1)))
        projections.hidden.copy_(projections.embedding)  # the residual stream carries the embeddings upwards
    ours.train(was_training)


def principal_basis(matrix: Tensor, *, count: int) -> Tensor:
    """`count` orthonormal directions [width, count] that hold the most of the rows of `matrix`, mixed by a rotation.

    Without the rotation the first features would hold nearly all the variance, and the LayerNorm that follows
    divides by it. Directions beyond the width of `matrix` are zero.
    """
    moments = matrix.double().T @ matrix.double()
    directions = torch.linalg.eigh(moments).eigenvectors.flip(1)[:, :count]
    rotation = torch.linalg.qr(torch.randn(count, count, dtype=torch.float64)).Q
    basis: Tensor = directions @ rotation[: directions.shape[1]]
    return basis.float()


def _start_from_principal_directions(
    student: BertForSequenceClassification, teacher: PreTrainedModel, projections: Projections
) -> None:
    """Project the teacher's embedding tables; fit W_e (and W_h, to begin with) to the two models' embeddings."""
    ours, theirs = student.bert.embeddings, teacher.base_model.embeddings
    width, teacher_width = projections.embedding.shape
    if width == teacher_width:  # all directions at once, and then LayerNorm's gain and bias fit too
        basis = torch.eye(width)
        ours.LayerNorm.load_state_dict(theirs.LayerNorm.state_dict())
    else:
        basis = principal_basis(theirs.word_embeddings.weight, count=width)
    for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
        getattr(ours, name).weight.copy_(getattr(theirs, name).weight @ basis)
    fit_projections(student, teacher, projections)


def _start_from_layers(
    student: BertForSequenceClassification,
    teacher: PreTrainedModel,
    projections: Projections,
    copied: tuple[int, ...],
) -> None:
    """Embeddings, pooler and the layers of `copied` are the teacher's; the classifier begins anew, as in both papers.

    Widths are equal, so W_e and W_h begin as the identity.
    """
    ours, theirs = student.bert, teacher.base_model
    ours.embeddings.load_state_dict(theirs.embeddings.state_dict())
    ours.pooler.load_state_dict(theirs.pooler.state_dict())
    for layer, source in zip(ours.encoder.layer, copied, strict=True):
        layer.load_state_dict(theirs.encoder.layer[source].state_dict())
    for weight in (projections.embedding, projections.hidden):
        nn.init.eye_(weight)


def least_squares(inputs: Tensor, outputs: Tensor) -> Tensor:
    """The matrix W that brings ``inputs @ W`` closest to `outputs`, with a slight ridge."""
    inputs, outputs = inputs.double(), outputs.double()
    moments = inputs.T @ inputs
    ridge = RIDGE * moments.diagonal().mean() * torch.eye(len(moments), dtype=moments.dtype)
    weights: Tensor = torch.linalg.solve(moments + ridge, inputs.T @ outputs)
    return weights.float()
