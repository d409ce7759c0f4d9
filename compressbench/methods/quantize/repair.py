"""Static quantization with its repairs: biases corrected, and the layers that the score cannot spare kept in fp32."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compressbench.methods.quantize.bias_correction import correct_biases, float_layers
from compressbench.methods.quantize.int8_layers import int8_layers
from compressbench.methods.quantize.layers import layer_name
from compressbench.methods.quantize.sensitivity import Kept, fewest_kept, grids_of, primary_score, rank_layers
from compressbench.models.onnx_graph import write_model
from compressbench.prediction import EncodedRows, predict
from compressbench.progress import Progress
from compressbench.runtimes.onnxruntime import open_model
from compressbench.tasks.task import Rows, Task
from compressbench.units import format_points

if TYPE_CHECKING:
    from onnx import ModelProto

Quantize = Callable[["ModelProto", Sequence[str]], "ModelProto"]
"""A fp32 graph, which is used up, and the names of weights that stay fp32, to an INT8 graph."""


@dataclass(frozen=True, kw_only=True)
class Choosing:
    """What layers are chosen by: training rows, as text and as tokens, and how much of the score may go."""

    task: Task
    rows: Rows
    encoded: EncodedRows
    max_drop: float
    """A fraction of the primary score."""


@dataclass(frozen=True, kw_only=True)
class Repairing:
    """Where graphs are run to repair them."""

    calibration: EncodedRows | None
    """Rows that biases are corrected on; None: they stay."""
    choosing: Choosing | None
    """None: no layer is kept."""
    threads: int
    workplace: Path
    progress: Progress

    def quantized(self, model: "ModelProto", quantize: Quantize) -> tuple["ModelProto", Kept | None]:
        """The INT8 graph of a fp32 one, which is used up, and which layers it keeps."""
        if self.choosing is None:
            return self._corrected(model, quantize, ()), None
        made = self._corrected(_copied(model), quantize, ())
        layers = list(int8_layers(made))
        exact = self._score(model, self.choosing)
        before = exact - self._score(made, self.choosing)
        if before <= self.choosing.max_drop:
            ranked: list[str] = []
        else:
            ranked = rank_layers(
                model, layers, grids_of(made, layers), self.choosing.encoded,
                threads=self.threads, workplace=self.workplace, progress=self.progress,
            )  # fmt: skip
        del made
        choosing = self.choosing

        def drop_with(kept: Sequence[str]) -> float:
            return exact - self._score(self._corrected(_copied(model), quantize, kept), choosing)

        weights, drop = fewest_kept(ranked, drop_with, max_drop=choosing.max_drop, drop_before=before)
        kept = Kept(
            weights=weights,
            layer_count=len(layers),
            rows=len(choosing.rows),
            score=exact,
            drop_before=before,
            drop=drop,
        )
        return self._corrected(model, quantize, weights), kept

    def _corrected(self, model: "ModelProto", quantize: Quantize, kept: Sequence[str]) -> "ModelProto":
        if self.calibration is None:
            return quantize(model, kept)
        before = float_layers(model)
        made = quantize(model, kept)
        correct_biases(
            made, before, self.calibration, threads=self.threads, workplace=self.workplace, progress=self.progress
        )
        return made

    def _score(self, model: "ModelProto", choosing: Choosing) -> float:
        path = self.workplace / "scored.onnx"
        write_model(model, path)
        forward = open_model(path, threads=self.threads)
        logits = predict(forward, choosing.encoded, progress=self.progress, name="score on training rows")
        return primary_score(choosing.task, logits, choosing.rows)


def kept_warning(kept: Kept, *, max_drop: float) -> str:
    """One sentence on which layers stay in fp32 and why."""
    with_all = (
        f"with all {kept.layer_count} layers in INT8 the score on {kept.rows} training rows falls by "
        f"{format_points(kept.drop_before)} points"
    )
    names = ", ".join(layer_name(weight) for weight in kept.weights)
    sentence = f"{with_all}; kept in fp32 it falls by {format_points(kept.drop)} points: {names}"
    if kept.drop > max_drop:
        sentence += f". That is more than max_drop={format_points(max_drop)}pt, and keeping more layers does not help"
    return sentence


def _copied(model: "ModelProto") -> "ModelProto":
    from onnx import ModelProto

    copy = ModelProto()
    copy.CopyFrom(model)
    return copy
