"""What the two static variants share: parameters, calibration, ONNX Runtime's quantizer, the folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.manifest import Format
from compressbench.errors import InvalidParameter
from compressbench.methods.method import AUTO, Auto, Compressed, Context, Method, parameter
from compressbench.models.geometry import Geometry
from compressbench.targets import NATIVE, TARGETS, TargetName, check_target, resolve_target
from compressbench.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Quantization(Method):
    """Parameters of every quantization; the names are ONNX Runtime's."""

    revision: ClassVar[int] = 2
    consumes: ClassVar[frozenset[str]] = frozenset({"torch", "onnx-fp32"})
    produces: ClassVar[Format] = "onnx-int8"
    libraries: ClassVar[tuple[str, ...]] = ("onnxruntime", "onnx")
    auto: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    weight_type: Literal["int8"] = parameter("int8", help="type of the weights' codes")
    per_channel: bool = parameter(
        default=True, help="one scale for each output of a Linear layer instead of one for all"
    )
    reduce_range: bool | Auto = parameter(  # noqa: RUF009 - a field, like the others
        AUTO, help="weights in 7 bits, so that sums of pairs fit into 16; auto: where the target has no VNNI"
    )
    target: Literal["native"] | TargetName = parameter(  # noqa: RUF009
        NATIVE, help="instruction set the model is made for; portable gives the same numbers on every CPU"
    )
    nodes_to_exclude: str = parameter(
        "", help="layers or nodes that stay fp32, joined by `;`; `*` stands for any text, as in *.intermediate.dense"
    )

    def __post_init__(self) -> None:
        resolve_target(self.target)

    def check(self, source: Geometry) -> Geometry:
        """See `Method.check`; a target whose numbers this machine cannot reproduce is refused too."""
        check_target(self.target)
        return super().check(source)

    def resolved(self, *, task: Task) -> Self:
        """See `Method.resolved`; ``native`` becomes this CPU's target, and the target decides what is ``auto``."""
        method = super().resolved(task=task)
        target = TARGETS[resolve_target(self.target)]
        if method.reduce_range == AUTO:
            method = replace(method, reduce_range=not target.adds_in_32_bits)
        return replace(method, target=target.name)


@dataclass(frozen=True, kw_only=True)
class StaticQuantization(Quantization):
    """Activations on grids that are fixed beforehand, by their ranges on training rows."""

    draws: ClassVar[bool] = True
    quantizes_outputs: ClassVar[bool]
    """Whether a Linear layer's output has a range of its own."""

    activation_type: Literal["uint8", "int8"] | Auto = parameter(  # noqa: RUF009
        AUTO, help="type of the activations' codes; auto: what the target's INT8 kernels take, uint8 but on arm64"
    )
    calibrate_method: Literal["minmax"] = parameter("minmax", help="how ranges follow from the values seen")
    calibration_rows: int = parameter(128, help="training rows, drawn by the seed, that ranges are taken from")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.calibration_rows < 1:
            raise InvalidParameter(f"calibration_rows={self.calibration_rows} leaves nothing to calibrate on: use 128")

    def resolved(self, *, task: Task) -> Self:
        """See `Quantization.resolved`."""
        method = super().resolved(task=task)
        if method.activation_type != AUTO:
            return method
        target = TARGETS[resolve_target(method.target)]
        return replace(method, activation_type=target.activation_type)

    def compress(self, source: Artifact, context: Context) -> Compressed:
        """See `Method.compress`.

        Raises:
            InvalidParameter: If there are fewer training rows than `calibration_rows`.
            BadInput: If the source model is quantized already.
        """
        from compressbench.methods.quantize.calibration import draw_rows
        from compressbench.methods.quantize.rewriting import quantize_folder

        rows = draw_rows(context.train, count=self.calibration_rows, seed=context.seed)
        quantize_folder(self, source, context, calibration=rows)
        budget = {"calibration_rows": self.calibration_rows}
        return Compressed(geometry=Geometry(**source.manifest.geometry), budget=budget, target=self.target)
