"""Recipes and their content keys: equal exactly when the same content would be made."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from compressbench.artifacts.manifest import FORMAT_VERSION, Format, Manifest
from compressbench.environment import major_minor

KEY_LENGTH = 24  # 96 bits: no two artifacts of a store will ever share a key by chance


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that is known of an artifact before it is made."""

    method: str
    revision: int
    format: Format
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Resolved: no ``auto`` left."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Role to content key, or sha256 of an external folder."""
    data_fingerprint: str = ""
    """Of the rows the method reads."""
    libraries: Sequence[str] = ()
    """Distributions that shape the output; their major.minor versions count."""
    seed: int | None = None
    """None where the method draws nothing."""
    task: str = ""
    labels: Sequence[str] = ()
    chain: str = ""
    base_model: str = ""

    @property
    def key(self) -> str:
        """Hash of everything that decides the content; what it is called (task, chain, base model) does not."""
        content = {
            "format_version": FORMAT_VERSION,
            "method": self.method,
            "revision": self.revision,
            "parameters": dict(self.parameters),
            "inputs": dict(self.inputs),
            "data": self.data_fingerprint,
            "labels": list(self.labels),
            "libraries": {name: major_minor(name) for name in self.libraries},
            "seed": self.seed,
        }
        spelled = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(spelled.encode()).hexdigest()[:KEY_LENGTH]

    def salted(self, fresh: str) -> "Recipe":
        """The same recipe under another key, so that nothing made before is found; unchanged for an empty text."""
        return replace(self, inputs={**self.inputs, "fresh": fresh}) if fresh else self

    def manifest(
        self,
        *,
        geometry: Mapping[str, int],
        budget: Mapping[str, int | float],
        warnings: Sequence[str],
        target: str | None,
    ) -> Manifest:
        """The manifest of what was made by it."""
        return Manifest(
            key=self.key,
            format=self.format,
            task=self.task,
            chain=self.chain,
            method=self.method,
            revision=self.revision,
            parameters=self.parameters,
            seed=self.seed,
            labels=list(self.labels),
            geometry=geometry,
            target=target,
            base_model=self.base_model,
            inputs=self.inputs,
            data_fingerprint=self.data_fingerprint,
            libraries={name: major_minor(name) for name in self.libraries},
            budget=budget,
            warnings=list(warnings),
        )
