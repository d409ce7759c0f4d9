"""ONNX files from elsewhere: what they are refused for, and that a good one is quantized, external data or not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.store import open_store
from compressbench.errors import BadInput
from compressbench.foreign_source import open_source
from compressbench.methods.chain import parse_chain
from compressbench.methods.method import Context
from compressbench.methods.quantize import observing
from compressbench.methods.quantize.sources import clamp_mask, read_fp32
from compressbench.models import onnx_graph
from compressbench.models.onnx_export import MASKED
from compressbench.models.onnx_graph import external_files, read_model
from compressbench.models.onnx_source import read_source
from compressbench.prediction import encode_rows, predict
from compressbench.progress import Quiet
from compressbench.runtimes.onnxruntime import open_model
from compressbench.targets import native_target
from compressbench.tasks.data import TaskData
from compressbench.tasks.task import Task
from compressbench.workshop import Workshop
from tests.conftest import draw_tiny_rows
from tests.unit.onnx_folder import make_onnx_folder, onnx_classifier

AsArtifact = Callable[..., Artifact]


def refusal(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        read_source(path, needed_by="quant-qdq")
    return str(caught.value)


def save(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_a_good_file_is_read(tmp_path: Path) -> None:
    assert len(read_source(save(onnx_classifier(), tmp_path), needed_by="quant-qdq").graph.node) == 14


def test_a_quantized_file(tmp_path: Path) -> None:
    model = onnx_classifier()
    model.graph.node.append(helper.make_node("DynamicQuantizeLinear", ["hidden"], ["a", "b", "c"]))
    told = refusal(save(model, tmp_path))
    assert told.endswith(
        "model.onnx is quantized already (it has DynamicQuantizeLinear): give quant-qdq the fp32 model"
    )


@pytest.mark.parametrize("opset", [11, 99])
def test_an_opset_that_is_not_known(opset: int, tmp_path: Path) -> None:
    told = refusal(save(onnx_classifier(opset=opset), tmp_path))
    assert f"model.onnx is of opset {opset}, and opsets 13 to {onnx.defs.onnx_opset_version()} are known here" in told


def test_no_opset_at_all(tmp_path: Path) -> None:
    model = onnx_classifier()
    del model.opset_import[:]
    assert "is of opset 0" in refusal(save(model, tmp_path))


def test_operators_of_nobody(tmp_path: Path) -> None:
    model = onnx_classifier()
    model.graph.node[0].domain = "org.example"
    assert "has operators of 'org.example', which is not known here" in refusal(save(model, tmp_path))


@pytest.mark.parametrize(("axes", "shown"), [((1, 128), "1 x 128"), (("batch", 128), "any x 128")])
def test_fixed_axes(axes: tuple[str | int, int], shown: str, tmp_path: Path) -> None:
    told = refusal(save(onnx_classifier(axes=axes), tmp_path))
    assert f"model.onnx takes input_ids of {shown} alone: export it with dynamic axes, batch and tokens" in told


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(kept: float, tmp_path: Path) -> None:
    path = save(onnx_classifier(), tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    told = refusal(path)
    assert "no readable ONNX model" in told or "it holds no graph" in told
    assert "\n" not in told


def test_bytes_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"PK\x03\x04" + np.random.default_rng(0).bytes(5000))
    assert "no readable ONNX model" in refusal(path)


def test_weights_that_are_cut_short(tmp_path: Path) -> None:
    model = onnx_classifier()
    tensor = next(each for each in model.graph.initializer if each.name == "dense.weight")
    tensor.raw_data = tensor.raw_data[:100]
    assert "is cut short: dense.weight has 100 of 4096 bytes" in refusal(save(model, tmp_path))


def test_a_graph_with_a_hole(tmp_path: Path) -> None:
    model = onnx_classifier()
    del model.graph.node[5]
    assert "nothing in it makes 'mask_column', which a node reads" in refusal(save(model, tmp_path))


def test_no_file(tmp_path: Path) -> None:
    assert "absent.onnx does not exist" in refusal(tmp_path / "absent.onnx")


def test_external_data_that_is_missing_or_cut_short(tmp_path: Path, tiny_tokenizer_folder: Path) -> None:
    path = make_onnx_folder(tmp_path / "model", tokenizer=tiny_tokenizer_folder, external=True)
    (data,) = external_files(path)
    assert data.name == "model.onnx_data"
    content = data.read_bytes()
    data.write_bytes(content[:-500])
    assert f"{data} is cut short: {path} has weights up to byte" in refusal(path)
    data.unlink()
    assert f"{data} does not exist: {path} keeps weights in it; copy it beside the model" in refusal(path)


def test_weights_in_half_precision_are_not_there_to_quantize(tmp_path: Path) -> None:
    model = onnx_classifier()
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 2:
            values = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    with pytest.raises(BadInput, match="has no Linear layer with fp32 weights: give quant-qdq an fp32 text classifier"):
        read_fp32(save(model, tmp_path), needed_by="quant-qdq")


@pytest.mark.parametrize("lowest", [np.finfo(np.float32).min, -np.inf])
def test_a_foreign_mask_becomes_finite_and_answers_stay(lowest: float, tmp_path: Path) -> None:
    model = onnx_classifier()
    for tensor in model.graph.initializer:
        if tensor.name == "lowest":
            tensor.CopyFrom(numpy_helper.from_array(np.float32(-3.4e38), "lowest"))
    before = open_model(save(model, tmp_path), threads=1)
    ids = np.random.default_rng(0).integers(5, 40, size=(3, 9))
    feeds = {"input_ids": ids, "attention_mask": (np.arange(9) < np.array([[9], [4], [1]])).astype(np.int64)}
    expected = before(feeds)
    constant = helper.make_tensor("value", onnx.TensorProto.FLOAT, [1], [lowest])
    model.graph.node.insert(0, helper.make_node("Constant", [], ["unread"], value=constant))
    model.graph.node.insert(0, helper.make_node("Constant", [], ["unread_too"], value_float=float(lowest)))
    clamp_mask(model)
    np.testing.assert_allclose(open_model(save(model, tmp_path), threads=1)(feeds), expected, rtol=1e-5, atol=1e-6)
    values = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    assert values["lowest"] == MASKED
    assert values["one"] == 1
    assert [node.attribute[0].f for node in model.graph.node[:1]] == [MASKED]
    assert numpy_helper.to_array(model.graph.node[1].attribute[0].t).tolist() == [MASKED]


@pytest.fixture
def workshop() -> Workshop:
    return Workshop(store=open_store(), threads=1, device="cpu", progress=Quiet())


def data_of(task: Task) -> TaskData:
    rows = draw_tiny_rows(count=140, seed=4)
    return TaskData(task, lambda _: rows, ("train", "validation"), "drawn")


@pytest.mark.parametrize("spelled", ["quant-qdq", "quant-qop", "quant-dynamic"])
def test_a_foreign_file_is_quantized(
    spelled: str, tmp_path: Path, tiny_tokenizer_folder: Path, tiny_task: Task, workshop: Workshop
) -> None:
    path = make_onnx_folder(tmp_path / "theirs", tokenizer=tiny_tokenizer_folder, external=True)
    source, again = (
        open_source(str(each), task=tiny_task, workshop=workshop, offline=True, needed_by=spelled)
        for each in (path, path.parent)
    )
    assert source.key == again.key
    assert source.format == "onnx-fp32"
    data = data_of(tiny_task)
    made = workshop.chain(parse_chain(spelled), data, source=source, teacher=source, seed=1)
    rows = encode_rows(data.rows("train"), tokenizer_path=made.tokenizer_path, max_length=32)
    before, after = (predict(open_model(each, threads=1), rows) for each in (path, made.onnx_path))
    assert 0 < np.abs(after - before).max() < 0.2 * before.std()


def test_variants_share_their_ranges_and_another_seed_or_rule_does_not(
    tmp_path: Path, tiny_tokenizer_folder: Path, tiny_task: Task, workshop: Workshop
) -> None:
    path = make_onnx_folder(tmp_path / "theirs", tokenizer=tiny_tokenizer_folder)
    source = open_source(str(path), task=tiny_task, workshop=workshop, offline=True, needed_by="quant-qdq")

    def ranges_after(spelled: str, *, seed: int) -> int:
        workshop.chain(parse_chain(spelled), data_of(tiny_task), source=source, teacher=source, seed=seed)
        return sum(each.manifest.method == "calibrated-ranges" for each in workshop.store.all())

    assert ranges_after("quant-qdq", seed=1) == 1
    assert ranges_after("quant-qdq:per_channel=false:target=portable", seed=1) == 1
    assert ranges_after("quant-qdq:activation_type=int8", seed=1) == 1
    assert ranges_after("quant-qdq", seed=2) == 2
    assert ranges_after("quant-qdq:calibrate_method=percentile", seed=1) == 3
    assert ranges_after("quant-qop", seed=1) == 4  # outputs too
    assert ranges_after("quant-dynamic", seed=1) == 4


def test_the_resolved_target_is_in_key_manifest_and_card(
    tmp_path: Path, tiny_tokenizer_folder: Path, tiny_task: Task, workshop: Workshop
) -> None:
    path = make_onnx_folder(tmp_path / "theirs", tokenizer=tiny_tokenizer_folder)
    source = open_source(str(path), task=tiny_task, workshop=workshop, offline=True, needed_by="quant-qdq")
    names: tuple[str, ...] = ("native", native_target(), "portable", "avx512_vnni")
    made = {
        name: workshop.chain(
            parse_chain(f"quant-dynamic:target={name}"), data_of(tiny_task), source=source, teacher=source, seed=1
        )
        for name in names
    }
    assert made["native"].key == made[native_target()].key
    assert len({each.key for each in made.values()}) == len(set(names)) - 1
    for name, each in made.items():
        resolved = native_target() if name == "native" else name
        assert each.manifest.target == each.manifest.parameters["target"] == resolved
        assert f"chosen for {resolved}" in (each.path / "README.md").read_text()


def test_models_that_one_file_cannot_hold(
    context_of: Callable[[Path], Context],
    tmp_path: Path,
    tiny_tokenizer_folder: Path,
    as_artifact: AsArtifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = make_onnx_folder(tmp_path / "theirs", tokenizer=tiny_tokenizer_folder, external=True)
    monkeypatch.setattr(onnx_graph, "ONE_FILE_BYTES", 0)  # as if each were over 2 GiB
    monkeypatch.setattr(observing, "IN_MEMORY_BYTES", 0)
    source = as_artifact(path.parent, format="onnx-fp32")
    for spelled in ("quant-qdq:nodes_to_exclude=embeddings", "quant-dynamic"):
        context = context_of(tmp_path / spelled.split(":")[0])
        (method,) = parse_chain(spelled)
        method.resolved(task=context.task).compress(source, context)
        assert (context.to / "model.onnx.data").exists()
        made = read_model(context.to / "model.onnx")
        floats = [each.name for each in made.graph.initializer if len(each.dims) == 2 and each.data_type == 1]
        assert floats == (["embeddings.weight"] if "exclude" in spelled else [])
        rows = encode_rows(context.train, tokenizer_path=path.parent / "tokenizer.json", max_length=32)
        before, after = (predict(open_model(each, threads=1), rows) for each in (path, context.to / "model.onnx"))
        assert 0 < np.abs(after - before).max() < 0.2 * before.std()


@pytest.fixture
def context_of(tiny_context: Context) -> Callable[[Path], Context]:
    def made(folder: Path) -> Context:
        folder.mkdir()
        return replace(tiny_context, train=draw_tiny_rows(count=140, seed=4), to=folder)

    return made


@pytest.mark.parametrize(
    ("missing", "told"),
    [("config.json", "has no config.json beside it"), ("tokenizer.json", "has no tokenizer.json beside it")],
)
def test_what_must_lie_beside_a_file(
    missing: str, told: str, tmp_path: Path, tiny_tokenizer_folder: Path, tiny_task: Task, workshop: Workshop
) -> None:
    path = make_onnx_folder(tmp_path / "theirs", tokenizer=tiny_tokenizer_folder)
    (path.parent / missing).unlink()
    with pytest.raises(BadInput, match=told):
        open_source(str(path), task=tiny_task, workshop=workshop, offline=True, needed_by="quant-qdq")
    assert not workshop.store.all()


def test_a_folder_of_several_files_asks_which(
    tmp_path: Path, tiny_tokenizer_folder: Path, tiny_task: Task, workshop: Workshop
) -> None:
    path = make_onnx_folder(tmp_path / "theirs", tokenizer=tiny_tokenizer_folder)
    path.with_name("other.onnx").write_bytes(path.read_bytes())
    with pytest.raises(BadInput, match=r"holds model.onnx and other.onnx: name one of them"):
        open_source(str(path.parent), task=tiny_task, workshop=workshop, offline=True, needed_by="quant-qdq")
