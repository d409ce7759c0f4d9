from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from compressbench.methods.distill.student import (
    Projections,
    least_squares,
    new_student,
    principal_basis,
)
from compressbench.methods.fit_savings import only_rows_in_use
from compressbench.models.geometry import Geometry, geometry_of
from compressbench.models.loading import load_classifier
from compressbench.prediction import EncodedRows

SMALL = Geometry(layers=1, hidden=16, heads=2, intermediate=24, vocab=40, positions=64)


def embedding_error(student: torch.nn.Module, projections: Projections, teacher: torch.nn.Module) -> float:
    ids = torch.arange(40).view(4, 10)
    with torch.no_grad():
        ours, theirs = student.bert.embeddings.eval()(ids), teacher.bert.embeddings.eval()(ids)
        return float((ours @ projections.embedding - theirs).square().mean())


@pytest.mark.parametrize("init", ["principal", "random"])
def test_student_has_its_geometry_and_the_teachers_labels(tiny_classifier: Path, init: str) -> None:
    teacher = load_classifier(tiny_classifier)
    student, projections = new_student(teacher, SMALL, init=init, dropout=0.2)
    assert geometry_of(student.config) == SMALL
    assert student.config.id2label == {0: "bad", 1: "good"}
    assert student.config.hidden_dropout_prob == student.config.attention_probs_dropout_prob == 0.2
    assert projections.embedding.shape == projections.hidden.shape == (16, 32)


@pytest.mark.parametrize(("name", "millions"), [("tinybert4", 14.35), ("tinybert6", 66.96)])
def test_students_have_the_papers_size(name: str, millions: float) -> None:
    """The paper's 14.5 and 67 million, pooler and classifier included; W_e and W_h are no part of it."""
    from transformers import BertConfig, BertForSequenceClassification

    from compressbench.models.geometry import STUDENTS

    shallow = BertConfig(num_hidden_layers=1)
    with torch.device("meta"):
        teacher = BertForSequenceClassification(shallow)
        student, _ = new_student(teacher, STUDENTS[name], init="random", dropout=0.0)
    assert round(sum(each.numel() for each in student.parameters()) / 1e6, 2) == millions


def test_principal_start_has_most_of_the_embedding_loss_solved(tiny_classifier: Path) -> None:
    teacher = load_classifier(tiny_classifier)
    errors = {}
    for init in ("principal", "random"):
        torch.manual_seed(0)
        student, projections = new_student(teacher, SMALL, init=init, dropout=0.0)
        errors[init] = embedding_error(student, projections, teacher)
    assert errors["principal"] < errors["random"] / 2


def test_a_student_of_the_teachers_width_starts_with_its_embeddings(tiny_classifier: Path) -> None:
    teacher = load_classifier(tiny_classifier)
    student, projections = new_student(teacher, replace(SMALL, hidden=32), init="principal", dropout=0.0)
    assert embedding_error(student, projections, teacher) < 1e-3


def test_a_wider_student_can_start_from_principal_directions(tiny_classifier: Path) -> None:
    teacher = load_classifier(tiny_classifier)
    student, projections = new_student(teacher, replace(SMALL, hidden=48), init="principal", dropout=0.0)
    assert embedding_error(student, projections, teacher) < 1e-2


def test_copied_layers_are_the_teachers_weight_for_weight(tiny_classifier: Path) -> None:
    teacher = load_classifier(tiny_classifier)
    geometry = replace(SMALL, hidden=32, intermediate=64)
    student, projections = new_student(teacher, geometry, init="layers", dropout=0.0, copied=(1,))
    ours, theirs = student.bert.state_dict(), teacher.bert.state_dict()
    for name, tensor in ours.items():
        assert tensor.equal(theirs[name.replace("layer.0.", "layer.1.")]), name
    assert not student.classifier.weight.equal(teacher.classifier.weight)
    assert projections.embedding.equal(torch.eye(32))
    assert projections.hidden.equal(torch.eye(32))


def test_a_whole_copy_answers_as_the_teachers_encoder(tiny_classifier: Path) -> None:
    teacher = load_classifier(tiny_classifier).eval()
    geometry = replace(SMALL, hidden=32, intermediate=64, layers=2)
    student, _ = new_student(teacher, geometry, init="layers", dropout=0.0, copied=(0, 1))
    ids = torch.arange(40).view(4, 10)
    with torch.no_grad():
        ours, theirs = student.eval().bert(ids), teacher.bert(ids)
    torch.testing.assert_close(ours.pooler_output, theirs.pooler_output)


def test_basis_spans_the_leading_right_singular_vectors() -> None:
    matrix = torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * torch.logspace(1, -1, 8)
    basis = principal_basis(matrix, count=3).numpy()
    leading = np.linalg.svd(matrix.numpy())[2][:3].T
    assert_allclose(basis.T @ basis, np.eye(3), atol=1e-5)
    assert_allclose(basis @ basis.T, leading @ leading.T, atol=1e-4)


def test_least_squares_agrees_with_numpy() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, outputs = torch.randn(200, 4, generator=generator), torch.randn(200, 6, generator=generator)
    expected = np.linalg.lstsq(inputs.numpy(), outputs.numpy(), rcond=None)[0]
    assert_allclose(least_squares(inputs, outputs).numpy(), expected, atol=1e-3)


@pytest.fixture
def few_pieces() -> EncodedRows:
    return EncodedRows(input_ids=[[2, 9, 31, 3], [2, 31, 3]], token_type_ids=[[0] * 4, [0] * 3], pad_id=0)


def test_rows_in_use_look_up_the_same_embeddings(tiny_classifier: Path, few_pieces: EncodedRows) -> None:
    student = load_classifier(tiny_classifier)
    rows = np.array([0, 1])

    def logits(encoded: EncodedRows) -> torch.Tensor:
        with torch.no_grad():
            return student(**{name: torch.from_numpy(part) for name, part in encoded.batch(rows).items()}).logits

    before = logits(few_pieces)
    with only_rows_in_use(student, few_pieces) as numbered:
        assert student.bert.embeddings.word_embeddings.num_embeddings == 5
        assert logits(numbered).equal(before)
    assert student.bert.embeddings.word_embeddings.num_embeddings == 40
    assert logits(few_pieces).equal(before)


def test_what_the_used_rows_learn_is_kept_even_when_interrupted(tiny_classifier: Path, few_pieces: EncodedRows) -> None:
    student = load_classifier(tiny_classifier)
    before = student.bert.embeddings.word_embeddings.weight.detach().clone()

    def learn_and_stop() -> None:
        with only_rows_in_use(student, few_pieces), torch.no_grad():
            student.bert.embeddings.word_embeddings.weight.add_(1.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn_and_stop()
    changed = (student.bert.embeddings.word_embeddings.weight != before).any(dim=1).nonzero().flatten()
    assert changed.tolist() == [0, 2, 3, 9, 31]
