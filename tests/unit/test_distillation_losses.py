"""Each loss against plain numpy loops over real tokens, and against what stands in the padding."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compressbench.numerics.distillation_losses import (
    attention_loss,
    cleared_scores,
    cosine_loss,
    embedding_loss,
    hidden_loss,
    logits_mse,
    patience_loss,
    soft_cross_entropy,
)

LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=4)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def padding_mask(lengths: list[int], *, extra: int = 0) -> Tensor:
    return torch.arange(max(lengths) + extra)[None, :] < torch.tensor(lengths)[:, None]


def numpy_mse(student: np.ndarray, teacher: np.ndarray, projection: np.ndarray, lengths: list[int]) -> float:
    """Over real tokens one by one: [batch, tokens, width]."""
    squares = [
        (student[row, token] @ projection - teacher[row, token]) ** 2
        for row, length in enumerate(lengths)
        for token in range(length)
    ]
    return float(np.mean(squares))


@given(LENGTHS)
@settings(deadline=None)
def test_embedding_loss_is_the_mean_over_real_tokens(lengths: list[int]) -> None:
    mask = padding_mask(lengths)
    student, teacher, projection = drawn(*mask.shape, 3, seed=0), drawn(*mask.shape, 5, seed=1), drawn(3, 5, seed=2)
    loss = embedding_loss(student, teacher, projection=projection, mask=mask)
    expected = numpy_mse(student.numpy(), teacher.numpy(), projection.numpy(), lengths)
    assert loss.shape == ()
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@given(LENGTHS)
@settings(deadline=None)
def test_hidden_loss_gives_each_layer_its_own_mean(lengths: list[int]) -> None:
    mask = padding_mask(lengths)
    student, teacher = drawn(2, *mask.shape, 3, seed=0), drawn(2, *mask.shape, 5, seed=1)
    projection = drawn(3, 5, seed=2)
    losses = hidden_loss(student, teacher, projection=projection, mask=mask)
    expected = [
        numpy_mse(ours, theirs, projection.numpy(), lengths)
        for ours, theirs in zip(student.numpy(), teacher.numpy(), strict=True)
    ]
    assert losses.tolist() == pytest.approx(expected, rel=1e-5)


@given(LENGTHS)
@settings(deadline=None)
def test_attention_loss_is_the_mean_over_heads_of_each_heads_mse(lengths: list[int]) -> None:
    mask = padding_mask(lengths)
    batch, tokens = mask.shape
    student, teacher = (drawn(2, batch, 3, tokens, tokens, seed=seed) for seed in (0, 1))
    losses = attention_loss(student, teacher, mask=mask)
    for layer in range(2):
        per_head = [
            np.mean(
                np.concatenate(
                    [
                        (student[layer, row, head, :n, :n] - teacher[layer, row, head, :n, :n]).numpy().ravel() ** 2
                        for row, n in enumerate(lengths)
                    ]
                )
            )
            for head in range(3)
        ]
        assert float(losses[layer]) == pytest.approx(float(np.mean(per_head)), rel=1e-5)


@given(LENGTHS, st.integers(0, 3), st.sampled_from([0.0, 1.0, -7.5, 1e4]))
@settings(deadline=None)
def test_padding_never_counts(lengths: list[int], extra: int, filling: float) -> None:
    """More padding, and whatever stands in it, changes neither a loss nor a gradient."""
    plain, padded = padding_mask(lengths), padding_mask(lengths, extra=extra)
    student, teacher = drawn(*plain.shape, 3, seed=0), drawn(*plain.shape, 5, seed=1)
    projection = drawn(3, 5, seed=2).requires_grad_()
    batch, tokens = plain.shape
    ours, theirs = (drawn(batch, 2, tokens, tokens, seed=seed) for seed in (3, 4))

    def losses(mask: Tensor, fill: float) -> tuple[float, float, Tensor]:
        wider = mask.shape[1] - tokens
        filled = [
            torch.nn.functional.pad(part, (0, 0, 0, wider), value=fill).where(mask[..., None], fill)
            for part in (student, teacher)
        ]
        pairs = (mask[:, :, None] & mask[:, None, :])[:, None]
        scores = [
            torch.nn.functional.pad(part, (0, wider, 0, wider), value=fill).where(pairs, torch.tensor(fill) * sign)
            for part, sign in ((ours, 1), (theirs, -1))
        ]
        hidden = hidden_loss(filled[0], filled[1], projection=projection, mask=mask)
        (gradient,) = torch.autograd.grad(hidden, projection)
        return hidden.item(), float(attention_loss(scores[0], scores[1], mask=mask)), gradient

    hidden, attention, gradient = losses(plain, 0.0)
    hidden_padded, attention_padded, gradient_padded = losses(padded, filling)
    assert hidden_padded == pytest.approx(hidden, rel=1e-5)
    assert attention_padded == pytest.approx(attention, rel=1e-5)
    torch.testing.assert_close(gradient_padded, gradient)


def test_scores_of_a_mask_are_compared_as_zero() -> None:
    scores = torch.tensor([-10000.0, -100.0, -99.0, 0.0, 250.0])
    assert cleared_scores(scores).tolist() == [0.0, 0.0, -99.0, 0.0, 250.0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_soft_cross_entropy_is_the_formula(temperature: float) -> None:
    student, teacher = drawn(7, 3, seed=0).double(), drawn(7, 3, seed=1).double()
    ours, theirs = student.numpy() / temperature, teacher.numpy() / temperature
    target = np.exp(theirs) / np.exp(theirs).sum(axis=1, keepdims=True)
    log_answer = ours - np.log(np.exp(ours).sum(axis=1, keepdims=True))
    expected = -(target * log_answer).sum(axis=1).mean()
    assert float(soft_cross_entropy(student, teacher, temperature=temperature)) == pytest.approx(expected, rel=1e-5)


def test_soft_cross_entropy_with_a_certain_teacher_is_the_plain_one() -> None:
    student, labels = drawn(5, 4, seed=0), torch.tensor([0, 3, 1, 1, 2])
    certain = torch.nn.functional.one_hot(labels, 4) * 100.0
    plain = torch.nn.functional.cross_entropy(student, labels)
    assert float(soft_cross_entropy(student, certain)) == pytest.approx(float(plain), rel=1e-5)


@given(st.floats(0.25, 8))
@settings(deadline=None)
def test_soft_cross_entropy_is_least_where_the_student_agrees(temperature: float) -> None:
    teacher, other = drawn(6, 3, seed=1), drawn(6, 3, seed=2)
    agreeing = float(soft_cross_entropy(teacher, teacher, temperature=temperature))
    assert agreeing <= float(soft_cross_entropy(other, teacher, temperature=temperature)) + 1e-6


def test_regression_learns_logits_by_their_squared_error() -> None:
    student, teacher = drawn(9, 1, seed=0), drawn(9, 1, seed=1)
    assert float(logits_mse(student, teacher)) == pytest.approx(float(np.mean((student - teacher).numpy() ** 2)))


def test_patience_is_the_squared_distance_of_unit_vectors_over_the_width() -> None:
    student, teacher = drawn(2, 5, 8, seed=0), drawn(2, 5, 8, seed=1)
    losses = patience_loss(student, teacher)
    for layer in range(2):
        squared = [
            np.sum((ours / np.linalg.norm(ours) - theirs / np.linalg.norm(theirs)) ** 2)
            for ours, theirs in zip(student[layer].numpy(), teacher[layer].numpy(), strict=True)
        ]
        assert float(losses[layer]) == pytest.approx(float(np.mean(squared)) / 8, rel=1e-5)


@given(st.floats(0.01, 100), st.floats(0.01, 100))
@settings(deadline=None)
def test_patience_and_cosine_know_directions_only(ours: float, theirs: float) -> None:
    """Lengths do not matter, and on unit vectors ``|a - b|^2 = 2 (1 - cos)``."""
    student, teacher = drawn(4, 6, seed=0), drawn(4, 6, seed=1)
    patience = float(patience_loss(ours * student, theirs * teacher))
    cosine = float(cosine_loss(ours * student[None], theirs * teacher[None], mask=torch.ones(1, 4, dtype=torch.bool)))
    assert patience == pytest.approx(float(patience_loss(student, teacher)), rel=1e-4)
    assert patience * 6 == pytest.approx(2 * cosine, rel=1e-4)


@given(LENGTHS, st.sampled_from([0.0, 3.0, -1e4]))
@settings(deadline=None)
def test_cosine_loss_agrees_with_torchs_over_real_tokens(lengths: list[int], filling: float) -> None:
    mask = padding_mask(lengths, extra=1)
    student, teacher = (drawn(*mask.shape, 5, seed=seed).where(mask[..., None], filling) for seed in (0, 1))
    expected = torch.nn.functional.cosine_embedding_loss(student[mask], teacher[mask], torch.ones(sum(lengths)))
    assert float(cosine_loss(student, teacher, mask=mask)) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_losses_are_fp32_whatever_comes_in(dtype: torch.dtype) -> None:
    mask = padding_mask([2, 3])
    student, teacher, projection = (drawn(*shape, seed=0).to(dtype) for shape in ((2, 3, 3), (2, 3, 5), (3, 5)))
    scores = drawn(2, 2, 3, 3, seed=0).to(dtype)
    assert hidden_loss(student, teacher, projection=projection, mask=mask).dtype == torch.float32
    assert attention_loss(scores, scores, mask=mask).dtype == torch.float32
    assert soft_cross_entropy(student[0], student[1]).dtype == torch.float32
    assert patience_loss(student[:, 0], student[:, 1]).dtype == torch.float32
    assert cosine_loss(student, student, mask=mask).dtype == torch.float32
