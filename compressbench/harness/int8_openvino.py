"""The matrix products of a model as OpenVINO runs them, read off its runtime model.

Every operator of the runtime model says which kernel executes it, by a name that ends with its precision, and which
operators of the file it came from. OpenVINO loses some of those names on its way (a scale that it folds into a product
renames the product), so a product is looked up by its own name, then by the names of what it feeds, then by the sizes
of its weight.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from compressbench.harness.gemms import FLOAT_GEMMS, INT8_GEMMS, Gemm, named_nodes, source_gemms
from compressbench.harness.int8_check import leftover_pairs
from compressbench.harness.shapes import Shape
from compressbench.models.onnx_graph import read_model
from compressbench.runtimes.openvino import OpenVinoModel, open_model

if TYPE_CHECKING:
    from onnx import ModelProto

PRODUCTS = frozenset({"FullyConnected", "MatMul", "Subgraph", "ScaledDotProductAttention", "MHA"})
"""Kinds of runtime operators that hold matrix products."""
INT8 = frozenset({"i8", "u8"})
STEPS = 3
"""How far behind a product its fused scale, mask and softmax are looked for."""


@dataclass(frozen=True, kw_only=True)
class RuntimeProduct:
    """One operator of the runtime model that multiplies matrices."""

    names: frozenset[str]
    """Operators of the file that went into it."""
    is_int8: bool
    weight_sizes: tuple[int, ...]
    """Sizes of its second input, ascending; empty where they depend on the text."""


def openvino_gemms(onnx_path: Path, shape: Shape, *, precision: str) -> tuple[list[Gemm], int]:
    """A model's matrix products as OpenVINO runs them, and its leftover pairs.

    Args:
        onnx_path: Any ONNX classifier.
        shape: Batch x tokens that products are weighed at.
        precision: Of fp32 layers, as in `runtimes.openvino.open_model`.
    """
    gemms = source_gemms(onnx_path, shape)
    with named_nodes(onnx_path) as named:
        products = runtime_products(open_model(named, precision=precision, threads=1))
        model = read_model(named)
    found = matched(gemms, products, _readers(model))
    return found, leftover_pairs(model, fused=(gemm.node for gemm in found if gemm.is_int8))


def runtime_products(model: OpenVinoModel) -> list[RuntimeProduct]:
    """The products of a compiled model, in the order they run."""
    products = []
    for operator in model.compiled.get_runtime_model().get_ordered_ops():
        told = operator.get_rt_info()
        if told["layerType"].astype(str) not in PRODUCTS:
            continue
        sizes = operator.inputs()[1].get_partial_shape() if len(operator.inputs()) > 1 else None
        products.append(
            RuntimeProduct(
                names=frozenset(told["originalLayersNames"].astype(str).split(",")),
                # The kernel's precision: a product that unpacks INT8 weights and computes in fp32 executes "in i8" too.
                is_int8=told["primitiveType"].astype(str).rpartition("_")[2].lower() in INT8,
                weight_sizes=tuple(sorted(sizes.to_shape())) if sizes is not None and sizes.is_static else (),
            )
        )
    return products


def matched(gemms: Sequence[Gemm], products: Sequence[RuntimeProduct], readers: dict[str, Sequence[str]]) -> list[Gemm]:
    """The products of the file, each INT8 where the runtime's operator is; one that is not found counts as fp32."""
    by_name = {name: product for product in products for name in product.names}
    named = {gemm.node: by_name.get(gemm.node) or _by_reader(gemm.node, by_name, readers) for gemm in gemms}
    taken = {id(product) for product in named.values()}
    spare = [product for product in products if id(product) not in taken and product.weight_sizes]
    found = []
    for gemm in gemms:
        product = named[gemm.node]
        if product is None and gemm.has_constant_weight:
            product = next((each for each in spare if each.weight_sizes == gemm.weight_sizes), None)
            spare = [each for each in spare if each is not product]
        found.append(replace(gemm, is_int8=product is not None and product.is_int8))
    return found


def _by_reader(
    name: str, by_name: dict[str, RuntimeProduct], readers: dict[str, Sequence[str]]
) -> RuntimeProduct | None:
    """The product that something a few steps behind `name` was fused into."""
    front: Sequence[str] = [name]
    for _ in range(STEPS):
        front = [reader for each in front for reader in readers.get(each, ())]
        for each in front:
            if each in by_name:
                return by_name[each]
    return None


def _readers(model: "ModelProto") -> dict[str, Sequence[str]]:
    """By node name: the nodes that read it, other products left out, for those are no part of it."""
    sources = {name: node.name for node in model.graph.node for name in node.output}
    readers: dict[str, list[str]] = {}
    for node in model.graph.node:
        if node.op_type not in FLOAT_GEMMS | INT8_GEMMS:
            for name in node.input:
                if name in sources:
                    readers.setdefault(sources[name], []).append(node.name)
    return dict(readers)
