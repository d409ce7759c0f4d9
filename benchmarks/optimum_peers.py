"""optimum's ORTQuantizer with its own presets beside an artifact of ours, by the same harness: rows `optimum-...`.

    nox -s interop -- ARTIFACT_DIR --fp32 DIR --task CoLA --data-dir GLUE

Runs in optimum-onnx's environment. Each preset's model goes into a folder of its own, and `compressbench measure` takes
them, the artifact and the fp32 model, which is the baseline. Optimum is given the rows that `quant-qdq` calibrates on.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from compressbench.methods.quantize.calibration import draw_rows
from compressbench.prediction import encode_rows
from compressbench.tasks.catalog import task_named
from compressbench.tasks.data import load_task_data

ROWS = 128
PRESETS = ("static-qdq", "static-qop", "dynamic")


def main() -> int:
    """Write one folder a preset, and measure all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.optimum_peers", description=__doc__)
    parser.add_argument("artifact", type=Path, help="an INT8 artifact of ours")
    parser.add_argument(
        "--fp32", type=Path, required=True, help="folder with the fp32 model.onnx, config and tokenizer"
    )
    parser.add_argument("--task", required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--to", type=Path, help="folder for the presets' models; default: one that is removed")
    parser.add_argument("--shapes", default="1x128,8x128")
    given = parser.parse_args()
    dataset = calibration_rows(given.fp32, task=given.task, data_dir=given.data_dir)
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for preset in PRESETS:
            made.append((given.to or Path(folder)) / f"optimum-{preset}")
            quantize(given.fp32, preset, dataset, to=made[-1])
        command = [sys.executable, "-m", "compressbench", "measure", given.fp32, given.artifact, *made]
        command += ["--task", given.task, "--data-dir", given.data_dir, "--shapes", given.shapes]
        return subprocess.run([str(part) for part in command], check=False).returncode


def calibration_rows(fp32: Path, *, task: str, data_dir: Path | None) -> Any:
    """Training rows as tokens, as a `datasets.Dataset`."""
    from datasets import Dataset

    data = load_task_data(task_named(task), data_dir=data_dir, offline=True)
    rows = draw_rows(data.rows("train"), count=ROWS, seed=1)
    encoded = encode_rows(rows, tokenizer_path=fp32 / "tokenizer.json", max_length=data.task.max_length)
    return Dataset.from_dict({
        "input_ids": encoded.input_ids,
        "token_type_ids": encoded.token_type_ids,
        "attention_mask": [[1] * len(ids) for ids in encoded.input_ids],
    })  # fmt: skip


def quantize(fp32: Path, preset: str, dataset: Any, *, to: Path) -> None:
    """One preset's model, config and tokenizer into `to`."""
    from onnxruntime.quantization import QuantFormat
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoCalibrationConfig, AutoQuantizationConfig

    quantizer = ORTQuantizer.from_pretrained(fp32, file_name="model.onnx")
    config = AutoQuantizationConfig.avx512_vnni(is_static=preset != "dynamic", per_channel=preset == "static-qdq")
    ranges = None
    if preset != "dynamic":
        config.format = QuantFormat.QDQ if preset == "static-qdq" else QuantFormat.QOperator
        calibration = AutoCalibrationConfig.minmax(dataset)
        ranges = quantizer.fit(
            dataset=dataset, calibration_config=calibration, operators_to_quantize=config.operators_to_quantize
        )
    quantizer.quantize(save_dir=to, quantization_config=config, calibration_tensors_range=ranges)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        if (fp32 / name).is_file():
            shutil.copyfile(fp32 / name, to / name)


if __name__ == "__main__":
    sys.exit(main())
