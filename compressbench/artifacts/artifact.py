"""An artifact: a folder with a manifest, opened for reading."""

from dataclasses import dataclass
from pathlib import Path

from compressbench.artifacts.manifest import Manifest, read_manifest

ONNX_NAME = "model.onnx"
WEIGHTS_NAME = "model.safetensors"
TOKENIZER_NAME = "tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A made model: `path` holds what its manifest lists."""

    path: Path
    manifest: Manifest

    @property
    def key(self) -> str:
        """The content key."""
        return self.manifest.key

    @property
    def format(self) -> str:
        """``torch``, ``onnx-fp32`` or ``onnx-int8``."""
        return self.manifest.format

    @property
    def onnx_path(self) -> Path:
        """The ONNX model file (of an ONNX artifact)."""
        return self.path / ONNX_NAME

    @property
    def tokenizer_path(self) -> Path:
        """tokenizer.json, which `tokenizers` reads without transformers."""
        return self.path / TOKENIZER_NAME


def open_artifact(folder: Path) -> Artifact:
    """Open an artifact folder.

    Raises:
        BadInput: If it holds no manifest that can be read.
    """
    return Artifact(path=folder, manifest=read_manifest(folder))
