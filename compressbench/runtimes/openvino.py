"""OpenVINO: opens the same ONNX files with fixed threads, one stream and a fixed precision.

Left to itself OpenVINO computes fp32 layers in bf16 wherever the CPU can; here `INFERENCE_PRECISION_HINT` says what
they are computed in. No cache folder is used, so that a load is a load. The package reports its own import to its
makers; `without_telemetry` keeps it from that.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compressbench.errors import BadInput

if TYPE_CHECKING:
    from openvino import CompiledModel

DEVICE = "CPU"
PRECISIONS = {"fp32": "f32", "bf16": "bf16"}


TELEMETRY = "openvino_telemetry"


@contextmanager
def without_telemetry() -> Iterator[None]:
    """Import openvino or nncf inside: they find no telemetry package, send nothing and write no client id."""
    if TELEMETRY in sys.modules:  # somebody else's import was first; it is not ours to take away
        yield
        return
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # how Python spells "cannot be imported"
    try:
        yield
    finally:
        del sys.modules[TELEMETRY]


class OpenVinoModel:
    """A compiled model and one request; called with arrays by input name, it gives logits."""

    def __init__(self, compiled: "CompiledModel") -> None:
        self.compiled = compiled
        self._request = compiled.create_infer_request()
        self.input_names = tuple(each.any_name for each in compiled.inputs)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Logits, float32 [batch, outputs]; inputs the graph does not have (token types) are left out."""
        feeds = {name: inputs[name] for name in self.input_names}
        logits: np.ndarray = self._request.infer(feeds, share_inputs=True)[0]
        return logits


def open_model(path: Path, *, precision: str, threads: int) -> OpenVinoModel:
    """Compile a model for the CPU: lowest latency, exactly `threads` threads, fp32 layers in `precision`.

    Args:
        path: An ONNX file; its INT8 layers stay INT8.
        precision: ``fp32`` or ``bf16``.
        threads: Of the one stream that a request runs on.

    Raises:
        BadInput: If OpenVINO cannot open it.
    """
    with without_telemetry():
        import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "CACHE_DIR": "",
    }
    try:
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(path), DEVICE, settings)
    except Exception as error:  # noqa: BLE001 - OpenVINO raises RuntimeError and classes of its own
        raise BadInput(f"{path} cannot be opened by OpenVINO: {_first_line(error)}") from None
    return OpenVinoModel(compiled)


def _first_line(error: Exception) -> str:
    """The line of OpenVINO's message that says something; the first ones name source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (said or lines or [type(error).__name__])[0]
