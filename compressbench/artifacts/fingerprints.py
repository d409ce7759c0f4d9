"""Fingerprints of files that are no artifacts: what they hold decides, not where they lie.

Hashing gigabytes takes seconds, and every run needs it before its first step. So the hash of a large file is kept under
the `home` folder and read again while the file's size and time of change stay the same.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from compressbench.artifacts.manifest import file_sha256
from compressbench.artifacts.store import home

KEPT_FROM_BYTES = 16 * 1024**2
"""Smaller files are hashed each time: that takes milliseconds."""
SETTLED_S = 2.0
"""A file changed this shortly ago may change again within the same tick of its file system's clock."""


def files_fingerprint(paths: Iterable[Path]) -> str:
    """One hash over the contents of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{_sha256(path)}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def _sha256(path: Path) -> str:
    state = path.stat()
    if state.st_size < KEPT_FROM_BYTES:
        return file_sha256(path)
    seen = [state.st_size, state.st_mtime_ns]
    place = home() / "fingerprints" / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:24]}.json"
    kept = _read(place)
    if kept.get("seen") == seen:
        return str(kept["sha256"])
    found = file_sha256(path)
    if time.time() - state.st_mtime > SETTLED_S:
        _write(place, {"seen": seen, "sha256": found})
    return found


def _read(place: Path) -> dict[str, object]:
    try:
        kept = json.loads(place.read_text())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) and isinstance(kept.get("sha256"), str) else {}


def _write(place: Path, values: dict[str, object]) -> None:
    partial = place.with_suffix(f".{os.getpid()}.partial")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(values))
        partial.replace(place)
    except OSError:  # the next run hashes again
        with suppress(OSError):
            partial.unlink()
