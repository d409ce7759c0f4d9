"""Dynamic quantization: weights in INT8, activations on grids made anew for each input."""

from dataclasses import dataclass
from typing import ClassVar

from compressbench.artifacts.artifact import Artifact
from compressbench.methods.method import Compressed, Context
from compressbench.methods.quantize.static import Quantization
from compressbench.models.geometry import Geometry
from compressbench.registry import register


@register
@dataclass(frozen=True, kw_only=True)
class QuantDynamic(Quantization):
    """Dynamic INT8: no calibration; ranges of activations are taken while the model runs. A reference row."""

    name: ClassVar[str] = "quant-dynamic"
    reference: ClassVar[str] = "https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html"

    def compress(self, source: Artifact, context: Context) -> Compressed:
        """See `Method.compress`.

        Raises:
            BadInput: If the source model is quantized already.
        """
        from compressbench.methods.quantize.rewriting import quantize_folder

        quantize_folder(self, source, context)
        return Compressed(geometry=Geometry(**source.manifest.geometry), target=self.target)
