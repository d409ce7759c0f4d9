"""Post-training quantization by NNCF, the quantizer that comes with OpenVINO: a peer, and a method of its own.

NNCF decides by itself what to quantize. Beside the Linear layers it gives the query-key product INT8 inputs, smooths
activations (SmoothQuant) and corrects biases; its result is an ONNX file in the QDQ form, which every runtime opens.
"""

from __future__ import annotations

import io
import logging
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from compressbench.artifacts.artifact import ONNX_NAME, TOKENIZER_NAME, Artifact
from compressbench.errors import BadInput, InvalidParameter
from compressbench.methods.method import AUTO, Auto, Compressed, Context, parameter
from compressbench.methods.quantize.static import Quantization
from compressbench.models.geometry import Geometry
from compressbench.registry import register
from compressbench.targets import TARGETS, resolve_target
from compressbench.tasks.task import Task

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Arrays = Mapping[str, np.ndarray]


@register
@dataclass(frozen=True, kw_only=True)
class QuantNncf(Quantization):
    """Static INT8 by NNCF (OpenVINO's quantizer): transformer patterns, SmoothQuant, bias correction, as a QDQ file."""

    name: ClassVar[str] = "quant-nncf"
    revision: ClassVar[int] = 2
    reference: ClassVar[str] = "https://docs.openvino.ai/2026/openvino-workflow/model-optimization.html"
    libraries: ClassVar[tuple[str, ...]] = ("nncf", "onnxruntime", "onnx")
    draws: ClassVar[bool] = True

    activation_type: Literal["uint8", "int8"] | Auto = parameter(  # noqa: RUF009 - a field, like the others
        AUTO, help="codes of what Linear layers are given; NNCF writes int8, uint8 is the same values; auto: by target"
    )
    preset: Literal["mixed", "performance"] = parameter(
        "mixed", help="mixed: asymmetric activations; performance: symmetric ones"
    )
    smooth_quant_alpha: float = parameter(
        0.95, help="how much of the activations' range SmoothQuant moves into the weights, 0 to 1; -1: none"
    )
    calibration_rows: int = parameter(128, help="training rows, drawn by the seed, one at a time")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.calibration_rows < 1:
            raise InvalidParameter(f"calibration_rows={self.calibration_rows} leaves nothing to calibrate on: use 128")
        if self.smooth_quant_alpha != -1 and not 0 <= self.smooth_quant_alpha <= 1:
            raise InvalidParameter(
                f"smooth_quant_alpha={self.smooth_quant_alpha:g} is not from 0 to 1, or -1 for none: use 0.95"
            )

    def check_files(self, *, offline: bool) -> None:  # noqa: ARG002 - a package is here or is not
        """See `Method.check_files`: the package must be installed.

        Raises:
            BadInput: If it is not.
        """
        if find_spec("nncf") is None:
            raise BadInput(
                'quant-nncf needs the package nncf, which is not installed: pip install "compressbench[openvino]"'
            )

    def check_rows(self, count: int) -> None:
        """See `Method.check_rows`."""
        from compressbench.methods.quantize.calibration import check_row_count

        check_row_count(self.calibration_rows, available=count)

    def resolved(self, *, task: Task) -> Self:
        """See `Quantization.resolved`."""
        method = super().resolved(task=task)
        if method.activation_type != AUTO:
            return method
        return replace(method, activation_type=TARGETS[resolve_target(method.target)].activation_type)

    def compress(self, source: Artifact, context: Context) -> Compressed:
        """See `Method.compress`.

        Raises:
            InvalidParameter: If there are fewer training rows than `calibration_rows`, or a layer to exclude is not
                there.
            BadInput: If NNCF is not installed, or the source model is quantized already.
        """
        from compressbench.methods.quantize.calibration import draw_rows
        from compressbench.methods.quantize.sources import fp32_file, read_fp32
        from compressbench.models.onnx_graph import write_model
        from compressbench.prediction import encode_rows

        self.check_files(offline=True)
        with tempfile.TemporaryDirectory() as folder:
            onnx_path = fp32_file(source, context, workplace=Path(folder))
            model = read_fp32(onnx_path, needed_by=self.name)
            rows = draw_rows(context.train, count=self.calibration_rows, seed=context.seed)
            encoded = encode_rows(
                rows, tokenizer_path=onnx_path.parent / TOKENIZER_NAME, max_length=context.task.max_length
            )
            passes = 1 if self.smooth_quant_alpha == -1 else 2
            with context.progress.stage("quantize with NNCF", total=passes * len(encoded)) as advance:

                def one_row(place: int) -> Arrays:
                    advance()
                    return encoded.batch(np.array([place]))

                made = self._quantized(model, one_row, range(len(encoded)))
            write_model(made, context.to / ONNX_NAME)
            for path in onnx_path.parent.iterdir():
                if path.suffix in (".json", ".txt") and path.name != "artifact.json":
                    shutil.copyfile(path, context.to / path.name)
        return Compressed(
            geometry=Geometry(**source.manifest.geometry),
            budget={"calibration_rows": self.calibration_rows},
            target=self.target,
        )

    def _quantized(self, model: ModelProto, row: Callable[[int], Arrays], places: Collection[int]) -> ModelProto:
        """The INT8 model; `model` is used up."""
        from compressbench.methods.quantize.layers import excluded_weights, weight_nodes
        from compressbench.methods.quantize.signed_codes import move_to_unsigned
        from compressbench.models.onnx_graph import (
            drop_unused_initializers,
            linear_as_matmul,
            strip_exporter_traces,
        )

        excluded = excluded_weights(model, self.nodes_to_exclude)
        linear_as_matmul(model)
        for place, node in enumerate(model.graph.node):
            node.name = node.name or f"{node.op_type}_{place}"
        ignored = [node.name for node, weight in weight_nodes(model) if weight in excluded]
        names = [each.name for each in model.graph.input]
        with _quiet_nncf() as nncf:
            data = nncf.Dataset(list(places), lambda place: {name: row(place)[name] for name in names})
            made: ModelProto = nncf.quantize(
                model,
                data,
                preset=nncf.QuantizationPreset(self.preset),
                target_device=nncf.TargetDevice.CPU,
                subset_size=len(places),
                fast_bias_correction=True,
                model_type=nncf.ModelType.TRANSFORMER,
                ignored_scope=nncf.IgnoredScope(names=ignored),
                advanced_parameters=self._advanced(nncf),
            )
        before_linear, of_attention = _grids(made)
        moved = before_linear if self.activation_type == "uint8" else set()
        # OpenVINO multiplies queries and keys in INT8 as long as both are signed; without VNNI these sums saturate.
        move_to_unsigned(made, only=moved | of_attention if self.reduce_range else moved)
        drop_unused_initializers(made)
        strip_exporter_traces(made)
        return made

    def _advanced(self, nncf: Any) -> Any:
        """Our parameters as NNCF's: 7-bit weights are what it calls the overflow fix."""
        from nncf.quantization.advanced_parameters import AdvancedSmoothQuantParameters, QuantizationParameters

        return nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE if self.reduce_range else nncf.OverflowFix.DISABLE,
            weights_quantization_params=QuantizationParameters(per_channel=self.per_channel),
            smooth_quant_alphas=AdvancedSmoothQuantParameters(matmul=self.smooth_quant_alpha),
        )


def _grids(model: ModelProto) -> tuple[set[str], set[str]]:
    """Zero points of the activations that Linear layers alone read, and of all others: queries and keys."""
    from compressbench.models.onnx_graph import constant_names

    constants = constant_names(model)
    readers: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    before_linear: set[str] = set()
    others: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            unpacked = [reader.output[0] for reader in readers.get(node.output[0], [])]
            users = [user for name in unpacked for user in readers.get(name, [])]
            is_linear = bool(users) and all(user.op_type == "MatMul" and user.input[1] in constants for user in users)
            (before_linear if is_linear else others).add(node.input[2])
    return before_linear, others


@contextmanager
def _quiet_nncf() -> Iterator[Any]:
    """The package, imported without telemetry; inside, it draws no bars and logs nothing."""
    from compressbench.models.onnx_tracing import quiet_libraries
    from compressbench.runtimes.openvino import without_telemetry

    logger_class = logging.getLoggerClass()
    with without_telemetry(), quiet_libraries(), redirect_stdout(io.StringIO()):
        try:
            import nncf
        finally:
            logging.setLoggerClass(logger_class)  # the import makes every logger of this process one of NNCF's
        yield nncf
