"""Heads, FFN columns and layers taken out: which go, and that what is left computes the same in less."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, BertForSequenceClassification

from compressbench.artifacts.artifact import ONNX_NAME, Artifact
from compressbench.errors import BadInput, InvalidParameter
from compressbench.methods.chain import parse_chain
from compressbench.methods.method import Context
from compressbench.methods.prune import Prune
from compressbench.methods.structured_pruning import take_out
from compressbench.methods.unit_importance import Importance, gradient_importance, magnitude_importance
from compressbench.models.geometry import geometry_of
from compressbench.models.loading import load_classifier
from compressbench.models.removal import Removal, slimmed
from compressbench.models.slimming import encoder_layers, keep_columns, keep_heads, keep_layers
from tests.conftest import TINY

FAST = {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3, "precision": "fp32", "train_rows": "all"}
INPUTS = {
    "input_ids": torch.tensor([[2, 6, 7, 15, 3, 0], [2, 5, 8, 9, 19, 3]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]),
}


@pytest.fixture
def model(tiny_classifier: Path) -> BertForSequenceClassification:
    """With weights large enough that every part matters."""
    model = load_classifier(tiny_classifier)
    with torch.no_grad():
        for parameter in encoder_layers(model).parameters():
            parameter.mul_(4) if parameter.dim() == 2 else None
    return model


def logits(model: BertForSequenceClassification) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(**INPUTS).logits
    return found


def logits_of(onnx_path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(onnx_path, providers=["CPUExecutionProvider"])
    feeds = {name: each.numpy() for name, each in INPUTS.items()}
    feeds["token_type_ids"] = np.zeros_like(feeds["input_ids"])
    found: np.ndarray = session.run(None, {each.name: feeds[each.name] for each in session.get_inputs()})[0]
    return found


def test_removed_units_are_as_if_their_outputs_were_zero(model: BertForSequenceClassification) -> None:
    kept_heads, kept_columns = [[1], [0]], [list(range(0, 64, 2)), list(range(32))]
    with torch.no_grad():
        masked = BertForSequenceClassification(model.config).eval()
        masked.load_state_dict(model.state_dict())
        for layer, heads, columns in zip(encoder_layers(masked), kept_heads, kept_columns, strict=True):
            for head in {0, 1} - set(heads):
                layer.attention.output.dense.weight[:, 16 * head : 16 * (head + 1)] = 0
            gone = sorted(set(range(64)) - set(columns))
            layer.output.dense.weight[:, gone] = 0
    before = logits(model)
    keep_heads(model, kept_heads)
    keep_columns(model, kept_columns)
    assert torch.allclose(logits(model), logits(masked), atol=1e-6)
    assert not torch.allclose(before, logits(model), atol=1e-3)
    assert encoder_layers(model)[0].attention.self.query.out_features == 16
    assert model.config.num_attention_heads == 1
    assert model.config.intermediate_size == 32


def test_kept_layers_are_numbered_anew(model: BertForSequenceClassification) -> None:
    second = encoder_layers(model)[1]
    keep_layers(model, [1])
    assert list(encoder_layers(model)) == [second]
    assert second.attention.self.layer_idx == 0
    assert model.config.num_hidden_layers == 1


def test_gradient_importance_is_the_slope_of_the_loss_along_each_gate(model: BertForSequenceClassification) -> None:
    """Against central differences, in double precision, of a gate on one unit of one row."""
    model.double()
    labels = torch.tensor([0, 1])
    found = gradient_importance(model, [(INPUTS, labels)], functional.cross_entropy)

    def slope(modules: list[torch.nn.Module], *, part: slice | None) -> float:
        total = 0.0
        for row in range(2):
            losses = []
            for gate in (1 + 1e-5, 1 - 1e-5):

                def scaled(hidden: torch.Tensor, gate: float = gate, row: int = row) -> torch.Tensor:
                    changed = hidden.clone()
                    changed[row, :, part or slice(None)] *= gate
                    return changed

                if part is None:
                    hooks = [each.register_forward_hook(lambda _, __, out, f=scaled: f(out)) for each in modules]
                else:
                    hooks = [
                        each.register_forward_pre_hook(lambda _, args, f=scaled: (f(args[0]),)) for each in modules
                    ]
                with torch.no_grad():
                    losses.append(float(functional.cross_entropy(model(**INPUTS).logits, labels, reduction="sum")))
                for hook in hooks:
                    hook.remove()
            total += abs(losses[0] - losses[1]) / 2e-5
        return total

    for place, layer in enumerate(encoder_layers(model)):
        for head in range(2):
            expected = slope([layer.attention.output.dense], part=slice(16 * head, 16 * head + 16))
            assert float(found.heads[place, head]) == pytest.approx(expected, rel=1e-3)
        for column in (0, 17, 63):
            expected = slope([layer.output.dense], part=slice(column, column + 1))
            assert float(found.columns[place, column]) == pytest.approx(expected, rel=1e-3, abs=1e-7)
        expected = slope([layer.attention.output.dense, layer.output.dense], part=None)
        assert float(found.layers[place]) == pytest.approx(expected, rel=1e-3)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_magnitude_importance_is_the_norm_of_what_a_unit_owns(model: BertForSequenceClassification) -> None:
    found = magnitude_importance(model)
    layer = encoder_layers(model)[1].requires_grad_(False)
    attention = layer.attention
    own = [getattr(attention.self, name).weight[16:] for name in ("query", "key", "value")]
    own.append(attention.output.dense.weight[:, 16:])
    assert float(found.heads[1, 1]) == pytest.approx(float(torch.cat([each.ravel() for each in own]).norm()))
    column = torch.cat([layer.intermediate.dense.weight[5], layer.output.dense.weight[:, 5]])
    assert float(found.columns[1, 5]) == pytest.approx(float(column.norm()))
    written = torch.cat([attention.output.dense.weight.ravel(), layer.output.dense.weight.ravel()])
    assert float(found.layers[1]) == pytest.approx(float(written.norm()))


def test_the_most_important_stay_in_their_order(model: BertForSequenceClassification) -> None:
    columns = torch.zeros(2, 64)
    columns[0, [3, 60]], columns[1, [9, 10]] = torch.tensor([1.0, 2.0]), torch.tensor([5.0, 4.0])
    importance = Importance(heads=torch.tensor([[0.0, 1.0], [1.0, 0.0]]), columns=columns, layers=torch.ones(2))
    first = encoder_layers(model)[0]
    query, inner = first.attention.self.query.weight.clone(), first.intermediate.dense.weight.clone()
    before = geometry_of(model.config)
    take_out(model, importance, before, slimmed(before, Removal(heads=0.5, ffn=0.968, layers=0.5)))
    assert len(encoder_layers(model)) == 1
    left = encoder_layers(model)[0]
    assert torch.equal(left.attention.self.query.weight, query[16:])
    assert torch.equal(left.intermediate.dense.weight, inner[[3, 60]])


@pytest.mark.parametrize("importance", ["gradient", "magnitude"])
def test_without_heads_a_plain_hugging_face_folder_comes_out(
    importance: str, tiny_teacher: Path, as_artifact: Callable[..., Artifact], tiny_context: Context
) -> None:
    method = Prune(**FAST, structured="ffn-0.5-layers-0.5", importance=importance)
    assert method.makes == "torch"
    made = method.compress(as_artifact(tiny_teacher), tiny_context)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_context.to)
    assert (model.config.num_hidden_layers, model.config.intermediate_size) == (1, 32)
    assert made.geometry == geometry_of(model.config) == method.check(TINY)
    assert model.bert.encoder.layer[0].intermediate.dense.weight.shape == (32, 32)
    before, after = (sum(path.stat().st_size for path in (folder / "model.safetensors",))
                     for folder in (tiny_teacher, tiny_context.to))  # fmt: skip
    assert after < before


def test_with_heads_an_onnx_model_comes_out_that_answers_as_pytorch_does(
    tiny_teacher: Path, as_artifact: Callable[..., Artifact], tiny_context: Context, tmp_path: Path
) -> None:
    method = Prune(**FAST, structured="heads-0.5-ffn-0.5")
    assert method.makes == "onnx-fp32"
    made = method.compress(as_artifact(tiny_teacher), tiny_context)  # the export compares the logits
    assert made.geometry is not None
    assert "the model is ONNX alone" in made.warnings[-1]
    assert (made.geometry.heads, made.geometry.head_width, made.geometry.intermediate) == (1, 16, 32)
    shapes = {tuple(each.dims) for each in onnx.load(tiny_context.to / ONNX_NAME).graph.initializer}
    assert (32, 16) in shapes
    assert (16, 32) in shapes
    assert (32, 64) not in shapes
    config = json.loads((tiny_context.to / "config.json").read_text())
    assert (config["num_attention_heads"], config["attention_head_size"]) == (1, 16)
    assert config["id2label"] == {"0": "bad", "1": "good"}
    quantized = tmp_path / "quantized"
    quantized.mkdir()
    (quantize,) = parse_chain("quant-qdq:calibration_rows=32")
    geometry = made.geometry
    quantize.resolved(task=tiny_context.task).compress(
        as_artifact(tiny_context.to, format="onnx-fp32", geometry=geometry),
        dataclasses.replace(tiny_context, to=quantized),
    )
    answers = [logits_of(folder / ONNX_NAME) for folder in (tiny_context.to, quantized)]
    assert np.abs(answers[0] - answers[1]).max() < 0.2 * np.abs(answers[0]).max()


@pytest.mark.parametrize(
    ("chain", "fits"),
    [
        ("prune:structured=heads-0.33-ffn-0.5+quant-qdq", True),
        ("prune:structured=ffn-0.5+prune", True),
        ("distill+prune:structured=heads-0.33+quant-dynamic", True),
        ("prune:structured=heads-0.33+prune", False),
        ("prune:structured=heads-0.33+finetune", False),
    ],
)
def test_what_may_follow_depends_on_what_comes_out(chain: str, fits: bool) -> None:
    if fits:
        assert len(parse_chain(chain)) >= 2
        return
    with pytest.raises(BadInput, match=r"takes torch, and prune:structured=heads-0.33 makes onnx-fp32"):
        parse_chain(chain)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"structured": "ffn-0.5", "amount": 0.3}, "amount=0.3 means nothing beside structured=ffn-0.5: leave it out"),
        ({"structured": "ffn-0.5", "increments": 3}, "increments=3 means nothing beside structured"),
        ({"structured": "ffn-0.5", "criterion": "movement"}, "criterion=movement means nothing beside structured"),
        ({"importance": "magnitude"}, "importance=magnitude means nothing without structured=...: leave it out"),
    ],
)
def test_parameters_of_the_other_kind_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidParameter, match=message):
        Prune(**values)


def test_a_resolved_structured_method_can_be_resolved_again(tiny_context: Context) -> None:
    resolved = Prune(structured="ffn-0.5").resolved(task=tiny_context.task)
    assert resolved == resolved.resolved(task=tiny_context.task)
    assert resolved.epochs == 6


def test_a_model_of_other_parts_is_refused(tmp_path: Path, tiny_classifier: Path, tiny_tokenizer_folder: Path) -> None:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    from compressbench.models.loading import save_classifier

    config = DistilBertConfig(vocab_size=40, dim=32, n_layers=1, n_heads=2, hidden_dim=64, max_position_embeddings=64)
    save_classifier(DistilBertForSequenceClassification(config), tokenizer_from=tiny_tokenizer_folder, to=tmp_path)
    Prune(structured="ffn-0.5").check_against(tiny_classifier)
    with pytest.raises(BadInput, match="holds a model of type distilbert: prune its weights instead"):
        Prune(structured="ffn-0.5").check_against(tmp_path)


def test_the_same_rows_choose_whatever_the_order_of_work(
    tiny_teacher: Path, as_artifact: Callable[..., Artifact], tiny_context: Context, tmp_path: Path
) -> None:
    made = []
    for number in range(2):
        to = tmp_path / str(number)
        to.mkdir()
        context = dataclasses.replace(tiny_context, to=to)
        Prune(**FAST, structured="ffn-0.5").compress(as_artifact(tiny_teacher), context)
        made.append((to / "model.safetensors").read_bytes())
    assert made[0] == made[1]
