"""What `doctor` says of a CPU's INT8 instructions, of runtimes, and of models made for another CPU."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from compressbench import environment
from compressbench.artifacts.manifest import MANIFEST_NAME, Manifest
from compressbench.artifacts.store import open_store
from compressbench.cli import doctor
from compressbench.cli.int8_advice import int8_advice, int8_path
from compressbench.foreign import open_measurable
from compressbench.measuring import target_warnings
from compressbench.models.onnx_export import export_classifier
from compressbench.progress import Quiet
from compressbench.tasks.task import Task
from compressbench.workshop import Workshop


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ({"avx2", "avx512f", "avx512_vnni", "amx_int8"}, "AMX"),
        ({"avx2", "avx512f", "avx512_vnni"}, "VNNI"),
        ({"avx2", "avx_vnni"}, "VNNI"),
        ({"asimddp"}, "Arm dot product"),
        ({"avx2", "avx512f"}, "AVX512 without VNNI"),
        ({"avx2"}, "AVX2"),
        ({"sse2"}, "none known"),
    ],
)
def test_the_fastest_path_is_named(flags: set[str], name: str) -> None:
    assert int8_path(flags).name == name
    assert int8_advice(flags, target="portable").startswith(f"INT8: {name} (target=portable): ")


def test_a_cpu_whose_sums_saturate_is_told_of_seven_bits() -> None:
    assert "saturate, so weights get 7 bits" in int8_advice({"avx2"}, target="avx2")


@pytest.fixture
def on_avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(environment, "cpu_description", lambda: ("some CPU", frozenset({"avx2"})))


@pytest.mark.usefixtures("on_avx2")
def test_a_model_made_for_vnni_is_warned_about() -> None:
    (warning,) = target_warnings("avx512_vnni")
    assert "made for avx512_vnni, and this CPU (avx2) adds INT8 products in 16 bits, which saturate" in warning
    assert target_warnings("portable") == target_warnings("avx2") == target_warnings(None) == ()
    assert target_warnings("avx2", reduce_range=True) == ()
    (warning,) = target_warnings("avx2", reduce_range=False)
    assert "its weights have 8 bits (reduce_range=false), and this CPU (avx2) adds INT8 products in 16 bits" in warning


@pytest.mark.usefixtures("on_avx2")
def test_measuring_a_file_of_such_an_artifact_carries_the_warning(
    tmp_path: Path, tiny_classifier: Path, tiny_task: Task
) -> None:
    export_classifier(tiny_classifier, to=tmp_path)
    manifest = Manifest(
        key="k", format="onnx-int8", task=tiny_task.name, chain="quant-qdq", method="quant-qdq", revision=1,
        parameters={}, seed=1, labels=tiny_task.labels, geometry={}, target="avx512_vnni",
    )  # fmt: skip
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(asdict(manifest)))
    workshop = Workshop(store=open_store(), threads=1, device="cpu", progress=Quiet())
    for source in (tmp_path, tmp_path / "model.onnx"):
        model = open_measurable(
            str(source), task=tiny_task, workshop=workshop, offline=True, file_name=None, tokenizer=None
        )
        assert "which saturate" in model.warnings[0]


@pytest.mark.usefixtures("on_avx2")
def test_doctor_says_it_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("compressbench.noise.noise_floor", lambda threads: (0.99, 1.01))
    answer = CliRunner().invoke(doctor.doctor_command, ["--threads", "1"], env={"COLUMNS": "400"})
    assert answer.exit_code == 0, answer.output
    said = " ".join(answer.output.split())
    assert "INT8: AVX2 (target=avx2): 16-bit sums that saturate" in said
    assert "runtime onnxruntime: onnxruntime 1." in said
    assert "runtime openvino-bf16: no; the runtime openvino-bf16 needs a CPU that multiplies bf16" in said
