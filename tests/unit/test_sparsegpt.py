"""Pruning without training, as a method: what is zero, what stays alike, what is refused."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import DistilBertConfig, DistilBertForSequenceClassification, PreTrainedModel

from compressbench.artifacts.artifact import Artifact
from compressbench.errors import BadInput, InvalidParameter
from compressbench.methods.chain import parse_chain
from compressbench.methods.checkpoint import Checkpoint, Snapshot
from compressbench.methods.iterative_pruning import linear_weights
from compressbench.methods.layer_reconstruction import STAGE, prune_layers
from compressbench.methods.method import Context
from compressbench.methods.sparsegpt import PruneSparsegpt
from compressbench.models.loading import load_classifier, save_classifier
from compressbench.numerics.pruning_masks import apply_masks, global_magnitude_masks
from compressbench.numerics.reconstruction import prune_and_reconstruct
from tests.interrupting import Interrupting

AsArtifact = Callable[..., Artifact]
ROWS = torch.tensor([[2, 6, 7, 15, 3, 0, 0], [2, 9, 8, 12, 10, 14, 3], [2, 5, 3, 0, 0, 0, 0]])
BATCH = {"input_ids": ROWS, "attention_mask": (ROWS > 0).long()}


def logits_of(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(**BATCH).logits
    return found


def test_each_layer_loses_its_share_and_answers_stay(
    tiny_teacher: Path, tiny_context: Context, as_artifact: AsArtifact
) -> None:
    made = PruneSparsegpt(amount=0.6).compress(as_artifact(tiny_teacher), tiny_context)
    whole, pruned = load_classifier(tiny_teacher), load_classifier(tiny_context.to)
    weights = linear_weights(pruned)
    zeros = {name: int((each == 0).sum()) for name, each in weights.items()}
    assert sum(zeros.values()) == made.budget["pruned_weights"] == round(0.6 * sum(w.numel() for w in weights.values()))
    assert all(abs(zeros[name] - 0.6 * each.numel()) <= 1 for name, each in weights.items())
    assert made.budget["rows"] == len(tiny_context.train)
    plain = load_classifier(tiny_teacher)
    by_magnitude = linear_weights(plain)
    apply_masks(by_magnitude, global_magnitude_masks(by_magnitude, sparsity=0.6))
    far, near = ((logits_of(each) - logits_of(whole)).abs().mean() for each in (plain, pruned))
    assert float(near) < 0.5 * float(far)
    assert pruned.bert.embeddings.word_embeddings.weight.equal(whole.bert.embeddings.word_embeddings.weight)


def test_a_layer_sees_what_the_pruned_ones_before_it_give(tiny_teacher: Path) -> None:
    """The second layer's key against one that is solved by hand from the outputs of the pruned first layer."""
    model, whole = load_classifier(tiny_teacher), load_classifier(tiny_teacher)
    masks: dict[str, torch.Tensor] = {}
    prune_layers(model, [BATCH], amount=0.5, masks=masks, end_layer=lambda: None)
    with torch.no_grad():
        states = model(**BATCH, output_hidden_states=True).hidden_states[1][BATCH["attention_mask"].bool()]
    key = "bert.encoder.layer.1.attention.self.key.weight"
    before, after = (linear_weights(each)[key].detach() for each in (whole, model))
    count = int((~masks[key]).sum())
    found, kept = prune_and_reconstruct(before, states.T @ states, count=count)
    assert kept.equal(masks[key])
    torch.testing.assert_close(after, found, rtol=1e-3, atol=1e-5)


def test_padding_counts_for_nothing(tiny_teacher: Path) -> None:
    wider = {name: torch.nn.functional.pad(each, (0, 5)) for name, each in BATCH.items()}
    models = [load_classifier(tiny_teacher) for _ in range(2)]
    for model, batch in zip(models, (BATCH, wider), strict=True):
        prune_layers(model, [batch], amount=0.5, masks={}, end_layer=lambda: None)
    torch.testing.assert_close(logits_of(models[0]), logits_of(models[1]), rtol=1e-3, atol=1e-4)


def test_rows_are_drawn_by_the_seed(tiny_teacher: Path, tiny_context: Context, as_artifact: AsArtifact) -> None:
    found = []
    for place, seed in enumerate((1, 1, 2)):
        to = tiny_context.to / str(place)
        to.mkdir()
        context = dataclasses.replace(tiny_context, to=to, seed=seed)
        PruneSparsegpt(calibration_rows=16).compress(as_artifact(tiny_teacher), context)
        found.append(torch.cat([each.flatten() for each in linear_weights(load_classifier(to)).values()]))
    assert found[0].equal(found[1])
    assert not found[0].equal(found[2])


@pytest.mark.parametrize("after", [1, 2, 3])
def test_what_was_interrupted_goes_on_at_the_next_layer(
    after: int, tiny_teacher: Path, tiny_context: Context, as_artifact: AsArtifact, tmp_path: Path
) -> None:
    """Two encoder layers, and what is outside of them, the file written between them; as in one go, bit for bit."""
    method, source = PruneSparsegpt(), as_artifact(tiny_teacher)
    method.compress(source, tiny_context)
    whole = linear_weights(load_classifier(tiny_context.to))
    stage, stopped, goes_on = f"prune {tiny_context.task.name}", tmp_path / "state", Interrupting()
    context = dataclasses.replace(
        tiny_context, checkpoint=Checkpoint(path=stopped), progress=Interrupting(stage, after)
    )
    with pytest.raises(KeyboardInterrupt):
        method.compress(source, context)
    weights_seen = len(load_file(stopped)) // 2
    method.compress(source, dataclasses.replace(tiny_context, checkpoint=Checkpoint(path=stopped), progress=goes_on))
    resumed = linear_weights(load_classifier(tiny_context.to))
    assert goes_on.began == {stage: after}
    assert weights_seen == min(6 * after, len(whole) - 2) + 2 * (after == 3)
    assert [name for name, each in whole.items() if not each.equal(resumed[name])] == []


def test_masks_of_another_model_are_refused_on_resume(
    tiny_teacher: Path, tiny_context: Context, as_artifact: AsArtifact, tmp_path: Path
) -> None:
    kept = {name: torch.zeros(2, 3) for name in ("weight.bert.pooler.dense.weight", "mask.bert.pooler.dense.weight")}
    checkpoint = Checkpoint(path=tmp_path / "state.safetensors")
    checkpoint.write(Snapshot(stage=STAGE, values={"done": 1}, tensors=kept))
    with pytest.raises(
        BadInput, match=r"state\.safetensors: .* masks of another model \(bert.pooler.* is \[2, 3\] there"
    ):
        PruneSparsegpt().compress(as_artifact(tiny_teacher), dataclasses.replace(tiny_context, checkpoint=checkpoint))
    assert (tmp_path / "state.safetensors").exists()


@pytest.mark.parametrize("amount", [0.0, 1.0, float("nan")])
def test_an_amount_that_is_no_share_is_refused(amount: float) -> None:
    with pytest.raises(InvalidParameter, match=r"is no share above 0 and below 1: use a number such as 0\.5"):
        PruneSparsegpt(amount=amount)


def test_what_has_no_classifier_or_other_layers_is_refused(
    tiny_encoder: Path, tiny_context: Context, as_artifact: AsArtifact, tmp_path: Path
) -> None:
    with pytest.raises(
        BadInput, match=r"takes a fine-tuned classifier and .* is none: write finetune\+prune-sparsegpt"
    ):
        PruneSparsegpt().compress(as_artifact(tiny_encoder), tiny_context)
    config = DistilBertConfig(vocab_size=40, dim=8, n_layers=1, n_heads=2, hidden_dim=8)
    other = DistilBertForSequenceClassification(config)
    save_classifier(other, tokenizer_from=tiny_encoder, to=tmp_path / "other")
    (method,) = parse_chain("prune-sparsegpt")
    with pytest.raises(BadInput, match=r"holds a model of type distilbert: use prune:amount=0\.5"):
        method.check_against(tmp_path / "other")
