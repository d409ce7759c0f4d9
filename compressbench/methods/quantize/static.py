"""What the two static variants share: parameters, calibration, ONNX Runtime's quantizer, the folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

from compressbench.artifacts.artifact import Artifact
from compressbench.artifacts.manifest import Format
from compressbench.errors import InvalidParameter
from compressbench.methods.method import AUTO, Auto, Compressed, Context, Method, parameter
from compressbench.methods.quantize.ranges import RANGES, CalibratedRanges, CalibrateMethod
from compressbench.models.geometry import Geometry
from compressbench.targets import NATIVE, TARGETS, TargetName, check_target, resolve_target
from compressbench.tasks.task import Task
from compressbench.units import parse_points

OFF: Literal["off"] = "off"
TUNED_SPLIT = 0.0125
"""Of `split_outliers`: at most 9 columns for BERT-Base's hidden states and 38 behind its Gelus."""


@dataclass(frozen=True, kw_only=True)
class Quantization(Method):
    """Parameters of every quantization; the names are ONNX Runtime's."""

    revision: ClassVar[int] = 7
    consumes: ClassVar[frozenset[str]] = frozenset({"torch", "onnx-fp32"})
    produces: ClassVar[Format] = "onnx-int8"
    libraries: ClassVar[tuple[str, ...]] = ("onnxruntime", "onnx")
    auto: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    weight_type: Literal["int8"] = parameter("int8", help="type of the weights' codes")
    per_channel: bool = parameter(
        default=True,
        help="one scale for each output of a Linear layer and feature of an embedding, instead of one for all",
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

    @property
    def named_layers(self) -> str:
        """See `Method.named_layers`: what stays fp32."""
        return self.nodes_to_exclude

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

    @property
    def named_layers(self) -> str:
        """See `Quantization.named_layers`."""
        return ";".join(name for name in (self.nodes_to_exclude, self.keep_fp32) if name not in ("", AUTO))

    @property
    def quantizes_attention(self) -> bool:
        """Whether the products within attention, whose inputs are both computed, are quantized too."""
        return False

    activation_type: Literal["uint8", "int8"] | Auto = parameter(  # noqa: RUF009
        AUTO, help="type of the activations' codes; auto: what the target's INT8 kernels take, uint8 but on arm64"
    )
    calibrate_method: CalibrateMethod = parameter(  # noqa: RUF009
        "minmax", help="how ranges follow from the values seen"
    )
    percentile: float = parameter(
        99.999, help="with calibrate_method=percentile: the share of values kept, in per cent"
    )
    moving_average: bool = parameter(
        default=False, help="with calibrate_method=minmax: extremes averaged over batches instead of the widest"
    )
    averaging_constant: float = parameter(0.01, help="with moving_average: weight of each batch after the first")
    calibration_rows: int = parameter(128, help="training rows, drawn by the seed, that ranges are taken from")
    smooth: float | Literal["off"] = parameter(
        OFF, help="SmoothQuant's strength, 0.5 for example: outlier channels move from activations into weights"
    )
    split_outliers: float | Literal["auto", "off"] = parameter(
        AUTO,
        help="most columns added, as a share of a layer's inputs, for what outlier channels exceed a narrower grid by; "
        "auto: 0.0125 in the tuned form (per_channel, minmax, activation_type not set to int8), else off",
    )
    bias_correction: bool = parameter(
        default=False, help="each layer's mean error over the calibration rows goes into its bias"
    )
    keep_fp32: str = parameter(
        "", help="auto: the fewest layers that max_drop asks for stay fp32; or layers as in nodes_to_exclude"
    )
    max_drop: str = parameter("0.5pt", help="what keep_fp32=auto lets the score lose, on a tenth of the training rows")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.calibration_rows < 1:
            raise InvalidParameter(f"calibration_rows={self.calibration_rows} leaves nothing to calibrate on: use 128")
        if not 50 < self.percentile <= 100:
            raise InvalidParameter(f"percentile={self.percentile:g} is not above 50 and up to 100: use 99.999")
        if self.moving_average and self.calibrate_method != "minmax":
            raise InvalidParameter(
                f"moving_average=true averages extremes, and calibrate_method={self.calibrate_method} takes none: "
                "use calibrate_method=minmax"
            )
        if not 0 < self.averaging_constant <= 1:
            raise InvalidParameter(
                f"averaging_constant={self.averaging_constant:g} is not above 0 and up to 1: use 0.01"
            )

        if self.smooth != OFF and not 0.0 < self.smooth < 1.0:
            raise InvalidParameter(f"smooth={self.smooth} is not between 0 and 1: use 0.5, or off")
        if self.keep_fp32 != AUTO and self.keep_fp32.casefold() == AUTO:
            raise InvalidParameter(f"keep_fp32={self.keep_fp32} is no layer: use keep_fp32={AUTO}")
        self._check_split()
        _ = self.largest_drop
        self._check_unused()

    def _check_unused(self) -> None:
        usual = {each.name: each.default for each in fields(self)}
        for name, needed, is_given in (
            ("percentile", "calibrate_method=percentile", self.calibrate_method == "percentile"),
            ("averaging_constant", "moving_average=true", self.moving_average),
            ("max_drop", f"keep_fp32={AUTO}", self.keep_fp32 == AUTO),
        ):
            if getattr(self, name) != usual[name] and not is_given:
                raise InvalidParameter(
                    f"{name}={getattr(self, name)} means nothing without {needed}: add that, or leave it out"
                )

    def _check_split(self) -> None:
        if self.split_outliers in (AUTO, OFF):
            return
        if not 0.0 < float(self.split_outliers) <= 1.0:
            raise InvalidParameter(
                f"split_outliers={self.split_outliers} is not above 0 and up to 1: use {TUNED_SPLIT}, or off"
            )
        if not self.covers_what_it_saw:
            raise InvalidParameter(
                f"split_outliers={self.split_outliers} keeps what a narrower grid would cut off, and the way ranges "
                "are taken cuts it off first: use calibrate_method=minmax without moving_average, or split_outliers=off"
            )

    @property
    def covers_what_it_saw(self) -> bool:
        """Whether the range holds every value of the calibration rows, and nothing beyond."""
        return self.calibrate_method == "minmax" and not self.moving_average

    @property
    def largest_drop(self) -> float:
        """`max_drop` as a fraction of the score."""
        return parse_points(self.max_drop, name="max_drop")

    def check_rows(self, count: int) -> None:
        """See `Method.check_rows`."""
        from compressbench.methods.quantize.calibration import check_row_count

        check_row_count(self.calibration_rows, available=count)

    def ingredients(self) -> Mapping[str, Method]:
        """The ranges, found again by every variant that takes the same from the same rows.

        A smoothed graph has ranges of its own, which are taken where it is made.
        """
        return {RANGES: self.ranges} if self.smooth == OFF else {}

    @property
    def ranges(self) -> CalibratedRanges:
        """What takes the ranges; parameters that mean nothing for the rule are left at their defaults."""
        relevant: dict[str, Any] = {"calibrate_method": self.calibrate_method}
        if self.calibrate_method == "percentile":
            relevant["percentile"] = self.percentile
        if self.moving_average:
            relevant |= {"moving_average": True, "averaging_constant": self.averaging_constant}
        if self.quantizes_attention:
            relevant["attention"] = True
        return CalibratedRanges(outputs=self.quantizes_outputs, calibration_rows=self.calibration_rows, **relevant)

    def resolved(self, *, task: Task) -> Self:
        """See `Quantization.resolved`."""
        method = super().resolved(task=task)
        if method.split_outliers == AUTO:
            is_tuned = method.per_channel and method.covers_what_it_saw and method.activation_type != "int8"
            method = replace(method, split_outliers=TUNED_SPLIT if is_tuned else OFF)
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
        from compressbench.methods.quantize.rewriting import quantize_folder

        method = self
        if self.keep_fp32 not in ("", AUTO):
            method = replace(self, nodes_to_exclude=self.named_layers)
        said = quantize_folder(method, source, context)
        budget = {"calibration_rows": self.calibration_rows}
        if said.kept is not None:
            budget |= {"layers_kept_fp32": len(said.kept.weights), "rows_chosen_by": said.kept.rows}
        geometry = Geometry(**source.manifest.geometry)
        return Compressed(geometry=geometry, budget=budget, target=self.target, warnings=said.warnings)
