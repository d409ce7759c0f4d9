from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from compressbench.artifacts.manifest import Manifest
from compressbench.reporting.model_card import base_model_relation, model_card

MANIFEST = Manifest(
    key="k" * 64,
    format="onnx-int8",
    task="MRPC",
    chain="distill:mapping=top+quant-qdq",
    method="quant-qdq",
    revision=2,
    parameters={"activations": "u8"},
    seed=None,
    labels=("not_equivalent", "equivalent"),
    geometry={"layers": 4, "hidden": 312},
    target="x86_64+avx512_vnni",
    base_model="google-bert/bert-base-uncased",
    libraries={"onnxruntime": "1.31"},
    budget={"rows": 128},
    warnings=["calibrated on few rows"],
)


def parsed(manifest: Manifest, tmp_path: Path, **options: object) -> ModelCard:
    path = tmp_path / "README.md"
    path.write_text(model_card(manifest, **options))  # type: ignore[arg-type]
    return ModelCard.load(path)


def test_the_hub_reads_the_front_matter(tmp_path: Path) -> None:
    card = parsed(MANIFEST, tmp_path, scores={"accuracy": 0.8137, "f1": 0.871})
    assert card.data.base_model == "google-bert/bert-base-uncased"
    assert card.data.to_dict()["base_model_relation"] == "quantized"
    assert card.data.library_name == "onnx"
    assert card.data.pipeline_tag == "text-classification"
    assert {"compressbench", "distill", "quant-qdq"} <= set(card.data.tags)
    results = {each.metric_type: each for each in card.data.eval_results}
    assert results["accuracy"].metric_value == pytest.approx(0.8137)
    assert results["f1"].dataset_name == "MRPC"
    assert results["f1"].dataset_split == "validation"


def test_a_card_says_on_which_cpus_its_sums_are_right(tmp_path: Path) -> None:
    sentences = {
        reduce_range: parsed(replace(MANIFEST, target="avx2", parameters={"reduce_range": reduce_range}), tmp_path).text
        for reduce_range in (True, False)
    }
    assert "chosen for avx2; weights in 7 bits give the same INT8 sums on every CPU." in sentences[True]
    assert "chosen for avx2; on CPUs that add INT8 products in 16 bits scores may differ." in sentences[False]


def test_without_scores_there_is_no_model_index(tmp_path: Path) -> None:
    card = parsed(MANIFEST, tmp_path)
    assert "model-index" not in card.data.to_dict()
    assert "Scores" not in card.text


def test_what_it_is_and_how_it_was_made(tmp_path: Path) -> None:
    text = parsed(MANIFEST, tmp_path, scores={"accuracy": 0.8137}).text
    for words in (
        "# distill:mapping=top+quant-qdq on MRPC",
        "layers 4, hidden 312",
        "0 = not_equivalent, 1 = equivalent",
        "chosen for x86_64+avx512_vnni",
        "Warning: calibrated on few rows",
        "| accuracy | 0.8137 |",
        "quant-qdq (revision 2)",
        'training budget: {"rows": 128}',
        "onnxruntime.InferenceSession",
    ):
        assert words in text
    assert "seed" not in text  # it draws nothing


def test_a_torch_model_opens_with_transformers(tmp_path: Path) -> None:
    card = parsed(replace(MANIFEST, format="torch", chain="distill", seed=3, target=None, labels=()), tmp_path)
    assert card.data.library_name == "transformers"
    assert card.data.to_dict()["base_model_relation"] == "finetune"
    assert "AutoModelForSequenceClassification" in card.text
    assert "One output: a real number." in card.text
    assert "- seed: 3" in card.text


@pytest.mark.parametrize("folder", ["/home/somebody/teacher", "./teacher", "~/teacher", "a/b/c", ""])
def test_somebodys_folder_is_not_published(folder: str, tmp_path: Path) -> None:
    card = parsed(replace(MANIFEST, base_model=folder), tmp_path)
    assert card.data.base_model is None
    assert not folder or folder not in card.content


@pytest.mark.parametrize(
    ("chain", "relation"),
    [("distill", "finetune"), ("prune:amount=0.2", "finetune"), ("distill+quant-qop:per_channel=no", "quantized")],
)
def test_relation(chain: str, relation: str) -> None:
    assert base_model_relation(chain) == relation


def test_an_encoder_without_a_task_says_so(tmp_path: Path) -> None:
    encoder = replace(MANIFEST, format="torch", task="", labels=(), chain="general-distill", target=None)
    card = parsed(encoder, tmp_path)
    assert card.data.pipeline_tag == "feature-extraction"
    for words in (
        "# general-distill\n",
        "for any task",
        "An encoder without a head.",
        "import AutoModel, AutoTokenizer",
    ):
        assert words in card.text
    assert "real number" not in card.text
