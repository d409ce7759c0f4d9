import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from compressbench.errors import BadInput
from compressbench.models.geometry import Geometry
from compressbench.models.inspection import relevant_files
from compressbench.models.loading import (
    ModelInfo,
    accepted_inputs,
    check_teacher,
    external_fingerprint,
    inspect_model,
    load_classifier,
    load_encoder,
    new_classifier,
    save_classifier,
    save_tokenizer,
)
from compressbench.models.weight_headers import tensor_shapes
from compressbench.tasks.task import Task

SMALL = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture
def folder(tmp_path: Path, tiny_classifier: Path) -> Path:
    """A classifier folder that a test may damage."""
    return Path(shutil.copytree(tiny_classifier, tmp_path / "model"))


def edit_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def three_labels(*names: str) -> Task:
    return Task(name="MNLI", suite="glue", text_columns=("a", "b"), labels=names, metrics=("accuracy",))


def info_with(*labels: str) -> ModelInfo:
    return ModelInfo(
        path=Path("teacher"), geometry=Geometry(layers=1, hidden=2, heads=1, intermediate=2), model_type="bert",
        is_classifier=True, output_count=len(labels), labels=labels,
    )  # fmt: skip


def test_an_encoder_and_a_classifier_are_told_apart(tiny_encoder: Path, tiny_classifier: Path) -> None:
    encoder, classifier = inspect_model(str(tiny_encoder)), inspect_model(str(tiny_classifier))
    assert not encoder.is_classifier
    assert encoder.labels is None
    assert classifier.is_classifier
    assert classifier.labels == ("bad", "good")
    assert classifier.output_count == 2
    assert classifier.geometry == Geometry(layers=2, hidden=32, heads=2, intermediate=64, vocab=40, positions=64)
    assert (classifier.model_type, classifier.revision) == ("bert", None)


def test_a_config_that_promises_a_head_the_weights_lack_is_no_classifier(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({name: each for name, each in tensors.items() if "classifier" not in name}, folder / "model.safetensors")
    assert not inspect_model(str(folder)).is_classifier


def test_a_head_of_another_kind_is_no_sequence_classifier(folder: Path) -> None:
    edit_config(folder, architectures=["BertForTokenClassification"])
    assert not inspect_model(str(folder)).is_classifier


@pytest.mark.parametrize("family", ["bert", "distilbert", "electra", "roberta"])
def test_every_family_goes_out_and_comes_back(
    family: str, tiny_tokenizer_folder: Path, tiny_task: Task, tmp_path: Path
) -> None:
    if family == "distilbert":
        config = AutoConfig.for_model("distilbert", vocab_size=40, dim=32, n_layers=2, n_heads=2, hidden_dim=64)
    else:
        config = AutoConfig.for_model(family, **SMALL)
    AutoModel.from_config(config).save_pretrained(tmp_path / "encoder")
    save_tokenizer(tiny_tokenizer_folder, to=tmp_path / "encoder")
    model = new_classifier(tmp_path / "encoder", tiny_task, seed=1)
    save_classifier(model, tokenizer_from=tmp_path / "encoder", to=tmp_path / "made")
    info = inspect_model(str(tmp_path / "made"))
    assert info.is_classifier
    assert (info.geometry.layers, info.geometry.hidden, info.geometry.intermediate) == (2, 32, 64)
    assert check_teacher(info, tiny_task) == ()
    assert ("token_type_ids" in accepted_inputs(model)) is (family != "distilbert")
    again = load_classifier(tmp_path / "made")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert not again.training


def test_a_new_classifier_keeps_the_encoder_and_draws_the_head_by_its_seed(tiny_encoder: Path, tiny_task: Task) -> None:
    encoder = AutoModel.from_pretrained(tiny_encoder)
    state = torch.random.get_rng_state()
    one, again, other = (new_classifier(tiny_encoder, tiny_task, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(encoder.parameters(), one.bert.parameters(), strict=True))
    assert torch.equal(one.classifier.weight, again.classifier.weight)
    assert not torch.equal(one.classifier.weight, other.classifier.weight)
    assert one.dtype == torch.float32


def test_a_head_that_is_there_already_is_not_taken_over(tiny_classifier: Path, tiny_task: Task) -> None:
    old = load_classifier(tiny_classifier)
    new = new_classifier(tiny_classifier, tiny_task, seed=5)
    assert torch.equal(old.bert.pooler.dense.weight, new.bert.pooler.dense.weight)
    assert not torch.equal(old.classifier.weight, new.classifier.weight)


def test_a_regression_head_has_one_output(tiny_encoder: Path) -> None:
    task = Task(name="STS-B", suite="glue", text_columns=("a", "b"), labels=(), metrics=("spearmanr",))
    config = new_classifier(tiny_encoder, task, seed=1).config
    assert (config.num_labels, config.problem_type) == (1, "regression")


def test_sixteen_bit_weights_are_read_as_fp32(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({name: each.half() for name, each in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    assert load_classifier(folder).dtype == torch.float32


def test_a_vocabulary_alone_becomes_a_tokenizer_json(
    tiny_classifier: Path, tiny_tokenizer_folder: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(tiny_classifier / name, old / name)
    shutil.copyfile(tiny_tokenizer_folder / "vocab.txt", old / "vocab.txt")
    save_tokenizer(old, to=tmp_path / "new")
    text = "The film is not FINE, unheard"
    ids = AutoTokenizer.from_pretrained(tiny_tokenizer_folder)(text)["input_ids"]
    from tokenizers import Tokenizer

    assert Tokenizer.from_file(str(tmp_path / "new" / "tokenizer.json")).encode(text).ids == ids


def test_nothing_is_printed_or_warned(
    tiny_encoder: Path, tiny_task: Task, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_classifier(new_classifier(tiny_encoder, tiny_task, seed=1), tokenizer_from=tiny_encoder, to=tmp_path)
        load_classifier(tmp_path)
        inspect_model(str(tmp_path))
    assert capfd.readouterr() == ("", "")


def test_saved_folders_open_with_transformers_alone(tiny_classifier: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_classifier)
    batch = AutoTokenizer.from_pretrained(tiny_classifier)("the film is fine", return_tensors="pt")
    assert model(**batch).logits.shape == (1, 2)


def test_the_fingerprint_follows_what_shapes_the_model_and_nothing_else(folder: Path) -> None:
    before = external_fingerprint(folder)
    (folder / "README.md").write_text("a note")
    assert external_fingerprint(folder) == before
    edit_config(folder, layer_norm_eps=1e-6)
    assert external_fingerprint(folder) != before
    assert [path.name for path in relevant_files(folder)][:2] == ["config.json", "model.safetensors"]


def test_a_folder_without_config_is_refused(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(BadInput, match="is no model folder: it holds no config"):
        inspect_model(str(folder))


@pytest.mark.parametrize(("content", "message"), [("{", "is not readable JSON"), ("[1]", "is no JSON object")])
def test_a_broken_config_is_refused(folder: Path, content: str, message: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(BadInput, match=f"{message}.*: copy or download it again"):
        inspect_model(str(folder))


@pytest.mark.parametrize("values", [{"num_hidden_layers": "two"}, {"hidden_size": 33}, {"num_attention_heads": 0}])
def test_a_config_of_no_possible_model_is_refused(folder: Path, values: dict[str, object]) -> None:
    edit_config(folder, **values)
    with pytest.raises(BadInput):
        inspect_model(str(folder))


@pytest.mark.parametrize("model_type", ["gpt2", "t5", ""])
def test_another_architecture_is_refused(folder: Path, model_type: str) -> None:
    edit_config(folder, model_type=model_type)
    with pytest.raises(
        BadInput, match=f"of the architecture '{model_type or 'unknown'}', not a BERT-family encoder: use"
    ):
        inspect_model(str(folder))


def test_pickled_weights_are_refused_unopened(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"whatever is in here is not looked at")
    with pytest.raises(
        BadInput, match=r"only pickled weights \(pytorch_model.bin\), which can run code .* convert them"
    ):
        inspect_model(str(folder))


def test_missing_weights_are_told(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"holds no weights: a file model\.safetensors is missing"):
        load_classifier(folder)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "its header is longer than the file"),
        (b"\x02\0\0\0\0\0\0\0[]", "list"),
        (b"", "Expecting value"),
    ],
)
def test_what_is_no_safetensors_file_is_told(folder: Path, content: bytes, reason: str) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(BadInput, match=f"is damaged or no safetensors file .*{reason}.*: copy or download it again"):
        inspect_model(str(folder))


def test_a_file_cut_short_is_told(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BadInput, match=r"is damaged .*\d+ bytes expected, \d+ found"):
        tensor_shapes(folder)


def test_headers_hold_the_shapes_that_safetensors_reads(tiny_classifier: Path) -> None:
    tensors = load_file(tiny_classifier / "model.safetensors")
    assert tensor_shapes(tiny_classifier) == {name: tuple(each.shape) for name, each in tensors.items()}


def test_a_folder_without_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").unlink(missing_ok=True)
    with pytest.raises(BadInput, match=r"holds no tokenizer \(tokenizer.json or vocab.txt\): copy"):
        inspect_model(str(folder))


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c", "two words"])
def test_a_folder_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises(BadInput, match=f"the model folder {name} does not exist"):
        inspect_model(name, offline=True)


def test_a_file_is_no_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(BadInput, match=r"config\.json is a file: give the folder that holds"):
        inspect_model("config.json", offline=True)


def test_a_hub_name_offline_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        BadInput, match=r"not-a/model is not a folder, .* and --offline was given: give a local model folder"
    ):
        inspect_model("not-a/model", offline=True)


def test_the_task_s_own_order_passes_however_it_is_written() -> None:
    task = three_labels("entailment", "neutral", "not_entailed")
    assert check_teacher(info_with("ENTAILMENT", "Neutral", "not-entailed"), task) == ()
    assert check_teacher(info_with("entailment", "neutral", "Not Entailed"), task) == ()


def test_another_order_is_refused_and_both_are_shown() -> None:
    with pytest.raises(
        BadInput,
        match="has the labels of MNLI in another order, CONTRADICTION, ENTAILMENT, NEUTRAL "
        "instead of entailment, neutral, contradiction: reorder",
    ):
        check_teacher(
            info_with("CONTRADICTION", "ENTAILMENT", "NEUTRAL"), three_labels("entailment", "neutral", "contradiction")
        )


def test_names_that_cannot_be_compared_are_warned_of() -> None:
    (warning,) = check_teacher(info_with("NEG", "POS"), three_labels("negative", "positive"))
    assert "names its labels NEG, POS, the task MNLI negative, positive; they are taken to be the same" in warning


def test_generic_names_pass(folder: Path, tiny_task: Task) -> None:
    edit_config(folder, id2label={"0": "LABEL_0", "1": "LABEL_1"})
    info = inspect_model(str(folder))
    assert info.labels is None
    assert check_teacher(info, tiny_task) == ()


def test_another_number_of_labels_is_refused(folder: Path) -> None:
    message = r"has 2 outputs and the task MNLI has 3 labels \(a, b, c\): give one fine-tuned on MNLI, or a pretrained"
    with pytest.raises(BadInput, match=message):
        check_teacher(inspect_model(str(folder)), three_labels("a", "b", "c"))
    regression = replace(three_labels(), name="STS-B")
    with pytest.raises(BadInput, match="has 2 outputs and the task STS-B has one real number"):
        check_teacher(inspect_model(str(folder)), regression)


def test_an_encoder_fits_any_task(tiny_encoder: Path) -> None:
    assert check_teacher(inspect_model(str(tiny_encoder)), three_labels("a", "b", "c")) == ()


@pytest.mark.parametrize("layers", [1, 3])
def test_weights_of_another_number_of_layers_are_refused(folder: Path, layers: int) -> None:
    held = AutoConfig.from_pretrained(folder).num_hidden_layers
    edit_config(folder, num_hidden_layers=held - 2 + layers)
    with pytest.raises(BadInput, match=f"tells of {held - 2 + layers} layers and the weights hold {held}: copy both"):
        inspect_model(str(folder))


def test_weights_of_another_vocabulary_are_refused(folder: Path) -> None:
    edit_config(folder, vocab_size=100)
    with pytest.raises(BadInput, match=r"tells of 100 pieces of vocabulary and the weights hold \d+: copy both"):
        inspect_model(str(folder))


def change_weights(folder: Path, name: str, values: torch.Tensor | None) -> None:
    """Put other values in a weight's place; None: none."""
    tensors = load_file(folder / "model.safetensors")
    del tensors[name]
    if values is not None:
        tensors[name] = values
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_weight_that_is_missing_is_not_drawn(folder: Path) -> None:
    change_weights(folder, "bert.encoder.layer.0.output.dense.bias", None)
    for load in (load_classifier, load_encoder):
        with pytest.raises(BadInput, match=r"the weights lack (bert\.)?encoder\.layer\.0\.output\.dense\.bias, which"):
            load(folder)
    with pytest.raises(BadInput, match=r"lack bert\.encoder\.layer\.0\.output\.dense\.bias, which"):
        new_classifier(folder, three_labels("a", "b", "c"), seed=0)


def test_a_weight_of_another_shape_is_told(folder: Path) -> None:
    change_weights(folder, "bert.encoder.layer.0.output.dense.bias", torch.zeros(5))
    with pytest.raises(
        BadInput, match=r"dense\.bias has the shape \(5,\) and config\.json asks for \(\d+,\): copy both"
    ):
        load_classifier(folder)


def test_a_pooler_may_be_missing_from_an_encoder(folder: Path) -> None:
    for name in ("bert.pooler.dense.weight", "bert.pooler.dense.bias"):
        change_weights(folder, name, None)
    assert load_encoder(folder).pooler is not None
    assert new_classifier(folder, three_labels("a", "b", "c"), seed=0).num_labels == 3
    with pytest.raises(BadInput, match=r"the weights lack bert\.pooler\.dense\.bias and 1 more"):
        load_classifier(folder)


def test_weights_that_are_no_numbers_are_told(folder: Path) -> None:
    change_weights(folder, "classifier.bias", torch.tensor([0.0, float("nan")]))
    with pytest.raises(BadInput, match=r"classifier\.bias holds NaN or infinity: train it again"):
        load_classifier(folder)


def test_a_tokenizer_of_a_larger_vocabulary_is_refused(folder: Path) -> None:
    path = folder / "tokenizer.json"
    values = json.loads(path.read_text())
    values["model"]["vocab"]["unheard"] = 99999
    path.write_text(json.dumps(values))
    with pytest.raises(BadInput, match=r"its tokenizer numbers pieces up to 99999 and the model knows those below \d+"):
        inspect_model(str(folder))


def test_a_damaged_tokenizer_is_told(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(BadInput, match=r"tokenizer\.json is damaged or no tokenizer .*: copy or download it again"):
        inspect_model(str(folder))
