"""A computation on a GPU recorded once for each shape of batch and replayed, instead of launched kernel by kernel."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
Compute = Callable[[Tensors], Tensors]
"""Tensors of one batch by name to tensors by name: the loss terms of a training step, or a teacher's outputs."""

Recorded = tuple[torch.cuda.CUDAGraph, Tensors, Tensors]
"""A graph, what it reads and what it writes."""

_failed: list[torch.cuda.CUDAGraph] = []
"""Graphs whose capture failed, which torch's allocator goes on asking about memory in later captures."""


def captured(compute: Compute, *, device: str) -> Compute:
    """`compute` where `device` is the CPU; on a GPU the same computation by CUDA graphs.

    A step of a small student is about a thousand kernels of a few microseconds each, so that a GPU waits for Python
    most of the time. A replayed graph launches all of them at once, and computes what the same kernels would.
    """
    return _Captured(compute) if device == "cuda" else compute


class _Captured:
    """Graphs by shape. The first batch of a shape runs as it is, and warms up; the second is recorded.

    What a graph gives is overwritten by its next replay. Gradients go where they are in memory already, so they must be
    zeroed between steps rather than dropped.
    """

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self._stream = torch.cuda.Stream()
        self._pool = torch.cuda.graph_pool_handle()
        self._can_capture = True
        self._graphs: dict[tuple[object, ...], Recorded | None] = {}

    def __call__(self, batch: Tensors) -> Tensors:
        shape = tuple((name, each.dtype, *each.shape) for name, each in batch.items())
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            if shape not in self._graphs or not self._can_capture:
                self._graphs.setdefault(shape)
                found = self._compute(batch)
            else:
                found = self._replay(shape, batch)
        torch.cuda.current_stream().wait_stream(self._stream)
        return found

    def _replay(self, shape: tuple[object, ...], batch: Tensors) -> Tensors:
        recorded = self._graphs[shape] or self._record(batch)
        if recorded is None:
            self._can_capture = False
            return self._compute(batch)
        self._graphs[shape] = graph, static, found = recorded
        for name, each in batch.items():
            static[name].copy_(each)
        graph.replay()
        return found

    def _record(self, batch: Tensors) -> Recorded | None:
        """The graph of a batch's shape; None where a model does what no graph can hold, such as asking for a value."""
        static = {name: each.clone() for name, each in batch.items()}
        graph = torch.cuda.CUDAGraph()
        graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")  # another thread may read batches
        try:
            found = self._compute(static)
        except RuntimeError:
            with suppress(RuntimeError):  # what cannot be captured ends the capture too
                graph.capture_end()
            _failed.append(graph)
            _let_generator_go_on()
            return None
        graph.capture_end()
        return graph, static, found


def _let_generator_go_on() -> None:
    """Torch's generator takes a failed capture as under way and refuses the next dropout; a copy of it does not."""
    generator = torch.cuda.default_generators[torch.cuda.current_device()]
    generator.graphsafe_set_state(generator.clone_state())
