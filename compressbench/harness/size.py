"""Bytes, parameters, zeros and FLOPs of an ONNX model, read off its file.

How compressed bytes are computed: zstd at level 19 codes 3 MB/s of fp32 weights on one core, two minutes for a
BERT-Base. Files up to `WHOLE_BYTES` are compressed whole. Of a larger file, blocks evenly spread over it are compressed
at level 19 and at level 1, and the whole file at level 1, which is a hundred times faster: the estimate is the whole at
level 1 times the ratio of the two on the blocks. Weights are nearly incompressible at any level, so that ratio hardly
varies over a file.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from compressbench.harness.gemms import profiled_graph
from compressbench.harness.inputs import longest_input
from compressbench.harness.shapes import Shape
from compressbench.harness.weights import weights_of
from compressbench.models.onnx_graph import model_files, read_model
from compressbench.progress import Progress
from compressbench.records.schema import SizeRecord

LEVEL, FAST_LEVEL = 19, 1
FLOPS_TOKENS = 128
WHOLE_BYTES = 8 * 1024 * 1024
BLOCK_BYTES = 512 * 1024
BLOCK_COUNT = 8


def measure_size(onnx_path: Path, *, measured_key: str, progress: Progress, flops: int | None = None) -> SizeRecord:
    """Count one model; scales, zero points and graph constants are no parameters.

    Args:
        onnx_path: Any ONNX classifier.
        measured_key: Of the model, for the record.
        progress: Told of each step.
        flops: Of its graph, where another model with the same graph was counted; None: counted here.

    Raises:
        BadInput: If the file is no ONNX model.
    """
    files = model_files(onnx_path)
    with progress.stage("size", total=2) as advance:
        weights = list(weights_of(read_model(onnx_path)))
        flops = count_flops(onnx_path) if flops is None else flops
        advance()
        compressed = sum(compressed_bytes(path) for path in files)
        advance()
    linear = [weight for weight in weights if weight.is_linear]
    return SizeRecord(
        measured_key=measured_key,
        size_bytes=sum(path.stat().st_size for path in files),
        compressed_bytes=compressed,
        parameter_count=sum(weight.count for weight in weights),
        nonzero_count=sum(weight.nonzero_count for weight in weights),
        linear_count=sum(weight.count for weight in linear),
        linear_nonzero_count=sum(weight.nonzero_count for weight in linear),
        flops=flops,
        layers=[
            {"name": layer_name(each.name), "weights": each.count, "nonzero": each.nonzero_count} for each in linear
        ],
    )


def layer_name(weight: str) -> str:
    """The layer that a weight's name names, whether it is stored as values or as INT8 codes."""
    return weight.removesuffix("_quantized").removesuffix(".weight")


def count_flops(onnx_path: Path) -> int:
    """Twice the multiply-adds of one row of 128 tokens; of the longest row where a model takes only shorter ones."""
    shape = Shape(1, min(FLOPS_TOKENS, longest_input(onnx_path)))
    return 2 * sum(gemm.multiply_adds for gemm in profiled_graph(onnx_path, shape)[1])


def compressed_bytes(path: Path) -> int:
    """Bytes of the file under zstd level 19: exact up to `WHOLE_BYTES`, estimated beyond."""
    size_bytes = path.stat().st_size
    data = np.memmap(path, dtype=np.uint8, mode="r") if size_bytes else np.empty(0, dtype=np.uint8)
    if size_bytes <= WHOLE_BYTES:
        return zstd_bytes([data], level=LEVEL)
    starts = np.linspace(0, size_bytes - BLOCK_BYTES, BLOCK_COUNT).astype(np.int64)
    blocks = [data[start : start + BLOCK_BYTES] for start in starts]
    slow, fast = (sum(zstd_bytes([block], level=level) for block in blocks) for level in (LEVEL, FAST_LEVEL))
    return round(zstd_bytes(_pieces(data), level=FAST_LEVEL) * slow / fast)


def zstd_bytes(pieces: Sequence[np.ndarray] | Iterator[np.ndarray], *, level: int) -> int:
    """Length of one zstd frame over the pieces."""
    import zstandard

    compressor = zstandard.ZstdCompressor(level=level).compressobj()
    return sum(len(compressor.compress(piece.tobytes())) for piece in pieces) + len(compressor.flush())


def _pieces(data: np.ndarray, *, piece_bytes: int = 16 * 1024 * 1024) -> Iterator[np.ndarray]:
    for start in range(0, len(data), piece_bytes):
        yield data[start : start + piece_bytes]
