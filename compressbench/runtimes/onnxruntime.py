"""ONNX Runtime: opens a model with fixed threads. Needs numpy and onnxruntime, nothing else."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compressbench.errors import BadInput

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions

NAME = "onnxruntime"


class OrtModel:
    """A model in a session of ONNX Runtime; called with arrays by input name, it gives logits."""

    def __init__(self, session: "InferenceSession", path: Path) -> None:
        self._session = session
        self._path = path
        self.input_names = tuple(each.name for each in session.get_inputs())

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Logits, float32 [batch, outputs]; inputs the graph does not have (token types) are left out.

        Raises:
            BadInput: If it cannot run rows of this many tokens, or ids beyond its vocabulary.
        """
        try:
            logits: np.ndarray = self._session.run(None, {name: inputs[name] for name in self.input_names})[0]
        except Exception as error:  # noqa: BLE001 - ONNX Runtime has a class per kind of failure and no base for them
            size = " x ".join(map(str, inputs[self.input_names[0]].shape))
            reason = str(error).strip().splitlines()[0][:200]
            raise BadInput(f"{self._path} does not run on rows of {size} tokens: {reason}") from None
        return logits


def open_model(path: Path, *, threads: int) -> OrtModel:
    """Open a model with every optimization and exactly `threads` threads.

    ONNX Runtime reads neither container limits nor OMP_NUM_THREADS, so both thread counts are always set.

    Raises:
        BadInput: If ONNX Runtime cannot open it.
    """
    from onnxruntime import InferenceSession

    try:
        session = InferenceSession(str(path), session_options(threads=threads), providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - ONNX Runtime has a class per kind of failure and no base for them
        raise BadInput(f"{path} cannot be opened by ONNX Runtime: {str(error).strip().splitlines()[0]}") from None
    return OrtModel(session, path)


@contextmanager
def profiled(path: Path, options: "SessionOptions") -> Iterator[tuple["InferenceSession", list[dict[str, Any]]]]:
    """A session with its profiler on, and a list that holds the profiler's events once the context has ended."""
    from onnxruntime import InferenceSession

    events: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        yield session, events
        events += json.loads(Path(session.end_profiling()).read_text())


def write_optimized_graph(path: Path, to: Path) -> None:
    """Write the graph that ONNX Runtime makes of a model on this CPU."""
    from onnxruntime import InferenceSession

    options = session_options(threads=1)
    options.optimized_model_filepath = str(to)
    InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def session_options(*, threads: int, as_written: bool = False) -> "SessionOptions":
    """All optimizations, or none with `as_written`; fixed threads, errors only."""
    from onnxruntime import GraphOptimizationLevel, SessionOptions

    level = GraphOptimizationLevel.ORT_DISABLE_ALL if as_written else GraphOptimizationLevel.ORT_ENABLE_ALL
    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = level
    options.log_severity_level = 3
    return options
