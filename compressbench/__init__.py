"""Compress BERT-family models and measure every artifact for size, CPU latency and score.

The public names load on first use, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Artifact": "compressbench.artifacts.artifact",
    "Compressed": "compressbench.methods.method",
    "CompressbenchError": "compressbench.errors",
    "Context": "compressbench.methods.method",
    "Method": "compressbench.methods.method",
    "Options": "compressbench.options",
    "Plan": "compressbench.plan",
    "Task": "compressbench.tasks.task",
    "all_methods": "compressbench.registry",
    "open_artifact": "compressbench.artifacts.artifact",
    "parameter": "compressbench.methods.method",
    "register": "compressbench.registry",
    "resolve": "compressbench.plan",
    "run": "compressbench.pipeline",
}

__all__ = ["__version__", *sorted(_PUBLIC)]  # noqa: PLE0604 - the names are texts, in a dict


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
