"""Static quantization in the QDQ form: QuantizeLinear and DequantizeLinear around fp32 operators."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from compressbench.errors import InvalidParameter
from compressbench.methods.method import parameter
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

    dedicated_qdq_pair: bool = parameter(
        default=False, help="a Q/DQ pair for each reader of an activation instead of one for all (DedicatedQDQPair)"
    )
    s8_to_u8: bool = parameter(
        default=False, help="with activation_type=int8: codes and zero points moved by +128, the same values in U8"
    )
    attention_matmuls: bool | Literal["scores"] = parameter(
        default=False, help="attention's products in INT8, too: scores, as NNCF does; true: scores and contexts"
    )

    @property
    def quantizes_attention(self) -> bool:
        """See `StaticQuantization.quantizes_attention`."""
        return self.attention_matmuls is not False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.s8_to_u8 and self.activation_type != "int8":
            raise InvalidParameter(
                f"s8_to_u8=true moves signed activations, and activation_type={self.activation_type} has none: "
                "add activation_type=int8, or leave s8_to_u8 out"
            )
