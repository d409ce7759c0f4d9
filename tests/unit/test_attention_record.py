"""The recorded scores are those the model itself turns into its attention."""

from pathlib import Path

import pytest
import torch

from compressbench.methods.distill.attention_record import AttentionRecord, use_recording_attention
from compressbench.models.loading import load_classifier
from compressbench.numerics.distillation_losses import MASKED_SCORE

IDS = torch.tensor([[2, 7, 9, 11, 3], [2, 8, 3, 0, 0]])
MASK = (IDS != 0).long()


def test_softmax_of_scores_and_mask_is_the_models_attention(tiny_classifier: Path) -> None:
    """Against transformers' own eager attention, in a model that has never seen ours."""
    plain, recording = load_classifier(tiny_classifier), load_classifier(tiny_classifier)
    plain.set_attn_implementation("eager")
    use_recording_attention(recording)
    record = AttentionRecord((0, 1))
    with torch.inference_mode():
        expected = plain(IDS, attention_mask=MASK, output_attentions=True)
        answer = recording(IDS, attention_mask=MASK, attention_record=record)
    keys = torch.where(MASK.bool(), 0.0, -torch.inf)[None, :, None, None, :]
    torch.testing.assert_close((record.stacked() + keys).softmax(dim=-1), torch.stack(expected.attentions))
    torch.testing.assert_close(answer.logits, expected.logits)


def test_probabilities_are_recorded_on_request(tiny_classifier: Path) -> None:
    model = load_classifier(tiny_classifier)
    use_recording_attention(model)
    record = AttentionRecord((1,), target="probabilities")
    with torch.inference_mode():
        expected = model(IDS, attention_mask=MASK, attention_record=record, output_attentions=True)
    assert record.stacked().equal(expected.attentions[1][None])


def test_layers_come_in_the_order_asked_for(tiny_classifier: Path) -> None:
    model = load_classifier(tiny_classifier)
    use_recording_attention(model)
    rising, falling = AttentionRecord((0, 1)), AttentionRecord((1, 0))
    with torch.inference_mode():
        for record in (rising, falling):
            model(IDS, attention_mask=MASK, attention_record=record)
    assert rising.stacked().equal(falling.stacked().flip(0))
    assert not rising.stacked()[0].equal(rising.stacked()[1])


def test_very_low_scores_are_recorded_as_zero() -> None:
    record = AttentionRecord((0,))
    scores = torch.tensor([[[[2 * MASKED_SCORE, 1.5]]]])
    record.see(0, scores=scores, probabilities=scores)
    record.see(1, scores=scores + 1, probabilities=scores)
    assert record.stacked().tolist() == [[[[[0.0, 1.5]]]]]


@pytest.mark.parametrize("dropout", [0.0, 0.9])
def test_dropout_acts_while_training_alone(tiny_classifier: Path, dropout: float) -> None:
    model = load_classifier(tiny_classifier)
    use_recording_attention(model)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.bert.encoder.layer[0].attention.self.dropout.p = dropout
    with torch.no_grad():
        quiet = model.eval()(IDS, attention_mask=MASK).logits
        torch.manual_seed(0)
        loud = model.train()(IDS, attention_mask=MASK).logits
    assert quiet.equal(loud) == (dropout == 0.0)
