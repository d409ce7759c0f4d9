import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertForSequenceClassification, BertModel

from compressbench.errors import InvalidParameter
from compressbench.models.growth import add_noise, grow_depth, grow_inside, slim_inside


def tiny_config(layers: int, *, seed: int = 0) -> BertConfig:
    torch.manual_seed(seed)
    return BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=layers,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=16,
        initializer_range=0.3,
        num_labels=3,
    )


def shaken(model: torch.nn.Module) -> torch.nn.Module:
    """Gains and biases away from 1 and 0, as training leaves them."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model.eval()


INPUTS = {
    "input_ids": torch.tensor([[2, 7, 9, 3, 0, 0], [2, 5, 6, 8, 11, 3]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]),
}


@settings(deadline=None, max_examples=20)
@given(have=st.integers(1, 4), more=st.integers(0, 7), seed=st.integers(0, 99))
def test_hidden_states_of_the_last_layer_stay(have: int, more: int, seed: int) -> None:
    model = shaken(BertModel(tiny_config(have, seed=seed)))
    grown = grow_depth(model, layers=have + more)
    assert len(grown.encoder.layer) == grown.config.num_hidden_layers == have + more
    with torch.inference_mode():
        before, after = model(**INPUTS), grown(**INPUTS)
    torch.testing.assert_close(after.last_hidden_state, before.last_hidden_state, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after.pooler_output, before.pooler_output, rtol=1e-4, atol=1e-4)


def test_a_classifier_gives_the_same_logits_and_its_original_is_left_alone() -> None:
    model = shaken(BertForSequenceClassification(tiny_config(3)))
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    grown = grow_depth(model, layers=12)
    with torch.inference_mode():
        torch.testing.assert_close(grown(**INPUTS).logits, model(**INPUTS).logits, rtol=1e-4, atol=1e-4)
    assert model.config.num_hidden_layers == 3
    assert all(kept[name].equal(tensor) for name, tensor in model.state_dict().items())


def test_new_layers_learn_from_the_first_step() -> None:
    grown = grow_depth(shaken(BertForSequenceClassification(tiny_config(1))), layers=3)
    grown(**INPUTS, labels=torch.tensor([0, 2])).loss.backward()
    for layer in grown.bert.encoder.layer[1:]:
        assert not layer.output.dense.weight.any()
        assert layer.output.dense.weight.grad.abs().max() > 0


def test_it_saves_and_loads_as_any_bert(tmp_path: object) -> None:
    grown = grow_depth(shaken(BertModel(tiny_config(2))), layers=5)
    grown.save_pretrained(tmp_path)
    with torch.inference_mode():
        again = BertModel.from_pretrained(tmp_path).eval()(**INPUTS).last_hidden_state
        torch.testing.assert_close(again, grown(**INPUTS).last_hidden_state)


def test_shrinking_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="a model of 3 layers cannot grow to 2: ask for 3 or more"):
        grow_depth(BertModel(tiny_config(3)), layers=2)


@settings(deadline=None, max_examples=10)
@given(heads=st.integers(1, 3), more=st.integers(0, 30), seed=st.integers(0, 99))
def test_more_heads_and_neurons_change_nothing_and_fit_a_plain_bert(heads: int, more: int, seed: int) -> None:
    slim = shaken(slim_inside(BertModel(tiny_config(2, seed=seed)), heads=heads))
    grown = grow_inside(slim, heads=3, intermediate=40 + more, seed=seed)
    with torch.inference_mode():
        before = slim(**INPUTS).last_hidden_state
        torch.testing.assert_close(grown(**INPUTS).last_hidden_state, before, rtol=1e-4, atol=1e-4)
        plain = BertModel(grown.config).eval()
        plain.load_state_dict(grown.state_dict())
        torch.testing.assert_close(plain(**INPUTS).last_hidden_state, before, rtol=1e-4, atol=1e-4)


def test_fewer_neurons_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="layers of 40 units inside cannot grow to 39: ask for 40 or more"):
        grow_inside(BertModel(tiny_config(1)), heads=3, intermediate=39, seed=0)


def test_noise_falls_on_zeros_alone() -> None:
    model = grow_depth(shaken(BertModel(tiny_config(1))), layers=2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    after = add_noise(model, relative=0.1, seed=0).state_dict()
    was_zero = before["encoder.layer.1.output.dense.weight"] == 0
    assert was_zero.all()
    assert float(after["encoder.layer.1.output.dense.weight"].std()) == pytest.approx(0.03, rel=0.1)
    kept = [name for name, tensor in before.items() if "LayerNorm" in name or "bias" in name or "layer.0" in name]
    assert all(before[name].equal(after[name]) for name in kept)
