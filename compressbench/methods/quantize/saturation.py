"""Which layer saturates: how much of what each Linear layer is given, or gives, its grid cuts off."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from compressbench.methods.quantize.calibration import Rule, TensorRange
from compressbench.methods.quantize.layers import layer_name
from compressbench.models.onnx_graph import weight_inputs
from compressbench.units import format_percent

if TYPE_CHECKING:
    from onnx import ModelProto

CALIBRATION_NAME = "calibration.json"
MUCH = 0.01
"""A layer of which more is cut off is warned of."""


@dataclass(frozen=True, kw_only=True)
class LayerRange:
    """The range of one layer's input or output."""

    layer: str
    side: Literal["input", "output"]
    low: float
    high: float
    seen_low: float
    seen_high: float
    clipped_share: float


def saturation_table(model: "ModelProto", measured: dict[str, TensorRange]) -> list[LayerRange]:
    """A line for each layer's input, and its output where that has a range, in the graph's order.

    Args:
        model: fp32.
        measured: By tensor.
    """
    table = []
    for node, weight in weight_inputs(model):
        sides: tuple[tuple[Literal["input", "output"], str], ...] = (
            ("input", node.input[0]),
            ("output", node.output[0]),
        )
        table += [
            LayerRange(layer=layer_name(weight), side=side, **asdict(measured[tensor]))
            for side, tensor in sides
            if tensor in measured
        ]
    return table


def saturation_warnings(table: list[LayerRange], *, rule: Rule) -> tuple[str, ...]:
    """A sentence, if layers lose much: how many, the worst by name, and the mend."""
    worst = sorted((each for each in table if each.clipped_share > MUCH), key=lambda each: -each.clipped_share)
    if not worst:
        return ()
    mend = "moving_average=false" if rule.moving_average else "calibrate_method=minmax"
    named = ", ".join(f"{each.layer} ({each.side}, {format_percent(each.clipped_share)})" for each in worst[:3])
    warning = (
        f"calibration cuts off more than {format_percent(MUCH, digits=0)} of the values in {len(worst)} of "
        f"{len(table)} places, most in {named}: compare with {mend}"
    )
    return (warning,)


def write_saturation_table(table: list[LayerRange], folder: Path) -> None:
    """Write ``calibration.json``: the layers, those that lose most first."""
    lines = sorted(table, key=lambda each: -each.clipped_share)
    content = {"layers": [asdict(each) for each in lines]}
    (folder / CALIBRATION_NAME).write_text(json.dumps(content, indent=1) + "\n")
