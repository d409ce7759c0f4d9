"""Ranges of activations as an ingredient: taken once from a model and its rows, found again by every variant."""

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from compressbench.artifacts.artifact import TOKENIZER_NAME, Artifact
from compressbench.artifacts.manifest import Format
from compressbench.methods.method import Compressed, Context, Method, parameter

if TYPE_CHECKING:
    from compressbench.methods.quantize.calibration import Measured, Rule

RANGES = "ranges"
RANGES_NAME = "ranges.json"
CHANNELS_NAME = "channels.npz"
CalibrateMethod = Literal["minmax", "entropy", "percentile", "distribution"]


@dataclass(frozen=True, kw_only=True)
class CalibratedRanges(Method):
    """The range of every activation that enters a Linear layer, by running training rows through the fp32 model."""

    name: ClassVar[str] = "calibrated-ranges"
    revision: ClassVar[int] = 2
    consumes: ClassVar[frozenset[str]] = frozenset({"torch", "onnx-fp32"})
    produces: ClassVar[Format] = "rows"
    reference: ClassVar[str] = "https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html"
    libraries: ClassVar[tuple[str, ...]] = ("onnxruntime", "onnx")
    draws: ClassVar[bool] = True

    outputs: bool = parameter(default=False, help="whether the outputs of Linear layers have a range, too")
    attention: bool = parameter(default=False, help="whether the inputs of attention's own products have one, too")
    calibrate_method: CalibrateMethod = parameter(  # noqa: RUF009 - a field, like the others
        "minmax", help="how ranges follow from the values seen"
    )
    percentile: float = parameter(99.999, help="share of values kept, in per cent")
    moving_average: bool = parameter(default=False, help="extremes averaged over batches")
    averaging_constant: float = parameter(0.01, help="weight of each batch after the first")
    calibration_rows: int = parameter(128, help="training rows")

    @property
    def rule(self) -> "Rule":
        """How ranges follow from values."""
        from compressbench.methods.quantize.calibration import Rule

        return Rule(
            calibrate_method=self.calibrate_method,
            percentile=self.percentile,
            moving_average=self.moving_average,
            averaging_constant=self.averaging_constant,
        )

    def compress(self, source: Artifact, context: Context) -> Compressed:
        """See `Method.compress`; writes ``ranges.json`` and ``channels.npz``.

        Raises:
            InvalidParameter: If there are fewer training rows than `calibration_rows`.
            BadInput: If the source model is quantized already.
        """
        from compressbench.methods.quantize.calibration import draw_rows, measure_ranges
        from compressbench.methods.quantize.sources import activations, fp32_file, read_fp32
        from compressbench.prediction import encode_rows

        rows = draw_rows(context.train, count=self.calibration_rows, seed=context.seed)
        with tempfile.TemporaryDirectory() as folder:
            onnx_path = fp32_file(source, context, workplace=Path(folder))
            model = read_fp32(onnx_path, needed_by="quantization")
            encoded = encode_rows(
                rows, tokenizer_path=onnx_path.parent / TOKENIZER_NAME, max_length=context.task.max_length
            )
            measured = measure_ranges(
                self.rule,
                model,
                encoded,
                tensors=activations(model, outputs=self.outputs, attention=self.attention),
                threads=context.threads,
                workplace=Path(folder),
                progress=context.progress,
                seed=context.seed,
            )
        write_ranges(measured, context.to)
        return Compressed(geometry=None, budget={"calibration_rows": self.calibration_rows})


def write_ranges(measured: "Measured", folder: Path) -> None:
    """Write ``ranges.json``, by tensor, and ``channels.npz``, named by the tensors' places there."""
    content = {name: asdict(each) for name, each in measured.ranges.items()}
    (folder / RANGES_NAME).write_text(json.dumps(content, indent=1) + "\n")
    places = {str(place): measured.channels[name] for place, name in enumerate(content) if name in measured.channels}
    np.savez(folder / CHANNELS_NAME, **places)  # type: ignore[arg-type]


def read_ranges(folder: Path) -> "Measured":
    """What `write_ranges` wrote."""
    from compressbench.methods.quantize.calibration import Measured, TensorRange

    content = json.loads((folder / RANGES_NAME).read_text())
    names = list(content)
    with np.load(folder / CHANNELS_NAME) as arrays:
        channels = {names[int(place)]: arrays[place] for place in arrays.files}
    return Measured(ranges={name: TensorRange(**values) for name, values in content.items()}, channels=channels)
