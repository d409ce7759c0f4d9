import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from compressbench.errors import BadInput, MethodFailed
from compressbench.models import onnx_export, onnx_graph
from compressbench.models.loading import load_classifier, quiet_transformers
from compressbench.models.onnx_export import export_classifier
from compressbench.models.onnx_graph import graph_key, linear_as_matmul, model_files, read_model, write_model

ROWS = {
    "input_ids": np.array([[2, 6, 7, 15, 3], [2, 5, 3, 0, 0], [2, 3, 0, 0, 0]], dtype=np.int64),
    "token_type_ids": np.array([[0, 0, 1, 1, 1], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], dtype=np.int64),
}
ROWS["attention_mask"] = (ROWS["input_ids"] != 0).astype(np.int64)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("templates")


def logits_of_onnx(path: Path, rows: dict[str, np.ndarray] = ROWS) -> np.ndarray:
    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(["logits"], {each.name: rows[each.name] for each in session.get_inputs()})[0]
    return found


def logits_of_torch(folder: Path, rows: dict[str, np.ndarray] = ROWS) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = load_classifier(folder)(**{k: torch.from_numpy(v) for k, v in rows.items()}).logits.numpy()
    return found


def save_classifier(folder: Path, tokenizer: Path, **config: Any) -> Path:
    """A BERT of a given shape with drawn weights; biases stay zero and LayerNorm gains one, as before training."""
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 64, "max_position_embeddings": 64}
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(3)
        BertForSequenceClassification(BertConfig(**(sizes | config))).save_pretrained(folder)
    shutil.copyfile(tokenizer / "tokenizer.json", folder / "tokenizer.json")
    return folder


def export(folder: Path, to: Path, templates: Path | None) -> Path:
    to.mkdir()
    export_classifier(folder, to=to, template_cache=templates)
    return to / "model.onnx"


def test_answers_as_pytorch_does_at_other_shapes_and_masks(
    tiny_classifier: Path, tmp_path: Path, templates: Path
) -> None:
    path = export(tiny_classifier, tmp_path / "out", templates)
    np.testing.assert_allclose(logits_of_onnx(path), logits_of_torch(tiny_classifier), atol=1e-5)
    one = {name: rows[:1, :4] for name, rows in ROWS.items()}
    np.testing.assert_allclose(logits_of_onnx(path, one), logits_of_torch(tiny_classifier, one), atol=1e-5)
    assert (tmp_path / "out/config.json").exists()
    assert (tmp_path / "out/tokenizer.json").exists()
    onnx.checker.check_model(path, full_check=True)


def test_untrained_biases_are_neither_merged_nor_dropped(
    tiny_tokenizer_folder: Path, tmp_path: Path, templates: Path
) -> None:
    folder = save_classifier(tmp_path / "model", tiny_tokenizer_folder)
    model = read_model(export(folder, tmp_path / "out", templates))
    weights = {each.name: each for each in model.graph.initializer if each.data_type == TensorProto.FLOAT and each.dims}
    state = load_classifier(folder).state_dict()
    assert set(state) <= set(weights)
    for name, tensor in state.items():
        values = numpy_helper.to_array(weights[name])
        assert np.array_equal(values, tensor.numpy()) or np.array_equal(values, tensor.numpy().T)


def test_one_template_serves_other_weights_and_other_class_counts(
    tiny_classifier: Path, tiny_tokenizer_folder: Path, tmp_path: Path, templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = export(tiny_classifier, tmp_path / "first", templates)
    monkeypatch.setattr(onnx_export, "_exported", refuse_to_export)
    same = save_classifier(tmp_path / "same", tiny_tokenizer_folder)
    other = export(same, tmp_path / "other", templates)
    np.testing.assert_allclose(logits_of_onnx(other), logits_of_torch(same), atol=1e-5)
    assert graph_key(first) == graph_key(other)
    three = save_classifier(tmp_path / "three", tiny_tokenizer_folder, num_labels=3)
    wide = export(three, tmp_path / "wide", templates)
    np.testing.assert_allclose(logits_of_onnx(wide), logits_of_torch(three), atol=1e-5)
    assert read_model(wide).graph.output[0].type.tensor_type.shape.dim[1].dim_value == 3
    assert graph_key(wide) != graph_key(first)


def refuse_to_export(*arguments: object, **options: object) -> None:
    pytest.fail("exported again")


def test_heads_are_part_of_the_graph_though_no_weight_shows_them(
    tiny_tokenizer_folder: Path, tmp_path: Path, templates: Path
) -> None:
    keys = set()
    for heads in (2, 4):
        folder = save_classifier(tmp_path / f"model{heads}", tiny_tokenizer_folder, num_attention_heads=heads)
        keys.add(graph_key(export(folder, tmp_path / f"out{heads}", templates)))
    assert len(keys) == 2


def test_a_template_that_no_longer_fits_gives_way_to_a_whole_export(
    tiny_classifier: Path, tmp_path: Path, templates: Path
) -> None:
    export(tiny_classifier, tmp_path / "first", templates)
    wrong = tmp_path / "wrong"
    shutil.copytree(templates, wrong)
    for path in wrong.iterdir():
        template = read_model(path)
        sources = template.metadata_props[0]
        query, key = (f"bert.encoder.layer.0.attention.self.{name}.weight" for name in ("query", "value"))
        sources.value = sources.value.replace(f'"tensor": "{query}"', f'"tensor": "{key}"')
        path.write_bytes(template.SerializeToString())
    path = export(tiny_classifier, tmp_path / "second", wrong)
    np.testing.assert_allclose(logits_of_onnx(path), logits_of_torch(tiny_classifier), atol=1e-5)


def test_a_graph_that_answers_otherwise_is_never_handed_over(
    tiny_classifier: Path, tmp_path: Path, templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "_logit_difference", lambda path, model: 0.5)
    with pytest.raises(MethodFailed, match=r"answers otherwise than in PyTorch: logits differ by 5\.0e-01"):
        export(tiny_classifier, tmp_path / "out", templates)


def test_a_model_the_exporter_cannot_take_is_told_in_one_sentence(
    tiny_classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise torch.onnx.OnnxExporterError("no such operator\nand a page of advice")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(
        MethodFailed, match=r"^BertForSequenceClassification cannot be exported to ONNX: no such operator$"
    ):
        onnx_export._exported(load_classifier(tiny_classifier), simple_mask=True)


@pytest.mark.parametrize(
    ("family", "inputs"),
    [("distilbert", {"input_ids", "attention_mask"}), ("roberta", {"input_ids", "attention_mask"}),
     ("electra", {"input_ids", "attention_mask", "token_type_ids"})],
)  # fmt: skip
def test_other_families_take_only_the_inputs_they_use(
    family: str, inputs: set[str], tiny_tokenizer_folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    sizes = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "type_vocab_size": 1 if family == "roberta" else 2,
    }
    if family == "distilbert":
        sizes = {"vocab_size": 40, "dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64}
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(0)
        AutoModelForSequenceClassification.from_config(AutoConfig.for_model(family, **sizes)).save_pretrained(
            tmp_path / "model"
        )
    shutil.copyfile(tiny_tokenizer_folder / "tokenizer.json", tmp_path / "model/tokenizer.json")
    path = export(tmp_path / "model", tmp_path / "out", None)
    assert {each.name for each in read_model(path).graph.input} == inputs
    rows = {name: ROWS[name] for name in inputs}
    np.testing.assert_allclose(logits_of_onnx(path), logits_of_torch(tmp_path / "model", rows), atol=1e-5)


def test_nothing_of_the_exporter_is_left(tiny_classifier: Path, tmp_path: Path, templates: Path) -> None:
    path = export(tiny_classifier, tmp_path / "out", templates)
    assert b"torch" not in path.read_bytes()
    model = read_model(path)
    assert not model.metadata_props
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert not any(node.op_type == "Gemm" for node in model.graph.node)


def test_weights_beyond_one_file_go_beside_it(
    tiny_classifier: Path, tmp_path: Path, templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = export(tiny_classifier, tmp_path / "out", templates)
    before, key = logits_of_onnx(path), graph_key(path)
    model = read_model(path)
    monkeypatch.setattr(onnx_graph, "ONE_FILE_BYTES", 1000)
    (tmp_path / "large").mkdir()
    large = tmp_path / "large/model.onnx"
    write_model(model, large)
    assert model.SerializeToString() == read_model(path).SerializeToString()
    assert [each.name for each in model_files(large)] == ["model.onnx", "model.onnx.data"]
    assert model_files(path) == [path]
    np.testing.assert_array_equal(logits_of_onnx(large), before)
    assert graph_key(large) == key
    (tmp_path / "large/model.onnx.data").unlink()
    with pytest.raises(BadInput, match=r"model\.onnx"):
        read_model(large)


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07"])
def test_what_is_no_model_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"model\.onnx is no .*ONNX model"):
        read_model(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"gone\.onnx does not exist"):
        graph_key(tmp_path / "gone.onnx")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_becomes_matmul_with_the_same_product(bias: bool, transposed: int) -> None:
    model = gemm_model(bias=bias, transB=transposed)
    model.graph.node[0].name = "theirs"  # by which it may be excluded from quantization
    values = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    before = run_bytes(model, values)
    linear_as_matmul(model)
    assert [node.op_type for node in model.graph.node] == (["MatMul", "Add"] if bias else ["MatMul"])
    assert model.graph.node[0].name == "theirs"
    np.testing.assert_allclose(run_bytes(model, values), before, rtol=1e-5)


def test_a_scaled_gemm_is_left_alone() -> None:
    model = gemm_model(bias=True, alpha=2.0)
    linear_as_matmul(model)
    assert [node.op_type for node in model.graph.node] == ["Gemm"]


def gemm_model(*, bias: bool, **attributes: Any) -> onnx.ModelProto:
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(4, 3) if attributes.get("transB") else (3, 4)).astype(np.float32)
    parts = [numpy_helper.from_array(weight, "w")]
    if bias:
        parts.append(numpy_helper.from_array(rng.normal(size=4).astype(np.float32), "b"))
    node = helper.make_node("Gemm", ["x", *(each.name for each in parts)], ["y"], **attributes)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", [2, 3]), ("y", [2, 4]))
    ]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], parts)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run_bytes(model: onnx.ModelProto, values: np.ndarray) -> np.ndarray:
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": values})[0]
    return found
