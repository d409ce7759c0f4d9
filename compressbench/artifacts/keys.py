"""Content keys: equal exactly when the same method, parameters, inputs, data and libraries would make the artifact."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from compressbench.artifacts.manifest import FORMAT_VERSION
from compressbench.environment import major_minor

KEY_LENGTH = 24


def content_key(
    *,
    method: str,
    revision: int,
    parameters: Mapping[str, Any],
    inputs: Mapping[str, str],
    data_fingerprint: str,
    libraries: Sequence[str],
    seed: int | None,
) -> str:
    """Hash of everything that decides an artifact's content.

    Args:
        method: Registered name.
        revision: The method's revision.
        parameters: Resolved: no ``auto`` left.
        inputs: Role to content key, or sha256 of an external folder.
        data_fingerprint: Of the rows the method reads.
        libraries: Distributions that shape the output; their major.minor versions count.
        seed: None where the method draws nothing.

    Returns:
        24 hex digits (96 bits: no two artifacts of a store will ever share one by chance).
    """
    content = {
        "format_version": FORMAT_VERSION,
        "method": method,
        "revision": revision,
        "parameters": dict(parameters),
        "inputs": dict(inputs),
        "data": data_fingerprint,
        "libraries": {name: major_minor(name) for name in libraries},
        "seed": seed,
    }
    spelled = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(spelled.encode()).hexdigest()[:KEY_LENGTH]
