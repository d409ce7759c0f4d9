"""README.md of an artifact: what it is, what it was made from and how to open it, for people and for the hub."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from compressbench.artifacts.manifest import Manifest

_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_LIBRARY = {"torch": "transformers"}
_OPEN = {
    "torch": """\
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("PATH")
model = AutoModelForSequenceClassification.from_pretrained("PATH").eval()
print(model(**tokenizer("A sentence.", return_tensors="pt")).logits)""",
    "encoder": """\
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("PATH")
model = AutoModel.from_pretrained("PATH").eval()
print(model(**tokenizer("A sentence.", return_tensors="pt")).last_hidden_state)""",
    "onnx": """\
import numpy as np, onnxruntime
from tokenizers import Tokenizer

encoded = Tokenizer.from_file("PATH/tokenizer.json").encode("A sentence.")
session = onnxruntime.InferenceSession("PATH/model.onnx")
arrays = {"input_ids": encoded.ids, "attention_mask": encoded.attention_mask, "token_type_ids": encoded.type_ids}
wanted = {each.name for each in session.get_inputs()}
print(session.run(None, {name: np.array([ids]) for name, ids in arrays.items() if name in wanted})[0])""",
}


def model_card(manifest: Manifest, *, scores: Mapping[str, float] | None = None) -> str:
    """The card's text.

    Args:
        manifest: Of the artifact.
        scores: Fractions by metric on the task's dev split, where they are known.
    """
    parts = [
        f"---\n{_front_matter(manifest, scores or {})}---",
        f"# {_title(manifest)}",
        _what_it_is(manifest),
    ]
    if manifest.warnings:
        parts.append("\n".join(f"- Warning: {warning}" for warning in manifest.warnings))
    if scores:
        lines = [f"| {metric} | {score:.4f} |" for metric, score in scores.items()]
        parts.append("\n".join(["## Scores on the dev split", "", "| Metric | Score |", "| --- | ---: |", *lines]))
    kind = "onnx" if manifest.format != "torch" else "encoder" if _is_encoder(manifest) else "torch"
    parts.append(f"## How to open it\n\n```python\n{_OPEN[kind]}\n```")
    parts.append(_how_it_was_made(manifest))
    return "\n\n".join(parts) + "\n"


def base_model_relation(chain: str) -> str:
    """The hub's word for what was done last: ``quantized`` if weights became INT8, else ``finetune``."""
    return "quantized" if any(part.startswith("quant-") for part in chain.split("+")) else "finetune"


def _is_encoder(manifest: Manifest) -> bool:
    """Whether it answers no task: a general student, or a teacher before fine-tuning."""
    return not (manifest.task or manifest.labels)


def _title(manifest: Manifest) -> str:
    return f"{manifest.chain or manifest.base_model}{f' on {manifest.task}' if manifest.task else ''}"


def _front_matter(manifest: Manifest, scores: Mapping[str, float]) -> str:
    """YAML as the hub reads it; strings are quoted as JSON, which YAML contains."""
    library = _LIBRARY.get(manifest.format, "onnx")
    pipeline = "feature-extraction" if _is_encoder(manifest) else "text-classification"
    lines = [f"library_name: {library}", f"pipeline_tag: {pipeline}"]
    if _HUB_NAME.fullmatch(manifest.base_model):  # a folder on somebody's disk is no name for others
        lines += [
            f"base_model: {json.dumps(manifest.base_model)}",
            f"base_model_relation: {base_model_relation(manifest.chain)}",
        ]
    tags = ["compressbench", "model-compression", *(part.split(":")[0] for part in manifest.chain.split("+"))]
    lines += ["tags:", *(f"- {json.dumps(tag)}" for tag in dict.fromkeys(tags))]
    if scores:
        lines += _model_index(manifest, scores)
    return "\n".join(lines) + "\n"


def _model_index(manifest: Manifest, scores: Mapping[str, float]) -> Sequence[str]:
    lines = [
        "model-index:",
        f"- name: {json.dumps(f'{manifest.chain} on {manifest.task}')}",
        "  results:",
        "  - task:",
        "      type: text-classification",
        "    dataset:",
        f"      name: {json.dumps(manifest.task)}",
        f"      type: {json.dumps(manifest.task.lower())}",
        "      split: validation",
        "    metrics:",
    ]
    for metric, score in scores.items():
        lines += [f"    - type: {json.dumps(metric)}", f"      value: {score:.6f}"]
    return lines


def _what_it_is(manifest: Manifest) -> str:
    sizes = ", ".join(f"{name} {value}" for name, value in manifest.geometry.items())
    labels = ", ".join(f"{number} = {label}" for number, label in enumerate(manifest.labels))
    purpose = f"for the task {manifest.task}" if manifest.task else "for any task"
    sentences = [f"Made by `compressbench` with `{manifest.chain}` {purpose}.", f"Geometry: {sizes}."]
    if labels:
        sentences.append(f"Labels: {labels}.")
    else:
        sentences.append("An encoder without a head." if _is_encoder(manifest) else "One output: a real number.")
    if manifest.target:
        where = "weights in 7 bits give the same INT8 sums on every CPU"
        if not manifest.parameters.get("reduce_range"):
            where = "on CPUs that add INT8 products in 16 bits scores may differ"
        sentences.append(f"Its INT8 arithmetic was chosen for {manifest.target}; {where}.")
    return "\n".join(sentences)


def _how_it_was_made(manifest: Manifest) -> str:
    facts: dict[str, Any] = {
        "last method": f"{manifest.method} (revision {manifest.revision})",
        "parameters": json.dumps(dict(manifest.parameters), sort_keys=True),
        "training budget": json.dumps(dict(manifest.budget), sort_keys=True) if manifest.budget else None,
        "seed": manifest.seed,
        "libraries": ", ".join(f"{name} {version}" for name, version in manifest.libraries.items()) or None,
        "content key": manifest.key,
    }
    lines = [f"- {name}: {value}" for name, value in facts.items() if value is not None]
    return "\n".join(
        ["## How it was made", "", *lines, "", "`artifact.json` holds all of it, with sha256 of each file."]
    )
