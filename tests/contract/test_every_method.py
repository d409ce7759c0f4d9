"""What every registered method owes; a new one is tested by being registered."""

import dataclasses
import typing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compressbench.artifacts.artifact import ONNX_NAME, TOKENIZER_NAME, Artifact
from compressbench.artifacts.manifest import Format
from compressbench.environment import package_version
from compressbench.methods.chain import describe_type, parse_chain, spell
from compressbench.methods.method import AUTO, Context, Method
from compressbench.models.geometry import Geometry
from compressbench.registry import all_methods
from compressbench.tasks.catalog import all_tasks
from tests.conftest import draw_tiny_rows

AsArtifact = Callable[..., Artifact]
NAMES = sorted(all_methods())
# A method whose defaults are for BERT-Base says here how it is called on a model of two layers.
ON_A_TINY_MODEL = {
    "distill": "distill:student=1x16x2x32:intermediate_epochs=1:prediction_epochs=1",
    "quant-nncf": "quant-nncf:calibration_rows=16",
}


def method_for_tiny(name: str) -> Method:
    (method,) = parse_chain(ON_A_TINY_MODEL.get(name, name))
    return method


@pytest.fixture
def large_context(tiny_context: Context) -> Context:
    """As many training rows as calibration asks for by default, and more."""
    return replace(tiny_context, train=draw_tiny_rows(count=256, seed=0))


def test_the_contracts_methods_are_there() -> None:
    assert {"finetune", "distill", "quant-qdq", "quant-qop", "quant-dynamic", "prune"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
class TestEveryMethod:
    def test_says_what_it_is(self, name: str) -> None:
        method = all_methods()[name]
        assert method.name == name
        assert method.revision >= 1
        assert method.reference
        assert method.produces in typing.get_args(Format)
        assert method.consumes <= set(typing.get_args(Format))
        assert (method.__doc__ or "").strip()
        assert all(package_version(library) != "absent" for library in method.libraries)

    def test_every_parameter_has_a_default_a_type_and_a_sentence(self, name: str) -> None:
        method = all_methods()[name]
        hints = typing.get_type_hints(method)
        for each in dataclasses.fields(method):
            assert each.kw_only
            assert each.default is not dataclasses.MISSING
            assert each.metadata.get("help")
            assert describe_type(hints[each.name])

    def test_defaults_are_spelled_by_the_name_alone(self, name: str) -> None:
        assert spell([all_methods()[name]()]) == name
        assert parse_chain(name) == (all_methods()[name](),)

    def test_no_auto_is_left_on_any_task(self, name: str) -> None:
        for task in all_tasks().values():
            resolved = all_methods()[name]().resolved(task=task)
            assert AUTO not in dataclasses.asdict(resolved).values(), task.name

    def test_output_opens_without_us_and_answers_rows(
        self, name: str, tiny_classifier: Path, as_artifact: AsArtifact, large_context: Context
    ) -> None:
        method = method_for_tiny(name).resolved(task=large_context.task)
        source = as_artifact(tiny_classifier)
        made = method.compress(source, large_context)
        assert made.geometry == method.check(Geometry(**source.manifest.geometry))
        assert (large_context.to / TOKENIZER_NAME).exists()
        assert (large_context.to / "config.json").exists()
        assert not list(large_context.to.glob("*.bin"))
        logits = answers(large_context.to, method.makes)
        assert logits.shape == (2, 2)
        assert np.isfinite(logits).all()

    def test_same_seed_same_bytes(
        self, name: str, tiny_classifier: Path, as_artifact: AsArtifact, large_context: Context, tmp_path: Path
    ) -> None:
        made = []
        for number in range(2):
            to = tmp_path / f"again{number}"
            to.mkdir()
            method = method_for_tiny(name).resolved(task=large_context.task)
            method.compress(as_artifact(tiny_classifier), replace(large_context, to=to))
            files = (*to.glob("*.onnx"), *to.glob("*.safetensors"))
            made.append({path.name: path.read_bytes() for path in files})
        assert made[0] == made[1]

    def test_the_seed_counts_where_the_method_says_so(
        self, name: str, tiny_classifier: Path, as_artifact: AsArtifact, large_context: Context, tmp_path: Path
    ) -> None:
        method = method_for_tiny(name).resolved(task=large_context.task)
        if method.draws:
            return  # another seed may still give the same bytes: calibration rows with the same extremes do
        made = []
        for seed in (1, 2):
            to = tmp_path / f"seed{seed}"
            to.mkdir()
            method.compress(as_artifact(tiny_classifier), replace(large_context, to=to, seed=seed))
            made.append((to / ONNX_NAME).read_bytes())
        assert made[0] == made[1]


def answers(folder: Path, kind: str) -> np.ndarray:
    """Logits of two rows by the libraries a user would open the folder with."""
    ids = np.array([[2, 6, 7, 15, 3, 0], [2, 5, 8, 9, 19, 3]], dtype=np.int64)
    mask = (ids != 0).astype(np.int64)
    if kind == "torch":
        import torch
        from transformers import AutoModelForSequenceClassification

        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        with torch.no_grad():
            logits: np.ndarray = model(torch.from_numpy(ids), torch.from_numpy(mask)).logits.numpy()
        return logits
    import onnx
    import onnxruntime

    onnx.checker.check_model(folder / ONNX_NAME)
    session = onnxruntime.InferenceSession(folder / ONNX_NAME, providers=["CPUExecutionProvider"])
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    found: np.ndarray = session.run(["logits"], {each.name: feeds[each.name] for each in session.get_inputs()})[0]
    return found
