"""Token ids of dev splits, made once for each tokenizer and split however many models read them."""

from dataclasses import dataclass, field
from pathlib import Path

from compressbench.artifacts.manifest import file_sha256
from compressbench.harness.real_rows import RealRows, real_rows
from compressbench.harness.shapes import AnyShape, TaskShape
from compressbench.prediction import EncodedRows, encode_rows
from compressbench.tasks.data import TaskData


@dataclass(kw_only=True)
class Encodings:
    """Remembers what was encoded; tokenizers count as one where their files are equal."""

    _splits: dict[tuple[str, str, str], EncodedRows] = field(default_factory=dict)
    _real_rows: dict[tuple[str, str], RealRows] = field(default_factory=dict)
    _digests: dict[Path, str] = field(default_factory=dict)

    def split(self, data: TaskData, split: str, *, tokenizer_path: Path) -> EncodedRows:
        """One split in the ids of a tokenizer."""
        key = (self._digest(tokenizer_path), data.task.name, split)
        if key not in self._splits:
            self._splits[key] = encode_rows(
                data.rows(split), tokenizer_path=tokenizer_path, max_length=data.task.max_length
            )
        return self._splits[key]

    def real_rows(self, data: TaskData, shapes: tuple[AnyShape, ...], *, tokenizer_path: Path) -> RealRows:
        """The rows of the first dev split that latency is measured on at real lengths."""
        key = (self._digest(tokenizer_path), data.task.name)
        if key not in self._real_rows:
            encoded = self.split(data, data.task.dev_splits[0], tokenizer_path=tokenizer_path)
            own = [shape for shape in shapes if isinstance(shape, TaskShape)]
            self._real_rows[key] = real_rows(encoded, task=data.task.name, shapes=own)
        return self._real_rows[key]

    def _digest(self, tokenizer_path: Path) -> str:
        if tokenizer_path not in self._digests:
            self._digests[tokenizer_path] = file_sha256(tokenizer_path)
        return self._digests[tokenizer_path]
