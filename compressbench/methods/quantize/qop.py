"""Static quantization in the QOperator form: operators that take and give INT8 tensors."""

from dataclasses import dataclass
from typing import ClassVar

from compressbench.methods.method import parameter
from compressbench.methods.quantize.static import StaticQuantization
from compressbench.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class QuantQop(StaticQuantization):
    """Static INT8, written as operators on INT8 tensors (QLinearMatMul)."""

    name: ClassVar[str] = "quant-qop"
    reference: ClassVar[str] = "https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html"
    quantizes_outputs: ClassVar[bool] = True

    per_channel: bool = parameter(
        default=False, help="one scale for each output of a Linear layer instead of one for all"
    )
