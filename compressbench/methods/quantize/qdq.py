"""Static quantization in the QDQ form: QuantizeLinear and DequantizeLinear around fp32 operators."""

from dataclasses import dataclass
from typing import ClassVar

from compressbench.methods.quantize.static import StaticQuantization
from compressbench.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class QuantQdq(StaticQuantization):
    """Static INT8, written as Quantize/Dequantize pairs that a runtime fuses into INT8 kernels."""

    name: ClassVar[str] = "quant-qdq"
    reference: ClassVar[str] = "https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html"
    # Outputs stay float: the fused kernel hands them on as float anyway, and a rounding less is a better score.
    quantizes_outputs: ClassVar[bool] = False
