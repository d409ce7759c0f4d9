"""Each runtime on one tiny model: same answers, the threads and the precision that were asked for, no network."""

import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from compressbench import environment
from compressbench.artifacts.artifact import ONNX_NAME
from compressbench.errors import BadInput, UnknownName
from compressbench.models.onnx_export import export_classifier
from compressbench.runtimes import catalog
from compressbench.runtimes.catalog import RUNTIMES, check_runtime, open_model, runs_in
from compressbench.runtimes.openvino import OpenVinoModel
from compressbench.runtimes.torch import TorchModel

NAMES = ("onnxruntime", "openvino", "openvino-bf16", "torch", "torch-bf16", "torch-int8")
INPUTS: Mapping[str, np.ndarray] = {
    "input_ids": np.array([[2, 6, 7, 15, 3, 0], [2, 5, 8, 9, 19, 3]], dtype=np.int64),
    "attention_mask": np.array([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]], dtype=np.int64),
    "token_type_ids": np.zeros((2, 6), dtype=np.int64),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, tiny_teacher: Path) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    export_classifier(tiny_teacher, to=folder)
    return folder / ONNX_NAME


def logits_in(name: str, onnx_path: Path, torch_path: Path) -> np.ndarray:
    return open_model(name, onnx_path, torch_path=torch_path, threads=1)(INPUTS)


def test_the_contracts_runtimes_are_there() -> None:
    assert tuple(RUNTIMES) == NAMES


@pytest.mark.parametrize(
    ("name", "tolerance"), [("openvino", 1e-4), ("torch", 1e-4), ("torch-bf16", 0.1), ("torch-int8", 0.2)]
)
def test_answers_as_onnx_runtime_does(name: str, tolerance: float, exported: Path, tiny_teacher: Path) -> None:
    expected = logits_in("onnxruntime", exported, tiny_teacher)
    found = logits_in(name, exported, tiny_teacher)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=tolerance)
    if tolerance > 1e-3:  # another arithmetic, and not fp32 under another name
        assert np.abs(found - expected).max() > 1e-5


@pytest.mark.parametrize("name", ["openvino", "openvino-bf16"])
def test_openvino_is_pinned(name: str, exported: Path) -> None:
    import openvino

    model = open_model(name, exported, threads=2)
    assert isinstance(model, OpenVinoModel)
    told = {key: model.compiled.get_property(key) for key in ("INFERENCE_NUM_THREADS", "NUM_STREAMS")}
    assert told == {"INFERENCE_NUM_THREADS": 2, "NUM_STREAMS": 1}
    assert model.compiled.get_property("PERFORMANCE_HINT") == "LATENCY"
    wanted = "f32" if name == "openvino" or environment.native_precision() == "fp32" else "bf16"
    assert model.compiled.get_property("INFERENCE_PRECISION_HINT") == getattr(openvino.Type, wanted)


def test_torch_runtimes_set_their_threads_and_layers(exported: Path, tiny_teacher: Path) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        model = open_model("torch-int8", exported, torch_path=tiny_teacher, threads=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert isinstance(model, TorchModel)
    kinds = [type(module).__module__ for module in model.module.modules() if type(module).__name__ == "Linear"]
    assert kinds
    assert all("quantized.dynamic" in kind for kind in kinds)


def test_a_pytorch_runtime_needs_the_folder(exported: Path) -> None:
    assert not runs_in("torch", torch_path=None)
    assert runs_in("openvino", torch_path=None)
    with pytest.raises(BadInput, match=r"model\.onnx does not run in torch-bf16: it was not exported from"):
        open_model("torch-bf16", exported, threads=1)


def test_a_file_that_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(BadInput, match=r"broken\.onnx cannot be opened by OpenVINO: \S"):
        open_model("openvino", path, threads=1)


def test_an_unknown_runtime_is_told_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown runtime 'openvno': did you mean 'openvino'"):
        check_runtime("openvno")


def test_a_missing_package_is_told_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "find_spec", lambda name: None)
    with pytest.raises(
        BadInput,
        match=r'openvino needs the package openvino, which is not installed: pip install "compressbench\[openvino\]"',
    ):
        check_runtime("openvino")


@pytest.mark.parametrize(("name", "instead"), [("openvino-bf16", "openvino"), ("torch-bf16", "torch")])
def test_bf16_is_refused_where_it_would_be_emulated(name: str, instead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "cpu_description", lambda: ("some CPU", frozenset({"avx2"})))
    with pytest.raises(BadInput, match=rf"{name} needs a CPU that multiplies bf16 .*: use {instead}$"):
        check_runtime(name)
    monkeypatch.setattr(environment, "cpu_description", lambda: ("some CPU", frozenset({"avx512_bf16"})))
    assert check_runtime(name).precision == "bf16"


def test_openvino_asks_no_network_and_loads_no_torch(exported: Path) -> None:
    code = f"""
import sys
told = []
EVENTS = {{"socket.connect", "socket.getaddrinfo", "socket.sendto", "subprocess.Popen", "os.exec", "os.fork"}}
sys.addaudithook(lambda event, values: told.append(event) if event in EVENTS else None)
from pathlib import Path
import numpy as np
from compressbench.runtimes import catalog
from compressbench.runtimes.catalog import open_model
model = open_model("openvino", Path({str(exported)!r}), threads=1)
model({{name: np.ones((1, 4), dtype=np.int64) for name in model.input_names}})
print(told, "torch" in sys.modules)
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[] False"


def test_what_the_tests_need_is_installed() -> None:
    assert all(importlib.util.find_spec(runtime.package) for runtime in RUNTIMES.values())
