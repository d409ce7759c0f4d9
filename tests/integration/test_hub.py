"""The hub path for real: the libraries' own clients against a server of ours, in a process of their own."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hub_server import COMMIT, Hub, serve

RTE_ROWS = {
    "train": (["A cat sleeps. ", "It rains."], ["An animal sleeps.", "The sun shines."], [0, 1]),
    "validation": (["Ann sings."], ["Somebody sings."], [0]),
    "test": (["Bob runs.", "Eve reads."], ["Bob sits.", "Eve is awake."], [-1, -1]),
}
MNLI_SPLITS = ("train", "validation_matched", "validation_mismatched", "test_matched", "test_mismatched")
CARD = """---
configs:
- config_name: rte
  data_files:
  - split: train
    path: rte/train-*
  - split: validation
    path: rte/validation-*
  - split: test
    path: rte/test-*
- config_name: mnli
  data_files:
{mnli}
---
# GLUE
"""
READ_ROWS = """
import json, sys
from compressbench.errors import CompressbenchError
from compressbench.tasks.catalog import task_named
from compressbench.tasks.data import load_task_data

told = []
for name, split in (pair.split(":") for pair in sys.argv[2:]):
    try:
        rows = load_task_data(task_named(name), offline=sys.argv[1] == "offline").rows(split)
        labels = None if rows.labels is None else rows.labels.tolist()
        told.append([list(rows.first), list(rows.second), labels])
    except CompressbenchError as error:
        told.append([error.exit_code, str(error)])
print(json.dumps(told))
"""
READ_MODEL = """
import json, sys
import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer
from compressbench.models.inspection import inspect_model

name = "some/tiny-bert"
config, tokenizer, model = (each.from_pretrained(name) for each in (AutoConfig, AutoTokenizer, AutoModel))
with torch.no_grad():
    hidden = model(**tokenizer("the film is great", return_tensors="pt")).last_hidden_state
info = inspect_model(name)
print(json.dumps({"layers": config.num_hidden_layers, "sum": float(hidden.abs().sum()), "revision": info.revision,
                  "ids": tokenizer("the film is great")["input_ids"], "inspected": info.geometry.layers}))
"""


def run(code: str, *arguments: str, endpoint: str, home: Path) -> str:
    """The standard output of `code` in a fresh process whose hub is `endpoint` and whose caches are in `home`."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("HF_") and "proxy" not in name.lower()
    }
    settings = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=kept | settings,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def parquet(columns: Mapping[str, list[object]], *, label_names: list[str]) -> bytes:
    """A Parquet file as `datasets` pushes it: label names are in its schema."""
    from datasets import ClassLabel, Dataset, Features, Value

    texts = {name: Value("string") for name in columns if name != "label"}
    rows = Dataset.from_dict(dict(columns), features=Features({**texts, "label": ClassLabel(names=label_names)}))
    file = io.BytesIO()
    rows.to_parquet(file)
    return file.getvalue()


def glue_files() -> dict[str, bytes]:
    """A repository laid out like the hub's GLUE, with two tasks of a few rows."""
    mnli = "\n".join(f"  - split: {split}\n    path: mnli/{split}-*" for split in MNLI_SPLITS)
    files = {"README.md": CARD.format(mnli=mnli).encode()}
    for split, (first, second, labels) in RTE_ROWS.items():
        columns = {"sentence1": first, "sentence2": second, "label": labels}
        files[f"rte/{split}-00000-of-00001.parquet"] = parquet(columns, label_names=["entailment", "not_entailment"])
    for split in MNLI_SPLITS:
        columns = {"premise": [f"{split} one", "two"], "hypothesis": ["three", "four"], "label": [2, 0]}
        # In another order than ours: what counts are the names.
        names = ["contradiction", "entailment", "neutral"]
        files[f"mnli/{split}-00000-of-00001.parquet"] = parquet(columns, label_names=names)
    return files


@pytest.fixture(scope="module")
def hub(tiny_encoder: Path) -> Hub:
    model = {path.name: path.read_bytes() for path in tiny_encoder.iterdir() if path.is_file()}
    with serve({"datasets/nyu-mll/glue": glue_files(), "models/some/tiny-bert": model}) as served:
        yield served


def test_rows_come_from_the_hub_and_then_from_its_cache(hub: Hub, tmp_path: Path) -> None:
    asked = ("rte:train", "rte:dev", "rte:test", "mnli:dev_mismatched", "mnli:test")
    expected = [
        [["A cat sleeps.", "It rains."], ["An animal sleeps.", "The sun shines."], [0, 1]],
        [["Ann sings."], ["Somebody sings."], [0]],
        [["Bob runs.", "Eve reads."], ["Bob sits.", "Eve is awake."], None],
        [["validation_mismatched one", "two"], ["three", "four"], [1, 2]],
        [["test_matched one", "two"], ["three", "four"], None],
    ]
    assert json.loads(run(READ_ROWS, "online", *asked, endpoint=hub.address, home=tmp_path)) == expected
    assert any("/resolve/" in line and "rte/train" in line for line in hub.requests)
    asked_before = len(hub.requests)
    assert json.loads(run(READ_ROWS, "offline", *asked, endpoint=hub.address, home=tmp_path)) == expected
    assert len(hub.requests) == asked_before


def test_a_task_that_was_never_fetched_needs_a_network(hub: Hub, tmp_path: Path) -> None:
    (told,) = json.loads(run(READ_ROWS, "offline", "rte:train", endpoint=hub.address, home=tmp_path))
    sentence = (
        "RTE was not fetched from the hub before, and --offline forbids it: give --data-dir DIR with dev.tsv and "
        "train.tsv in DIR/RTE/, or run once with a network (what was fetched is kept)"
    )
    assert told == [2, sentence]


def test_no_network_is_told_in_one_sentence(tmp_path: Path) -> None:
    with serve({}) as closed:
        pass
    (told,) = json.loads(run(READ_ROWS, "online", "mnli:train", endpoint=closed.address, home=tmp_path))
    assert told[0] == 2
    assert told[1].startswith(f"MNLI was not fetched from the hub before, and {closed.address} cannot be reached (")
    assert told[1].endswith(
        "give --data-dir DIR with dev_matched.tsv, dev_mismatched.tsv and train.tsv in DIR/MNLI/, "
        "or run once with a network (what was fetched is kept)"
    )
    assert "\n" not in told[1]


def test_a_hub_without_the_data_set_is_told_apart(tmp_path: Path) -> None:
    with serve({}) as empty:
        (told,) = json.loads(run(READ_ROWS, "online", "rte:train", endpoint=empty.address, home=tmp_path))
    assert told[0] == 2
    assert "the hub answers DatasetNotFoundError: Dataset 'nyu-mll/glue' doesn't exist on the Hub" in told[1]


def test_a_mirror_with_other_labels_is_refused(tmp_path: Path) -> None:
    columns = {"sentence1": ["a"], "sentence2": ["b"], "label": [0]}
    other = parquet(columns, label_names=["yes", "no"])
    without_text = parquet({"premise": ["a"], "label": [0]}, label_names=["entailment", "not_entailment"])
    card = "---\nconfigs:\n- config_name: {}\n  data_files:\n  - split: train\n    path: train.parquet\n---\n"
    unlabelled = parquet({**columns, "label": [-1]}, label_names=["entailment", "not_entailment"])
    for content, message in (
        (unlabelled, "nyu-mll/glue (rte) has rows without a label on the hub"),
        (other, "nyu-mll/glue (rte) has the labels no and yes on the hub where RTE has entailment and not_entailment"),
        (without_text, "nyu-mll/glue (rte), split train: no column sentence1 and sentence2 on the hub"),
    ):
        files = {"README.md": card.format("rte").encode(), "train.parquet": content}
        with serve({"datasets/nyu-mll/glue": files}) as mirror:
            home = tmp_path / str(len(content))
            (told,) = json.loads(run(READ_ROWS, "online", "rte:train", endpoint=mirror.address, home=home))
        assert told[0] == 2
        assert told[1].startswith(message)


def test_a_model_comes_from_the_hub(hub: Hub, tmp_path: Path, tiny_encoder: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    found = json.loads(run(READ_MODEL, endpoint=hub.address, home=tmp_path))
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_encoder), AutoModel.from_pretrained(tiny_encoder)
    with torch.no_grad():
        hidden = model(**tokenizer("the film is great", return_tensors="pt")).last_hidden_state
    assert found["sum"] == pytest.approx(float(hidden.abs().sum()), rel=1e-5)
    assert found["ids"] == tokenizer("the film is great")["input_ids"]
    assert (found["layers"], found["inspected"], found["revision"]) == (2, 2, COMMIT)
