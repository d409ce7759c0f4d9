"""`artifact.json`: what an artifact is, what it was made from, and the sha256 of each of its files."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from compressbench.errors import BadInput

MANIFEST_NAME = "artifact.json"
FORMAT_VERSION = 1  # 1: first. Part of every content key, so raising it makes everything anew.

Format = Literal["torch", "onnx-fp32", "onnx-int8", "rows"]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The manifest of one artifact folder."""

    key: str
    format: Format
    task: str
    chain: str
    """Canonical spelling of the methods that made it, joined by ``+``."""
    method: str
    revision: int
    parameters: Mapping[str, Any]
    """Of the last method, resolved: no ``auto`` left."""
    seed: int | None
    labels: Sequence[str]
    geometry: Mapping[str, int]
    target: str | None = None
    """Instruction set an INT8 model was made for."""
    base_model: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Role (``source``, ``teacher``, ...) to content key, or sha256 of an external folder."""
    data_fingerprint: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)
    budget: Mapping[str, int | float] = field(default_factory=dict)
    """Epochs, steps and rows that training had."""
    warnings: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    """File name to sha256."""
    format_version: int = FORMAT_VERSION

    def write(self, folder: Path) -> None:
        """Write ``artifact.json`` into `folder`."""
        (folder / MANIFEST_NAME).write_text(json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an artifact folder.

    Raises:
        BadInput: If there is none, it is no JSON object, or it is of another format version.
    """
    path = folder / MANIFEST_NAME
    try:
        values = json.loads(path.read_text())
    except FileNotFoundError:
        raise BadInput(f"{folder} is no artifact: it holds no {MANIFEST_NAME}") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not readable JSON ({error}): make the artifact anew") from None
    if not isinstance(values, dict) or values.get("format_version") != FORMAT_VERSION:
        raise BadInput(f"{path} is of another format version than {FORMAT_VERSION}: make the artifact anew")
    known = {each.name for each in fields(Manifest)}
    return Manifest(**{name: value for name, value in values.items() if name in known})


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_sha256(folder: Path) -> dict[str, str]:
    """sha256 of each regular file under `folder`, the manifest excepted, by POSIX path."""
    return {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST_NAME
    }
