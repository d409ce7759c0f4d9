"""The noise floor: how far two measurements of the very same work lie apart on this machine now."""

import time
from collections.abc import Callable

import numpy as np

from compressbench.progress import Progress, Quiet
from compressbench.runtimes.onnxruntime import session_options
from compressbench.stats import ratio_interval

ROWS, WIDTH, INNER = 256, 768, 3072
"""Tokens of the product, and the widths of BERT-Base's feed-forward layer."""


def noise_floor(*, threads: int, rounds: int = 30, progress: Progress | None = None) -> tuple[float, float]:
    """95 % interval of the ratio of A to A: two sessions of one product, interleaved as a run's blocks are.

    Args:
        threads: Of each session.
        rounds: Pairs of blocks, in random order within a round.
        progress: Told of every round.

    Returns:
        The lower and upper end of the ratio's interval, around 1.
    """
    rng = np.random.default_rng(0)
    sides = [_feed_forward(threads=threads) for _ in range(2)]
    for side in sides:
        _block_median_ns(side)
    samples: tuple[list[float], list[float]] = ([], [])
    with (progress or Quiet()).stage("noise floor", total=rounds) as advance:
        for _ in range(rounds):
            for place in rng.permutation(2):
                samples[place].append(_block_median_ns(sides[place]))
            advance()
    interval = ratio_interval([samples[0]], [samples[1]], seed=0)
    return interval.low, interval.high


def _feed_forward(*, threads: int) -> Callable[[], object]:
    """A session of one Linear layer, ready to run."""
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime import InferenceSession

    rng = np.random.default_rng(0)
    weight = numpy_helper.from_array(rng.standard_normal((WIDTH, INNER), dtype=np.float32), "weight")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["tokens", "weight"], ["out"])],
        "feed_forward",
        [helper.make_tensor_value_info("tokens", TensorProto.FLOAT, [ROWS, WIDTH])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [ROWS, INNER])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = InferenceSession(
        model.SerializeToString(), session_options(threads=threads), providers=["CPUExecutionProvider"]
    )
    tokens = rng.standard_normal((ROWS, WIDTH), dtype=np.float32)
    return lambda: session.run(None, {"tokens": tokens})


def _block_median_ns(run: Callable[[], object], *, count: int = 5) -> float:
    samples_ns = []
    for _ in range(count):
        start_ns = time.perf_counter_ns()
        run()
        samples_ns.append(time.perf_counter_ns() - start_ns)
    return float(np.median(samples_ns))
