"""Do ONNX Runtime's fused kernels pay on this CPU? A model as it is beside the same with them written into its graph.

    python -m benchmarks.int8.fused_kernels student-int8/model.onnx

SkipLayerNormalization takes a layer's bias, the residual connection and the LayerNormalization in one step,
MultiHeadAttention everything between the query, key and value layers and the attention's output layer. Both are
operators of ONNX Runtime's own domain. It makes neither by itself of graphs as our passes write them, so here they are
written where such a graph has the pattern.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.int8.figures import speedups
from benchmarks.int8.models import Row
from compressbench.artifacts.artifact import TOKENIZER_NAME
from compressbench.errors import BadInput, CompressbenchError
from compressbench.harness.inputs import latency_inputs
from compressbench.harness.shapes import Shape, parse_fixed_shape
from compressbench.measuring import Measurable
from compressbench.models.onnx_graph import read_model, to_array, to_tensor, write_model
from compressbench.plan_parts import check_threads
from compressbench.progress import choose_progress
from compressbench.runtimes.onnxruntime import open_model
from compressbench.table import Table, table_markdown
from compressbench.units import format_ratio

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

DOMAIN = "com.microsoft"
AS_IT_IS = "as it is"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the variants, time them interleaved, print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int8.fused_kernels", description=__doc__)
    parser.add_argument("model", type=Path, help="ONNX file of ours, fp32 or quant-qdq")
    parser.add_argument("--shapes", default="1x128,8x128")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args(arguments)
    try:
        shapes = [parse_fixed_shape(text) for text in given.shapes.split(",")]
        print(table_markdown(compared(given.model, shapes, threads=check_threads(given.threads), rounds=given.rounds)))
    except CompressbenchError as error:
        print(f"benchmarks.int8.fused_kernels: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def compared(path: Path, shapes: Sequence[Shape], *, threads: int, rounds: int) -> Table:
    """Speedup of each variant over the model as it is, and how far its logits are from that one's.

    Raises:
        BadInput: If the model has none of the patterns.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = {AS_IT_IS: path, **write_variants(path, Path(folder))}
        logits = {name: _logits(each, shapes[0]) for name, each in paths.items()}
        rows = [
            Row(name=name, model=Measurable(key=name, onnx_path=each, tokenizer_path=path.parent / TOKENIZER_NAME))
            for name, each in paths.items()
        ]
        found, _ = speedups(
            rows, baseline=AS_IT_IS, runtimes=["onnxruntime"], shapes=shapes, threads=threads, rounds=rounds,
            progress=choose_progress(),
        )  # fmt: skip
    cells = []
    for name, values in logits.items():
        difference = np.abs(values - logits[AS_IT_IS]).max()
        ratios = [found[name, "onnxruntime", str(shape)] for shape in shapes]
        told = [f"{format_ratio(each.ratio)} [{format_ratio(each.low)}, {format_ratio(each.high)}]" for each in ratios]
        cells.append((name, *told, f"{difference:.1e}"))
    columns = ("operators", *(f"speedup {shape} [95 %]" for shape in shapes), "logits differ by")
    return Table(title=f"Fused kernels, {threads} threads", columns=columns, rows=cells)


def write_variants(path: Path, folder: Path) -> dict[str, Path]:
    """The model with each fused operator, and with both, as files in `folder`.

    Raises:
        BadInput: If the model has none of the patterns.
    """
    variants: dict[str, tuple[Callable[[ModelProto], int], ...]] = {
        "SkipLayerNormalization": (fuse_layer_norms,),
        "MultiHeadAttention": (fuse_attention,),
        "both": (fuse_attention, fuse_layer_norms),
    }
    made = {}
    for name, passes in variants.items():
        model = read_model(path)
        if not all(fuse(model) for fuse in passes):
            raise BadInput(f"{path} has no {name} to be made: give a model that `compressbench compress` wrote")
        _own_domain(model)
        made[name] = folder / name / "model.onnx"
        made[name].parent.mkdir()
        write_model(model, made[name])
    return made


def fuse_layer_norms(model: "ModelProto") -> int:
    """Make LayerNormalization(a + b), and a layer's bias in front of it, one SkipLayerNormalization; say how many."""
    from onnx import helper

    graph = Wiring.of(model)
    made = {}
    for norm in [node for node in model.graph.node if node.op_type == "LayerNormalization"]:
        residual = graph.makers.get(norm.input[0])
        if residual is None or residual.op_type != "Add" or graph.constant_of(residual):
            continue
        sides, bias, gone = list(residual.input), "", [residual]
        for place, side in enumerate(sides):
            added = graph.makers.get(side)
            if added is not None and added.op_type == "Add" and graph.constant_of(added) and not bias:
                bias = graph.constant_of(added)
                sides = [next(name for name in added.input if name != bias), sides[1 - place]]
                gone.append(added)
        fused = helper.make_node(
            "SkipLayerNormalization", [*sides, *norm.input[1:3], *filter(None, [bias])], norm.output[:1],
            name=f"{norm.name}_skip", domain=DOMAIN, epsilon=_attribute(norm, "epsilon"),
        )  # fmt: skip
        made[norm.name] = (fused, gone)
    _put_in_place(model, made)
    return len(made)


def fuse_attention(model: "ModelProto") -> int:
    """Make what is between query, key, value and the output layer one MultiHeadAttention; say how many."""
    from onnx import helper

    graph = Wiring.of(model)
    made: dict[str, tuple[NodeProto, list[NodeProto]]] = {}
    for softmax in [node for node in model.graph.node if node.op_type == "Softmax"]:
        masked = graph.makers[softmax.input[0]]
        scaled = graph.makers[masked.input[0]]
        scores = graph.makers[scaled.input[0]]
        context = graph.reader(softmax)
        joined = graph.reader(graph.reader(context))
        swapped = [graph.makers[name] for name in (*scores.input, context.input[1])]
        split = [graph.makers[node.input[0]] for node in swapped]
        biased = [graph.makers[node.input[0]] for node in split]
        biases = [graph.constant_of(node) for node in biased]
        together = f"{softmax.name}_biases"
        model.graph.initializer.append(
            to_tensor(np.concatenate([to_array(graph.constants[name]) for name in biases]), together)
        )
        inputs = [next(name for name in node.input if name != bias) for node, bias in zip(biased, biases, strict=True)]
        fused = helper.make_node(
            "MultiHeadAttention", [*inputs, together, "mask_int32"], joined.output, name=f"{softmax.name}_attention",
            domain=DOMAIN, num_heads=int(to_array(graph.constants[split[0].input[1]])[-2]),
            scale=float(to_array(graph.constants[scaled.input[1]])), mask_filter_value=-10_000.0,
        )  # fmt: skip
        gone = [softmax, masked, scaled, scores, context, graph.reader(context), *swapped, *split, *biased]
        made[joined.name] = (fused, gone)
    if made:
        cast = helper.make_node("Cast", ["attention_mask"], ["mask_int32"], name="mask_int32", to=6)
        model.graph.node.insert(0, cast)
    _put_in_place(model, made)
    return len(made)


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """Who makes and who reads each tensor of a graph."""

    constants: Mapping[str, "TensorProto"]
    makers: Mapping[str, "NodeProto"]
    readers: Mapping[str, Sequence["NodeProto"]]

    @classmethod
    def of(cls, model: "ModelProto") -> "Wiring":
        """A graph's, as it is now."""
        readers: dict[str, list[NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        return cls(
            constants={each.name: each for each in model.graph.initializer},
            makers={name: node for node in model.graph.node for name in node.output},
            readers=readers,
        )

    def constant_of(self, node: "NodeProto") -> str:
        """The constant that a node reads; empty where it reads none."""
        return next((name for name in node.input if name in self.constants), "")

    def reader(self, node: "NodeProto") -> "NodeProto":
        """The one node that reads what a node makes."""
        (reader,) = self.readers[node.output[0]]
        return reader


def _put_in_place(model: "ModelProto", made: Mapping[str, tuple["NodeProto", Sequence["NodeProto"]]]) -> None:
    """Put each new node where the last of those it replaces stands, by that one's name."""
    gone = {node.name for _, replaced in made.values() for node in replaced}
    kept = [made[node.name][0] if node.name in made else node for node in model.graph.node if node.name not in gone]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _own_domain(model: "ModelProto") -> None:
    from onnx import helper

    if all(each.domain != DOMAIN for each in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))


def _attribute(node: "NodeProto", name: str) -> float:
    return next(float(each.f) for each in node.attribute if each.name == name)


def _logits(path: Path, shape: Shape) -> np.ndarray:
    inputs = latency_inputs([path], [shape])
    return open_model(path, threads=1)({name.partition("/")[2]: values for name, values in inputs.items()})


if __name__ == "__main__":
    sys.exit(main())
