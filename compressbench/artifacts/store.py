"""The artifact store: folders found by content key, written once, whole or not at all.

A folder appears under its key by one rename, after its manifest is written. Two processes that want the same
artifact wait for each other at its lock, so it is made once.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from compressbench.artifacts.artifact import Artifact, open_artifact
from compressbench.artifacts.manifest import MANIFEST_NAME, Manifest, files_sha256
from compressbench.errors import BadInput, StoreDamaged

CHECKPOINTS_NAME = "checkpoints"


def home() -> Path:
    """Where caches and artifacts live: ``COMPRESSBENCH_HOME``, or the platform's cache folder."""
    named = os.environ.get("COMPRESSBENCH_HOME")
    return Path(named).expanduser().absolute() if named else user_cache_path("compressbench", appauthor=False)


@dataclass(frozen=True, kw_only=True)
class ArtifactStore:
    """Artifacts under ``root/<key>/``."""

    root: Path
    _verified: set[str] = field(default_factory=set, init=False, repr=False, compare=False)
    """Keys whose files this process compared with their manifests."""

    def find(self, key: str) -> Artifact | None:
        """The artifact of that key, or None."""
        folder = self.root / key
        return open_artifact(folder) if (folder / MANIFEST_NAME).exists() else None

    def checkpoint_path(self, key: str) -> Path:
        """A file for the unfinished work of whoever makes the artifact of that key; removed when it is made."""
        return self.root / CHECKPOINTS_NAME / f"{key}.safetensors"

    def unfinished(self) -> list[Path]:
        """What interrupted or failed work left at `checkpoint_path`."""
        return sorted((self.root / CHECKPOINTS_NAME).glob("*"))

    def make(self, key: str, write: Callable[[Path], Manifest]) -> Artifact:
        """The artifact of that key, made by `write` if the store has none; its files are compared with its manifest.

        Args:
            key: The content key.
            write: Fills the empty folder it is given and returns the manifest; the files' sha256 are added here.

        Raises:
            BadInput: If the store cannot be written.
            StoreDamaged: If the artifact is there and a file of it was changed.
        """
        with self._locked(key):
            found = self.find(key)
            if found is not None:
                if key not in self._verified:
                    self.verify(found)
                return found
            partial = self.root / f"{key}.partial"
            shutil.rmtree(partial, ignore_errors=True)  # left by an interrupted run; the lock says nobody writes it
            partial.mkdir()
            try:
                manifest = write(partial)
                replace(manifest, key=key, files=files_sha256(partial)).write(partial)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
            partial.rename(self.root / key)
            self.checkpoint_path(key).unlink(missing_ok=True)
            self._verified.add(key)
            return open_artifact(self.root / key)

    def all(self) -> list[Artifact]:
        """Every artifact in the store, by key."""
        folders = sorted(self.root.iterdir()) if self.root.exists() else []
        return [open_artifact(folder) for folder in folders if (folder / MANIFEST_NAME).exists() and not folder.suffix]

    def verify(self, artifact: Artifact) -> None:
        """Compare an artifact's files with its manifest.

        Raises:
            StoreDamaged: If a file is missing, added or changed.
        """
        found = files_sha256(artifact.path)
        wrong = sorted(name for name, _ in set(found.items()) ^ set(artifact.manifest.files.items()))
        if wrong:
            raise StoreDamaged(
                f"{artifact.path}: {', '.join(dict.fromkeys(wrong))} differs from its manifest; "
                "remove that folder, and it is made anew"
            )
        self._verified.add(artifact.key)

    def remove(self, artifact: Artifact) -> None:
        """Delete an artifact: under its lock, and out of sight at once by one rename."""
        with self._locked(artifact.key):
            doomed = self.root / f"{artifact.key}.partial"
            shutil.rmtree(doomed, ignore_errors=True)
            artifact.path.rename(doomed)
            shutil.rmtree(doomed)

    def prepare(self) -> None:
        """Make the folders that a first artifact needs, so that a store that cannot be written is told before any work.

        Raises:
            BadInput: If they cannot be made.
        """
        with self._locked("prepare"):
            pass

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        locks = self.root / "locks"
        try:
            locks.mkdir(parents=True, exist_ok=True)
            lock = FileLock(str(locks / f"{key}.lock"))
            lock.acquire()
        except OSError as error:
            raise BadInput(
                f"the artifact store {self.root} cannot be written ({error.strerror}): "
                "set COMPRESSBENCH_HOME to a folder that can"
            ) from None
        try:
            yield
        finally:
            lock.release()


def open_store() -> ArtifactStore:
    """The store under `home`."""
    return ArtifactStore(root=home() / "artifacts")
