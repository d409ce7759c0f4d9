"""The runtimes a model can be timed in, by name: what each opens, what must be installed, what the CPU must have.

One set of weights, several engines: ONNX Runtime and OpenVINO open the same ONNX file; the PyTorch ones open the
Hugging Face folder it was exported from, so a model that exists as ONNX alone (every INT8 one) has no figures there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from compressbench import environment
from compressbench.errors import BadInput, UnknownName

DEFAULT = "onnxruntime"


class Model(Protocol):
    """A model that a runtime holds open with fixed threads."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """Which of `input_ids`, `attention_mask`, `token_type_ids` it takes."""
        ...

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Logits, float32 [batch, outputs], of int64 arrays [batch, tokens]; names it does not take are left out."""
        ...


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What is known of a runtime without loading it."""

    name: str
    opens: Literal["onnx", "torch"]
    package: str
    """What it imports."""
    extra: str | None = None
    """The optional part of this distribution that brings the package; None: it is always there."""
    precision: Literal["fp32", "bf16", "int8"] = "fp32"
    """What it computes fp32 layers in: always the same, whatever the CPU could do; INT8 operators stay INT8."""
    fallback: str = DEFAULT
    """The runtime to take where the CPU cannot do this one's precision."""


RUNTIMES: Mapping[str, Runtime] = {
    each.name: each
    for each in (
        Runtime(name="onnxruntime", opens="onnx", package="onnxruntime"),
        Runtime(name="openvino", opens="onnx", package="openvino", extra="openvino"),
        Runtime(
            name="openvino-bf16",
            opens="onnx",
            package="openvino",
            extra="openvino",
            precision="bf16",
            fallback="openvino",
        ),
        Runtime(name="torch", opens="torch", package="torch"),
        Runtime(name="torch-bf16", opens="torch", package="torch", precision="bf16", fallback="torch"),
        Runtime(name="torch-int8", opens="torch", package="torch", precision="int8"),
    )
}


def check_runtime(name: str) -> Runtime:
    """The runtime of that name, if it can run here.

    A bf16 runtime is refused where the CPU has no bf16 products: PyTorch would emulate them a hundred times slower and
    OpenVINO would compute in fp32 under the wrong name.

    Raises:
        UnknownName: If there is none of that name.
        BadInput: If its package is not installed, or the CPU cannot compute in its precision.
    """
    runtime = RUNTIMES.get(name)
    if runtime is None:
        raise UnknownName("runtime", name, RUNTIMES)
    if find_spec(runtime.package) is None:
        mend = f'pip install "compressbench[{runtime.extra}]"' if runtime.extra else "pip install compressbench"
        raise BadInput(f"the runtime {name} needs the package {runtime.package}, which is not installed: {mend}")
    if runtime.precision == "bf16" and environment.native_precision() != "bf16":
        raise BadInput(
            f"the runtime {name} needs a CPU that multiplies bf16 (AVX512_BF16, AMX or Arm's bf16), "
            f"and this one does not: use {runtime.fallback}"
        )
    return runtime


def runs_in(name: str, *, torch_path: Path | None) -> bool:
    """Whether a model can be opened there at all: a PyTorch runtime needs the folder the model was exported from."""
    return RUNTIMES[name].opens == "onnx" or torch_path is not None


def open_model(name: str, onnx_path: Path, *, torch_path: Path | None = None, threads: int) -> Model:
    """Open a model in a runtime with exactly `threads` threads.

    Args:
        name: Of `RUNTIMES`.
        onnx_path: The model as ONNX.
        torch_path: The Hugging Face folder it was exported from, where there is one.
        threads: Intra-op threads; the PyTorch runtimes set them for the whole process.

    Raises:
        BadInput: If the runtime cannot open the model, or there is no folder for a PyTorch runtime.
    """
    runtime = RUNTIMES[name]
    if runtime.opens == "torch":
        from compressbench.runtimes import torch

        if torch_path is None:
            raise BadInput(
                f"{onnx_path} does not run in {name}: it was not exported from a Hugging Face folder that is known here"
            )
        return torch.open_model(torch_path, precision=runtime.precision, threads=threads)
    if runtime.package == "openvino":
        from compressbench.runtimes import openvino

        return openvino.open_model(onnx_path, precision=runtime.precision, threads=threads)
    from compressbench.runtimes import onnxruntime

    return onnxruntime.open_model(onnx_path, threads=threads)
